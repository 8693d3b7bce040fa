//! What the engine relies on when it receives: what a completion says of the bytes that it left in the socket.
//!
//! `IORING_CQE_F_SOCK_NONEMPTY` of a receive on TCP, once into a buffer or many times into provided ones:
//!
//! 1. is set when more bytes were in the socket than were received, and then the next receive completes at once;
//! 2. is not set when all of them were taken, also when they filled the buffer to its last byte.
//!
//! A receive with `MSG_TRUNC` and no memory throws away what comes, and says how much that was.
//!
//! What it says of an end that stands behind the last bytes is left open: kernels may tell it as one byte more, and the
//! engine must be right either way. One test shows what this kernel does.
//!
//! Kernel: the flag is 5.19, receiving many times 6.0, the deferred rings these tests use are 6.1. Where no such ring
//! can be made a test says "skipped" and proves nothing.

mod contract;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};

use contract::{PATIENCE, ring, tcp_pair};

/// Bytes of a buffer.
const LEN: usize = 1000;
/// One more than are filled: a kernel may pick the next, and find none, before it looks whether there is anything for
/// it (6.1 does).
const BUFFERS: usize = 5;
const GROUP: u16 = 3;

/// What a completion says: how many bytes, whether there are more, whether it goes on receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received {
    result: i32,
    more_at_hand: bool,
    goes_on: bool,
}

/// The last completion of a receive.
fn last(result: i32, more_at_hand: bool) -> Received {
    Received { result, more_at_hand, goes_on: false }
}

/// One of many.
fn one(result: i32, more_at_hand: bool) -> Received {
    Received { result, more_at_hand, goes_on: true }
}

/// Sends bytes, and waits until the other side has them all.
fn deliver(far: &mut TcpStream, near: &TcpStream, len: usize) {
    far.write_all(&vec![b'x'; len]).expect("loopback");
    let deadline = Instant::now() + PATIENCE;
    while near.peek(&mut vec![0; len]).expect("they come") < len {
        assert!(Instant::now() < deadline, "{len} bytes do not arrive");
        std::thread::yield_now();
    }
}

/// Ends the other side, and waits until this side knows.
fn end(far: &TcpStream, near: &TcpStream) {
    far.shutdown(Shutdown::Write).expect("open");
    let mut poll = libc::pollfd { fd: near.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one pollfd, which outlives the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1, "the end arrives");
}

/// Submits an entry and gives what is posted when the call is back, without waiting for anything.
fn posted(ring: &mut IoUring, entry: Option<&squeue::Entry>) -> Vec<Received> {
    const GETEVENTS: u32 = 1;
    if let Some(entry) = entry {
        // SAFETY: the entries here name a descriptor, and memory that outlives the ring.
        unsafe { ring.submission().push(entry) }.expect("the queue is empty");
    }
    // SAFETY: waits for nothing, passes no memory.
    unsafe { ring.submitter().enter::<libc::sigset_t>(u32::from(entry.is_some()), 0, GETEVENTS, None) }.expect("enter");
    let entries = ring.completion().map(|completion| {
        let flags = completion.flags();
        let more_at_hand = cqueue::sock_nonempty(flags);
        Received { result: completion.result(), more_at_hand, goes_on: cqueue::more(flags) }
    });
    entries.collect()
}

/// One receive of what is there.
fn receive(ring: &mut IoUring, near: &TcpStream) -> Vec<Received> {
    let buffer = Box::leak(Box::new([0_u8; LEN]));
    let len = u32::try_from(LEN).expect("small");
    posted(ring, Some(&opcode::Recv::new(Fd(near.as_raw_fd()), buffer.as_mut_ptr(), len).build()))
}

/// Gives the kernel buffers, and begins to receive into them.
fn receive_many(ring: &mut IoUring, near: &TcpStream) -> Vec<Received> {
    let buffers = Box::leak(Box::new([0_u8; LEN * BUFFERS]));
    let [len, count] = [LEN, BUFFERS].map(|number| i32::try_from(number).expect("small"));
    let count = u16::try_from(count).expect("few");
    let provide = opcode::ProvideBuffers::new(buffers.as_mut_ptr(), len, count, GROUP, 0).build();
    assert_eq!(posted(ring, Some(&provide)), [last(0, false)], "the buffers are taken");
    posted(ring, Some(&opcode::RecvMulti::new(Fd(near.as_raw_fd()), GROUP).build()))
}

#[test]
fn bytes_that_are_left_are_told() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    deliver(&mut far, &near, 2 * LEN + 1);
    assert_eq!(receive(&mut ring, &near), [last(1000, true)]);
    assert_eq!(receive(&mut ring, &near), [last(1000, true)], "one byte is left");
    assert_eq!(receive(&mut ring, &near), [last(1, false)], "told, so it completes at once");
}

#[test]
fn when_all_is_taken_nothing_more_is_told() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    for len in [1, LEN - 1, LEN] {
        deliver(&mut far, &near, len);
        let taken = i32::try_from(len).expect("small");
        assert_eq!(receive(&mut ring, &near), [last(taken, false)], "{len} of {LEN}");
    }
    assert_eq!(receive(&mut ring, &near), [], "nor is there anything");
}

#[test]
fn of_many_receives_each_but_the_last_tells_of_more() {
    for (len, told) in [
        (2 * LEN + 1, &[one(1000, true), one(1000, true), one(1, false)][..]),
        (2 * LEN, &[one(1000, true), one(1000, false)]),
    ] {
        let Some(mut ring) = ring() else { return };
        let (near, mut far) = tcp_pair();
        deliver(&mut far, &near, len);
        assert_eq!(receive_many(&mut ring, &near), told, "{len} bytes into buffers of {LEN}");
        deliver_later(&mut far, &mut ring);
    }
}

/// What was not told of because it was not there comes by a completion of its own.
fn deliver_later(far: &mut TcpStream, ring: &mut IoUring) {
    far.write_all(b"later").expect("loopback");
    let deadline = Instant::now() + PATIENCE;
    let later = loop {
        let later = posted(ring, None);
        if !later.is_empty() {
            break later;
        }
        assert!(Instant::now() < deadline, "nothing comes");
        std::thread::yield_now();
    };
    assert_eq!(later, [one(5, false)]);
}

/// Either is fine: the engine takes the flag for a hint that the next completion is near, and an end is one.
#[test]
fn an_end_behind_the_last_bytes_is_the_next_completion_whatever_was_told() {
    for many in [false, true] {
        let Some(mut ring) = ring() else { return };
        let (near, mut far) = tcp_pair();
        deliver(&mut far, &near, LEN);
        end(&far, &near);
        let mut told = if many { receive_many(&mut ring, &near) } else { receive(&mut ring, &near) };
        assert_eq!((told[0].result, told[0].goes_on), (1000, many));
        eprintln!("an end behind the last bytes, {}: more at hand: {}", WAY[usize::from(many)], told[0].more_at_hand);
        if !many {
            told.extend(receive(&mut ring, &near));
        }
        let results: Vec<i32> = told.iter().map(|received| received.result).collect();
        assert_eq!(results, [1000, 0], "{told:?}");
    }
}

const WAY: [&str; 2] = ["received once", "received many times"];

/// What the engine throws away it receives without a place for it: `MSG_TRUNC` on TCP.
#[test]
fn what_is_thrown_away_is_counted_and_written_nowhere() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    deliver(&mut far, &near, 2 * LEN);
    let len = u32::try_from(LEN).expect("small");
    let nowhere = opcode::Recv::new(Fd(near.as_raw_fd()), std::ptr::null_mut(), len).flags(libc::MSG_TRUNC).build();
    assert_eq!(posted(&mut ring, Some(&nowhere)), [last(1000, true)]);
    assert_eq!(posted(&mut ring, Some(&nowhere)), [last(1000, false)]);
    assert_eq!(posted(&mut ring, Some(&nowhere)), [], "nothing is left");
    far.write_all(b"more").expect("loopback");
    let deadline = Instant::now() + PATIENCE;
    let later = std::iter::repeat_with(|| posted(&mut ring, None))
        .find(|posted| !posted.is_empty() || Instant::now() > deadline);
    assert_eq!(later.expect("endless"), [last(4, false)], "it waits for what comes");
}

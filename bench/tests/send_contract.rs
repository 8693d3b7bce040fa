//! What the engine and the floor rely on when they send without asking for a completion.
//!
//! A send with `MSG_DONTWAIT | MSG_WAITALL` and `IOSQE_CQE_SKIP_SUCCESS`:
//!
//! 1. posts nothing when every byte was taken;
//! 2. posts the number of bytes taken when only some were (`MSG_WAITALL` makes that a failure);
//! 3. posts `-EAGAIN` when none were, and arms no poll (`MSG_DONTWAIT`), so that it is over;
//! 4. has posted, or never will, when the call that submitted it returns;
//! 5. posts the error when the connection is gone.
//!
//! The same holds for a send of many parts, and what describes the parts is read before the call returns.
//!
//! Kernel: `CQE_SKIP_SUCCESS` is 5.17, the deferred rings these tests use are 6.1. Where no such
//! ring can be made a test says "skipped" and proves nothing.

mod contract;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

use contract::{ring, tcp_pair};

const PIECE_BYTES: usize = 40_000;
static PIECE: [u8; PIECE_BYTES] = [b'x'; PIECE_BYTES];

const QUIET: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;

/// Submits one send of [`PIECE`] and returns the results posted by the time the call is back,
/// with no wait and no request for events.
fn send(ring: &mut IoUring, fd: RawFd, msg_flags: i32, flags: Flags) -> Vec<i32> {
    let len = u32::try_from(PIECE_BYTES).expect("small");
    let send = opcode::Send::new(Fd(fd), PIECE.as_ptr(), len).flags(msg_flags).build().flags(flags);
    // SAFETY: the entry names only PIECE, which is static and never written.
    unsafe { ring.submission().push(&send) }.expect("the queue is empty");
    assert_eq!(ring.submit().expect("submit"), 1);
    posted(ring)
}

fn posted(ring: &mut IoUring) -> Vec<i32> {
    ring.completion().map(|completion| completion.result()).collect()
}

/// Runs due task work without waiting for any.
fn events(ring: &mut IoUring) -> Vec<i32> {
    const GETEVENTS: u32 = 1;
    // SAFETY: submits nothing, waits for nothing, passes no memory.
    unsafe { ring.submitter().enter::<libc::sigset_t>(0, 0, GETEVENTS, None) }.expect("enter");
    posted(ring)
}

/// The bytes of a piece that a send took, by what it posted; `None`: it took none.
fn taken(posted: &[i32]) -> Option<usize> {
    match *posted {
        [] => Some(PIECE_BYTES),
        [result] if result == -libc::EAGAIN => None,
        [short] if (1..PIECE_BYTES).contains(&usize::try_from(short).unwrap_or(0)) => usize::try_from(short).ok(),
        ref other => panic!("one send posted {other:?}"),
    }
}

/// Sends quietly, by `once`, until the socket refuses; the bytes taken, and how many sends were short. A short send is
/// not the end: the kernel may make room meanwhile.
fn fill(mut once: impl FnMut() -> Vec<i32>) -> (usize, usize) {
    let (mut all, mut short) = (0, 0);
    for _ in 0..10_000 {
        match taken(&once()) {
            Some(bytes) => (all, short) = (all + bytes, short + usize::from(bytes < PIECE_BYTES)),
            None => return (all, short),
        }
    }
    panic!("an unread connection took every send");
}

/// As [`fill`], with sends of one part.
fn fill_by_pieces(ring: &mut IoUring, fd: RawFd) -> (usize, usize) {
    fill(|| send(ring, fd, QUIET, Flags::SKIP_SUCCESS))
}

#[test]
fn complete_send_posts_nothing() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    assert_eq!(send(&mut ring, near.as_raw_fd(), QUIET, Flags::SKIP_SUCCESS), []);
    let mut read = vec![0; PIECE_BYTES];
    far.read_exact(&mut read).expect("all of it arrived");
    assert_eq!(events(&mut ring), [], "nor later");
}

#[test]
fn without_the_flag_a_complete_send_posts_its_length_at_once() {
    let Some(mut ring) = ring() else { return };
    let (near, _far) = tcp_pair();
    let all = i32::try_from(PIECE_BYTES).expect("small");
    assert_eq!(send(&mut ring, near.as_raw_fd(), QUIET, Flags::empty()), [all]);
}

/// Fills `near`, then checks that exactly the bytes accounted for reach `far`.
fn short_and_refused_sends_are_posted(near: RawFd, mut far: impl Far, mut ring: IoUring) {
    let (all, short) = fill_by_pieces(&mut ring, near);
    eprintln!("{all} bytes, {short} sends short, then one refused");
    let mut sent = vec![0; all];
    far.read_exact(&mut sent).expect("what was accounted for is there");
    assert_eq!(events(&mut ring), [], "a refused send armed nothing that goes on now");
    // There is room again, soon. Whatever else had been sent would arrive before this.
    let last = (0..10_000).find_map(|_| {
        std::thread::yield_now();
        taken(&send(&mut ring, near, QUIET, Flags::SKIP_SUCCESS))
    });
    let mut rest = vec![0; last.expect("room, when all was read")];
    far.read_exact(&mut rest).expect("the last piece");
    far.set_nonblocking();
    assert_eq!(far.read(&mut rest).expect_err("nothing else").kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(events(&mut ring), []);
}

/// The end that is read from.
trait Far: Read {
    /// From now on, reading nothing is an error.
    fn set_nonblocking(&self);
}

impl Far for std::net::TcpStream {
    fn set_nonblocking(&self) {
        Self::set_nonblocking(self, true).expect("socket option");
    }
}

impl Far for UnixStream {
    fn set_nonblocking(&self) {
        Self::set_nonblocking(self, true).expect("socket option");
    }
}

#[test]
fn short_and_refused_sends_are_posted_on_tcp() {
    let Some(ring) = ring() else { return };
    let (near, far) = tcp_pair();
    far.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("socket option");
    short_and_refused_sends_are_posted(near.as_raw_fd(), far, ring);
}

#[test]
fn short_and_refused_sends_are_posted_on_unix_sockets() {
    let Some(ring) = ring() else { return };
    let (near, far) = UnixStream::pair().expect("pair");
    far.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("socket option");
    short_and_refused_sends_are_posted(near.as_raw_fd(), far, ring);
}

/// Submits one quiet send of [`PIECE`] in 16 parts, and spoils what described it as soon as the call is back.
fn send_parts(ring: &mut IoUring, fd: RawFd) -> Vec<i32> {
    const PARTS: usize = 16;
    let mut parts: Vec<libc::iovec> = PIECE
        .chunks(PIECE_BYTES / PARTS)
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
        .collect();
    assert_eq!(parts.len(), PARTS);
    // SAFETY: a msghdr is pointers and lengths, for which zero is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (parts.as_mut_ptr(), parts.len());
    let send = opcode::SendMsg::new(Fd(fd), &raw const header).flags(QUIET.cast_unsigned()).build();
    // SAFETY: the entry names the header, which names the parts, all of which outlive the call that consumes it; the
    // bytes are PIECE's, which is static and never written.
    unsafe { ring.submission().push(&send.flags(Flags::SKIP_SUCCESS)) }.expect("the queue is empty");
    assert_eq!(ring.submit().expect("submit"), 1);
    parts.fill(libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 });
    (header.msg_iov, header.msg_iovlen) = (std::ptr::null_mut(), 1);
    std::hint::black_box((&header, &parts));
    posted(ring)
}

#[test]
fn a_send_of_many_parts_keeps_the_same_contract() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    far.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("socket option");
    let (all, _) = fill(|| send_parts(&mut ring, near.as_raw_fd()));
    let mut sent = vec![0; all];
    far.read_exact(&mut sent).expect("what was accounted for is there");
    assert!(sent.iter().all(|byte| *byte == b'x'));
    assert_eq!(events(&mut ring), [], "a refused send armed nothing that goes on now");
}

/// Why `MSG_WAITALL` is part of the contract: without it a short send is a success, and bytes
/// would be lost without a word.
#[test]
fn without_waitall_a_short_send_is_silent() {
    let Some(mut ring) = ring() else { return };
    let flags = QUIET & !libc::MSG_WAITALL;
    // A socket may be filled by whole sends, too.
    let shown = (0..50).any(|_| {
        let (near, mut far) = tcp_pair();
        let silent = (0..10_000)
            .find(|_| send(&mut ring, near.as_raw_fd(), flags, Flags::SKIP_SUCCESS) == [-libc::EAGAIN])
            .expect("it fills");
        drop(near);
        let read = std::io::copy(&mut far, &mut std::io::sink()).expect("to the end");
        read < (silent * PIECE_BYTES) as u64
    });
    assert!(shown, "no send was short: nothing was shown");
}

#[test]
fn waiting_send_resumes_what_a_quiet_one_left() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    let (flags, whole) = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL, i32::try_from(PIECE_BYTES).expect("small"));
    let mut all = 0;
    // The kernel may make room between the refusal and this: then there was nothing to wait for.
    let waits = (0..1000).any(|_| {
        all += fill_by_pieces(&mut ring, near.as_raw_fd()).0 + PIECE_BYTES;
        match send(&mut ring, near.as_raw_fd(), flags, Flags::empty())[..] {
            [] => true,
            [at_once] => {
                assert_eq!(at_once, whole);
                false
            }
            ref many => panic!("one send posted {many:?}"),
        }
    });
    assert!(waits, "there was always room");
    let mut sent = vec![0; all];
    let reader = std::thread::spawn(move || far.read_exact(&mut sent).map(|()| far));
    ring.submit_and_wait(1).expect("the reader makes room");
    assert_eq!(posted(&mut ring), [whole]);
    reader.join().expect("reader").expect("every byte arrived");
}

#[test]
fn send_on_a_dead_connection_posts_the_error() {
    let Some(mut ring) = ring() else { return };
    let (near, far) = UnixStream::pair().expect("pair");
    drop(far);
    assert_eq!(send(&mut ring, near.as_raw_fd(), QUIET, Flags::SKIP_SUCCESS), [-libc::EPIPE]);
}

/// The completion of a short send stands before any receive that the peer's reaction causes: a
/// server that reads all completions before it sends again cannot let answers overtake.
#[test]
fn failure_is_posted_before_a_later_receive() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = tcp_pair();
    let mut byte = [0_u8];
    let receive = opcode::Recv::new(Fd(near.as_raw_fd()), byte.as_mut_ptr(), 1).build().user_data(7);
    // SAFETY: `byte` outlives the ring's use of it: its completion is awaited below.
    unsafe { ring.submission().push(&receive) }.expect("the queue is empty");
    ring.submit().expect("submit");
    far.write_all(b"y").expect("loopback");
    for _ in 0..10_000 {
        let len = u32::try_from(PIECE_BYTES).expect("small");
        let send = opcode::Send::new(Fd(near.as_raw_fd()), PIECE.as_ptr(), len).flags(QUIET);
        let send = send.build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry names only PIECE, which is static and never written.
        unsafe { ring.submission().push(&send) }.expect("the queue is empty");
        ring.submit().expect("submit");
        if !ring.completion().is_empty() {
            break;
        }
    }
    ring.submit_and_wait(2).expect("both are due");
    let order: Vec<u64> = ring.completion().map(|completion| completion.user_data()).collect();
    assert_eq!(order, [0, 7]);
    assert_eq!(byte, *b"y");
}

//! Bytes come in, and ends.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use super::{Got, LARGE_BYTES, Link, Rig, SMALL_BYTES, for_each_driver, pair, pattern};
use crate::driver::{Io, Op, Token, net};
use crate::mem::Group;

fn small_buffers_are_filled_until_the_end(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    rig.io.receive(link.server, token);
    rig.assert_quiet();
    let bytes = pattern(20 * SMALL_BYTES as usize);
    for part in bytes.chunks(3 * SMALL_BYTES as usize + 7) {
        link.client.write_all(part).expect("sent");
        assert_eq!(rig.receive_all(token, part.len()), part, "every byte in its place");
    }
    // More than there are buffers at a time: some receive finds none, and is begun again.
    link.client.write_all(&bytes).expect("sent");
    let mut all = Vec::new();
    while all.len() < bytes.len() {
        let before = all.len();
        rig.until("more has come", |got| !got.is_empty());
        all.append(&mut rig.received(token));
        assert!(all.len() > before || rig.got.iter().all(|got| got.result == -libc::ENOBUFS), "{:?}", rig.got);
        if rig.got.drain(..).any(|got| !got.more) {
            rig.io.receive(link.server, token);
        }
    }
    assert!(all == bytes);
    link.client.write_all(b"last").expect("sent");
    link.client.shutdown(Shutdown::Write).expect("a connection");
    rig.until("the end has come", |got| got.iter().any(|got| !got.more));
    let last = rig.got.pop().expect("it is the last");
    assert_eq!(last, Got { token, result: 0, more: false, bytes: None });
    assert_eq!(rig.received(token), b"last");
    rig.io.close(link.server);
}

fn a_receive_of_once_takes_no_more_than_was_said(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    let bytes = pattern(LARGE_BYTES as usize + 100);
    link.client.write_all(&bytes).expect("sent");
    let mut all = Vec::new();
    for (group, most) in [(Group::Small, 10), (Group::Large, 20), (Group::Reserved, 30), (Group::Large, 1 << 20)] {
        rig.io.receive_once(link.server, token, group, most);
        let Got { result, more, bytes, .. } = rig.one();
        let bytes = bytes.expect("with its buffer");
        let room = most.min(if group == Group::Small { SMALL_BYTES } else { LARGE_BYTES });
        assert!(!more && result > 0 && bytes.len() <= room as usize, "{result} of {room}");
        all.extend(bytes);
        rig.assert_quiet();
    }
    rig.io.receive(link.server, token);
    let left = bytes.len() - all.len();
    all.extend(rig.receive_all(token, left));
    assert!(all == bytes, "nothing is lost between");
}

fn what_is_thrown_away_is_counted_and_nothing_else_goes(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    rig.io.receive_and_discard(link.server, token, 1000);
    rig.assert_quiet();
    let bytes = pattern(3000);
    link.client.write_all(&bytes).expect("sent");
    let mut thrown = 0;
    while thrown < 2500 {
        let got = rig.one();
        assert!(got.result > 0 && !got.more && got.bytes.is_none(), "{got:?}");
        thrown += usize::try_from(got.result).expect("bytes");
        let most = u32::try_from(2500 - thrown).expect("few").min(1000);
        if most > 0 {
            rig.io.receive_and_discard(link.server, token, most);
        }
    }
    rig.io.receive(link.server, token);
    assert!(rig.receive_all(token, 500) == bytes[2500..]);
    link.client.shutdown(Shutdown::Write).expect("a connection");
    rig.until("the end has come", |got| got.iter().any(|got| got.result == 0));
}

fn a_cancelled_receive_says_so_and_loses_nothing(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    for round in 0..3 {
        rig.io.receive(link.server, token);
        rig.assert_quiet();
        rig.io.cancel(token);
        assert_eq!(rig.one(), Got { token, result: -libc::ECANCELED, more: false, bytes: None });
        link.client.write_all(&[round; 100]).expect("sent");
        rig.assert_quiet();
        // What is over cannot be cancelled.
        rig.io.cancel(token);
        rig.assert_quiet();
        rig.io.receive_once(link.server, token, Group::Large, 1000);
        assert_eq!(rig.one().bytes, Some(vec![round; 100]));
    }
}

fn no_buffer_is_no_loss(mut rig: Rig<impl Io>) {
    rig.posts = false;
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    let bytes = pattern(100 * SMALL_BYTES as usize / 2);
    let sender = bytes.clone();
    let mut client = link.client.try_clone().expect("a descriptor");
    let sent = std::thread::spawn(move || client.write_all(&sender));
    rig.io.receive(link.server, token);
    let mut all = Vec::new();
    while all.len() < bytes.len() {
        rig.until("it is over, or all is there", |got| {
            got.iter().any(|got| !got.more) || all.len() + super::received(got, token).len() == bytes.len()
        });
        all.append(&mut rig.received(token));
        if rig.got.drain(..).any(|got| got.result == -libc::ENOBUFS) {
            rig.post();
            rig.io.receive(link.server, token);
        }
    }
    assert!(all == bytes, "nothing is lost between");
    sent.join().expect("ends").expect("all is sent");
    link.client.write_all(b"and").expect("sent");
    rig.post();
    rig.until("one more comes", |got| super::received(got, token) == b"and");
}

fn urgent_bytes_hold_nothing_up(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    rig.io.receive(link.server, token);
    for _ in 0..20 {
        link.client.write_all(b"before").expect("sent");
        // SAFETY: the pointer is that of one byte, which outlives the call.
        let sent = unsafe { libc::send(link.client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        link.client.write_all(b"behind").expect("sent");
        let got = rig.receive_all(token, 12);
        assert_eq!(got, b"beforebehind");
    }
}

fn the_other_sides_end_is_told_and_its_reset_too(mut rig: Rig<impl Io>) {
    let (told, reset) = (rig.connect(), rig.connect());
    let names = [&told, &reset].map(|link| link.token(Op::Poll));
    for link in [&told, &reset] {
        rig.io.watch_end(link.server, link.token(Op::Poll));
    }
    rig.assert_quiet();
    told.client.shutdown(Shutdown::Write).expect("a connection");
    let got = rig.one();
    assert!(got.token == names[0] && got.result & i32::from(libc::POLLRDHUP) != 0, "{got:?}");
    assert!(got.result & i32::from(libc::POLLERR) == 0 && got.more);
    rig.assert_quiet();
    let (server, ..) = reset.reset();
    rig.until("a reset is told", |got| got.iter().any(|got| got.result & i32::from(libc::POLLERR) != 0));
    assert!(rig.got.drain(..).all(|got| got.token == names[1]));
    for token in names {
        rig.io.cancel(token);
    }
    rig.until("both are over", |got| got.iter().filter(|got| !got.more).count() == 2);
    rig.io.close(server);
    rig.io.close(told.server);
}

fn one_that_is_watched_late_is_told_at_once(mut rig: Rig<impl Io>) {
    let link = rig.connect();
    let token = link.token(Op::Receive);
    rig.io.receive(link.server, token);
    link.client.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(rig.one().result, 0);
    rig.io.watch_end(link.server, link.token(Op::Poll));
    let got = rig.one();
    assert!(got.token == link.token(Op::Poll) && got.result & i32::from(libc::POLLRDHUP) != 0, "{got:?}");
}

fn a_place_that_is_used_again_is_another(mut rig: Rig<impl Io>) {
    let first = rig.connect();
    let token = first.token(Op::Receive);
    rig.io.receive(first.server, token);
    rig.assert_quiet();
    rig.io.cancel(token);
    assert_eq!(rig.one().result, -libc::ECANCELED);
    // Its descriptor lives on elsewhere, as after a fork.
    let kept = first.client.try_clone().expect("a descriptor");
    let shadow = {
        // SAFETY: the call takes numbers; the descriptor is open.
        let fd = unsafe { libc::dup(first.server) };
        net::release(fd)
    };
    rig.io.close(first.server);
    let (client, server) = pair();
    let server = std::os::fd::IntoRawFd::into_raw_fd(server);
    let mut next = Link { client, server, generation: 2, slot: first.slot };
    let again: Token = next.token(Op::Receive);
    rig.io.receive(next.server, again);
    (&kept).write_all(b"to nobody").expect("sent");
    rig.assert_quiet();
    next.client.write_all(b"to the next").expect("sent");
    assert_eq!(rig.receive_all(again, 11), b"to the next");
    drop(shadow);
    rig.assert_quiet();
}

fn what_is_released_is_its_owners_alone(mut rig: Rig<impl Io>) {
    use std::io::Read;
    let mut link = rig.connect();
    let token = link.token(Op::Receive);
    rig.io.receive(link.server, token);
    rig.assert_quiet();
    rig.io.cancel(token);
    assert_eq!(rig.one().result, -libc::ECANCELED);
    let mut released = std::net::TcpStream::from(rig.io.release(link.server));
    link.client.write_all(b"bytes").expect("sent");
    rig.assert_quiet();
    let mut bytes = [0; 5];
    released.read_exact(&mut bytes).expect("it waits again");
    assert_eq!(&bytes, b"bytes");
}

for_each_driver!(
    small_buffers_are_filled_until_the_end,
    a_receive_of_once_takes_no_more_than_was_said,
    what_is_thrown_away_is_counted_and_nothing_else_goes,
    a_cancelled_receive_says_so_and_loses_nothing,
    no_buffer_is_no_loss,
    urgent_bytes_hold_nothing_up,
    the_other_sides_end_is_told_and_its_reset_too,
    one_that_is_watched_late_is_told_at_once,
    a_place_that_is_used_again_is_another,
    what_is_released_is_its_owners_alone,
);

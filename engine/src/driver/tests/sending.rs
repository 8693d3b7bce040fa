//! Bytes go out, and wait for room.

use std::io::{self, Read};
use std::net::Shutdown;

use super::{Link, Rig, for_each_driver, pattern};
use crate::driver::{Io, Op, SEND_PARTS_MAX, SendMode, Wait};
use crate::mem::Lent;

/// Sends as much as the socket takes, from `bytes` on; gives how much that is. Then the socket is full.
fn fill<I: Io>(rig: &mut Rig<I>, link: &Link, bytes: &[u8]) -> usize {
    let token = link.token(Op::Send);
    let mut sent = 0;
    loop {
        let part = Lent::of_kept(&bytes[sent..]);
        rig.io.send(link.server, token, &[part], SendMode::Silent);
        rig.turn(Wait::No);
        let got = rig.got.pop().expect("it falls short");
        assert!(got.token == token && !got.more && rig.got.is_empty(), "{got:?}");
        match usize::try_from(got.result) {
            Ok(more) => sent += more,
            Err(_) => {
                assert_eq!(got.result, -libc::EAGAIN);
                return sent;
            }
        }
    }
}

/// Fills a socket and awaits room, until that does not come by itself: the kernels may move bytes on meanwhile. Gives
/// how much was sent in all.
fn fill_and_await<I: Io>(rig: &mut Rig<I>, link: &Link, bytes: &[u8], lasting: bool) -> usize {
    let token = link.token(Op::Room);
    let mut sent = 0;
    for _ in 0..1000 {
        sent += fill(rig, link, &bytes[sent..]);
        rig.io.await_room(link.server, token, lasting);
        (0..3).for_each(|_| rig.turn(Wait::No));
        let found = |bits: i16| rig.got.iter().any(|got| got.result & i32::from(bits) != 0);
        if !found(libc::POLLOUT) {
            return sent;
        }
        if lasting {
            rig.io.cancel(token);
            rig.until("it is over", |got| got.iter().any(|got| !got.more));
        }
        rig.got.clear();
    }
    panic!("there is always room");
}

fn sends_that_are_taken_say_nothing(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let bytes = pattern(SEND_PARTS_MAX * 100);
    let parts: Vec<Lent> = bytes.chunks(100).map(Lent::of_kept).collect();
    rig.io.send(link.server, link.token(Op::Send), &parts, SendMode::Ahead);
    rig.assert_quiet();
    rig.io.send(link.server, link.token(Op::Send), &parts[..1], SendMode::Silent);
    rig.assert_quiet();
    let mut got = vec![0; bytes.len() + 100];
    link.client.read_exact(&mut got).expect("sent");
    assert!(got == [&bytes[..], &bytes[..100]].concat());
}

fn nothing_has_reached_the_other_side_before_the_turn(mut rig: Rig<impl Io>) {
    let bytes = pattern(300);
    let parts: Vec<Lent> = bytes.chunks(100).map(Lent::of_kept).collect();
    let mut links: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    for round in 0..3 {
        for (count, link) in links.iter().enumerate() {
            rig.io.send(link.server, link.token(Op::Send), &parts[..=count], SendMode::Silent);
        }
        for link in &mut links {
            link.client.set_nonblocking(true).expect("a socket");
            let early = link.client.read(&mut [0; 300]).expect_err("nothing was sent");
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock, "{round}");
        }
        rig.assert_quiet();
        for (count, link) in links.iter_mut().enumerate() {
            link.client.set_nonblocking(false).expect("a socket");
            let mut got = vec![0; 100 * (count + 1)];
            link.client.read_exact(&mut got).expect("sent");
            assert!(got == bytes[..got.len()]);
        }
    }
}

fn a_send_that_falls_short_says_how_far_it_came(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let bytes = pattern(4 << 20);
    let parts: Vec<Lent> = bytes.chunks(bytes.len() / SEND_PARTS_MAX).map(Lent::of_kept).collect();
    rig.io.send(link.server, link.token(Op::Send), &parts, SendMode::Silent);
    let got = rig.one();
    let sent = usize::try_from(got.result).expect("a part");
    assert!(got.token == link.token(Op::Send) && sent > 0 && sent < bytes.len() && !got.more, "{sent}");
    let sent = sent + fill(&mut rig, &link, &bytes[sent..]);
    let mut taken = vec![0; sent];
    link.client.read_exact(&mut taken).expect("sent");
    assert!(taken == bytes[..sent], "every byte in its place");
}

fn room_is_told_of_once_there_is_some(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let bytes = pattern(8 << 20);
    let token = link.token(Op::Room);
    for _ in 0..3 {
        let sent = fill_and_await(&mut rig, &link, &bytes, false);
        let mut taken = vec![0; sent];
        link.client.read_exact(&mut taken).expect("sent");
        let got = rig.one();
        assert!(got.token == token && got.result & i32::from(libc::POLLOUT) != 0 && !got.more, "{got:?}");
    }
    // Where there is room, it is told of at once.
    rig.io.await_room(link.server, token, false);
    assert!(rig.one().result & i32::from(libc::POLLOUT) != 0);
}

fn of_half_closed_clients_a_lasting_poll_waits_for_room(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let bytes = pattern(4 << 20);
    let (token, rdhup) = (link.token(Op::Room), i32::from(libc::POLLRDHUP));
    let sent = fill_and_await(&mut rig, &link, &bytes, false);
    link.client.shutdown(Shutdown::Write).expect("a connection");
    let got = rig.one();
    assert!(got.token == token && got.result & rdhup != 0 && !got.more, "{got:?}");
    let sent = sent + fill_and_await(&mut rig, &link, &bytes[sent..], true);
    // It may say once what holds already.
    assert!(rig.got.len() <= 1 && rig.got.iter().all(|got| got.result == rdhup && got.more), "{:?}", rig.got);
    rig.got.clear();
    rig.assert_quiet();
    let mut taken = vec![0; sent];
    link.client.read_exact(&mut taken).expect("sent");
    rig.until("there is room", |got| got.iter().any(|got| got.result & i32::from(libc::POLLOUT) != 0));
    assert!(rig.got.drain(..).all(|got| got.token == token && got.more));
    rig.io.cancel(token);
    rig.until("it is over", |got| got.iter().any(|got| got.result == -libc::ECANCELED && !got.more));
}

fn a_cancelled_poll_for_room_says_so(mut rig: Rig<impl Io>) {
    let link = rig.connect();
    let (bytes, token) = (pattern(8 << 20), link.token(Op::Room));
    let mut sent = 0;
    for lasting in [false, true] {
        sent += fill_and_await(&mut rig, &link, &bytes[sent..], lasting);
        rig.got.clear();
        rig.io.cancel(token);
        let got = rig.one();
        assert!(got.token == token && got.result == -libc::ECANCELED && !got.more, "{got:?}");
    }
}

fn who_is_gone_is_told_and_nobody_is_signalled(mut rig: Rig<impl Io>) {
    let link = rig.connect();
    let (token, room) = (link.token(Op::Send), link.token(Op::Room));
    fill_and_await(&mut rig, &link, &pattern(4 << 20), false);
    let (server, ..) = link.reset();
    let got = rig.one();
    assert!(got.token == room && got.result & i32::from(libc::POLLERR | libc::POLLHUP) != 0 && !got.more, "{got:?}");
    for _ in 0..2 {
        rig.io.send(server, token, &[Lent::of_static(b"late")], SendMode::Silent);
        let got = rig.one();
        assert!(got.token == token && matches!(-got.result, libc::EPIPE | libc::ECONNRESET), "{got:?}");
    }
    rig.io.close(server);
}

for_each_driver!(
    sends_that_are_taken_say_nothing,
    nothing_has_reached_the_other_side_before_the_turn,
    a_send_that_falls_short_says_how_far_it_came,
    room_is_told_of_once_there_is_some,
    of_half_closed_clients_a_lasting_poll_waits_for_room,
    a_cancelled_poll_for_room_says_so,
    who_is_gone_is_told_and_nobody_is_signalled,
);

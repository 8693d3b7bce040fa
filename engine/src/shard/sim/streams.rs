//! Directed tests of responses in pieces: what goes into a send, who waits for whom, files and cells, and every end.

use std::fs::File;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{BodyLength, Options, Rig, answer, answer_with, head_of, target};
use super::streaming::{Flag, letters};
use crate::config::{Config, STAGE_BYTES};
use crate::driver::fake::Faults;
use crate::queue::{Answered, Lease, Signals, Tail};
use crate::record::RequestRecord;
use crate::stream::{Data, FileRange, OutStream, Outgoing, Piece};

const STAGE: usize = STAGE_BYTES as usize;
/// A part of a file that is read into a cell.
const SHORT: usize = 32 * 1024;

pub(super) fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

pub(super) fn memory(text: &str) -> Piece {
    Piece::Content(Data::Bytes(Bytes::copy_from_slice(text.as_bytes()).into()))
}

pub(super) fn part(file: &Arc<File>, from: usize, len: usize) -> Piece {
    let (from, len) = (from as u64, len as u64);
    Piece::Content(Data::File(FileRange::new(Arc::clone(file), from..from + len)))
}

/// What is in a file of `letters`.
pub(super) fn text_of(from: usize, len: usize) -> String {
    (from..from + len).map(|place| char::from(b'a' + u8::try_from(place % 26).expect("below 26"))).collect()
}

fn streamed(answered: Answered, stream: &Arc<OutStream>) -> Answered {
    Answered { tail: Tail::Stream(Outgoing::new(Arc::clone(stream), answered.head.len)), ..answered }
}

/// A streamed response of a body of so many bytes; the handle stays.
pub(super) fn start(lease: &Lease<RequestRecord>, body_len: usize) -> Arc<OutStream> {
    let stream = OutStream::new(64, 100_000);
    let filled = lease.answer(|area| Ok::<_, ()>(streamed(head_of(area, BodyLength::Known(body_len), false), &stream)));
    assert!(matches!(filled, Some(Ok(()))), "the request is open");
    stream
}

pub(super) fn push(lease: &Lease<RequestRecord>, stream: &OutStream, piece: Piece) {
    stream.push(piece);
    lease.tell(Signals::SEND);
}

pub(super) fn finish(lease: &Lease<RequestRecord>, stream: &OutStream) {
    stream.finish();
    lease.tell(Signals::SEND);
}

/// A whole response in these pieces; the handle goes with it.
pub(super) fn respond(lease: Lease<RequestRecord>, pieces: Vec<Piece>) -> Arc<OutStream> {
    let len = pieces.iter().map(Piece::content_len).sum::<u64>();
    let stream = OutStream::whole(pieces);
    let len = usize::try_from(len).expect("short");
    match lease.fill(|area| Ok::<_, ()>(streamed(head_of(area, BodyLength::Known(len), false), &stream))) {
        Some(Ok(filled)) => lease.submit(filled),
        _ => panic!("the request is open"),
    }
    stream
}

/// A rig with a client that has asked once, and its request.
pub(super) fn asked(options: Options, room: usize) -> (Rig, usize, Lease<RequestRecord>) {
    let mut rig = Rig::with(options);
    let client = rig.connect_with_room(room);
    rig.say(client, get("1"));
    let lease = rig.claim();
    (rig, client, lease)
}

pub(super) fn stages(count: u32) -> Options {
    let config = Config { file_buffers: count, ..Options::default().config };
    Options { config, ..Options::default() }
}

pub(super) fn leave(mut rig: Rig, client: usize) {
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn the_head_goes_at_once_and_pieces_follow_as_they_come() {
    let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
    let stream = start(&lease, 11);
    rig.settle();
    let head = rig.heard(client);
    assert!(head.ends_with("Content-Length: 11\r\n\r\n") && head.contains(" GMT\r\n"), "{head}");
    push(&lease, &stream, memory("first "));
    rig.settle();
    assert_eq!(rig.heard(client), "first ");
    push(&lease, &stream, memory("last"));
    push(&lease, &stream, memory("!"));
    rig.settle();
    assert_eq!((rig.heard(client).as_str(), stream.is_complete()), ("last!", false));
    finish(&lease, &stream);
    rig.settle();
    assert!(stream.is_complete());
    drop(lease);
    rig.say(client, get("2"));
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/2"]);
    leave(rig, client);
}

#[test]
fn everything_that_is_there_goes_in_one_turn() {
    let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
    let stream = start(&lease, 30);
    (0..3).for_each(|_| push(&lease, &stream, memory("0123456789")));
    finish(&lease, &stream);
    // Takes the response, sends it, and finds it sent.
    rig.turn();
    assert!(rig.heard(client).ends_with(&"0123456789".repeat(3)) && stream.is_complete());
    drop(lease);
    rig.settle();
    leave(rig, client);
}

#[test]
fn a_sender_is_woken_before_the_shard_sleeps() {
    let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
    let stream = start(&lease, 200_000);
    push(&lease, &stream, memory(&"x".repeat(100_000)));
    assert!(!stream.has_room());
    let flag = Arc::new(Flag::default());
    stream.await_room(&Waker::from(Arc::clone(&flag)));
    rig.settle();
    assert!(flag.is_up() && stream.has_room());
    let flag = Arc::new(Flag::default());
    stream.await_end(&Waker::from(Arc::clone(&flag)));
    push(&lease, &stream, memory(&"x".repeat(100_000)));
    finish(&lease, &stream);
    rig.settle();
    assert!(flag.is_up() && stream.is_complete());
    assert_eq!(rig.heard(client).matches('x').count(), 200_000);
    drop(lease);
    rig.settle();
    leave(rig, client);
}

#[test]
fn a_slow_client_stops_its_sender_only() {
    let (mut rig, client, lease) = asked(Options::default(), 1000);
    let stream = start(&lease, 200_000);
    push(&lease, &stream, memory(&"x".repeat(100_000)));
    rig.settle();
    assert!(!stream.has_room() || stream.sent() > 0);
    let sent = stream.sent();
    assert!(sent < 1000 && rig.counters.sends_short.read() > 0);
    let other = rig.connect();
    rig.say(other, get("2"));
    rig.serve();
    assert_eq!(rig.heard_answers(other), ["/a/2"]);
    assert_eq!(stream.sent(), sent, "nothing moves without its client");
    push(&lease, &stream, memory(&"x".repeat(100_000)));
    finish(&lease, &stream);
    let mut heard = 0;
    while !stream.is_complete() || rig.shard.protocol.transport.io.readable(client) > 0 {
        heard += rig.heard(client).matches('x').count();
        rig.settle();
    }
    assert_eq!((heard, stream.sent()), (200_000, 200_000));
    drop(lease);
    rig.shard.protocol.transport.io.end(other);
    rig.settle();
    leave(rig, client);
}

#[test]
fn answers_behind_a_stream_wait_and_follow_at_once() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1") + &get("2") + &get("3"));
    let mut leases = rig.claim_all();
    let (third, second, first) = (leases.pop(), leases.pop(), leases.pop().expect("three"));
    let stream = start(&first, 3);
    let behind = respond(third.expect("three"), vec![memory("[third]")]);
    answer(second.expect("two"));
    rig.settle();
    assert!(rig.heard(client).ends_with("\r\n\r\n") && !behind.is_complete());
    push(&first, &stream, memory("[1]"));
    finish(&first, &stream);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.starts_with("[1]HTTP/1.1 200 OK") && heard.ends_with("[third]"), "{heard}");
    assert!(heard.contains("[/a/2]HTTP/1.1") && behind.is_complete());
    drop(first);
    rig.settle();
    leave(rig, client);
}

#[test]
fn a_head_and_the_first_of_a_file_are_one_send() {
    let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
    let file = letters(SHORT);
    let stream = respond(lease, vec![memory("<"), part(&file, 5, SHORT - 5), memory(">")]);
    rig.turn();
    assert_eq!(rig.heard(client), "", "nothing goes out before the file is read");
    rig.turn();
    assert!(rig.heard(client).ends_with(&format!("\r\n\r\n<{}>", text_of(5, SHORT - 5))));
    rig.settle();
    assert!(stream.is_complete() && stream.sent() == SHORT as u64 - 3);
    leave(rig, client);
}

#[test]
fn files_are_sent_whole_whatever_reads_and_sends_do() {
    for seed in 0..60 {
        let faults = Faults {
            sendfile_missing: [0, 200, 1000][usize::try_from(seed).expect("small") % 3],
            send_short: 300,
            send_refused: 200,
            send_cut: 300,
            read_short: 500,
            read_late: 500,
            late: 300,
            ..Faults::default()
        };
        let (mut rig, client, lease) = asked(Options { faults, seed, ..stages(1) }, 5000);
        let file = letters(100_000);
        let pieces = vec![part(&file, 0, 1), memory("-"), part(&file, 7, 90_000), part(&file, 3, 10), memory("!")];
        let expected = format!("a-{}{}!", text_of(7, 90_000), text_of(3, 10));
        let stream = respond(lease, pieces);
        let mut heard = String::new();
        for _ in 0..20_000 {
            rig.turn();
            heard += &rig.heard(client);
            if stream.is_complete() {
                break;
            }
        }
        rig.settle();
        heard += &rig.heard(client);
        assert!(heard.ends_with(&format!("\r\n\r\n{expected}")), "seed {seed}");
        leave(rig, client);
    }
}

#[test]
fn connections_wait_for_a_cell_and_each_gets_one() {
    let mut rig = Rig::with(stages(1));
    let file = letters(SHORT * 2);
    // The first client's file is on a disk that stands still: its read keeps the only cell.
    let slow = rig.connect();
    let clients: Vec<usize> = (0..5).map(|_| rig.connect()).collect();
    rig.shard.protocol.transport.io.faults.reads_hang = true;
    rig.say(slow, get("0"));
    let held = respond(rig.claim(), vec![part(&file, 0, SHORT)]);
    rig.settle();
    assert_eq!(rig.shard.protocol.dispatch.side().cells.stage.in_use(), 1);
    clients.iter().for_each(|client| rig.say(*client, get("1")));
    let leases = rig.claim_all();
    let streams: Vec<_> =
        leases.into_iter().map(|lease| respond(lease, vec![memory("m"), part(&file, 1, SHORT)])).collect();
    rig.settle();
    assert!(
        clients.iter().all(|client| rig.shard.protocol.transport.io.readable(*client) < 200),
        "only what is in memory goes out"
    );
    assert_eq!(rig.shard.protocol.transport.cell_waiters.len(), 5);
    // One of those that wait goes, and then the one that keeps the cell.
    rig.shard.protocol.transport.io.reset(clients[1]);
    rig.settle();
    assert!(streams[1].is_gone());
    rig.shard.protocol.transport.io.reset(slow);
    rig.settle();
    assert!(held.is_gone());
    rig.shard.protocol.transport.io.faults.reads_hang = false;
    rig.settle();
    for (index, client) in clients.iter().enumerate().filter(|(index, _)| *index != 1) {
        assert!(streams[index].is_complete(), "client {index} waits for ever");
        assert!(rig.heard(*client).ends_with(&("m".to_owned() + &text_of(1, SHORT))));
        rig.shard.protocol.transport.io.end(*client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn clients_that_do_not_read_keep_no_cell_from_others() {
    let mut rig = Rig::with(stages(1));
    let file = letters(SHORT * 2);
    let ask = |rig: &mut Rig, room| {
        let client = rig.connect_with_room(room);
        rig.say(client, get("1"));
        let stream = respond(rig.claim(), vec![memory("m"), part(&file, 1, SHORT)]);
        rig.settle();
        (client, stream)
    };
    let slow: Vec<_> = (0..5).map(|_| ask(&mut rig, 10_000)).collect();
    assert_eq!(rig.counters.sends_short.read(), 5, "each has taken a part");
    let (other, stream) = ask(&mut rig, 1 << 20);
    assert!(stream.is_complete() && rig.heard(other).ends_with(&("m".to_owned() + &text_of(1, SHORT))));
    rig.shard.protocol.transport.io.end(other);
    for (client, stream) in slow {
        let mut heard = String::new();
        while !stream.is_complete() {
            heard += &rig.heard(client);
            rig.settle();
        }
        heard += &rig.heard(client);
        assert!(heard.ends_with(&("m".to_owned() + &text_of(1, SHORT))), "what was read again is in its place");
        rig.shard.protocol.transport.io.end(client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_file_that_ends_early_or_cannot_be_read_cuts_the_answer() {
    for failed in [false, true] {
        let faults = Faults { read_failed: if failed { 1000 } else { 0 }, ..Faults::default() };
        let (mut rig, client, lease) = asked(Options { faults, ..Options::default() }, 1 << 20);
        let file = letters(1000);
        let len = if failed { 1000 } else { 1001 };
        let stream = respond(lease, vec![memory("m"), part(&file, 0, len)]);
        rig.settle();
        assert!(stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client));
        assert_eq!(rig.counters.responses_truncated.read(), 1);
        rig.assert_idle();
    }
}

#[test]
fn a_client_may_go_in_every_state_of_a_stream() {
    let file = letters(STAGE * 4);
    // What the stream does when the client goes, and after how many turns that is.
    for (number, turns) in (0..8).flat_map(|number| (0..6).map(move |turns| (number, turns))) {
        for (room, reset) in [(1 << 20, true), (3000, true), (3000, false)] {
            let faults = Faults { read_late: 500, cancel_late: 500, ..Faults::default() };
            let (mut rig, client, lease) = asked(Options { faults, seed: number, ..stages(2) }, room);
            let stream = start(&lease, STAGE * 4 + 1);
            push(&lease, &stream, if number % 2 == 0 { memory("m") } else { part(&file, 0, 1) });
            (0..turns).for_each(|_| rig.turn());
            push(&lease, &stream, part(&file, 0, STAGE * 4));
            if number >= 4 {
                finish(&lease, &stream);
            }
            (0..turns).for_each(|_| rig.turn());
            if reset {
                rig.shard.protocol.transport.io.reset(client);
            } else {
                rig.shard.protocol.transport.io.end(client);
                rig.settle();
                (0..7).for_each(|_| rig.pass(Duration::from_secs(11)));
            }
            rig.settle();
            assert!(stream.is_gone() != stream.is_complete(), "case {number}, {turns} turns, room {room}");
            if let Some(Err(())) | Some(Ok(_)) = lease.fill(|_| Err::<Answered, _>(())) {
                panic!("it was answered");
            }
            drop(lease);
            rig.settle();
            rig.shard.protocol.transport.io.end(client);
            rig.settle();
            rig.pass(Duration::from_secs(121));
            rig.assert_idle();
        }
    }
}

#[test]
fn an_abort_resets_the_client_in_every_state() {
    let file = letters(STAGE * 4);
    for (turns, room) in (0..6).flat_map(|turns| [(turns, 1 << 20), (turns, 100), (turns, 3000)]) {
        let faults = Faults { read_late: 500, ..Faults::default() };
        let (mut rig, client, lease) = asked(Options { faults, seed: turns, ..stages(1) }, room);
        let stream = start(&lease, STAGE * 4 + 1);
        push(&lease, &stream, part(&file, 0, STAGE * 4));
        (0..turns).for_each(|_| rig.turn());
        stream.abort();
        lease.tell(Signals::SEND);
        drop(lease);
        rig.settle();
        assert!(
            stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client),
            "after {turns} turns, room {room}"
        );
        assert_eq!(rig.counters.responses_truncated.read(), 1);
        rig.assert_idle();
    }
}

#[test]
fn a_read_that_never_ends_is_cancelled_with_its_answer() {
    for (aborts, len) in [(true, 10), (false, 10), (true, SHORT + 1), (false, SHORT + 1)] {
        let faults = Faults { reads_hang: true, ..Faults::default() };
        let (mut rig, client, lease) = asked(Options { faults, ..stages(1) }, 1 << 20);
        let stream = start(&lease, len);
        push(&lease, &stream, part(&letters(len), 0, len));
        rig.settle();
        if aborts {
            stream.abort();
            lease.tell(Signals::SEND);
        } else {
            rig.shard.protocol.transport.io.reset(client);
        }
        drop(lease);
        rig.settle();
        assert!(stream.is_gone());
        rig.assert_idle();
    }
}

#[test]
fn an_abort_behind_other_answers_waits_for_its_turn() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1") + &get("2"));
    let (first, second) = (rig.claim(), rig.claim());
    let stream = start(&second, 10);
    stream.abort();
    second.tell(Signals::SEND);
    drop(second);
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.was_reset(client), "the first answer is still to come");
    answer_with(first, "", false);
    rig.turn();
    rig.settle();
    assert!(stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client));
    rig.assert_idle();
}

#[test]
fn a_stop_lets_streams_end_and_cuts_them_when_its_time_is_over() {
    for in_time in [true, false] {
        let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
        let stream = start(&lease, 4);
        push(&lease, &stream, memory("ab"));
        rig.settle();
        rig.stop(Duration::from_secs(60));
        rig.settle();
        assert!(!rig.shard.is_done(), "the answer is owed");
        if in_time {
            push(&lease, &stream, memory("cd"));
            finish(&lease, &stream);
            rig.settle();
            assert!(stream.is_complete() && rig.heard(client).ends_with("abcd"));
            rig.shard.protocol.transport.io.end(client);
        } else {
            rig.pass(Duration::from_secs(61));
            assert!(stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client));
        }
        drop(lease);
        rig.settle();
        rig.end();
    }
}

#[test]
fn a_handle_that_outlives_its_shard_finds_the_stream_gone() {
    let (mut rig, _, lease) = asked(Options::default(), 1 << 20);
    let stream = start(&lease, 4);
    rig.settle();
    rig.stop(Duration::ZERO);
    for _ in 0..1000 {
        if rig.shard.is_done() {
            break;
        }
        rig.turn();
    }
    rig.shard.end();
    assert!(stream.is_gone());
    // Whoever still tells it something does no harm.
    lease.tell(Signals::SEND);
    assert_eq!(target(&lease), "/a/1", "the request can still be read");
}

#[test]
fn a_shard_that_fails_tells_the_senders_of_its_streams() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(100);
    rig.say(client, get("1") + &get("2") + &get("3"));
    let mut leases = rig.claim_all();
    let (third, second, first) = (leases.pop().expect("three"), leases.pop().expect("two"), leases.pop().expect("one"));
    let streams = [start(&first, 1000), start(&second, 4)];
    push(&first, &streams[0], memory(&"x".repeat(500)));
    rig.settle();
    let late = start(&third, 4);
    let flag = Arc::new(Flag::default());
    streams[0].await_room(&Waker::from(Arc::clone(&flag)));
    rig.shard.protocol.transport.io.failed = true;
    rig.shard.give_up();
    assert!(streams.iter().all(|stream| stream.is_gone()) && flag.is_up() && late.is_gone());
}

#[test]
fn a_queue_of_many_small_pieces_is_sent_in_few_sends() {
    let (mut rig, client, lease) = asked(Options::default(), 1 << 20);
    let stream = start(&lease, 64);
    for _ in 0..64 {
        push(&lease, &stream, memory("f"));
    }
    finish(&lease, &stream);
    for _ in 0..9 {
        rig.turn();
    }
    assert!(rig.heard(client).ends_with(&"f".repeat(64)) && stream.is_complete());
    drop(lease);
    rig.settle();
    leave(rig, client);
}

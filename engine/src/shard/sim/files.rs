//! Directed tests of longer parts of files, which the helper sends: order, full sockets, judging, and every end.

use std::rc::Rc;
use std::time::Duration;

use super::rig::{Options, Rig};
use super::streaming::letters;
use super::streams::{asked, finish, get, leave, memory, part, push, respond, start, text_of};
use crate::driver::Op;
use crate::driver::fake::Faults;

/// Longer than what is read into a cell.
const LONG: usize = 40_000;

fn with(faults: Faults) -> Options {
    Options { faults, ..Options::default() }
}

/// Reads a client's answer to its end as the socket fills again and again.
fn read_all(rig: &mut Rig, client: usize) -> String {
    let mut all = String::new();
    loop {
        rig.settle();
        let more = rig.heard(client);
        if more.is_empty() {
            return all;
        }
        all += &more;
    }
}

#[test]
fn long_parts_keep_their_order_among_memory_and_short_ones() {
    for room in [1 << 20, 5000] {
        let (mut rig, client, lease) = asked(Options::default(), room);
        let file = letters(LONG * 3);
        let pieces = vec![
            memory("<"),
            part(&file, 5, LONG),
            part(&file, 1, 10),
            memory("-"),
            part(&file, 0, LONG * 3),
            part(&file, 2, LONG),
        ];
        let expected = format!("<{}{}-{}{}", text_of(5, LONG), text_of(1, 10), text_of(0, LONG * 3), text_of(2, LONG));
        let stream = respond(lease, pieces);
        assert!(read_all(&mut rig, client).ends_with(&("\r\n\r\n".to_owned() + &expected)), "room {room}");
        assert!(stream.is_complete());
        rig.say(client, get("2"));
        rig.serve();
        assert_eq!(rig.heard_answers(client), ["/a/2"], "the connection goes on");
        leave(rig, client);
    }
}

#[test]
fn a_long_part_needs_no_cell() {
    let config = crate::config::Config { file_buffers: 1, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let file = letters(LONG);
    let clients: Vec<usize> = (0..5).map(|_| rig.connect_with_room(1000)).collect();
    clients.iter().for_each(|client| rig.say(*client, get("1")));
    let streams: Vec<_> = rig.claim_all().into_iter().map(|lease| respond(lease, vec![part(&file, 0, LONG)])).collect();
    rig.settle();
    assert_eq!(rig.shard.protocol.dispatch.side().cells.stage.in_use(), 0);
    for (client, stream) in clients.iter().zip(&streams) {
        assert!(stream.sent() > 0, "all are under way");
        assert!(read_all(&mut rig, *client).ends_with(&text_of(0, LONG)));
        assert!(stream.is_complete());
        rig.shard.protocol.transport.io.end(*client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_long_part_that_ends_early_or_fails_cuts_the_answer() {
    for (failed, there) in [(true, LONG), (false, LONG - 1), (false, 0)] {
        let faults = Faults { read_failed: if failed { 1000 } else { 0 }, ..Faults::default() };
        let (mut rig, client, lease) = asked(with(faults), 1 << 20);
        let stream = respond(lease, vec![memory("m"), part(&letters(there), 0, LONG)]);
        rig.settle();
        assert!(stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client));
        assert_eq!(rig.counters.responses_truncated.read(), 1);
        rig.assert_idle();
    }
}

#[test]
fn a_file_that_is_no_file_to_send_is_read() {
    let faults = Faults { sendfile_missing: 1000, ..Faults::default() };
    let (mut rig, client, lease) = asked(with(faults), 1 << 20);
    let file = letters(LONG * 4);
    let stream = respond(lease, vec![part(&file, 3, LONG * 3), memory("-"), part(&file, 0, LONG)]);
    let heard = read_all(&mut rig, client);
    assert!(heard.ends_with(&format!("{}-{}", text_of(3, LONG * 3), text_of(0, LONG))) && stream.is_complete());
    leave(rig, client);
}

#[test]
fn a_client_that_takes_nothing_of_a_file_is_judged_as_any_other() {
    let (mut rig, client, lease) = asked(Options::default(), 3000);
    let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
    rig.settle();
    (0..9).for_each(|_| rig.pass(Duration::from_secs(6)));
    assert!(!stream.is_gone(), "it has a minute");
    (0..2).for_each(|_| rig.pass(Duration::from_secs(6)));
    assert!(stream.is_gone() && rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!(rig.counters.send_rate_timeouts.read(), 1);
    rig.assert_idle();
}

#[test]
fn a_client_that_takes_enough_of_a_file_lives() {
    let (mut rig, client, lease) = asked(Options::default(), 3000);
    let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
    let mut heard = String::new();
    for _ in 0..38 {
        rig.settle();
        heard += &String::from_utf8_lossy(&rig.shard.protocol.transport.io.read(client, 1100));
        rig.pass(Duration::from_secs(6));
    }
    heard += &read_all(&mut rig, client);
    assert!(stream.is_complete() && heard.ends_with(&text_of(0, LONG)));
    leave(rig, client);
}

#[test]
fn a_client_is_not_blamed_for_a_slow_disk() {
    let (mut rig, client, lease) = asked(Options::default(), 3000);
    let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
    rig.settle();
    rig.pass(Duration::from_secs(4));
    // The client takes all there is, and the disk stands still.
    rig.shard.protocol.transport.io.faults.reads_hang = true;
    let mut heard = rig.heard(client);
    rig.settle();
    (0..10).for_each(|_| rig.pass(Duration::from_secs(6)));
    assert!(!stream.is_gone());
    rig.shard.protocol.transport.io.faults.reads_hang = false;
    heard += &read_all(&mut rig, client);
    assert!(stream.is_complete() && heard.ends_with(&text_of(0, LONG)));
    assert_eq!(rig.counters.timeouts.read(), 0);
    leave(rig, client);
}

#[test]
fn a_client_that_has_ended_its_side_gets_the_whole_file() {
    let (mut rig, client, lease) = asked(Options::default(), 3000);
    rig.shard.protocol.transport.io.end(client);
    let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
    // A shard that polled for it in vain would find no rest here.
    let heard = read_all(&mut rig, client);
    assert!(stream.is_complete() && heard.ends_with(&text_of(0, LONG)));
    rig.settle();
    rig.assert_idle();
}

#[test]
fn answers_behind_a_file_wait_for_its_last_byte() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(3000);
    rig.say(client, get("1") + &get("2"));
    let (first, second) = (rig.claim(), rig.claim());
    let behind = respond(second, vec![memory("[second]")]);
    let stream = start(&first, LONG + 1);
    push(&first, &stream, part(&letters(LONG), 0, LONG));
    let heard = read_all(&mut rig, client);
    assert!(heard.ends_with(&text_of(0, LONG)) && !behind.is_complete());
    push(&first, &stream, memory("!"));
    finish(&first, &stream);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.starts_with("!HTTP/1.1 200") && heard.ends_with("[second]"), "{heard}");
    drop(first);
    rig.settle();
    leave(rig, client);
}

#[test]
fn a_stop_does_not_wait_for_a_disk_that_never_answers() {
    for len in [10, LONG] {
        let faults = Faults { reads_stuck: true, ..Faults::default() };
        let (mut rig, client, lease) = asked(with(faults), 1 << 20);
        let stream = respond(lease, vec![part(&letters(LONG), 0, len)]);
        let other = rig.connect();
        rig.say(other, get("2"));
        rig.serve();
        assert_eq!(rig.heard_answers(other), ["/a/2"], "others are served");
        rig.stop(Duration::from_secs(1));
        rig.settle();
        rig.pass(Duration::from_secs(2));
        assert!(!rig.shard.is_done(), "the disk has some time");
        rig.pass(Duration::from_secs(6));
        assert!(rig.shard.is_done());
        rig.shard.protocol.transport.io.failed = true;
        rig.shard.end();
        assert!(stream.is_gone(), "client {client}");
    }
}

/// What becomes of a shard.
#[derive(Clone, Copy, Debug)]
enum Fall {
    /// The ring fails.
    Fails,
    /// The loop panics, while it handles completions or later.
    Panics,
}

/// Ends a shard that has fallen. Every socket is closed by then, each by one: the shard or the helper.
fn fall(mut rig: Rig, fall: Fall) {
    rig.shard.protocol.transport.io.failed = true;
    let left_open = Rc::clone(&rig.shard.protocol.transport.io.left_open);
    match fall {
        Fall::Fails => rig.shard.end(),
        Fall::Panics => rig.shard.give_up(),
    }
    assert_eq!(left_open.get(), Some(0), "{fall:?}: sockets that neither the shard nor the helper has closed");
}

/// Reports of parts of files that the shard has and has not read.
fn unread_reports(rig: &Rig) -> usize {
    let unread = &rig.shard.events[rig.shard.cursor..];
    unread.iter().filter(|event| event.token.op() == Op::SendFile).count()
}

#[test]
fn a_shard_that_falls_closes_the_socket_of_a_report_that_it_has_not_read() {
    for how in [Fall::Fails, Fall::Panics] {
        let hanging = Faults { reads_hang: true, ..Faults::default() };
        let (mut rig, client, lease) = asked(with(hanging), 1 << 20);
        let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
        rig.settle();
        rig.shard.protocol.transport.io.faults.reads_hang = false;
        rig.shard.protocol.transport.io.breaks = true;
        rig.shard.turn(None).expect_err("the ring fails");
        assert_eq!(
            (unread_reports(&rig), rig.shard.protocol.transport.io.readable(client) > LONG),
            (1, true),
            "reported, not read"
        );
        fall(rig, how);
        assert!(stream.is_gone(), "{how:?}: its sender is told");
    }
}

#[test]
fn a_shard_that_falls_leaves_the_socket_to_the_helper_that_has_it() {
    for how in [Fall::Fails, Fall::Panics] {
        let hanging = Faults { reads_hang: true, ..Faults::default() };
        let (mut rig, _, lease) = asked(with(hanging), 1 << 20);
        let stream = respond(lease, vec![part(&letters(LONG), 0, LONG)]);
        rig.settle();
        rig.shard.protocol.transport.io.breaks = true;
        rig.shard.turn(None).expect_err("the ring fails");
        assert_eq!(unread_reports(&rig), 0);
        // Its close would be the second one: see the simulated kernel.
        fall(rig, how);
        assert!(stream.is_gone());
    }
}

#[test]
fn a_report_that_was_read_says_nothing_of_the_next_part() {
    let (mut rig, _, lease) = asked(Options::default(), 1 << 20);
    let file = letters(LONG);
    let stream = respond(lease, vec![part(&file, 0, LONG), part(&file, 0, LONG)]);
    let has_read = |rig: &Rig| rig.shard.events.iter().any(|event| event.token.op() == Op::SendFile);
    while !has_read(&rig) {
        rig.turn();
        assert!(!rig.shard.protocol.transport.io.asleep, "no part was reported");
    }
    // The next turn begins with handing the second part over; then, say, a panic.
    rig.shard.collect_responses();
    assert_eq!((unread_reports(&rig), stream.is_complete()), (0, false));
    fall(rig, Fall::Panics);
    assert!(stream.is_gone());
}

//! Directed tests of connections that have switched protocols: what is whose, both ends, credit, and hand-overs.

use std::task::Poll;
use std::time::Duration;

use super::piping::{ASKS, Pipe, SWITCHED, socket_of};
use super::rig::{Options, Rig, answer};
use crate::config::Config;
use crate::driver::fake::Faults;
use crate::queue::{BodyState, Command, Disconnected, Watch};

/// A pipe over a connection with these settings, behind a request and some bytes that came with it.
fn piped_with(options: Options, room: usize, early: &str) -> (Rig, usize, Pipe) {
    let mut rig = Rig::with(options);
    let client = rig.connect_with_room(room);
    rig.say(client, ASKS.to_owned() + early);
    let pipe = Pipe::begin(rig.claim()).expect("the request is open");
    rig.settle();
    (rig, client, pipe)
}

fn piped(early: &str) -> (Rig, usize, Pipe) {
    let (mut rig, client, pipe) = piped_with(Options::default(), 1 << 20, early);
    assert_eq!(rig.heard(client), SWITCHED);
    (rig, client, pipe)
}

fn watch(rig: &Rig, pipe: &Pipe) -> Watch {
    let (watch, registration) = Watch::new(false);
    rig.exchange.command(Command::Watch(pipe.lease.record().connection, registration));
    watch
}

#[test]
fn what_came_with_the_head_and_what_comes_later_is_the_applications_byte_for_byte() {
    let (mut rig, client, mut pipe) = piped("GET /early HTTP/1.1\r\n\r\n");
    assert_eq!(pipe.text(), ("GET /early HTTP/1.1\r\n\r\n".to_owned(), false));
    rig.say(client, "no HTTP at all");
    assert_eq!(pipe.text(), ("no HTTP at all".to_owned(), false));
    pipe.send(b"neither ");
    pipe.send(b"is this");
    rig.settle();
    assert_eq!(rig.heard(client), "neither is this");
    assert!(rig.queue.claim_of(0).is_none(), "nothing of it is a request");
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert_eq!(pipe.text(), (String::new(), true));
    assert!(!rig.shard.protocol.transport.io.at_end(client), "our side is open");
    pipe.send(b"still");
    pipe.finish();
    rig.settle();
    assert_eq!(rig.heard(client), "still");
    assert!(
        pipe.stream.is_complete()
            && rig.shard.protocol.transport.io.is_closed(client)
            && !rig.shard.protocol.transport.io.was_reset(client)
    );
    assert_eq!(rig.counters.connections_upgraded.read(), 1);
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn bytes_are_held_while_the_request_waits_and_go_to_whoever_it_turns_out() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, ASKS);
    rig.say(client, "one ");
    rig.say(client, "two");
    let mut pipe = Pipe::begin(rig.claim()).expect("open");
    rig.settle();
    assert_eq!(pipe.text(), ("one two".to_owned(), false));
    pipe.abort();
    drop(pipe);
    rig.settle();
    let other = rig.connect();
    rig.say(other, ASKS.to_owned() + "GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n");
    let lease = rig.claim();
    assert!(rig.queue.claim_of(0).is_none(), "what follows waits");
    answer(lease);
    rig.settle();
    rig.serve();
    assert_eq!(rig.heard_answers(other), ["/a/1", "/a/2"], "a request that is not upgraded is like any other");
    rig.shard.protocol.transport.io.end(other);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_request_that_comes_in_pieces_is_upgraded_the_same() {
    let mut rig = Rig::new();
    let client = rig.connect();
    for byte in ASKS.as_bytes() {
        rig.say(client, [*byte]);
    }
    rig.say(client, "early");
    let mut pipe = Pipe::begin(rig.claim()).expect("open");
    rig.settle();
    assert_eq!(pipe.text().0, "early");
    pipe.finish();
    drop(pipe);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn earlier_answers_go_before_the_switch() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + ASKS + "early");
    let mut leases = rig.claim_all().into_iter();
    let (first, second) = (leases.next().expect("two"), leases.next().expect("two"));
    let mut pipe = Pipe::begin(second).expect("open");
    pipe.send(b"later");
    rig.settle();
    assert_eq!((rig.heard(client), pipe.text().0), (String::new(), "early".to_owned()));
    answer(first);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with(&format!("[/a/0]{SWITCHED}later")), "{heard}");
    pipe.finish();
    rig.shard.protocol.transport.io.end(client);
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn an_earlier_answer_that_ends_the_connection_ends_the_pipe_before_it_begins() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + ASKS);
    let mut leases = rig.claim_all().into_iter();
    let (first, second) = (leases.next().expect("two"), leases.next().expect("two"));
    let mut pipe = Pipe::begin(second).expect("open");
    super::rig::answer_with(first, "", true);
    rig.settle();
    assert!(pipe.stream.is_gone() && matches!(pipe.read(9).1, BodyState::Failed(_)));
    rig.say(client, "thrown away");
    drop(pipe);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn our_end_goes_behind_all_that_was_given_and_reading_goes_on() {
    let (mut rig, client, mut pipe) = piped("");
    pipe.send(b"last");
    pipe.finish();
    rig.settle();
    assert_eq!(rig.heard(client), "last");
    assert!(
        rig.shard.protocol.transport.io.at_end(client)
            && !rig.shard.protocol.transport.io.is_closed(client)
            && pipe.stream.is_complete()
    );
    rig.say(client, "I am still here");
    assert_eq!(pipe.text(), ("I am still here".to_owned(), false));
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!(pipe.text(), (String::new(), true));
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_client_that_ended_its_side_before_the_switch_is_read_to_its_end() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, ASKS.to_owned() + "early");
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    let mut pipe = Pipe::begin(rig.claim()).expect("the client can still be answered");
    rig.settle();
    assert_eq!(pipe.text(), ("early".to_owned(), true));
    assert_eq!(rig.heard(client), SWITCHED);
    pipe.finish();
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.protocol.transport.io.was_reset(client));
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn what_is_unread_stops_at_the_credit_and_a_client_that_leaves_then_is_noticed() {
    let options = Options { body_credit: 5000, ..Options::default() };
    let (mut rig, client, mut pipe) = piped_with(options, 1 << 20, "");
    rig.say(client, "x".repeat(20_000));
    let arrived = pipe.lease.body_arrived();
    assert!((5000..=5000 + 4096).contains(&arrived), "{arrived} bytes came with a credit of 5,000");
    let mut read = 0;
    while read < 20_000 {
        let (bytes, _) = pipe.read(1);
        assert!(!bytes.is_empty(), "nothing comes after {read} bytes");
        read += bytes.len();
        rig.settle();
    }
    rig.say(client, "x".repeat(20_000));
    let told = watch(&rig, &pipe);
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.receives(client) && rig.shard.protocol.transport.io.watches(client));
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!(told.reason(), Some(Disconnected::Reset));
    assert!(pipe.stream.is_gone());
    let (rest, _) = pipe.read(usize::MAX);
    assert!(rest.len() >= 5000, "what came before is there");
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_pipe_has_no_timer_but_for_a_client_that_does_not_take_what_is_sent() {
    let (mut rig, client, mut pipe) = piped_with(Options::default(), 100, "");
    rig.heard(client);
    rig.settle();
    for _ in 0..5 {
        rig.pass(Duration::from_secs(600));
    }
    rig.say(client, "x");
    assert_eq!(pipe.text(), ("x".to_owned(), false), "silence is no reason to end it");
    pipe.send(&[b'y'; 1000]);
    rig.settle();
    for _ in 0..11 {
        rig.pass(Duration::from_secs(6));
    }
    assert!(rig.shard.protocol.transport.io.was_reset(client) && pipe.stream.is_gone());
    assert_eq!(rig.counters.send_rate_timeouts.read(), 1);
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_pipe_that_is_dropped_unfinished_is_reset_and_counted() {
    let (mut rig, client, pipe) = piped("early");
    pipe.abort();
    drop(pipe);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!(rig.counters.responses_truncated.read(), 1);
    rig.assert_idle();
}

#[test]
fn a_pipe_that_is_finished_and_dropped_is_drained_within_bounds() {
    for early in [false, true] {
        let (mut rig, client, mut pipe) = piped("unread");
        pipe.send(b"bye");
        if early {
            pipe.stop_reading();
            rig.say(client, "thrown away");
        }
        pipe.finish();
        rig.settle();
        if !early {
            pipe.stop_reading();
        }
        drop(pipe);
        rig.say(client, "x".repeat(10_000));
        assert_eq!(rig.heard(client), "bye");
        assert!(rig.shard.protocol.transport.io.at_end(client) && !rig.shard.protocol.transport.io.was_reset(client));
        if early {
            rig.shard.protocol.transport.io.end(client);
            rig.settle();
        } else {
            rig.pass(Duration::from_secs(6));
        }
        assert_eq!(
            rig.shard.protocol.transport.io.was_reset(client),
            !early,
            "who does not end its side in time is reset"
        );
        rig.assert_idle();
    }
}

#[test]
fn a_cancel_ends_a_pipe_and_so_does_a_stop_after_its_grace() {
    let (mut rig, client, pipe) = piped("");
    assert!(rig.exchange.cancel(pipe.lease.id()));
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client) && pipe.stream.is_gone());
    drop(pipe);
    rig.settle();
    let client = rig.connect();
    rig.say(client, ASKS);
    let mut pipe = Pipe::begin(rig.claim()).expect("open");
    rig.settle();
    let told = watch(&rig, &pipe);
    rig.stop(Duration::from_secs(30));
    rig.settle();
    rig.say(client, "in the grace");
    assert_eq!(pipe.text(), ("in the grace".to_owned(), false));
    assert_eq!(told.reason(), None);
    rig.pass(Duration::from_secs(31));
    assert_eq!(told.reason(), Some(Disconnected::Stopped));
    assert!(pipe.stream.is_gone());
    drop(pipe);
    rig.turn();
    rig.end();
}

#[test]
fn a_request_taken_before_a_stop_can_be_upgraded_in_the_grace_with_all_its_bytes() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, ASKS.to_owned() + "early ");
    let lease = rig.claim();
    rig.stop(Duration::from_secs(30));
    rig.settle();
    rig.say(client, "late");
    let mut pipe = Pipe::begin(lease).expect("open");
    rig.settle();
    assert_eq!(pipe.text(), ("early late".to_owned(), false));
    pipe.finish();
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    drop(pipe);
    rig.turn();
    rig.end();
}

#[test]
fn a_socket_is_handed_over_when_all_is_sent_with_all_that_came() {
    for cancel_late in [0, 900] {
        let faults = Faults { cancel_late, ..Faults::default() };
        let (mut rig, client, mut pipe) = piped_with(Options { faults, ..Options::default() }, 200, "early ");
        let told = watch(&rig, &pipe);
        pipe.send(&[b'y'; 1000]);
        let asked = pipe.ask_for_socket();
        rig.settle();
        assert!(socket_of(&asked).is_pending(), "a part is to be sent");
        rig.say(client, "late");
        let mut heard = rig.heard(client);
        while !rig.shard.protocol.transport.io.was_released(client) {
            rig.settle();
            heard += &rig.heard(client);
        }
        heard += &rig.heard(client);
        assert_eq!(heard, format!("{SWITCHED}{}", "y".repeat(1000)));
        assert!(matches!(socket_of(&asked), Poll::Ready(Some(_))));
        let (there, _) = pipe.read(usize::MAX);
        assert!(there.starts_with(b"early ") && b"early late".starts_with(&there), "{there:?}");
        assert_eq!(told.reason(), Some(Disconnected::Taken));
        drop(pipe);
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn a_socket_is_handed_over_although_the_credit_is_used_up() {
    let config = Config { body_buffers: 4, ..Options::default().config };
    let options = Options { body_credit: 3000, config, ..Options::default() };
    let (mut rig, client, mut pipe) = piped_with(options, 1 << 20, "");
    rig.say(client, "x".repeat(3000));
    rig.say(client, "x".repeat(3000));
    let before = pipe.lease.body_arrived();
    let asked = pipe.ask_for_socket();
    rig.settle();
    assert!(matches!(socket_of(&asked), Poll::Ready(Some(_))));
    assert!(pipe.read(usize::MAX).0.len() as u64 >= before);
    drop(pipe);
    rig.settle();
    rig.assert_idle();
    assert_eq!(rig.shard.protocol.transport.io.open(), 0);
}

#[test]
fn a_connection_that_ends_first_is_not_handed_over() {
    let (mut rig, client, pipe) = piped_with(Options::default(), 100, "");
    pipe.send(&[b'y'; 1000]);
    let asked = pipe.ask_for_socket();
    rig.settle();
    assert!(socket_of(&asked).is_pending());
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert!(matches!(socket_of(&asked), Poll::Ready(None)));
    let again = pipe.ask_for_socket();
    rig.settle();
    assert!(matches!(socket_of(&again), Poll::Ready(None)), "of a pipe that is gone there is none");
    drop(pipe);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_socket_that_nobody_waits_for_any_more_is_let_go_or_reset() {
    let (mut rig, client, pipe) = piped("");
    drop(pipe.ask_for_socket());
    pipe.abort();
    drop(pipe);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client) || rig.shard.protocol.transport.io.was_released(client));
    rig.assert_idle();
}

//! Directed tests of large sends that take turns: how much goes at a time, in which order, and who waits for whom.

use std::time::Duration;

use super::rig::{Options, Rig, answer, answer_with};
use super::streaming::letters;
use super::streams::{finish, get, memory, part, push, respond, start, text_of};
use crate::shard::transport::TurnSizes;

/// Bytes of one part, of which a turn has one.
const PART: usize = 1000;
/// Bytes of a large response's body: three parts, with its head.
const BODY: usize = 2500;

/// A rig whose turns are small, and clients that have asked.
fn asked(clients: usize) -> (Rig, Vec<usize>) {
    let mut rig = Rig::with(Options::default());
    let part = u32::try_from(PART).expect("small");
    rig.shard.protocol.transport.turns.sizes = TurnSizes { small: 200, part, turn: part };
    let clients: Vec<usize> = (0..clients).map(|_| rig.connect()).collect();
    clients.iter().for_each(|client| rig.say(*client, get("1")));
    (rig, clients)
}

/// Answers all that wait with [`BODY`] bytes, each in one of three ways.
fn answer_much(rig: &mut Rig) {
    let file = letters(BODY);
    for (number, lease) in rig.claim_all().into_iter().enumerate() {
        match number % 3 {
            // Its target is before it.
            0 => answer_with(lease, &text_of(6, BODY - 6), false),
            1 => drop(respond(lease, vec![memory(&text_of(0, BODY))])),
            _ => {
                let stream = start(&lease, BODY);
                push(&lease, &stream, memory(&text_of(0, BODY - 10)));
                push(&lease, &stream, part(&file, BODY - 10, 10));
                finish(&lease, &stream);
            }
        }
    }
}

/// Bytes that each client could read.
fn readable(rig: &Rig, clients: &[usize]) -> Vec<usize> {
    clients.iter().map(|client| rig.shard.protocol.transport.io.readable(*client)).collect()
}

/// Whether a client has heard a whole answer of [`answer_much`].
fn has_heard_all(rig: &mut Rig, client: usize) -> bool {
    rig.heard(client).ends_with(&text_of(6, BODY - 6))
}

fn leave(mut rig: Rig, clients: &[usize]) {
    clients.iter().for_each(|client| rig.shard.protocol.transport.io.end(*client));
    rig.settle();
    rig.assert_idle();
}

#[test]
fn who_leaves_while_it_waits_leaves_no_trace_and_the_others_go_on() {
    let (mut rig, clients) = asked(5);
    answer_much(&mut rig);
    rig.turn();
    assert!(rig.shard.protocol.transport.turns.has_waiting());
    clients[..4].iter().for_each(|client| rig.shard.protocol.transport.io.reset(*client));
    rig.settle();
    assert!(!rig.shard.protocol.transport.turns.has_waiting() && has_heard_all(&mut rig, clients[4]));
    leave(rig, &clients[4..]);
}

#[test]
fn large_answers_take_turns_in_order_and_a_small_one_waits_for_none() {
    let (mut rig, clients) = asked(6);
    answer_much(&mut rig);
    let other = rig.shard.protocol.transport.io.connect(rig.listener, PART);
    rig.shard.protocol.transport.io.write(other, get("2").as_bytes());
    let (mut before, mut order, mut turns) = (vec![0; clients.len()], Vec::new(), 0);
    while before.iter().any(|bytes| *bytes < BODY) {
        rig.turn();
        turns += 1;
        assert!(turns < 100 && !rig.shard.protocol.transport.io.asleep, "{before:?} after {turns} turns: nobody waits");
        let now = readable(&rig, &clients);
        let grown: Vec<usize> = (0..clients.len()).filter(|at| now[*at] > before[*at]).collect();
        let bytes: usize = grown.iter().map(|at| now[*at] - before[*at]).sum();
        // Who has taken the first of it gets more at a time.
        let most = if order.len() < clients.len() { 2 * PART } else { 9 * PART };
        assert!(bytes < most, "{bytes} bytes in turn {turns}");
        order.extend(grown.into_iter().filter(|at| now[*at] >= PART / 2));
        before = now;
        rig.claim_all().into_iter().for_each(answer);
        if rig.shard.protocol.transport.io.readable(other) == 0 {
            assert!(turns < 6, "a small answer waits for {turns} turns");
        }
    }
    assert_eq!(rig.heard_answers(other), ["/a/2"]);
    let mut first = order[..6].to_vec();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2, 3, 4, 5], "{order:?}: each has a turn before any has a second one");
    rig.settle();
    for client in &clients {
        assert!(has_heard_all(&mut rig, *client));
        rig.say(*client, get("3"));
    }
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    for client in &clients {
        assert_eq!(rig.heard_answers(*client), ["/a/3"], "the connection goes on");
    }
    leave(rig, &[&clients[..], &[other]].concat());
}

#[test]
fn a_client_may_go_while_its_answer_waits_for_its_turn() {
    for (gone, turns) in (0..3).flat_map(|gone| (0..8).map(move |turns| (gone, turns))) {
        let (mut rig, clients) = asked(6);
        answer_much(&mut rig);
        (0..turns).for_each(|_| rig.turn());
        for client in [clients[gone], clients[gone + 3]] {
            rig.shard.protocol.transport.io.reset(client);
        }
        rig.settle();
        let left: Vec<usize> =
            clients.into_iter().enumerate().filter(|(at, _)| at % 3 != gone).map(|(_, client)| client).collect();
        for client in &left {
            assert!(has_heard_all(&mut rig, *client), "client {client}, {turns} turns before {gone} goes");
        }
        leave(rig, &left);
    }
}

#[test]
fn whose_answer_waits_for_its_turn_is_not_late() {
    let (mut rig, clients) = asked(6);
    answer_much(&mut rig);
    for _ in 0..10 {
        rig.turn();
        rig.expire(Duration::from_secs(1000));
    }
    rig.settle();
    for client in &clients {
        assert!(has_heard_all(&mut rig, *client));
    }
    // Who had everything has rested for too long since.
    assert_eq!(rig.counters.requests_answered.read(), 6);
    rig.pass(Duration::from_secs(1000));
    rig.assert_idle();
}

#[test]
fn slow_clients_take_their_parts_as_they_have_room() {
    let mut rig = Rig::with(Options::default());
    rig.shard.protocol.transport.turns.sizes = TurnSizes { small: 200, part: 1000, turn: 1000 };
    let clients: Vec<usize> = (0..6).map(|_| rig.connect_with_room(300)).collect();
    clients.iter().for_each(|client| rig.say(*client, get("1")));
    answer_much(&mut rig);
    let mut heard = vec![String::new(); clients.len()];
    while heard.iter().any(|text| !text.ends_with(&text_of(6, BODY - 6))) {
        rig.settle();
        let more: Vec<String> = clients.iter().map(|client| rig.heard(*client)).collect();
        assert!(more.iter().any(|text| !text.is_empty()), "nothing comes any more");
        heard.iter_mut().zip(more).for_each(|(all, more)| all.push_str(&more));
    }
    leave(rig, &clients);
}

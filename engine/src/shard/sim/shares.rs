//! Directed tests of fair shares: one client has what it likes of the slots while nobody else wants any, and never
//! those that are kept for others.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::rig::{Options, Rig, answer, answer_with, target};
use crate::config::Config;
use crate::peers::Network;
use crate::policy::Properties;
use crate::queue::Lease;
use crate::record::RequestRecord;

/// So many are kept back of sixteen.
const RESERVE: usize = 2;
const FOR_ALL: usize = 16 - RESERVE;
const GREEDY: u8 = 66;
const TICK: Duration = Duration::from_millis(40);

fn small() -> Rig {
    with(Options::default().config)
}

fn with(config: Config) -> Rig {
    let config = Config { requests_max: 16, pipeline_max: 64, ..config };
    Rig::with(Options { config, ..Options::default() })
}

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A client that asks for more than there is.
fn greedy(rig: &mut Rig) -> (usize, Vec<Lease<RequestRecord>>) {
    let greedy = rig.connect_from(GREEDY);
    rig.say(greedy, get("greedy").repeat(40));
    let leases = rig.claim_all();
    assert_eq!(leases.len(), FOR_ALL, "nobody else wants them");
    assert!(rig.counters.share_waits.read() > 0);
    (greedy, leases)
}

#[track_caller]
fn is_served(rig: &mut Rig, client: usize, path: &str) {
    rig.say(client, get(path));
    rig.serve();
    assert_eq!(rig.heard_answers(client), [format!("/a/{path}")]);
}

fn kept_back(rig: &Rig) -> u32 {
    rig.shard.protocol.dispatch.side().kept_back()
}

#[track_caller]
fn everybody_leaves(rig: &mut Rig, clients: impl IntoIterator<Item = usize>) {
    clients.into_iter().for_each(|client| rig.shard.protocol.transport.io.reset(client));
    rig.settle();
    assert_eq!((rig.shard.protocol.dispatch.side().in_use(), kept_back(rig)), (0, 2));
    assert!(rig.shard.protocol.transport.waiting.is_empty());
}

#[test]
fn one_client_has_all_but_the_reserve_and_is_served_in_the_end() {
    let mut rig = small();
    let (greedy, mut leases) = greedy(&mut rig);
    let mut heard = 0;
    while !leases.is_empty() {
        leases.drain(..).for_each(answer);
        rig.settle();
        leases = rig.claim_all();
        heard += rig.heard_answers(greedy).len();
    }
    assert_eq!((heard, kept_back(&rig)), (40, 2), "all are answered");
    everybody_leaves(&mut rig, [greedy]);
}

#[test]
fn newcomers_are_served_whatever_one_client_keeps() {
    let mut rig = small();
    let (greedy, leases) = greedy(&mut rig);
    // Further connections of the same address get nothing.
    let more: Vec<usize> = (0..3).map(|_| rig.connect_from(GREEDY)).collect();
    more.iter().for_each(|client| rig.say(*client, get("greedy")));
    assert!(rig.queue.is_empty());
    let newcomers: Vec<usize> = (1..=20).map(|last| rig.connect_from(last)).collect();
    for round in 0..3 {
        for client in &newcomers {
            is_served(&mut rig, *client, &format!("{round}"));
        }
    }
    assert_eq!(kept_back(&rig), 2);
    assert!(rig.heard(greedy).is_empty());
    drop(leases);
    everybody_leaves(&mut rig, newcomers.into_iter().chain(more).chain([greedy]));
}

#[test]
fn more_newcomers_than_are_kept_for_wait_for_each_other_and_not_for_the_greedy() {
    let mut rig = small();
    let (greedy, leases) = greedy(&mut rig);
    let newcomers: Vec<usize> = (1..=6).map(|last| rig.connect_from(last)).collect();
    for (number, client) in newcomers.iter().enumerate() {
        rig.say(*client, get(&number.to_string()));
    }
    for number in 0..newcomers.len() {
        let left = newcomers.len() - number;
        assert_eq!(rig.queue.len(), left.min(RESERVE) as u64);
        rig.serve();
        assert_eq!(rig.heard_answers(newcomers[number]), [format!("/a/{number}")], "who came first is first");
    }
    assert!(rig.heard(greedy).is_empty());
    drop(leases);
    everybody_leaves(&mut rig, newcomers.into_iter().chain([greedy]));
}

#[test]
fn a_newcomer_has_one_request_at_a_time_of_what_is_kept() {
    let mut rig = small();
    let (greedy, leases) = greedy(&mut rig);
    let newcomer = rig.connect_from(1);
    rig.say(newcomer, (0..5).map(|number| get(&number.to_string())).collect::<String>());
    for number in 0..5 {
        assert_eq!(rig.queue.len(), 1);
        rig.serve();
        rig.pass(TICK);
        assert_eq!(rig.heard_answers(newcomer), [format!("/a/{number}")]);
    }
    drop(leases);
    everybody_leaves(&mut rig, [greedy, newcomer]);
}

#[test]
fn newcomers_are_received_while_requests_that_wait_for_slots_hold_all_other_buffers() {
    let mut rig = with(Config { receive_buffers: 16, ..Options::default().config });
    let (greedy, leases) = greedy(&mut rig);
    let more: Vec<usize> = (0..30).map(|_| rig.connect_from(GREEDY)).collect();
    more.iter().for_each(|client| rig.say(*client, get("greedy")));
    let held = rig.shard.protocol.dispatch.side().buffers.small.in_use();
    assert!(held >= 16 - 2 - 1 && rig.queue.is_empty(), "{held} buffers are held");
    let newcomers: Vec<usize> = (1..=6).map(|last| rig.connect_from(last)).collect();
    for round in 0..3 {
        for client in &newcomers {
            rig.say(*client, get(&format!("{round}")));
            rig.pass(TICK);
            rig.serve();
            assert_eq!(rig.heard_answers(*client), [format!("/a/{round}")]);
        }
    }
    drop(leases);
    everybody_leaves(&mut rig, newcomers.into_iter().chain(more).chain([greedy]));
}

#[test]
fn connections_of_a_trusted_proxy_are_each_an_address() {
    let proxies = Network::new(Ipv4Addr::new(10, 0, 0, GREEDY).into(), 32).expect("a network");
    let mut rig = with(Config { trusted_proxies: vec![proxies], ..Options::default().config });
    let (greedy, leases) = greedy(&mut rig);
    let others: Vec<usize> = (0..5).map(|_| rig.connect_from(GREEDY)).collect();
    for client in &others {
        is_served(&mut rig, *client, "other");
    }
    drop(leases);
    everybody_leaves(&mut rig, others.into_iter().chain([greedy]));
}

#[test]
fn newcomers_are_served_beside_slow_readers_that_ask_for_more() {
    let mut rig = small();
    let slow: Vec<usize> = (0..3)
        .map(|_| {
            let io = &mut rig.shard.protocol.transport.io;
            let client = io.connect_from(Ipv4Addr::new(10, 0, 0, GREEDY), rig.listener, 500);
            rig.settle();
            rig.say(client, get("long") + &get("short").repeat(20));
            client
        })
        .collect();
    for lease in rig.claim_all() {
        let more = if target(&lease) == "/a/long" { "x".repeat(20_000) } else { String::new() };
        answer_with(lease, &more, false);
    }
    rig.settle();
    for last in 1..=20 {
        let newcomer = rig.connect_from(last);
        is_served(&mut rig, newcomer, "new");
        is_served(&mut rig, newcomer, "again");
        rig.shard.protocol.transport.io.reset(newcomer);
        rig.settle();
    }
    everybody_leaves(&mut rig, slow);
}

#[test]
fn who_waited_above_its_share_goes_on_when_it_is_below() {
    let mut rig = small();
    let (greedy, leases) = greedy(&mut rig);
    let (one, other) = (rig.connect_from(1), rig.connect_from(1));
    rig.say(one, get("one"));
    rig.say(other, get("other"));
    let first = rig.claim();
    assert!(rig.queue.is_empty(), "an address of two has one of two");
    answer(first);
    rig.settle();
    rig.pass(TICK);
    rig.serve();
    assert_eq!((rig.heard_answers(one).len(), rig.heard_answers(other).len()), (1, 1));
    drop(leases);
    everybody_leaves(&mut rig, [greedy, one, other]);
}

#[test]
fn what_comes_back_is_kept_for_newcomers_first() {
    let mut rig = small();
    let (greedy, mut leases) = greedy(&mut rig);
    let newcomers = [1, 2].map(|last| rig.connect_from(last));
    newcomers.iter().for_each(|client| rig.say(*client, get("new")));
    let mut of_newcomers = rig.claim_all();
    assert_eq!((of_newcomers.len(), kept_back(&rig)), (2, 0));
    // Two of the greedy client's are answered: it gets none of these.
    leases.drain(..2).for_each(answer);
    rig.settle();
    assert_eq!((rig.queue.len(), kept_back(&rig)), (0, 2));
    of_newcomers.drain(..).for_each(answer);
    rig.settle();
    assert_eq!((rig.queue.len(), kept_back(&rig)), (2, 2), "and now it goes on");
    drop(leases);
    everybody_leaves(&mut rig, newcomers.into_iter().chain([greedy]));
}

#[test]
fn bodies_that_are_awaited_whole_are_among_what_an_address_has() {
    let properties = Properties::new().deliver_when_whole(3_000);
    let mut rig = with(Config { properties, ..Options::default().config });
    let greedy: Vec<usize> = (0..20).map(|_| rig.connect_from(GREEDY)).collect();
    for client in &greedy {
        rig.say(*client, "POST /a/greedy HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx");
        rig.pass(TICK);
    }
    assert_eq!((rig.shard.protocol.dispatch.side().in_use(), rig.queue.len()), (FOR_ALL, 0));
    let newcomer = rig.connect_from(1);
    is_served(&mut rig, newcomer, "new");
    everybody_leaves(&mut rig, greedy.into_iter().chain([newcomer]));
}

#[test]
fn a_stop_waits_for_requests_that_wait_for_a_slot() {
    let mut rig = small();
    let (greedy, leases) = greedy(&mut rig);
    let others = [1, 2, 3].map(|last| rig.connect_from(last));
    others.iter().for_each(|client| rig.say(*client, get("other")));
    assert_eq!(kept_back(&rig), 0, "the third waits");
    rig.stop(Duration::from_secs(60));
    rig.settle();
    leases.into_iter().for_each(answer);
    rig.settle();
    for _ in 0..2 {
        rig.claim_all().into_iter().for_each(answer);
        rig.settle();
    }
    for client in others {
        let heard = rig.heard(client);
        assert!(heard.contains("[/a/other]"), "{heard}");
        rig.shard.protocol.transport.io.end(client);
    }
    rig.shard.protocol.transport.io.end(greedy);
    rig.end();
}

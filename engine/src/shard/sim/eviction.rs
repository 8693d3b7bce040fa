//! Directed tests of who ends so that those who come are served, when places or descriptors have run out.

use std::time::Duration;

use super::rig::{Options, Rig, answer};
use crate::config::Config;
use crate::id::ShardId;
use crate::queue::Command;

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";

/// Longer than a connection has to begin something.
const A_WHILE: Duration = Duration::from_millis(200);

/// A shard that takes so many connections.
fn with_places(connections_max: u32) -> Rig {
    // As many requests for all of them, beside those that are kept for other addresses.
    let config = Config { connections_max, requests_max: 128, ..Options::default().config };
    Rig::with(Options { config, ..Options::default() })
}

/// A shard that has so many descriptors.
fn with_descriptors(count: usize) -> Rig {
    let mut rig = Rig::new();
    rig.shard.protocol.transport.io.descriptors_max = count;
    rig
}

impl Rig {
    fn is_closed(&self, client: usize) -> bool {
        self.shard.protocol.transport.io.is_closed(client)
    }

    /// A client that has been served once, and rests.
    fn connect_and_serve(&mut self) -> usize {
        let client = self.connect();
        self.be_served(client);
        client
    }

    #[track_caller]
    fn be_served(&mut self, client: usize) {
        self.say(client, GET);
        self.serve();
        assert_eq!(self.heard_answers(client), ["/a/1"]);
    }
}

#[test]
fn who_never_spoke_goes_before_who_rests_for_longer_and_both_before_who_has_a_request() {
    for mut rig in [with_places(4), with_descriptors(4)] {
        let busy = rig.connect();
        rig.say(busy, GET);
        let lease = rig.claim();
        let (first, second) = (rig.connect_and_serve(), rig.connect_and_serve());
        rig.pass(A_WHILE);
        let silent = rig.connect();
        rig.pass(A_WHILE);
        rig.be_served(first);
        rig.pass(A_WHILE);
        let next = rig.connect();
        assert!(rig.is_closed(silent), "it has never spoken");
        rig.be_served(next);
        let later = rig.connect();
        assert!(rig.is_closed(second) && !rig.is_closed(first), "it has rested for longest");
        rig.be_served(later);
        rig.pass(A_WHILE);
        let last = rig.connect();
        assert!(rig.is_closed(first) && !rig.is_closed(next) && !rig.is_closed(later));
        rig.be_served(last);
        answer(lease);
        rig.settle();
        assert_eq!(rig.heard_answers(busy), ["/a/1"], "it had a request under way");
        let counters = &rig.counters;
        assert_eq!((counters.connections_evicted.read(), counters.connections_refused.read()), (3, 0));
        assert_eq!((counters.accept_pauses.read(), counters.timeouts.read()), (0, 0));
    }
}

#[test]
fn nobody_ends_who_has_begun_something() {
    for mut rig in [with_places(5), with_descriptors(5)] {
        let clients: Vec<usize> = (0..5).map(|_| rig.connect()).collect();
        rig.say(clients[0], "GET /a/1 HT");
        rig.say(clients[1], "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
        rig.say(clients[2], "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        rig.say(clients[3], GET.repeat(3));
        rig.say(clients[4], "GET /a/1 HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
        rig.pass(A_WHILE);
        let late = rig.connect();
        assert!(clients.iter().all(|client| !rig.is_closed(*client)), "all of them have begun something");
        assert_eq!(rig.counters.connections_evicted.read(), 0);
        rig.say(clients[0], "TP/1.1\r\nHost: h\r\n\r\n");
        rig.say(clients[1], "bc");
        rig.claim_all().into_iter().for_each(answer);
        rig.settle();
        for (client, count) in clients.iter().zip([1, 1, 1, 3, 1]) {
            assert_eq!(rig.heard_answers(*client).len(), count);
        }
        // Without descriptors the next one waits; without a place it was turned away.
        rig.pass(A_WHILE);
        rig.pass(A_WHILE);
        let is_served = !rig.is_closed(late);
        assert_eq!(u64::from(!is_served), rig.counters.connections_refused.read());
        let late = if is_served { late } else { rig.connect() };
        rig.be_served(late);
        assert_eq!(rig.counters.connections_evicted.read(), 1);
    }
}

#[test]
fn a_request_that_has_come_does_not_end_with_its_connection() {
    for mut rig in [with_places(2), with_descriptors(2)] {
        let (first, second) = (rig.connect_and_serve(), rig.connect());
        rig.pass(A_WHILE);
        rig.be_served(second);
        rig.pass(A_WHILE);
        rig.shard.protocol.transport.io.write(first, GET.as_bytes());
        let next = rig.connect();
        assert!(!rig.is_closed(first) && rig.is_closed(second), "the first has a request that was here in time");
        rig.serve();
        assert_eq!(rig.heard_answers(first), ["/a/1"]);
        rig.be_served(next);
    }
}

#[test]
fn more_clients_at_once_than_there_may_be_wait_until_others_had_their_time() {
    for mut rig in [with_places(8), with_descriptors(8)] {
        let listener = rig.listener;
        let clients: Vec<usize> =
            (0..20).map(|_| rig.shard.protocol.transport.io.connect(listener, super::rig::ROOM)).collect();
        rig.settle();
        assert!(clients.iter().all(|client| !rig.is_closed(*client)), "the last one has come just now");
        for client in &clients[..8] {
            rig.be_served(*client);
        }
        for _ in 0..20 {
            rig.pass(A_WHILE);
        }
        assert!(clients[16..].iter().all(|client| !rig.is_closed(*client)), "nobody who came later");
        for client in &clients {
            if !rig.is_closed(*client) {
                rig.be_served(*client);
            }
        }
        assert_eq!((rig.counters.connections_evicted.read(), rig.counters.connections_refused.read()), (12, 0));
        assert_eq!(clients.iter().filter(|client| rig.is_closed(**client)).count(), 12);
    }
}

#[test]
fn a_shard_that_lacks_places_rests_until_it_can_look_again() {
    for mut rig in [with_places(2), with_descriptors(2)] {
        let clients: Vec<usize> = (0..3).map(|_| rig.connect()).collect();
        for _ in 0..50 {
            rig.turn();
            assert!(rig.shard.protocol.transport.io.asleep, "it turned in vain");
        }
        assert!(clients.iter().all(|client| !rig.is_closed(*client)));
        rig.pass(A_WHILE);
        assert_eq!(clients.iter().filter(|client| rig.is_closed(**client)).count(), 1);
        rig.be_served(clients[2]);
    }
}

#[test]
fn a_stop_ends_who_waits_for_a_place() {
    let mut rig = with_places(1);
    let clients: Vec<usize> = (0..3).map(|_| rig.connect()).collect();
    rig.stop(Duration::from_secs(60));
    rig.settle();
    assert!(clients.iter().all(|client| rig.is_closed(*client)));
    rig.end();
}

#[test]
fn many_go_in_the_order_of_their_rest_however_many_are_looked_through() {
    let mut rig = with_places(64);
    let clients: Vec<usize> = (0..64).map(|_| rig.connect()).collect();
    rig.pass(A_WHILE);
    for client in clients[..32].iter().rev() {
        rig.be_served(*client);
        rig.pass(Duration::from_millis(64));
    }
    rig.pass(A_WHILE);
    let (mut gone, mut leases) = (0, Vec::new());
    for round in 0..60 {
        let next = rig.connect();
        rig.be_served(next);
        let closed = clients.iter().filter(|client| rig.is_closed(**client)).count();
        assert_eq!(closed, gone + 1, "round {round}");
        gone = closed;
        if round >= 32 {
            // Those that were served rest since then, the last one of the list for longest.
            assert!(rig.is_closed(clients[63 - round]), "round {round}");
        } else {
            assert!(clients[..32].iter().all(|client| !rig.is_closed(*client)), "who was served goes last");
        }
        rig.shard.protocol.transport.io.end(next);
        rig.settle();
        // Its place is taken again by one that stays busy.
        let busy = rig.connect();
        rig.say(busy, GET);
        leases.push(rig.claim());
    }
    leases.into_iter().for_each(answer);
}

#[test]
fn an_address_with_many_connections_makes_room_before_others() {
    let mut rig = with_places(40);
    let others: Vec<usize> = (2..12).map(|address| rig.connect_from(address)).collect();
    rig.pass(A_WHILE);
    let crowd: Vec<usize> = (0..30).map(|_| rig.connect_and_serve()).collect();
    rig.pass(A_WHILE);
    let (gone, next) = (crowd.len() - 16, 12);
    let newcomers: Vec<usize> = (next..next + 20).map(|address| rig.connect_from(address)).collect();
    assert_eq!(crowd.iter().filter(|client| rig.is_closed(**client)).count(), gone, "until it has few");
    assert_eq!(others.iter().filter(|client| rig.is_closed(**client)).count(), newcomers.len() - gone);
}

#[test]
fn silent_clients_for_whom_there_is_no_buffer_make_room_and_those_that_have_sent_do_not() {
    let config = Config { connections_max: 41, receive_buffers: 16, requests_max: 16, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    // One client's requests have all slots that anybody gets and, behind these, all such buffers.
    let greedy = rig.connect_from(66);
    rig.say(greedy, GET.repeat(14));
    let leases = rig.claim_all();
    let more: Vec<usize> = (0..30).map(|_| rig.connect_from(66)).collect();
    more.iter().for_each(|client| rig.say(*client, GET));
    // Others have what is kept back of both, or wait for that.
    let speaking: Vec<usize> = (2..7).map(|last| rig.connect_from(last)).collect();
    speaking.iter().for_each(|client| rig.say(*client, GET));
    let silent: Vec<usize> = (7..12).map(|last| rig.connect_from(last)).collect();
    rig.pass(A_WHILE);
    assert!(rig.shard.protocol.transport.waiting.starved() >= silent.len(), "nobody waits for a buffer");
    let newcomers: Vec<usize> = (20..25)
        .map(|last| {
            let newcomer = rig.connect_from(last);
            rig.pass(A_WHILE);
            newcomer
        })
        .collect();
    assert!(silent.iter().all(|client| rig.is_closed(*client)), "they have never spoken");
    let mut others = speaking.iter().chain(&more).chain(&newcomers).chain([&greedy]);
    assert!(others.all(|client| !rig.is_closed(*client)), "they have, or have come just now");
    assert_eq!((rig.counters.connections_evicted.read(), rig.counters.connections_refused.read()), (5, 0));
    drop(leases);
}

/// A shard beside another one, with so many descriptors of those that both have, on each of which a request is begun.
fn beside_another(count: usize) -> (Rig, Vec<usize>) {
    let mut rig = Rig::with(Options { is_shared: true, ..Options::default() });
    rig.shard.protocol.transport.io.descriptors_max = count;
    let busy: Vec<usize> = (0..count).map(|_| rig.connect()).collect();
    busy.iter().for_each(|client| rig.say(*client, "GET /a/1 HT"));
    (rig, busy)
}

/// What the other shard is told.
fn told_beside(rig: &mut Rig) -> Vec<Command> {
    let side = rig.beside.as_mut().expect("there is another shard");
    side.open_commands();
    core::iter::from_fn(|| side.take_command()).collect()
}

/// How often the other shard has been asked to give up a descriptor.
fn asked_beside(rig: &mut Rig) -> usize {
    let told = told_beside(rig);
    assert!(told.iter().all(|command| matches!(command, Command::GiveDescriptor(ShardId(0)))), "{told:?}");
    told.len()
}

fn answer_from_beside(rig: &mut Rig, is_given: bool) {
    rig.exchange.command(Command::Descriptor { from: ShardId(1), is_given });
    rig.settle();
}

#[test]
fn a_shard_where_nobody_rests_asks_the_other_and_serves_with_what_that_gives() {
    let (mut rig, busy) = beside_another(3);
    rig.pass(A_WHILE);
    let late = rig.connect();
    assert_eq!((asked_beside(&mut rig), rig.counters.accept_pauses.read()), (1, 0), "it waits for the answer");
    for _ in 0..50 {
        rig.turn();
        assert!(rig.shard.protocol.transport.io.asleep, "it turned in vain");
    }
    rig.shard.protocol.transport.io.descriptors_max += 1;
    answer_from_beside(&mut rig, true);
    rig.be_served(late);
    rig.shard.protocol.transport.io.end(late);
    rig.settle();
    // The next one finds a descriptor, and another one asks again.
    let [next, last] = [rig.connect(), rig.connect()];
    rig.be_served(next);
    rig.pass(A_WHILE);
    assert_eq!((asked_beside(&mut rig), rig.is_closed(next)), (0, true), "one that rests here goes first");
    rig.be_served(last);
    assert!(busy.iter().all(|client| !rig.is_closed(*client)));
    assert_eq!((rig.counters.connections_refused.read(), rig.counters.connections_evicted.read()), (0, 1));
}

#[test]
fn a_client_is_turned_away_where_the_other_shard_has_none_or_does_not_answer() {
    // The fake has no socket to turn one away from: the pause that goes with it shows.
    let pauses = |rig: &Rig| rig.counters.accept_pauses.read();
    let (mut rig, _busy) = beside_another(3);
    rig.connect();
    assert_eq!((asked_beside(&mut rig), pauses(&rig)), (1, 0));
    answer_from_beside(&mut rig, false);
    assert_eq!(pauses(&rig), 1, "nobody could give one up");
    rig.pass(A_WHILE);
    assert_eq!((asked_beside(&mut rig), pauses(&rig)), (1, 1), "it is asked again behind the pause");
    rig.pass(Duration::from_secs(5));
    assert_eq!((asked_beside(&mut rig), pauses(&rig)), (0, 2), "it does not answer");
    for round in 0..20 {
        rig.pass(A_WHILE);
        assert_eq!((asked_beside(&mut rig), pauses(&rig)), (0, 3 + round), "and is not asked before it has");
    }
    rig.shard.protocol.transport.io.descriptors_max += 1;
    answer_from_beside(&mut rig, true);
    rig.pass(A_WHILE);
    assert_eq!((asked_beside(&mut rig), rig.shard.protocol.transport.io.open()), (0, 4), "behind the pause");
}

#[test]
fn a_shard_that_is_asked_ends_the_one_that_rests_for_longest_and_says_so() {
    let mut rig = Rig::with(Options { is_shared: true, ..Options::default() });
    let ask = |rig: &mut Rig| {
        rig.exchange.command(Command::GiveDescriptor(ShardId(1)));
        rig.settle();
    };
    let answers = |rig: &mut Rig| -> Vec<bool> {
        let answer = |told: Command| match told {
            Command::Descriptor { from: ShardId(0), is_given } => is_given,
            other => panic!("not an answer: {other:?}"),
        };
        told_beside(rig).into_iter().map(answer).collect()
    };
    let busy = rig.connect();
    rig.say(busy, "GET /a/1 HT");
    ask(&mut rig);
    assert_eq!((answers(&mut rig), rig.is_closed(busy)), (vec![false], false), "nobody rests");
    let hasty = rig.connect_and_serve();
    ask(&mut rig);
    assert!(answers(&mut rig).is_empty() && rig.shard.eviction.others.due().is_some(), "it has time to begin");
    rig.pass(A_WHILE);
    assert_eq!((answers(&mut rig), rig.is_closed(hasty)), (vec![true], true));
    let first = rig.connect_and_serve();
    rig.pass(A_WHILE);
    let second = rig.connect_and_serve();
    rig.pass(A_WHILE);
    ask(&mut rig);
    assert_eq!(answers(&mut rig), [true]);
    assert!(rig.is_closed(first) && !rig.is_closed(second), "it has rested for longest");
    let silent = rig.connect();
    rig.pass(A_WHILE);
    ask(&mut rig);
    assert_eq!((answers(&mut rig), rig.is_closed(silent)), (vec![true], true), "it has never spoken");
    assert_eq!((rig.counters.descriptors_given.read(), rig.counters.connections_evicted.read()), (3, 3));
    rig.be_served(second);
}

//! Directed tests of what is promised to bodies that are awaited whole: to whom, and who is given up for whom.
//!
//! Of 16 buffers 8 are promised in all, 4 of these only to addresses that have less than their share; a body takes 2.

use std::time::Duration;

use super::rig::{Options, Rig, answer};
use super::whole::{WHOLE_MAX, post_of, with};
use crate::clock::ticks;
use crate::config::Config;
use crate::policy::Properties;
use crate::shard::transport::Resource;

const BYTES: usize = 2000;
const GREEDY: u8 = 66;
const A_TICK: Duration = Duration::ZERO;
/// Longer than an address with several may be behind while others wait, and shorter than any.
const HALF_A_SECOND: Duration = Duration::from_millis(700);
const SECONDS: Duration = Duration::from_millis(2300);

fn rig() -> Rig {
    with(Properties::new())
}

impl Rig {
    fn promised(&self) -> (u32, u32) {
        self.shard.protocol.dispatch.promised()
    }

    /// How many wait for a promise: of those that have few, and others.
    fn wait_for_promises(&self) -> (usize, usize) {
        let waiting = &self.shard.protocol.transport.waiting;
        (waiting.count(Resource::ReservedPromise), waiting.count(Resource::Promise))
    }

    /// Clients of an address that each begin to upload, and send nothing of it.
    fn begin_uploads(&mut self, count: usize, address: u8) -> Vec<usize> {
        let clients: Vec<usize> = (0..count).map(|_| self.connect_from(address)).collect();
        for client in &clients {
            self.pass(A_TICK);
            self.say(*client, post_of(BYTES));
        }
        clients
    }

    /// Those that are told that they are too slow, and can read it.
    fn evicted(&mut self, clients: &[usize]) -> Vec<usize> {
        let mut evicted = Vec::new();
        for client in clients {
            let heard = self.heard(*client);
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408 "), "{heard}");
            if !heard.is_empty() {
                assert!(self.shard.protocol.transport.io.at_end(*client));
                evicted.push(*client);
            }
        }
        evicted
    }

    fn is_served_whole(&mut self, client: usize) {
        self.say(client, [b'w'; BYTES]);
        self.answer_whole(client, &[b'w'; BYTES]);
    }

    /// All have left, and nothing is promised.
    fn all_leave(self, clients: &[usize]) {
        let counters = std::sync::Arc::clone(&self.counters);
        self.leave(clients);
        assert_eq!(counters.timeouts.read(), 0, "nobody's timer was over");
    }
}

#[test]
fn idle_uploads_of_one_address_keep_nothing_from_others() {
    let mut rig = rig();
    let mut clients = rig.begin_uploads(20, GREEDY);
    assert_eq!((rig.promised(), rig.wait_for_promises()), ((4, 1), (0, 18)));
    for address in 1..=6 {
        let honest = rig.connect_from(address);
        rig.say(honest, post_of(BYTES));
        rig.is_served_whole(honest);
        clients.push(honest);
    }
    assert_eq!((rig.counters.bodies_evicted.read(), rig.counters.waits_for_promise.read()), (0, 18));
    rig.all_leave(&clients);
}

#[test]
fn who_waits_goes_on_in_turn_and_is_not_judged() {
    let mut rig = rig();
    let clients = rig.begin_uploads(5, GREEDY);
    assert_eq!(rig.wait_for_promises(), (0, 3));
    // What they have sent is left in their sockets.
    rig.say(clients[4], [b'w'; BYTES]);
    rig.say(clients[3], [b'w'; BYTES]);
    rig.assert_nobodys();
    rig.is_served_whole(clients[1]);
    assert_eq!(rig.wait_for_promises(), (0, 2), "the third has its promise");
    rig.pass(SECONDS);
    assert_eq!(rig.evicted(&clients), [clients[0], clients[2]], "they have sent nothing for so long");
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    assert_eq!([clients[3], clients[4]].map(|client| rig.heard_answers(client)), [["/a/1"]; 2]);
    assert_eq!(rig.counters.bodies_evicted.read(), 2);
    rig.all_leave(&clients);
}

#[test]
fn nobody_is_given_up_while_nobody_waits() {
    let mut rig = rig();
    let clients = rig.begin_uploads(2, GREEDY);
    (0..5).for_each(|_| rig.pass(SECONDS));
    clients.iter().for_each(|client| rig.is_served_whole(*client));
    assert_eq!((rig.counters.bodies_evicted.read(), rig.counters.waits_for_promise.read()), (0, 0));
    rig.all_leave(&clients);
}

#[test]
fn the_slowest_of_who_has_most_is_given_up_for_newcomers() {
    let mut rig = rig();
    let greedy = rig.begin_uploads(3, GREEDY);
    let slow = [rig.begin_uploads(1, 1), rig.begin_uploads(1, 2)].concat();
    assert_eq!((rig.promised(), rig.wait_for_promises()), ((8, 3), (0, 1)));
    let newcomer = rig.begin_uploads(1, 3)[0];
    assert_eq!(rig.wait_for_promises(), (1, 1));
    assert!(rig.evicted(&greedy).is_empty(), "they have had no time");
    // It keeps to the pace.
    rig.say(greedy[0], [b'g'; BYTES / 2]);
    rig.pass(HALF_A_SECOND);
    rig.say(greedy[0], [b'g'; BYTES / 2 - 1]);
    assert_eq!(rig.evicted(&[greedy.clone(), slow.clone()].concat()), [greedy[1]]);
    rig.is_served_whole(newcomer);
    slow.iter().for_each(|client| rig.is_served_whole(*client));
    assert_eq!(rig.counters.bodies_evicted.read(), 1);
    rig.all_leave(&[greedy, slow, vec![newcomer]].concat());
}

#[test]
fn nobody_is_given_up_for_who_gets_what_has_come_back_in_the_same_turn() {
    let mut rig = rig();
    let clients = rig.begin_uploads(3, GREEDY);
    assert_eq!(rig.wait_for_promises(), (0, 1));
    // One is whole in the turn in which the other is behind.
    rig.shard.protocol.transport.io.write(clients[0], &[b'w'; BYTES]);
    rig.shard.protocol.transport.clock.skip(ticks(SECONDS));
    rig.settle();
    assert_eq!((rig.evicted(&clients), rig.wait_for_promises()), (vec![], (0, 0)));
    rig.answer_whole(clients[0], &[b'w'; BYTES]);
    clients[1..].iter().for_each(|client| rig.is_served_whole(*client));
    assert_eq!(rig.counters.bodies_evicted.read(), 0);
    rig.all_leave(&clients);
}

#[test]
fn who_keeps_to_the_pace_is_not_given_up_and_who_trickles_is() {
    let mut rig = rig();
    let clients = rig.begin_uploads(3, GREEDY);
    for _ in 0..10 {
        rig.pass(Duration::from_millis(200));
        rig.say(clients[0], [b'w'; 190]);
        rig.say(clients[1], [b'w'; 10]);
    }
    rig.pass(HALF_A_SECOND);
    assert_eq!(rig.evicted(&clients), [clients[1]]);
    rig.say(clients[0], [b'w'; 100]);
    rig.answer_whole(clients[0], &[b'w'; BYTES]);
    rig.is_served_whole(clients[2]);
    rig.all_leave(&clients);
}

#[test]
fn one_body_of_an_address_is_not_greed() {
    let mut rig = rig();
    let slow: Vec<usize> = (1..=4).flat_map(|address| rig.begin_uploads(1, address)).collect();
    let newcomer = rig.begin_uploads(1, 5)[0];
    assert_eq!((rig.promised(), rig.wait_for_promises()), ((8, 4), (1, 0)));
    rig.pass(HALF_A_SECOND);
    assert!(rig.evicted(&slow).is_empty());
    rig.pass(SECONDS);
    assert_eq!(rig.evicted(&slow), [slow[0]], "as many as are needed");
    rig.is_served_whole(newcomer);
    rig.all_leave(&[slow, vec![newcomer]].concat());
}

#[test]
fn who_has_waited_for_the_engine_has_all_its_time() {
    let mut rig = rig();
    let clients = rig.begin_uploads(3, GREEDY);
    rig.pass(SECONDS);
    assert_eq!(rig.evicted(&clients), [clients[0]]);
    let behind = rig.begin_uploads(2, GREEDY);
    assert_eq!(rig.evicted(&clients), [clients[1]], "it is behind, too");
    rig.pass(HALF_A_SECOND);
    assert_eq!((rig.evicted(&clients).len(), rig.wait_for_promises()), (0, (0, 1)), "they have waited until now");
    for client in [clients[2], behind[0], behind[1]] {
        rig.is_served_whole(client);
    }
    rig.all_leave(&[clients, behind].concat());
}

#[test]
fn nobody_waits_for_a_promise_with_a_cell_that_those_with_promises_wait_for() {
    let properties = Properties::new().deliver_when_whole(WHOLE_MAX);
    let config = Config { properties, assembly_buffers: 2, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let mut clients: Vec<usize> = (1..=3).flat_map(|address| rig.begin_uploads(1, address)).collect();
    let promised = rig.connect_from(4);
    rig.say(promised, "POST /a/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    let waits = rig.connect_from(5);
    rig.say(waits, format!("POST /a/1 HTTP/1.1\r\nHost: h\r\nCookie: {}", "c".repeat(5000)));
    rig.say(waits, format!("\r\nContent-Length: {BYTES}\r\n\r\n"));
    assert_eq!((rig.promised(), rig.wait_for_promises()), ((8, 4), (1, 0)));
    rig.say(promised, format!("0\r\nT: {}", "t".repeat(2000)));
    rig.say(promised, "\r\n\r\n");
    rig.answer_whole(promised, b"x");
    assert_eq!(rig.wait_for_promises(), (0, 0));
    rig.is_served_whole(waits);
    clients.extend([promised, waits]);
    rig.all_leave(&clients);
}

#[test]
fn a_head_that_waits_for_a_promise_gives_its_cell_up_if_those_that_have_one_keep_the_pace() {
    let properties = Properties::new().deliver_when_whole(WHOLE_MAX);
    let config = Config { properties, assembly_buffers: 2, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let mut clients: Vec<usize> = (1..=4).map(|address| rig.connect_from(address)).collect();
    clients.iter().for_each(|client| rig.say(*client, post_of(WHOLE_MAX as usize)));
    let long = format!("Cookie: {}\r\n", "c".repeat(5000));
    let waits = rig.connect_from(5);
    rig.say(waits, format!("POST /a/1 HTTP/1.1\r\nHost: h\r\n{long}"));
    rig.say(waits, format!("Content-Length: {BYTES}\r\n\r\n"));
    assert_eq!((rig.promised(), rig.wait_for_promises()), ((8, 4), (1, 0)));
    let newcomer = rig.connect_from(6);
    rig.say(newcomer, format!("GET /a/2 HTTP/1.1\r\nHost: h\r\n{long}"));
    assert_eq!(rig.shard.protocol.transport.waiting.count(Resource::Cell), 1);
    for tick in 0..70 {
        let paced = clients.iter().filter(|_| tick >= 28);
        paced.for_each(|client| rig.say(*client, [b'w'; 64]));
        rig.pass(A_TICK);
    }
    let evicted = (rig.counters.heads_evicted.read(), rig.counters.bodies_evicted.read());
    assert_eq!((evicted, rig.promised(), rig.wait_for_promises()), ((1, 0), (8, 4), (0, 0)));
    assert!(rig.heard(waits).starts_with("HTTP/1.1 503 "));
    rig.say(newcomer, "\r\n");
    rig.serve();
    assert_eq!(rig.heard_answers(newcomer), ["/a/2"]);
    clients.extend([waits, newcomer]);
    rig.all_leave(&clients);
}

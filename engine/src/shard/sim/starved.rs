//! Directed tests of buffers that run short: who goes on when, that nobody is blamed or refused for it, and that nobody
//! turns in vain meanwhile.

use std::time::Duration;

use super::rig::{Options, Rig, answer, body, read_body, read_prefix};
use crate::config::{Config, Mode};
use crate::driver::Wait;
use crate::mem::Group;
use crate::policy::Properties;
use crate::queue::{BodyState, Lease};
use crate::record::RequestRecord;
use crate::shard::transport::Resource;

/// Bytes of a large buffer, of which the shard has so many: three for bodies that are not read, one for readers that
/// wait.
const LARGE: usize = 4096;
const LARGE_COUNT: usize = 4;
/// Small ones.
const SMALL_COUNT: u32 = 16;
/// A tick of the shard's clock.
const TICK: Duration = Duration::from_millis(64);
/// Longer than a client may be silent within a body.
const ENTITY_BODY: Duration = Duration::from_secs(121);

/// A shard of the fewest buffers.
fn tiny() -> Rig {
    tiny_with(Properties::new())
}

fn tiny_with(properties: Properties) -> Rig {
    let large = u32::try_from(LARGE_COUNT).expect("small");
    let config = Config { properties, receive_buffers: SMALL_COUNT, body_buffers: large, ..Options::default().config };
    Rig::with(Options { config, ..Options::default() })
}

fn post(len: usize) -> String {
    format!("POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n")
}

/// A shard whose large buffers are held by bodies that nobody has read, but for the one that is kept back, and half of
/// whose small ones hold input that waits.
struct Dry {
    rig: Rig,
    /// Clients whose bodies are under way, the first three with a large buffer each, and their requests.
    clients: Vec<usize>,
    leases: Vec<Lease<RequestRecord>>,
    /// Requests behind which others wait in the small ones.
    others: Vec<Lease<RequestRecord>>,
}

impl Dry {
    /// With two clients that have no buffer.
    fn new() -> Self {
        Self::with(Properties::new())
    }

    fn with(properties: Properties) -> Self {
        let mut rig = tiny_with(properties);
        let mut leases = Vec::new();
        let clients: Vec<usize> = (0..=LARGE_COUNT).map(|_| rig.connect()).collect();
        for client in &clients {
            rig.say(*client, post(60_000));
            leases.push(rig.claim());
            assert!(
                rig.shard.protocol.transport.io.receives_once(*client, Group::Large),
                "a long body is received into large buffers"
            );
        }
        let others: Vec<_> = (0..SMALL_COUNT / 2).map(|_| rig.hold_a_buffer()).collect();
        for client in &clients[..LARGE_COUNT - 1] {
            rig.say(*client, [b'b'; LARGE]);
        }
        let dry = Self { rig, clients, leases, others };
        let buffers = &dry.rig.shard.protocol.dispatch.side().buffers;
        assert!(buffers.small.is_short() && buffers.small.any_posted(), "requests still come in");
        assert!(buffers.large.pressed() && !buffers.large.any_posted() && buffers.large.any_reserved());
        dry
    }

    /// A client sends more of its body, and finds no buffer. Gives the turns until the shard rests.
    fn starve(&mut self, which: usize) -> u32 {
        let rig = &mut self.rig;
        rig.shard.protocol.transport.io.write(self.clients[which], &[b'c'; LARGE]);
        for turns in 1..1000 {
            rig.turn();
            if rig.shard.protocol.transport.io.asleep {
                assert_eq!(rig.heard(self.clients[which]), "", "its client is refused instead of waiting");
                return turns;
            }
        }
        panic!("livelock: a shard without a large buffer turned 1,000 times in vain");
    }

    /// How long the shard has just slept at most.
    fn nap(&self) -> Option<Duration> {
        match self.rig.shard.protocol.transport.io.waited {
            Wait::AtMost(limit) if limit <= TICK => Some(limit),
            _ => None,
        }
    }

    fn unread(&self, which: usize) -> u64 {
        self.leases[which].body_arrived()
    }

    /// One reads everything that is there, and waits for more.
    fn read(&mut self, which: usize) -> usize {
        let mut read = Vec::new();
        read_body(&mut self.leases[which], &mut read);
        self.rig.settle();
        read.len()
    }

    fn end(mut self) {
        drop((self.leases, self.others));
        self.rig.settle();
        drop(self.rig.claim_all());
        self.rig.settle();
        self.rig.stop(Duration::ZERO);
        self.rig.end();
    }
}

#[test]
fn a_shard_without_buffers_rests_between_looks() {
    for starved in [LARGE_COUNT, LARGE_COUNT - 1] {
        let mut dry = Dry::new();
        let before = dry.unread(starved);
        let turns = dry.starve(starved);
        assert!(turns <= 5, "{turns} turns for one receive that found no buffer");
        for look in 0..50 {
            dry.rig.turn();
            assert!(dry.rig.shard.protocol.transport.io.asleep, "look {look}: the shard turned without having slept");
            let nap = dry.nap().expect("it looks again by the clock");
            assert!(!nap.is_zero(), "look {look}: it did not sleep at all");
        }
        assert!(dry.rig.counters.buffers_ran_out.read() <= 2, "nothing was armed for a buffer that was not there");
        let lease = &dry.leases[starved];
        assert_eq!((lease.body_arrived(), lease.body_state()), (before, BodyState::Open), "it waits");
        dry.end();
    }
}

#[test]
fn who_waits_for_a_body_gets_what_is_kept_back() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    dry.starve(LARGE_COUNT - 1);
    let mut read = [0; 2];
    for round in 0.. {
        assert!(round < 20, "hang: {read:?}");
        for (read, which) in read.iter_mut().zip([LARGE_COUNT, LARGE_COUNT - 1]) {
            *read += dry.read(which);
        }
        if read == [5 * LARGE; 2] {
            break;
        }
        for which in [LARGE_COUNT, LARGE_COUNT - 1].into_iter().filter(|_| (1..5).contains(&round)) {
            dry.rig.say(dry.clients[which], [b'd'; LARGE]);
        }
    }
    assert_eq!(dry.unread(0), LARGE as u64, "nobody waits for this one, which has its piece");
    dry.end();
}

#[test]
fn readers_that_wait_are_served_in_turn_by_the_last_buffer() {
    let mut rig = tiny();
    let clients: Vec<usize> = (0..8).map(|_| rig.connect()).collect();
    let mut leases = Vec::new();
    for client in &clients {
        rig.say(*client, post(3 * LARGE));
        leases.push(rig.claim());
        rig.say(*client, [b'x'; LARGE]);
    }
    // All wait, and have all that they send in the end, though each reads only when the others have what they get.
    let mut whole: Vec<Vec<u8>> = vec![Vec::new(); clients.len()];
    for (client, lease) in clients.iter().zip(&mut leases) {
        rig.shard.protocol.transport.io.write(*client, &[b'x'; 2 * LARGE]);
        let _ = lease.next_body();
    }
    for round in 0.. {
        assert!(round < 100, "hang: bodies have come as far as {:?}", whole.iter().map(Vec::len).collect::<Vec<_>>());
        rig.settle();
        let mut ended = 0;
        for (lease, whole) in leases.iter_mut().zip(&mut whole) {
            ended += u32::from(read_body(lease, whole));
        }
        if ended == 8 {
            break;
        }
    }
    assert!(whole.iter().all(|whole| whole.len() == 3 * LARGE));
    rig.answer_and_end(leases, clients);
    rig.assert_idle();
}

#[test]
fn one_body_after_the_other_is_read_whatever_else_has_come() {
    // Of consumers that block, the body that is read is one of many, and the others hold all that they may.
    for (mode, len) in
        [(Mode::Queue, 40_000), (Mode::Colocated, 40_000), (Mode::Queue, 5_000), (Mode::Colocated, 5_000)]
    {
        let large = u32::try_from(LARGE_COUNT).expect("small");
        let config = Config { mode, receive_buffers: SMALL_COUNT, body_buffers: large, ..Options::default().config };
        let mut rig = Rig::with(Options { config, ..Options::default() });
        let _driving = (mode == Mode::Colocated).then(|| rig.shard.drive_here());
        let clients: Vec<usize> = (0..40).map(|_| rig.connect()).collect();
        for client in &clients {
            rig.shard.protocol.transport.io.write(*client, post(len).as_bytes());
            rig.shard.protocol.transport.io.write(*client, &vec![b'x'; len]);
        }
        rig.settle();
        let mut served = 0;
        while served < clients.len() {
            let Some(mut lease) = rig.queue.claim_of(0) else {
                panic!("{mode:?}, {len}: {served} served, and no more are delivered");
            };
            let mut whole = read_prefix(&mut lease);
            for round in 0.. {
                assert!(round < 100, "{mode:?}, {len}: hang, {served} served, {} bytes of the next", whole.len());
                if read_body(&mut lease, &mut whole) {
                    break;
                }
                rig.settle();
            }
            assert_eq!(whole.len(), len);
            answer(lease);
            rig.settle();
            served += 1;
        }
        for client in clients {
            assert_eq!(rig.heard_answers(client), ["/a/1"], "{mode:?}, {len}");
            rig.shard.protocol.transport.io.end(client);
        }
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn clients_that_send_ahead_are_held_and_not_reset() {
    // Each has a request with the application, and sends far more behind it than there are buffers.
    let mut rig = tiny();
    let clients: Vec<usize> = (0..12).map(|_| rig.connect()).collect();
    for client in &clients {
        rig.shard.protocol.transport.io.write(*client, post(3).as_bytes());
        rig.shard.protocol.transport.io.write(*client, b"abc");
        for _ in 0..200 {
            rig.shard.protocol.transport.io.write(*client, b"GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n");
        }
    }
    rig.settle();
    let mut leases = rig.claim_all();
    let answered = |rig: &mut Rig, client: usize, all: &mut Vec<usize>| all[client] += rig.heard_answers(client).len();
    let mut all = vec![0; clients.len()];
    for round in 0.. {
        assert!(round < 10_000, "hang: {all:?} answered");
        leases.into_iter().for_each(answer);
        rig.settle();
        leases = rig.claim_all();
        for client in &clients {
            answered(&mut rig, *client, &mut all);
        }
        if all.iter().all(|count| *count == 201) {
            break;
        }
    }
    for client in clients {
        assert!(!rig.shard.protocol.transport.io.was_reset(client));
        rig.shard.protocol.transport.io.end(client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_newcomer_is_served_while_others_hold_what_they_sent_ahead() {
    let mut rig = tiny();
    let others: Vec<_> = (0..SMALL_COUNT - 1).map(|_| rig.hold_a_buffer()).collect();
    for number in 0..10 {
        let client = rig.connect();
        rig.say(client, "GET /a/3 HTTP/1.1\r\nHost: h\r\n\r\n");
        let waiting = rig.shard.protocol.transport.waiting.count(Resource::SmallBuffer);
        let lease = rig.queue.claim_of(0).unwrap_or_else(|| panic!("newcomer {number} waits, with {waiting} others"));
        answer(lease);
        rig.settle();
        assert_eq!(rig.heard_answers(client), ["/a/3"]);
    }
    drop(others);
    rig.settle();
    drop(rig.claim_all());
    rig.settle();
    rig.stop(Duration::ZERO);
    rig.end();
}

#[test]
fn a_body_that_waits_is_taken_up_when_the_pressure_is_over() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    assert_eq!(dry.unread(LARGE_COUNT), 0);
    let last = dry.leases.pop().expect("five");
    dry.leases.drain(..1).for_each(answer);
    dry.rig.settle();
    assert_eq!(last.body_arrived(), LARGE as u64, "nobody has asked for it, and there is room again");
    drop(last);
    dry.end();
}

#[test]
fn nobody_is_blamed_or_refused_for_buffers_that_others_hold() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    for _ in 0..5 {
        dry.rig.pass(ENTITY_BODY);
    }
    assert_eq!(dry.rig.heard(dry.clients[LARGE_COUNT]), "", "it has sent, and nobody had received");
    assert_eq!(dry.leases[LARGE_COUNT].body_state(), BodyState::Open);
    dry.read(LARGE_COUNT);
    assert_eq!(dry.read(LARGE_COUNT), LARGE);
    dry.rig.settle();
    dry.rig.pass(ENTITY_BODY);
    let heard = dry.rig.heard(dry.clients[LARGE_COUNT]);
    assert!(heard.starts_with("HTTP/1.1 408 "), "now it is the client who is awaited: {heard}");
    dry.end();
}

#[test]
fn the_rate_of_a_body_does_not_count_while_there_is_no_buffer_for_it() {
    let mut dry = Dry::with(Properties::new().receive_rate_min(100_000));
    dry.starve(LARGE_COUNT);
    dry.rig.pass(Duration::from_secs(9));
    dry.read(LARGE_COUNT);
    assert_eq!(dry.read(LARGE_COUNT), LARGE);
    // Half a minute is what it may be behind.
    for second in 0..28 {
        dry.rig.pass(Duration::from_secs(1));
        assert_eq!(dry.rig.heard(dry.clients[LARGE_COUNT]), "", "after {second} s that it was awaited");
    }
    dry.end();
}

#[test]
fn what_is_thrown_away_waits_for_no_body_that_is_kept() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    let rig = &mut dry.rig;
    // Two requests at once, of which one waits in its buffer: until one buffer is left, and those that are kept back.
    let kept_back = rig.shard.protocol.dispatch.side().buffers.small.reserve();
    while rig.shard.protocol.dispatch.side().buffers.small.in_use() < SMALL_COUNT - kept_back - 1 {
        let client = rig.connect();
        rig.say(client, post(0) + "GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n");
        dry.others.push(rig.claim());
    }
    let client = rig.connect();
    let refused = "POST /nowhere HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc";
    rig.say(client, refused);
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 404 "), "{heard}");
    // The last buffer brings this, and comes back.
    rig.say(client, "d");
    rig.say(client, "e\r\n0\r\n\r\n".to_owned() + &post(0));
    (0..5).for_each(|_| rig.pass(TICK));
    dry.others.push(rig.queue.claim_of(0).expect("hang: the next request is not received"));
    dry.end();
}

#[test]
fn a_client_that_leaves_while_there_is_no_buffer_for_it_is_noticed() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    dry.rig.turn();
    dry.rig.shard.protocol.transport.io.reset(dry.clients[LARGE_COUNT]);
    dry.rig.settle();
    assert!(dry.rig.shard.protocol.transport.io.is_closed(dry.clients[LARGE_COUNT]), "nobody listens for its end");
    dry.end();
}

#[test]
fn a_trailer_section_waits_for_a_cell() {
    // Their heads have the cells that they could be in.
    let config = Config { assembly_buffers: 2, head_bytes: 48, ..Options::default().config };
    for head_alone in [true, false] {
        let mut rig = Rig::with(Options { config: config.clone(), ..Options::default() });
        let (before, client) = (rig.connect_from(2), rig.connect_from(3));
        // More than a fragment has, both of them.
        let trailers = format!("T: {}\r\n", "t".repeat(300));
        let head = "POST /a/2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let rest = &format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
        rig.say(before, format!("{head}{rest}"));
        let has_it = rig.claim();
        if head_alone {
            rig.say(client, head);
            rig.say(client, rest);
        } else {
            rig.say(client, format!("{head}{rest}"));
        }
        let mut lease = rig.claim();
        assert_eq!(lease.body_state(), BodyState::Open, "its trailer section has no cell");
        answer(has_it);
        rig.settle();
        assert_eq!((body(&mut lease), lease.trailers()), (b"abc".to_vec(), trailers.as_bytes()));
        answer(lease);
        rig.settle();
        assert_eq!(rig.heard_answers(client), ["/a/2"]);
        [before, client].into_iter().for_each(|client| rig.shard.protocol.transport.io.end(client));
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn newcomers_are_served_while_many_bodies_are_read_that_do_not_come_to_their_end() {
    for half in [1500, 2500] {
        let mut rig = tiny();
        let mut leases = Vec::new();
        for number in 0..40 {
            let client = rig.connect();
            rig.say(client, post(5000) + &"x".repeat(half));
            let mut lease = rig.claim();
            let mut read = read_prefix(&mut lease);
            for _ in 0..10 {
                read_body(&mut lease, &mut read);
                rig.settle();
            }
            assert_eq!(read.len(), half, "body {number}");
            leases.push(lease);
            let newcomer = rig.connect();
            rig.say(newcomer, "GET /a/3 HTTP/1.1\r\nHost: h\r\n\r\n");
            let lease = rig.queue.claim_of(0).unwrap_or_else(|| panic!("a newcomer waits behind {number} bodies"));
            answer(lease);
            rig.settle();
            assert_eq!(rig.heard_answers(newcomer), ["/a/3"]);
            rig.shard.protocol.transport.io.end(newcomer);
            rig.settle();
        }
        drop(leases);
        rig.settle();
        rig.stop(Duration::ZERO);
        rig.end();
    }
}

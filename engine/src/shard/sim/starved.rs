//! Directed tests of receives that found no large buffer: who goes on when, and that nobody turns in vain meanwhile.

use std::time::Duration;

use super::rig::{Options, Rig, read_body};
use crate::config::Config;
use crate::queue::{BodyState, Lease};
use crate::record::RequestRecord;
use crate::ring::Wait;

/// Bytes of a large buffer, of which the shard has so many.
const LARGE: usize = 4096;
const LARGE_COUNT: usize = 4;
/// Small ones.
const SMALL_COUNT: u32 = 16;
/// A tick of the shard's clock.
const TICK: Duration = Duration::from_millis(64);
/// Longer than a client may be silent within a body.
const ENTITY_BODY: Duration = Duration::from_secs(121);

/// A shard whose large buffers are all held by bodies that nobody has read, and whose small ones others need. The
/// first two readers owe no word when they have read: there was room for more when their bytes came.
struct Dry {
    rig: Rig,
    /// Clients whose bodies are under way, the first four with a large buffer each, and their requests.
    clients: Vec<usize>,
    leases: Vec<Lease<RequestRecord>>,
    /// Requests behind which others wait in the small ones.
    others: Vec<Lease<RequestRecord>>,
}

impl Dry {
    /// With one client more, which has no buffer yet.
    fn new() -> Self {
        let large = u32::try_from(LARGE_COUNT).expect("small");
        let config = Config { receive_buffers: SMALL_COUNT, body_buffers: large, ..Options::default().config };
        let mut rig = Rig::with(Options { config, ..Options::default() });
        let mut leases = Vec::new();
        let clients: Vec<usize> = (0..=LARGE_COUNT).map(|_| rig.connect()).collect();
        for client in &clients {
            rig.say(*client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
            leases.push(rig.claim());
            assert!(
                rig.shard.protocol.transport.io.receives_once(*client),
                "a long body is received into large buffers"
            );
        }
        for client in &clients[..LARGE_COUNT] {
            rig.say(*client, [b'b'; LARGE]);
        }
        let others = (0..SMALL_COUNT / 4 * 3 - 1).map(|_| rig.hold_a_buffer()).collect();
        assert!(
            rig.shard.protocol.dispatch.side().buffers.small.pressed_by(1),
            "clients hold what they may of the small ones"
        );
        assert!(
            rig.shard.protocol.dispatch.side().buffers.large.is_dry()
                && rig.shard.protocol.dispatch.side().buffers.small.any_posted()
        );
        Self { rig, clients, leases, others }
    }

    /// A client sends more of its body, and finds no buffer. Gives the turns until the shard rests.
    fn starve(&mut self, which: usize) -> u32 {
        let rig = &mut self.rig;
        rig.shard.protocol.transport.io.write(self.clients[which], &[b'c'; LARGE]);
        for turns in 1..1000 {
            rig.turn();
            if rig.shard.protocol.transport.io.asleep {
                assert_eq!(rig.heard(self.clients[which]), "", "its client is refused instead of waiting");
                assert_eq!(rig.shard.protocol.transport.waiting.starved(), 1, "it has found no buffer");
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

    /// One reads everything that is there, and says nothing, since nobody waits to be told.
    fn read_in_silence(&mut self, which: usize) {
        let mut read = Vec::new();
        read_body(&mut self.leases[which], &mut read);
        assert_eq!(read.len(), LARGE);
        assert!(!self.rig.shard.protocol.dispatch.side().has_signals(), "the shard was told: this is another test");
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
    for starved in [LARGE_COUNT, 0] {
        let mut dry = Dry::new();
        let before = dry.leases[starved].body_arrived();
        let turns = dry.starve(starved);
        assert!(turns <= 5, "{turns} turns for one receive that found no buffer");
        for look in 0..50 {
            dry.rig.turn();
            assert!(dry.rig.shard.protocol.transport.io.asleep, "look {look}: the shard turned without having slept");
            let nap = dry.nap().expect("it looks again by the clock");
            assert!(!nap.is_zero(), "look {look}: it did not sleep at all");
        }
        assert_eq!(dry.rig.counters.buffers_ran_out.read(), 1, "nothing was armed for a buffer that was not there");
        let lease = &dry.leases[starved];
        assert_eq!((lease.body_arrived(), lease.body_state()), (before, BodyState::Open), "it waits");
        dry.end();
    }
}

#[test]
fn a_starved_body_goes_on_within_a_tick_of_its_reader_having_read() {
    for starved in [LARGE_COUNT, 0] {
        let mut dry = Dry::new();
        let before = dry.leases[starved].body_arrived();
        dry.starve(starved);
        dry.read_in_silence(0);
        // Nothing happens but that the clock goes on, for one tick.
        dry.rig.turn();
        dry.rig.settle();
        let arrived = dry.leases[starved].body_arrived() - before;
        assert_eq!(arrived, LARGE as u64, "body {starved} has what came, and nobody has rung");
        assert!(
            dry.rig.shard.protocol.transport.waiting.is_empty() && dry.nap().is_none(),
            "and the shard sleeps as long as it may"
        );
        dry.end();
    }
}

#[test]
fn a_client_is_not_blamed_for_buffers_that_others_hold() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    dry.rig.pass(ENTITY_BODY / 4 * 3);
    dry.read_in_silence(0);
    dry.rig.turn();
    dry.rig.settle();
    dry.rig.pass(ENTITY_BODY / 4 * 3);
    assert_eq!(dry.rig.heard(dry.clients[LARGE_COUNT]), "", "it has sent, and nobody had received");
    let mut read = Vec::new();
    read_body(&mut dry.leases[LARGE_COUNT], &mut read);
    assert_eq!(read.len(), LARGE);
    dry.rig.settle();
    dry.rig.pass(ENTITY_BODY);
    let heard = dry.rig.heard(dry.clients[LARGE_COUNT]);
    assert!(heard.starts_with("HTTP/1.1 408 "), "now it is the client who is awaited: {heard}");
    dry.end();
}

#[test]
fn who_finds_no_buffer_in_all_its_time_is_told_to_come_back() {
    let mut dry = Dry::new();
    dry.starve(LARGE_COUNT);
    dry.rig.pass(ENTITY_BODY);
    let heard = dry.rig.heard(dry.clients[LARGE_COUNT]);
    assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    assert!(matches!(dry.leases[LARGE_COUNT].body_state(), BodyState::Failed(_)), "its reader waits for ever");
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

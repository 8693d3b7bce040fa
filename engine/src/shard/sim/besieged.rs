//! Seeded sieges: pools of a few, greedy clients of one address that keep what they can get, honest ones of others.
//!
//! Greedy clients pipeline and read nothing, leave heads or bodies half sent, or ask and are gone. They stay until all
//! honest ones are content. In some runs all of them do the same.
//!
//! Oracle: an honest client sends a request, waits for its response and reads it at once. None is reset or refused, and
//! all are answered, before any time is over and while the greedy keep what they have.
//!
//! The greedy leave a request slot to each honest client, or ask for more than there are, and than the queue takes.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use super::app::sum;
use super::besiegers;
use super::client::Client;
use super::ends;
use super::rig::{Options, Rig};
use super::script::{Expected, Outcome, Reading, Script, Step};
use super::seeded::{settle, turn};
use super::seeds::{as_many_as_asked, run_each, the_one_asked};
use super::world::World;
use crate::config::{Config, Mode};
use crate::driver::fake::{Faults, Outside, Random};
use crate::policy::Properties;
use crate::proxied::ProxyProtocol;

const GREEDY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const HONEST_MAX: usize = 6;
/// What no greedy client reads: its responses fill this.
const NARROW_ROOM: usize = 500;
const USUAL_ROOM: usize = 100_000;

/// What a greedy client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greed {
    /// Sends many requests and reads nothing.
    Pipelines,
    HalfHead,
    HalfBody,
    /// Sends a long head or trailer section, whole or half, in pieces.
    LongPieces,
    /// Sends many requests, and is gone.
    Leaves,
}

/// What all greedy clients together may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// Each honest client finds a request slot.
    LeavesSlots,
    /// More than there are slots.
    Unbounded,
}

const GREEDS: [Greed; 6] =
    [Greed::Pipelines, Greed::HalfHead, Greed::HalfBody, Greed::LongPieces, Greed::LongPieces, Greed::Leaves];

fn options(random: &mut Random) -> Options {
    let mut pick = |values: [u32; 2]| values[random.below(2)];
    let config = Config {
        connections_max: 64,
        requests_max: pick([16, 32]),
        receive_buffers: pick([16, 32]),
        receive_buffer_bytes: pick([512, 1024]),
        head_bytes: pick([48, 512]),
        body_buffers: pick([4, 8]),
        assembly_buffers: pick([4, 8]),
        pipeline_max: pick([4, 64]),
        ..Options::default().config
    };
    let mode = if random.chance(300) { Mode::Colocated } else { Mode::Queue };
    let mut often = |most: usize| u16::try_from(random.below(2) * random.below(most)).expect("below 1000");
    let faults = Faults {
        send_short: often(300),
        receive_split: often(500),
        more_lost: often(200),
        late: often(700),
        ..Faults::default()
    };
    let body_credit = [1000, 5000, 256 * 1024][random.below(3)];
    // Greedy uploads that are awaited whole are to keep no promise from honest ones.
    let properties = Properties::new().deliver_when_whole([0, 1_000, 4_096][random.below(3)]);
    // Honest clients together do not fill it.
    let queue_length = [2 * u32::try_from(HONEST_MAX).expect("a few"), 1000][random.below(2)];
    let (config, seed) = (Config { mode, properties, ..config }, random.next());
    Options { config, body_credit, queue_length, seed, faults, ..Options::default() }
}

/// What an honest client does: a few requests, one after the other.
fn honest(random: &mut Random, number: &mut u32) -> Script {
    let (mut steps, mut expected, mut written) = (Vec::new(), Vec::new(), 0);
    for _ in 0..=random.below(4) {
        *number += 1;
        let asked = besiegers::honest(*number, random);
        written += asked.bytes;
        let outcome = Outcome::Answer { sum: sum(&asked.body) };
        expected.push(Expected { number: *number, outcome, head: false, last: false, due_at: written });
        steps.extend(asked.steps);
        steps.push(Step::Await { answers: expected.len() });
    }
    Script { steps, expected, reading: Reading::AtOnce, room: USUAL_ROOM }
}

/// A greedy client comes, and takes of the `slots` that are left to such; gives it if it stays.
fn be_greedy(
    rig: &mut Rig,
    (greed, slots): (Option<Greed>, &mut usize),
    random: &mut Random,
    number: &mut u32,
) -> Option<usize> {
    let greed = match greed.unwrap_or_else(|| GREEDS[random.below(GREEDS.len())]) {
        Greed::LongPieces => Greed::LongPieces,
        _ if *slots == 0 => Greed::HalfHead,
        greed => greed,
    };
    let io = &mut rig.shard.protocol.transport.io;
    let peer = io.connect_from(GREEDY, rig.listener, NARROW_ROOM);
    let mut request = |form: &str| {
        *number += 1;
        form.replace('N', &number.to_string())
    };
    match greed {
        Greed::HalfHead => io.write(peer, request("GET /a/N HTTP/1.1\r\nHo").as_bytes()),
        Greed::HalfBody => {
            *slots -= 1;
            let (length, begun) = ([900, 4_000, 9_000][random.below(3)], ["", "x"][random.below(2)]);
            let form = format!("POST /a/N HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{begun}");
            io.write(peer, request(&form).as_bytes());
        }
        Greed::LongPieces => {
            *number += 1;
            let pieces = besiegers::greedy(*number, *slots > 0, random);
            *slots = slots.saturating_sub(1);
            for piece in pieces {
                rig.shard.protocol.transport.io.write(peer, piece.as_bytes());
                rig.turn();
            }
        }
        Greed::Pipelines | Greed::Leaves => {
            let count = 1 + random.below(64.min(*slots));
            *slots -= count;
            let requests: String = (0..count).map(|_| request("GET /a/N HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
            io.write(peer, requests.as_bytes());
        }
    }
    for _ in 0..random.below(4) {
        rig.turn();
    }
    let io = &mut rig.shard.protocol.transport.io;
    if greed == Greed::Leaves && random.chance(500) {
        io.reset(peer);
        return None;
    } else if greed == Greed::Leaves {
        io.end(peer);
    }
    Some(peer)
}

fn run_one(seed: u64) {
    run(seed, Demand::LeavesSlots);
}

fn run(seed: u64, demand: Demand) {
    let mut random = Random::new(seed);
    let options = options(&mut random);
    let mut slots = match demand {
        Demand::LeavesSlots => options.config.requests_max as usize - HONEST_MAX,
        Demand::Unbounded => usize::MAX,
    };
    let colocated = options.config.mode == Mode::Colocated;
    let mut rig = Rig::with(options);
    ends::expect_notes(false);
    let _driving = colocated.then(|| rig.shard.drive_here());
    let world = World::new(Random::new(random.next()), seed, &rig, ProxyProtocol::Off);
    let world = Rc::new(RefCell::new(world));
    rig.shard.protocol.transport.io.outside = Some(world.clone());
    let alike = random.chance(400).then(|| GREEDS[random.below(GREEDS.len())]);
    let most = if alike.is_some() { 48 } else { 20 };
    let (mut greedy, mut to_come, mut number) = (1 + random.below(most), 1 + random.below(HONEST_MAX), 0);
    let mut greedy_peers = Vec::new();
    while greedy > 0 || to_come > 0 {
        if greedy > 0 && (to_come == 0 || random.chance(700)) {
            greedy -= 1;
            greedy_peers.extend(be_greedy(&mut rig, (alike, &mut slots), &mut random, &mut number));
        } else {
            to_come -= 1;
            let script = honest(&mut random, &mut number);
            let address = Ipv4Addr::new(10, 0, 1, u8::try_from(to_come).expect("a few"));
            let peer = rig.shard.protocol.transport.io.connect_from(address, rig.listener, script.room);
            world.borrow_mut().clients.push(Client::new(peer, seed, false, script));
        }
        for _ in 0..random.below(8) {
            world.borrow_mut().act(&mut rig.shard.protocol.transport.io);
        }
        turn(&mut rig, &world, colocated);
    }
    settle(&mut rig, &world, colocated);
    world.borrow().clients.iter().for_each(|client| client.assert_content(&rig.shard.protocol.transport.io));
    rig.shard.protocol.transport.io.outside = None;
    let io = &mut rig.shard.protocol.transport.io;
    greedy_peers.into_iter().for_each(|peer| io.reset(peer));
    world.borrow_mut().finish(&mut rig.shard.protocol.transport.io);
    settle(&mut rig, &world, colocated);
    rig.assert_idle();
}

#[test]
fn honest_clients_are_served_beside_greedy_ones() {
    run_each(0..300, run_one);
}

#[test]
fn honest_clients_are_served_beside_greedy_ones_that_ask_for_all_slots() {
    run_each(0..300, |seed| run(seed, Demand::Unbounded));
}

#[test]
#[ignore = "long: as many seeds as RINGRESS_SIM_SEEDS says, 10,000 if it says nothing"]
fn honest_clients_are_served_beside_greedy_ones_that_ask_for_all_slots_for_more_seeds() {
    run_each(as_many_as_asked(300), |seed| run(seed, Demand::Unbounded));
}

#[test]
#[ignore = "long: as many seeds as RINGRESS_SIM_SEEDS says, 10,000 if it says nothing"]
fn honest_clients_are_served_beside_greedy_ones_for_more_seeds() {
    run_each(as_many_as_asked(300), run_one);
}

#[test]
#[ignore = "repeats RINGRESS_SIM_SEED"]
fn one_seed() {
    run_each(the_one_asked(), run_one);
    run_each(the_one_asked(), |seed| run(seed, Demand::Unbounded));
}

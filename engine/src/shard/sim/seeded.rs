//! The seeded run: one number draws settings, faults, clients and the application, and decides every step.
//!
//! Oracle: every well-formed request that was sent whole, by a client that stayed, is answered exactly once, in order
//! and with its own response; malformed ones get their status; nobody is left waiting while the shard sleeps;
//! afterwards nothing is in use. Where resources are short (`tight`) or time flies (`hasty`), 503, 408 and a closed
//! connection are fair, and everything else still holds. Where the application keeps the shard's own thread for minutes
//! (`slow`), they are fair for those clients alone who are late by what they do: whose requests had come is not.
//! Another shard asks for descriptors, each time for one answer, and is asked.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ends;
use super::rig::{Options, Rig};
use super::seeds::{as_many_as_asked, run_each, the_one_asked};
use super::world::World;
use crate::admission::ConnectionLimits;
use crate::clock::{Tick, ticks};
use crate::config::{Config, Mode, longest_whole};
use crate::driver::fake::{Faults, Outside, Random};
use crate::id::ShardId;
use crate::peers::Network;
use crate::policy::{Properties, Verbosity};
use crate::proxied::ProxyProtocol;
use crate::queue::Command;
use crate::shard::Sharing;

/// Turns of the shard while clients come and go.
const TURNS: usize = 200;

/// How often who waits looks by the clock, before it is said to wait for good.
const NAPS_MAX: usize = 3;

/// How long the application keeps the thread at most, in seconds: every timer is over by then.
const SLOW_MAX: usize = 300;

fn faults(random: &mut Random) -> Faults {
    let mut often = |most: usize| u16::try_from(random.below(2) * random.below(most)).expect("below 1000");
    Faults {
        send_short: often(300),
        send_refused: often(200),
        send_cut: often(500),
        receive_split: often(500),
        buffers_missing: often(200),
        more_lost: often(200),
        descriptors_missing: 0,
        late: often(700),
        cancel_late: often(900),
        address_missing: often(200),
        clients_left: 0,
        read_short: often(500),
        read_failed: 0,
        reads_hang: false,
        reads_stuck: false,
        sendfile_missing: often(300),
        read_late: often(500),
    }
}

fn options(seed: u64, random: &mut Random, tight: bool, hasty: bool) -> Options {
    let pick = |random: &mut Random, values: [u32; 2]| values[random.below(2)];
    let queue_wait = if hasty { Duration::from_secs(5) } else { Duration::from_secs(120) };
    let properties = Properties::new().request_queue(queue_wait);
    let config = Config {
        // Without a rate, who takes nothing for long enough is reset.
        properties: if hasty && seed.is_multiple_of(3) { properties.send_rate_min(0) } else { properties },
        mode: if random.chance(300) { Mode::Colocated } else { Mode::Queue },
        connections_max: if tight { pick(random, [4, 16]) } else { 64 },
        requests_max: if tight { 16 } else { 512 },
        receive_buffers: if tight { 16 } else { 256 },
        receive_buffer_bytes: pick(random, [512, 4096]),
        head_bytes: pick(random, [48, 1024]),
        body_buffers: if tight { 4 } else { 64 },
        assembly_buffers: if tight { 2 } else { 64 },
        file_buffers: if tight { 1 } else { pick(random, [1, 16]) },
        response_area_bytes: pick(random, [512, 4096]),
        pipeline_max: pick(random, [2, 64]),
        ..Options::default().config
    };
    let body_credit = [1000, 5000, 256 * 1024][random.below(3)];
    let queue_length = if tight { 4 } else { 1000 };
    let (measured, is_shared) = (seed.is_multiple_of(2), false);
    let whole_max = [0, 0, 700, 20_000][random.below(4)];
    let whole_max = whole_max.min(longest_whole(config.body_buffers, config.body_buffer_bytes));
    let config = Config { properties: config.properties.deliver_when_whole(whole_max), ..config };
    let seed = random.next() ^ seed;
    let (mut own, proxy) = (Random::new(seed ^ 0x9e), ProxyProtocol::Off);
    let proxy = if own.chance(700) { proxy } else { [ProxyProtocol::Optional, ProxyProtocol::Required][own.below(2)] };
    let mut config = config;
    if proxy != ProxyProtocol::Off {
        config.trusted_proxies = vec![Network::new([0, 0, 0, 0].into(), 0).expect("all addresses")];
        // Who is late by what it does is so by the same time as everywhere.
        config.properties = config.properties.proxy_header(Duration::from_secs(120));
    }
    let limits = limits(&mut Random::new(seed ^ 0x4c), tight || hasty);
    if limits[0].of_address().is_some() && proxy != ProxyProtocol::Off {
        // Proxies', but not those of their clients.
        config.trusted_proxies = vec![Network::new([0, 0, 0, 0].into(), 1).expect("half of all addresses")];
    }
    Options { config, body_credit, queue_length, measured, is_shared, proxy, limits, seed, faults: faults(random) }
}

/// How many connections may come, where it is fair that some are closed.
fn limits(own: &mut Random, is_fair: bool) -> [ConnectionLimits; 2] {
    [1, 2].map(|which| {
        let mut limits = ConnectionLimits::new();
        if !is_fair || own.chance(600) {
            return limits;
        }
        let mut some = |most: usize| own.chance(400).then(|| u32::try_from(1 + own.below(most * which)).expect("few"));
        let (open, of_address) = (some(6), some(3));
        let (rate, rate_of_address) = (some(12), some(6));
        limits = open.map_or(limits, |open| limits.connections_max(open));
        limits = of_address.map_or(limits, |open| limits.connections_per_address_max(open));
        limits = rate.map_or(limits, |rate| limits.connection_rate_max(rate));
        rate_of_address.map_or(limits, |rate| limits.connection_rate_per_address_max(rate))
    })
}

/// Another shard of the engine.
struct Beside {
    random: Random,
    asked: u32,
    answered: u32,
    /// How many answers it owes.
    owes: u32,
}

impl Beside {
    fn hear(&mut self, rig: &mut Rig) {
        let Some(side) = &mut rig.beside else { return };
        side.open_commands();
        while let Some(command) = side.take_command() {
            match command {
                Command::GiveDescriptor(ShardId(0)) => self.owes += 1,
                Command::Descriptor { from: ShardId(0), .. } => self.answered += 1,
                other => panic!("the other shard is told {other:?}"),
            }
        }
        assert!(self.owes <= 1, "it is asked again before it has answered");
    }

    fn act(&mut self, rig: &mut Rig) {
        self.hear(rig);
        if rig.beside.is_none() {
            return;
        }
        if self.random.chance(30) {
            self.asked += 1;
            rig.exchange.command(Command::GiveDescriptor(ShardId(1)));
        }
        if self.owes > 0 && self.random.chance(300) {
            self.owes -= 1;
            let is_given = self.random.chance(500);
            let most = &mut rig.shard.protocol.transport.io.descriptors_max;
            *most = most.saturating_add(usize::from(is_given));
            rig.exchange.command(Command::Descriptor { from: ShardId(1), is_given });
        }
    }
}

fn run_one(seed: u64) {
    let mut random = Random::new(seed);
    let (tight, hasty) = (random.chance(250), random.chance(150));
    let mut options = options(seed, &mut random, tight, hasty);
    let mut beside = Beside { random: Random::new(seed ^ 0xbe), asked: 0, answered: 0, owes: 0 };
    options.is_shared = tight && beside.random.chance(600);
    let (colocated, measured, proxy) = (options.config.mode == Mode::Colocated, options.measured, options.proxy);
    let mut slow = colocated.then(|| Random::new(seed ^ 0x510)).filter(|own| own.clone().chance(700));
    if slow.is_some() && !hasty {
        // What waits for an application that takes its time is not to be answered in its place.
        options.config.properties = options.config.properties.request_queue(Properties::OFF);
    }
    let mut rig = Rig::with(options);
    let mut verbose = Random::new(seed ^ 0x503);
    if proxy == ProxyProtocol::Off && Random::new(seed ^ 0x40).chance(200) {
        // Others take clients of the socket, too.
        rig = rig.over(Sharing::HandedOver, false);
        rig.shard.protocol.transport.io.faults.clients_left = 500;
    }
    ends::expect_notes(measured);
    rig.shard.protocol.dispatch.set_publish_max([1, 3, 64, 512][random.below(4)]);
    rig.shard.protocol.transport.io.descriptors_max = if tight && random.chance(300) { 3 } else { usize::MAX };
    if let Some(own) = &mut slow {
        rig.shard.protocol.dispatch.set_publish_max([1, 1, 3][own.below(3)]);
    }
    rig.shard.protocol.transport.turns.sizes.draw(&mut random);
    let _driving = colocated.then(|| rig.shard.drive_here());
    let world = World::new(Random::new(random.next()), seed, &rig, proxy);
    let world = Rc::new(RefCell::new(World { tight: tight || hasty, to_come: 30, ..world }));
    rig.shard.protocol.transport.io.outside = Some(world.clone());
    let mut gives_back = Some(Random::new(seed ^ 0x6b)).filter(|own| own.clone().chance(300));
    for _ in 0..TURNS {
        if verbose.chance(20) {
            rig.verbosity.set([Verbosity::Reset, Verbosity::Bare, Verbosity::Reason][verbose.below(3)]);
        }
        between_turns(&mut rig, &world, &mut random, (hasty, slow.as_mut()));
        if gives_back.as_mut().is_some_and(|own| own.chance(100)) {
            // As if memory were kept for a moment only.
            rig.shard.give_memory_back();
        }
        beside.act(&mut rig);
        turn(&mut rig, &world, colocated);
    }
    match random.below(8) {
        0 => stop_at_once(rig, &world),
        1 => stop_in_time(rig, &world, colocated),
        2 => fail(rig, &world),
        3 if Random::new(seed ^ 0x5d).chance(500) => shut_queue_down(rig, &world),
        3 => end_queue(rig, &world),
        _ => end_well((rig, beside), &world, &mut random, (tight, colocated)),
    }
}

/// All is answered, everybody leaves, and nothing is left.
fn end_well(
    (mut rig, mut beside): (Rig, Beside),
    world: &RefCell<World>,
    random: &mut Random,
    (tight, colocated): (bool, bool),
) {
    world.borrow_mut().hurry(&mut rig.shard.protocol.transport.io);
    settle(&mut rig, world, colocated);
    if tight && !world.borrow().clients.iter().all(|client| client.is_content()) {
        // Half heads of silent clients have the cells, or their requests the slots, until their time is over.
        rig.expire(Duration::from_secs(130));
        settle(&mut rig, world, colocated);
    }
    world.borrow().clients.iter().for_each(|client| client.assert_content(&rig.shard.protocol.transport.io));
    if random.chance(300) {
        time_out(&mut rig, world, colocated);
    }
    world.borrow_mut().finish(&mut rig.shard.protocol.transport.io);
    settle(&mut rig, world, colocated);
    beside.hear(&mut rig);
    rig.assert_idle();
    assert_eq!(beside.asked, beside.answered, "who has asked is answered once");
    world.borrow().app.assert_told();
    world.borrow().app.assert_streams_over();
    let cancelled = rig.counters.requests_cancelled.read() + rig.counters.cancels_late.read();
    assert_eq!(cancelled, world.borrow().app.cancelled, "a cancel is not counted, or twice");
    world.borrow().assert_counted(&rig.queue.counts().read(), &rig.counters);
    rig.shard.protocol.transport.io.outside = None;
    rig.stop(Duration::from_secs(60));
    rig.end();
}

/// What happens outside before the next turn. Clients are `hasty`, the application is `slow`, by numbers of its own.
fn between_turns(
    rig: &mut Rig,
    world: &RefCell<World>,
    random: &mut Random,
    (hasty, mut slow): (bool, Option<&mut Random>),
) {
    if hasty && random.chance(30) {
        rig.expire(Duration::from_secs(random.below(130) as u64));
        // Rates are looked at again and again, while clients pause.
        for _ in 0..random.below(2) * random.below(16) {
            rig.expire(Duration::from_secs(5 + random.below(5) as u64));
        }
    }
    if random.chance(50) {
        rig.change_unnoticed(random);
    }
    // The application takes its time.
    rig.shard.protocol.transport.clock.skip(Tick::from(random.chance(50)));
    for _ in 0..random.below(8) {
        world.borrow_mut().act(&mut rig.shard.protocol.transport.io);
        if let Some(own) = &mut slow {
            take_time(rig, world, own);
        }
    }
}

/// Nobody sends any more, nothing is owed: the timers close every connection.
fn time_out(rig: &mut Rig, world: &RefCell<World>, colocated: bool) {
    world.borrow_mut().expect_stop(&mut rig.shard.protocol.transport.io);
    for _ in 0..3 {
        rig.expire(Duration::from_secs(130));
        settle(rig, world, colocated);
    }
    assert_eq!(rig.shard.connections.len(), 0, "connections without a deadline are left");
}

/// The application keeps the shard's thread, mostly while completions wait to be handled.
fn take_time(rig: &mut Rig, world: &RefCell<World>, own: &mut Random) {
    let completions_wait = rig.shard.cursor < rig.shard.events.len();
    if own.chance(if completions_wait { 300 } else { 20 }) {
        // Meanwhile clients go on.
        world.borrow_mut().app_waits = true;
        for _ in 0..own.below(10) {
            world.borrow_mut().act(&mut rig.shard.protocol.transport.io);
        }
        world.borrow_mut().app_waits = false;
        rig.shard.protocol.transport.clock.skip(ticks(Duration::from_secs(own.below(SLOW_MAX) as u64)));
        world.borrow_mut().pass_time(&mut rig.shard.protocol.transport.io);
    }
}

pub(super) fn turn(rig: &mut Rig, world: &RefCell<World>, colocated: bool) {
    world.borrow_mut().app_waits = colocated;
    let took_time = rig.shard.protocol.transport.io.prompt;
    rig.turn();
    let io = &mut rig.shard.protocol.transport.io;
    if took_time && !io.prompt {
        world.borrow_mut().excuse_unheard(io);
    }
    world.borrow_mut().app_waits = false;
}

/// Goes on until the shard sleeps and nothing outside can happen any more.
pub(super) fn settle(rig: &mut Rig, world: &RefCell<World>, colocated: bool) {
    let mut naps = 0;
    for _ in 0..20_000 {
        turn(rig, world, colocated);
        let acted = world.borrow_mut().act(&mut rig.shard.protocol.transport.io);
        if acted {
            naps = 0;
        }
        if rig.shard.protocol.transport.io.asleep && !acted {
            if rig.shard.protocol.transport.io.has_queued() {
                // Its own clock has woken it, and it has begun something since.
                continue;
            }
            // Who waits for that may wait for ever, if others keep what they have.
            let looks = rig.shard.protocol.transport.waiting.any_by_clock() && naps < NAPS_MAX;
            if looks || rig.shard.waits_for_a_tick() {
                // Others have had their time by then.
                naps += 1;
                rig.expire(Duration::from_millis(128));
                continue;
            }
            return rig.shard.protocol.dispatch.assert_conserved();
        }
    }
    panic!("livelock: no rest in 20,000 turns");
}

/// Less than the other timers.
const LINGER: Duration = Duration::from_secs(2);

/// A stop with grace, with and without a linger, in the middle of everything: whoever is owed a response gets it, then
/// the shard ends by itself. Requests whose bodies do not come to their end are waited for until their time is over.
fn stop_in_time(mut rig: Rig, world: &RefCell<World>, colocated: bool) {
    world.borrow_mut().expect_stop(&mut rig.shard.protocol.transport.io);
    let lingers = Random::new(world.borrow().seed).chance(500);
    if lingers {
        rig.drain(LINGER, Duration::from_secs(600));
    } else {
        rig.stop(Duration::from_secs(600));
    }
    go_on_stopping(&mut rig, world, colocated);
    if lingers && !rig.shard.is_done() {
        // Clients that are idle are let be until then.
        rig.expire(LINGER);
        go_on_stopping(&mut rig, world, colocated);
    }
    if rig.shard.connections.keys().iter().all(|key| {
        let connection = rig.shard.connections.get_mut(*key);
        connection.is_some_and(|connection| connection.has_incoming())
    }) {
        rig.expire(Duration::from_secs(130));
        go_on_stopping(&mut rig, world, colocated);
    }
    assert!(rig.shard.is_done(), "hang: the shard does not end, though nobody keeps it");
    rig.shard.protocol.transport.io.outside = None;
    rig.turn();
    rig.end();
    world.borrow().app.assert_told();
}

fn go_on_stopping(rig: &mut Rig, world: &RefCell<World>, colocated: bool) {
    for _ in 0..20_000 {
        turn(rig, world, colocated);
        let acted = world.borrow_mut().act(&mut rig.shard.protocol.transport.io);
        if !acted && (rig.shard.protocol.transport.io.asleep || rig.shard.is_done()) {
            break;
        }
    }
}

/// The queue ends, in the middle of everything: no request waits for a response that nobody can give.
fn end_queue(mut rig: Rig, world: &RefCell<World>) {
    rig.shard.protocol.transport.io.outside = None;
    let mut random = Random::new(world.borrow().seed);
    world.borrow_mut().app.end_queue(&mut random);
    if random.chance(500) {
        rig.turn();
    }
    rig.change(|desired| desired.set_queues(Vec::new()));
    end_without_queue(rig, world);
}

/// The queue is shut down, in the middle of everything: nothing waits in it any more, what was received and is not
/// answered is cancelled at the deadline, and everybody who asked is told.
fn shut_queue_down(mut rig: Rig, world: &RefCell<World>) {
    rig.shard.protocol.transport.io.outside = None;
    let mut random = Random::new(world.borrow().seed);
    assert!(rig.queue.shut_down() && !rig.queue.shut_down(), "once");
    if random.chance(500) {
        // A turn that does not know of it yet: what is published in it is left in the queue.
        rig.turn();
    }
    rig.change(|desired| {
        let queue = Some(Arc::clone(&rig.queue));
        desired.set_queues(vec![queue]);
    });
    rig.settle();
    assert_eq!(rig.queue.len(), 0, "something waits in a queue that nobody receives from");
    // What comes now is refused, too.
    world.borrow_mut().hurry(&mut rig.shard.protocol.transport.io);
    rig.settle();
    assert_eq!(rig.queue.len(), 0, "something was put into a queue that was shut down");
    if random.chance(500) {
        world.borrow_mut().app.let_go_of_some(&mut random);
        rig.settle();
    }
    let before = rig.counters.requests_cancelled.read() + rig.counters.cancels_late.read();
    let cancelled = rig.queue.cancel_all();
    rig.settle();
    let after = rig.counters.requests_cancelled.read() + rig.counters.cancels_late.read();
    assert_eq!(after - before, cancelled, "a cancel is not counted, or twice");
    assert_eq!(rig.queue.cancel_all(), 0, "something is left to be cancelled");
    world.borrow_mut().app.abandon();
    rig.change(|desired| desired.set_queues(Vec::new()));
    end_without_queue(rig, world);
}

/// The queue has ended: the timers close every connection, and nothing is left.
fn end_without_queue(mut rig: Rig, world: &RefCell<World>) {
    // Who waits to be accepted comes in before the stop, which takes who is left at sockets of others, too.
    rig.shard.protocol.transport.io.faults.descriptors_missing = 0;
    // The requests whose bodies never come, and the clients that read no more, have their timers.
    rig.settle();
    for _ in 0..40 {
        if rig.shard.connections.len() == 0 && !rig.shard.waits_for_a_tick() {
            break;
        }
        rig.expire(Duration::from_secs(130));
        rig.settle();
    }
    rig.assert_idle();
    world.borrow().app.assert_told();
    // Clients that wait for accepting to go on would be taken, and have as much time as there is.
    rig.stop(Duration::ZERO);
    rig.end();
}

/// A stop without grace, in the middle of everything.
fn stop_at_once(mut rig: Rig, world: &RefCell<World>) {
    rig.shard.protocol.transport.io.outside = None;
    rig.stop(Duration::ZERO);
    for _ in 0..1000 {
        if rig.shard.is_done() {
            break;
        }
        rig.turn();
        world.borrow_mut().app.claim(&mut Random::new(1));
    }
    assert!(rig.shard.is_done(), "the shard does not end");
    world.borrow_mut().app.abandon();
    rig.turn();
    rig.end();
    world.borrow().app.assert_told();
}

/// The ring fails, in the middle of everything: nobody waits for it any more, and no socket is left open.
fn fail(mut rig: Rig, world: &RefCell<World>) {
    rig.shard.protocol.transport.io.outside = None;
    rig.shard.protocol.transport.io.breaks = true;
    // A turn with completions at hand enters the kernel no more than it has to.
    assert!((0..1000).any(|_| rig.shard.turn(None).is_err()), "the ring fails");
    let left_open = Rc::clone(&rig.shard.protocol.transport.io.left_open);
    rig.shard.end();
    assert_eq!(left_open.get(), Some(0), "sockets that nobody has closed");
    let app = &mut world.borrow_mut().app;
    app.assert_told();
    app.assert_given_up();
    app.abandon();
}

#[test]
fn many_seeds_leave_no_request_unanswered_and_nothing_behind() {
    run_each(0..300, run_one);
    ends::assert_all_seen();
}

#[test]
#[ignore = "long: as many seeds as RINGRESS_SIM_SEEDS says, 10,000 if it says nothing"]
fn more_seeds_leave_no_request_unanswered_and_nothing_behind() {
    run_each(as_many_as_asked(300), run_one);
}

#[test]
#[ignore = "repeats RINGRESS_SIM_SEED"]
fn one_seed() {
    run_each(the_one_asked(), run_one);
}

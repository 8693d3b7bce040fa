//! Co-located, a crowd asks for more than the one consumer can do, which is the shard's thread.
//!
//! The application takes one request after the other, each of which holds the thread for a while, and comes back to the
//! shard when its queue shows nothing more. Clients go on meanwhile, and read what they are sent.
//!
//! Oracle: each request is answered once and in its turn, unless the last answer is a 503 and the connection has ended;
//! who has few is not refused, and is answered in the time that a full queue takes.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::rig::{Options, ROOM, Rig, answer};
use super::seeds::{as_many_as_asked, run_each, the_one_asked};
use crate::config::{Config, Mode};
use crate::driver::fake::{Faults, Random};
use crate::queue::Lease;
use crate::record::RequestRecord;
use crate::shard::Driven;

const MS: Duration = Duration::from_millis(1);

/// A client that asks again and again over one connection.
struct Asker {
    peer: usize,
    name: String,
    /// How many requests it sends at a time, and how long after it has sent some, or was answered, it sends more.
    burst: usize,
    every: Duration,
    /// Only when all before is answered.
    waits: bool,
    next_at: Duration,
    asked: usize,
    answered: usize,
    refused: usize,
    asked_at: Duration,
    longest: Duration,
    inbox: Vec<u8>,
    is_last_refused: bool,
    is_over: bool,
}

impl Asker {
    /// Reads what has come, and asks again if it is time to.
    fn act(&mut self, rig: &mut Rig, now: Duration, goes_on: bool) {
        if self.is_over {
            return;
        }
        let io = &mut rig.shard.protocol.transport.io;
        self.inbox.extend(io.read(self.peer, usize::MAX));
        while self.take_response(now) {}
        if io.at_end(self.peer) {
            let is_told = self.is_last_refused || self.answered == self.asked;
            assert!(is_told && !io.was_reset(self.peer), "{}: {} of {}", self.name, self.answered, self.asked);
            self.is_over = true;
            io.end(self.peer);
        } else if goes_on && now >= self.next_at && !(self.waits && self.answered < self.asked) {
            for _ in 0..self.burst {
                let request = format!("GET /a/{}-{} HTTP/1.1\r\nHost: h\r\n\r\n", self.name, self.asked);
                io.write(self.peer, request.as_bytes());
                self.asked += 1;
            }
            (self.asked_at, self.next_at) = (now, now + self.every);
        }
    }

    /// Takes a response out of the inbox, if it is whole.
    fn take_response(&mut self, now: Duration) -> bool {
        let text = String::from_utf8_lossy(&self.inbox);
        let Some((head, rest)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let length: usize = length.expect("each says it");
        if rest.len() < length {
            return false;
        }
        assert!(self.answered < self.asked, "{}: an answer to nothing: {text}", self.name);
        self.is_last_refused = head.starts_with("HTTP/1.1 503 ");
        let expected = format!("[/a/{}-{}]", self.name, self.answered);
        assert!(self.is_last_refused || rest[..length] == expected, "{expected}: {text}");
        let whole = head.len() + 4 + length;
        self.inbox.drain(..whole);
        self.answered += 1;
        self.refused += usize::from(self.is_last_refused);
        if self.waits {
            self.longest = self.longest.max(now - self.asked_at);
            self.next_at = now + self.every;
        }
        true
    }
}

struct Siege {
    rig: Rig,
    now: Duration,
    askers: Vec<Asker>,
    /// How long a request holds the application: one of these.
    work: Vec<Duration>,
    /// Requests that it takes before it answers, at most.
    batch: usize,
    random: Random,
    goes_on: bool,
}

impl Siege {
    fn new(options: Options, work: Vec<Duration>, batch: usize) -> Self {
        let config = Config { mode: Mode::Colocated, ..options.config };
        let random = Random::new(options.seed);
        let rig = Rig::with(Options { config, ..options });
        Self { rig, now: Duration::ZERO, askers: Vec::new(), work, batch, random, goes_on: true }
    }

    /// A client comes, and asks at once.
    fn comes(&mut self, address: Ipv4Addr, (burst, every): (usize, Duration), waits: bool) {
        let peer = self.rig.shard.protocol.transport.io.connect_from(address, self.rig.listener, ROOM);
        let name = format!("{}", self.askers.len());
        self.askers.push(Asker {
            peer,
            name,
            burst,
            every,
            waits,
            next_at: self.now,
            asked: 0,
            answered: 0,
            refused: 0,
            asked_at: self.now,
            longest: Duration::ZERO,
            inbox: Vec::new(),
            is_last_refused: false,
            is_over: false,
        });
        self.clients_act();
    }

    fn clients_act(&mut self) {
        self.askers.iter_mut().for_each(|asker| asker.act(&mut self.rig, self.now, self.goes_on));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.rig.shard.protocol.transport.clock.skip_for(time);
        self.clients_act();
    }

    /// The application works off what it sees, and the shard has a turn. `true`: nothing more is to be done.
    fn go_on(&mut self) -> bool {
        let is_taken = self.work_off();
        self.rig.turn();
        let is_asleep = self.rig.shard.protocol.transport.io.asleep;
        if is_asleep && !is_taken {
            self.pass(16 * MS);
        }
        is_asleep && !is_taken
    }

    fn work_off(&mut self) -> bool {
        let mut any = false;
        loop {
            let count = 1 + self.random.below(self.batch);
            let claimed: Vec<_> = core::iter::from_fn(|| self.rig.queue.claim_of(0)).take(count).collect();
            if claimed.is_empty() {
                return any;
            }
            any = true;
            claimed.into_iter().for_each(|lease| self.serve(lease));
        }
    }

    fn serve(&mut self, lease: Lease<RequestRecord>) {
        let work = self.work[self.random.below(self.work.len())];
        self.pass(work);
        answer(lease);
    }

    fn go_on_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let _ = self.go_on();
        }
    }

    /// Everybody reads what is left, and leaves.
    fn end(mut self) {
        self.goes_on = false;
        let mut rests = 0;
        while rests < 4 {
            rests = if self.go_on() { rests + 1 } else { 0 };
        }
        for asker in &self.askers {
            assert!(asker.is_over || asker.answered == asker.asked, "{} hangs", asker.name);
            self.rig.shard.protocol.transport.io.end(asker.peer);
        }
        self.rig.settle();
        self.rig.assert_idle();
    }
}

/// The address of a greedy client, or of one that has few requests.
fn greedy(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 66, u8::try_from(number).expect("a few"))
}

fn newcomer(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, u8::try_from(number).expect("a few"))
}

/// What a crowd of `connections` to each of `addresses` asks for, ten times of what the consumer can do, keeps no
/// newcomer from being served.
fn newcomers_are_served_beside((addresses, connections, burst): (usize, usize, usize), given_max: usize) {
    let config = Config {
        connections_max: 512,
        requests_max: 256,
        receive_buffers: 512,
        pipeline_max: 64,
        ..Options::default().config
    };
    let crowd = addresses * connections * burst;
    let work = 1000 * MS / u32::try_from(crowd).expect("a few");
    let mut siege = Siege::new(Options { config, queue_length: 100, ..Options::default() }, vec![work], 1);
    siege.rig.shard.protocol.transport.io.given_max = given_max;
    let _driving = siege.rig.shard.drive_here();
    for number in 0..addresses * connections {
        siege.comes(greedy(number % addresses), (burst, 100 * MS), false);
    }
    siege.go_on_for(2000 * MS);
    let first = siege.askers.len();
    for number in 0..8 {
        siege.comes(newcomer(number), (1, 20 * MS), true);
        siege.go_on_for(200 * MS);
    }
    siege.go_on_for(4000 * MS);
    let newcomers = &siege.askers[first..];
    let served: Vec<_> = newcomers.iter().map(|asker| (asker.answered, asker.refused, asker.longest)).collect();
    // A full queue is worked off in as much; what has come in two ticks is looked at before.
    let most = 100 * work + if given_max == usize::MAX { 4 } else { 10 } * 64 * MS;
    let is_served = |(answered, refused, longest): &(_, _, _)| *answered > 0 && *refused == 0 && *longest < most;
    assert!(served.iter().all(is_served), "{served:?}");
    assert!(siege.rig.counters.share_refusals.read() > 0, "somebody has made room");
    siege.end();
}

#[test]
fn newcomers_are_served_beside_a_crowd_of_one_address() {
    newcomers_are_served_beside((1, 200, 1), usize::MAX);
}

#[test]
fn newcomers_are_served_however_little_the_kernel_gives_at_a_time() {
    newcomers_are_served_beside((1, 200, 1), 20);
}

#[test]
fn newcomers_are_served_beside_many_greedy_addresses() {
    newcomers_are_served_beside((16, 1, 16), usize::MAX);
}

/// A shard that is behind: of 30 requests, consumers have taken 3 and see one more.
fn behind() -> (Siege, Driven) {
    let mut siege = Siege::new(Options::default(), vec![64 * MS], 1);
    siege.rig.shard.protocol.dispatch.set_publish_max(1);
    let driving = siege.rig.shard.drive_here();
    for number in 0..30 {
        siege.comes(greedy(number), (1, 1000 * MS), true);
    }
    while !siege.rig.shard.protocol.dispatch.is_behind() {
        let _ = siege.go_on();
    }
    (siege, driving)
}

#[test]
fn before_the_shard_sleeps_all_is_shown() {
    let (mut siege, _driving) = behind();
    assert_eq!((siege.rig.claim_all().len(), siege.rig.queue.len() > 20), (1, true), "the rest is held back");
    siege.rig.turn();
    let claimed = siege.rig.claim_all();
    assert_eq!((claimed.len(), siege.rig.shard.protocol.dispatch.is_behind()), (1, true), "a tick each");
    // The application has enough to do, and takes no more.
    siege.rig.settle();
    let waiting = siege.rig.queue.len();
    assert_eq!((siege.rig.claim_all().len() as u64, waiting > 20), (waiting, true));
}

#[test]
fn requests_that_were_withdrawn_hold_up_nobody_behind_them() {
    let (mut siege, _driving) = behind();
    siege.comes(newcomer(0), (1, 1000 * MS), true);
    let newcomer = siege.askers.len() - 1;
    // Accepted, and received.
    for _ in 0..2 {
        assert!(siege.work_off(), "the application takes one after the other");
        siege.rig.turn();
    }
    assert!(siege.work_off() && siege.askers[newcomer].answered == 0);
    for asker in &mut siege.askers[..newcomer] {
        siege.rig.shard.protocol.transport.io.reset(asker.peer);
        asker.is_over = true;
    }
    siege.rig.turn();
    assert!(siege.work_off(), "the newcomer's request is next");
    siege.rig.turn();
    siege.clients_act();
    assert_eq!(siege.askers[newcomer].answered, 1);
    siege.end();
}

#[test]
fn a_ring_that_is_cleared_meanwhile_shows_no_more_than_the_application_takes() {
    let (mut siege, _driving) = behind();
    let mut waiting = 0;
    for round in 0..40 {
        // Most of those that come leave at once, and as many stay as are served.
        let first = siege.askers.len();
        for number in 0..12 {
            siege.comes(newcomer(number), (1, 100_000 * MS), true);
        }
        for _ in 0..2 {
            siege.rig.turn();
            let claimed = siege.rig.claim_all();
            assert_eq!(claimed.len(), 1, "{} at once in round {round}", claimed.len());
            claimed.into_iter().for_each(|lease| siege.serve(lease));
        }
        for asker in &mut siege.askers[first + 2..] {
            siege.rig.shard.protocol.transport.io.reset(asker.peer);
            asker.is_over = true;
        }
        // Who was served makes room.
        for asker in siege.askers.iter_mut().filter(|asker| asker.answered > 0 && !asker.is_over) {
            siege.rig.shard.protocol.transport.io.reset(asker.peer);
            asker.is_over = true;
        }
        waiting = siege.rig.queue.len();
    }
    assert!(siege.rig.shard.protocol.dispatch.is_behind() && waiting > 10, "{waiting}");
    siege.end();
}

#[test]
fn a_queue_that_closes_while_the_shard_is_behind_leaves_nobody_waiting() {
    for ends in [false, true] {
        let (mut siege, _driving) = behind();
        match ends {
            true => _ = siege.rig.change(|desired| desired.set_queues(Vec::new())),
            false => siege.rig.queue.close_and_abandon(),
        }
        siege.rig.settle();
        let io = &mut siege.rig.shard.protocol.transport.io;
        let heard = siege.askers.iter().filter(|asker| asker.answered == 0 && io.readable(asker.peer) == 0).count();
        assert_eq!(heard, 0, "clients that are told nothing");
    }
}

fn run_one(seed: u64) {
    let mut random = Random::new(seed);
    let mut pick = |values: [u32; 3]| values[random.below(3)];
    let config = Config {
        connections_max: 64,
        requests_max: pick([16, 64, 256]),
        receive_buffers: pick([32, 64, 128]),
        pipeline_max: pick([1, 4, 64]),
        ..Options::default().config
    };
    let (queue_length, publish_max) = (pick([8, 40, 1000]), pick([1, 4, 32]));
    let work = [&[MS][..], &[20 * MS], &[Duration::ZERO, MS, 300 * MS]][random.below(3)].to_vec();
    let mut often = |most: usize| u16::try_from(random.below(2) * random.below(most)).expect("below 1000");
    let faults = Faults { receive_split: often(500), more_lost: often(200), late: often(700), ..Faults::default() };
    let seed = random.next();
    let batch = [1, 3, 64][random.below(3)];
    let mut siege = Siege::new(Options { config, queue_length, seed, faults, ..Options::default() }, work, batch);
    siege.rig.shard.protocol.dispatch.set_publish_max(publish_max);
    siege.rig.shard.protocol.transport.io.given_max = [3, 20, usize::MAX][random.below(3)];
    let _driving = siege.rig.shard.drive_here();
    let (addresses, bursts) = (1 + random.below(8), [1, 1, 4, 20][random.below(4)]);
    for number in 0..1 + random.below(40) {
        siege.comes(greedy(number % addresses), (1 + random.below(bursts), 100 * MS), random.chance(200));
        if random.chance(300) {
            let _ = siege.go_on();
        }
    }
    for number in 0..random.below(6) {
        siege.go_on_for(u32::try_from(random.below(500)).expect("small") * MS);
        siege.comes(newcomer(number), (1, 20 * MS), true);
        if random.chance(300) {
            // As if nobody waited for anything any more.
            let gone = random.below(siege.askers.len());
            siege.rig.shard.protocol.transport.io.reset(siege.askers[gone].peer);
            siege.askers[gone].is_over = true;
        }
    }
    siege.go_on_for(u32::try_from(random.below(3000)).expect("small") * MS);
    siege.end();
}

#[test]
fn each_request_is_answered_once_however_far_the_application_is_behind() {
    run_each(0..40, run_one);
}

#[test]
#[ignore = "long: as many seeds as RINGRESS_SIM_SEEDS says, 10,000 if it says nothing"]
fn each_request_is_answered_once_however_far_the_application_is_behind_for_more_seeds() {
    run_each(as_many_as_asked(40), run_one);
}

#[test]
#[ignore = "repeats RINGRESS_SIM_SEED"]
fn one_seed() {
    run_each(the_one_asked(), run_one);
}

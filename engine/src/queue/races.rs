//! Cancels, answers by handle and by id, drops and clients that leave, all racing for the same slots, against a shard
//! that does what the real one does with them and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::{
    Answered, Command, Completion, Exchange, Lease, NotRegained, QueueCore, Record, ShardSide, Sizes, Slot, SlotTable,
    SlotUse,
};
use crate::id::{Generation, Origin, QueueNumber, RequestId, ShardId};
use crate::mem::ArenaSizes;

const SLOTS: u32 = 8;
const REQUESTS: u64 = if cfg!(miri) { 200 } else { 20_000 };

#[derive(Clone, Copy, Debug)]
struct Plain;

impl Record for Plain {
    type Facts = ();
    type End = ();
    const EMPTY: Self = Self;
    fn cooked_bytes(&self) -> u32 {
        0
    }
}

fn exchange() -> (Arc<Exchange<Plain>>, ShardSide<Plain>) {
    let cells = (SLOTS, 64);
    let (receive, body, head, long_head, fragment) = (cells, cells, cells, cells, cells);
    let (assembly, response, cooked, coalesce, stage) = (cells, cells, cells, cells, cells);
    let arena = ArenaSizes { receive, body, head, long_head, fragment, assembly, response, cooked, coalesce, stage };
    Exchange::new(1, ShardId(0), Origin::LONE, (), &Sizes { slots: SLOTS, departed: 0, arena })
        .expect("a small mapping")
}

/// What the applications have been outcomes.
#[derive(Default)]
struct Outcomes {
    cancelled: AtomicU64,
    answered: AtomicU64,
    /// A thread has failed: the others are not to wait for it.
    failed: AtomicBool,
}

/// Says so when its thread panics.
struct Alarm<'a>(&'a Outcomes);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.failed.fetch_or(thread::panicking(), Ordering::Relaxed);
    }
}

impl Outcomes {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn cancel(&self, exchange: &Exchange<Plain>, id: RequestId) {
        if exchange.cancel(id) {
            Self::count(&self.cancelled);
            assert!(!exchange.is_open(id) && !exchange.cancel(id), "a cancelled request is over at once");
            assert!(exchange.respond_by_id(id, |_, _| Err::<Answered, _>(())).is_none(), "nobody can answer it");
        }
    }

    fn answer(&self, exchange: &Exchange<Plain>, id: RequestId, fails: bool) {
        let fill = |_: &Plain, _: &mut [u8]| if fails { Err(()) } else { Ok(Answered::default()) };
        if exchange.respond_by_id(id, fill) == Some(Ok(())) {
            Self::count(&self.answered);
        }
    }

    fn respond_by_handle(&self, lease: Lease<Plain>) {
        match lease.fill(|_| Ok::<_, ()>(Answered::default())) {
            Some(Ok(filled)) => {
                Self::count(&self.answered);
                lease.submit(filled);
            }
            _ => drop(lease),
        }
    }
}

/// Claims, and does one thing or another with the handle, while `by_id` does so with the id.
fn consume(queue: &QueueCore<Plain>, exchange: &Arc<Exchange<Plain>>, outcomes: &Outcomes, by_id: &Sender<RequestId>) {
    let _alarm = Alarm(outcomes);
    let mut turn = 0_u64;
    while !queue.is_closed() || !queue.is_empty() {
        let Some(lease) = queue.claim_of(0) else {
            thread::yield_now();
            continue;
        };
        turn += 1;
        let id = lease.id();
        by_id.send(id).expect("it takes every id");
        match turn % 7 {
            0 | 1 => outcomes.respond_by_handle(lease),
            2 => drop(lease),
            3 => outcomes.cancel(exchange, lease.detach()),
            4 => {
                outcomes.cancel(exchange, id);
                drop(lease);
            }
            5 => {
                assert!(lease.fill(|_| Err::<Answered, _>(())).is_none_or(|filled| filled.is_err()));
                drop(lease);
            }
            _ => {
                let id = lease.detach();
                match exchange.regain(id) {
                    Ok(lease) => outcomes.respond_by_handle(lease),
                    Err(_) => outcomes.answer(exchange, id, false),
                }
            }
        }
    }
}

fn act_by_id(ids: Receiver<RequestId>, exchange: &Arc<Exchange<Plain>>, outcomes: &Outcomes) {
    let _alarm = Alarm(outcomes);
    for (turn, id) in ids.into_iter().enumerate() {
        match turn % 6 {
            0 | 1 => outcomes.cancel(exchange, id),
            5 => match exchange.regain(id) {
                Ok(lease) if turn % 4 == 1 => drop(lease.detach()),
                Ok(lease) if turn % 4 == 3 => outcomes.respond_by_handle(lease),
                Ok(lease) => drop(lease),
                Err(NotRegained::Held) => outcomes.answer(exchange, id, false),
                Err(NotRegained::Over) => {}
            },
            2 => {
                // Whoever wanted to answer meanwhile was outcomes that somebody did: who fails has to try again.
                outcomes.answer(exchange, id, true);
                outcomes.answer(exchange, id, false);
            }
            _ => outcomes.answer(exchange, id, false),
        }
    }
}

/// A shard without connections: each request is its own.
struct Shard {
    side: ShardSide<Plain>,
    completed: Vec<Completion>,
    /// Requests whose connection has ended, by slot.
    dead: SlotTable<bool>,
    /// Where each slot's request is in the queue.
    positions: SlotTable<u64>,
    cancels: u64,
    withdrawn: u64,
}

impl Shard {
    fn new(side: ShardSide<Plain>) -> Self {
        let (dead, positions) = (SlotTable::filled(SLOTS, false), SlotTable::filled(SLOTS, 0));
        Self { side, completed: Vec::new(), dead, positions, cancels: 0, withdrawn: 0 }
    }

    fn end_connection(&mut self, queue: &QueueCore<Plain>, slot: Slot) {
        if core::mem::replace(&mut self.dead[slot], true) {
            return;
        }
        let side = &mut self.side;
        if side.end_unanswered(slot, &()) == SlotUse::Free {
            self.dead[slot] = false;
        } else if queue.withdraw(0, self.positions[slot], || side.take_handle(slot)) {
            self.withdrawn += 1;
            self.dead[slot] = side.free_withdrawn(slot) != SlotUse::Free;
        }
    }

    fn look(&mut self, queue: &QueueCore<Plain>, outcomes: &Outcomes) {
        assert!(!outcomes.failed.load(Ordering::Relaxed), "another thread has failed");
        let mut completed = core::mem::take(&mut self.completed);
        self.side.take_completions(&mut completed);
        for completed in completed.drain(..) {
            let (slot, flags) = self.side.accept(completed);
            if flags.only_reclaims() {
                self.side.free(slot);
                self.dead[slot] = false;
            } else if self.side.end_answered(slot, |_| ()).1 == SlotUse::Free {
                self.dead[slot] = false;
            } else {
                // Sent, and no longer on a connection that could end.
                self.dead[slot] = true;
            }
        }
        self.completed = completed;
        self.side.open_commands();
        while let Some(command) = self.side.take_command() {
            match command {
                Command::Cancel(id) => {
                    self.cancels += 1;
                    if let Some(slot) = self.side.cancelled(id) {
                        self.end_connection(queue, slot);
                    }
                }
                _ => unreachable!("nobody leaves another"),
            }
        }
    }
}

impl Shard {
    /// Nobody can answer by id any more what came through a queue.
    fn end_queue(&mut self, queue: QueueNumber) {
        for slot in self.side.slots_used() {
            if self.side.close_to_ids(slot, queue).is_some() {
                assert_eq!(self.side.end_answered(slot, |_| ()).1, SlotUse::Free, "nobody has its handle");
            }
        }
    }
}

struct Open<'a>(&'a QueueCore<Plain>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.close_and_abandon();
    }
}

/// Runs the race; with `early`, the shard ends in the middle of it.
fn race(early: bool) {
    let (exchange, side) = exchange();
    let queue = QueueCore::new(QueueNumber(0), SLOTS, Arc::from([Arc::clone(&exchange)]));
    let outcomes = Outcomes::default();
    let mut shard = Shard::new(side);
    let mut producer = queue.producer(&shard.side);
    thread::scope(|scope| {
        let (send, ids) = channel();
        scope.spawn(|| act_by_id(ids, &exchange, &outcomes));
        let (queue, exchange, outcomes) = (&queue, &exchange, &outcomes);
        for _ in 0..2 {
            let send = send.clone();
            scope.spawn(move || consume(queue, exchange, outcomes, &send));
        }
        drop(send);
        let (mut published, mut compacted) = (0, 0);
        // Consumers end with the queue, also when this thread fails.
        let _open = Open(queue);
        while published < REQUESTS {
            shard.look(queue, outcomes);
            // Threads that come with ids of the past find nothing there.
            shard.side.trim(0);
            if producer.is_full() || published % 97 == 0 {
                let Shard { side, positions, .. } = &mut shard;
                let _ = queue.compact(0, &mut producer, |id, position| {
                    side.queued(id).map(|slot| positions[slot] = position).is_some()
                });
                compacted += 1;
            }
            while published < REQUESTS
                && queue.room(0, &mut producer) > 0
                && let Some(slot) = shard.side.allocate(|| ())
            {
                let fresh = shard.side.publish(slot, QueueNumber(0));
                let id = fresh.id();
                shard.positions[slot] = producer.push(fresh);
                published += 1;
                // Some clients leave at once, and one cancels what nobody has seen yet.
                match published % 11 {
                    0 | 3 | 4 | 5 | 6 => shard.end_connection(queue, slot),
                    1 => outcomes.cancel(exchange, id),
                    _ => {}
                }
            }
            producer.publish();
            thread::yield_now();
        }
        queue.close();
        if early {
            queue.abandon_of(0);
            return shard.side.end();
        }
        while shard.side.in_use() > 0 {
            shard.look(queue, outcomes);
            thread::yield_now();
        }
        shard.look(queue, outcomes);
        assert_eq!(shard.cancels, outcomes.cancelled.load(Ordering::Relaxed), "each cancel leaves one command");
        assert!(shard.cancels > 0 && outcomes.answered.load(Ordering::Relaxed) > 0, "all sides win sometimes");
        assert!(shard.withdrawn > 0 && (compacted > 0 || cfg!(miri)), "{} withdrawn, {compacted}", shard.withdrawn);
        assert_eq!((queue.len(), producer.len(0)), (0, 0), "what was left is accounted for");
    });
    assert!(exchange.commands.is_empty() || early);
}

#[test]
fn whoever_wins_the_race_for_a_request_every_slot_comes_back() {
    race(false);
}

#[test]
fn a_note_keeps_the_shard_awake_until_it_is_read() {
    let (exchange, mut side) = exchange();
    assert!(side.completions_empty() && !side.has_commands());
    let id = Origin::LONE.request(Generation::FIRST, 0);
    exchange.command(Command::Cancel(id));
    assert!(!side.completions_empty() && side.has_commands());
    side.open_commands();
    assert!(matches!(side.take_command(), Some(Command::Cancel(same)) if same == id));
    assert!(side.take_command().is_none() && side.completions_empty());
    side.end();
    exchange.command(Command::Cancel(id));
    assert!(exchange.commands.take().is_none(), "nobody would read it");
}

#[test]
fn a_shard_may_end_in_the_middle_of_the_race() {
    race(true);
}

#[test]
fn what_is_held_by_id_comes_back_when_its_queue_ends() {
    let (exchange, side) = exchange();
    let mut shard = Shard::new(side);
    let outcomes = Outcomes::default();
    for round in 0..if cfg!(miri) { 10 } else { 1000 } {
        let queue = QueueCore::new(QueueNumber(round), SLOTS, Arc::from([Arc::clone(&exchange)]));
        let mut producer = queue.producer(&shard.side);
        for slot in 0..SLOTS - 1 {
            let fresh = shard.side.allocate(|| ()).expect("all are back");
            // One is of another queue.
            producer.push(shard.side.publish(fresh, QueueNumber(if slot == 0 { u32::MAX } else { round })));
        }
        producer.publish();
        let mut leases: Vec<Lease<Plain>> = (1..SLOTS - 1).filter_map(|_| queue.claim_of(0)).collect();
        let other = leases.remove(0);
        leases.truncate(4);
        let (kept, given) = (leases.split_off(2), leases);
        let stranger = other.detach();
        // One waits in the queue; one was dropped above.
        thread::scope(|scope| {
            scope.spawn(|| given.into_iter().map(Lease::detach).count());
            queue.close_and_abandon();
            shard.end_queue(QueueNumber(round));
            shard.look(&queue, &outcomes);
        });
        for lease in kept {
            assert!(exchange.is_open(lease.id()), "who holds a handle can still answer");
            match round % 3 {
                0 => _ = lease.detach(),
                1 => {
                    assert!(lease.fill(|_| Err::<Answered, _>(())).is_some_and(|filled| filled.is_err()));
                    let _ = lease.detach();
                }
                _ => outcomes.respond_by_handle(lease),
            }
        }
        shard.look(&queue, &outcomes);
        assert!(exchange.is_open(stranger), "it is of another queue");
        assert_eq!(shard.side.in_use(), 1, "round {round}: a request waits for an answer that cannot come");
        outcomes.answer(&exchange, stranger, false);
        shard.look(&queue, &outcomes);
    }
    shard.side.end();
}

#[test]
fn the_last_handle_takes_the_exchange_with_it() {
    let (exchange, mut side) = exchange();
    let queue = QueueCore::new(QueueNumber(0), SLOTS, Arc::from([Arc::clone(&exchange)]));
    let mut producer = queue.producer(&side);
    for _ in 0..3 {
        let slot = side.allocate(|| ()).expect("a free slot");
        producer.push(side.publish(slot, QueueNumber(0)));
    }
    producer.publish();
    let leases: Vec<Lease<Plain>> = core::iter::from_fn(|| queue.claim_of(0)).collect();
    side.end();
    let weak = Arc::downgrade(&exchange);
    drop((queue, exchange));
    assert!(weak.upgrade().is_some_and(|exchange| exchange.orphans() == Some(3)), "handles keep it");
    // Each on a thread of its own, as applications may drop them.
    leases.into_iter().for_each(|lease| thread::spawn(|| drop(lease)).join().expect("no panic"));
    assert!(weak.upgrade().is_none(), "nobody has it any more");
}

//! Shards ask each other for a descriptor: a process has so many for all of them.
//!
//! ```text
//!   asking:  no descriptor, nobody rests ──▶ all others are asked ──one is given──▶ accepting goes on
//!                                              └──nobody has one, or time is up──▶ a client is turned away
//!   asked:   the one that has rested for longest ends ──closed──▶ given
//!            nobody rests ──▶ none
//! ```
//!
//! Invariants:
//! * Who asks waits for four seconds at most, also for shards that nobody drives. One that has not answered is not
//!   asked again until it has, so that its commands do not pile up.
//! * Who is asked waits for nobody: but for a connection of its own that ends, or a tick that is near. So no two shards
//!   wait for each other.
//! * A descriptor counts as given when it is closed; whoever accepts first gets it, and who finds none asks again.
//!
//! Not here: which connection goes (`eviction`), accepting and its pauses (`transport`), and how commands travel (room
//! `queue`).

use std::sync::Arc;

use super::Shard;
use crate::candidates::Lack;
use crate::clock::Tick;
use crate::driver::Io;
use crate::id::ShardId;
use crate::queue::{Command, Exchange};
use crate::record::RequestRecord;

/// Ticks for which a shard waits for answers, about four seconds: a thread may have to wait for its core. Of a shard
/// that nobody drives, that is once.
const WAIT_MAX: Tick = 64;

/// What another shard owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing.
    No,
    /// An answer, which is waited for.
    Now,
    /// An answer to what was asked earlier, and that is not waited for any more.
    Before,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Others {
    /// Of all shards of the engine, this one among them.
    exchanges: Arc<[Arc<Exchange<RequestRecord>>]>,
    /// By shard.
    asked: Vec<Asked>,
    /// Until then this one waits for answers.
    waits_until: Option<Tick>,
    /// Who has asked this one.
    asked_by: Vec<ShardId>,
    /// When there will be one to end for them.
    looks_again: Option<Tick>,
}

impl Others {
    /// Shards by their numbers; without any, there is nobody to be asked.
    pub(super) fn new(exchanges: Arc<[Arc<Exchange<RequestRecord>>]>) -> Self {
        let (asked, asked_by) = (vec![Asked::No; exchanges.len()], Vec::with_capacity(exchanges.len()));
        Self { exchanges, asked, waits_until: None, asked_by, looks_again: None }
    }

    /// Whether one waits for the other.
    pub(super) fn is_awaited(&self) -> bool {
        self.waits_until.is_some() || self.is_asked()
    }

    /// Whether another shard's clients wait for this one.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked_by.is_empty()
    }

    /// When there is something to do, if nothing happens until then.
    pub(super) fn due(&self) -> Option<Tick> {
        [self.waits_until, self.looks_again].into_iter().flatten().min()
    }

    /// Asks all those that owe no answer. `false`: there is none.
    fn ask(&mut self, own: ShardId) -> bool {
        let mut any = false;
        for (index, (exchange, asked)) in self.exchanges.iter().zip(&mut self.asked).enumerate() {
            match *asked {
                _ if index == usize::from(own.0) => {}
                Asked::No => {
                    (*asked, any) = (Asked::Now, true);
                    exchange.command(Command::GiveDescriptor(own));
                }
                Asked::Now | Asked::Before => *asked = Asked::Before,
            }
        }
        any
    }

    /// Tells all who have asked.
    fn answer(&mut self, own: ShardId, is_given: bool) {
        self.looks_again = None;
        for asker in self.asked_by.drain(..) {
            if let Some(exchange) = self.exchanges.get(usize::from(asker.0)) {
                exchange.command(Command::Descriptor { from: own, is_given });
            }
        }
    }
}

impl<I: Io> Shard<I> {
    /// These are all shards of the engine.
    pub(crate) fn among(mut self, exchanges: Arc<[Arc<Exchange<RequestRecord>>]>) -> Self {
        self.eviction.others = Others::new(exchanges);
        self
    }

    /// Clients wait for a descriptor. Whether the others may still have one: then nothing else is done about it.
    pub(super) fn awaits_others(&mut self) -> bool {
        let Some(until) = self.eviction.others.waits_until else { return false };
        if until <= self.protocol.transport.tick {
            self.stop_asking();
        }
        true
    }

    /// Nobody rests here: the others are asked to give up a descriptor, or a client is turned away.
    pub(super) fn ask_others(&mut self) {
        let until = self.protocol.transport.tick.saturating_add(WAIT_MAX);
        match self.eviction.others.ask(self.protocol.dispatch.shard()) {
            true => self.eviction.others.waits_until = Some(until),
            false => self.protocol.transport.out_of_descriptors(),
        }
    }

    fn stop_asking(&mut self) {
        self.eviction.others.waits_until = None;
        self.protocol.transport.out_of_descriptors();
    }

    /// Descriptors are free again: clients that wait are let in.
    pub(super) fn accept_again(&mut self) {
        self.eviction.others.waits_until = None;
        self.protocol.transport.accept_again();
    }

    /// Another shard has closed a connection for this one's clients, or has none that rests.
    #[cold]
    pub(super) fn others_answered(&mut self, from: ShardId, is_given: bool) {
        let others = &mut self.eviction.others;
        if let Some(asked) = others.asked.get_mut(usize::from(from.0)) {
            *asked = Asked::No;
        }
        let (waits, any_left) = (others.waits_until.is_some(), others.asked.contains(&Asked::Now));
        match is_given {
            // It is late, and accepting is to go on, or does.
            _ if !waits => {}
            true => self.accept_again(),
            false if !any_left => self.stop_asking(),
            false => {}
        }
    }

    /// Another shard's clients wait for a descriptor. It is looked at when all that has come is handled.
    #[cold]
    pub(super) fn descriptor_is_wanted(&mut self, by: ShardId) {
        self.eviction.others.asked_by.push(by);
        self.eviction.is_awaited = true;
        self.protocol.transport.follow_up = true;
    }

    /// Connections that rest end for other shards' clients, one for each that has asked.
    pub(super) fn give_descriptors(&mut self) {
        let others = &mut self.eviction.others;
        if others.looks_again.is_some_and(|tick| tick > self.protocol.transport.tick) {
            return;
        }
        others.looks_again = None;
        let missing = others.asked_by.len().saturating_sub(self.eviction.leaving());
        let found = if missing > 0 { self.evict(missing) } else { Ok(()) };
        match found {
            Ok(()) => {}
            Err(Lack::Until(tick)) => self.eviction.others.looks_again = Some(tick),
            // What leaves for others leaves a descriptor, too.
            Err(Lack::Lasting) if self.eviction.leaving() > 0 => {}
            Err(Lack::Lasting) => self.eviction.others.answer(self.protocol.dispatch.shard(), false),
        }
    }

    /// Connections have been closed: who has asked may accept again.
    pub(super) fn descriptors_are_given(&mut self) {
        self.counters.descriptors_given.add(self.eviction.others.asked_by.len() as u64);
        self.eviction.others.answer(self.protocol.dispatch.shard(), true);
    }
}

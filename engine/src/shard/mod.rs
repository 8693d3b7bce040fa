//! The loop that joins everything: kernel, memory, protocol, routes, queues and timers, on one thread.
//!
//! ```text
//!   turn:  answers ─▶ sends ─▶ enter the kernel ─▶ ended sends ─▶ control ─▶ completions ─▶ publish, wake ─▶ timers
//!   (and control once more, before the responses)
//!
//!            transport               protocol                 dispatch
//!   kernel ─▶ sockets, bytes, time ─▶ what bytes mean ────────▶ slots, routes, queues ─▶ applications
//!          ◀─ sends, files, close  ◀─ order, framing, heads ◀── answers ◀───────────────
//! ```
//!
//! Invariants:
//! * One enter, one clock read (co-located two, where an application has given responses back and the thread may sleep
//!   then) and at most one wake a queue for each turn; after the start nothing here allocates or locks for a request (a
//!   control message, `control`, may do both; waking a pending future locks the list of wakers; the date is formatted
//!   once a second).
//! * Nothing re-enters the ring: completions are drained into a list, handlers run after.
//! * At most one send is in flight for a connection, so answers leave in order.
//! * What the kernel was lent comes back before it is used again: buffers by completions, sends by [`Uring`]'s rule, a
//!   connection's descriptor after its last operation.
//!
//! Not here: sockets being opened (room `session`), and what applications see (room `api`).
//!
//! [`Uring`]: crate::driver::Uring

mod commands;
mod control;
mod crowds;
mod dispatch;
mod end;
mod eviction;
mod gathered;
mod others;
mod pieces;
mod protocol;
mod quiet;
mod sends;
mod signals;
#[cfg(test)]
mod sim;
#[cfg(feature = "bench-door")]
mod still;
mod transport;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use self::crowds::REST_MIN;
use self::dispatch::{Dispatch, Then};
use self::eviction::Eviction;
use self::gathered::Gathered;
use self::pieces::Pieces;
use self::protocol::{Connection, Protocol};
use self::quiet::Quiet;
use self::transport::{Accepting, Resource, Sizes, Transport};
use crate::clock::Tick;
use crate::config::{CONNECTION_BYTES, Config};
use crate::counters::ShardCounters;
use crate::driver::{Event, Io, Op, Token, Wait};
use crate::error::Result;
use crate::foreign;
use crate::id::ShardId;
use crate::mem::give_back_room;
use crate::peers::Peers;
use crate::queue::{Completion, Driving, Notifier, ShardSide, Slot};
use crate::record::RequestRecord;
use crate::slab::{ConnectionKey, OfConnection, Slab};
use crate::stream::ClosingElsewhere;
use crate::timer::NEVER;

pub(crate) use self::control::{DesiredLogs, DesiredState, Inbox, Leave, ListenAddress};
pub(crate) use self::transport::{Entrance, ListenSocket, Sharing};

/// While it lives, the thread that made it drives a shard.
#[derive(Debug)]
pub(crate) struct Driven {
    _driving: Driving,
    _closing: ClosingElsewhere,
}

// What a connection takes: its entry, what the transport and the protocol list it by, and its address.
const _: () = assert!(
    Slab::<Connection, OfConnection>::BYTES
        + transport::CONNECTION_BYTES
        + 2 * size_of::<ConnectionKey>()
        + Peers::BYTES
        <= CONNECTION_BYTES
);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Shard<I: Io> {
    connections: Slab<Connection, OfConnection>,
    eviction: Eviction,
    pieces: Pieces,
    gathered: Gathered,
    /// With the transport below it and the dispatch above it.
    protocol: Protocol<I>,
    events: Vec<Event>,
    /// The next of `events` to handle.
    cursor: usize,
    /// When the kernel was entered last: what had come by then has been handled, or is in `events`.
    entered_at: Tick,
    inbox: Arc<Inbox>,
    /// Which tables of the control plane it goes by.
    queues_version: u64,
    listening_version: u64,
    /// The id of the last address that it was told of.
    last_address: u64,
    /// When connections that have come in behind the beginning of a stop are idle, if they have asked for nothing.
    idle_again: Option<Tick>,
    counters: Arc<ShardCounters>,
    notifier_armed: bool,
    quiet: Quiet,
}

impl<I: Io> Shard<I> {
    /// `take_side` is asked last of all that may fail: a side that is dropped is of no use to anybody.
    pub(crate) fn new(
        io: I,
        id: ShardId,
        take_side: impl FnOnce() -> Result<ShardSide<RequestRecord>>,
        config: &Config,
        inbox: Arc<Inbox>,
        counters: Arc<ShardCounters>,
    ) -> Result<Self> {
        let (accepting, template) = (Accepting::new()?, config.template()?);
        let side = take_side()?;
        let sizes = Sizes { connections: config.connections_max, buffers: side.arena().buffers() };
        let transport = Transport::new(io, sizes, accepting, Arc::clone(&counters));
        let dispatch = Dispatch::new(id, side, config, Arc::clone(&counters));
        let mut protocol = Protocol::new(transport, dispatch, (config, template), Arc::clone(&counters));
        protocol.post_buffers();
        Ok(Self {
            connections: Slab::new(config.connections_max),
            eviction: Eviction::new(config.connections_max),
            pieces: Pieces::new(config.connections_max),
            gathered: Gathered::new(config.connections_max),
            protocol,
            events: Vec::with_capacity(16 * 1024),
            cursor: 0,
            entered_at: 0,
            inbox,
            queues_version: 0,
            listening_version: 0,
            last_address: 0,
            idle_again: None,
            counters,
            notifier_armed: false,
            quiet: Quiet::new(config.properties.keeps_memory()),
        })
    }

    /// From now on answers given on this thread come back without atomics, and files that it lets go of are closed
    /// where that holds nobody up; the shard stays on this thread.
    pub(crate) fn drive_here(&self) -> Driven {
        Driven { _driving: self.protocol.dispatch.drive_here(), _closing: self.close_elsewhere() }
    }

    fn close_elsewhere(&self) -> ClosingElsewhere {
        ClosingElsewhere::with(self.protocol.transport.io.file_closer())
    }

    /// What wakes the thread that drives the shard.
    pub(crate) fn notifier(&self) -> &'static Notifier {
        self.protocol.dispatch.notifier()
    }

    /// Runs until told to stop.
    pub(crate) fn run(&mut self) -> Result<()> {
        let _closing = self.close_elsewhere();
        while !self.is_done() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Whether it has been told to stop, and has.
    pub(crate) fn is_done(&self) -> bool {
        let Protocol { stop, transport, .. } = &self.protocol;
        let is_left = stop.has_begun() && !transport.accepting.listens() && !self.eviction.has_arrivals();
        is_left && (self.connections.len() == 0 || stop.leaves_the_rest(transport.tick))
    }

    /// One turn of the loop. Waits for something to do, at most `wait_max`.
    pub(crate) fn turn(&mut self, wait_max: Option<Duration>) -> Result<()> {
        self.inbox.begin_turn();
        self.take_newer();
        let was_read = self.read_clock_for_answers();
        self.collect_responses();
        if self.cursor == self.events.len() {
            self.enter(wait_max, was_read)?;
            // After the wait: a change that was made before a request was sent holds for that request.
            self.take_newer();
        } else {
            self.note_left_over();
        }
        self.handle_events();
        if !self.protocol.transport.waiting.is_empty() || self.is_short() {
            self.serve_waiting();
        }
        self.protocol.dispatch.wake_readers();
        self.protocol.post_buffers();
        let then = if self.cursor < self.events.len() { Then::HandlesMore } else { Then::Ends };
        let _ = self.protocol.dispatch.publish(then);
        self.run_timers();
        self.protocol.dispatch.write_tally();
        self.protocol.dispatch.hand_over_notes(self.protocol.transport.tick);
        self.inbox.end_turn();
        Ok(())
    }

    /// Co-located, an application has worked on this thread since the clock was read, for however long: what it has
    /// given back is not as old as that, nor is a timer that begins with it. `true`: it is read now.
    #[inline]
    fn read_clock_for_answers(&mut self) -> bool {
        let Protocol { transport, dispatch, .. } = &mut self.protocol;
        let is_read = (dispatch.is_colocated() || dispatch.measures_latency()) && !dispatch.is_told_nothing();
        if is_read {
            transport.read_clock();
            dispatch.set_time(transport.clock.micros());
        }
        is_read
    }

    /// Completions are left over from an earlier turn: if that has been so in turns of three different ticks, the shard
    /// is behind.
    #[inline]
    fn note_left_over(&mut self) {
        if self.protocol.transport.tick > self.entered_at.saturating_add(1) {
            self.protocol.dispatch.fall_behind();
        }
    }

    /// Enters the kernel once. The clock `was_read` in this turn.
    fn enter(&mut self, wait_max: Option<Duration>, was_read: bool) -> Result<()> {
        let notifier = self.notifier();
        self.events.clear();
        self.cursor = 0;
        if !self.notifier_armed {
            self.notifier_armed = true;
            self.protocol.transport.io.watch(notifier.descriptor(), Token::new(Op::Notifier, 0, 0));
        }
        // Answers may have made room for held input: those requests are not kept waiting by this wait.
        let published = self.protocol.dispatch.publish(Then::Enters);
        self.protocol.dispatch.wake_readers();
        let mut wait = if published && self.protocol.dispatch.is_colocated() {
            if self.protocol.dispatch.is_behind() {
                self.take_all()?;
            }
            Wait::No
        } else {
            self.wait(wait_max)
        };
        if wait != Wait::No {
            // The sleeper's order: flag, fence, second look.
            notifier.begin_sleep();
            let is_empty = self.protocol.dispatch.is_told_nothing();
            if !is_empty || self.inbox.has_newer() || notifier.take_interrupt() {
                wait = Wait::No;
            }
        }
        self.publish_levels();
        let transport = &mut self.protocol.transport;
        transport.follow_up = false;
        let turned = transport.io.turn(wait, &mut self.events);
        notifier.end_sleep();
        turned.map_err(I::explain)?;
        if !(was_read && wait == Wait::No) {
            transport.read_clock();
        }
        let before = core::mem::replace(&mut self.entered_at, transport.tick);
        if !self.events.is_empty() {
            self.quiet.note_use(self.entered_at);
        }
        let slept = Tick::from(wait != Wait::No);
        if self.entered_at.saturating_sub(before) > slept {
            self.begin_sends_anew();
        }
        self.protocol.dispatch.begin_turn(self.protocol.transport.clock.micros());
        self.end_sends();
        Ok(())
    }

    /// The shard is behind, and enters the kernel seldom: it takes what there is, however little is given at a time. An
    /// enter that does not wait does no more than 20 pieces of deferred work (Linux 6.13, `IO_LOCAL_TW_DEFAULT_MAX`).
    #[cold]
    #[inline(never)]
    fn take_all(&mut self) -> Result<()> {
        const ENTERS_MAX: usize = 64;
        for _ in 0..ENTERS_MAX {
            let before = self.events.len();
            self.protocol.transport.io.turn(Wait::No, &mut self.events).map_err(I::explain)?;
            if self.events.len() == before {
                break;
            }
        }
        Ok(())
    }

    fn wait(&self, wait_max: Option<Duration>) -> Wait {
        let Protocol { transport, dispatch, stop, .. } = &self.protocol;
        // What has run out comes back when silent sends end, which is when this enter returns: then who waits goes on.
        let comes_back = !transport.waiting.is_empty() && !transport.silent.is_empty();
        // Readers that are left were put off for a turn.
        let is_busy = comes_back || dispatch.has_readers() || transport.follow_up || transport.turns.has_waiting();
        if is_busy || self.is_done() {
            return Wait::No;
        }
        // A reader that has read its last buffer does not say so: who waits looks by the clock.
        let reclaim = transport.waiting.any_by_clock().then(|| transport.after(1));
        // Silent sends end when this enter returns. Should no client come, that is soon all the same: until then their
        // requests count as open, and can be cancelled.
        let sent = (!transport.silent.is_empty()).then(|| transport.after(1));
        let [looks_again, at_pieces] = [self.eviction.looks_again(), self.looks_at_pieces()];
        let at_bodies = self.looks_at_bodies();
        let [visit, resumes] = [transport.wheel.next_visit(), transport.accepting.resumes()];
        let goes_on = if stop.has_begun() { self.stop_goes_on_at() } else { None };
        let [stopped, quiet] = [goes_on, self.quiet.ends()];
        let noted = dispatch.notes_due();
        let dues = [visit, resumes, stopped, reclaim, sent, looks_again, at_pieces, at_bodies, quiet, noted];
        // By reference: `into_iter` of arrays that are chained costs a hundred instructions in each such turn.
        let soonest = dues.iter().fold(NEVER, |soonest, due| soonest.min(due.unwrap_or(NEVER)));
        let timer = (soonest != NEVER).then(|| transport.clock.until(soonest));
        match (timer, wait_max) {
            (None, None) => Wait::Forever,
            (Some(one), Some(other)) => at_most(one.min(other)),
            (Some(one), None) | (None, Some(one)) => at_most(one),
        }
    }

    /// Lends a connection, if it is there, and sees to its end.
    #[inline]
    fn visit(&mut self, key: ConnectionKey, act: impl FnOnce(&mut Protocol<I>, &mut Connection)) {
        if let Some(connection) = self.connections.get_mut(key) {
            act(&mut self.protocol, connection);
            if connection.socket().is_over() {
                self.remove(key);
            }
        }
    }

    #[cold]
    fn remove(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.remove(key) {
            self.protocol.ended(connection);
        }
    }

    /// Takes what applications have answered, and sends what is next in order.
    fn collect_responses(&mut self) {
        let mut completed = self.protocol.dispatch.take_completions();
        if !completed.is_empty() {
            self.quiet.note_use(self.protocol.transport.tick);
        }
        for completed in completed.drain(..) {
            self.take_back(completed);
        }
        self.protocol.dispatch.give_completions(completed);
        self.collect_signals();
        self.collect_commands();
        self.work_off();
    }

    /// One slot has come back.
    #[inline(always)]
    fn take_back(&mut self, completed: Completion) {
        let dispatch = &mut self.protocol.dispatch;
        let (slot, flags) = dispatch.accept(completed);
        if dispatch.measures() {
            dispatch.note_answered(slot);
        }
        if flags.only_reclaims() {
            return dispatch.reclaim(slot);
        }
        match dispatch.state(slot).connection.and_then(|key| self.connections.get_mut(key)) {
            Some(connection) => self.protocol.on_response(connection, slot, flags),
            None => dispatch.drop_late_response(slot),
        }
    }

    /// Goes on with everything that is on a list: input before responses, so that these find what it leads to.
    fn work_off(&mut self) {
        loop {
            if let Some(key) = self.protocol.resume.take() {
                self.visit(key, Protocol::resume_input);
            } else if let Some(key) = self.protocol.flush.take() {
                self.visit(key, Protocol::flush);
            } else if let Some(key) = self.protocol.transport.called.pop() {
                self.call(key);
            } else if let Some(slot) = self.protocol.displaced.pop() {
                self.tell_displaced(slot);
            } else if self.protocol.has_for_waiting() {
                use Resource::{Cell, CellOfRequest, Promise, ReservedPromise, ReservedSlot, Slot};
                for resource in [ReservedSlot, Slot, CellOfRequest, Cell, ReservedPromise, Promise] {
                    self.call_first(resource);
                }
            } else if self.protocol.looks_beyond_shares() {
                self.call_each(Resource::CellBeyondShare);
            } else if self.protocol.transport.drains.are_too_many() {
                self.end_oldest_drain();
            } else if self.protocol.transport.drains.is_cluttered() {
                self.clear_drains();
            } else {
                return;
            }
        }
    }

    /// Those that wait get what there is; then, for those that wait for it, others give something up.
    #[cold]
    #[inline(never)]
    fn serve_waiting(&mut self) {
        self.call_waiting();
        if (self.is_short() || self.lacks_something()) && self.cursor == self.events.len() {
            self.serve_newcomers();
        }
    }

    /// Whether somebody waits for what others may have to give up.
    fn lacks_something(&self) -> bool {
        let waiting = &self.protocol.transport.waiting;
        let lacks_slots = || waiting.count(Resource::ReservedSlot) > 0;
        !waiting.is_empty() && (self.lacks_cells() || self.lacks_promises() || lacks_slots())
    }

    /// All that has come is handled, and what has come back is given out: what others have that can go goes, for those
    /// that wait for it.
    #[cold]
    fn serve_newcomers(&mut self) {
        self.free_cells();
        self.free_promises();
        self.protocol.make_slots();
        self.make_room();
    }

    /// The connection of a request that has made room is told so; by now both it and the slot may be gone.
    #[cold]
    fn tell_displaced(&mut self, slot: Slot) {
        if let Some(key) = self.protocol.dispatch.find_state(Some(slot)).and_then(|state| state.connection) {
            self.visit(key, |protocol, connection| protocol.was_displaced(connection, slot));
        }
    }

    /// A cell is free for a connection that waited for one.
    #[cold]
    fn call(&mut self, key: ConnectionKey) {
        let is_taken = self.connections.get_mut(key).is_some_and(|connection| self.protocol.on_cell(connection));
        if !is_taken {
            self.protocol.transport.call_cell_waiter();
        }
    }

    /// Resets the connection that has been read to its end for longest.
    #[cold]
    fn end_oldest_drain(&mut self) {
        let Some(oldest) = self.protocol.transport.drains.pop_oldest() else { return };
        if self.connections.get_mut(oldest).is_some_and(is_draining) {
            self.counters.drains_reset.count();
            self.visit(oldest, Protocol::reset);
        }
    }

    /// Takes connections that drain no more off the list of those that do: at least a half of it.
    #[cold]
    fn clear_drains(&mut self) {
        let connections = &mut self.connections;
        self.protocol.transport.drains.clear_away(|key| connections.get_mut(*key).is_some_and(is_draining));
    }

    fn handle_events(&mut self) {
        while self.cursor < self.events.len() && self.protocol.dispatch.takes_more() {
            let event = self.events[self.cursor].take();
            self.cursor += 1;
            match event.token.op() {
                Op::Receive => self.handle(Op::Receive, event),
                op @ (Op::ReadFile | Op::Poll | Op::SendFile | Op::Room) => self.handle_uncommon(op, event),
                Op::Accept => self.accept(&event),
                Op::Notifier => self.notifier_armed = event.more,
                Op::Recall => self.recalled(event),
                // Ended before all others, in `end_sends`.
                Op::Send | Op::Ignored => {}
            }
        }
    }

    /// As [`handle`](Self::handle), of what is neither input nor at every send.
    #[inline(never)]
    fn handle_uncommon(&mut self, op: Op, event: Event) {
        self.handle(op, event);
    }

    /// An operation of a connection's has completed.
    #[inline(always)]
    fn handle(&mut self, op: Op, event: Event) {
        let found = key_of(&event).and_then(|key| Some((key, self.connections.get_mut(key)?)));
        match found {
            Some((key, connection)) => {
                let Protocol { transport, dispatch, .. } = &mut self.protocol;
                let told = transport.translate(connection.socket_mut(), (op, event), dispatch.buffers_mut());
                self.protocol.on_event(connection, told);
                if connection.socket().is_over() {
                    self.remove(key);
                }
            }
            None => self.protocol.transport.on_stale(event, self.protocol.dispatch.buffers_mut()),
        }
    }

    /// Something has come to a listener.
    #[cold]
    #[inline(never)]
    fn accept(&mut self, event: &Event) {
        let Protocol { transport, stop, .. } = &mut self.protocol;
        let has_time = stop.has_time(transport.tick);
        if let Some(accepted) = transport.on_accept(event, has_time) {
            // Those who come in last may have asked for something already.
            self.idle_again = stop.has_begun().then(|| transport.after(REST_MIN));
            self.admit(accepted);
        }
        // Also when there is no descriptor.
        self.eviction.is_awaited |= self.protocol.transport.accepting.is_short();
    }

    /// Ends what has run out of time. What has come is not late, however long an application keeps the thread before it
    /// is handled: deadlines wait for that, and are compared with when the kernel was last asked.
    fn run_timers(&mut self) {
        let mut any = false;
        if self.cursor == self.events.len() {
            while let Some(index) = self.protocol.transport.wheel.pop_due(self.entered_at) {
                if let Some(key) = self.connections.key_of(index) {
                    any = true;
                    self.visit(key, Protocol::on_deadline);
                }
            }
        }
        self.protocol.transport.resume_accepting();
        if self.protocol.stop.has_begun() {
            self.go_on_stopping();
        }
        if any {
            self.work_off();
        }
        if self.quiet.is_over(self.protocol.transport.tick) {
            self.give_memory_back();
        }
    }

    /// A buffer that the kernel was asked for has come, or has not.
    #[cold]
    fn recalled(&mut self, event: Event) {
        let Protocol { transport, dispatch, .. } = &mut self.protocol;
        let (buffers, arena) = dispatch.buffers_of_arena();
        transport.on_recalled(event, buffers, arena);
    }

    #[cold]
    fn give_memory_back(&mut self) {
        self.protocol.give_memory_back();
        self.connections.give_back_room();
        give_back_room(&mut self.events);
    }

    fn publish_levels(&mut self) {
        self.counters.connections_open.set(self.connections.len() as u64);
        self.protocol.dispatch.publish_levels();
        self.counters.completions_overflowed.set(self.protocol.transport.io.overflows());
        self.count_caught();
    }

    /// Counts the panics of the application's code that have ended on this thread.
    #[inline]
    fn count_caught(&self) {
        let caught = foreign::take_caught();
        if caught > 0 {
            self.counters.foreign_panics.add(caught);
        }
    }
}

fn is_draining(connection: &mut Connection) -> bool {
    connection.socket().is_draining()
}

/// Whose operation has completed.
#[inline]
fn key_of(event: &Event) -> Option<ConnectionKey> {
    ConnectionKey::of(event.token.slot(), event.token.generation())
}

fn at_most(duration: Duration) -> Wait {
    if duration.is_zero() { Wait::No } else { Wait::AtMost(duration) }
}

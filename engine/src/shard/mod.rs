//! The loop that joins everything: kernel, memory, protocol, routes, queues and timers, on one thread.
//!
//! ```text
//!   turn:  answers ─▶ sends ─▶ enter the kernel ─▶ ended sends ─▶ control ─▶ completions ─▶ publish, wake ─▶ timers
//!           output              (submit and wait)     output       control   accept, input   queue           life
//!   (and control once more, before the answers)
//! ```
//!
//! Invariants:
//! * One enter, one clock read and at most one wake a queue for each turn; after the start nothing here allocates or
//!   locks for a request (a control message, `control`, may do both; waking a pending future locks the list of wakers;
//!   the date is formatted once a second).
//! * Nothing re-enters the ring: completions are drained into a list, handlers run after.
//! * At most one send is in flight for a connection, so answers leave in order.
//! * What the kernel was lent comes back before it is used again: buffers by completions, sends by [`Uring`]'s rule, a
//!   connection's descriptor after its last operation.
//!
//! Not here: sockets being opened (room `session`), and what applications see (room `api`).
//!
//! [`Uring`]: crate::ring::Uring

mod accept;
mod assembly;
mod body;
mod commands;
mod connection;
mod control;
mod deliver;
mod dispatch;
mod drain;
mod files;
mod input;
mod life;
mod output;
mod pipe;
mod rates;
mod refuse;
mod room;
mod signals;
#[cfg(test)]
mod sim;
mod stream;
mod waits;
mod watch;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use ringress_proto::limits::Limits;
use ringress_proto::response::HeadTemplate;
use ringress_proto::url::HostMemo;

use self::connection::{Connection, Held, Out, Sending};
use self::dispatch::Dispatch;
use self::drain::Drains;
use crate::clock::{Clock, TICK_MS, Tick};
use crate::config::Config;
use crate::counters::ShardCounters;
use crate::error::{Error, Result};
use crate::foreign;
use crate::id::{SLOT_BITS, ShardId};
use crate::queue::{Driving, Notifier, ShardSide};
use crate::record::RequestRecord;
use crate::ring::{Event, Io, Op, Token, Wait, explain_enter};
use crate::slab::{Key, Slab};
use crate::stream::ClosingElsewhere;
use crate::timer::Wheel;

pub(crate) use self::control::{DesiredState, Inbox, ListenAddress, ListenSocket};

/// While it lives, the thread that made it drives a shard.
#[derive(Debug)]
pub(crate) struct Driven {
    _driving: Driving,
    _closing: ClosingElsewhere,
}

/// What of the configuration the loop uses.
#[derive(Debug)]
struct Settings {
    limits: Limits,
    deliver_connect: bool,
    pipeline_max: u16,
    template: HeadTemplate,
    /// The thread that runs the shard also consumes its queues.
    colocated: bool,
    /// Requests published in one turn.
    publish_max: u32,
}

/// Requests that co-located mode hands out before it looks at more completions: few enough to stay in cache.
const COLOCATED_PUBLISH_MAX: u32 = 32;
/// Requests that queue mode publishes before it looks at more completions: consumers on other CPUs begin while the
/// shard goes on.
const QUEUE_PUBLISH_MAX: u32 = 128;

/// How long a stop waits for operations that were asked to end, before it leaves them alone: 5 seconds.
const DISK_WAIT_MAX: Tick = 5_000_u32.div_ceil(TICK_MS);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Shard<I: Io> {
    io: I,
    dispatch: Dispatch,
    settings: Settings,
    connections: Slab<Connection>,
    held: Vec<Held>,
    wheel: Wheel,
    clock: Clock,
    tick: Tick,
    host_memo: HostMemo,
    listeners: Slab<accept::Listener>,
    /// Opened only to be closed when descriptors run out.
    reserve: Option<File>,
    accept_resumes: Option<Tick>,
    events: Vec<Event>,
    /// The next of `events` to handle.
    cursor: usize,
    /// Connections whose silent sends end with this turn.
    silent: Vec<Key>,
    /// Something is to be done as soon as the silent sends have ended.
    follow_up: bool,
    flush: Vec<Key>,
    /// Connections whose receive ended because the kernel had no buffer.
    starved: Vec<Key>,
    /// Connections that wait for a cell to read a file into, oldest first.
    cell_waiters: VecDeque<Key>,
    drains: Drains,
    inbox: Arc<Inbox>,
    /// Which tables of the control plane it goes by.
    queues_version: u64,
    listening_version: u64,
    /// The id of the last address that it was told of.
    last_address: u64,
    /// The grace of the last stop that it was told of.
    stop_taken: Option<Duration>,
    counters: Arc<ShardCounters>,
    stopping: Option<Tick>,
    /// What was left when the grace was over has been ended.
    aborted: bool,
    notifier_armed: bool,
}

impl Settings {
    fn of(config: &Config) -> Result<Self> {
        let colocated = config.mode == crate::config::Mode::Colocated;
        Ok(Self {
            limits: config.limits,
            deliver_connect: config.deliver_connect,
            pipeline_max: u16::try_from(config.pipeline_max).unwrap_or(u16::MAX),
            template: config.template()?,
            colocated,
            publish_max: if colocated { COLOCATED_PUBLISH_MAX } else { QUEUE_PUBLISH_MAX },
        })
    }
}

impl<I: Io> Shard<I> {
    pub(crate) fn new(
        io: I,
        id: ShardId,
        side: ShardSide<RequestRecord>,
        config: &Config,
        inbox: Arc<Inbox>,
        counters: Arc<ShardCounters>,
    ) -> Result<Self> {
        let reserve = File::open("/dev/null")
            .map_err(|error| Error::io("cannot open /dev/null to hold a descriptor in reserve", error))?;
        let settings = Settings::of(config)?;
        let held = core::iter::repeat_with(|| Held::NOTHING).take(side.arena().buffers() as usize).collect();
        let dispatch = Dispatch::new(id, side, config, Arc::clone(&counters));
        let connections = config.connections_max as usize;
        let mut shard = Self {
            io,
            dispatch,
            settings,
            connections: Slab::new(config.connections_max),
            held,
            wheel: Wheel::new(config.connections_max),
            clock: Clock::new(),
            tick: 0,
            host_memo: HostMemo::new(),
            listeners: Slab::growing(1 << SLOT_BITS),
            reserve: Some(reserve),
            accept_resumes: None,
            events: Vec::with_capacity(16 * 1024),
            cursor: 0,
            silent: Vec::with_capacity(connections),
            follow_up: false,
            flush: Vec::with_capacity(connections),
            starved: Vec::with_capacity(connections),
            cell_waiters: VecDeque::with_capacity(connections),
            drains: Drains::new(config.connections_max),
            inbox,
            queues_version: 0,
            listening_version: 0,
            last_address: 0,
            stop_taken: None,
            counters,
            stopping: None,
            aborted: false,
            notifier_armed: false,
        };
        shard.post_buffers();
        Ok(shard)
    }

    /// From now on answers given on this thread come back without atomics, and files that it lets go of are closed
    /// where that holds nobody up; the shard stays on this thread.
    pub(crate) fn drive_here(&self) -> Driven {
        Driven { _driving: self.dispatch.side.drive_here(), _closing: self.close_elsewhere() }
    }

    fn close_elsewhere(&self) -> ClosingElsewhere {
        ClosingElsewhere::with(self.io.file_closer())
    }

    /// What wakes the thread that drives the shard.
    pub(crate) fn notifier(&self) -> &'static Notifier {
        self.dispatch.side.exchange().notifier()
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
        let is_left = self.stopping.is_some() && self.listeners.len() == 0;
        is_left && (self.connections.len() == 0 || self.is_given_up())
    }

    /// Whether what was ended at the end of the grace has had its time to end: what is left waits for a disk that does
    /// not answer.
    fn is_given_up(&self) -> bool {
        self.aborted && self.given_up_at().is_some_and(|tick| tick <= self.tick)
    }

    fn given_up_at(&self) -> Option<Tick> {
        self.stopping.map(|deadline| deadline.saturating_add(DISK_WAIT_MAX))
    }

    /// One turn of the loop. Waits for something to do, at most `wait_max`.
    pub(crate) fn turn(&mut self, wait_max: Option<Duration>) -> Result<()> {
        self.inbox.begin_turn();
        self.take_newer();
        self.collect_answers();
        if self.cursor == self.events.len() {
            self.enter(wait_max)?;
            // After the wait: a change that was made before a request was sent holds for that request.
            self.take_newer();
        }
        self.handle_events();
        self.dispatch.wake_readers();
        self.rearm_starved();
        self.post_buffers();
        let _ = self.dispatch.publish(self.cursor < self.events.len());
        self.run_timers();
        self.inbox.end_turn();
        Ok(())
    }

    fn enter(&mut self, wait_max: Option<Duration>) -> Result<()> {
        if !self.notifier_armed {
            self.notifier_armed = true;
            let notifier = self.dispatch.side.exchange().notifier().descriptor();
            self.io.watch(notifier, Token::new(Op::Notifier, 0, 0));
        }
        // Answers may have made room for held input: those requests are not kept waiting by this wait.
        let published = self.dispatch.publish(false);
        self.dispatch.wake_readers();
        let mut wait = if published && self.settings.colocated { Wait::No } else { self.wait(wait_max) };
        if wait != Wait::No {
            // The sleeper's order: flag, fence, second look.
            let notifier = self.dispatch.side.exchange().notifier();
            notifier.begin_sleep();
            if !self.dispatch.side.completions_empty() || self.inbox.has_newer() || notifier.take_interrupt() {
                wait = Wait::No;
            }
        }
        self.publish_levels();
        self.follow_up = false;
        self.events.clear();
        self.cursor = 0;
        let turned = self.io.turn(wait, &mut self.events);
        self.dispatch.side.exchange().notifier().end_sleep();
        turned.map_err(explain_enter)?;
        self.clock.advance();
        self.tick = self.clock.tick();
        self.dispatch.begin_turn();
        self.end_sends();
        Ok(())
    }

    fn wait(&self, wait_max: Option<Duration>) -> Wait {
        // Buffers come back when silent sends end, which is when this enter returns: then the starved go on.
        let buffers_to_come = !self.starved.is_empty() && !self.silent.is_empty();
        // Readers that are left were put off for a turn.
        if buffers_to_come || self.dispatch.has_readers() || self.follow_up || self.is_done() || self.is_overdue() {
            return Wait::No;
        }
        // A reader that waits behind its last buffer does not say so: starved bodies look for it by the clock.
        let reclaim = (!self.starved.is_empty() && self.dispatch.side.buffers.large.is_dry())
            .then(|| self.tick.saturating_add(1));
        // Silent sends end when this enter returns. Should no client come, that is soon all the same: until then their
        // requests count as open, and can be cancelled.
        let sent = (!self.silent.is_empty()).then(|| self.tick.saturating_add(1));
        let visits = [self.wheel.next_visit(), self.accept_resumes, self.next_stop(), reclaim, sent];
        let timer = visits.into_iter().flatten().min().map(|tick| self.clock.until(tick));
        match (timer, wait_max) {
            (None, None) => Wait::Forever,
            (Some(one), Some(other)) => at_most(one.min(other)),
            (Some(one), None) | (None, Some(one)) => at_most(one),
        }
    }

    /// When a stop goes on by the clock alone.
    fn next_stop(&self) -> Option<Tick> {
        if self.aborted { self.given_up_at() } else { self.stopping.filter(|tick| *tick > self.tick) }
    }

    /// Whether the grace of a stop is over, so that everything left is to be ended at once.
    fn is_overdue(&self) -> bool {
        self.stopping.is_some_and(|deadline| deadline <= self.tick) && !self.aborted
    }

    fn handle_events(&mut self) {
        while self.cursor < self.events.len() && self.dispatch.fresh < self.settings.publish_max {
            let event = self.events[self.cursor].take();
            self.cursor += 1;
            match event.token.op() {
                Op::Receive => self.on_receive(event),
                Op::Accept => self.on_accept(event),
                Op::ReadFile => self.on_read(event),
                Op::Notifier => self.notifier_armed = event.more,
                Op::Poll => self.on_poll(event),
                Op::SendFile => self.on_file(event),
                Op::Room => self.on_room(event),
                // Ended before all others, in `end_sends`.
                Op::Send | Op::Ignored => {}
            }
        }
    }

    /// Gives spare buffers to the kernel, with one store.
    fn post_buffers(&mut self) {
        let mut any = false;
        while let Some(spare) = self.dispatch.side.buffers.next_to_post() {
            self.io.give_buffer(spare);
            any = true;
        }
        if any {
            self.io.post_buffers();
        }
    }

    fn publish_levels(&mut self) {
        self.counters.connections_open.set(self.connections.len() as u64);
        self.dispatch.publish_levels();
        self.counters.completions_overflowed.set(self.io.overflows());
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

    /// Gives a shard up that has panicked: its clients see the end of their connections, its memory stays to the
    /// handles that are out.
    pub(crate) fn give_up(mut self) {
        self.close_left();
        self.dispatch.give_up_requests();
        self.count_caught();
    }

    /// Closes what is left after a failure: messages and listeners, so that nobody waits at them, and connections,
    /// since nobody else knows their descriptors. Gives how many connections.
    fn close_left(&mut self) -> usize {
        self.inbox.close();
        self.close_listeners();
        for event in self.events.drain(..).skip(self.cursor) {
            let key = Key { index: event.token.slot(), generation: event.token.generation() };
            match event.token.op() {
                // The helper has given this one back.
                Op::SendFile => {
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.sending = Sending::No;
                    }
                }
                // It has come in, and is nobody's yet.
                Op::Accept if event.result >= 0 => self.io.close(event.result),
                _ => {}
            }
        }
        self.cursor = 0;
        let keys = self.connections.keys();
        for key in &keys {
            if let Some(connection) = self.connections.remove(*key) {
                if let Out::Stream { slot, .. } = connection.out {
                    self.dispatch.give_up_stream(slot);
                }
                self.dispatch.give_up_streams(connection.oldest);
                // The ring's operations keep the socket alive until they are gone; this ends the connection now.
                self.io.shutdown(connection.fd, std::net::Shutdown::Both);
                // One that the helper has, it closes.
                if connection.sending != Sending::File {
                    self.io.close(connection.fd);
                }
            }
        }
        keys.len()
    }

    /// Ends the shard: requests that wait in queues are dropped, handles that are out get `Gone`.
    pub(crate) fn end(mut self) {
        self.dispatch.abandon_queued();
        let left = self.close_left();
        self.collect_answers();
        self.publish_levels();
        // The ring closes before the memory it was lent can go.
        drop(self.io);
        // Connections are left only when the ring has failed; then what they used cannot be told any more.
        match left {
            0 => self.dispatch.side.end(),
            _ => self.dispatch.side.mark_all_disconnected(),
        }
    }
}

fn at_most(duration: Duration) -> Wait {
    if duration.is_zero() { Wait::No } else { Wait::AtMost(duration) }
}

//! What the control plane wants of a shard, and the only place where a shard takes a lock.
//!
//! ```text
//!   control plane ──put(newest)───────▶ Inbox ──take, first in a turn and after its wait──▶ Shard
//!                 ◀──holds(generation)── taken, in_turn
//! ```
//!
//! Invariants: a [`DesiredState`] is whole, so that a shard needs the newest alone: one that it has not taken is
//! replaced, and nothing piles up for a shard that nobody drives. A shard takes the newest before it does anything in a
//! turn, and again after it has waited for completions and before it handles any; it says which one it has taken.
//!
//! Not here: who decides what is wanted (room `session`), and what a shard does with routes and queues (`dispatch`) and
//! addresses (`transport`).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shard;
use super::dispatch::EndedQueues;
use super::protocol::Protocol;
use super::transport::{Entrance, ListenSocket};
use crate::clock::{Tick, ticks};
use crate::driver::Io;
use crate::id::{QueueNumber, QueuePlace};
use crate::log::LogEnds;
use crate::queue::QueueCore;
use crate::record::RequestRecord;
use crate::route::Snapshot;

/// Everything that the control plane wants of the shards, as of one change. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DesiredState {
    /// Counts changes.
    generation: u64,
    pub(crate) routes: Arc<Snapshot>,
    queues: Arc<QueueTable>,
    listening: Arc<Listening>,
    pub(crate) logs: DesiredLogs,
    /// Take no more connections, and end.
    pub(crate) stop: Option<Leave>,
}

/// What is wanted of the shards for logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct DesiredLogs {
    /// Where each shard finds its end, once there was a log.
    pub(crate) ends: Option<Arc<LogEnds>>,
    /// There is one.
    pub(crate) are_open: bool,
}

/// How long clients have when the engine is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Idle connections are let be for so long, each for one more request.
    linger: Duration,
    /// What is under way is answered for so long, at the most.
    all: Duration,
}

impl Leave {
    pub(crate) fn after(linger: Duration, grace: Duration) -> Self {
        Self { linger, all: linger.saturating_add(grace) }
    }

    /// Idle connections end at once.
    pub(crate) fn within(grace: Duration) -> Self {
        Self::after(Duration::ZERO, grace)
    }

    pub(crate) fn all(self) -> Duration {
        self.all
    }

    /// Of both, what ends first.
    pub(crate) fn sooner(self, other: Self) -> Self {
        Self { linger: self.linger.min(other.linger), all: self.all.min(other.all) }
    }
}

#[derive(Debug, Default)]
struct QueueTable {
    /// Another number for each table.
    version: u64,
    queues: Vec<Option<Arc<QueueCore<RequestRecord>>>>,
}

#[derive(Debug, Default)]
struct Listening {
    /// Another number for each list.
    version: u64,
    addresses: Vec<Arc<ListenAddress>>,
}

impl DesiredState {
    /// These routes, without queues and addresses.
    pub(crate) fn new(routes: Snapshot) -> Self {
        let (queues, listening) = (Arc::default(), Arc::default());
        let logs = DesiredLogs::default();
        Self { generation: 0, routes: Arc::new(routes), queues, listening, logs, stop: None }
    }

    /// The queues that are open, where routes look for them.
    pub(crate) fn set_queues(&mut self, queues: Vec<Option<Arc<QueueCore<RequestRecord>>>>) {
        self.queues = Arc::new(QueueTable { version: self.queues.version + 1, queues });
    }

    /// The addresses that are listened on, in ascending order of their ids.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<Arc<ListenAddress>>) {
        self.listening = Arc::new(Listening { version: self.listening.version + 1, addresses });
    }

    /// From now on it is a change of its own.
    pub(crate) fn advance(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// How many changes have led to it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// One address that is listened on, with a socket for each shard.
#[derive(Clone, Debug)]
pub(crate) struct ListenAddress {
    /// Later ones have greater ids.
    pub(crate) id: u64,
    pub(crate) entrance: Entrance,
    /// By shard; `None` once the shard has ended.
    pub(crate) sockets: Vec<Option<Arc<ListenSocket>>>,
}

/// Where a shard finds what is wanted of it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The generation of the newest state.
    newest: AtomicU64,
    /// That of the one the shard goes by.
    taken: AtomicU64,
    /// The shard is in a turn, which goes by the state it has taken.
    in_turn: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The newest state, until the shard takes it.
    state: Option<DesiredState>,
    /// Nobody will take one any more.
    closed: bool,
}

impl Inbox {
    /// Puts a newer state in the place of the one before; the caller notifies the shard afterwards.
    pub(crate) fn put(&self, state: DesiredState) {
        let replaced = {
            let mut waiting = self.waiting();
            if waiting.closed {
                return;
            }
            self.newest.store(state.generation, Ordering::SeqCst);
            waiting.state.replace(state)
        };
        drop(replaced);
    }

    /// Nobody will take a state any more: what is there and what comes is dropped.
    pub(crate) fn close(&self) {
        let unread = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            waiting.state.take()
        };
        drop(unread);
    }

    /// Whether a generation holds for whatever the shard does from now on: it has taken it, or it is not in a turn, and
    /// takes it before anything else in the next one. A shard that nobody drives is in none.
    pub(crate) fn holds(&self, generation: u64) -> bool {
        // Sequentially consistent, as `begin_turn`: a shard that is seen outside of a turn sees the newest in the next.
        self.taken.load(Ordering::SeqCst) >= generation || !self.in_turn.load(Ordering::SeqCst) || self.waiting().closed
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn has_newer(&self) -> bool {
        self.newest.load(Ordering::SeqCst) != self.taken.load(Ordering::Relaxed)
    }

    /// A turn begins; the shard [looks](Self::has_newer) before anything else.
    #[inline]
    pub(super) fn begin_turn(&self) {
        self.in_turn.swap(true, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn end_turn(&self) {
        self.in_turn.store(false, Ordering::Release);
    }
}

impl<I: Io> Shard<I> {
    #[inline]
    pub(super) fn take_newer(&mut self) {
        if self.inbox.has_newer() {
            self.take_newest();
        }
    }

    /// From now on the newest state holds.
    #[cold]
    pub(crate) fn take_newest(&mut self) {
        let Some(state) = self.inbox.waiting().state.take() else { return };
        let (generation, mut queues) = (state.generation, EndedQueues::default());
        if core::mem::replace(&mut self.queues_version, state.queues.version) != state.queues.version {
            queues = self.protocol.dispatch.take_queues(&state.queues.queues);
        }
        self.protocol.dispatch.take_logs(state.logs.ends.as_deref(), state.logs.are_open);
        self.protocol.dispatch.take_routes(state.routes);
        if let Some(leave) = state.stop {
            // Told again, it is the same stop: what was taken first ends first.
            self.stop(leave);
        }
        self.take_listeners(&state.listening);
        if !queues.ended.is_empty() || !queues.shut_down.is_empty() {
            queues.ended.into_iter().for_each(|queue| self.end_queue(queue));
            queues.shut_down.into_iter().for_each(|queue| self.refuse_waiting(queue));
            // By the new routes: in the place of a queue that has ended may be another one.
            self.work_off();
        }
        self.inbox.taken.store(generation, Ordering::SeqCst);
    }

    /// Nobody can answer by id any more what came through a queue. Looks at all slots: queues end seldom.
    fn end_queue(&mut self, queue: QueueNumber) {
        for slot in self.protocol.dispatch.slots_used() {
            if let Some(completed) = self.protocol.dispatch.close_to_ids(slot, queue) {
                self.take_back(completed);
            }
        }
    }

    /// Nobody receives from a queue any more: clients whose requests wait there are told so. Looks at all slots.
    fn refuse_waiting(&mut self, queue: QueuePlace) {
        for slot in self.protocol.dispatch.slots_used() {
            if self.protocol.dispatch.waits_in(slot, queue)
                && let Some(key) = self.protocol.dispatch.state(slot).connection
            {
                self.visit(key, |protocol, connection| protocol.lost_consumers(connection, slot));
            }
        }
    }

    /// Stops listening on addresses that are closed, and begins on new ones.
    fn take_listeners(&mut self, listening: &Listening) {
        if core::mem::replace(&mut self.listening_version, listening.version) == listening.version {
            return;
        }
        let addresses = &listening.addresses;
        let Protocol { transport, dispatch, stop, .. } = &mut self.protocol;
        let is_closed = |id| addresses.binary_search_by_key(&id, |address| address.id).is_err();
        transport.unlisten(is_closed, stop.has_time(transport.tick));
        let first = addresses.partition_point(|address| address.id <= self.last_address);
        for address in &addresses[first..] {
            self.last_address = address.id;
            let socket = address.sockets.get(usize::from(dispatch.shard().0)).and_then(Option::as_ref);
            let Some(socket) = socket.filter(|_| !stop.has_begun()) else { continue };
            if socket.listen(&mut transport.io) {
                transport.accept_on(address.id, address.entrance.clone(), Arc::clone(socket));
            } else if !socket.is_closed() {
                self.counters.addresses_not_opened.count();
            }
        }
    }

    /// Begins to stop: see [`DesiredState::stop`].
    pub(crate) fn stop(&mut self, leave: Leave) {
        let transport = &mut self.protocol.transport;
        // The thread that drives the shard may have been elsewhere since the turn before: the grace begins now.
        transport.read_clock();
        let at = |time: Duration| if time.is_zero() { transport.tick } else { transport.after(ticks(time)) };
        let (ends, until) = (at(leave.linger), at(leave.all));
        self.protocol.stop.begin(ends, until);
        let Protocol { transport, stop, .. } = &mut self.protocol;
        transport.unlisten(|_| true, stop.has_time(transport.tick));
        self.end_idle();
    }

    /// When a stop that has begun goes on by the clock. It is not aborted before accepting has ended, of which there
    /// will be a completion.
    #[cold]
    #[inline(never)]
    pub(super) fn stop_goes_on_at(&self) -> Option<Tick> {
        let Protocol { transport, stop, .. } = &self.protocol;
        let goes_on = stop.goes_on_at().filter(|at| *at > transport.tick || !transport.accepting.listens());
        [goes_on, self.idle_again].into_iter().flatten().min()
    }

    /// Goes on with a stop that has begun, by the clock.
    #[cold]
    pub(super) fn go_on_stopping(&mut self) {
        let is_all_handled = self.cursor == self.events.len();
        if is_all_handled && self.idle_again.is_some_and(|at| at <= self.entered_at) {
            self.idle_again = None;
            self.end_idle();
        }
        let tick = self.protocol.transport.tick;
        if self.protocol.stop.goes_on_at().is_none_or(|at| at > tick) {
            return;
        }
        self.end_idle();
        // Who is accepted last ends with all others, so accepting has to have ended before.
        if !self.protocol.transport.accepting.listens() && self.protocol.stop.abort_if_overdue(tick) {
            for key in self.connections.keys() {
                let is_closing = self.connections.get(key).is_none_or(|connection| connection.socket().is_closing());
                self.counters.connections_stopped.add(u64::from(!is_closing));
                self.visit(key, Protocol::reset);
            }
        }
    }

    /// Connections end that owe nothing, and nobody is let in, unless they are let be for a while.
    #[cold]
    fn end_idle(&mut self) {
        if !self.protocol.stop.ends_idle(self.protocol.transport.tick) {
            return;
        }
        self.turn_all_away();
        for key in self.connections.keys() {
            self.visit(key, |protocol, connection| protocol.finish(connection));
        }
    }
}

//! What applications have given back and told, for the loop to take: answers, signals and commands.
//!
//! Invariants: the lists that are taken are put back, so that nothing allocates after the start.
//!
//! Not here: what is done with it (`shard`), and how it is given (room `queue`).

use super::Dispatch;
use crate::id::{ConnectionId, QueueNumber, RequestId, ShardId};
use crate::queue::{Command, Completion, Driving, Notifier, ResponseFlags, Signals, Slot};

impl Dispatch {
    pub(crate) fn shard(&self) -> ShardId {
        self.id
    }

    /// See [`ShardSide::drive_here`](crate::queue::ShardSide::drive_here).
    pub(crate) fn drive_here(&self) -> Driving {
        self.side.drive_here()
    }

    pub(crate) fn notifier(&self) -> &'static Notifier {
        self.side.exchange().notifier()
    }

    /// Whether nothing waits to be taken; sequentially consistent.
    pub(crate) fn is_told_nothing(&self) -> bool {
        self.side.completions_empty()
    }

    /// Whether more completions are handled before responses are looked at.
    #[inline]
    pub(crate) fn takes_more(&self) -> bool {
        self.fresh < self.pace.most()
    }

    /// Some requests are logged.
    #[inline]
    pub(crate) fn logs(&self) -> bool {
        self.log.logs
    }

    /// It is measured how long requests of some queue take.
    #[inline]
    pub(crate) fn measures_latency(&self) -> bool {
        self.log.latency
    }

    /// Something uses the times of requests.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        self.measures
    }

    /// Takes all slots that have come back, to be [accepted](Self::accept).
    #[inline]
    pub(crate) fn take_completions(&mut self) -> Vec<Completion> {
        let mut completed = core::mem::take(&mut self.completed);
        self.side.take_completions(&mut completed);
        completed
    }

    /// Puts their list back.
    #[inline]
    pub(crate) fn give_completions(&mut self, completed: Vec<Completion>) {
        self.completed = completed;
    }

    /// From now on a slot's answer is the shard's.
    #[inline(always)]
    pub(crate) fn accept(&mut self, completed: Completion) -> (Slot, ResponseFlags) {
        self.side.accept(completed)
    }

    #[inline]
    pub(crate) fn has_signals(&self) -> bool {
        self.side.has_signals()
    }

    /// Takes all slots that have signals, oldest first.
    pub(crate) fn take_signals(&mut self) -> Vec<Slot> {
        let mut signalled = core::mem::take(&mut self.signalled);
        self.side.take_signals(&mut signalled);
        signalled
    }

    /// Puts their list back.
    pub(crate) fn give_signals(&mut self, signalled: Vec<Slot>) {
        self.signalled = signalled;
    }

    /// What the signals of a slot are that was just taken.
    pub(crate) fn read_signals(&mut self, slot: Slot) -> Signals {
        self.side.read_signals(slot)
    }

    #[inline]
    pub(crate) fn has_commands(&self) -> bool {
        self.side.has_commands()
    }

    /// Begins to read the commands.
    pub(crate) fn open_commands(&mut self) {
        self.side.open_commands();
    }

    pub(crate) fn take_command(&mut self) -> Option<Command> {
        self.side.take_command()
    }

    /// The slot of a request that is not over.
    pub(crate) fn under_way(&self, id: RequestId) -> Option<Slot> {
        self.side.under_way(id)
    }

    /// The slot of a request that was cancelled and is not over.
    pub(crate) fn cancelled(&self, id: RequestId) -> Option<Slot> {
        self.side.cancelled(id)
    }

    /// Where a connection of this id would be: index and generation.
    pub(crate) fn entry_of(&self, id: ConnectionId) -> Option<(u32, u32)> {
        self.origin.entry(id)
    }

    /// Slots that were ever used.
    pub(crate) fn slots_used(&self) -> impl Iterator<Item = Slot> + use<> {
        self.side.slots_used()
    }

    /// See [`ShardSide::close_to_ids`](crate::queue::ShardSide::close_to_ids).
    pub(crate) fn close_to_ids(&mut self, slot: Slot, queue: QueueNumber) -> Option<Completion> {
        self.side.close_to_ids(slot, queue)
    }
}

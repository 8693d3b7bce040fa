//! What applications tell in commands: requests to be cancelled or informed, connections to be watched or let go; and
//! what other shards ask for and answer. See `queue::commands`.
//!
//! Invariants: commands are read after the responses of a turn have been taken back and before any of them is sent, so
//! that nothing that was cancelled by then begins to leave.
//!
//! Not here: how commands are put in and kept (room `queue`), and what each does to a connection (`protocol`).

use super::Shard;
use crate::driver::Io;
use crate::id::{ConnectionId, RequestId};
use crate::queue::{Command, Disconnected, Informational, Registration, SocketReceiver};
use crate::record::Outcome;
use crate::slab::ConnectionKey;

impl<I: Io> Shard<I> {
    /// Reads the commands, if there are any.
    #[inline]
    pub(super) fn collect_commands(&mut self) {
        if self.protocol.dispatch.has_commands() {
            self.read_commands();
        }
    }

    #[cold]
    fn read_commands(&mut self) {
        self.protocol.dispatch.open_commands();
        while let Some(command) = self.protocol.dispatch.take_command() {
            match command {
                Command::Cancel(id) => self.cancel(id),
                Command::Informational(id, answer) => self.send_informational(id, answer),
                Command::Watch(id, registration) => self.watch(id, registration),
                Command::HandOver(id, taker) => self.hand_over(id, taker),
                Command::GiveDescriptor(asker) => self.descriptor_is_wanted(asker),
                Command::Descriptor { from, is_given } => self.others_answered(from, is_given),
                Command::LogText(id, text) => self.protocol.dispatch.keep_log_text(id, text),
            }
        }
    }

    /// Ends the connection of a cancelled request, and with it whatever else is under way on it.
    fn cancel(&mut self, id: RequestId) {
        let dispatch = &mut self.protocol.dispatch;
        let Some(slot) = dispatch.cancelled(id) else { return self.counters.cancels_late.count() };
        dispatch.set_outcome(slot, Outcome::Cancelled);
        if let Some(key) = dispatch.state(slot).connection {
            self.visit(key, |protocol, connection| protocol.reset(connection));
        }
    }

    /// An informational response for a request under way.
    pub(super) fn send_informational(&mut self, id: RequestId, answer: Informational) {
        let slot = self.protocol.dispatch.under_way(id);
        let owed = slot.and_then(|slot| Some((slot, self.protocol.dispatch.state(slot).connection?)));
        match owed.and_then(|(slot, key)| Some((slot, self.connections.get_mut(key)?))) {
            Some((slot, connection)) => self.protocol.send_informational(connection, slot, answer),
            None => self.counters.informational_dropped.count(),
        }
    }

    /// Somebody is to be told of a connection's end.
    fn watch(&mut self, id: ConnectionId, registration: Registration) {
        let entry = self.protocol.dispatch.entry_of(id);
        let key = entry.and_then(|(index, generation)| ConnectionKey::of(index, generation));
        match key.and_then(|key| self.connections.get_mut(key)) {
            Some(connection) => self.protocol.watch(connection, registration),
            None => registration.tell(Disconnected::Gone),
        }
    }

    /// The application wants the socket of a connection that has switched protocols.
    fn hand_over(&mut self, id: RequestId, taker: SocketReceiver) {
        // A taker that is dropped tells that there is no socket.
        let Some(slot) = self.protocol.dispatch.under_way(id) else { return };
        if let Some(key) = self.protocol.dispatch.state(slot).connection {
            self.visit(key, |protocol, connection| protocol.hand_over(connection, slot, taker));
        }
    }
}

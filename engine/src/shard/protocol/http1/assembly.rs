//! Heads that did not arrive whole in one buffer: put together in the connection's one cell.
//!
//! Invariants: a connection has at most one cell, from the first piece of a head that is not whole until the request is
//! delivered (then it is free again, or the request's if its head is longer than a receive buffer) or given up: a
//! fragment, of which there is one for each connection, until the head outgrows that.
//!
//! Not here: heads that are whole in one buffer (`input`), what a head means (`deliver`), which request may keep its
//! cell (`dispatch::cells`), and who gives up for others (`shard::pieces`).

use ringress_proto::reject::Reject;

use super::Http1;
use super::deliver::HeadRead;
use super::input::Taken;
use super::partial::PartialHead;
use super::state::Intake;
use crate::driver::Io;
use crate::mem::Input;
use crate::queue::Slot;
use crate::shard::dispatch::NoCell;
use crate::shard::protocol::Protocol;
use crate::shard::transport::Resource;

impl<I: Io> Protocol<I> {
    /// Copies a head that is not whole into a cell.
    #[cold]
    pub(super) fn begin_assembly(&mut self, connection: &mut Http1, input: Input<'_>) -> Taken {
        // A large buffer may hold more than a head may have.
        let len = input.len().min(u32::from(self.settings.limits.head_bytes_max));
        let Some(cell) = self.dispatch.keep_piece(input.first(len)) else {
            return self.take_later(connection, Resource::Cell);
        };
        self.counters.copies.count();
        let (since, grown) = (self.dispatch.arrived(), self.transport.tick);
        connection.intake = Intake::Head(PartialHead::new(cell, len, since, grown));
        self.set_timer(connection);
        Taken::Bytes(len)
    }

    /// More of a head.
    #[cold]
    pub(super) fn extend_head(&mut self, connection: &mut Http1, input: Input<'_>) -> Taken {
        let Intake::Head(head) = &mut connection.intake else { return Taken::Over };
        let before = head.len;
        let head_bytes_max = u32::from(self.settings.limits.head_bytes_max);
        let len = input.len().min(head_bytes_max - before.min(head_bytes_max));
        if !self.dispatch.add_piece(&mut head.cell, before, input.first(len)) {
            return self.take_later(connection, Resource::Cell);
        }
        head.grown = self.transport.tick;
        // Without a line's end nothing can have become whole; looking only then keeps a slow head from being parsed
        // anew for each of its bytes.
        let any_line = memchr::memchr(b'\n', self.dispatch.input(input.first(len))).is_some();
        if !any_line && before + len < head_bytes_max {
            head.len = before + len;
            return Taken::Bytes(len);
        }
        let slot = match self.slot_for(connection) {
            Ok(slot) => slot,
            Err(taken) => return taken,
        };
        let Some(mut head) = connection.take_head() else {
            self.dispatch.discard(slot);
            return Taken::Over;
        };
        head.len = before + len;
        let extent = self.dispatch.arena().cell(head.cell.cell(), 0, head.len);
        let HeadRead { head_len, addressed, .. } = match self.read_request(connection, slot, extent) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.dispatch.discard(slot);
                connection.intake = Intake::Head(head);
                return Taken::Bytes(len);
            }
            Err(reject) => {
                self.dispatch.cells_mut().give_head(head.cell);
                return self.refuse_unread(connection, slot, reject);
            }
        };
        let (key, since) = (connection.key(), head.since);
        let dispatch = &mut self.dispatch;
        if dispatch.keep(slot, dispatch.arena().cell(head.cell.cell(), 0, head_len)) {
            dispatch.cells_mut().give_head(head.cell);
        } else {
            if let Err(lack) = dispatch.may_assemble(key) {
                head.len = before;
                return self.cannot_keep(connection, slot, head, lack);
            }
            // Who has a promise may wait for a cell: so nobody waits for a promise with a request's cell.
            head.unpromised = self.bytes_to_be_promised(slot, &addressed);
            if let Some(lacking) = self.lacks_promise_for(key, head.unpromised) {
                head.len = before;
                connection.intake = Intake::Head(head);
                self.dispatch.discard(slot);
                return self.take_later(connection, lacking);
            }
            self.dispatch.keep_head(slot, head.cell, head_len, key);
        }
        let rest = self.dispatch.came_earlier(since);
        self.deliver_with_body(connection, slot, addressed);
        self.dispatch.set_arrived(rest);
        Taken::Bytes(head_len - before.min(head_len))
    }

    /// A head is whole, and longer than what its slot has of its own; its request finds no cell. The last piece is not
    /// taken yet.
    #[cold]
    fn cannot_keep(&mut self, connection: &mut Http1, slot: Slot, head: PartialHead, lack: NoCell) -> Taken {
        connection.intake = Intake::Head(head);
        match lack {
            NoCell::Now | NoCell::BeyondShare => {
                self.dispatch.discard(slot);
                self.take_later(connection, lack.resource())
            }
            NoCell::Crowd => {
                self.counters.cell_shares_refused.count();
                self.refuse_unread(connection, slot, Reject::Overloaded)
            }
        }
    }
}

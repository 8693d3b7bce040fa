//! Heads that did not arrive whole in one buffer: put together in the connection's one assembly cell.
//!
//! Invariants: a connection has at most one cell, from the first piece of a head that is not whole until the request is
//! delivered (then it is the request's) or given up; every byte is copied once.

use ringress_proto::head::{self, Parse};
use ringress_proto::method::Method;
use ringress_proto::url;

use super::Shard;
use super::deliver::address;
use super::dispatch::NONE;
use super::input::Taken;
use crate::mem::Input;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Copies a head that is not whole into an assembly cell.
    #[cold]
    pub(super) fn begin_assembly(&mut self, key: Key, input: Input<'_>) -> Taken {
        let Some(mut cell) = self.dispatch.side.cells.assembly.take() else {
            return self.out_of_cells(key, NONE);
        };
        self.counters.copies.count();
        // A large buffer may hold more than a head may have.
        let len = input.len().min(u32::from(self.settings.limits.head_bytes_max));
        self.dispatch.side.copy_to_cell(input.first(len), &mut cell, 0);
        let Some(connection) = self.connections.get_mut(key) else {
            self.dispatch.side.cells.assembly.give(cell);
            return Taken::Over;
        };
        connection.assembly = Some(cell);
        connection.assembled = len;
        connection.pending = true;
        self.set_timer(key);
        Taken::Bytes(len)
    }

    /// More of a head.
    #[cold]
    pub(super) fn extend_head(&mut self, key: Key, input: Input<'_>) -> Taken {
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        let before = connection.assembled;
        let Some(cell) = &mut connection.assembly else { return Taken::Over };
        let head_bytes_max = u32::from(self.settings.limits.head_bytes_max);
        let len = input.len().min(head_bytes_max - before.min(head_bytes_max));
        self.dispatch.side.copy_to_cell(input.first(len), cell, before);
        // Without a line's end nothing can have become whole; looking only then keeps a slow head from being parsed
        // anew for each of its bytes.
        let any_line = memchr::memchr(b'\n', self.dispatch.side.input(input.first(len))).is_some();
        if !any_line && before + len < head_bytes_max {
            connection.assembled = before + len;
            return Taken::Bytes(len);
        }
        let slot = match self.slot_for(key) {
            Ok(slot) => slot,
            Err(taken) => return taken,
        };
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        connection.assembled = before + len;
        let Some(cell) = connection.assembly.take() else { return Taken::Over };
        let extent = self.dispatch.side.arena().cell(&cell, 0, before + len);
        let (bytes, record, mut scratch) = self.dispatch.side.parse_view(extent, slot);
        let parsed = head::parse(bytes, &self.settings.limits, &mut record.head).and_then(|parse| {
            let is_whole = parse == Parse::Complete;
            if is_whole {
                url::cook_with(bytes, &record.head, || scratch.bytes(), &mut self.host_memo, &mut record.cooked)?;
            }
            Ok(is_whole)
        });
        match parsed {
            Ok(true) => {}
            Ok(false) => {
                self.dispatch.side.free(slot);
                connection.assembly = Some(cell);
                return Taken::Bytes(len);
            }
            Err(reject) => {
                record.head.method = Method::begun(bytes);
                self.dispatch.side.cells.assembly.give(cell);
                return self.refuse_unread(key, slot, reject);
            }
        }
        let head_len = u32::from(record.head.head_len);
        (record.wire_bytes, record.body_open) = (u64::from(head_len), false);
        (record.body_start, record.body_len) = (head_len, 0);
        connection.assembled = 0;
        connection.pending = false;
        let stopping = self.stopping.is_some();
        let origin = (&*connection, self.dispatch.origin.connection(key.generation, key.index));
        let addressed = address(origin, &self.dispatch.routes, (stopping, &self.settings), bytes, record, scratch);
        self.dispatch.side.pin_cell(slot, cell, head_len);
        self.deliver_with_body(key, slot, addressed);
        Taken::Bytes(head_len - before.min(head_len))
    }
}

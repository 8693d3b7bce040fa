//! Heads that did not arrive whole in one buffer: put together in the connection's one assembly cell.
//!
//! Laws: a connection has at most one cell, from the first piece of a head that is not whole until the request is
//! delivered (then it is the request's) or given up; every byte is copied once.

use ringress_proto::head::{self, Parse};
use ringress_proto::url;

use super::Shard;
use super::connection::{NONE, Source};
use super::deliver::address;
use super::input::{Input, Taken};
use crate::id::ConnectionId;
use crate::mem::Area;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Copies a head that is not whole into an assembly cell.
    #[cold]
    pub(super) fn begin_assembly(&mut self, key: Key, input: Input) -> Taken {
        let Some(cell) = self.cells.assembly.take() else {
            return self.out_of_cells(key, NONE);
        };
        self.counters.copies.count();
        let to = self.side.arena().offset(Area::Assembly, cell);
        // A large buffer may hold more than a head may have.
        let len = input.len().min(u32::from(self.settings.limits.head_bytes_max));
        self.side.copy(self.offset(input), to, len);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        connection.assembly = cell;
        connection.assembled = len;
        connection.pending = true;
        self.set_timer(key);
        Taken::Bytes(len)
    }

    /// More of a head.
    #[cold]
    pub(super) fn extend_head(&mut self, key: Key, input: Input) -> Taken {
        let from = self.offset(input);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        let (cell, before) = (connection.assembly, connection.assembled);
        let base = self.side.arena().offset(Area::Assembly, cell);
        let head_bytes_max = u32::from(self.settings.limits.head_bytes_max);
        let len = input.len().min(head_bytes_max - before.min(head_bytes_max));
        self.side.copy(from, base + u64::from(before), len);
        // Without a line's end nothing can have become whole; looking only then keeps a slow head from being parsed
        // anew for each of its bytes.
        let any_line = memchr::memchr(b'\n', self.side.bytes(from, len)).is_some();
        if !any_line && before + len < head_bytes_max {
            connection.assembled = before + len;
            return Taken::Bytes(len);
        }
        let slot = match self.slot_for(key) {
            Ok(slot) => slot,
            Err(taken) => return taken,
        };
        let (bytes, record, mut scratch) = self.side.parse_view(base, before + len, slot);
        match head::parse(bytes, &self.settings.limits, &mut record.head) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) => {
                self.side.free(slot);
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.assembled = before + len;
                }
                return Taken::Bytes(len);
            }
            Err(reject) => return self.refuse_unread(key, slot, reject),
        }
        let (memo, cooked) = (&mut self.host_memo, &mut record.cooked);
        if let Err(reject) = url::cook_with(bytes, &record.head, || scratch.bytes(), memo, cooked) {
            return self.refuse_unread(key, slot, reject);
        }
        let head_len = u32::from(record.head.head_len);
        record.base = base;
        (record.len, record.wire_bytes, record.body_open) = (head_len, u64::from(head_len), false);
        (record.body_start, record.body_len) = (head_len, 0);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        connection.assembly = NONE;
        connection.assembled = 0;
        connection.pending = false;
        let stopping = self.stopping.is_some();
        let origin = (&*connection, ConnectionId::new(self.id, key.generation, key.index));
        let addressed = address(origin, &self.routes, stopping, bytes, record, scratch);
        self.deliver_with_body(key, slot, Source::Assembly(cell), addressed);
        Taken::Bytes(head_len - before.min(head_len))
    }
}

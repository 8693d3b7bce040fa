//! Requests that did not arrive whole in one buffer: put together in the connection's one assembly cell.
//!
//! Laws: a connection has at most one cell, from the first piece of a request that is not whole until the request is
//! delivered (then it is the request's) or given up; every byte is copied once; a chunked body is decoded on its way
//! in.

use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::framing::BodyKind;
use ringress_proto::head::{self, Parse};
use ringress_proto::reject::Reject;
use ringress_proto::url;

use super::Shard;
use super::connection::{NONE, Pending, Source};
use super::deliver::address;
use super::input::{Input, Taken};
use crate::id::ConnectionId;
use crate::mem::Area;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Copies a request that is not whole into an assembly cell. With a slot, its head is whole.
    #[cold]
    pub(super) fn begin_assembly(&mut self, key: Key, input: Input, slot: u32) -> Taken {
        let Some(cell) = self.cells.assembly.take() else {
            return self.out_of_cells(key, slot);
        };
        self.counters.copies.count();
        let to = self.side.arena().offset(Area::Assembly, cell);
        let (len, pending) = if slot == NONE {
            (input.len(), Pending::Head)
        } else {
            self.side.record_mut(slot).base = to;
            (u32::from(self.side.record(slot).head.head_len), self.body_to_come(slot))
        };
        self.side.copy(self.offset(input), to, len);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        connection.assembly = cell;
        connection.assembled = len;
        connection.pending = pending;
        connection.pending_wire = u64::from(len);
        self.head_is_here(key, slot, input.len() > len);
        self.set_timer(key);
        Taken::Bytes(len)
    }

    /// What is to come after a whole head with a body.
    fn body_to_come(&self, slot: u32) -> Pending {
        match self.side.record(slot).head.body {
            BodyKind::Length(length) => Pending::Length { slot, missing: u32::try_from(length).unwrap_or(u32::MAX) },
            BodyKind::Chunked | BodyKind::None => Pending::Chunked { slot, decoder: Decoder::new() },
        }
    }

    /// A client that waits for `100 Continue` before it sends its body gets it, unless the body is coming anyway.
    fn head_is_here(&mut self, key: Key, slot: u32, body_begun: bool) {
        if slot != NONE && !body_begun && self.side.record(slot).head.expects_continue() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.continue_owed = true;
            }
            self.queue_flush(key);
        }
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
            connection.pending_wire = u64::from(before + len);
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
        record.base = base;
        self.head_assembled(key, input, slot, before)
    }

    /// A head that came in pieces is whole: `before` of its bytes came earlier.
    fn head_assembled(&mut self, key: Key, input: Input, slot: u32, before: u32) -> Taken {
        let head_len = u32::from(self.side.record(slot).head.head_len);
        let body = self.side.record(slot).head.body;
        let used = head_len - before.min(head_len);
        if matches!(body, BodyKind::Length(length) if length > u64::from(self.settings.body_bytes_max)) {
            return self.refuse_unread(key, slot, Reject::BodyTooLarge);
        }
        let pending = self.body_to_come(slot);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        connection.assembled = head_len;
        connection.pending_wire = u64::from(head_len);
        if body == BodyKind::None {
            self.assembly_whole(key, slot, head_len);
            return Taken::Bytes(used);
        }
        connection.pending = pending;
        self.head_is_here(key, slot, input.len() > used);
        self.set_timer(key);
        Taken::Bytes(used)
    }

    /// More of a body of known length.
    pub(super) fn extend_length(&mut self, key: Key, input: Input, slot: u32, missing: u32) -> Taken {
        let len = missing.min(input.len());
        let from = self.offset(input);
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        let to = self.side.arena().offset(Area::Assembly, connection.assembly) + u64::from(connection.assembled);
        connection.assembled += len;
        connection.pending_wire += u64::from(len);
        connection.continue_owed = false;
        connection.pending = Pending::Length { slot, missing: missing - len };
        self.side.copy(from, to, len);
        if len == missing {
            let head_len = u32::from(self.side.record(slot).head.head_len);
            self.assembly_whole(key, slot, head_len);
        } else {
            self.set_timer(key);
        }
        Taken::Bytes(len)
    }

    /// More of a chunked body, decoded on its way into the assembly cell.
    pub(super) fn extend_chunked(&mut self, key: Key, input: Input, slot: u32, mut decoder: Decoder) -> Taken {
        let from = self.offset(input);
        let head_len = u32::from(self.side.record(slot).head.head_len);
        let mut used = 0;
        while used < input.len() {
            let bytes = self.side.bytes(from + u64::from(used), input.len() - used);
            let (consumed, step) = match decoder.step(bytes, &self.settings.limits) {
                Ok(done) => done,
                Err(reject) => return self.refuse_unread(key, slot, reject),
            };
            let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
            connection.continue_owed = false;
            let body_len = connection.assembled - head_len;
            let at = used;
            used += u32::try_from(consumed).unwrap_or(u32::MAX);
            connection.pending_wire += consumed as u64;
            match step {
                Step::NeedMore | Step::Trailer { .. } => {}
                Step::Done => {
                    self.assembly_whole(key, slot, head_len);
                    return Taken::Bytes(used);
                }
                Step::Data { start, len } => {
                    let (start, len) = (start as u64, u32::try_from(len).unwrap_or(u32::MAX));
                    if len > self.settings.body_bytes_max - body_len {
                        return self.refuse_unread(key, slot, Reject::BodyTooLarge);
                    }
                    let base = self.side.arena().offset(Area::Assembly, connection.assembly);
                    let to = base + u64::from(connection.assembled);
                    connection.assembled += len;
                    self.side.copy(from + u64::from(at) + start, to, len);
                }
            }
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.pending = Pending::Chunked { slot, decoder };
        }
        self.set_timer(key);
        Taken::Bytes(used)
    }

    /// The request in the connection's assembly cell is whole.
    fn assembly_whole(&mut self, key: Key, slot: u32, head_len: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (cell, len, wire_bytes) = (connection.assembly, connection.assembled, connection.pending_wire);
        connection.assembly = NONE;
        connection.assembled = 0;
        connection.pending = Pending::Nothing;
        let base = self.side.arena().offset(Area::Assembly, cell);
        let (bytes, record, scratch) = self.side.parse_view(base, len, slot);
        (record.len, record.wire_bytes) = (len, wire_bytes);
        (record.body_start, record.body_len) = (head_len, len - head_len);
        let stopping = self.stopping.is_some();
        let origin = (&*connection, ConnectionId::new(self.id, key.generation, key.index));
        let addressed = address(origin, &self.routes, stopping, bytes, record, scratch);
        self.deliver(key, slot, Source::Assembly(cell), addressed);
    }
}

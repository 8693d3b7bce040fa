//! Bytes come in: heads are taken out of receive buffers in place, or put together where they did not arrive whole, and
//! delivered with what is there of their bodies.
//!
//! Invariants: a head that arrives whole in one buffer is never copied, unless buffers are short; one that does not is
//! copied once, into the connection's one assembly cell, and counted; input that cannot be taken yet is held in its
//! buffers, in order, and receiving stops until it has been taken.

use ringress_proto::framing::BodyLength;
use ringress_proto::head::{self, Parse};
use ringress_proto::method::Method;
use ringress_proto::reject::Reject;
use ringress_proto::url;

use super::Shard;
use super::connection::{Held, NO_BUFFER, Receiving, Sending};
use super::deliver::address;
use super::dispatch::{NONE, SlotState};
use crate::conn::Admission;
use crate::mem::{Area, Input, Share};
use crate::ring::{Event, Io, Op, Token};
use crate::slab::Key;

/// Buffers a connection may hold before receiving stops.
const HELD_MAX: u16 = 4;

/// What came of looking at some input.
pub(super) enum Taken {
    /// This much was used.
    Bytes(u32),
    /// The rest can only be taken later.
    Later,
    /// The rest is of no use: the connection takes no more requests, or is gone.
    Over,
}

impl<I: Io> Shard<I> {
    pub(super) fn receive_token(key: Key) -> Token {
        Token::new(Op::Receive, key.generation, key.index)
    }

    /// Receives, unless the connection does or takes no more.
    pub(super) fn arm_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.receiving != Receiving::Stopped || connection.closing || connection.leaving {
            return;
        }
        if connection.has_incoming() || connection.takes_nothing() {
            if !self.receive_unwanted(key) {
                self.receive_body(key);
            }
            return;
        }
        // Who has sent one long body is likely to send another: its head comes with a good part of it.
        if core::mem::take(&mut connection.long) && self.has_large() {
            let (least, most) = (
                self.dispatch.side.arena().cell_bytes(Area::Receive),
                self.dispatch.side.arena().cell_bytes(Area::Body),
            );
            let most = most.min(self.body_credit(key).max(least));
            return self.receive_large(key, most);
        }
        self.receive_many(key);
    }

    /// Receives into small buffers until told to stop.
    pub(super) fn receive_many(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.receiving = Receiving::Armed;
            self.io.receive(connection.fd, Self::receive_token(key));
        }
    }

    /// Receives once into a large buffer.
    pub(super) fn receive_large(&mut self, key: Key, most: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.receiving = Receiving::Once;
            self.io.receive_once(connection.fd, Self::receive_token(key), most);
        }
    }

    pub(super) fn stop_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.receiving == Receiving::Armed {
            connection.receiving = Receiving::Stopping;
            self.io.cancel(Self::receive_token(key));
        }
    }

    pub(super) fn on_receive(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let share = event.buffer.map(|filled| self.dispatch.side.buffers.take(filled));
        if let Some(connection) = self.connections.get_mut(key) {
            let large = connection.receiving == Receiving::Once;
            if !event.more {
                connection.receiving = Receiving::Stopped;
            }
            let closing = connection.closing;
            match (event.result, &share) {
                (1.., Some(share)) if !closing => {
                    let input = self.dispatch.side.arena().input(share, 0, event.result.cast_unsigned());
                    self.receive_input(key, input);
                }
                (1.., None) if !closing => self.thrown_away(key, event.result.cast_unsigned()),
                (0, _) if !closing => self.end_of_input(key),
                (error, _) if error < 0 && !closing => self.receive_failed(key, -error, large),
                _ => {}
            }
            if !event.more {
                self.after_receive(key);
            }
            if event.more_at_hand && !self.settings.colocated {
                self.put_off_waking(key);
            }
        } else {
            self.counters.completions_stale.count();
        }
        if let Some(share) = share {
            self.dispatch.side.buffers.release(share);
        }
    }

    #[cold]
    fn receive_failed(&mut self, key: Key, errno: i32, large: bool) {
        match errno {
            libc::ENOBUFS => {
                self.counters.buffers_ran_out.count();
                let pool =
                    if large { &mut self.dispatch.side.buffers.large } else { &mut self.dispatch.side.buffers.small };
                pool.ran_out();
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.starved = true;
                    connection.giving.stop(self.tick);
                    self.starved.push(key);
                }
            }
            // Asked for, or of no consequence: armed again when input is wanted.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            _ => self.client_gone(key),
        }
    }

    /// A receive has ended: goes on with it, or with closing.
    #[cold]
    fn after_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.closing {
            self.destroy_if_quiet(key);
        } else if connection.leaving {
            self.queue_flush(key);
        } else if connection.held_first == NO_BUFFER && !connection.input_ended && !connection.starved {
            self.arm_receive(key);
        } else if !connection.starved {
            self.poll_end(key);
        }
    }

    /// Arms the receives that ended for want of buffers, once the kernel has some.
    pub(super) fn rearm_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        self.dispatch.reclaim_bodies_if_dry();
        self.post_buffers();
        let mut starved = core::mem::take(&mut self.starved);
        starved.retain(|key| {
            let Some(connection) = self.connections.get_mut(*key) else { return false };
            let (long, keeps) = (connection.receives_long(), connection.keeps_long());
            // As `receive_body` chooses: armed for a kind that is not there, it would only come back at once.
            let small = self.dispatch.side.buffers.small.any_posted() && self.dispatch.side.buffers.spares_small(keeps);
            let posted = connection.takes_nothing() || small || (long && self.dispatch.side.buffers.large.any_posted());
            if posted {
                connection.starved = false;
                self.arm_receive(*key);
                // Its client has all its time again.
                self.set_timer(*key);
            } else {
                // It may take long: a client that leaves is to be noticed.
                self.poll_end(*key);
            }
            !posted
        });
        self.starved = starved;
    }

    /// Input that has just arrived.
    #[inline]
    fn receive_input(&mut self, key: Key, input: Input<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.held_first != NO_BUFFER {
            return self.hold(key, input, false);
        }
        if let Some(rest) = self.take_requests(key, input) {
            self.hold(key, rest, false);
        }
    }

    /// Takes every request that is there; gives back what can only be taken later.
    fn take_requests<'a>(&mut self, key: Key, all: Input<'a>) -> Option<Input<'a>> {
        let mut used = 0;
        while used < all.len() {
            let input = all.after(used);
            let connection = self.connections.get_mut(key)?;
            let admission = connection.machine.admission(self.settings.pipeline_max);
            let taken = match admission {
                _ if connection.has_incoming() => self.take_body(key, input),
                Admission::Never => self.throw_away(key),
                _ if connection.pending => self.extend_head(key, input),
                Admission::Later => Taken::Later,
                Admission::Now => self.take_in_place(key, input),
            };
            match taken {
                Taken::Bytes(bytes) => used += bytes,
                Taken::Later => return Some(input),
                Taken::Over => return None,
            }
        }
        None
    }

    /// Gives up on the head under way, if there is one.
    pub(super) fn drop_pending(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pending = false;
        connection.continue_owed = false;
        if let Some(cell) = connection.assembly.take() {
            self.dispatch.side.cells.assembly.give(cell);
        }
    }

    /// A slot for a request of a connection; without one the client is asked to come back.
    #[inline]
    pub(super) fn slot_for(&mut self, key: Key) -> Result<u32, Taken> {
        self.dispatch.side.allocate().ok_or_else(|| self.out_of_slots(key))
    }

    #[cold]
    fn out_of_slots(&mut self, key: Key) -> Taken {
        let Some(connection) = self.connections.get_mut(key) else { return Taken::Over };
        // An answer under way frees a slot when it is sent.
        let answering = connection.machine.in_flight() > 0 || connection.sending != Sending::No;
        if answering && !connection.pending {
            return Taken::Later;
        }
        self.drop_pending(key);
        self.refuse_overloaded(key);
        Taken::Over
    }

    /// No assembly cell is left for a request; its slot, if it has one, is free again.
    #[cold]
    pub(super) fn out_of_cells(&mut self, key: Key, slot: u32) -> Taken {
        self.counters.input_overflows.count();
        if slot != NONE {
            self.dispatch.side.free(slot);
        }
        self.refuse_overloaded(key);
        Taken::Over
    }

    /// Takes the request at the start of the input, if it is whole.
    #[inline]
    fn take_in_place(&mut self, key: Key, input: Input<'_>) -> Taken {
        let slot = match self.slot_for(key) {
            Ok(slot) => slot,
            Err(taken) => return taken,
        };
        let (bytes, record, mut scratch) = self.dispatch.side.parse_view(input.into(), slot);
        match head::parse(bytes, &self.settings.limits, &mut record.head) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) => {
                self.dispatch.side.free(slot);
                return self.begin_assembly(key, input);
            }
            Err(reject) => {
                record.head.method = Method::begun(bytes);
                return self.refuse_unread(key, slot, reject);
            }
        }
        let (memo, cooked) = (&mut self.host_memo, &mut record.cooked);
        if let Err(reject) = url::cook_with(bytes, &record.head, || scratch.bytes(), memo, cooked) {
            return self.refuse_unread(key, slot, reject);
        }
        let len = u32::from(record.head.head_len);
        let has_body = !matches!(record.head.body, BodyLength::None);
        (record.wire_bytes, record.body_open) = (u64::from(len), false);
        (record.body_start, record.body_len) = (len, 0);
        let Some(connection) = self.connections.get_mut(key) else {
            self.dispatch.side.free(slot);
            return Taken::Over;
        };
        let origin = (&*connection, self.dispatch.origin.connection(key.generation, key.index));
        let addressed =
            address(origin, &self.dispatch.routes, (self.stopping.is_some(), &self.settings), bytes, record, scratch);
        if has_body {
            return self.take_with_body(key, input, slot, addressed);
        }
        if !self.pin(input, slot, len) {
            return self.out_of_cells(key, slot);
        }
        if self.deliver(key, slot, addressed, false) { Taken::Bytes(len) } else { Taken::Later }
    }

    /// Keeps the first bytes of the input for the request in a slot: where they are, or copied out when buffers of
    /// their kind are short. `false`: there is no room for that either.
    #[inline(always)]
    fn pin(&mut self, input: Input<'_>, slot: u32, len: u32) -> bool {
        let is_large = self.dispatch.side.buffers.is_large(input.buffer());
        let pool = if is_large { &self.dispatch.side.buffers.large } else { &self.dispatch.side.buffers.small };
        if pool.pressed() {
            return self.pin_copy(input, slot, len);
        }
        self.dispatch.side.pin(slot, input.first(len));
        true
    }

    /// As [`pin`](Self::pin), with few buffers left of the kind.
    #[cold]
    fn pin_copy(&mut self, input: Input<'_>, slot: u32, len: u32) -> bool {
        // A large one is not worth a cell if it stays in use all the same, or if heads in pieces need the last cells.
        let is_alone = len == input.len() && !self.dispatch.side.buffers.is_shared(input);
        let fits = len <= self.dispatch.side.arena().cell_bytes(Area::Assembly);
        let is_large = self.dispatch.side.buffers.is_large(input.buffer());
        if is_large && !(is_alone && fits && self.dispatch.side.cells.assembly.has_many()) {
            self.dispatch.side.pin(slot, input.first(len));
            return true;
        }
        let Some(mut cell) = self.dispatch.side.cells.assembly.take() else { return false };
        self.counters.copies.count();
        self.dispatch.side.copy_to_cell(input.first(len), &mut cell, 0);
        self.dispatch.side.pin_cell(slot, cell, len);
        true
    }

    /// As [`pin`](Self::pin), for those with a body.
    pub(super) fn pin_uncommon(&mut self, input: Input<'_>, slot: u32, len: u32) -> bool {
        self.pin(input, slot, len)
    }

    /// Refuses the request at the start of the input; the rest of the input is not read.
    #[cold]
    pub(super) fn refuse_unread(&mut self, key: Key, slot: u32, reject: Reject) -> Taken {
        self.refuse_pending(key, slot, reject);
        Taken::Over
    }

    /// Gives up on the request under way and answers it; the connection ends after that.
    pub(super) fn refuse_pending(&mut self, key: Key, slot: u32, reject: Reject) {
        // It may have a part of a body already.
        self.dispatch.side.forget_request(slot);
        let is_http10 = self.dispatch.side.record(slot).is_http10();
        self.dispatch.slots[slot as usize] = SlotState { connection: key, is_http10, ..SlotState::FREE };
        self.drop_pending(key);
        self.refuse(key, slot, reject, false);
    }

    /// Keeps input that cannot be taken yet, in front of or behind what is held already.
    #[cold]
    fn hold(&mut self, key: Key, input: Input<'_>, in_front: bool) {
        if self.dispatch.side.buffers.small.pressed() && !in_front {
            // Clients that send on without waiting for answers must not take the buffers of all others.
            self.counters.input_overflows.count();
            return self.abort(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let buffer = input.buffer();
        let place = &mut self.held[usize::from(buffer)];
        assert!(place.share.is_none(), "a connection holds what it received once");
        let share = Some(self.dispatch.side.buffers.share(input));
        *place = Held { share, next: NO_BUFFER, start: input.start(), end: input.end() };
        if connection.held_first == NO_BUFFER {
            connection.held_first = buffer;
            connection.held_last = buffer;
        } else if in_front {
            place.next = connection.held_first;
            connection.held_first = buffer;
        } else {
            self.held[usize::from(connection.held_last)].next = buffer;
            connection.held_last = buffer;
        }
        connection.held_count += 1;
        if connection.held_count >= HELD_MAX {
            self.stop_receive(key);
        }
    }

    /// Takes the oldest held input: the buffer's share and where in it the input begins and ends.
    pub(super) fn pop_held(&mut self, key: Key) -> Option<(Share, u32, u32)> {
        let connection = self.connections.get_mut(key)?;
        let held = self.held.get_mut(usize::from(connection.held_first))?;
        let share = held.share.take()?;
        connection.held_first = held.next;
        connection.held_count -= 1;
        Some((share, held.start, held.end))
    }

    /// Goes on with held input after answers have made room, and with receiving once none is left.
    #[cold]
    pub(super) fn resume_input(&mut self, key: Key) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if connection.closing {
                return;
            }
            if connection.held_first == NO_BUFFER {
                break;
            }
            let under_way = connection.pending || connection.has_incoming();
            if !under_way && connection.machine.admission(self.settings.pipeline_max) == Admission::Later {
                return;
            }
            let Some((share, start, end)) = self.pop_held(key) else { break };
            let input = self.dispatch.side.arena().input(&share, start, end);
            let rest = self.take_requests(key, input);
            let is_left = rest.is_some();
            if let Some(rest) = rest {
                self.hold(key, rest, true);
            }
            self.dispatch.side.buffers.release(share);
            if is_left {
                return;
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.input_ended {
            self.end_of_input(key);
        } else if !connection.starved {
            self.arm_receive(key);
        }
    }
}

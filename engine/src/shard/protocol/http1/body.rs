//! Bodies come in: behind their requests, which are delivered before them, as far as the credit of each reaches.
//!
//! Invariants:
//! * A request has its part of a body that came in one buffer with its head there; what comes later is a chain of
//!   buffers (`queue::body`), in place, chunks decoded and moved together. Small pieces are copied behind one another,
//!   so that a client that sends byte by byte holds no more buffers than its bytes fill.
//! * No more than the credit is received and not read. Then receiving stops, and TCP pushes back.
//! * Long bodies are received one piece at a time into large buffers, chosen by the kernel when the bytes are there: a
//!   slow client holds none while it is awaited.
//! * A body that nobody will read is thrown away, within bounds, so that the next request is found behind it.
//!
//! Not here: how bodies are read (rooms `queue` and `api`).

use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::reject::Reject;

use super::Http1;
use super::input::Taken;
use super::state::{BodySize, GoAhead, Incoming, Intake, Reader, RestOfBody};
use crate::conn::AfterSend;
use crate::driver::Io;
use crate::mem::Input;
use crate::queue::Slot;
use crate::record::{DISCARDED_BYTES_MAX, UNTOLD};
use crate::shard::dispatch::{Dispatch, NoCell};
use crate::shard::protocol::Protocol;
use crate::shard::transport::{Awaited, Kept, Resource};

/// What is in chunks.
pub(super) enum ChunkPart<'a> {
    Data(Input<'a>),
    /// Of the trailer section.
    Trailer(Input<'a>),
}

impl<I: Io> Protocol<I> {
    /// From now on input is of a body: that of a slot, or one that is thrown away.
    pub(super) fn begin_body(
        &mut self,
        connection: &mut Http1,
        slot: Option<Slot>,
        incoming: Incoming,
        go_ahead: GoAhead,
    ) {
        if slot.is_none() && connection.machine.takes_no_more() {
            return;
        }
        let reader = slot.map_or(Reader::Nobody, Reader::Slot);
        connection.intake = Intake::Body(RestOfBody::new(incoming, reader, go_ahead));
        (connection.body_size, connection.discarded) = (incoming.size(), 0);
        if connection.body_size == BodySize::Long || self.dispatch.buffers().small.is_short() {
            self.transport.stop_receive(&mut connection.link.socket);
        }
        self.set_timer(connection);
    }

    /// Bytes of a body that a connection may have received and not read.
    #[inline]
    pub(super) fn body_credit(&self, connection: &Http1) -> u32 {
        self.dispatch.policy(connection.link.policy).body_credit
    }

    /// Bytes of a body that may come now; without any, the reader is to tell when there are.
    fn note_room(connection: &mut Http1, slot: Slot, room: u64) {
        if let Intake::Body(body) = &mut connection.intake {
            body.reader = if room == 0 { Reader::Paused(slot) } else { Reader::Slot(slot) };
        }
    }

    /// More of the body under way.
    pub(super) fn take_body(&mut self, connection: &mut Http1, input: Input<'_>) -> Taken {
        let Intake::Body(body) = &mut connection.intake else { return Taken::Over };
        body.go_ahead = GoAhead::NotAwaited;
        let RestOfBody { incoming, reader, .. } = *body;
        if let Reader::Engine(slot) = reader {
            return self.gather(connection, slot, input, incoming);
        }
        let Some(slot) = reader.slot() else { return self.discard_body(connection, input, incoming) };
        let room = self.dispatch.room_or_pause(slot, self.body_credit(connection));
        Self::note_room(connection, slot, room);
        if room == 0 {
            self.set_timer(connection);
            return Taken::Later;
        }
        self.dispatch.body_comes(slot);
        let most = u32::try_from(room).unwrap_or(u32::MAX).min(input.len());
        let taken = match incoming {
            Incoming::Length { missing } => self.take_length(connection, slot, input.first(most), missing),
            Incoming::Chunked { decoder } => self.take_chunks(connection, slot, input.first(most), decoder),
        };
        // Of what is malformed nobody can say where it ends.
        self.dispatch.body_has_come(slot, taken.unwrap_or(most));
        match taken {
            Ok(0) => self.out_of_cells_for_trailers(connection),
            Ok(bytes) => {
                self.set_timer(connection);
                Taken::Bytes(bytes)
            }
            Err(reject) => {
                self.body_failed(connection, reject);
                Taken::Over
            }
        }
    }

    fn take_length(
        &mut self,
        connection: &mut Http1,
        slot: Slot,
        input: Input<'_>,
        missing: u64,
    ) -> Result<u32, Reject> {
        let len = u32::try_from(missing).unwrap_or(u32::MAX).min(input.len());
        self.dispatch.append_body(slot, input.first(len))?;
        self.body_goes_on(connection, slot, Incoming::of_length(missing - u64::from(len)));
        Ok(len)
    }

    fn take_chunks(
        &mut self,
        connection: &mut Http1,
        slot: Slot,
        input: Input<'_>,
        decoder: Decoder,
    ) -> Result<u32, Reject> {
        let key = connection.key();
        let (used, incoming) = self.decode_chunks(input, decoder, |dispatch, part| match part {
            ChunkPart::Data(piece) => dispatch.append_body(slot, piece).map(|()| true),
            ChunkPart::Trailer(piece) => Ok(dispatch.keep_trailers(slot, piece, Some(key))),
        })?;
        connection.note_growth(self.transport.tick);
        self.body_goes_on(connection, slot, incoming);
        Ok(used)
    }

    /// Decodes chunks, and hands on what is in them, up to what can only be taken later (`false`). Gives the bytes
    /// used, and what is still to come.
    pub(super) fn decode_chunks<'a>(
        &mut self,
        input: Input<'a>,
        mut decoder: Decoder,
        mut hand_on: impl FnMut(&mut Dispatch, ChunkPart<'a>) -> Result<bool, Reject>,
    ) -> Result<(u32, Option<Incoming>), Reject> {
        let mut used = 0;
        while used < input.len() {
            let (rest, before) = (input.after(used), decoder);
            let (consumed, step) = decoder.step(self.dispatch.input(rest), &self.settings.limits)?;
            let part = match step {
                Step::NeedMore => None,
                Step::Data { start, len } => Some(ChunkPart::Data(rest.part(start, len))),
                Step::Trailer { start, len } => Some(ChunkPart::Trailer(rest.part(start, len))),
                Step::Done => return Ok((used + u32::try_from(consumed).unwrap_or(u32::MAX), None)),
            };
            if let Some(part) = part
                && !hand_on(&mut self.dispatch, part)?
            {
                return Ok((used, Some(Incoming::Chunked { decoder: before })));
            }
            used += u32::try_from(consumed).unwrap_or(u32::MAX);
        }
        Ok((used, Some(Incoming::Chunked { decoder })))
    }

    fn body_goes_on(&mut self, connection: &mut Http1, slot: Slot, incoming: Option<Incoming>) {
        connection.body_goes_on(incoming);
        if incoming.is_none() {
            self.dispatch.finish_body(slot);
        }
    }

    /// Somebody waits for a body: its client may do so, too.
    pub(crate) fn http1_body_is_wanted(&mut self, connection: &mut Http1, slot: Slot) {
        if connection.waits_to_continue(slot)
            && let Intake::Body(body) = &mut connection.intake
        {
            body.go_ahead = GoAhead::Owed;
            self.queue_flush(&mut connection.link);
        }
    }

    /// Whether a connection can go on behind a body that nobody reads: its end is near, and the client sends it.
    pub(super) fn can_discard(incoming: &Incoming, expects: bool) -> bool {
        match incoming {
            Incoming::Length { missing } => !expects && *missing <= u64::from(DISCARDED_BYTES_MAX),
            Incoming::Chunked { .. } => !expects,
        }
    }

    /// Throws a part of a body away.
    #[cold]
    fn discard_body(&mut self, connection: &mut Http1, input: Input<'_>, incoming: Incoming) -> Taken {
        let used = match incoming {
            Incoming::Length { missing } => {
                let len = u32::try_from(missing).unwrap_or(u32::MAX).min(input.len());
                self.thrown_away(connection, len);
                return Taken::Bytes(len);
            }
            Incoming::Chunked { decoder } => match self.decode_chunks(input, decoder, |_, _| Ok(true)) {
                Ok((used, incoming)) => {
                    connection.body_goes_on(incoming);
                    used
                }
                Err(reject) => {
                    self.body_failed(connection, reject);
                    return Taken::Over;
                }
            },
        };
        if !connection.discard(used) {
            // The next request is too far away.
            self.body_failed(connection, Reject::BodyTooLarge);
            return Taken::Over;
        }
        self.set_timer(connection);
        Taken::Bytes(used)
    }

    /// A trailer section has no cell: its input waits for one, unless its client has its share of them and many
    /// connections.
    #[cold]
    pub(super) fn out_of_cells_for_trailers(&mut self, connection: &mut Http1) -> Taken {
        let lack = self.dispatch.may_assemble(connection.key()).err().unwrap_or(NoCell::Now);
        if lack == NoCell::Crowd {
            self.counters.cell_shares_refused.count();
            self.body_failed(connection, Reject::Overloaded);
            return Taken::Over;
        }
        self.take_later(connection, lack.resource())
    }

    /// The body under way is malformed, too long, too late or cut: its client is told, unless it has been answered, and
    /// the connection ends.
    #[cold]
    pub(in crate::shard::protocol) fn body_failed(&mut self, connection: &mut Http1, reject: Reject) {
        if let Some(slot) = connection.gathered() {
            return self.gathering_failed(connection, slot, reject);
        }
        let reader = connection.end_body();
        connection.machine.finish();
        // What it has of others' is of no use any more.
        self.forget_input(connection);
        let Some(slot) = reader.slot() else { return self.end_after_responses(connection) };
        // The response first: a reader that is told drops its request, and the client would get 500 for its own fault.
        let is_ours = !self.dispatch.state(slot).is_answered() && self.dispatch.claim_response(slot);
        self.dispatch.fail_body(slot, if is_ours { reject as u8 } else { reject as u8 | UNTOLD });
        if is_ours {
            self.refuse_published(slot, reject);
            self.queue_flush(&mut connection.link);
        } else {
            self.note_last(slot, true);
        }
        self.set_timer(connection);
    }

    /// Ends a connection that takes no more requests, now if it owes nothing.
    pub(super) fn end_after_responses(&mut self, connection: &mut Http1) {
        if connection.machine.in_flight() > 0 || connection.link.socket.sends() {
            return;
        }
        match connection.machine.sent(connection.link.socket.has_ended()) {
            AfterSend::Drain => self.drain(connection),
            AfterSend::Close => self.close(&mut connection.link),
            AfterSend::GoOn => {}
        }
    }

    /// What more is awaited.
    pub(crate) fn http1_awaited(&self, connection: &Http1) -> Awaited {
        match &connection.intake {
            _ if connection.takes_nothing() => Awaited::Unwanted,
            Intake::Body(body) => {
                let kept = match body.reader {
                    Reader::Engine(_) => Kept::Ahead,
                    reader => self.kept_for(reader.slot()),
                };
                if connection.receives_long() { Awaited::Long(kept) } else { Awaited::Short(kept) }
            }
            _ => Awaited::Head,
        }
    }

    /// Receives more, the way that what is awaited is best received.
    pub(super) fn receive_body(&mut self, connection: &mut Http1) {
        let Intake::Body(RestOfBody { reader, incoming, .. }) = connection.intake else { return };
        if let Reader::Engine(slot) = reader {
            return self.receive_gathered(connection, slot, incoming);
        }
        let room = match reader.slot() {
            Some(slot) => {
                let room = self.dispatch.receivable_or_pause(slot, self.body_credit(connection));
                Self::note_room(connection, slot, room);
                if room == 0 && self.dispatch.is_body_read(slot) {
                    self.transport.await_resource(&mut connection.link.socket, Resource::LargeBuffer);
                }
                room
            }
            None => u64::from(u32::MAX),
        };
        if room > 0 {
            let awaited = self.http1_awaited(connection);
            let missing = if let Incoming::Length { missing } = incoming { missing } else { u64::MAX };
            self.receive_piece(&mut connection.link, room.min(missing), reader.slot(), awaited);
        }
        if room == 0 || connection.link.socket.waits_for().is_some() {
            self.poll_end(connection);
            self.set_timer(connection);
        } else if reader.is_paused() {
            // From now on it is the client who is awaited.
            self.set_timer(connection);
        }
    }
}

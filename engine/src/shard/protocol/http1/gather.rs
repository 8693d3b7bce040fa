//! Whole bodies first: a request whose group wants so is delivered when its body is whole, or is longer than is waited
//! for.
//!
//! Invariants:
//! * Until then its slot is in nobody's list: no consumer, id or response finds it, and whatever ends the body or its
//!   connection frees it here. Nothing behind it is taken meanwhile, so it keeps its place among the responses.
//! * Nothing of the rest of its body is taken before buffers for all of it are promised (`dispatch::gather`); who waits
//!   for that, in its turn, is not judged. From then on the timers of bodies run. Clients whose addresses have less
//!   than their share come before others.
//!
//! Not here: bodies that come behind their requests (`body`), and how a request is delivered (`deliver`).

use ringress_proto::reject::Reject;

use super::Http1;
use super::body::ChunkPart;
use super::deliver::{Addressed, Rest};
use super::input::Taken;
use super::state::{BodySize, GoAhead, Incoming, Intake, Reader, RestOfBody};
use crate::conn::Exclusivity;
use crate::driver::Io;
use crate::id::QueuePlace;
use crate::mem::Input;
use crate::policy::PolicyKey;
use crate::queue::Slot;
use crate::shard::protocol::Protocol;
use crate::shard::transport::Resource;
use crate::slab::ConnectionKey;

impl<I: Io> Protocol<I> {
    /// The queue to which a request whose body is `incoming` is delivered only when that is whole, if it is.
    pub(super) fn gathers(&self, slot: Slot, addressed: &Addressed, incoming: &Incoming) -> Option<QueuePlace> {
        let most = self.dispatch.policy(addressed.policy).whole_max;
        let here = self.dispatch.request(slot).body_len;
        let fits = match incoming {
            Incoming::Length { missing } => u64::from(here) + missing <= u64::from(most),
            Incoming::Chunked { .. } => here < most,
        };
        let waits = most > 0 && fits && addressed.exclusivity != Exclusivity::Upgrade;
        addressed.queue.ok().filter(|_| waits)
    }

    /// From now on input is of the body of a request that is delivered when that is whole.
    pub(super) fn begin_gathering(
        &mut self,
        connection: &mut Http1,
        slot: Slot,
        (queue, policy): (QueuePlace, PolicyKey),
        incoming: Incoming,
        expects: bool,
    ) {
        self.dispatch.begin_gathering(slot, queue, connection.key(), self.transport.tick);
        connection.link.policy = policy;
        let go_ahead = if expects { GoAhead::Awaited } else { GoAhead::NotAwaited };
        connection.intake = Intake::Body(RestOfBody::new(incoming, Reader::Engine(slot), go_ahead));
        (connection.body_size, connection.discarded) = (incoming.size(), 0);
        if connection.body_size == BodySize::Long || self.dispatch.buffers().small.is_short() {
            self.transport.stop_receive(&mut connection.link.socket);
        }
        self.has_promise(connection, slot, incoming);
        self.set_timer(connection);
    }

    /// Whether buffers are promised to the body, or can be now. If not, its connection waits in its turn.
    fn has_promise(&mut self, connection: &mut Http1, slot: Slot, incoming: Incoming) -> bool {
        if self.dispatch.is_promised(slot) {
            return true;
        }
        let bytes = self.bytes_to_promise(connection.link.policy, slot, incoming);
        if let Some(lacking) = self.lacks_promise_for(connection.key(), bytes) {
            self.transport.await_resource(&mut connection.link.socket, lacking);
            return false;
        }
        self.dispatch.promise(slot, bytes, self.transport.tick);
        if let Intake::Body(body) = &mut connection.intake
            && body.go_ahead == GoAhead::Awaited
        {
            // It is the engine that waits.
            body.go_ahead = GoAhead::Owed;
            self.queue_flush(&mut connection.link);
        }
        true
    }

    /// The bytes of a body, or, where nobody has said how many these are, as many as are awaited.
    fn bytes_to_promise(&self, policy: PolicyKey, slot: Slot, incoming: Incoming) -> u32 {
        match incoming {
            Incoming::Length { missing } => {
                self.dispatch.request(slot).body_len.saturating_add(u32::try_from(missing).unwrap_or(u32::MAX))
            }
            // It may have been changed meanwhile to none.
            Incoming::Chunked { .. } => self.dispatch.policy(policy).whole_max.max(1),
        }
    }

    /// For how many bytes a request needs a promise whose body, if it has one, is all still to come.
    pub(super) fn bytes_to_be_promised(&self, slot: Slot, addressed: &Addressed) -> u32 {
        let incoming = Incoming::of(self.dispatch.request(slot).head.body);
        let awaited = incoming.filter(|incoming| self.gathers(slot, addressed, incoming).is_some());
        awaited.map_or(0, |incoming| self.bytes_to_promise(addressed.policy, slot, incoming))
    }

    /// What a connection waits for whose body is awaited whole and has no promise, if it cannot have one now.
    pub(crate) fn lacks_promise(&self, connection: &Http1) -> Option<Resource> {
        let bytes = match &connection.intake {
            Intake::Body(RestOfBody { incoming, reader: Reader::Engine(slot), .. }) => {
                self.bytes_to_promise(connection.link.policy, *slot, *incoming)
            }
            Intake::Head(head) => head.unpromised,
            _ => return None,
        };
        self.lacks_promise_for(connection.key(), bytes)
    }

    /// What a connection waits for whose request needs a promise for so many bytes, if it cannot have one now.
    pub(super) fn lacks_promise_for(&self, key: ConnectionKey, bytes: u32) -> Option<Resource> {
        if bytes == 0 {
            return None;
        }
        let is_below = self.dispatch.is_below_promises(key, bytes);
        let resource = if is_below { Resource::ReservedPromise } else { Resource::Promise };
        let first = self.transport.waiting.first(resource);
        let is_behind = first.is_some_and(|first| first != key.index) && self.turn_of != Some(key);
        (is_behind || !self.dispatch.may_promise(bytes, is_below)).then_some(resource)
    }

    /// More of the body.
    pub(super) fn gather(&mut self, connection: &mut Http1, slot: Slot, input: Input<'_>, incoming: Incoming) -> Taken {
        if !self.has_promise(connection, slot, incoming) {
            self.set_timer(connection);
            return Taken::Later;
        }
        let key = connection.key();
        let taken = match incoming {
            Incoming::Length { missing } => {
                let len = u32::try_from(missing).unwrap_or(u32::MAX).min(input.len());
                let rest = Incoming::of_length(missing - u64::from(len));
                self.dispatch.append_body(slot, input.first(len)).map(|()| (len, rest))
            }
            Incoming::Chunked { decoder } => self.decode_chunks(input, decoder, |dispatch, part| match part {
                ChunkPart::Data(piece) => dispatch.append_body(slot, piece).map(|()| true),
                ChunkPart::Trailer(piece) => Ok(dispatch.keep_trailers(slot, piece, Some(key))),
            }),
        };
        match taken {
            Ok((0, _)) => self.out_of_cells_for_trailers(connection),
            Ok((bytes, rest)) => {
                connection.note_growth(self.transport.tick);
                let is_longer = self.dispatch.has_gathered(slot, bytes, self.transport.tick);
                if rest.is_none() {
                    self.dispatch.finish_body(slot);
                }
                connection.body_goes_on(rest);
                if rest.is_none() || is_longer {
                    self.deliver_gathered(connection, slot, rest);
                } else {
                    self.set_timer(connection);
                }
                Taken::Bytes(bytes)
            }
            Err(reject) => {
                self.body_failed(connection, reject);
                Taken::Over
            }
        }
    }

    /// Delivers the request, with the `rest` of its body still to come.
    fn deliver_gathered(&mut self, connection: &mut Http1, slot: Slot, rest: Option<Incoming>) {
        connection.end_body();
        self.dispatch.end_gathering(slot);
        if connection.machine.takes_no_more() {
            // A response before it was the last.
            self.dispatch.discard(slot);
            return self.set_timer(connection);
        }
        let record = self.dispatch.request(slot);
        let policy = connection.link.policy;
        let addressed = Addressed {
            // What has changed since its head came holds for it.
            queue: self.dispatch.queue_of_gathered(slot, policy),
            policy,
            exclusivity: if record.head.method_is_safe { Exclusivity::Shared } else { Exclusivity::UntilAnswered },
            keep_alive: record.keep_alive && !self.stop.has_begun(),
            is_http10: record.is_http10(),
            rest: Rest::touched(rest.is_none_or(|rest| Self::can_discard(&rest, false))),
        };
        let now = self.dispatch.as_it_came(slot);
        let taken = self.deliver(connection, (slot, None), addressed, true);
        self.dispatch.set_arrived(now);
        debug_assert!(taken, "queued or refused");
        if let Some(incoming) = rest {
            let reader = if self.dispatch.state(slot).is_answered() { None } else { Some(slot) };
            self.begin_body(connection, reader, incoming, GoAhead::NotAwaited);
        }
    }

    /// Receives more of the body, once buffers are promised to it.
    pub(super) fn receive_gathered(&mut self, connection: &mut Http1, slot: Slot, incoming: Incoming) {
        if self.has_promise(connection, slot, incoming) {
            if self.turn_of == Some(connection.key()) {
                let waited = connection.link.socket.giving.rested(self.transport.tick);
                self.dispatch.excuse_pace(slot, self.transport.tick, waited);
            }
            let awaited = self.http1_awaited(connection);
            let missing = if let Incoming::Length { missing } = incoming { missing } else { u64::MAX };
            self.receive_piece(&mut connection.link, missing, None, awaited);
        }
        if connection.link.socket.waits_for().is_some() {
            self.poll_end(connection);
            self.set_timer(connection);
        }
    }

    /// The body is malformed, too long, too late or cut: its request is refused, and delivered to nobody.
    #[cold]
    pub(super) fn gathering_failed(&mut self, connection: &mut Http1, slot: Slot, reject: Reject) {
        self.forget_input(connection);
        if connection.machine.takes_no_more() {
            self.drop_gathered(connection);
            return self.end_after_responses(connection);
        }
        connection.end_body();
        self.dispatch.end_gathering(slot);
        // What has come of it counts, though the slot gives it up.
        let bytes = self.dispatch.request_bytes(slot);
        self.refuse_begun(connection, slot, reject);
        self.dispatch.request_mut(slot).wire_bytes = bytes;
    }

    /// The body under way makes room for others: it comes too slowly, or has found no cell in all the time.
    pub(crate) fn give_gathered_up(&mut self, connection: &mut Http1) {
        let waits = connection.link.socket.waits_for().is_some();
        self.body_failed(connection, if waits { Reject::Overloaded } else { Reject::BodyTimeout });
    }

    /// Nobody waits for the body under way any more, if it is awaited whole: its request was nobody's.
    pub(crate) fn drop_gathered(&mut self, connection: &mut Http1) {
        if let Some(slot) = connection.gathered() {
            connection.end_body();
            self.dispatch.end_gathering(slot);
            self.dispatch.discard(slot);
        }
    }
}

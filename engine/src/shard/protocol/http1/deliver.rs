//! A request finds its queue: when its head is whole, before its body.
//!
//! Invariants: whatever is delivered or refused here goes to the end of its connection's list of responses; a request
//! waits for room in its queue only while its connection has others under way and nothing behind its head was changed;
//! then its slot is given back, and its head read again later.
//!
//! Not here: finding heads in what is received (`input`, `assembly`), the rest of a body (`body`), the routes (room
//! `route`), and how a refusal is written (`refuse`).

use ringress_proto::chunked::Decoder;
use ringress_proto::framing::BodyLength;
use ringress_proto::head::{self, Parse};
use ringress_proto::method::Method;
use ringress_proto::reject::Reject;
use ringress_proto::url;

use super::Http1;
use super::body::ChunkPart;
use super::input::Taken;
use super::state::{AnswerNote, GoAhead, Incoming};
use crate::conn::Exclusivity;
use crate::driver::Io;
use crate::id::QueuePlace;
use crate::mem::{Extent, Input};
use crate::policy::PolicyKey;
use crate::queue::{ShortBytes, Slot};
use crate::shard::dispatch::{SlotState, View};
use crate::shard::protocol::Protocol;
use crate::slab::ConnectionKey;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressed {
    pub(super) queue: Result<QueuePlace, Reject>,
    pub(super) policy: PolicyKey,
    pub(super) exclusivity: Exclusivity,
    pub(super) keep_alive: bool,
    pub(super) is_http10: bool,
    pub(super) rest: Rest,
}

/// How it is about what follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing of it has been taken or changed: with a full queue, the request can wait; and it can be thrown away.
    Untouched,
    /// It can be thrown away: a refusal keeps the connection.
    Passable,
    /// The connection ends with a refusal.
    Impassable,
}

impl Rest {
    /// Something of it may have been taken.
    pub(super) fn touched(is_passable: bool) -> Self {
        if is_passable { Self::Passable } else { Self::Impassable }
    }
}

impl Addressed {
    /// A copy for a call that few requests make: what a call is lent is put together in memory, before it is known
    /// whether the call is made.
    #[inline(always)]
    pub(super) fn apart(&self) -> Self {
        Self { ..*self }
    }
}

/// A head that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadRead {
    pub(super) head_len: u32,
    pub(super) body: BodyLength,
    pub(super) addressed: Addressed,
}

/// The beginning of a body, in the buffer that the head is in. Places count from the head's first byte.
struct Prefix {
    /// Bytes of head and body on the wire.
    used: u32,
    /// Where the body is, without chunk framing.
    start: u32,
    len: u32,
    /// What is still to come.
    incoming: Option<Incoming>,
}

impl<I: Io> Protocol<I> {
    /// Reads the head at the beginning of these bytes into the record of a slot that is not published, with what its
    /// connection and the routes know of it. `None`: it is not whole.
    ///
    /// Inlined in any case: a call with so much to pass costs 40 of the 130 instructions (`turn/colocated-64/16`).
    #[inline(always)]
    pub(super) fn read_request(
        &mut self,
        connection: &Http1,
        slot: Slot,
        extent: Extent<'_>,
    ) -> Result<Option<HeadRead>, Reject> {
        if connection.is_proxied {
            self.dispatch.note_transport_peer(slot, connection.key());
        }
        let View { bytes, record, mut scratch, routes, origin } = self.dispatch.view(extent, slot);
        match head::parse(bytes, &self.settings.limits, &mut record.head) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) => return Ok(None),
            Err(reject) => {
                record.head.method = Method::begun(bytes);
                record.unroute();
                return Err(reject);
            }
        }
        let cooked = url::cook_with(bytes, &record.head, || scratch.bytes(), &mut self.host_memo, &mut record.cooked);
        if let Err(reject) = cooked {
            record.unroute();
            return Err(reject);
        }
        let head_len = u32::from(record.head.head_len);
        (record.wire_bytes, record.body_open) = (u64::from(head_len), false);
        (record.body_start, record.body_len) = (head_len, 0);
        let key = connection.key();
        record.connection = origin.connection(key.generation(), key.index);
        (record.peer, record.local) = (connection.peer, connection.local);
        record.is_proxied = connection.is_proxied;
        record.keep_alive = record.head.keep_alive() && !self.stop.has_begun();
        let path = record.cooked.path(bytes, || scratch.bytes());
        let (queue, policy) = match routes.find(&connection.local, record.cooked.host.of(bytes), path) {
            Ok(found) => {
                record.group = found.group_id();
                record.url_context = found.target.context;
                record.routed = found.target.routed;
                record.send_credit = found.group.policy.send_credit;
                (found.group.queue, found.policy())
            }
            Err(reject) => {
                record.unroute();
                (Err(reject), connection.link.policy)
            }
        };
        let exclusivity = match record.head.method_is_safe {
            _ if record.head.asks_upgrade() => Exclusivity::Upgrade,
            true => Exclusivity::Shared,
            false => Exclusivity::UntilAnswered,
        };
        let is_refused = exclusivity != Exclusivity::Shared && record.is_connect() && !self.settings.deliver_connect;
        let queue = if is_refused { Err(Reject::ConnectUnsupported) } else { queue };
        let (keep_alive, is_http10) = (record.keep_alive, record.is_http10());
        let rest = Rest::Untouched;
        let addressed = Addressed { queue, policy, exclusivity, keep_alive, is_http10, rest };
        Ok(Some(HeadRead { head_len, body: record.head.body, addressed }))
    }

    /// Queues a request, or refuses it. `false`: nothing was taken, because the queue is full and a response under
    /// way will bring the connection back. `bytes`: see [`enqueue`](crate::shard::dispatch::Dispatch::enqueue);
    /// `in_pieces`: its head did not come at once.
    #[inline(always)]
    pub(super) fn deliver(
        &mut self,
        connection: &mut Http1,
        (slot, bytes): (Slot, Option<ShortBytes<'_>>),
        addressed: Addressed,
        in_pieces: bool,
    ) -> bool {
        let Addressed { queue, policy, exclusivity, keep_alive, is_http10, rest } = addressed;
        if exclusivity == Exclusivity::Upgrade {
            // What may come behind it has its place before anybody can read there.
            self.dispatch.open_body(slot, u64::MAX);
        }
        let note = AnswerNote::new(!keep_alive, is_http10);
        let (key, tick) = (connection.key(), self.transport.tick);
        let state = || SlotState::new(key, tick, note.0);
        loop {
            match queue.and_then(|queue| self.dispatch.enqueue(queue, (slot, bytes), policy.index, state)) {
                Ok(()) => {
                    connection.machine.request(exclusivity, keep_alive);
                    connection.link.policy = policy;
                    let first = connection.append(slot, &mut self.dispatch);
                    if in_pieces {
                        // The timer of its arrival in pieces is over.
                        self.set_timer(connection);
                    } else if first {
                        // With a request under way before it, that one's timer runs. A deadline that comes earlier, of
                        // the rest before, stays: what it means is asked then.
                        let queue_wait = self.dispatch.policy(policy).queue;
                        let deadline = self.transport.after(queue_wait);
                        self.transport.set_deadline_at_latest(&connection.link.socket, deadline);
                    }
                    return true;
                }
                Err(Reject::QueueFull) if rest == Rest::Untouched && Self::can_wait(connection) => {
                    self.dispatch.discard(slot);
                    return false;
                }
                // Another client's request has made room: it is tried again.
                Err(Reject::QueueFull) if queue.is_ok_and(|queue| self.make_place(connection, queue)) => {}
                Err(reject) => {
                    self.dispatch.stash_request(slot, bytes);
                    connection.link.policy = policy;
                    self.dispatch.set_state(slot, state());
                    let goes_on = keep_alive && rest != Rest::Impassable && !reject.closes();
                    self.refuse(connection, slot, reject, goes_on);
                    return true;
                }
            }
        }
    }

    /// Takes a request without a body whose head is longer than most.
    #[inline(never)]
    pub(super) fn take_long(
        &mut self,
        connection: &mut Http1,
        (input, len): (Input<'_>, u32),
        slot: Slot,
        addressed: Addressed,
    ) -> Taken {
        self.keep(input, slot, len);
        let is_taken = self.deliver(connection, (slot, None), addressed, false);
        if is_taken { Taken::Bytes(len) } else { Taken::Later }
    }

    /// Takes a request whose head is whole in its buffer, with as much of its body as is there.
    pub(super) fn take_with_body(
        &mut self,
        connection: &mut Http1,
        input: Input<'_>,
        slot: Slot,
        addressed: Addressed,
    ) -> Taken {
        // Looked at before chunks are decoded in place, after which the request cannot be taken a second time.
        if let Ok(queue) = addressed.queue
            && self.dispatch.is_full(queue)
            && Self::can_wait(connection)
        {
            self.dispatch.discard(slot);
            return Taken::Later;
        }
        let prefix = match self.take_prefix(slot, (input, connection.key()), addressed.policy) {
            Ok(prefix) => prefix,
            Err(reject) => return self.refuse_unread(connection, slot, reject),
        };
        let record = self.dispatch.request_mut(slot);
        record.wire_bytes = u64::from(prefix.used);
        (record.body_start, record.body_len) = (prefix.start, prefix.len);
        if !self.dispatch.is_kept(slot) {
            self.keep(input, slot, prefix.start + prefix.len);
        }
        if prefix.incoming.is_none() && self.dispatch.has_body(slot) {
            self.dispatch.finish_body(slot);
        }
        self.deliver_early(connection, slot, addressed, prefix.incoming, false);
        Taken::Bytes(prefix.used)
    }

    /// Delivers a request whose body, if it has one, is all still to come.
    pub(super) fn deliver_with_body(&mut self, connection: &mut Http1, slot: Slot, addressed: Addressed) {
        let incoming = Incoming::of(self.dispatch.request(slot).head.body);
        self.deliver_early(connection, slot, addressed, incoming, true);
    }

    /// Delivers a request before the rest of its body.
    fn deliver_early(
        &mut self,
        connection: &mut Http1,
        slot: Slot,
        mut addressed: Addressed,
        incoming: Option<Incoming>,
        in_pieces: bool,
    ) {
        self.dispatch.reset_reader(slot);
        let record = self.dispatch.request(slot);
        let (expects, here) = (record.head.expects_continue(), record.body_len);
        let expects = expects && here == 0;
        let body_max = self.dispatch.policy(addressed.policy).body_max;
        if let BodyLength::Length(length) = record.head.body
            && length > body_max
        {
            addressed.queue = addressed.queue.and(Err(Reject::BodyTooLarge));
        }
        if let Some(incoming) = &incoming {
            self.dispatch.request_mut(slot).body_open = true;
            addressed.rest = Rest::touched(Self::can_discard(incoming, expects));
            self.dispatch.open_body(slot, body_max.saturating_sub(u64::from(here)));
            self.dispatch.count_prefix(slot, here);
            if let Some(queue) = self.gathers(slot, &addressed, incoming) {
                return self.begin_gathering(connection, slot, (queue, addressed.policy), *incoming, expects);
            }
        }
        // Another shard may have filled the queue since it was looked at: then it is refused.
        addressed.rest = Rest::touched(addressed.rest != Rest::Impassable);
        let taken = self.deliver(connection, (slot, None), addressed, in_pieces);
        debug_assert!(taken, "queued or refused");
        // A refused request's body is thrown away.
        if let Some(incoming) = incoming {
            let reader = if self.dispatch.state(slot).is_answered() { None } else { Some(slot) };
            let go_ahead = if expects { GoAhead::Awaited } else { GoAhead::NotAwaited };
            self.begin_body(connection, reader, incoming, go_ahead);
        }
    }

    /// As much of a body as came with its head, chunks decoded and moved together.
    fn take_prefix(
        &mut self,
        slot: Slot,
        (input, key): (Input<'_>, ConnectionKey),
        policy: PolicyKey,
    ) -> Result<Prefix, Reject> {
        let record = self.dispatch.request(slot);
        let head_len = u32::from(record.head.head_len);
        let rest = input.after(head_len);
        let BodyLength::Length(length) = record.head.body else {
            return self.take_prefix_chunks(slot, (input, key), head_len, policy);
        };
        let len = u32::try_from(length).unwrap_or(u32::MAX).min(rest.len());
        let incoming = Incoming::of_length(length - u64::from(len));
        Ok(Prefix { used: head_len + len, start: head_len, len, incoming })
    }

    fn take_prefix_chunks(
        &mut self,
        slot: Slot,
        (input, key): (Input<'_>, ConnectionKey),
        head_len: u32,
        policy: PolicyKey,
    ) -> Result<Prefix, Reject> {
        let (body_max, whole_max) = {
            let policy = self.dispatch.policy(policy);
            (policy.body_max, policy.whole_max)
        };
        let (mut start, mut len) = (head_len, 0);
        let (used, incoming) =
            self.decode_chunks(input.after(head_len), Decoder::new(), |dispatch, part| match part {
                ChunkPart::Data(piece) if len == 0 => {
                    (start, len) = (piece.start() - input.start(), piece.len());
                    Ok(true)
                }
                ChunkPart::Data(piece) => {
                    dispatch.move_input(piece, input.after(start + len).start());
                    len += piece.len();
                    Ok(true)
                }
                ChunkPart::Trailer(piece) => {
                    if !dispatch.has_body(slot) {
                        dispatch.open_body(slot, 0);
                        // Where they stay depends on where that does which is before them.
                        let _ = dispatch.keep(slot, input.first(start + len).into());
                    }
                    // Without a cell, they are taken behind the request; of one that is awaited whole, before which a
                    // promise comes, none is kept.
                    Ok(dispatch.keep_trailers(slot, piece, (whole_max == 0).then_some(key)))
                }
            })?;
        let prefix = Prefix { used: head_len + used, start, len, incoming };
        if u64::from(prefix.len) > body_max {
            return Err(Reject::BodyTooLarge);
        }
        if incoming.is_none() && self.dispatch.has_body(slot) {
            self.dispatch.request_mut(slot).body_open = true;
            self.dispatch.count_prefix(slot, prefix.len);
        }
        Ok(prefix)
    }

    /// Whether a request that finds its queue full can wait in its receive buffer for a response of its own connection.
    fn can_wait(connection: &Http1) -> bool {
        connection.machine.in_flight() > 0
    }
}

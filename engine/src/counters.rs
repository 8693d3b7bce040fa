//! What a shard counts: written by the shard alone, read by anybody.
//!
//! Invariants: a count is a relaxed load and store by its one writer, no locked instruction; nothing that is refused,
//! dropped or cut goes uncounted.
//!
//! Not here: rates and formats.

mod latency;

use core::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::latency::ShardLatency;
pub use self::latency::{Histogram, Latency};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub(crate) struct ShardCounters {
            $(pub(crate) $name: Counter,)+
        }

        /// What an engine has counted since its start, over all shards.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Adds one shard's counts. Of one that has ended, applications still hold so many requests: nobody
            /// writes its levels any more.
            pub(crate) fn add(&mut self, shard: &ShardCounters, held: Option<u64>) {
                let mut one = Self { $($name: shard.$name.read(),)+ };
                if let Some(held) = held {
                    one.lower_to(held);
                }
                $(self.$name += one.$name;)+
            }

            /// All of them with their names, in the order of the fields: for logs and metrics.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// What is said above of each, line by line, in the same order.
            #[cfg(feature = "admin")]
            pub(crate) const DESCRIBED: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($name), &[$($doc,)+]),)+];
        }
    };
}

counters! {
    /// Connections accepted.
    connections_accepted,
    /// Connections open now.
    connections_open,
    /// Connections refused for want of a slot or a descriptor.
    connections_refused,
    /// Connections closed on arrival because as many were open as
    /// [`connections_max`](crate::ConnectionLimits::connections_max) of their listener or of the engine allows.
    over_connections_max,
    /// Connections closed on arrival because more came in a second than
    /// [`connection_rate_max`](crate::ConnectionLimits::connection_rate_max) allows.
    over_connection_rate_max,
    /// Connections closed on arrival, or when a PROXY header said whose they are, because their address had as many
    /// open as [`connections_per_address_max`](crate::ConnectionLimits::connections_per_address_max) allows.
    over_connections_per_address_max,
    /// Connections closed so because more of their address came in a second than
    /// [`connection_rate_per_address_max`](crate::ConnectionLimits::connection_rate_per_address_max) allows.
    over_connection_rate_per_address_max,
    /// Connections with nothing to do that were closed for others, when a shard had as many as it may, or no descriptor
    /// was left.
    connections_evicted,
    /// Times that one was closed so because another shard had asked for a descriptor, whose clients found none, and
    /// which had no connection with nothing to do.
    descriptors_given,
    /// Connections that were reset because the grace of a shutdown was over, with something under way.
    connections_stopped,
    /// Heads in pieces that were answered 408 for others, when the assembly buffers of heads had run out: they had not
    /// grown. (Or 503, if it was not for their clients.)
    heads_evicted,
    /// Bodies awaited whole that were answered 408 for others, when the buffers for such were promised: they came too
    /// slowly.
    bodies_evicted,
    /// Requests that were answered so for others when the assembly buffers of requests had run out: their long trailer
    /// section had not grown, or, behind a long head, their body came too slowly that was awaited whole.
    trailers_evicted,
    /// Connections that have switched protocols.
    connections_upgraded,
    /// Addresses of clients now (of IPv6 their first 64 bits) that have connections, or requests in the application's
    /// hands.
    client_addresses,
    /// Requests delivered to queues.
    requests_delivered,
    /// Request slots in use now: delivered and not yet answered, or answered and not yet sent.
    requests_open,
    /// And apart from these, slots in use now of requests whose clients have left or have their response, and which an
    /// application still has in its hands.
    requests_departed,
    /// Requests answered by applications, whose responses were handed to the socket whole.
    requests_answered,
    /// Requests that applications dropped without a response: their clients got 500.
    requests_abandoned,
    /// Requests that applications cancelled.
    requests_cancelled,
    /// Cancels that came when the request had ended already, in that very moment: it is counted as what it ended in.
    cancels_late,
    /// Requests whose clients left before the response.
    requests_disconnected,
    /// Requests that went with their connection, which had ended for the sake of another one: because that was
    /// cancelled or cut, or was answered as the last; or because its client sent more on than there was memory for.
    requests_aborted,
    /// Requests that were not answered, or whose responses were not sent whole, when the grace of a shutdown was over.
    requests_stopped,
    /// Requests whose clients took the response too slowly, and were reset.
    responses_timed_out,
    /// Requests answered by applications whose responses the socket had not taken whole when the connection broke:
    /// their clients had left.
    responses_unsent,
    /// Informational responses that were not sent: the client had left, or the final response was on its way.
    informational_dropped,
    /// Requests delivered that the engine answered in the application's place, for what came behind the head (a body
    /// that was malformed, too long or cut), or for the sake of other clients.
    requests_rejected,
    /// Requests that no consumer had taken yet, of addresses that had most, and which made room for clients that had
    /// fewer: 503. Among those that were rejected, or, before their bodies were whole, refused.
    share_refusals,
    /// Requests delivered that the engine answered in the application's place because a timer was over: no consumer
    /// took them in time, or their body came too slowly.
    requests_timed_out,
    /// Of those, requests that no consumer took in time: 503.
    queue_timeouts,
    /// Requests that the engine refused before they were delivered: malformed or too large, without a route, for a
    /// queue that was full or switched off, with a head that came too slowly, or for want of memory.
    requests_refused,
    /// Of those, requests whose queue was full: 503.
    queue_full,
    /// Of those, requests whose queue nobody can receive from any more, since its last handle is gone or it was
    /// [shut down](crate::RequestQueue::shutdown): 503. An application that sees this grow has lost its consumers.
    without_consumer,
    /// Of those, requests for which no slot or assembly buffer came free within `request_queue`: 503.
    requests_overloaded,
    /// Bytes of the requests that have ended, refused ones among them: heads and bodies, framing included. None of
    /// heads that could not be read, of the rest of bodies that nobody reads any more, and of what is behind a last
    /// request.
    bytes_received,
    /// Bytes that sockets have taken of their responses, and of informational ones: heads and bodies, framing included.
    bytes_sent,
    /// Heads put together because they did not arrive in one buffer, and heads or bodies copied to free a buffer under
    /// pressure.
    copies,
    /// Receives stopped because the kernel had run out of buffers.
    buffers_ran_out,
    /// Times that a connection's input waited for a buffer, in its turn.
    waits_for_buffer,
    /// Times that it waited for a request slot.
    waits_for_slot,
    /// Of those, times that it could not have one of the slots kept back: the connection had a request under way, or
    /// its client's address had its share.
    share_waits,
    /// Times that it waited for an assembly buffer.
    waits_for_cell,
    /// Times that it waited for the promise of buffers for a body that is awaited whole.
    waits_for_promise,
    /// Requests that were answered 503 because they needed an assembly buffer when only those were left that are kept
    /// for others, and their client's address had its share of these: at once if it has more than 16 connections, else
    /// when others waited for the buffers that they kept.
    cell_shares_refused,
    /// Receive buffers in use now.
    buffers_in_use,
    /// Large buffers in use now, for bodies.
    body_buffers_in_use,
    /// Assembly buffers in use now, small and large, for heads and trailer sections in pieces.
    assembly_cells_in_use,
    /// Buffers in use now for several responses that are sent together.
    coalescing_cells_in_use,
    /// Sends that the socket did not take at once.
    sends_short,
    /// Times the completion queue overflowed.
    completions_overflowed,
    /// Completions that named a connection which was gone.
    completions_stale,
    /// Streamed responses cut by a reset: the application gave up or gave too much or too little, or a file was too
    /// short or could not be read. Among those given up: the ones whose request's body turned out malformed, too slow
    /// or too large, which had been a 400, 408 or 413 before they began.
    responses_truncated,
    /// Cells of memory in use now for parts of files on their way to clients.
    stage_cells_in_use,
    /// Connections that a proxy has said to be somebody else's, by a PROXY header.
    connections_proxied,
    /// Connections closed because their PROXY header was malformed.
    proxy_headers_malformed,
    /// Connections closed because they began without the PROXY header that their listener requires, or because the rest
    /// of it was too long in coming; the latter are counted among the `timeouts`, too.
    proxy_headers_missing,
    /// Connections closed because their listener requires PROXY headers, and whoever has connected is no trusted proxy.
    proxy_strangers,
    /// Connections closed by a timeout.
    timeouts,
    /// Of those, connections whose clients took their responses too slowly.
    send_rate_timeouts,
    /// And those whose clients sent a body too slowly.
    receive_rate_timeouts,
    /// Connections reset while their clients still sent what nobody wanted, behind their last response: too many did.
    drains_reset,
    /// Times accepting paused for want of descriptors.
    accept_pauses,
    /// Addresses that a shard found taken by another process when it was attached, after `listen` had given them: their
    /// clients are served by the shards that were there before, if any.
    addresses_not_opened,
    /// Lines that were written to logs.
    log_records_written,
    /// Lines that are missing from logs: a disk was too slow, or did not take them.
    log_records_dropped,
    /// Panics of the application's code that have ended in the engine: of wakers, of calls on a connection's end, of
    /// owners of bytes, and of parts of a `tower` service that are dropped. The panic hook has told of each. Those on
    /// threads that run no shard are counted by all engines of the process.
    foreign_panics,
}

#[cfg(test)]
impl ShardCounters {
    /// Those of the requests delivered that have ended: each is counted in one of these.
    pub(crate) fn requests_ended(&self) -> u64 {
        let answered = [&self.requests_answered, &self.responses_unsent, &self.responses_truncated];
        let unanswered = [&self.requests_abandoned, &self.requests_cancelled, &self.requests_disconnected];
        let by_engine = [&self.requests_rejected, &self.requests_timed_out, &self.responses_timed_out];
        let others = [&self.requests_stopped, &self.requests_aborted];
        answered.into_iter().chain(unanswered).chain(by_engine).chain(others).map(Counter::read).sum()
    }
}

impl Counters {
    /// Whether a name is that of a level, which falls as well, and not of a count: those that say "now".
    #[must_use]
    pub fn is_level(name: &str) -> bool {
        name.ends_with("_open") || name.ends_with("_in_use") || matches!(name, "requests_departed" | "client_addresses")
    }

    /// Of the levels at the end of a shard, those that are left while `held` of its requests are.
    fn lower_to(&mut self, held: u64) {
        self.requests_open = self.requests_open.min(held);
        self.requests_departed = self.requests_departed.min(held);
        self.client_addresses = self.client_addresses.min(held);
        if held == 0 {
            // What its requests kept has come back with the last of them.
            self.buffers_in_use = 0;
            self.body_buffers_in_use = 0;
            self.assembly_cells_in_use = 0;
        }
    }
}

macro_rules! request_counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+; $($(#[doc = $other_doc:literal])+ $other:ident,)+) => {
        /// What one shard counts of the requests of a queue or a URL group.
        // Two lines of its own: other shards write theirs at the same time.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct ShardRequestCounts {
            $(pub(crate) $name: Counter,)+
            $(pub(crate) $other: Counter,)+
            /// How long they took, if that is asked for.
            pub(crate) latency: Option<Box<ShardLatency>>,
        }

        /// What has been counted of the requests of a queue or a URL group, over all shards.
        ///
        /// Each request that was delivered is counted in one of the ways in which it can end, when it has ended: the
        /// engine knows then what the socket took of its response, which is up to a turn of its shard after the client
        /// has read it. So `delivered` is the sum of these and of [`open`](Self::open).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct RequestCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            $($(#[doc = $other_doc])+ pub $other: u64,)+
        }

        impl ShardRequestCounts {
            /// Those of the requests delivered that have ended.
            pub(crate) fn ended(&self) -> u64 {
                0 $(+ self.$name.read())+
            }
        }

        impl RequestCounters {
            fn add(&mut self, shard: &ShardRequestCounts) {
                $(self.$name += shard.$name.read();)+
                $(self.$other += shard.$other.read();)+
            }

            /// The ways in which they have ended, each with its name and how many have: the first ones of all.
            #[cfg(feature = "admin")]
            pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// What is said above of each, line by line, in the order of [`named`](Self::named).
            #[cfg(feature = "admin")]
            pub(crate) const DESCRIBED: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($name), &[$($doc,)+]),)+ $((stringify!($other), &[$($other_doc,)+]),)+];

            /// Delivered requests that have ended, in whatever way.
            #[must_use]
            pub fn ended(&self) -> u64 {
                0 $(+ self.$name)+
            }

            /// All of them with their names, in the order of the fields: for logs and metrics.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)+ $((stringify!($other), self.$other),)+].into_iter()
            }
        }
    };
}

request_counters! {
    /// Answered by the application, and the response handed to the socket whole.
    answered,
    /// Answered by the application, but the client left before the response was sent whole.
    unsent,
    /// Answered by the application, and truncated: see [`Counters::responses_truncated`].
    truncated,
    /// Dropped by the application: the client got 500.
    abandoned,
    /// Cancelled by the application.
    cancelled,
    /// The client left before there was a response.
    disconnected,
    /// Refused by the engine for what came behind the head (a body that is malformed, too long or cut), or for the sake
    /// of clients that have fewer.
    rejected,
    /// A timer was over: nobody took the request, its body came too slowly, or the client took the response too slowly.
    timed_out,
    /// Left when the grace of a shutdown was over.
    stopped,
    /// Gone with its connection, which had ended for another reason: see [`Counters::requests_aborted`].
    aborted,
    ;
    /// Put into the queue.
    delivered,
    /// Refused by the engine before they were put into the queue, because it was full, or it or the group was switched
    /// off, or for a body that was too long or malformed. Of a group, also because it had no queue.
    refused,
    /// Bytes of those that have ended, refused ones among them: see [`Counters::bytes_received`].
    bytes_received,
    /// Bytes of their responses: see [`Counters::bytes_sent`].
    bytes_sent,
}

impl ShardRequestCounts {
    /// Requests delivered and not ended. For the one writer.
    pub(crate) fn open(&self) -> u64 {
        self.delivered.read().saturating_sub(self.ended())
    }
}

impl RequestCounters {
    /// Delivered requests that have not ended; a moment's view.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.delivered.saturating_sub(self.ended())
    }
}

/// The counts of the requests that go from one group to one queue, or to none: a block for each shard, which writes it
/// alone.
#[derive(Clone, Debug)]
pub(crate) struct RequestCounts(Arc<[Arc<ShardRequestCounts>]>);

impl RequestCounts {
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Arc::default()).collect())
    }

    /// Where it is also measured how long they take.
    pub(crate) fn measured(shards: usize) -> Self {
        let latency = || Some(Box::new(ShardLatency::new()));
        let block = |_| Arc::new(ShardRequestCounts { latency: latency(), ..ShardRequestCounts::default() });
        Self((0..shards).map(block).collect())
    }

    /// Of nobody: nothing is counted.
    pub(crate) fn none() -> Self {
        Self::new(0)
    }

    /// A shard's block.
    pub(crate) fn of_shard(&self, shard: usize) -> Option<&Arc<ShardRequestCounts>> {
        self.0.get(shard)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody counts here any more: only so many registers have it.
    fn is_settled(&self, registers: usize) -> bool {
        Arc::strong_count(&self.0) <= registers && self.0.iter().all(|shard| Arc::strong_count(shard) == 1)
    }
}

/// All counts of a queue or of a group.
#[derive(Debug, Default)]
pub(crate) struct CountsRegister(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    /// Each with the number of registers that it is in.
    counts: Vec<(RequestCounts, usize)>,
    /// What those came to that are settled.
    before: RequestCounters,
    latency_before: Latency,
}

impl CountsRegister {
    /// From now on these count, too, in so many registers. For the control plane.
    pub(crate) fn add(&self, counts: &RequestCounts, registers: usize) {
        let mut registered = self.registered();
        let Registered { counts: all, before, latency_before } = &mut *registered;
        for (settled, _) in all.extract_if(.., |(counts, registers)| counts.is_settled(*registers)) {
            // What was written before the last shard let go of it is seen.
            fence(Ordering::Acquire);
            settled.0.iter().for_each(|shard| before.add(shard));
            settled.0.iter().filter_map(|shard| shard.latency.as_ref()).for_each(|shard| latency_before.add(shard));
        }
        all.push((counts.clone(), registers));
    }

    pub(crate) fn read(&self) -> RequestCounters {
        let registered = self.registered();
        let mut sum = registered.before;
        registered.counts.iter().flat_map(|(counts, _)| counts.0.iter()).for_each(|shard| sum.add(shard));
        sum
    }

    /// How long requests took, where that was measured.
    pub(crate) fn latency(&self) -> Latency {
        let registered = self.registered();
        let mut sum = registered.latency_before.clone();
        let shards = registered.counts.iter().flat_map(|(counts, _)| counts.0.iter());
        shards.filter_map(|shard| shard.latency.as_ref()).for_each(|shard| sum.add(shard));
        sum
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One count, or one level.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds 1. For the one writer.
    #[inline]
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// Adds `more`. For the one writer.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets a level. For the one writer.
    #[inline]
    pub(crate) fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_their_fields() {
        let counters = Counters { connections_accepted: 3, requests_open: 2, accept_pauses: 1, ..Counters::default() };
        let counted: Vec<_> = counters.named().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("connections_accepted", 3), ("requests_open", 2), ("accept_pauses", 1)]);
    }

    #[test]
    fn levels_of_an_ended_shard_go_with_the_requests_that_are_held_of_it() {
        let shard = ShardCounters::default();
        for count in [&shard.requests_open, &shard.buffers_in_use, &shard.requests_answered] {
            count.set(3);
        }
        let levels = |held| {
            let mut counters = Counters::default();
            counters.add(&shard, held);
            (counters.requests_open, counters.buffers_in_use, counters.requests_answered)
        };
        assert_eq!(levels(None), (3, 3, 3), "it runs");
        // Which buffers the last one keeps, nobody can say.
        assert_eq!((levels(Some(1)), levels(Some(0))), ((1, 3, 3), (0, 0, 3)));
    }
}

//! What a shard counts: written by the shard alone, read by anybody.
//!
//! Invariants: a count is a relaxed load and store by its one writer, no locked instruction; nothing that is refused,
//! dropped or cut goes uncounted.
//!
//! Not here: rates, histograms and formats.

use core::sync::atomic::{AtomicU64, Ordering};

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
    /// Connections that have switched protocols.
    connections_upgraded,
    /// Requests delivered to queues.
    requests_delivered,
    /// Request slots in use now: delivered and not yet answered, or answered and not yet sent.
    requests_open,
    /// Requests answered by applications, whose answers were handed to the socket whole.
    requests_answered,
    /// Requests that applications dropped without an answer: their clients got 500.
    requests_abandoned,
    /// Requests that applications cancelled.
    requests_cancelled,
    /// Cancels that came when the request had ended already, in that very moment: it is counted as what it ended in.
    cancels_late,
    /// Requests whose clients left before the answer.
    requests_disconnected,
    /// Requests that went with their connection, which had ended for the sake of another one: because that was
    /// cancelled or cut, or was answered as the last; or because its client sent more on than there was memory for.
    requests_cut,
    /// Requests that were not answered, or whose answers were not sent whole, when the grace of a shutdown was over.
    requests_stopped,
    /// Requests whose clients took the answer too slowly, and were reset.
    responses_timed_out,
    /// Requests answered by applications whose answers the socket had not taken whole when the connection broke: their
    /// clients had left.
    responses_unsent,
    /// Informational answers that were not sent: the client had left, or the final answer was on its way.
    informational_dropped,
    /// Answers the engine made itself: malformed requests, no route, queue full, timeouts.
    requests_rejected,
    /// Requests refused with 503 because their queue was full.
    queue_full,
    /// Requests answered 503 because no consumer took them in time.
    queue_timeouts,
    /// Heads put together because they did not arrive in one buffer, and heads or bodies copied to free a buffer under
    /// pressure.
    copies,
    /// Receives stopped because the kernel had run out of buffers.
    buffers_ran_out,
    /// Receive buffers in use now.
    buffers_in_use,
    /// Large buffers in use now, for bodies.
    body_buffers_in_use,
    /// Assembly buffers in use now.
    assembly_cells_in_use,
    /// Buffers in use now for several answers that are sent together.
    coalescing_cells_in_use,
    /// Sends that the socket did not take at once.
    sends_short,
    /// Times the completion queue overflowed.
    completions_overflowed,
    /// Completions that named a connection which was gone.
    completions_stale,
    /// Streamed answers cut by a reset: the application gave up or gave too much or too little, or a file was too short
    /// or could not be read. Among those given up: the ones whose request's body turned out malformed, too slow or too
    /// large, which had been a 400, 408 or 413 before they began.
    responses_truncated,
    /// Cells of memory in use now for parts of files on their way to clients.
    stage_cells_in_use,
    /// Connections closed by a timeout.
    timeouts,
    /// Of those, connections whose clients took their answers too slowly.
    send_rate_timeouts,
    /// And those whose clients sent a body too slowly.
    receive_rate_timeouts,
    /// Connections reset while their clients still sent what nobody wanted, behind their last answer: too many did.
    drains_reset,
    /// Connections closed because they held too much input back, or no memory was left for it.
    input_overflows,
    /// Times accepting paused for want of descriptors.
    accept_pauses,
    /// Addresses that a shard found taken by another process when it was attached, after `listen` had given them: their
    /// clients are served by the shards that were there before, if any.
    addresses_lost,
    /// Panics of the application's code that have ended in the engine: of wakers, of calls on a connection's end, of
    /// owners of bytes, and of parts of a `tower` service that are dropped. The panic hook has told of each. Those on
    /// threads that run no shard are counted by all engines of the process.
    foreign_panics,
}

impl Counters {
    /// Of the levels at the end of a shard, those that are left while `held` of its requests are.
    fn lower_to(&mut self, held: u64) {
        self.requests_open = self.requests_open.min(held);
        if held == 0 {
            // What its requests kept has come back with the last of them.
            self.buffers_in_use = 0;
            self.body_buffers_in_use = 0;
            self.assembly_cells_in_use = 0;
        }
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

//! A door for this workspace's benchmarks: inner rooms, callable without a socket or a thread.
//!
//! Invariants: development only, behind the feature `bench-door`; no promise to anybody. Each door calls what the
//! engine calls, in the order in which it calls it, and says what came out, so that who measures can also check.
//!
//! Not here: the kernel's ring, hence also notifiers: a shard that sleeps costs an eventfd more.

mod rooms;
mod turns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ringress_proto::response::HeadTemplate;
use ringress_proto::url;

use crate::counters::RequestCounts;
use crate::id::{Origin, QueueNumber, QueuePlace, ShardId};
use crate::log::LogTarget;
use crate::mem::ArenaSizes;
use crate::policy::{Policy, Properties, Refusals, SharedVerbosity};
use crate::queue::{Answered, Completion, Driving, Exchange, Lease, Producer, QueueCore, ShardSide, Sizes, SlotUse};
use crate::record::{Address, Ended, Facts, RequestRecord};
use crate::route::{GroupRow, Prefix, Snapshot};

pub use self::rooms::{Buffers, Slots, Timers};
pub use self::turns::Turns;

/// The routes of an engine.
#[derive(Debug)]
pub struct RouteTable {
    routes: Snapshot,
    /// As the shards have them.
    shown: Snapshot,
}

/// Where a connection has come in: a port of 127.0.0.1.
#[derive(Debug)]
pub struct Local(Address);

impl Local {
    /// On this port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).into())
    }
}

impl RouteTable {
    /// Routes to these URL prefixes, each with its URL context, as groups would register them.
    ///
    /// # Panics
    /// When a prefix is malformed or given twice.
    #[must_use]
    pub fn new<'a>(prefixes: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let routes = routes(prefixes);
        Self { shown: routes.clone(), routes }
    }

    /// The same routes without one of the prefixes; the two share the others.
    ///
    /// # Panics
    /// When the prefix is malformed or not there.
    #[must_use]
    pub fn without(&self, prefix: &str) -> Self {
        let mut routes = self.routes.clone();
        assert!(routes.remove(&parse(prefix)), "not there");
        Self { shown: routes.clone(), routes }
    }

    /// Registers one more prefix and takes it out again, as the control plane does: what the shards have is copied
    /// where it changes, and freed when they have something newer.
    ///
    /// # Panics
    /// When the prefix is malformed or there.
    pub fn change(&mut self, prefix: &str) {
        let prefix = parse(prefix);
        assert!(self.routes.insert(&prefix, 0, 1), "there already");
        self.shown = self.routes.clone();
        assert!(self.routes.remove(&prefix), "it was put in");
        self.shown = self.routes.clone();
    }

    /// The URL context of the prefix that a request goes to.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, local: &Local, host: &[u8], path: &[u8]) -> Option<u64> {
        self.shown.find(&local.0, host, path).ok().map(|found| found.target.context)
    }
}

/// A group whose requests go to the first queue.
fn group() -> GroupRow {
    GroupRow {
        queue: Ok(QueuePlace::new(0)),
        owner: 1,
        policy: Policy::of(&Properties::DEFAULTS),
        counts: RequestCounts::new(1),
        verbosity: SharedVerbosity::default(),
        refusals: Refusals::new(),
        log: LogTarget::NONE,
    }
}

/// Routes with one group, whose requests go to the first queue.
fn routes<'a>(prefixes: impl IntoIterator<Item = (&'a str, u64)>) -> Snapshot {
    let mut routes = Snapshot::new(Policy::of(&Properties::DEFAULTS));
    routes.put_group(1, group());
    for (prefix, context) in prefixes {
        assert!(routes.insert(&parse(prefix), context, 1), "given twice");
    }
    routes
}

fn parse(prefix: &str) -> Prefix {
    Prefix::from(url::Prefix::parse(prefix).expect("the benchmark's own prefix"))
}

/// One shard and one queue with their only consumer, all on the current thread.
#[derive(Debug)]
pub struct Hop {
    // Before the side: it names the exchange that the side keeps alive.
    driving: Option<Driving>,
    side: ShardSide<RequestRecord>,
    queue: QueueCore<RequestRecord>,
    producer: Producer,
    completed: Vec<Completion>,
    /// The URL context of the next request.
    next: u64,
}

/// Undelivered requests at the most; as a queue has it by default.
const LENGTH_MAX: u32 = 1000;
/// Bytes of a response area; as an engine has it by default.
const RESPONSE_AREA_BYTES: u32 = 4096;
/// Bytes of each response: the URL context of its request.
const ANSWER_BYTES: usize = 8;

impl Hop {
    /// A shard with so many request slots, at most 1,000. Answers return as between threads.
    ///
    /// # Panics
    /// When the kernel refuses the memory.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        assert!((1..=LENGTH_MAX).contains(&slots), "as many slots as the queue is long");
        let arena = ArenaSizes {
            receive: (1, 64),
            body: (1, 64),
            head: (slots, 64),
            long_head: (1, 64),
            fragment: (1, 64),
            assembly: (1, 64),
            response: (slots, RESPONSE_AREA_BYTES),
            cooked: (slots, 64),
            coalesce: (1, 64),
            stage: (1, 64),
        };
        let template = HeadTemplate::new("").expect("no Server field is a valid one");
        let facts = Facts::new(template, &[]);
        let sizes = Sizes { slots, departed: 0, arena };
        let (exchange, side) =
            Exchange::new(1, ShardId(0), Origin::LONE, facts, &sizes).expect("memory and an eventfd");
        let queue = QueueCore::new(QueueNumber(0), LENGTH_MAX, Arc::from([exchange]));
        let (producer, completed) = (queue.producer(&side), Vec::with_capacity(slots as usize));
        Self { driving: None, side, queue, producer, completed, next: 0 }
    }

    /// Marks the current thread as the one that drives the shard: answers return as in co-located mode.
    #[must_use]
    pub fn driven(mut self) -> Self {
        self.driving = Some(self.side.drive_here());
        self
    }

    /// One request there and its response back; see [`batch`](Self::batch).
    #[inline]
    pub fn once(&mut self) -> u64 {
        self.batch(1)
    }

    /// Publishes so many requests at once; claims and answers each; takes all that came back and frees the slots.
    /// Requests are numbered from 0 over the life of `self`, and each is answered with its number. Gives the sum of the
    /// responses.
    ///
    /// # Panics
    /// When there are fewer slots, or a slot is not freed.
    #[inline]
    pub fn batch(&mut self, count: u32) -> u64 {
        for _ in 0..count {
            self.deliver();
        }
        let fresh = self.producer.publish();
        self.queue.wake(0, fresh);
        while let Some(lease) = self.queue.claim() {
            answer(lease);
        }
        self.collect()
    }

    /// Slots in use: 0 between calls.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.side.in_use()
    }

    #[inline]
    fn deliver(&mut self) {
        let slot = self.side.allocate(|| ()).expect("a slot for each request of a batch");
        self.side.record_mut(slot).url_context = self.next;
        self.next += 1;
        assert!(self.queue.room(0, &mut self.producer) > 0, "the queue is longer than the batch");
        self.producer.push(self.side.publish(slot, QueueNumber(0)));
    }

    #[inline]
    fn collect(&mut self) -> u64 {
        let mut sum = 0;
        self.side.take_completions(&mut self.completed);
        for completed in self.completed.drain(..) {
            let (slot, _) = self.side.accept(completed);
            let answered = self.side.answered_mut(slot).area_len();
            let text = self.side.response_mut(slot)[..answered as usize].first_chunk::<ANSWER_BYTES>();
            sum += text.map_or(0, |text| u64::from_ne_bytes(*text));
            let (_, fate) = self.side.end_answered(slot, |_| Ended::BENCH);
            assert_eq!(fate, SlotUse::Free, "the handle went with its answer");
        }
        sum
    }
}

/// What an application does with a request.
#[inline]
fn answer(lease: Lease<RequestRecord>) {
    let text = lease.record().url_context.to_ne_bytes();
    let filled = lease.fill(|area| {
        let room = area.first_chunk_mut::<ANSWER_BYTES>().ok_or(())?;
        *room = text;
        Ok::<_, ()>(Answered { body_len: 8, ..Answered::default() })
    });
    if let Some(Ok(filled)) = filled {
        lease.submit(filled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_once_with_its_own_number_and_its_slot_is_free_again() {
        for mut hop in [Hop::new(64), Hop::new(64).driven()] {
            assert_eq!([hop.once(), hop.once()], [0, 1]);
            assert_eq!(hop.batch(64), (2..66).sum::<u64>());
            assert_eq!(hop.batch(3), 66 + 67 + 68);
            assert_eq!(hop.in_use(), 0);
        }
    }

    #[test]
    fn routes_are_those_that_groups_would_register() {
        let table =
            RouteTable::new([("http://*:80/", 1), ("http://Adatum.com:80/a", 2), ("http://127.0.0.1:80/b/", 3)]);
        assert_eq!(table.find(&Local::new(80), b"other", b"/a/x"), Some(1));
        assert_eq!(table.find(&Local::new(80), b"adatum.com", b"/a/x"), Some(2));
        assert_eq!(table.find(&Local::new(80), b"other", b"/b"), Some(3));
        assert_eq!(table.find(&Local::new(81), b"other", b"/b"), None);
    }
}

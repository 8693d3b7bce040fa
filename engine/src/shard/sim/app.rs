//! The simulated application: answers at once or late, in any order, by handle or by id, whole or in pieces, drops
//! requests, cuts answers, and holds handles longer than it should.
//!
//! What becomes of a request is a function of its number and the seed, so that clients know it too; when and how is
//! drawn as it goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use super::rig::{body, target, write_answer};
use super::streaming::{Streaming, letters, pieces};
use crate::id::RequestId;
use crate::queue::{Exchange, Lease, QueueCore};
use crate::record::RequestRecord;
use crate::ring::fake::Random;
use crate::stream::OutStream;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Answered, with a body of this many bytes or a few more.
    Answered(usize),
    /// Answered, and the connection is closed.
    Closed,
    /// Dropped: the client gets 500.
    Dropped,
    /// Begun, and cut: the client is reset.
    Cut,
}

/// Bytes of the file that answers are sent from.
const FILE_BYTES: usize = 40_000;

/// The fate of a request.
pub(super) fn fate(seed: u64, number: u32) -> Fate {
    let mut random = Random::new(seed ^ (u64::from(number) << 32));
    // Applications differ: many answers that close, many that do not fit the response area, few of either.
    let (closed, large) = [(1, 4), (8, 4), (2, 25), (6, 15)][Random::new(seed).below(4)];
    match random.below(40) {
        0 => Fate::Dropped,
        39 if seed.is_multiple_of(3) => Fate::Cut,
        roll if roll <= closed => Fate::Closed,
        roll if roll <= closed + large => Fate::Answered([700, 5000, 40_000][random.below(3)] / (1 + random.below(3))),
        _ => Fate::Answered(random.below(60)),
    }
}

/// A sum that tells bodies apart.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The body of an answer: the request's number, the sum of its body, and so many bytes of filling.
pub(super) fn answer_body(number: u32, sum: u64, fate: Fate) -> Vec<u8> {
    let filling = match fate {
        Fate::Answered(len) => len,
        Fate::Cut => 3000,
        Fate::Closed | Fate::Dropped => 0,
    };
    let mut body = format!("{number}:{sum:x}:").into_bytes();
    body.extend((0..filling).map(|place| b'a' + u8::try_from(place % 26).expect("below 26")));
    body
}

enum Hold {
    Handle(Box<Lease<RequestRecord>>),
    Id(RequestId),
}

struct Pending {
    number: u32,
    sum: u64,
    hold: Hold,
}

/// See the module's head.
pub(super) struct App {
    seed: u64,
    queue: Arc<QueueCore<RequestRecord>>,
    exchange: Arc<Exchange<RequestRecord>>,
    pending: Vec<Pending>,
    /// Handles of requests that were answered by id.
    kept: Vec<Lease<RequestRecord>>,
    streams: Vec<Streaming>,
    /// Streams that have been finished, cut or found gone.
    ended: Vec<Arc<OutStream>>,
    file: Arc<File>,
    delivered: BTreeSet<u32>,
}

impl App {
    pub(super) fn new(seed: u64, queue: Arc<QueueCore<RequestRecord>>, exchange: Arc<Exchange<RequestRecord>>) -> Self {
        Self {
            seed,
            queue,
            exchange,
            pending: Vec::new(),
            kept: Vec::new(),
            streams: Vec::new(),
            ended: Vec::new(),
            file: letters(FILE_BYTES),
            delivered: BTreeSet::new(),
        }
    }

    /// Things it could do now: claim, answer one of the pending, let go of one of the kept, go on with a stream.
    pub(super) fn options(&self) -> (bool, usize, usize, bool) {
        let streams = self.streams.iter().any(Streaming::can_act);
        (!self.queue.is_empty(), self.pending.len(), self.kept.len(), streams)
    }

    /// Goes on with one of the streams that can.
    pub(super) fn go_on(&mut self, random: &mut Random) {
        let ready = self.streams.iter().enumerate().filter(|(_, stream)| stream.can_act()).map(|(index, _)| index);
        let ready: Vec<usize> = ready.collect();
        let Some(index) = ready.get(random.below(ready.len())) else { return };
        let streaming = self.streams.swap_remove(*index);
        let stream = Arc::clone(&streaming.stream);
        match streaming.act() {
            Ok(streaming) => self.streams.push(streaming),
            Err(lease) => {
                self.ended.push(stream);
                if random.chance(300) {
                    self.kept.push(lease);
                }
            }
        }
    }

    /// Every stream that has ended was told how.
    pub(super) fn assert_streams_over(&self) {
        assert!(self.streams.is_empty(), "{} streams never end", self.streams.len());
        let over = |stream: &Arc<OutStream>| stream.is_complete() != stream.is_gone();
        assert!(self.ended.iter().all(over), "a stream is neither complete nor gone: {:?}", self.ended);
    }

    /// Answers piece by piece.
    fn stream(&mut self, lease: Lease<RequestRecord>, number: u32, sum: u64, random: &mut Random) {
        let fate = fate(self.seed, number);
        let text = answer_body(number, sum, fate);
        let filling = answer_body(number, sum, Fate::Answered(0)).len();
        let given = if fate == Fate::Cut { random.below(text.len()) } else { text.len() };
        let rest = pieces(&text[..given], filling, &self.file, random);
        let started = Streaming::start(lease, &text, fate == Fate::Closed, rest, fate == Fate::Cut, random);
        self.streams.extend(started);
    }

    /// Takes the next request from the queue.
    pub(super) fn claim(&mut self, random: &mut Random) {
        let Some(lease) = self.queue.claim_of(0) else { return };
        let target = target(&lease);
        let number = target.strip_prefix("/a/").and_then(|rest| rest.split('?').next()?.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{target:?} was delivered, which nobody asked for"));
        assert!(self.delivered.insert(number), "request {number} was delivered twice");
        let sum = sum(body(&lease));
        let detach = random.chance(150) && !matches!(fate(self.seed, number), Fate::Dropped | Fate::Cut);
        let hold = if detach { Hold::Id(lease.detach()) } else { Hold::Handle(Box::new(lease)) };
        self.pending.push(Pending { number, sum, hold });
        if random.chance(400) {
            self.answer(self.pending.len() - 1, random);
        }
    }

    /// Answers a pending request, or drops it.
    pub(super) fn answer(&mut self, index: usize, random: &mut Random) {
        let Pending { number, sum: expected, hold } = self.pending.swap_remove(index);
        let fate = fate(self.seed, number);
        let text = answer_body(number, expected, fate);
        let close = fate == Fate::Closed;
        let fill = |record: &RequestRecord, area: &mut [u8]| Ok::<_, ()>(write_answer(record, area, &text, close));
        match hold {
            Hold::Id(id) => {
                let _ = self.exchange.answer_by_id(id, fill);
            }
            Hold::Handle(lease) => {
                assert_eq!(sum(body(&lease)), expected, "the body of request {number} changed under its handle");
                if random.chance(50) {
                    // An answer that cannot be written leaves the request open.
                    assert!(!matches!(lease.fill(|_| Err::<_, ()>(())), Some(Ok(_))));
                }
                if fate == Fate::Dropped {
                    drop(lease);
                } else if fate == Fate::Cut || random.chance([0, 200, 800][random_of(self.seed)]) {
                    self.stream(*lease, number, expected, random);
                } else if random.chance(150) {
                    let _ = self.exchange.answer_by_id(lease.id(), fill);
                    self.kept.push(*lease);
                } else {
                    let record = *lease.record();
                    match lease.fill(|area| fill(&record, area)) {
                        Some(Ok(filled)) => lease.submit(filled),
                        _ => drop(lease),
                    }
                }
            }
        }
    }

    /// Lets go of a handle whose request is over.
    pub(super) fn release(&mut self, index: usize) {
        drop(self.kept.swap_remove(index));
    }

    /// Drops everything, as an application does that ends.
    pub(super) fn abandon(&mut self) {
        self.pending.clear();
        self.kept.clear();
        self.streams.drain(..).for_each(Streaming::abandon);
        while self.queue.claim_of(0).is_some() {}
    }
}

/// How much of a streamer the application is: 0 to 2.
fn random_of(seed: u64) -> usize {
    Random::new(seed ^ 0x5eed).below(3)
}

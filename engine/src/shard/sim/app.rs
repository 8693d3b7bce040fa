//! The simulated application: answers at once or late, in any order, by handle or by id, whole or in pieces, drops
//! requests, cuts answers, and holds handles longer than it should.
//!
//! What becomes of a request is a function of its number and the seed, so that clients know it too; when and how is
//! drawn as it goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Context;

use super::informational::hint;
use super::rig::{body, read_body, read_prefix, target, write_response};
use super::streaming::{Flag, Streaming, letters, pieces, throw};
use crate::clock;
use crate::driver::fake::Random;
use crate::id::RequestId;
use crate::queue::{BodyState, Command, Exchange, Lease, QueueCore, Registration, Watch};
use crate::record::RequestRecord;
use crate::stream::OutStream;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotUse {
    /// Answered, with a body of this many bytes or a few more.
    Answered(usize),
    /// Answered, and the connection is closed.
    Closed,
    /// Dropped: the client gets 500.
    Dropped,
    /// Cancelled, in any of the ways there are: the client is reset, or gets a response that was too fast.
    Cancelled,
    /// Begun, and cut: the client is reset.
    Cut,
}

/// Bytes of the file that responses are sent from.
const FILE_BYTES: usize = 40_000;

/// The fate of a request.
pub(super) fn fate(seed: u64, number: u32) -> SlotUse {
    let mut random = Random::new(seed ^ (u64::from(number) << 32));
    // Applications differ: many responses that close, many that do not fit the response area, few of either.
    let (closed, large) = [(1, 4), (8, 4), (2, 25), (6, 15)][Random::new(seed).below(4)];
    match random.below(40) {
        0 => SlotUse::Dropped,
        39 if seed.is_multiple_of(3) => SlotUse::Cut,
        roll if roll <= closed => SlotUse::Closed,
        roll if roll <= closed + large => {
            SlotUse::Answered([700, 5000, 40_000][random.below(3)] / (1 + random.below(3)))
        }
        38.. if Random::new(seed ^ 1).chance(400) => SlotUse::Cancelled,
        _ => SlotUse::Answered(random.below(60)),
    }
}

/// A sum that tells bodies apart.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The body of a response: the request's number, the sum of its body, and so many bytes of filling.
pub(super) fn response_body(number: u32, sum: u64, fate: SlotUse) -> Vec<u8> {
    let filling = match fate {
        SlotUse::Answered(len) => len,
        SlotUse::Cut => 3000,
        SlotUse::Closed | SlotUse::Dropped | SlotUse::Cancelled => 0,
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
    /// None for a request that turns out to be malformed.
    number: Option<u32>,
    /// What has been read of its body.
    body: Vec<u8>,
    whole: bool,
    hold: Hold,
    /// Set while it waits for more of its body.
    waits: Option<Arc<Flag>>,
}

impl Pending {
    /// Whether it can be gone on with: its body is whole, or it has been woken.
    fn can_act(&self) -> bool {
        self.waits.as_ref().is_none_or(|flag| flag.is_up())
    }

    /// Waits for more of the body, unless more is there or will not come. A wake that is lost leaves its client
    /// waiting.
    fn await_more(&mut self, random: &mut Random) {
        self.waits = None;
        if let Hold::Handle(lease) = &mut self.hold
            && !self.whole
        {
            let flag = Arc::new(Flag::default());
            lease.await_body(&flag.waker(random));
            let open = lease.body_state() == BodyState::Open;
            self.waits = (open && !lease.next_body()).then_some(flag);
        }
    }
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
    /// Requests that were answered, to be cancelled some time later.
    late: Vec<RequestId>,
    /// Cancels that were told to have worked.
    pub(super) cancelled: u64,
    /// Answers that were taken of it.
    pub(super) given: u64,
    /// Streams that have been finished, cut or found gone.
    ended: Vec<Arc<OutStream>>,
    file: Arc<File>,
    delivered: BTreeSet<u32>,
    /// Who waits for connections to end.
    watches: Vec<Watch>,
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
            late: Vec::new(),
            cancelled: 0,
            given: 0,
            ended: Vec::new(),
            file: letters(FILE_BYTES),
            delivered: BTreeSet::new(),
            watches: Vec::new(),
        }
    }

    /// Things it could do now: claim, go on with some of the pending, let go of one of the kept, go on with a stream.
    pub(super) fn options(&mut self) -> (bool, Vec<usize>, usize, bool) {
        let streams = self.streams.iter().any(Streaming::can_act);
        let pending = self.pending.iter().enumerate().filter_map(|(at, pending)| pending.can_act().then_some(at));
        (self.queue.shows_any(), pending.collect(), self.kept.len(), streams)
    }

    /// Goes on with one of the streams that can.
    pub(super) fn stream_on(&mut self, random: &mut Random) {
        let ready = self.streams.iter().enumerate().filter(|(_, stream)| stream.can_act()).map(|(index, _)| index);
        let ready: Vec<usize> = ready.collect();
        let Some(index) = ready.get(random.below(ready.len())) else { return };
        let streaming = self.streams.swap_remove(*index);
        let stream = Arc::clone(&streaming.stream);
        match streaming.act(random) {
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
        let text = response_body(number, sum, fate);
        let filling = response_body(number, sum, SlotUse::Answered(0)).len();
        let given = if fate == SlotUse::Cut { random.below(text.len()) } else { text.len() };
        let rest = pieces(&text[..given], filling, &self.file, random);
        let started = Streaming::start(lease, &text, fate == SlotUse::Closed, rest, fate == SlotUse::Cut, random);
        self.given += u64::from(started.is_some());
        self.streams.extend(started);
    }

    /// Takes the next request from the queue.
    pub(super) fn claim(&mut self, random: &mut Random) {
        if random.chance(300)
            && let Some(id) = self.late.pop()
        {
            self.cancel_by_id(id);
        }
        let Some(mut lease) = self.queue.claim_of(0) else { return };
        if self.queue.is_measured() {
            lease.note_taken(clock::simulated());
        }
        let target = target(&lease);
        let number: Option<u32> = match target.strip_prefix("/a/") {
            Some("malformed") => None,
            rest => rest.and_then(|rest| rest.split('?').next()?.parse().ok()),
        };
        assert!(number.is_some() || target == "/a/malformed", "{target:?} was delivered, which nobody asked for");
        if let Some(number) = number {
            assert!(self.delivered.insert(number), "request {number} was delivered twice");
        }
        let mut body = read_prefix(&mut lease);
        let whole = read_body(&mut lease, &mut body);
        while number.is_some() && random.chance(100) {
            self.send_informational(&lease, number.unwrap_or(0));
        }
        if random.chance(150) {
            let (watch, registration) = Watch::new(random.chance(500));
            lease.command(Command::Watch(lease.record().connection, registration));
            if random.chance(700) {
                let _ = watch.poll(&mut Context::from_waker(&Arc::new(Flag::default()).waker(random)));
                self.watches.push(watch);
            }
            if random.chance(200) {
                lease.command(Command::Watch(lease.record().connection, Registration::call(|_| throw())));
            }
        }
        let can_detach =
            number.is_some_and(|number| !matches!(fate(self.seed, number), SlotUse::Dropped | SlotUse::Cut));
        let hold = if whole && can_detach && random.chance(150) {
            Hold::Id(lease.detach())
        } else {
            lease.ask_for_body();
            Hold::Handle(Box::new(lease))
        };
        let mut pending = Pending { number, body, whole, hold, waits: None };
        pending.await_more(random);
        self.pending.push(pending);
        if whole && random.chance(400) {
            self.go_on(self.pending.len() - 1, random);
        }
    }

    /// Gives an informational response that names the request.
    fn send_informational(&mut self, lease: &Lease<RequestRecord>, number: u32) {
        if !lease.record().is_http10() {
            let _ = lease.send_informational(hint(number));
        }
    }

    /// Reads on in a pending request, or answers it, or drops it.
    pub(super) fn go_on(&mut self, index: usize, random: &mut Random) {
        let pending = &mut self.pending[index];
        if let Hold::Handle(lease) = &mut pending.hold
            && !pending.whole
        {
            let over = matches!(lease.body_state(), BodyState::Failed(_));
            pending.whole = read_body(lease, &mut pending.body);
            pending.await_more(random);
            if over {
                self.pending.swap_remove(index);
            }
            return;
        }
        self.answer(index, random);
    }

    fn answer(&mut self, index: usize, random: &mut Random) {
        let Pending { number, body: content, hold, .. } = self.pending.swap_remove(index);
        let number = number.expect("a malformed body is never whole");
        let fate = fate(self.seed, number);
        let text = response_body(number, sum(&content), fate);
        let close = fate == SlotUse::Closed;
        if fate == SlotUse::Cancelled {
            return self.cancel(hold, &text, random);
        }
        let fill = |record: &RequestRecord, area: &mut [u8]| Ok::<_, ()>(write_response(record, area, &text, close));
        match hold {
            Hold::Id(id) => self.given += u64::from(self.exchange.respond_by_id(id, fill) == Some(Ok(()))),
            Hold::Handle(mut lease) => {
                if random.chance(100) {
                    self.send_informational(&lease, number);
                }
                if !lease.record().body_open {
                    assert_eq!(body(&mut lease), content, "the body of request {number} changed under its handle");
                }
                if random.chance(50) {
                    // A response that cannot be written leaves the request open.
                    assert!(!matches!(lease.fill(|_| Err::<_, ()>(())), Some(Ok(_))));
                }
                if random.chance(50) {
                    // Nor does one that panics while it is written; one whose client has left is not written at all.
                    let written = catch_unwind(AssertUnwindSafe(|| lease.fill::<()>(|_| throw())));
                    assert!(written.is_err() || written.is_ok_and(|filled| filled.is_none()));
                }
                if fate == SlotUse::Dropped {
                    drop(lease);
                } else if fate == SlotUse::Cut || random.chance([0, 200, 800][random_of(self.seed)]) {
                    self.stream(*lease, number, sum(&content), random);
                } else if random.chance(150) {
                    self.given += u64::from(self.exchange.respond_by_id(lease.id(), fill) == Some(Ok(())));
                    self.kept.push(*lease);
                } else {
                    let record = *lease.record();
                    match lease.fill(|area| fill(&record, area)) {
                        Some(Ok(filled)) => {
                            self.given += 1;
                            lease.submit(filled);
                        }
                        _ => drop(lease),
                    }
                }
            }
        }
    }

    /// Cancels a request: by its handle or its id, answered or not.
    fn cancel(&mut self, hold: Hold, text: &[u8], random: &mut Random) {
        let fill = |record: &RequestRecord, area: &mut [u8]| Ok::<_, ()>(write_response(record, area, text, false));
        let (id, handle) = match hold {
            Hold::Id(id) => (id, None),
            Hold::Handle(lease) => (lease.id(), Some(lease)),
        };
        if random.chance(200) {
            self.given += u64::from(self.exchange.respond_by_id(id, fill) == Some(Ok(())));
        }
        match handle {
            Some(lease) if random.chance(200) => {
                let record = *lease.record();
                match lease.fill(|area| fill(&record, area)) {
                    Some(Ok(filled)) => {
                        self.given += 1;
                        lease.submit(filled);
                    }
                    _ => drop(lease),
                }
                if random.chance(500) {
                    return self.late.push(id);
                }
                self.cancel_by_id(id);
            }
            Some(lease) => {
                self.cancelled += u64::from(lease.cancel());
                if random.chance(500) {
                    self.kept.push(*lease);
                }
            }
            None => self.cancel_by_id(id),
        }
        assert!(!self.exchange.is_open(id) && !self.exchange.cancel(id), "a cancelled request is over");
        assert!(self.exchange.respond_by_id(id, fill).is_none(), "a cancelled request cannot be answered");
    }

    fn cancel_by_id(&mut self, id: RequestId) {
        self.cancelled += u64::from(self.exchange.cancel(id));
    }

    /// Every connection has ended: whoever waits for that has been told.
    pub(super) fn assert_told(&self) {
        let untold = self.watches.iter().filter(|watch| watch.reason().is_none()).count();
        assert_eq!(untold, 0, "of {} that wait for connections to end, so many were not told", self.watches.len());
    }

    /// The shard has failed: nothing can be answered, who waits for a body or for room is woken.
    pub(super) fn assert_given_up(&mut self) {
        for pending in &self.pending {
            assert!(pending.can_act(), "request {:?} waits for the rest of its body for ever", pending.number);
            let id = match &pending.hold {
                Hold::Handle(lease) => lease.id(),
                Hold::Id(id) => *id,
            };
            assert!(!self.exchange.is_open(id), "request {:?} seems to be open", pending.number);
        }
        assert!(self.streams.iter().all(Streaming::can_act), "a sender waits for ever");
        let over = |stream: &Arc<OutStream>| stream.is_complete() || stream.is_gone();
        let begun = self.streams.iter().map(|streaming| &streaming.stream);
        assert!(begun.chain(&self.ended).all(over), "who asks how a stream ended waits for ever");
    }

    /// Lets go of a handle whose request is over.
    pub(super) fn release(&mut self, index: usize) {
        drop(self.kept.swap_remove(index));
    }

    /// Lets its queue end while it has requests: forgets those it has by id, keeps or detaches the handles, before and
    /// after that, and tells it to answer no more.
    pub(super) fn end_queue(&mut self, random: &mut Random) {
        let mut held = Vec::new();
        for Pending { hold, .. } in self.pending.drain(..) {
            match hold {
                Hold::Handle(lease) if random.chance(300) => _ = lease.detach(),
                Hold::Handle(lease) => held.push(lease),
                Hold::Id(_) => {}
            }
        }
        self.queue.close_and_abandon();
        for lease in held {
            if random.chance(500) {
                let _ = lease.detach();
            }
        }
        self.abandon();
    }

    /// Abandons some of the requests that it has, and keeps others.
    pub(super) fn let_go_of_some(&mut self, random: &mut Random) {
        self.pending.retain(|_| random.chance(500));
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

//! Which requests are noted for logs, and what of them.
//!
//! Invariants: a request is noted once: where it is refused before it is delivered, then; else when it has ended, and
//! by the log that its group had when it was delivered. A note is copied, or dropped and counted: nothing here waits,
//! allocates or formats.
//!
//! Not here: blocks, lines and files (room `log`), and which logs there are (room `session`).

use ringress_proto::header::KnownHeader;

use super::Dispatch;
use super::ends::{Stamps, response_bytes};
use crate::clock::Tick;
use crate::id::RequestId;
use crate::log::{HEAD_BYTES_MAX, LogEnd, LogEnds, LogNote, LogTarget, TARGET_BYTES_MAX, VALUE_BYTES_MAX};
use crate::queue::{LogText, ShardSide, ShortBytes, Slot, SlotTable};
use crate::record::{Address, RequestRecord};

/// Fields of a request that logs use.
const FIELDS: [(KnownHeader, &str); 4] = [
    (KnownHeader::Host, "Host: "),
    (KnownHeader::UserAgent, "User-Agent: "),
    (KnownHeader::Referer, "Referer: "),
    (KnownHeader::Cookie, "Cookie: "),
];

/// Of a request line, what is behind the target: ` HTTP/1.1`.
const VERSION_BYTES_MAX: usize = 9;

/// What a shard has for logs.
#[derive(Debug)]
pub(super) struct Log {
    end: Option<LogEnd>,
    /// Of the requests in slots, as far as this reaches, what their applications have said.
    texts: SlotTable<Option<Box<LogText>>>,
    /// A head that its slot does not hold.
    stash: Vec<u8>,
    /// It is measured how long requests of some queue take.
    pub(super) latency: bool,
    /// Some requests are logged.
    pub(super) logs: bool,
    /// Some group has a log.
    is_wanted: bool,
    /// Requests under way that are to be logged.
    under_way: u32,
}

impl Log {
    /// What a slot takes, where applications say something.
    pub(super) const SLOT_BYTES: usize = size_of::<Option<Box<LogText>>>();

    pub(super) fn new() -> Self {
        let texts = SlotTable::with_capacity(0);
        Self { end: None, texts, stash: Vec::new(), latency: false, logs: false, is_wanted: false, under_way: 0 }
    }

    /// The last slots are given up.
    pub(super) fn truncate(&mut self, left: u32) {
        self.texts.truncate(left);
    }
}

impl Dispatch {
    /// From now on requests are noted, or none are. Allocates: a control message.
    pub(crate) fn take_logs(&mut self, ends: Option<&LogEnds>, are_open: bool) {
        if self.log.end.is_none()
            && let Some(ends) = ends
        {
            self.log.end = ends.take(usize::from(self.id.0));
            self.log.stash.reserve_exact(HEAD_BYTES_MAX);
        }
        self.log.is_wanted = are_open && self.log.end.is_some();
        self.set_measures(self.log.latency, self.log.is_wanted || self.log.under_way > 0);
    }

    /// A request is delivered: where it will be logged.
    #[inline]
    pub(super) fn begin_log(&mut self, slot: Slot) -> LogTarget {
        if !self.log.logs {
            return LogTarget::NONE;
        }
        let target = self.log_of(slot);
        self.log.under_way += u32::from(target != LogTarget::NONE);
        target
    }

    /// A request is over that will not be logged.
    #[cold]
    pub(super) fn leave_log(&mut self, slot: Slot) {
        if self.times[slot].log != LogTarget::NONE {
            self.has_left_log(slot);
        }
    }

    /// A request is logged. When there is no log any more, the last one ends the noting.
    #[inline]
    fn has_left_log(&mut self, slot: Slot) {
        self.times[slot].log = LogTarget::NONE;
        if self.log.texts.len() > 0 {
            self.forget_text(slot);
        }
        self.log.under_way -= 1;
        if self.log.under_way == 0 && !self.log.is_wanted {
            self.set_measures(self.log.latency, false);
        }
    }

    #[cold]
    fn forget_text(&mut self, slot: Slot) {
        if self.log.texts.find(Some(slot)).is_some_and(Option::is_some) {
            self.log.texts[slot] = None;
        }
    }

    /// The log of a request's group.
    fn log_of(&self, slot: Slot) -> LogTarget {
        self.group_of(slot).map_or(LogTarget::NONE, |group| group.log)
    }

    /// An application has said what the log is to say of a request.
    #[cold]
    pub(crate) fn keep_log_text(&mut self, id: RequestId, text: Box<LogText>) {
        let Some(slot) = self.side.under_way(id).filter(|slot| self.times[*slot].log != LogTarget::NONE) else {
            return;
        };
        let texts = &mut self.log.texts;
        while texts.find(Some(slot)).is_none() {
            texts.push(None);
        }
        texts[slot] = Some(text);
    }

    /// A request that was delivered has ended, of whose response the socket has taken `sent` bytes; `None`: all.
    #[inline(never)]
    pub(super) fn log_end(&mut self, slot: Slot, sent: Option<u64>) {
        let Stamps { log, first_byte, .. } = self.times[slot];
        if log != LogTarget::NONE {
            let answer = self.side.answered_mut(slot);
            let (status, bytes_out) = (answer.status, sent.unwrap_or_else(|| response_bytes(answer)));
            if status > 0 && log.takes(status) {
                let took = self.now.saturating_sub(first_byte);
                let bytes_in = self.request_bytes(slot);
                self.put_note(slot, LogNote { log: log.id(), status, ended: self.now, took, bytes_in, bytes_out });
            }
            self.has_left_log(slot);
        }
    }

    #[inline(always)]
    fn put_note(&mut self, slot: Slot, note: LogNote) {
        let record = self.side.record(slot);
        let head_len = usize::from(record.head.head_len);
        let (head, text) = if head_len <= HEAD_BYTES_MAX {
            (&self.side.received(slot)[..head_len], self.log.texts.find(Some(slot)))
        } else {
            condense(&self.side, slot, &mut self.log.stash);
            (&self.log.stash[..], self.log.texts.find(Some(slot)))
        };
        let text = text.and_then(Option::as_deref);
        let end = &mut self.log.end;
        let is_kept = end.as_mut().is_some_and(|end| end.put(&note, (&record.peer, &record.local), head, text));
        if !is_kept {
            self.counters.log_records_dropped.count();
        }
    }

    /// Remembers the head of a request that is about to be refused: these bytes begin with it, or its slot holds it.
    // What is out of line gets the bytes themselves: lent to it, they would be put into memory for every request.
    #[inline(always)]
    pub(crate) fn stash_request(&mut self, slot: Slot, bytes: Option<ShortBytes<'_>>) {
        match bytes {
            Some(bytes) => stash(&mut self.log, self.side.bytes(*bytes.bytes())),
            None => self.stash_kept(slot),
        }
    }

    #[cold]
    #[inline(never)]
    fn stash_kept(&mut self, slot: Slot) {
        let (head_len, stash) = (usize::from(self.side.record(slot).head.head_len), &mut self.log.stash);
        stash.clear();
        if !self.log.logs || !self.side.is_kept(slot) {
            return;
        }
        match head_len > HEAD_BYTES_MAX {
            true => condense(&self.side, slot, stash),
            false => stash.extend_from_slice(&self.side.received(slot)[..head_len]),
        }
    }

    /// A request is refused before it is delivered, and its response is in its slot.
    #[cold]
    pub(crate) fn log_refused(&mut self, slot: Slot, (peer, local): (Address, Address)) {
        let target = self.log_of(slot);
        let answer = self.side.answered_mut(slot);
        let (status, bytes_out) = (answer.status, response_bytes(answer));
        // A reset says nothing.
        if bytes_out > 0 && target.takes(status) {
            let (log, ended, took) = (target.id(), self.now, self.now.saturating_sub(self.arrived));
            let bytes_in = self.request_bytes(slot);
            let note = LogNote { log, status, ended, took, bytes_in, bytes_out };
            let end = &mut self.log.end;
            let is_kept = end.as_mut().is_some_and(|end| end.put(&note, (&peer, &local), &self.log.stash, None));
            self.counters.log_records_dropped.add(u64::from(!is_kept));
        }
        self.log.stash.clear();
    }

    /// A turn has ended: hands over to the writer what is a tick old.
    #[inline]
    pub(crate) fn hand_over_notes(&mut self, now: Tick) {
        if let Some(end) = &mut self.log.end {
            end.end_turn(now);
        }
    }

    /// When there is something to hand over, if there is.
    #[inline]
    pub(crate) fn notes_due(&self) -> Option<Tick> {
        self.log.end.as_ref().and_then(LogEnd::due)
    }
}

#[cold]
#[inline(never)]
fn stash(log: &mut Log, bytes: &[u8]) {
    if log.end.is_some() {
        log.stash.clear();
        log.stash.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX)]);
    }
}

/// Of a head that is longer than what is noted, the request line and the fields that logs use, each cut.
#[cold]
fn condense(side: &ShardSide<RequestRecord>, slot: Slot, into: &mut Vec<u8>) {
    let (head, bytes) = (&side.record(slot).head, side.received(slot));
    let target = head.target.of(bytes);
    let behind = bytes[head.target.end()..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    into.clear();
    into.extend_from_slice(head.method_name.of(bytes));
    into.push(b' ');
    into.extend_from_slice(&target[..target.len().min(TARGET_BYTES_MAX)]);
    into.extend_from_slice(&behind[..behind.len().min(VERSION_BYTES_MAX)]);
    for (known, name) in FIELDS {
        if let Some(field) = head.headers().iter().find(|field| field.known == known) {
            let value = field.value(bytes);
            into.extend_from_slice(b"\r\n");
            into.extend_from_slice(name.as_bytes());
            into.extend_from_slice(&value[..value.len().min(VALUE_BYTES_MAX)]);
        }
    }
}

//! A simulated client: follows its script, and judges every response it gets.

use super::app::{SlotUse, fate, response_body};
use super::script::{Expected, Outcome, Reading, Script, Step};
use super::streaming::TRAILERS;
use crate::driver::fake::{Fake, Random};

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A response said that the connection ends; the rest of the script is void.
    Told,
    /// It has seen the end, or is gone itself.
    Over,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Client {
    peer: usize,
    seed: u64,
    steps: std::collections::VecDeque<Step>,
    expected: std::collections::VecDeque<Expected>,
    reading: Reading,
    /// Resources or time are short: any request may be refused with 503 or 408, any connection be closed.
    tight: bool,
    /// The engine is stopping: any response may be the last, and a connection that is owed nothing is closed.
    stopping: bool,
    /// The application cancels one of its requests: it may be reset at any time.
    is_cancelled: bool,
    /// It sends what it has begun, though it is told that the connection ends.
    insists: bool,
    written: usize,
    inbox: Vec<u8>,
    answered: usize,
    continues: usize,
    asked: usize,
    ended: bool,
    state: State,
    /// Whole responses, by [`Seen`].
    seen: [u64; 3],
}

/// Whose response a client has read to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Answer,
    /// The engine's, in the place of an application that dropped the request.
    Dropped,
    /// The engine's own.
    Refusal,
}

/// What a client could do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Read,
    SeeEnd,
    Step,
}

impl Client {
    pub(super) fn new(peer: usize, seed: u64, tight: bool, script: Script) -> Self {
        let cancelled = |expected: &Expected| {
            matches!(expected.outcome, Outcome::Answer { .. }) && fate(seed, expected.number) == SlotUse::Cancelled
        };
        let is_cancelled = script.expected.iter().any(cancelled);
        Self {
            peer,
            seed,
            steps: script.steps.into(),
            expected: script.expected.into(),
            reading: script.reading,
            tight,
            stopping: false,
            is_cancelled,
            insists: peer.is_multiple_of(2),
            written: 0,
            inbox: Vec::new(),
            answered: 0,
            continues: 0,
            asked: 0,
            ended: false,
            state: State::Open,
            seen: [0; 3],
        }
    }

    pub(super) fn seen(&self, kind: Seen) -> u64 {
        self.seen[kind as usize]
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What it could do now.
    pub(super) fn options(&self, fake: &Fake) -> impl Iterator<Item = Choice> {
        let reads = self.reading != Reading::Never;
        let here = self.state != State::Over;
        let ready = match self.steps.front() {
            _ if self.state == State::Over => false,
            None => false,
            Some(Step::Await { answers }) => self.answered >= *answers,
            Some(Step::AwaitContinue) => self.continues > self.asked,
            Some(Step::Write { .. } | Step::End | Step::Reset) => true,
        };
        let read = (here && reads && fake.readable(self.peer) > 0).then_some(Choice::Read);
        let insists = self.state == State::Told && ready && !fake.was_reset(self.peer);
        let end = (here && reads && !insists && fake.at_end(self.peer)).then_some(Choice::SeeEnd);
        [read, end, ready.then_some(Choice::Step)].into_iter().flatten()
    }

    pub(super) fn act(&mut self, option: Choice, fake: &mut Fake, random: &mut Random) {
        match option {
            Choice::Read => {
                let most = if self.reading == Reading::Slowly { 1 + random.below(300) } else { usize::MAX };
                self.inbox.extend(fake.read(self.peer, most));
                while self.take_response() {}
            }
            Choice::SeeEnd => self.see_end(fake),
            Choice::Step => self.step(fake, random),
        }
    }

    fn step(&mut self, fake: &mut Fake, random: &mut Random) {
        match self.steps.pop_front() {
            Some(Step::Write { mut bytes, pace }) => {
                let rest = bytes.split_off(bytes.len().min(1 + random.below(pace)));
                self.written += bytes.len();
                fake.write(self.peer, &bytes);
                if !rest.is_empty() {
                    self.steps.push_front(Step::Write { bytes: rest, pace });
                }
            }
            Some(Step::AwaitContinue) => self.asked += 1,
            Some(Step::End) => {
                self.ended = true;
                fake.end(self.peer);
            }
            Some(Step::Reset) => self.leave(fake),
            Some(Step::Await { .. }) | None => {}
        }
    }

    fn leave(&mut self, fake: &mut Fake) {
        fake.reset(self.peer);
        self.state = State::Over;
    }

    /// The run comes to its end: a client that never read begins to, or is gone.
    pub(super) fn hurry(&mut self, fake: &mut Fake, random: &mut Random) {
        if self.reading != Reading::Never || self.is_over() {
            return;
        }
        if random.chance(500) {
            self.reading = Reading::AtOnce;
        } else {
            self.leave(fake);
        }
    }

    /// Whether no timer may run for it: it has sent whole requests and nothing else, is owed a response to one of them
    /// at least, and has read whatever its socket has taken.
    pub(super) fn is_owed_only(&self, fake: &Fake) -> bool {
        let due: Vec<&Expected> = self.expected.iter().take_while(|next| next.due_at <= self.written).collect();
        let is_whole = |next: &&Expected| matches!(next.outcome, Outcome::Answer { .. });
        let is_taken = self.inbox.is_empty() && fake.readable(self.peer) == 0;
        is_taken && due.iter().all(is_whole) && due.last().is_some_and(|last| last.due_at == self.written)
    }

    /// From now on a timer may end it at any moment.
    pub(super) fn may_be_late(&mut self) {
        self.tight = true;
    }

    /// Whether the shard has not received all that it has sent.
    pub(super) fn is_unheard(&self, fake: &Fake) -> bool {
        fake.unreceived(self.peer) > 0
    }

    /// The engine begins to stop.
    pub(super) fn expect_stop(&mut self) {
        self.stopping = true;
    }

    /// Ends its side, or is gone, whatever it was doing.
    pub(super) fn finish(&mut self, fake: &mut Fake, random: &mut Random) {
        if self.is_over() {
            return;
        }
        self.state = State::Over;
        if random.chance(800) {
            fake.end(self.peer);
        } else {
            fake.reset(self.peer);
        }
    }

    /// Whether a response will never be whole.
    fn is_cut(&self, expected: &Expected) -> bool {
        let answered = matches!(expected.outcome, Outcome::Answer { .. });
        answered && !expected.head && fate(self.seed, expected.number) == SlotUse::Cut
    }

    /// The connection has ended from the shard's side.
    fn see_end(&mut self, fake: &mut Fake) {
        let peer = self.peer;
        let forced = fake.was_reset(peer);
        let is_cut = |expected: &Expected| self.is_cut(expected);
        if forced && self.state == State::Open && self.expected.iter().any(is_cut) {
            self.state = State::Over;
            return;
        }
        self.state = match self.state {
            State::Open if self.tight || self.stopping || self.is_cancelled => State::Over,
            State::Open => {
                assert!(!forced, "client {peer} was reset");
                assert!(self.ended, "client {peer} was closed without being told");
                assert!(self.inbox.is_empty(), "client {peer} was left with half an answer");
                let due = self.expected.iter().find(|expected| expected.due_at <= self.written);
                assert!(due.is_none(), "client {peer} was closed without the answer to {due:?}");
                State::Over
            }
            told => {
                let fair = self.tight || self.stopping || self.is_cancelled;
                assert!(fair || !forced, "client {peer} was reset after its last answer");
                assert!(
                    self.inbox.is_empty(),
                    "client {peer} got more than its last answer: {:?}",
                    String::from_utf8_lossy(&self.inbox)
                );
                let _ = told;
                State::Over
            }
        };
        if !self.ended && !forced {
            fake.end(peer);
        }
    }

    /// Whether it waits for nothing.
    pub(super) fn is_content(&self) -> bool {
        self.is_over() || self.steps.is_empty() && self.expected.is_empty()
    }

    /// Nothing moves any more: is there anything this client waits for?
    pub(super) fn assert_content(&self, fake: &Fake) {
        if self.is_over() {
            return;
        }
        let peer = self.peer;
        assert!(self.state == State::Open, "hang: client {peer} waits for the end that it was told of");
        assert!(!self.ended || self.tight, "hang: client {peer} has ended its side and waits for the other");
        let step = self.steps.front();
        assert!(step.is_none(), "hang: client {peer} cannot go on with {step:?}; expected {:?}", self.expected);
        let due = self.expected.front();
        assert!(due.is_none(), "hang: client {peer} waits for {due:?}, unread {}", fake.readable(peer));
    }

    /// Takes one response out of the inbox, if it is whole.
    fn take_response(&mut self) -> bool {
        let Some(head_len) = self.inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|place| place + 4) else {
            return false;
        };
        let head = String::from_utf8_lossy(&self.inbox[..head_len]).into_owned();
        let status: u16 = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status line");
        if status == 100 {
            self.inbox.drain(..head_len);
            self.continues += 1;
            assert!(self.expected.front().is_some(), "client {} got 100 Continue for nothing", self.peer);
            return true;
        }
        assert!(self.state == State::Open, "client {} got an answer after its last: {head}", self.peer);
        if status == 103 {
            self.inbox.drain(..head_len);
            let of = head.lines().find_map(|line| line.strip_prefix("X-For: ")).and_then(|text| text.parse().ok());
            let next = self.expected.front().map(|expected| expected.number);
            // A request that it only begins is not among those that it expects a response to.
            assert!(next.is_none() || of == next, "client {} was informed of another request than its next", self.peer);
            return true;
        }
        // Who ends its side in the middle of a body is told.
        let cut = self.ended && status == 400;
        let fair = cut || (self.tight || self.stopping) && matches!(status, 408 | 503);
        let expected = match self.expected.front().copied() {
            Some(expected) => expected,
            // To a request that was only begun.
            None if fair => {
                Expected { number: 0, outcome: Outcome::Refused(status), head: false, last: true, due_at: 0 }
            }
            None => panic!("client {} got an answer to no request: {head}", self.peer),
        };
        let closes = head.contains("\r\nConnection: close\r\n");
        let rest = &self.inbox[head_len..];
        let whole = if expected.head { Some((Vec::new(), 0)) } else { body_of(&head, rest) };
        let Some((body, length)) = whole else { return false };
        self.inbox.drain(..head_len + length);
        let is_whole = status != 200 || !self.is_cut(&expected);
        assert!(is_whole, "client {} got the whole of an answer that was cut", self.peer);
        self.expected.pop_front();
        self.answered += 1;
        assert!(status == 503 || head.contains(" GMT\r\n"), "an answer without its date: {head}");
        self.judge(expected, status, &body, closes);
        let kind = match status {
            200 => Seen::Answer,
            500 => Seen::Dropped,
            _ => Seen::Refusal,
        };
        self.seen[kind as usize] += 1;
        if closes {
            self.state = State::Told;
            // Some send what they have begun to its end before they look at anything else.
            let goes_on = self.insists && matches!(self.steps.front(), Some(Step::Write { .. }));
            self.steps.truncate(usize::from(goes_on));
            self.expected.clear();
        }
        true
    }

    fn judge(&self, expected: Expected, status: u16, body: &[u8], closes: bool) {
        let context = || format!("client {}: {status} for {expected:?}", self.peer);
        if matches!(status, 408 | 503) {
            let fair = self.tight || (self.stopping && closes);
            return assert!(fair && (closes || status == 503), "{}", context());
        }
        let early = matches!(expected.outcome, Outcome::Refused(_));
        assert!(early || expected.due_at <= self.written, "{} before it was sent", context());
        match expected.outcome {
            Outcome::NotFound => {
                assert_eq!(status, 404, "{}", context());
                assert!(closes == expected.last || (closes && (self.stopping || self.ended)), "{}", context());
            }
            Outcome::Refused(code) => assert_eq!((status, closes), (code, true), "{}", context()),
            Outcome::Answer { sum } => {
                let fate = fate(self.seed, expected.number);
                let code = if fate == SlotUse::Dropped { 500 } else { 200 };
                assert_eq!(status, code, "{}", context());
                let last = expected.last || fate == SlotUse::Closed;
                assert!(closes == last || (closes && (self.stopping || self.ended)), "{}", context());
                if status == 200 && !expected.head {
                    let right = body == response_body(expected.number, sum, fate);
                    assert!(right, "{}: {:?}", context(), String::from_utf8_lossy(&body[..body.len().min(40)]));
                }
            }
        }
    }
}

/// The body behind a response's head, and its bytes on the wire, if it is whole.
fn body_of(head: &str, rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
        return chunked_body(rest);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let length: usize = length.parse().expect("a number");
    Some((rest.get(..length)?.to_vec(), length))
}

/// As [`body_of`], in chunks.
fn chunked_body(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    let line = |at: usize| rest[at..].windows(2).position(|bytes| bytes == b"\r\n").map(|len| &rest[at..at + len]);
    loop {
        let size = line(at)?;
        at += size.len() + 2;
        let size = usize::from_str_radix(core::str::from_utf8(size).expect("text"), 16).expect("a chunk's size");
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(at..at + size)?);
        assert!(rest.get(at + size..at + size + 2)? == b"\r\n", "a chunk ends in a line end");
        at += size + 2;
    }
    loop {
        let field = line(at)?;
        at += field.len() + 2;
        if field.is_empty() {
            return Some((body, at));
        }
        assert!(TRAILERS.starts_with(field), "a trailer field that nobody sent");
    }
}

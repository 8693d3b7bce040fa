//! Requests before one that asks for an upgrade, with bodies that end in the very buffers in which the pipe begins; and
//! what the application does with them: it reads, answers and lets go at any moment, before and behind the switch.
//!
//! Oracle: what is read of a body is what was sent of it; bytes that were looked at and not consumed are the same when
//! they are looked at again.

use super::rig::{read_prefix, target};
use crate::driver::fake::Random;
use crate::queue::{Answered, BodyState, HeadText, Lease};
use crate::record::RequestRecord;

/// What such a request is answered.
pub(super) const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A request before the upgrade, from when it is sent until the application has let it go.
pub(super) struct Earlier {
    /// Its body.
    sent: Vec<u8>,
    lease: Option<Lease<RequestRecord>>,
    read: Vec<u8>,
    /// What was looked at and not consumed.
    looked: Vec<u8>,
    began: bool,
    answered: bool,
    ended: bool,
}

/// Writes a request of number `number` on its connection with a safe method, so that what follows is taken beside it.
pub(super) fn draw(random: &mut Random, number: usize, wire: &mut Vec<u8>) -> Earlier {
    let most = [1, 20, 900, 6000, 30_000][random.below(5)];
    let len = random.below(most);
    let sent: Vec<u8> = (0..len).map(|place| u8::try_from(place * 3 % 241).expect("below 241")).collect();
    let line = format!("GET /a/before/{number} HTTP/1.1\r\nHost: h\r\n");
    wire.extend(line.as_bytes());
    if random.chance(500) {
        wire.extend(format!("Content-Length: {len}\r\n\r\n").as_bytes());
        wire.extend(&sent);
    } else {
        wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(5000)).min(rest.len()));
            wire.extend(format!("{:x}\r\n", piece.len()).as_bytes());
            wire.extend(piece);
            wire.extend(b"\r\n");
            rest = behind;
        }
        wire.extend(if random.chance(300) { &b"0\r\nx-sum: 7\r\n\r\n"[..] } else { b"0\r\n\r\n" });
    }
    Earlier { sent, lease: None, read: Vec::new(), looked: Vec::new(), began: false, answered: false, ended: false }
}

/// The number in the target of such a request.
pub(super) fn number_of(lease: &Lease<RequestRecord>) -> Option<usize> {
    target(lease).strip_prefix("/a/before/")?.parse().ok()
}

impl Earlier {
    /// The application has it.
    pub(super) fn begin(&mut self, mut lease: Lease<RequestRecord>) {
        assert!(!core::mem::replace(&mut self.began, true), "a request is delivered once");
        self.read = read_prefix(&mut lease);
        self.lease = Some(lease);
    }

    /// Does one of the things that can be done. `false`: there is none.
    pub(super) fn act(&mut self, random: &mut Random) -> bool {
        if self.lease.is_none() {
            return false;
        }
        match random.below(4) {
            0 | 1 if self.read_on(random) => true,
            2 if self.answer() => true,
            // Most are kept for long: what comes behind them must leave theirs alone.
            _ if random.chance(900) => self.read_on(random) || self.answer() || self.let_go(random),
            _ => self.answer() || self.let_go(random),
        }
    }

    fn read_on(&mut self, random: &mut Random) -> bool {
        let Some(lease) = self.lease.as_mut().filter(|lease| !self.ended && lease.record().body_open) else {
            return false;
        };
        let state = lease.body_state();
        if !lease.next_body() {
            self.ended = !matches!(state, BodyState::Open);
            return false;
        }
        let bytes = lease.body_bytes();
        assert!(bytes.starts_with(&self.looked), "bytes changed under their reader");
        if self.looked.len() < bytes.len() && random.chance(500) {
            self.looked = bytes.to_vec();
            return true;
        }
        let len = 1 + random.below(bytes.len());
        self.read.extend(&bytes[..len]);
        lease.consume_body(u32::try_from(len).expect("small"));
        self.looked.clear();
        true
    }

    /// Answers, and keeps the handle.
    fn answer(&mut self) -> bool {
        let Some(lease) = self.lease.as_ref().filter(|_| !self.answered) else { return false };
        self.answered = true;
        // `None`: the connection is over.
        let _ = lease.answer(|area| {
            area[..ANSWER.len()].copy_from_slice(ANSWER.as_bytes());
            let head = HeadText { len: u32::try_from(ANSWER.len()).expect("short"), date_at: 0 };
            Ok::<_, ()>(Answered { status: 200, head, ..Answered::default() })
        });
        true
    }

    fn let_go(&mut self, random: &mut Random) -> bool {
        if !self.looked.is_empty() {
            let lease = self.lease.as_mut().expect("asked before");
            assert!(lease.body_bytes().starts_with(&self.looked), "bytes changed under their reader");
            self.looked.clear();
        }
        if self.answered && random.chance(300) {
            self.lease = None;
        }
        self.answered
    }

    /// Nothing is left to be done with it, and what was read of it is what was sent.
    pub(super) fn judge(&self, client_left: bool) {
        assert!(self.sent.starts_with(&self.read), "what was read of a body was not sent");
        assert!(self.lease.is_none() && (self.began || client_left), "hang: a request before the upgrade is left");
    }
}

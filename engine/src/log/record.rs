//! What is known of a request when its line is written.
//!
//! Invariants: what a client has sent is as it was sent; nothing here relies on its form.
//!
//! Not here: how lines are written (`text`, `json`), and what a shard has noted (`note`).

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use super::calendar::Moment;
use super::note::Noted;
use crate::record::Address;

/// What is known of a request that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogRecord<'a> {
    /// When it ended.
    pub(super) at: Moment,
    pub(super) noted: Noted<'a>,
    pub(super) request: RequestText<'a>,
    pub(super) site_name: &'a str,
    pub(super) computer_name: &'a str,
}

/// What logs use of a request's head, as it was sent; empty where it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestText<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) version: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) user_agent: &'a [u8],
    pub(super) cookie: &'a [u8],
    pub(super) referer: &'a [u8],
}

impl<'a> RequestText<'a> {
    /// Takes a head apart, which may be cut, or none at all.
    pub(super) fn of(head: &'a [u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        // Empty lines before a request are passed over (RFC 9112 section 2.2).
        let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
        let mut words = first.splitn(2, |byte| *byte == b' ');
        let (method, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let last = rest.iter().rposition(|byte| *byte == b' ');
        let (target, version) = match last.map(|at| (&rest[..at], &rest[at + 1..])) {
            Some((target, version)) if version.starts_with(b"HTTP/") => (target, version),
            _ => (rest, &[][..]),
        };
        let mut text = Self { method, target, version, ..Self::default() };
        for line in lines.take_while(|line| !line.is_empty()) {
            text.take_field(line);
        }
        text
    }

    fn take_field(&mut self, line: &'a [u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let fields: [(&[u8], &mut &[u8]); 4] = [
            (b"host", &mut self.host),
            (b"user-agent", &mut self.user_agent),
            (b"cookie", &mut self.cookie),
            (b"referer", &mut self.referer),
        ];
        if let Some((_, place)) = fields.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known))
            && place.is_empty()
        {
            *place = value;
        }
    }

    /// The target without its query, and that without its `?`.
    pub(super) fn stem_and_query(&self) -> (&'a [u8], &'a [u8]) {
        match self.target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (self.target, &[]),
        }
    }
}

/// A Unix socket has no address.
pub(super) fn ip(address: Address) -> Option<IpAddr> {
    (!address.is_unix()).then(|| address.ip())
}

/// Writes to memory, which never fails.
pub(super) fn put(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

impl LogRecord<'_> {
    /// Milliseconds from its first byte.
    pub(super) fn millis(&self) -> u64 {
        self.noted.note.took / 1000
    }
}

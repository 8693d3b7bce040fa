//! URLs: the prefixes services register, and the cooked form of the URLs clients send.
//!
//! Invariants:
//! - A target is judged once, here: its form fits the method, its escapes are whole, its text is UTF-8.
//! - The cooked path is decoded exactly once; an escaped slash stays the three bytes `%2F`, so segments never
//!   merge; dot segments are gone and never climb above the root.
//! - The authority of an absolute target wins over the Host field, and both must be well-formed.
//!
//! Not here: DNS, the file system, queries ([`crate::form`]), internationalised host names (they arrive in their ASCII
//! form).
//! Source: RFC 9112 section 3.2, RFC 9110 sections 4.2 and 7.2, RFC 3986 sections 3.2 and 5.2.4.

mod path;
mod prefix;
mod sent;

pub use path::{canonical_path, segment_len, segment_len_within};
pub use prefix::{HostPattern, Prefix, PrefixError, Scheme};
pub use sent::{Dots, sent_path};

use crate::bytes::offset;
use crate::head::{Head, Span};
use crate::method::Method;
use crate::reject::Reject;
use crate::words::is_plain_name;
use core::net::Ipv6Addr;

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// Where the cooked path is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CookedPath {
    /// In the request head, which already has it in canonical form. `*` for [`TargetForm::Asterisk`], empty for
    /// [`TargetForm::Authority`].
    Raw(Span),
    /// In the first so many bytes of the scratch area.
    Scratch(u16),
    /// Nowhere: it is `/`, from an absolute target without a path.
    Root,
}

/// A target taken apart, decoded and checked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cooked {
    /// The form the target had.
    pub form: TargetForm,
    /// The host without port and without a dot at its end, IPv6 literals with their brackets: from the target if it
    /// names one, else from the Host field; [`Span::EMPTY`] if neither does (HTTP/1.0).
    pub host: Span,
    /// The port beside the host; 0 if not given.
    pub port: u16,
    /// The path.
    pub path: CookedPath,
    /// The query with its `?`, not decoded; [`Span::EMPTY`] if none.
    pub query: Span,
}

impl Cooked {
    /// A place to cook into.
    pub const EMPTY: Self =
        Self { form: TargetForm::Origin, host: Span::EMPTY, port: 0, path: CookedPath::Root, query: Span::EMPTY };

    /// The bytes of the path. `base` is the input the head was parsed from, `scratch` gives what was given to [`cook`]
    /// and is asked only for a path that was rewritten.
    ///
    /// # Panics
    /// If either is shorter than it was.
    #[inline]
    #[must_use]
    pub fn path<'a>(&self, base: &'a [u8], scratch: impl FnOnce() -> &'a [u8]) -> &'a [u8] {
        match self.path {
            CookedPath::Raw(span) => span.of(base),
            CookedPath::Scratch(len) => &scratch()[..usize::from(len)],
            CookedPath::Root => b"/",
        }
    }
}

/// Takes the target and the Host field of `head` apart. `base` is the input the head was parsed from; `scratch`
/// receives the path if it must be rewritten and should have as many bytes as the target.
///
/// # Errors
/// 400 for a malformed target or host; 414 if `scratch` is too small.
#[inline]
pub fn cook(base: &[u8], head: &Head, scratch: &mut [u8]) -> Result<Cooked, Reject> {
    let mut cooked = Cooked::EMPTY;
    cook_with(base, head, || scratch, &mut HostMemo::new(), &mut cooked).map(|()| cooked)
}

/// The Host field judged last: clients repeat themselves, and comparing costs less than judging again.
#[derive(Copy, Clone, Debug)]
pub struct HostMemo {
    text: [u8; 64],
    /// Bytes of `text`; 0 while nothing is remembered.
    len: u8,
    /// Of the host judged last, remembered or not.
    host_len: u16,
    port: u16,
}

impl HostMemo {
    /// Remembers nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: [0; 64], len: 0, host_len: 0, port: 0 }
    }

    /// Whether `bytes` are the text. Most are compared in two overlapping pieces, which is cheaper than a call.
    #[inline(always)]
    fn remembers(&self, bytes: &[u8]) -> bool {
        let (text, len) = (&self.text, usize::from(self.len));
        if bytes.len() != len {
            return false;
        }
        match len {
            0 => false,
            8..16 => {
                text.first_chunk::<8>() == bytes.first_chunk()
                    && text[len - 8..].first_chunk::<8>() == bytes.last_chunk()
            }
            16..=32 => {
                text.first_chunk::<16>() == bytes.first_chunk()
                    && text[len - 16..].first_chunk::<16>() == bytes.last_chunk()
            }
            _ => text.get(..len) == Some(bytes),
        }
    }

    /// Stores the host and port of a Host field, judged or remembered.
    #[inline(always)]
    fn authority(&mut self, base: &[u8], span: Span, cooked: &mut Cooked) -> Result<(), Reject> {
        if !self.remembers(span.of(base)) {
            self.judge(base, span)?;
        }
        cooked.host = Span { start: span.start, len: self.host_len };
        cooked.port = self.port;
        Ok(())
    }

    /// Judges a Host field, and remembers it if it is good.
    #[inline(never)]
    fn judge(&mut self, base: &[u8], span: Span) -> Result<(), Reject> {
        let bytes = span.of(base);
        let (host, port) = authority(base, span)?;
        // One that is too long is remembered as none.
        self.len = 0;
        if let (Some(text), Ok(len)) = (self.text.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            text.copy_from_slice(bytes);
            self.len = len;
        }
        (self.host_len, self.port) = (host.len, port);
        Ok(())
    }
}

impl Default for HostMemo {
    fn default() -> Self {
        Self::new()
    }
}

/// [`cook`] with a memory of the Host field before, for one caller's requests in a row; `scratch` is asked for only if
/// the path must be rewritten. The verdicts are the same; an error leaves anything in `cooked`.
///
/// # Errors
/// As [`cook`].
#[inline(always)]
pub fn cook_with<'s>(
    base: &[u8],
    head: &Head,
    scratch: impl FnOnce() -> &'s mut [u8],
    memo: &mut HostMemo,
    cooked: &mut Cooked,
) -> Result<(), Reject> {
    if head.host == Span::EMPTY {
        (cooked.host, cooked.port) = (Span::EMPTY, 0);
    } else {
        memo.authority(base, head.host, cooked)?;
    }
    if head.plain_path_len != 0 {
        let (start, len) = (head.target.start, head.plain_path_len);
        cooked.form = TargetForm::Origin;
        cooked.path = CookedPath::Raw(Span { start, len });
        let query = Span { start: start + len, len: head.target.len - len };
        cooked.query = if query.is_empty() { Span::EMPTY } else { query };
        return Ok(());
    }
    cook_closely(base, head, scratch, cooked)
}

/// Targets of which it is not known that they are canonical; the host has been looked at.
#[inline(never)]
fn cook_closely<'s>(
    base: &[u8],
    head: &Head,
    scratch: impl FnOnce() -> &'s mut [u8],
    cooked: &mut Cooked,
) -> Result<(), Reject> {
    let target = head.target.of(base);
    if target.first() == Some(&b'/') && head.method != Method::Connect {
        cooked.form = TargetForm::Origin;
        (cooked.path, cooked.query) = path_and_query(base, head.target, scratch)?;
        return Ok(());
    }
    *cooked = cook_rare(base, head, scratch(), cooked.host, cooked.port)?;
    Ok(())
}

/// Targets that do not begin with a slash.
#[cold]
fn cook_rare(base: &[u8], head: &Head, scratch: &mut [u8], host: Span, port: u16) -> Result<Cooked, Reject> {
    let target = head.target.of(base);
    if head.method == Method::Connect {
        let (host, port) = authority(base, head.target).map_err(|_| Reject::BadTarget)?;
        if port == 0 {
            return Err(Reject::BadTarget);
        }
        let path = CookedPath::Raw(Span::EMPTY);
        return Ok(Cooked { form: TargetForm::Authority, host, port, path, query: Span::EMPTY });
    }
    if target == b"*" && head.method == Method::Options {
        let path = CookedPath::Raw(head.target);
        return Ok(Cooked { form: TargetForm::Asterisk, host, port, path, query: Span::EMPTY });
    }
    let has_scheme = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
    let scheme_len = [&b"http://"[..], b"https://"].iter().find(|s| has_scheme(s)).map_or(0, |s| s.len());
    if scheme_len == 0 {
        return Err(Reject::BadTarget);
    }
    let rest = &target[scheme_len..];
    let authority_len = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let authority_start = usize::from(head.target.start) + scheme_len;
    let span = Span { start: offset(authority_start), len: offset(authority_len) };
    let (host, port) = authority(base, span).map_err(|_| Reject::BadTarget)?;
    let behind = Span { start: offset(span.end()), len: offset(rest.len() - authority_len) };
    let (path, query) = match rest.get(authority_len) {
        None => (CookedPath::Root, Span::EMPTY),
        Some(b'/') => path_and_query(base, behind, || scratch)?,
        // RFC 9110 section 4.2.3: an empty path is the root. A target has no fragment.
        Some(b'?') if memchr::memchr(b'#', behind.of(base)).is_none() => (CookedPath::Root, behind),
        Some(_) => return Err(Reject::BadTarget),
    };
    Ok(Cooked { form: TargetForm::Absolute, host, port, path, query })
}

/// Splits at the first `?` and makes the path canonical.
#[inline]
fn path_and_query<'s>(
    base: &[u8],
    span: Span,
    scratch: impl FnOnce() -> &'s mut [u8],
) -> Result<(CookedPath, Span), Reject> {
    let bytes = span.of(base);
    let survey = path::survey(bytes);
    let path_len = if survey.plain { survey.len } else { path::query_start(bytes, survey.len) };
    let query = if path_len == bytes.len() {
        Span::EMPTY
    } else {
        if memchr::memchr(b'#', &bytes[path_len..]).is_some() {
            return Err(Reject::BadTarget);
        }
        Span { start: span.start + offset(path_len), len: span.len - offset(path_len) }
    };
    let path = if survey.plain {
        CookedPath::Raw(Span { start: span.start, len: offset(path_len) })
    } else {
        path::rewrite(&bytes[..path_len], scratch())?
            .map_or_else(|| CookedPath::Raw(Span { start: span.start, len: offset(path_len) }), CookedPath::Scratch)
    };
    Ok((path, query))
}

/// Bytes of `reg-name` but the percent sign: unreserved and sub-delims (RFC 3986 section 3.2.2).
const HOST_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 0x80")]
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric()
            || matches!(
                ascii,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        byte += 1;
    }
    table
};

/// Checks `uri-host [":" port]` and takes it apart; port 0 stands for none.
#[inline]
fn authority(base: &[u8], span: Span) -> Result<(Span, u16), Reject> {
    let bytes = span.of(base);
    let plain_len = plain_host_len(bytes);
    let host_len = match bytes.get(plain_len) {
        None | Some(b':') => plain_len,
        Some(_) => unusual_host_len(bytes, plain_len)?,
    };
    if host_len == 0 {
        return Err(Reject::BadHost);
    }
    let port = match &bytes[host_len..] {
        [] => 0,
        [b':', digits @ ..] => port(digits)?,
        _ => return Err(Reject::BadHost),
    };
    // A dot at the end says that the name is a whole one (RFC 3986 section 3.2.2), which all are here.
    let has_dot = host_len > 1 && bytes[host_len - 1] == b'.';
    Ok((Span { start: span.start, len: offset(host_len - usize::from(has_dot)) }, port))
}

/// Length of the longest start of `bytes` that is [`HOST_BYTE`]s.
#[inline]
fn plain_host_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(word) = bytes[len..].first_chunk()
        && is_plain_name(u64::from_le_bytes(*word))
    {
        len += 8;
    }
    bytes[len..].iter().position(|&byte| !HOST_BYTE[usize::from(byte)]).map_or(bytes.len(), |at| len + at)
}

/// Length of a host with escapes or of an IPv6 literal; the first `plain_len` bytes are known to be good.
#[cold]
fn unusual_host_len(bytes: &[u8], plain_len: usize) -> Result<usize, Reject> {
    if bytes[0] == b'[' {
        let close = memchr::memchr(b']', bytes).ok_or(Reject::BadHost)?;
        let literal = core::str::from_utf8(&bytes[1..close]).map_err(|_| Reject::BadHost)?;
        return literal.parse::<Ipv6Addr>().map(|_| close + 1).map_err(|_| Reject::BadHost);
    }
    let mut at = plain_len;
    loop {
        match &bytes[at..] {
            [] | [b':', ..] => return Ok(at),
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => at += 3,
            [byte, ..] if HOST_BYTE[usize::from(*byte)] => at += 1,
            _ => return Err(Reject::BadHost),
        }
    }
}

/// A port of decimal digits, 0 to 65,535; no digits stand for none.
#[inline]
fn port(digits: &[u8]) -> Result<u16, Reject> {
    let mut port: u32 = 0;
    for &digit in digits {
        let value = u32::from(digit.wrapping_sub(b'0'));
        port = port * 10 + value;
        if value > 9 || port > 0xffff {
            return Err(Reject::BadHost);
        }
    }
    u16::try_from(port).map_err(|_| Reject::BadHost)
}

#[cfg(test)]
mod tests;

//! The URL of a request: whole, its path, what of the path is below the prefix that matched, and the path's segments.
//!
//! Invariants: the path is decoded once and has no dot segments; its segments are decoded each by itself, so that an
//! escaped slash separates nothing and nothing is lost; what is below a prefix begins where the prefix ends, whatever
//! the case it matched in.
//!
//! Not here: how a path is decoded and routed (`proto::url`, room `route`).

use std::borrow::Cow;
use std::fmt::Write as _;

use ringress_proto::escape::Unescaped;
use ringress_proto::url::{CookedPath, Dots, TargetForm, segment_len, sent_path};

use super::Request;
use super::pairs::decoded;

impl Request {
    /// The request target as sent: for logs.
    #[must_use]
    pub fn raw_url(&self) -> &[u8] {
        self.record().head.target.of(self.lease.received())
    }

    /// Which of the four forms the target had (RFC 9112 section 3.2).
    #[must_use]
    pub fn target_form(&self) -> TargetForm {
        self.record().cooked.form
    }

    /// The path: decoded once (`%2F` stays as it is), without dot segments, UTF-8. `*` for `OPTIONS *`.
    #[must_use]
    pub fn path(&self) -> &str {
        // Checked when it was cooked; checking again is cheaper than being wrong.
        core::str::from_utf8(self.path_bytes()).unwrap_or("")
    }

    /// The path as bytes.
    #[inline]
    #[must_use]
    pub fn path_bytes(&self) -> &[u8] {
        match self.record().cooked.path {
            CookedPath::Raw(span) => span.of(self.lease.received()),
            CookedPath::Scratch(_) => self.lease.cooked(),
            CookedPath::Root => b"/",
        }
    }

    /// The query as sent, without its `?`; `None` if there was none.
    #[inline]
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.record().cooked.query.of(self.lease.received()).strip_prefix(b"?")
    }

    /// The path as sent: neither decoded nor freed of dot segments, without the query. Empty for CONNECT, and where an
    /// absolute target has none; `*` for `OPTIONS *`.
    #[must_use]
    pub fn raw_path(&self) -> &[u8] {
        sent_path(self.raw_url(), self.target_form())
    }

    /// What of the [path](Self::path) is below the URL prefix that matched, as if that were the root: it begins with a
    /// slash, and is that alone where nothing is below. Of `/shop/cart/7` by the prefix `http://*:80/shop/`, that is
    /// `/cart/7`.
    ///
    /// `*` for `OPTIONS *`, and empty for CONNECT, as the path.
    #[must_use]
    pub fn rest(&self) -> &str {
        match (self.routed().prefix_bytes(), self.path()) {
            (0, path) => path,
            (len, path) => path.get(len..).filter(|rest| !rest.is_empty()).unwrap_or("/"),
        }
    }

    /// The segments of the path, each decoded by itself: an escaped slash is a slash in its segment, and nothing is
    /// lost. Of `/a%2Fb/c%252Fd`, they are `a/b` and `c%2Fd`, which [`path`](Self::path) has as `a%2Fb` and `c%2Fd`.
    ///
    /// `/` has none; behind a slash at the end there is an empty one. Dot segments are gone.
    #[must_use]
    pub fn path_segments(&self) -> Segments<'_> {
        self.segments_below(0)
    }

    /// The segments of what is below the URL prefix that matched ([`rest`](Self::rest)), as
    /// [`path_segments`](Self::path_segments) has those of the whole path.
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn answer(request: Request) -> Result<()> {
    ///     // With the prefix http://*:80/shop/, of /shop/cart/7:
    ///     let mut segments = request.rest_segments();
    ///     let text = match (segments.next().as_deref(), segments.next(), segments.next()) {
    ///         (None, ..) => "the shop".to_owned(),
    ///         (Some("cart"), Some(number), None) => format!("cart {number}"),
    ///         _ => return request.respond(Response::new(404)),
    ///     };
    ///     request.respond(Response::text(text))
    /// }
    /// ```
    #[must_use]
    pub fn rest_segments(&self) -> Segments<'_> {
        self.segments_below(self.routed().prefix_bytes())
    }

    /// The segments of the path behind so many bytes, which end before a slash or at the end.
    fn segments_below(&self, len: usize) -> Segments<'_> {
        let path = self.path_bytes();
        let below = path.get(len..).and_then(|path| path.strip_prefix(b"/")).filter(|below| !below.is_empty());
        let Some(below) = below else { return Segments(Source::End) };
        let sent = self.raw_path();
        // A path that was rewritten and has no escaped percent sign has only its escaped slashes left.
        if !matches!(self.record().cooked.path, CookedPath::Scratch(_)) || !has_escaped_percent(sent) {
            return Segments(Source::Cooked(below));
        }
        let above = path[..len].iter().filter(|byte| **byte == b'/').count();
        let mut kept = kept_segments(sent);
        kept.drain(..above.min(kept.len()));
        Segments(Source::Sent(kept.into_iter()))
    }

    /// The whole URL (RFC 9110 section 7.1): the target as sent, if that was absolute; else scheme, host and port as
    /// the client names them, and path and query as sent. Without a host (HTTP/1.0), the address it connected to;
    /// without a path, of `OPTIONS *` and CONNECT. Bytes beyond ASCII are escaped.
    ///
    /// The host is what the client says it is: compare it with those you know before you send anybody there.
    #[must_use]
    pub fn full_url(&self) -> String {
        let target = self.raw_url();
        let mut url = String::with_capacity(64 + target.len());
        match self.target_form() {
            TargetForm::Absolute => push_escaped(&mut url, target),
            form => {
                self.push_origin(&mut url);
                if form == TargetForm::Origin {
                    push_escaped(&mut url, target);
                }
            }
        }
        url
    }

    fn push_origin(&self, url: &mut String) {
        url.push_str("http://");
        // Writing to a string does not fail.
        if self.host().is_empty() {
            let _ = write!(url, "{}", self.local_addr());
            return;
        }
        push_escaped(url, self.host());
        if let Some(port) = self.host_port() {
            let _ = write!(url, ":{port}");
        }
    }
}

fn push_escaped(url: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = if byte.is_ascii() { url.write_char(char::from(*byte)) } else { write!(url, "%{byte:02X}") };
    }
}

fn has_escaped_percent(path: &[u8]) -> bool {
    memchr::memmem::find(path, b"%25").is_some()
}

/// The segments of a path as sent that are those of the cooked one, as sent: dot segments are gone.
fn kept_segments(path: &[u8]) -> Vec<&[u8]> {
    let mut kept = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = Dots::of(segment);
        match dots {
            None => kept.push(segment),
            Some(Dots::One) => {}
            Some(Dots::Two) => drop(kept.pop()),
        }
        if dots.is_some() && segments.peek().is_none() {
            kept.push(b"");
        }
    }
    kept
}

/// The segments of a path, decoded, in order. See [`Request::path_segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    End,
    /// What is left of a path in which nothing but slashes is escaped, without the slash before it.
    Cooked(&'a [u8]),
    /// As sent.
    Sent(std::vec::IntoIter<&'a [u8]>),
}

impl<'a> Iterator for Segments<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let segment = match &mut self.0 {
            Source::End => return None,
            Source::Cooked(rest) => {
                let len = segment_len(rest);
                let (segment, behind) = rest.split_at(len);
                self.0 = behind.strip_prefix(b"/").map_or(Source::End, Source::Cooked);
                segment
            }
            Source::Sent(kept) => kept.next()?,
        };
        Some(decoded(Unescaped::of_segment(segment)))
    }
}

//! One request, its head to be read without copying, to be answered once.
//!
//! Invariants: whatever answers or cancels a request by its handle takes the handle, so that happens at most once; what
//! is read is lent from the shard's memory and does not change meanwhile; a Transfer-Encoding field is never shown.
//!
//! Not here: reading the body (`body`), what is written for a response (`response`), responses in pieces (`stream`),
//! and responses by id (`receive`).

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use ringress_proto::head::{HeaderSpan, Version};
use ringress_proto::header::KnownHeader;
use ringress_proto::method::Method;
use ringress_proto::url::{CookedPath, TargetForm};

use super::completion::Completion;
use super::response::{self, Response, Short};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ConnectionId, RequestId, UrlGroupId};
use crate::queue::{Command, Filled, INFORMATIONAL_MAX, Lease, NotSent};
use crate::record::RequestRecord;

/// A request, delivered when its head is whole. Its body is read from it: [`body`](Self::body). `Send`; it borrows
/// nothing.
///
/// Dropping it unanswered answers it with 500 and counts it
/// ([`requests_abandoned`](crate::Counters::requests_abandoned)).
pub struct Request {
    pub(super) lease: Lease<RequestRecord>,
    /// What was read of the body by a future that was dropped before it could hand it over: to be read again, first.
    pub(super) given_back: Option<Box<Bytes>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = String::from_utf8_lossy(self.method_name());
        f.debug_struct("Request").field("id", &self.id()).field("method", &method).finish_non_exhaustive()
    }
}

impl Request {
    #[inline]
    pub(super) fn new(lease: Lease<RequestRecord>) -> Self {
        Self { lease, given_back: None }
    }

    #[inline]
    pub(super) fn record(&self) -> &RequestRecord {
        self.lease.record()
    }

    pub(super) fn command(&self, command: Command) {
        self.lease.command(command);
    }

    /// The request's id: what [`RequestQueue::respond`](crate::RequestQueue::respond) takes.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.lease.id()
    }

    /// The connection it came on.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.record().connection
    }

    /// The shard that serves the connection, counted from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        usize::from(self.lease.shard().0)
    }

    /// The method; [`Method::Unknown`] for one without a name here.
    #[inline]
    #[must_use]
    pub fn method(&self) -> Method {
        self.record().head.method
    }

    /// The method as sent, 1 to 32 bytes.
    #[must_use]
    pub fn method_name(&self) -> &[u8] {
        self.record().head.method_name.of(self.lease.received())
    }

    /// The version the client speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record().head.version
    }

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

    /// The host without its port and without a dot at its end, from the target if that names one, else from the Host
    /// field; empty in HTTP/1.0 without either.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.record().cooked.host.of(self.lease.received())
    }

    /// The port beside the host; `None` if none was given.
    #[must_use]
    pub fn host_port(&self) -> Option<u16> {
        match self.record().cooked.port {
            0 => None,
            port => Some(port),
        }
    }

    /// The context given with the URL prefix that matched.
    #[inline]
    #[must_use]
    pub fn url_context(&self) -> u64 {
        self.record().url_context
    }

    /// The URL group whose prefix matched: see [`UrlGroup::id`](crate::UrlGroup::id).
    #[inline]
    #[must_use]
    pub fn url_group(&self) -> UrlGroupId {
        self.record().group
    }

    /// Whether an IP-bound prefix matched.
    #[must_use]
    pub fn is_ip_routed(&self) -> bool {
        self.record().ip_routed
    }

    /// The client's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.record().peer.into()
    }

    /// The address the client connected to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.record().local.into()
    }

    /// The header fields in the order sent, Transfer-Encoding left out (the body is decoded).
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers { spans: self.record().head.headers().iter(), bytes: self.lease.received() }
    }

    /// The value of the first field of a known name, without surrounding white space. Transfer-Encoding is never there:
    /// the body is decoded.
    #[inline]
    #[must_use]
    pub fn header(&self, name: KnownHeader) -> Option<&[u8]> {
        if name == KnownHeader::TransferEncoding {
            return None;
        }
        self.record().head.find(name).map(|span| span.value(self.lease.received()))
    }

    /// The value of the first field of any name, without regard to case.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        let bytes = self.lease.received();
        let found = self.record().head.find_name(bytes, name);
        found.filter(|span| span.known != KnownHeader::TransferEncoding).map(|span| span.value(bytes))
    }

    /// Bytes the request took on the wire up to its delivery: its head, and what came with it of its body, framing
    /// included.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.record().wire_bytes
    }

    /// Whether the connection may go on after the response, as far as the request says.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.record().keep_alive
    }

    /// Answers the request.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over; [`Invalid`](crate::ErrorKind::Invalid) or
    /// [`TooLarge`](crate::ErrorKind::TooLarge) for a response that cannot be sent. The error then has the request,
    /// still open: [`Error::take_request`]. Dropped with it, it is answered with 500.
    #[inline]
    pub fn respond(self, response: Response<'_>) -> Result<()> {
        match response.into_short() {
            Ok(short) => {
                let filled = self.fill_short(short);
                self.submit(filled)
            }
            Err(response) => self.apart().respond_any(response),
        }
    }

    #[inline(never)]
    fn respond_any(self, mut response: Response<'_>) -> Result<()> {
        let filled = self.fill(&mut response);
        self.submit(filled)
    }

    /// The same, in memory of its own: what a call is given is in memory from when it is made on.
    #[inline(always)]
    fn apart(self) -> Self {
        let Self { lease, given_back } = self;
        Self { lease: lease.apart(), given_back }
    }

    /// Answers the request with what `make` makes of it; the response may borrow from the request.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    #[inline]
    pub fn respond_with(self, make: impl for<'r> FnOnce(&'r Self) -> Response<'r>) -> Result<()> {
        // Made before the right to answer is claimed: if it panics, the request is dropped like any other.
        let filled = match make(&self).into_short() {
            Ok(short) => self.fill_short(short),
            Err(mut response) => self.fill(&mut response),
        };
        self.submit(filled)
    }

    /// Answers the request, and tells later what became of the response.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub fn respond_with_completion(self, mut response: Response<'_>) -> Result<Completion> {
        let mut sent = None;
        if self.leaves_body() {
            response.end_connection();
        }
        let filled = self.lease.fill(|area| {
            let filled = response::fill_pieces(self.record(), self.lease.template(), &mut response, area);
            filled.map(|(answered, stream)| {
                sent = Some(stream);
                answered
            })
        });
        let engine = self.lease.engine();
        self.submit(filled)?;
        sent.map(|stream| Completion::new(stream, engine)).ok_or(Error::GONE)
    }

    pub(super) fn lease(&self) -> &Lease<RequestRecord> {
        &self.lease
    }

    #[inline]
    fn fill(&self, response: &mut Response<'_>) -> Option<Result<Filled>> {
        if self.leaves_body() {
            response.end_connection();
        }
        self.lease.fill(|area| response::fill(self.record(), self.lease.template(), response, area))
    }

    #[inline]
    fn fill_short(&self, mut short: Short<'_>) -> Option<Result<Filled>> {
        if self.leaves_body() {
            short.end_connection();
        }
        self.lease.fill(|area| short.fill(self.record(), self.lease.template(), area))
    }

    #[inline]
    fn submit(self, filled: Option<Result<Filled>>) -> Result<()> {
        match filled {
            Some(Ok(filled)) => {
                self.lease.submit(filled);
                Ok(())
            }
            Some(Err(error)) => Err(error.holding(self)),
            None => Err(Error::GONE),
        }
    }

    /// Gives the client an informational response (RFC 9110 section 15.2) before the final one, as 103 with Link: with
    /// a status of 100 to 199 but not 101, and these header fields. Any number of times; it goes out in order, after
    /// the responses to earlier requests and before the response to this one, and what it holds is copied.
    ///
    /// Not every client understands it, though HTTP/1.1 asks for that: some proxies, older nginx among them, take 103
    /// for the final response, and the final response for that to the next request. Give 103 only to those known to
    /// read on, or where no such proxy stands between.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over or answered;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) towards HTTP/1.0, which knows no such responses;
    /// [`Full`](crate::ErrorKind::Full) while 16 of them wait for earlier responses, or for the client to read;
    /// [`Invalid`](crate::ErrorKind::Invalid) or [`TooLarge`](crate::ErrorKind::TooLarge) for what cannot be sent.
    pub fn send_informational(&self, status: u16, fields: &[(&str, &str)]) -> Result<()> {
        if !response::has_informational(self.record()) {
            let text = format!("a response of status {status} to HTTP/1.0, which has none below 200: leave it out");
            return Err(Error::unsupported(text));
        }
        let response = response::informational(status, fields, self.lease.head_bytes_max())?;
        self.lease.send_informational(response).map_err(|refused| match refused {
            NotSent::Over => Error::GONE,
            NotSent::Full => {
                let text =
                    format!("{INFORMATIONAL_MAX} informational responses of this request wait already to be sent");
                Error::new(ErrorKind::Full, text + ": give fewer, or wait until the client has read some")
            }
        })
    }

    /// Cancels the request: its connection is reset, without a response. See
    /// [`RequestQueue::cancel`](crate::RequestQueue::cancel).
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over.
    pub fn cancel(self) -> Result<()> {
        if self.lease.cancel() { Ok(()) } else { Err(Error::GONE) }
    }

    /// Gives the handle up and keeps the id: the request stays open until it is answered by id
    /// ([`RequestQueue::respond`](crate::RequestQueue::respond)), its client leaves or its queue ends, which abandons
    /// it: now, if that is closed by the last of its handles. It can no longer be read.
    #[must_use = "without its id the request can never be answered"]
    pub fn into_id(self) -> RequestId {
        self.lease.detach()
    }
}

impl Error {
    /// The request that could not be answered with what it was given, still open, to be answered some other way. `None`
    /// where a request is over, for other errors, and when it was taken before.
    ///
    /// Of [`Request::respond`], [`respond_with`](Request::respond_with),
    /// [`respond_with_completion`](Request::respond_with_completion), [`start`](Request::start) and
    /// [`upgrade`](Request::upgrade); a request that is answered by its id stays open by itself.
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn answer(request: Request, response: Response<'_>) -> Result<()> {
    ///     request.respond(response).or_else(|mut error| match error.take_request() {
    ///         Some(request) => request.respond(Response::new(500).body(error.to_string())),
    ///         None => Err(error),
    ///     })
    /// }
    /// ```
    pub fn take_request(&mut self) -> Option<Request> {
        self.take()
    }
}

/// The header fields of a request: names and values, in the order sent.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    spans: core::slice::Iter<'a, HeaderSpan>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.find(|span| span.known != KnownHeader::TransferEncoding)?;
        Some((span.name(self.bytes), span.value(self.bytes)))
    }
}

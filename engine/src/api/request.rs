//! One request, its head to be read without copying, to be answered once.
//!
//! Invariants: whatever answers or cancels a request by its handle takes the handle, so that happens at most once.
//!
//! Not here: what it says (`reading`, `body`), what is written for a response (`response`), responses in pieces
//! (`stream`), and responses by id (`receive`).

use std::fmt;

use bytes::Bytes;

use super::completion::Completion;
use super::response::{self, Response, Short};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ConnectionId, RequestId};
use crate::queue::{Command, Filled, INFORMATIONAL_MAX, Lease, NotSent};
use crate::record::RequestRecord;

/// A request, delivered when its head is whole. Its body is read from it: [`body`](Self::body). `Send`; it borrows
/// nothing.
///
/// Dropping it unanswered answers it with 500 and counts it
/// ([`requests_abandoned`](crate::Counters::requests_abandoned)).
#[must_use = "a request that is dropped is answered 500"]
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
        self.tell_log(&response);
        let filled = self.lease.fill(|area| {
            let filled = response::fill_pieces(self.record(), &self.lease.facts().template, &mut response, area);
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
        self.tell_log(response);
        self.lease.fill(|area| response::fill(self.record(), &self.lease.facts().template, response, area))
    }

    /// What the log is to say comes before the response. It stays, if that cannot be sent, for the next one.
    #[inline]
    pub(super) fn tell_log(&self, response: &Response<'_>) {
        if let Some(text) = response.log_text() {
            self.command(Command::LogText(self.id(), text.into()));
        }
    }

    #[inline]
    fn fill_short(&self, mut short: Short<'_>) -> Option<Result<Filled>> {
        if self.leaves_body() {
            short.end_connection();
        }
        self.lease.fill(|area| short.fill(self.record(), &self.lease.facts().template, area))
    }

    // Out of line it would be lent its lease in memory: turn/colocated-64/1.
    #[inline(always)]
    fn submit(self, filled: Option<Result<Filled>>) -> Result<()> {
        match filled {
            Some(Ok(filled)) => {
                self.lease.submit(filled);
                Ok(())
            }
            Some(Err(error)) => Err(self.apart().refused(error)),
            None => Err(Error::GONE),
        }
    }

    #[cold]
    #[inline(never)]
    fn refused(self, error: Error) -> Error {
        error.holding(self)
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

    /// Whether a part of its body can be read no more.
    pub(super) fn has_torn_body(&self) -> bool {
        // Without a body, its slot's reader is that of an earlier request.
        self.content_length() != Some(0) && self.lease.reader().is_torn
    }

    /// Gives the handle up and keeps the id: the request stays open until it is answered by id
    /// ([`RequestQueue::respond`](crate::RequestQueue::respond)), its client leaves or its queue ends, which abandons
    /// it: now, if that is closed by the last of its handles. To read it again, take the handle back:
    /// [`RequestQueue::request`](crate::RequestQueue::request).
    #[must_use = "without its id the request can never be answered"]
    pub fn into_id(mut self) -> RequestId {
        if self.given_back.is_some() {
            self.lease.reader_mut().is_torn = true;
        }
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

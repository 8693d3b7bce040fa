//! Conditional and range requests: what a request asks for, given what a representation is known by, and the response
//! made of the one that would have been given to a plain request.
//!
//! Invariants: every line of a field counts, not only the first; a response to another method than GET and HEAD, or
//! with another status than 200, stays as it is.
//!
//! Not here: the rules themselves (`proto::conditional`, `proto::range`), what a representation is known by
//! (`validators`), and how a response changes (`response/parts.rs`).
//!
//! Source: RFC 9110 sections 13, 14.

use ringress_proto::conditional::{self, Outcome};
use ringress_proto::header::KnownHeader;
use ringress_proto::method::Method;
use ringress_proto::range::{self, Selection};

use super::request::Request;
use super::response::Response;
use super::validators::Validators;
use crate::clock;

/// What the preconditions of a request make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// It is carried out as without them.
    Proceed,
    /// The client has the representation already: 304, with the validators and what the 200 would have had for caches
    /// (RFC 9110 section 15.4.5).
    NotModified,
    /// 412: the representation is not the one that the client believes to be there.
    Failed,
}

impl Request {
    /// Asks the request's preconditions (If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since), given the
    /// validators of the representation that is there now, or `None` if there is none. To be asked before the request
    /// is carried out, and only if it would otherwise succeed (RFC 9110 section 13.2.1).
    ///
    /// For GET and HEAD, [`Response::select`](crate::Response::select) asks, and answers.
    ///
    /// ```no_run
    /// # use ringress::{Precondition, Request, Response, Result, Validators};
    /// fn put(request: Request, current: Option<&Validators>) -> Result<()> {
    ///     // `If-None-Match: *` means: only if there is none yet. `If-Match: "a"`: only if it is still that one.
    ///     if request.precondition(current) != Precondition::Proceed {
    ///         return request.respond(Response::new(412));
    ///     }
    ///     // ... store it ...
    ///     request.respond(Response::new(204))
    /// }
    /// ```
    #[must_use]
    pub fn precondition<'v>(&self, current: impl Into<Option<&'v Validators>>) -> Precondition {
        let current = current.into().map(Validators::of_proto);
        match conditional::evaluate(self.method(), |name| self.header_values(name), current) {
            Outcome::Proceed => Precondition::Proceed,
            Outcome::NotModified => Precondition::NotModified,
            Outcome::PreconditionFailed => Precondition::Failed,
        }
    }

    /// Which parts of a representation of `length` bytes the request asks for (Range, If-Range). Everything, if it is
    /// no GET; if the field is malformed, repeated, or of another unit than bytes; if it asks for more than 16 ranges,
    /// or for more bytes than there are; if If-Range names another representation, or one that is known by a weak tag
    /// or by a date of less than a second ago; and of an empty representation.
    ///
    /// To be asked after [`precondition`](Self::precondition), if the response would be 200.
    /// [`Response::select`](crate::Response::select) does both.
    #[must_use]
    pub fn select(&self, validators: &Validators, length: u64) -> Selection {
        let (Ok(Some(range)), true) = (self.only_value(KnownHeader::Range), length > 0) else {
            return Selection::Whole;
        };
        let Ok(if_range) = self.only_value(KnownHeader::IfRange) else { return Selection::Whole };
        let etag = validators.etag().map(str::as_bytes);
        let is_past = |time: &u64| *time < clock::wall().as_secs();
        let counts =
            if_range.is_none() || range::if_range(if_range, etag, validators.of_proto().last_modified.filter(is_past));
        range::select(self.method(), counts.then_some(range), length)
    }

    /// The value of a field that is no list, or `None` without it; an error if it is repeated.
    fn only_value(&self, name: KnownHeader) -> core::result::Result<Option<&[u8]>, ()> {
        let mut values = self.header_values(name);
        let value = values.next();
        if values.next().is_some() { Err(()) } else { Ok(value) }
    }
}

impl Response<'_> {
    /// The part of this response that the request asks for. Make the response as for a plain GET, with its fields and
    /// the whole body, in memory or in files; this turns it into what conditions and ranges ask for:
    ///
    /// | status | when | what |
    /// |--:|---|---|
    /// | 200 | otherwise, and always for HEAD | the response, with ETag, Last-Modified and `Accept-Ranges: bytes` |
    /// | 206 | one range | the same with Content-Range, and these bytes alone |
    /// | 206 | several ranges | the same as `multipart/byteranges`; each part has the Content-Type |
    /// | 304 | the client has it already | no body, no content fields; ETag, Last-Modified and all others |
    /// | 412 | If-Match or If-Unmodified-Since fails | no body; no fields of content, representation or for caches |
    /// | 416 | no range has a byte of it | the same, and `Content-Range: bytes */LENGTH` |
    ///
    /// ETag and Last-Modified are those of `validators`; the response's own, and its Accept-Ranges, are replaced. What
    /// is given whole although a Range field is there: see [`Request::select`]; also several ranges of a response with
    /// a Content-Encoding. A response to another method than GET and HEAD, or with another status than 200, stays as it
    /// is: ask [`Request::precondition`] before carrying such a request out.
    ///
    /// ```no_run
    /// use std::fs::File;
    /// # use ringress::{FileRange, Request, Response, Validators};
    ///
    /// fn serve(request: Request, file: File) -> Result<(), Box<dyn std::error::Error>> {
    ///     let metadata = file.metadata()?;
    ///     let validators = Validators::of(&metadata);
    ///     let response = Response::ok().content_type("video/mp4").header("Cache-Control", "max-age=60");
    ///     let response = response.body(FileRange::new(file, 0..metadata.len())).select(&request, &validators);
    ///     Ok(request.respond(response)?)
    /// }
    /// ```
    pub fn select(mut self, request: &Request, validators: &Validators) -> Self {
        if !self.is_ok() || !matches!(request.method(), Method::Get | Method::Head) {
            return self;
        }
        match request.precondition(validators) {
            Precondition::Proceed => {}
            Precondition::NotModified => {
                self.become_empty(304);
                self.say(validators);
                return self;
            }
            Precondition::Failed => {
                self.become_error(412);
                return self;
            }
        }
        self.say(validators);
        self.offer_ranges();
        let length = self.body_len();
        if self.states_other_length(length) {
            // Without its body a part of it cannot be given; to GET it is a mistake that the response will tell.
            return self;
        }
        match request.select(validators, length) {
            Selection::Single(range) => self.become_part(range, length),
            Selection::Multiple(ranges) => self.become_parts(&ranges, length),
            Selection::Unsatisfiable => self.become_unsatisfied(length),
            // The whole may be given whatever is asked for.
            _ => {}
        }
        self
    }
}

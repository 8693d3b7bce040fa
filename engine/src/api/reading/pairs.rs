//! The names and values of a query, or of a form that is a request's body.
//!
//! Invariants: decoded once, and borrowed where decoding changes nothing; what is not UTF-8 is replaced (U+FFFD), as
//! the standard has it.
//!
//! Not here: where pairs begin and end (`proto::form`), and what escapes stand for (`proto::escape`).
//! Source: WHATWG URL Standard, section "application/x-www-form-urlencoded parsing".

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::borrow::Cow;

use bytes::Bytes;
use ringress_proto::escape::Unescaped;
use ringress_proto::form;
use ringress_proto::header::KnownHeader;

use super::Request;
use crate::api::body::{RequestBody, ToBytes};
use crate::error::{Error, ErrorKind, Result};

impl Request {
    /// The names and values of the query, decoded (percent escapes, and `+` for a space), in the order sent. As sent:
    /// [`query`](Self::query).
    ///
    /// ```no_run
    /// # use ringress::Request;
    /// # fn read(request: &Request) {
    /// // Of /search?q=caf%C3%A9+noir&page=2:
    /// let pairs: Vec<_> = request.query_pairs().collect();
    /// assert_eq!(pairs, [("q".into(), "caf\u{e9} noir".into()), ("page".into(), "2".into())]);
    /// # }
    /// ```
    #[must_use]
    pub fn query_pairs(&self) -> Pairs<'_> {
        Pairs::of(self.query().unwrap_or_default())
    }

    /// The value of the first pair of this name in the query, whose case counts: see
    /// [`query_pairs`](Self::query_pairs). Empty for a name without `=`.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().value(name)
    }
}

/// Names and values, decoded, in the order sent: of a query ([`Request::query_pairs`]) or a form ([`Form::pairs`]).
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    pairs: form::Pairs<'a>,
}

impl<'a> Pairs<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { pairs: form::Pairs::new(text) }
    }

    fn value(mut self, name: &str) -> Option<Cow<'a, str>> {
        self.find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.pairs.next()?;
        Some((decoded(Unescaped::of_form(name)), decoded(Unescaped::of_form(value))))
    }
}

/// What a text stands for; what of it is not UTF-8 is replaced.
pub(super) fn decoded(text: Unescaped<'_>) -> Cow<'_, str> {
    if let Some(text) = text.as_sent() {
        return String::from_utf8_lossy(text);
    }
    let bytes = Vec::from_iter(text);
    Cow::Owned(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// A form that was a request's body: see [`RequestBody::to_form`].
#[derive(Clone, Debug)]
pub struct Form {
    bytes: Bytes,
}

impl Form {
    /// Its names and values, decoded, in the order sent.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs::of(&self.bytes)
    }

    /// The value of the first pair of this name, whose case counts. Empty for a name without `=`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.pairs().value(name)
    }
}

/// A form to come: see [`RequestBody::to_form_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct ToForm<'f> {
    refused: Option<Error>,
    bytes: ToBytes<'f>,
}

impl Future for ToForm<'_> {
    type Output = Result<Form>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Form>> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.bytes).poll(context).map_ok(|bytes| Form { bytes })
    }
}

impl RequestBody<'_> {
    /// Reads what is left of the body, at most `limit` bytes, as a form: what browsers send by POST, unless it has
    /// files (`application/x-www-form-urlencoded`).
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn login(request: &mut Request) -> Result<Response<'static>> {
    ///     let form = request.body().to_form(4_096)?;
    ///     let is_right = form.value("password").as_deref() == Some("open sesame");
    ///     Ok(Response::new(if is_right { 204 } else { 403 }))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`UnsupportedMediaType`](crate::ErrorKind::UnsupportedMediaType) for a body of another Content-Type, of which
    /// nothing is read; as [`to_bytes`](Self::to_bytes). What [serves](crate::RequestQueue::serve) a handler that
    /// returns them answers 415 and 413.
    pub fn to_form(&mut self, limit: usize) -> Result<Form> {
        self.check_form()?;
        self.to_bytes(limit).map(|bytes| Form { bytes })
    }

    /// As [`to_form`](Self::to_form), as a future. Dropped before it is ready, or with an error, it has read nothing.
    ///
    /// # Errors
    /// As [`to_form`](Self::to_form) and [`read_async`](Self::read_async).
    pub fn to_form_async(&mut self, limit: usize) -> ToForm<'_> {
        let refused = self.check_form().err();
        ToForm { refused, bytes: self.to_bytes_async(limit) }
    }

    fn check_form(&self) -> Result<()> {
        let content_type = self.request().header(KnownHeader::ContentType);
        if content_type.is_some_and(form::is_form) {
            return Ok(());
        }
        let what = content_type.map_or(Cow::Borrowed("without a Content-Type"), |what| String::from_utf8_lossy(what));
        Err(Error::new(
            ErrorKind::UnsupportedMediaType,
            format!(
                "the request's body is no form, but {what}: answer 415, or read it as it is (to_bytes); a form is \
             application/x-www-form-urlencoded"
            ),
        ))
    }
}

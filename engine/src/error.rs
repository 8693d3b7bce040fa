//! The engine's one error type: few kinds, and a text that names the setting, the value, the limit and the remedy.
//!
//! Invariants: building `Gone` or `Closed` allocates nothing, since applications meet them on the way of a request.
//!
//! Not here: errors of peers. A client's mistake becomes a response on its connection, never an `Err` here.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What went wrong, as far as a program can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is over: answered before, cancelled, or its client is gone. Forget the id and take the next one.
    Gone,
    /// The queue or its engine has been shut down, or the engine has failed
    /// ([`Engine::failure`](crate::Engine::failure)): leave the receive loop.
    Closed,
    /// Something is larger than its limit, which the text names. To be sent: a response's head or an informational
    /// response (`response_area_bytes`), a body in one piece (2 GiB), a trailer section (16 KiB). To be read: a
    /// request's body (`request_body_max`, or the limit that `to_bytes` was given).
    TooLarge,
    /// So much waits already to be sent that no more is taken; the text names the limit. Try again later.
    Full,
    /// An argument or a setting is not valid; the text names it.
    Invalid,
    /// The kernel, or the chosen mode, cannot do this; the text names the cause and the remedy.
    Unsupported,
    /// The operating system refused; [`source`](std::error::Error::source) is its error.
    Io,
}

/// An error of the engine. See [`ErrorKind`] for what can be done about it. A clone is another handle to the same text.
#[derive(Clone)]
pub struct Error(Repr);

#[derive(Clone)]
enum Repr {
    Plain(ErrorKind),
    Detailed(Arc<Detailed>),
}

struct Detailed {
    kind: ErrorKind,
    text: Cow<'static, str>,
    source: Option<io::Error>,
}

/// The engine's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) const GONE: Self = Self(Repr::Plain(ErrorKind::Gone));
    pub(crate) const CLOSED: Self = Self(Repr::Plain(ErrorKind::Closed));

    #[cold]
    pub(crate) fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self(Repr::Detailed(Arc::new(Detailed { kind, text: text.into(), source: None })))
    }

    #[cold]
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, text)
    }

    #[cold]
    pub(crate) fn unsupported(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, text)
    }

    #[cold]
    pub(crate) fn io(text: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        Self(Repr::Detailed(Arc::new(Detailed { kind: ErrorKind::Io, text: text.into(), source: Some(source) })))
    }

    /// The same error, with what it is about before its text. For errors that have just been made.
    #[cold]
    pub(crate) fn about(self, subject: impl fmt::Display) -> Self {
        match self.0 {
            Repr::Plain(_) => self,
            Repr::Detailed(detailed) => match Arc::try_unwrap(detailed) {
                Ok(Detailed { kind, text, source }) => {
                    Self(Repr::Detailed(Arc::new(Detailed { kind, text: format!("{subject}: {text}").into(), source })))
                }
                Err(shared) => Self(Repr::Detailed(shared)),
            },
        }
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            Repr::Plain(kind) => *kind,
            Repr::Detailed(detailed) => detailed.kind,
        }
    }

    /// The operating system's error, for [`ErrorKind::Io`]: its kind and number.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.0 {
            Repr::Detailed(detailed) => detailed.source.as_ref(),
            Repr::Plain(_) => None,
        }
    }

    /// Whether the request is over ([`ErrorKind::Gone`]).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.kind() == ErrorKind::Gone
    }

    /// Whether the queue or engine is shut down ([`ErrorKind::Closed`]).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Plain(ErrorKind::Gone) => {
                f.write_str("the request is over: answered, cancelled, or its client is gone")
            }
            Repr::Plain(_) => {
                f.write_str("the queue is closed: its engine has been shut down, or has failed (Engine::failure)")
            }
            Repr::Detailed(detailed) => match &detailed.source {
                Some(source) => write!(f, "{}: {source}", detailed.text),
                None => f.write_str(&detailed.text),
            },
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Repr::Detailed(detailed) => detailed.source.as_ref().map(|source| source as _),
            Repr::Plain(_) => None,
        }
    }
}

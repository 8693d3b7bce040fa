//! The engine's one error type: few kinds, and a text that names the setting, the value, the limit and the remedy.
//!
//! Invariants: building `Gone` or `Closed` allocates nothing, since applications meet them on the way of a request.
//!
//! Not here: errors of peers. A client's mistake becomes a response on its connection, never an `Err` here.

use std::any::Any;
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
    /// What was asked is closed: the engine has been shut down or has failed
    /// ([`Engine::failure`](crate::Engine::failure)), and its queues with it, so leave the receive loop; or the
    /// session of a URL group.
    Closed,
    /// Something is larger than its limit, which the text names. To be sent: a response's head or an informational
    /// response (`response_area_bytes`), a body in one piece (2 GiB), a trailer section (16 KiB). To be read: a
    /// request's body (`request_body_max`, or the limit that `to_bytes` was given).
    TooLarge,
    /// So much waits already to be sent that no more is taken; the text names the limit. Try again later.
    Full,
    /// An argument or a setting is not valid; the text names it.
    Invalid,
    /// A text is not of the form that it must have, such as a URL prefix; the text says what is wrong with it.
    Malformed,
    /// This engine has it already: a queue of this name, this URL, this address.
    AlreadyExists,
    /// This engine, or this group, has no such thing: a URL, an address, a shard, a property.
    NotFound,
    /// The operating system does not let this process have it, such as a port below 1,024;
    /// [`Error::io_error`] is its error.
    PermissionDenied,
    /// Another socket has the address, of this process or of another one; [`Error::io_error`] is the system's error.
    AddrInUse,
    /// The kernel, or the chosen mode, cannot do this; the text names the cause and the remedy.
    Unsupported,
    /// A request's body is of another type than asked for, which the text names: 415.
    UnsupportedMediaType,
    /// The operating system refused; [`Error::io_error`] is its error.
    Io,
}

/// An error of the engine. See [`ErrorKind`] for what can be done about it. A clone is another handle to the same text.
///
/// That of a response which cannot be sent has the request, still open, until it is dropped or
/// [asked for it](Self::take_request); a clone has not.
pub struct Error(Repr);

enum Repr {
    Plain(ErrorKind),
    Detailed(Arc<Detailed>),
    Holding(Box<Holding>),
}

/// An error, and what the call that failed was given.
struct Holding {
    error: Arc<Detailed>,
    /// Of any type: what is given back is known above this room.
    value: Box<dyn Any + Send + Sync>,
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
        Self::of_system(ErrorKind::Io, text, source)
    }

    /// Of a kind of its own that has the system's error.
    #[cold]
    pub(crate) fn of_system(kind: ErrorKind, text: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        Self(Repr::Detailed(Arc::new(Detailed { kind, text: text.into(), source: Some(source) })))
    }

    /// The same error, with what it is about before its text. For errors that have just been made.
    #[cold]
    pub(crate) fn about(self, subject: impl fmt::Display) -> Self {
        match self.0 {
            Repr::Plain(_) | Repr::Holding(_) => self,
            Repr::Detailed(detailed) => match Arc::try_unwrap(detailed) {
                Ok(Detailed { kind, text, source }) => {
                    Self(Repr::Detailed(Arc::new(Detailed { kind, text: format!("{subject}: {text}").into(), source })))
                }
                Err(shared) => Self(Repr::Detailed(shared)),
            },
        }
    }

    /// The same error, with what the call that failed was given. That is dropped where the call cannot be made again.
    #[cold]
    pub(crate) fn holding(self, value: impl Any + Send + Sync) -> Self {
        match self.0 {
            Repr::Detailed(error) => Self(Repr::Holding(Box::new(Holding { error, value: Box::new(value) }))),
            Repr::Plain(_) | Repr::Holding(_) => self,
        }
    }

    /// What it holds of this type; from then on it holds nothing.
    pub(crate) fn take<T: Any>(&mut self) -> Option<T> {
        let plain = self.clone();
        let Repr::Holding(holding) = std::mem::replace(self, plain).0 else { return None };
        holding.value.downcast().map(|value| *value).ok()
    }

    fn detailed(&self) -> core::result::Result<&Detailed, ErrorKind> {
        match &self.0 {
            Repr::Plain(kind) => Err(*kind),
            Repr::Detailed(detailed) => Ok(detailed),
            Repr::Holding(holding) => Ok(&holding.error),
        }
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.detailed().map_or_else(|kind| kind, |detailed| detailed.kind)
    }

    /// The operating system's error, if that refused something: its kind and number. Its text is a part of this
    /// error's.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.detailed().ok()?.source.as_ref()
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

impl Clone for Error {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Repr::Plain(kind) => Repr::Plain(*kind),
            Repr::Detailed(error) => Repr::Detailed(Arc::clone(error)),
            Repr::Holding(holding) => Repr::Detailed(Arc::clone(&holding.error)),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detailed() {
            Err(ErrorKind::Gone) => f.write_str("the request is over: answered, cancelled, or its client is gone"),
            Err(_) => {
                f.write_str("the queue is closed: its engine has been shut down, or has failed (Engine::failure)")
            }
            Ok(detailed) => match &detailed.source {
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

impl From<Error> for io::Error {
    /// For those who speak of I/O alone, as `Read` and `Write` do. It can be had back by [`io::Error::get_ref`].
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Gone => io::ErrorKind::BrokenPipe,
            ErrorKind::Invalid | ErrorKind::Malformed => io::ErrorKind::InvalidInput,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::AddrInUse => io::ErrorKind::AddrInUse,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its own text has been said: only what is behind it is news.
        self.detailed().ok()?.source.as_ref().and_then(std::error::Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_holds_is_taken_once_and_a_clone_has_none_of_it() {
        let mut error = Error::invalid("no").holding(7_u32);
        assert_eq!(error.clone().take::<u32>(), None);
        assert_eq!((error.take::<u32>(), error.take::<u32>()), (Some(7), None));
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Invalid, "no".to_owned()));
        assert_eq!(Error::GONE.holding(7_u32).take::<u32>(), None);
    }

    #[test]
    fn what_nobody_takes_is_dropped_with_the_error() {
        let held = Arc::new(());
        let error = Error::invalid("no").holding(Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(error);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

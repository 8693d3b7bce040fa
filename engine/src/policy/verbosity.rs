//! What a client is told when the engine answers 503 in a queue's place.
//!
//! Invariants: a queue and the groups bound to it have one value together, so that a change holds at once; a group that
//! was never bound has the default.
//!
//! Not here: the answers themselves (`shard`), and what is counted, which is the same for all (`counters`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a client is told when the engine answers 503 in the place of a queue: because it is full or inactive, has no
/// consumer left or nobody took the request in time, or because a group of it is inactive. Whatever is told, the reason
/// is counted ([`Counters`](crate::Counters)).
///
/// As the HTTP Server API's `HttpServer503VerbosityProperty`, whose default is [`Reset`](Self::Reset) ("basic").
/// Answers other than 503 are not concerned; nor is the 503 of a connection for which the engine has no memory left,
/// which is always bare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verbosity {
    /// "Basic": nothing. The connection is reset, once what was asked on it before has been answered; of those answers
    /// a client may lose what it has not received by then.
    Reset,
    /// "Limited": 503 with Retry-After (RFC 9110 section 10.2.3), without a body.
    #[default]
    Bare,
    /// "Full": in addition, a line of text that says why.
    Reason,
}

/// A queue's verbosity, as the shards see it through its groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedVerbosity(Option<Arc<AtomicU8>>);

impl SharedVerbosity {
    /// That of a queue.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self(Some(Arc::new(AtomicU8::new(verbosity as u8))))
    }

    pub(crate) fn get(&self) -> Verbosity {
        const VALUES: [Verbosity; 3] = [Verbosity::Reset, Verbosity::Bare, Verbosity::Reason];
        let value = self.0.as_ref().map(|value| usize::from(value.load(Ordering::Relaxed)));
        value.and_then(|value| VALUES.get(value)).copied().unwrap_or_default()
    }

    /// Holds for what is refused from now on.
    pub(crate) fn set(&self, verbosity: Verbosity) {
        if let Some(value) = &self.0 {
            value.store(verbosity as u8, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_all_see() {
        let own = SharedVerbosity::new(Verbosity::Reset);
        let of_group = own.clone();
        for verbosity in [Verbosity::Reset, Verbosity::Bare, Verbosity::Reason] {
            own.set(verbosity);
            assert_eq!((own.get(), of_group.get()), (verbosity, verbosity));
        }
        assert_eq!(SharedVerbosity::default().get(), Verbosity::Bare);
    }
}

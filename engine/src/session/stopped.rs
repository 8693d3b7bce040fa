//! What the end of an engine has cost: what a shutdown reports.
//!
//! Invariants: plain counts, read when the shards have ended.
//!
//! Not here: how an engine ends (`engine`), and the counters (room `counters`).

use core::fmt;

/// What an engine's end has cut, of [`Engine::shutdown`](crate::Engine::shutdown) and
/// [`Engine::drain`](crate::Engine::drain): whose grace was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Requests that were not answered then, or whose responses were not sent whole, pipes among them
    /// ([`requests_stopped`](crate::Counters::requests_stopped)).
    pub requests_cut: u64,
    /// Connections that had something under way then, and were reset: requests, a body that was awaited whole, input
    /// that was thrown away ([`connections_stopped`](crate::Counters::connections_stopped)). Heads of which a part has
    /// come are let go of when the end begins, as idle connections are.
    pub connections_cut: u64,
    /// Shards of a co-located engine whose threads did not receive again in time: they end, and count what they cut,
    /// when these do. Also those that have not ended yet, where the call was made in code that a shard runs, or while
    /// another call waits for the end, which then has all of it.
    pub shards_left: usize,
}

impl Stopped {
    /// Whether everything had ended in time, and nothing was cut.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.requests_cut == 0 && self.connections_cut == 0 && self.shards_left == 0
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing was cut");
        }
        write!(f, "{} requests and {} connections were cut", self.requests_cut, self.connections_cut)?;
        match self.shards_left {
            0 => Ok(()),
            left => write!(f, ", and {left} shards have not ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_cut_and_what_is_left() {
        let mut stopped = Stopped::default();
        assert!(stopped.is_clean());
        assert_eq!(stopped.to_string(), "nothing was cut");
        (stopped.requests_cut, stopped.connections_cut) = (2, 3);
        assert_eq!(stopped.to_string(), "2 requests and 3 connections were cut");
        stopped.shards_left = 1;
        assert_eq!(stopped.to_string(), "2 requests and 3 connections were cut, and 1 shards have not ended");
        assert!(!stopped.is_clean());
    }
}

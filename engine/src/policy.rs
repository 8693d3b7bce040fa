//! Timers and limits that applications choose: inherited from engine to session to URL group, and changed live.
//!
//! Invariants: what an application sets is a [`Properties`], checked before anything takes it over; what a shard reads
//! is a [`Policy`], plain ticks and numbers in a table that comes with the routes. A timer that is off is a deadline
//! that never comes.
//!
//! Not here: what the timers mean for a connection (rooms `conn`, `shard`), who owns which properties (room `session`).
//! Source of the names and the defaults: the HTTP Server API's `HTTP_TIMEOUT_LIMIT_INFO`.

mod properties;
mod refusals;
mod text;
mod verbosity;

use crate::clock::{Tick, ticks};

pub use self::properties::Properties;
pub(crate) use self::properties::SocketOptions;
pub(crate) use self::refusals::Page;
pub use self::refusals::Refusals;
pub(crate) use self::verbosity::SharedVerbosity;
pub use self::verbosity::Verbosity;

/// The properties of one owner, in a shard's units. A time that is off is `Tick::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) idle: Tick,
    pub(crate) header_wait: Tick,
    pub(crate) proxy_header: Tick,
    pub(crate) entity_body: Tick,
    pub(crate) drain: Tick,
    /// How long a request may wait for a consumer.
    pub(crate) queue: Tick,
    /// Bytes a second; 0: none is asked for.
    pub(crate) send_rate: u32,
    /// As `send_rate`.
    pub(crate) receive_rate: u32,
    pub(crate) body_credit: u32,
    pub(crate) send_credit: u32,
    /// `u64::MAX`: no limit.
    pub(crate) body_max: u64,
    /// 0: no body is awaited.
    pub(crate) whole_max: u32,
}

/// A row of the table that comes with the routes: the engine's own policy, or a URL group's.
pub(crate) type PolicyIndex = u32;

/// The engine's own.
pub(crate) const OF_ENGINE: PolicyIndex = 0;

/// Which policy holds for a connection: that of a row as long as the row is its owner's, else the engine's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyKey {
    pub(crate) index: PolicyIndex,
    pub(crate) owner: u32,
}

impl PolicyKey {
    pub(crate) const OF_ENGINE: Self = Self { index: OF_ENGINE, owner: 0 };
}

impl Policy {
    /// What properties come to; what they leave open has its default.
    pub(crate) fn of(properties: &Properties) -> Self {
        let all = properties.over(&Properties::DEFAULTS);
        let time = |time| match time {
            Some(Properties::OFF) | None => Tick::MAX,
            Some(time) => ticks(time),
        };
        Self {
            idle: time(all.idle_connection),
            header_wait: time(all.header_wait),
            proxy_header: time(all.proxy_header),
            entity_body: time(all.entity_body),
            drain: time(all.drain_entity_body),
            queue: time(all.request_queue),
            send_rate: all.send_rate_min.unwrap_or(0),
            receive_rate: all.receive_rate_min.unwrap_or(0),
            body_credit: all.request_body_credit.unwrap_or(0),
            send_credit: all.send_credit.unwrap_or(0),
            body_max: all.request_body_max.unwrap_or(u64::MAX),
            whole_max: all.deliver_when_whole.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_become_ticks_and_off_never_comes() {
        let policy = Policy::of(&Properties::new().idle_connection(Duration::from_millis(65)).send_rate_min(0));
        assert_eq!((policy.idle, policy.send_rate), (3, 0));
        assert_eq!(policy.header_wait, ticks(Duration::from_secs(120)));
        assert_eq!(Policy::of(&Properties::new().request_queue(Properties::OFF)).queue, Tick::MAX);
        assert_eq!(policy.body_max, u64::MAX);
    }
}

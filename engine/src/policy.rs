//! Timers and limits that applications choose: inherited from engine to session to URL group, and changed live.
//!
//! Invariants: what an application sets is a [`Properties`], checked before anything takes it over; what a shard reads
//! is a [`Policy`], plain ticks and numbers in a table that comes with the routes. A timer that is off is a deadline
//! that never comes.
//!
//! Not here: what the timers mean for a connection (rooms `conn`, `shard`), who owns which properties (room `session`).
//! Source of the names and the defaults: the HTTP Server API's `HTTP_TIMEOUT_LIMIT_INFO`.

mod properties;
mod text;

use crate::clock::{Tick, ticks};

pub use self::properties::Properties;

/// The properties of one owner, in a shard's units. A time that is off is `Tick::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) idle: Tick,
    pub(crate) header_wait: Tick,
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
}

/// Which policy of a shard's table holds for a connection: the engine's own, or a URL group's.
pub(crate) type PolicyIndex = u32;

/// The engine's own policy.
pub(crate) const OF_ENGINE: PolicyIndex = 0;

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
            entity_body: time(all.entity_body),
            drain: time(all.drain_entity_body),
            queue: time(all.request_queue),
            send_rate: all.send_rate_min.unwrap_or(0),
            receive_rate: all.receive_rate_min.unwrap_or(0),
            body_credit: all.request_body_credit.unwrap_or(0),
            send_credit: all.send_credit.unwrap_or(0),
            body_max: all.request_body_max.unwrap_or(u64::MAX),
        }
    }
}

/// The policies of an engine, as of one moment: its own, and one for each URL group.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    own: Policy,
    /// By index; places of groups that are gone hold the engine's own.
    all: Vec<Policy>,
    /// How often each place has changed hands.
    owners: Vec<u32>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(Policy::of(&Properties::new()))
    }
}

impl Policies {
    /// Only the engine's own.
    pub(crate) fn new(own: Policy) -> Self {
        Self { own, all: vec![own], owners: vec![0] }
    }

    /// Puts a policy to a place; `owner` is another number whenever the place has changed hands.
    pub(crate) fn put(&mut self, index: PolicyIndex, owner: u32, policy: Policy) {
        let place = index as usize;
        if self.all.len() <= place {
            self.all.resize(place + 1, self.own);
            self.owners.resize(place + 1, 0);
        }
        self.all[place] = policy;
        self.owners[place] = owner;
    }

    /// The policy at an index; the engine's own if there is none.
    #[inline]
    pub(crate) fn get(&self, index: PolicyIndex) -> &Policy {
        self.all.get(index as usize).unwrap_or(&self.own)
    }

    /// Whether an index means the same owner as it did in `before`.
    pub(crate) fn same_owner(&self, before: &Self, index: PolicyIndex) -> bool {
        let place = index as usize;
        self.owners.get(place).is_some() && self.owners.get(place) == before.owners.get(place)
    }

    /// Whether all indices mean the same owners as they did in `before`.
    pub(crate) fn same_owners(&self, before: &Self) -> bool {
        self.owners.starts_with(&before.owners)
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

    #[test]
    fn an_index_without_a_policy_means_the_engines_own() {
        let own = Policy::of(&Properties::new().send_rate_min(1));
        let other = Policy::of(&Properties::new().send_rate_min(2));
        let before = Policies::new(own);
        let mut after = before.clone();
        after.put(3, 1, other);
        let rates: Vec<u32> = (0..5).map(|index| after.get(index).send_rate).collect();
        assert_eq!(rates, [1, 1, 1, 2, 1]);
        assert!(after.same_owners(&before) && !before.same_owners(&after));
        let mut reused = after.clone();
        reused.put(3, 2, own);
        assert!(reused.same_owner(&after, 0) && !reused.same_owner(&after, 3) && !reused.same_owners(&after));
    }
}

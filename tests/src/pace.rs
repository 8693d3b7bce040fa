//! Time that passes on purpose: between two looks at a condition, or because a client's pace is what is tested.
//!
//! The only place of this crate that sleeps: never in the hope that something has happened meanwhile.

use std::time::{Duration, Instant};

/// Does nothing for a while.
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Does nothing until a moment has come.
pub fn pause_until(moment: Instant) {
    pause(moment.saturating_duration_since(Instant::now()));
}

//! Time that passes on purpose: between two looks at a condition, or because a client's pace is what is tested.
//!
//! The only place of this crate that sleeps: never in the hope that something has happened meanwhile.

use std::time::{Duration, Instant};

/// Does nothing for a while.
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Whether an attempt comes out at least once in five times. A busy machine may keep this process, or a server, from
/// doing in time what an attempt needs; what is broken never comes out.
pub fn comes_out_once(attempt: impl FnMut() -> bool) -> bool {
    std::iter::repeat_with(attempt).take(5).any(|came_out| came_out)
}

/// Does nothing until a moment has come.
pub fn pause_until(moment: Instant) {
    pause(moment.saturating_duration_since(Instant::now()));
}

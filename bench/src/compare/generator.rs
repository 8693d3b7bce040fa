//! The load generator as a comparison sees it: a load, and the moments when the clocks are to be read.
//!
//! The generator says about four times a second how many answers have come. CPU time per request is what passed
//! between two such moments by the answers between them, so it does not matter how exactly they meet the ends of the
//! measured time.

use std::cell::Cell;

use crate::load::{self, Phase, Plan, Progress, Report};

/// Within so many seconds of the end a moment may be the last one.
const LATE_SECONDS: f64 = 0.3;
/// With less of the warm-up left, what is done in it could reach into the measured time.
const WARM_UP_LEFT_SECONDS: f64 = 0.05;

/// A moment when something is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// In the warm-up, all connections open: what takes long is read here. There may be none, or several.
    WarmUp,
    /// The first one of the measured time.
    First,
    /// Close to the end of the measured time; if there are several, the last counts.
    Late,
}

/// Runs the load, and calls `at` with the moment and the answers so far.
///
/// # Errors
/// If the load cannot be run.
pub(super) fn drive(plan: &Plan, at: &dyn Fn(Moment, u64)) -> anyhow::Result<Report> {
    let is_first = Cell::new(true);
    load::run(plan, &|progress| {
        if let Some(moment) = moment(&progress, is_first.get()) {
            is_first.set(is_first.get() && moment == Moment::WarmUp);
            at(moment, progress.answers);
        }
    })
}

/// None while connecting, in the middle of the measured time, and when only the last answers are awaited.
fn moment(progress: &Progress, is_first: bool) -> Option<Moment> {
    match (progress.phase, progress.seconds_left) {
        (Phase::WarmUp, left) if left >= WARM_UP_LEFT_SECONDS => Some(Moment::WarmUp),
        (Phase::Measuring, left) if left > 0.0 && is_first => Some(Moment::First),
        (Phase::Measuring, left) if left > 0.0 && left <= LATE_SECONDS => Some(Moment::Late),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_and_the_first_and_late_moments_of_the_measured_time_count() {
        let at = |phase, seconds_left, is_first| moment(&Progress { phase, answers: 1, seconds_left }, is_first);
        assert_eq!(at(Phase::Connecting, 9.0, true), None);
        assert_eq!(at(Phase::WarmUp, 0.1, true), Some(Moment::WarmUp));
        assert_eq!(at(Phase::WarmUp, 0.01, true), None);
        assert_eq!(at(Phase::Measuring, 2.9, true), Some(Moment::First));
        assert_eq!(at(Phase::Measuring, 1.5, false), None);
        assert_eq!(at(Phase::Measuring, 0.2, false), Some(Moment::Late));
        assert_eq!(at(Phase::Measuring, 0.0, false), None);
    }
}

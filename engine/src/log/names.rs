//! Names of log files, by format and rollover.
//!
//! Invariants: a period's name is the same whenever it is asked for; of the files of one name, later ones have greater
//! numbers.
//!
//! Not here: opening them (`file`).

use super::calendar::Moment;
use super::settings::{LogFormat, Rollover};

/// Days of what counts as a week in the name of a file.
const WEEK_DAYS: u64 = 7;

/// The names that a log has for its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    dated: &'static str,
    numbered: &'static str,
    rollover: Rollover,
}

impl Names {
    pub(super) fn of(format: Option<LogFormat>, rollover: Rollover) -> Self {
        let (dated, numbered) = match format {
            Some(LogFormat::W3c) | None => ("ex", "extend"),
            Some(LogFormat::NcsaCommon | LogFormat::NcsaCombined) => ("nc", "ncsa"),
            Some(LogFormat::Iis) => ("in", "inetsv"),
            Some(LogFormat::Json) => ("js", "json"),
        };
        Self { dated, numbered, rollover }
    }

    /// What all files of a moment's period have in common.
    pub(super) fn stem(&self, at: Moment) -> String {
        let (year, month, day) = (at.year % 100, at.month, at.day);
        let dated = self.dated;
        match self.rollover {
            Rollover::Hourly => format!("{dated}{year:02}{month:02}{day:02}{:02}", at.hour),
            Rollover::Daily => format!("{dated}{year:02}{month:02}{day:02}"),
            Rollover::Weekly => format!("{dated}{year:02}{month:02}{:02}", (day - 1) / WEEK_DAYS + 1),
            Rollover::Monthly => format!("{dated}{year:02}{month:02}"),
            Rollover::Size(_) => self.numbered.to_owned(),
        }
    }

    /// The file of this number, from 1: `extend1.log`, or `ex261130.log` and, rotated by hand, `ex261130.2.log`.
    pub(super) fn file(&self, stem: &str, number: u64) -> String {
        match (self.rollover, number) {
            (Rollover::Size(_), number) => format!("{stem}{number}.log"),
            (_, 1) => format!("{stem}.log"),
            (_, number) => format!("{stem}.{number}.log"),
        }
    }

    /// The number of a file of this name, if it is one of these.
    pub(super) fn number(&self, stem: &str, name: &str) -> Option<u64> {
        let middle = name.strip_prefix(stem)?.strip_suffix(".log")?;
        let number = match self.rollover {
            Rollover::Size(_) => middle.parse().ok()?,
            _ if middle.is_empty() => 1,
            _ => middle.strip_prefix('.')?.parse().ok()?,
        };
        // A name that would not be written so is somebody else's.
        (number > 0 && self.file(stem, number) == name).then_some(number)
    }

    /// Whether two moments are of one period.
    pub(super) fn is_same(&self, one: Moment, other: Moment) -> bool {
        self.stem(one) == self.stem(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_reference_says() {
        // Mon Nov 30 19:50:00 UTC 2026.
        let at = Moment::of_micros(1_796_068_200_000_000);
        for (format, rollover, expected) in [
            (LogFormat::W3c, Rollover::Hourly, "ex26113019.log"),
            (LogFormat::NcsaCommon, Rollover::Daily, "nc261130.log"),
            (LogFormat::Iis, Rollover::Weekly, "in261105.log"),
            (LogFormat::Json, Rollover::Monthly, "js2611.log"),
            (LogFormat::W3c, Rollover::Size(1 << 20), "extend1.log"),
            (LogFormat::NcsaCombined, Rollover::Size(1 << 20), "ncsa1.log"),
            (LogFormat::Iis, Rollover::Size(1 << 20), "inetsv1.log"),
            (LogFormat::Json, Rollover::Size(1 << 20), "json1.log"),
        ] {
            let names = Names::of(Some(format), rollover);
            let stem = names.stem(at);
            assert_eq!(names.file(&stem, 1), expected);
            for number in [1, 2, 10, 4711] {
                assert_eq!(names.number(&stem, &names.file(&stem, number)), Some(number), "{stem}");
            }
            for other in ["", "x.log", "ex.log", "extend0.log", "extend01.log", "ex261130.02.log", "ex261130.1.log"] {
                assert_eq!(names.number(&stem, other), None, "{other} of {stem}");
            }
        }
    }

    #[test]
    fn periods_end_with_the_calendars() {
        let day = |day: u64, hour: u64| Moment::of_micros((1_793_491_200 + day * 86_400 + hour * 3600) * 1_000_000);
        // 2026-11-01 and later.
        let names = |rollover| Names::of(Some(LogFormat::W3c), rollover);
        assert!(
            names(Rollover::Hourly).is_same(day(0, 0), day(0, 0))
                && !names(Rollover::Hourly).is_same(day(0, 0), day(0, 1))
        );
        assert!(
            names(Rollover::Daily).is_same(day(0, 0), day(0, 23))
                && !names(Rollover::Daily).is_same(day(0, 23), day(1, 0))
        );
        assert!(
            names(Rollover::Weekly).is_same(day(0, 0), day(6, 23))
                && !names(Rollover::Weekly).is_same(day(6, 0), day(7, 0))
        );
        assert!(
            names(Rollover::Monthly).is_same(day(0, 0), day(29, 0))
                && !names(Rollover::Monthly).is_same(day(0, 0), day(30, 0))
        );
        assert!(names(Rollover::Size(1 << 20)).is_same(day(0, 0), day(400, 0)));
    }
}

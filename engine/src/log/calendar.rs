//! Dates and times of the day of moments, in UTC.
//!
//! Invariants: by the proleptic Gregorian calendar, without leap seconds, as POSIX counts.
//!
//! Not here: what the time is (room `clock`), and time zones: logs are in UTC.

const DAY_SECONDS: u64 = 86_400;
/// The names that logs have for months.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) year: u64,
    /// 1 to 12.
    pub(super) month: u64,
    /// 1 to 31.
    pub(super) day: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
    pub(super) milli: u64,
}

impl Moment {
    /// So many microseconds after the beginning of 1970.
    pub(super) fn of_micros(micros: u64) -> Self {
        let seconds = micros / 1_000_000;
        let (day, of_day) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
        // Years that begin with March, in eras of 400: the leap day is a year's last ("chrono-compatible low-level date
        // algorithms", H. Hinnant).
        let shifted = day + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            milli: micros / 1000 % 1000,
        }
    }

    pub(super) fn month_name(&self) -> &'static str {
        let place = usize::try_from(self.month - 1).unwrap_or(0);
        MONTHS[place % MONTHS.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // By date(1): date -u -d @SECONDS.
        for (seconds, expected) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_399, (2000, 2, 28, 23, 59, 59)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_709_251_199, (2024, 2, 29, 23, 59, 59)),
            (1_735_689_599, (2024, 12, 31, 23, 59, 59)),
            (1_735_689_600, (2025, 1, 1, 0, 0, 0)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        ] {
            let Moment { year, month, day, hour, minute, second, milli } =
                Moment::of_micros(seconds * 1_000_000 + 7_000);
            assert_eq!(((year, month, day, hour, minute, second), milli), (expected, 7), "{seconds}");
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = Moment::of_micros(0);
        for day in 1..80_000 {
            let now = Moment::of_micros(day * DAY_SECONDS * 1_000_000);
            let follows = (now.year, now.month, now.day) == (before.year, before.month, before.day + 1)
                || now.day == 1 && before.day >= 28 && (now.month == before.month + 1 || now.month == 1);
            assert!(follows && now > before, "{before:?} and {now:?}");
            before = now;
        }
        assert_eq!((before.year, before.month, before.day), (2189, 1, 11));
        assert_eq!(before.month_name(), "Jan");
    }
}

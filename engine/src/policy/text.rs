//! How values of properties are written: times and sizes, for people.
//!
//! Invariants: what is shown can be read again; reading neither rounds nor guesses.
//!
//! Not here: fractions, and units that are not asked for.

use std::time::Duration;

use crate::error::Error;

/// A value that people write.
pub(super) trait Value: Copy + PartialOrd {
    /// Reads a value; `None` when it is none.
    fn read(text: &str) -> Option<Self>;
    /// As people write it.
    fn show(self) -> String;
    /// Whether it lies within a range, or is what means off.
    fn is_within(self, lowest: Self, highest: Self) -> bool {
        (lowest..=highest).contains(&self)
    }
    /// What is wanted instead: a range, an example.
    fn wanted(lowest: Self, highest: Self) -> String;
    /// The error of a value that is not one, or is out of range.
    #[cold]
    fn refused(name: &str, value: &str, lowest: Self, highest: Self) -> Error {
        Error::invalid(format!("{name} is {value:?}, but must be {}", Self::wanted(lowest, highest)))
    }
}

/// Splits a number from its unit.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn is_off(text: &str) -> bool {
    text.eq_ignore_ascii_case("off")
}

/// Units of times, in milliseconds, largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of sizes, in bytes, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// In the largest unit that says it exactly; the smallest is 1.
fn show_in(units: &[(&str, u64)], value: u64) -> String {
    let exact = |size: u64| size == 1 || (value >= size && value.is_multiple_of(size));
    let (unit, size) = units.iter().find(|(_, size)| exact(*size)).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / size)
}

impl Value for Duration {
    fn read(text: &str) -> Option<Self> {
        if is_off(text) {
            return Some(Self::MAX);
        }
        let (number, unit) = number(text)?;
        let (_, size) = TIMES.iter().find(|(known, _)| unit == *known)?;
        Some(Self::from_millis(number.checked_mul(*size)?))
    }

    fn show(self) -> String {
        if self == Self::MAX {
            return String::from("off");
        }
        show_in(&TIMES, u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_within(self, lowest: Self, highest: Self) -> bool {
        self == Self::MAX || (lowest..=highest).contains(&self)
    }

    fn wanted(lowest: Self, highest: Self) -> String {
        format!("a time from {} to {}, such as 2s or 500ms, or off", lowest.show(), highest.show())
    }
}

fn read_size(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let (_, size) = SIZES.iter().find(|(known, _)| unit.eq_ignore_ascii_case(known))?;
    number.checked_mul(*size)
}

/// Where the range begins with 0, that is written `off` too.
impl Value for u32 {
    fn read(text: &str) -> Option<Self> {
        if is_off(text) { Some(0) } else { read_size(text)?.try_into().ok() }
    }

    fn show(self) -> String {
        show_in(&SIZES, u64::from(self))
    }

    fn wanted(lowest: Self, highest: Self) -> String {
        let off = if lowest == 0 { ", or off" } else { "" };
        format!("from {} to {}, such as 65536 or 64KiB{off}", lowest.show(), highest.show())
    }
}

/// The largest value is written `off`: no limit.
impl Value for u64 {
    fn read(text: &str) -> Option<Self> {
        if is_off(text) { Some(Self::MAX) } else { read_size(text) }
    }

    fn show(self) -> String {
        if self == Self::MAX { String::from("off") } else { show_in(&SIZES, self) }
    }

    fn wanted(lowest: Self, _highest: Self) -> String {
        format!("a size from {} on, such as 65536 or 1MiB, or off", lowest.show())
    }
}

/// Equal without regard to case, `_` and `-`.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| -> String {
        name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, millis) in [("64ms", 64), ("500ms", 500), ("2s", 2000), ("5m", 300_000), ("1h", 3_600_000)] {
            let time = Duration::from_millis(millis);
            assert_eq!((Duration::read(text), time.show()), (Some(time), text.to_owned()));
        }
        assert_eq!((Duration::read("OFF"), Duration::MAX.show()), (Some(Duration::MAX), String::from("off")));
        for text in ["", "2", "s", "-2s", "2 s", "1.5s", "2S", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(Duration::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("0", 0), ("1000", 1000), ("64KiB", 65_536), ("1MiB", 1 << 20), ("3GiB", 3 << 30)] {
            assert_eq!((u64::read(text), bytes.show()), (Some(bytes), text.to_owned()));
        }
        assert_eq!((u64::read("64kib"), u64::read("off"), u32::read("off")), (Some(65_536), Some(u64::MAX), Some(0)));
        for text in ["", "KiB", "1K", "1 KiB", "-1", "0x10", "99999999999999999999", "18446744073709551615KiB"] {
            assert_eq!(u64::read(text), None, "{text:?}");
        }
        assert_eq!(u32::read("4GiB"), None, "more than it holds");
    }
}

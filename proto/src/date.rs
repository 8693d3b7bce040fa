//! HTTP dates: seconds since 1970 to text and back.
//!
//! Invariants: what is written parses to the same second. Years 1970 to 9999. Leap seconds are read as the second
//! after. Not here: clocks, time zones other than GMT. Source: RFC 9110 section 5.6.7.

/// Bytes of an IMF-fixdate.
pub const IMF_LEN: usize = 29;

const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z, the last second that fits four digits.
const LAST_SECOND: u64 = 253_402_300_799;

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const LONG_DAYS: [&[u8]; 7] = [b"Sunday", b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`. Times beyond the year 9999 become its last second.
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> [u8; IMF_LEN] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let days = seconds / SECONDS_PER_DAY;
    let second_of_day = seconds % SECONDS_PER_DAY;
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"Ddd, 00 Mmm 0000 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    text[0..3].copy_from_slice(DAYS[index((days + 4) % 7)]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[index(month - 1)]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second_of_day / 3_600);
    two_digits(&mut text[20..22], second_of_day / 60 % 60);
    two_digits(&mut text[23..25], second_of_day % 60);
    text
}

/// Reads a date in any of the three forms: IMF-fixdate, RFC 850 (two-digit years 70 to 99 are of the 20th century,
/// others of the 21st) and asctime. `None` for anything else, and for times before 1970. The name of the day must
/// be one, but is not held against the date.
#[must_use]
pub fn parse_imf_fixdate(text: &[u8]) -> Option<u64> {
    match text.get(3)? {
        b',' => parse_imf(text),
        b' ' => parse_asctime(text),
        _ => parse_rfc850(text),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf(text: &[u8]) -> Option<u64> {
    let text: &[u8; IMF_LEN] = text.try_into().ok()?;
    let form = text.starts_with(b", ", 3) && text[7] == b' ' && text[11] == b' ' && text.starts_with(b" GMT", 25);
    if !form || !DAYS.iter().any(|name| text.starts_with(*name, 0)) {
        return None;
    }
    let year = number(&text[12..16])?;
    seconds(year, month(&text[8..11])?, number(&text[5..7])?, time_of_day(&text[16..25])?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8]) -> Option<u64> {
    let comma = memchr::memchr(b',', text)?;
    if !LONG_DAYS.contains(&&text[..comma]) {
        return None;
    }
    let rest: &[u8; 24] = text[comma..].try_into().ok()?;
    let form = rest.starts_with(b", ", 0) && rest[4] == b'-' && rest[8] == b'-' && rest.starts_with(b" GMT", 20);
    if !form {
        return None;
    }
    let year = number(&rest[9..11])?;
    let century = if year < 70 { 2_000 } else { 1_900 };
    seconds(century + year, month(&rest[5..8])?, number(&rest[2..4])?, time_of_day(&rest[11..20])?)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<u64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let form = text[3] == b' ' && text[7] == b' ' && text[19] == b' ';
    if !form || !DAYS.iter().any(|name| text.starts_with(*name, 0)) {
        return None;
    }
    let day = if text[8] == b' ' { number(&text[9..10])? } else { number(&text[8..10])? };
    seconds(number(&text[20..24])?, month(&text[4..7])?, day, time_of_day(&text[10..19])?)
}

/// `starts_with` at an offset, for arrays of known length.
trait StartsWithAt {
    fn starts_with(&self, part: &[u8], at: usize) -> bool;
}

impl<const LEN: usize> StartsWithAt for [u8; LEN] {
    fn starts_with(&self, part: &[u8], at: usize) -> bool {
        self.get(at..at + part.len()) == Some(part)
    }
}

/// ` 08:49:37`, with the space before it, in seconds.
fn time_of_day(text: &[u8]) -> Option<u64> {
    let &[b' ', h1, h0, b':', m1, m0, b':', s1, s0] = text else {
        return None;
    };
    let (hour, minute, second) = (number(&[h1, h0])?, number(&[m1, m0])?, number(&[s1, s0])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

fn month(name: &[u8]) -> Option<u64> {
    let at = MONTHS.iter().position(|month| month.as_slice() == name)?;
    Some(at as u64 + 1)
}

/// A number of a few digits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

fn two_digits(out: &mut [u8], value: u64) {
    for (digit, value) in out.iter_mut().zip([value / 10, value % 10]) {
        *digit = b"0123456789"[index(value % 10)];
    }
}

/// A small number as an index.
fn index(value: u64) -> usize {
    debug_assert!(value < 16);
    #[expect(clippy::cast_possible_truncation, reason = "the callers reduce it below 16")]
    let index = value as usize;
    index
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// Seconds since 1970 of a date that may not exist.
fn seconds(year: u64, month: u64, day: u64, second_of_day: u64) -> Option<u64> {
    let month_days = match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=month_days).contains(&day) {
        return None;
    }
    Some(days_from_civil(year, month, day) * SECONDS_PER_DAY + second_of_day)
}

/// Days from 1970-01-01 to a date not before it. Years are counted from March, so that the leap day is the last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // Days before a month, counted from March, follow (153 m + 2) / 5. 719,468 days lie before 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The inverse of [`days_from_civil`]: year, month 1 to 12, day 1 to 31.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_are_written() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, text) in cases {
            assert_eq!(imf_fixdate(seconds), text.as_bytes());
            assert_eq!(parse_imf_fixdate(text.as_bytes()), Some(seconds.min(LAST_SECOND)));
        }
    }

    #[test]
    fn all_three_forms_are_read() {
        let cases = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Tue Nov 16 08:49:37 1993", 753_439_777),
            ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
            ("Wednesday, 01-Jan-69 00:00:00 GMT", 3_124_224_000),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_imf_fixdate(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_dates() {
        let cases = [
            "",
            "Sun",
            "Sun,",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sux, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Tue, 29 Feb 2100 00:00:00 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 +8:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday 06-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "784111777",
        ];
        for text in cases {
            assert_eq!(parse_imf_fixdate(text.as_bytes()), None, "{text}");
        }
    }
}

//! The one answer, and a block of it repeated, so that any number of answers up to
//! [`BLOCK_ANSWERS`] is one contiguous send.

use std::time::{SystemTime, UNIX_EPOCH};

/// How many answers one send can carry.
pub(crate) const BLOCK_ANSWERS: u32 = 256;

/// The bytes of one answer; the date is the only part that is not constant, its length is.
pub(crate) const ANSWER_BYTES: u32 = 133;

/// Sends name their length in 24 bits of `user_data`.
const _: () = assert!(BLOCK_ANSWERS * ANSWER_BYTES < 1 << 24);

/// [`BLOCK_ANSWERS`] answers end to end, never freed: the kernel may read them at any time.
///
/// A send of `n` bytes takes the *last* `n` bytes of the block. Whole answers begin at an answer
/// that way, and so does nothing else have to be remembered to resume a short send.
pub(crate) fn block() -> &'static [u8] {
    let one = format!(
        "HTTP/1.1 200 OK\r\n\
         Server: ringress\r\n\
         Date: {}\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: 13\r\n\
         \r\n\
         Hello, World!",
        imf_fixdate(SystemTime::now()),
    );
    assert_eq!(one.len(), ANSWER_BYTES as usize);
    one.repeat(BLOCK_ANSWERS as usize).into_bytes().leak()
}

/// RFC 9110, section 5.6.7.
fn imf_fixdate(now: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut month, mut day) = (1970, 0, days);
    loop {
        let in_month = MONTHS[month].1 + u64::from(month == 1 && leap(year));
        if day < in_month {
            break;
        }
        day -= in_month;
        month += 1;
        if month == 12 {
            (year, month) = (year + 1, 0);
        }
    }
    let weekday = DAYS[usize::try_from(days % 7).expect("below 7")];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = MONTHS[month].0;
    format!("{weekday}, {:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_agree_with_the_rfc_and_the_calendar() {
        let at = |seconds| imf_fixdate(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(at(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn every_tail_of_whole_answers_begins_with_a_status_line() {
        let block = block();
        for answers in 1..=BLOCK_ANSWERS {
            let tail = &block[block.len() - (answers * ANSWER_BYTES) as usize..];
            assert!(tail.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    }
}

//! One response as read from the wire, and the rules every response must keep whatever it says.

use std::fmt;

/// Fields one response may carry before the reader gives up.
const FIELDS_MAX: usize = 64;

/// Length of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_BYTES: usize = 29;

/// One response, its body already taken out of its framing.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code of the status line.
    pub status: u16,
    /// Reason phrase of the status line.
    pub reason: String,
    /// Header fields in the order received.
    pub fields: Vec<(String, String)>,
    /// Body without framing; empty where the response has none.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// How the body of a response is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

impl Response {
    /// Parses one head at the start of `bytes`: the response without its body, and the head's length.
    /// `None` while the head is incomplete.
    ///
    /// # Panics
    /// When the bytes are no well-formed HTTP/1.1 head with CRLF line ends.
    pub(crate) fn parse_head(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut fields);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return None,
            Err(error) => panic!("unreadable answer ({error}): {:?}", String::from_utf8_lossy(bytes)),
        };
        assert_crlf_only(&bytes[..length]);
        assert_eq!(parsed.version, Some(1), "an HTTP/1.x server answers as HTTP/1.1");
        let answer = Self {
            status: parsed.code.expect("a complete head has a status"),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            fields: parsed.headers.iter().map(owned_field).collect(),
            body: Vec::new(),
            trailers: Vec::new(),
        };
        Some((answer, length))
    }

    /// The one value of a field, `None` if absent.
    ///
    /// # Panics
    /// When the field occurs more than once.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "{name} occurs more than once in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// The one value of a trailer, `None` if absent.
    ///
    /// # Panics
    /// When it occurs more than once.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let mut values = self.trailers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "trailer {name} occurs more than once in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is no UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body is UTF-8")
    }

    /// Whether the response announces the end of its connection.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.lists("Connection", "close")
    }

    /// Whether a comma-separated field has `member`, compared without regard to case.
    #[must_use]
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.field(name).is_some_and(|list| list.split(',').any(|known| known.trim().eq_ignore_ascii_case(member)))
    }

    /// Seconds since 1970 of the Date field.
    ///
    /// # Panics
    /// When the field is missing or no IMF-fixdate.
    #[must_use]
    pub fn date_seconds(&self) -> i64 {
        let date = self.field("Date").expect("every answer carries a Date");
        imf_seconds(date).unwrap_or_else(|| panic!("{date:?} is no IMF-fixdate"))
    }

    /// How the body is delimited, checking the rules that bind framing to status and method.
    pub(crate) fn framing(&self, to_head: bool) -> Framing {
        let length = self.field("Content-Length").map(|digits| {
            assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "Content-Length: {digits:?}");
            digits.parse().expect("a Content-Length fits usize")
        });
        let coding = self.field("Transfer-Encoding");
        assert!(length.is_none() || coding.is_none(), "Content-Length and Transfer-Encoding together: {self:?}");
        if matches!(self.status, 100..=199 | 204 | 304) {
            assert!(length.is_none() && coding.is_none(), "a {} has no body and no framing: {self:?}", self.status);
            return Framing::None;
        }
        match (length, coding) {
            _ if to_head => Framing::None,
            (Some(length), _) => Framing::Length(length),
            (None, Some(coding)) => {
                assert!(coding.eq_ignore_ascii_case("chunked"), "unknown coding {coding:?}");
                Framing::Chunked
            }
            (None, None) => {
                assert!(self.closes(), "a body without length must be ended by a close that is announced: {self:?}");
                Framing::UntilClose
            }
        }
    }

    /// Checks what every final response must carry.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn assert_well_formed(&self) {
        let date = self.field("Date").unwrap_or_else(|| panic!("no Date in {self:?}"));
        assert_eq!(date.len(), DATE_BYTES, "Date: {date:?}");
        assert!(imf_seconds(date).is_some(), "Date: {date:?} is no IMF-fixdate");
        assert!(!self.reason.is_empty(), "no reason phrase in {self:?}");
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.status, self.reason, self.fields)?;
        let shown = &self.body[..self.body.len().min(200)];
        write!(f, " [{} bytes: {:?}]", self.body.len(), String::from_utf8_lossy(shown))
    }
}

fn owned_field(field: &httparse::Header<'_>) -> (String, String) {
    let value = std::str::from_utf8(field.value).expect("field values of the showcase are UTF-8");
    (field.name.to_owned(), value.to_owned())
}

/// httparse lets a bare LF pass, a server must not send one.
fn assert_crlf_only(head: &[u8]) {
    let lonely = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    assert!(!(0..head.len()).any(lonely), "bare LF in {:?}", String::from_utf8_lossy(head));
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` to seconds since 1970, the weekday checked too.
fn imf_seconds(date: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<i64>().ok();
    let shape = date.len() == DATE_BYTES && date.get(3..5)? == ", " && date.ends_with(" GMT");
    let month = i64::try_from(MONTHS.find(date.get(8..11)?)? / 3 + 1).ok()?;
    let (year, day) = (number(12, 16)?, number(5, 7)?);
    // Days from civil, with years that begin in March so that the leap day comes last.
    let (era_year, era_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = era_year / 4 - era_year / 100 + era_year / 400;
    let days = era_year * 365 + leap_days + (era_month * 153 + 2) / 5 + day - 1 - 719_468;
    let weekday = WEEKDAYS[usize::try_from(days % 7).ok()?];
    let seconds = number(17, 19)? * 3_600 + number(20, 22)? * 60 + number(23, 25)?;
    (shape && date.starts_with(weekday)).then_some(days * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::{Response, imf_seconds};

    #[test]
    fn fixdates_are_read_to_the_second() {
        assert_eq!(imf_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(imf_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(imf_seconds("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(imf_seconds("Mon, 06 Nov 1994 08:49:37 GMT"), None, "wrong weekday");
        assert_eq!(imf_seconds("Sunday, 06-Nov-94 08:49:37 GMT"), None, "obsolete form");
    }

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
        for end in 0..head.len() - 2 {
            assert!(Response::parse_head(&head[..end]).is_none(), "{end}");
        }
        let (answer, length) = Response::parse_head(head).expect("complete");
        assert_eq!((answer.status, answer.field("content-length"), length), (200, Some("2"), head.len() - 2));
    }

    #[test]
    #[should_panic(expected = "bare LF")]
    fn a_bare_lf_is_refused() {
        let _ = Response::parse_head(b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n");
    }
}

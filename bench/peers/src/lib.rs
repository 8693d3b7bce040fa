//! What the peers have in common: the argument, the routes, and the work that has nothing to do with HTTP.
//!
//! The answers are those of the showcase (`engine/examples/showcase/routes.rs`), byte for byte, so that a figure
//! compares engines and not applications. Not here: anything that a library does itself (framing, Content-Length, Date,
//! connections, timers); each program uses its library for these.

use std::net::SocketAddr;
use std::process::exit;
use std::sync::LazyLock;
use std::time::Duration;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The value of the `Server` header, where the library lets us choose it.
pub const SERVER: &str = "ringress";
/// The media type of text.
pub const TEXT: &str = "text/plain";
/// The media type of `/json`.
pub const JSON: &str = "application/json";
/// The media type of `/bytes/N`.
pub const OCTETS: &str = "application/octet-stream";
/// The body of `/plaintext`.
pub const PLAINTEXT_BODY: &str = "Hello, World!";
/// The body of `/json`.
pub const JSON_BODY: &str = r#"{"message":"Hello, World!"}"#;
/// The body of `/slow/MS`.
pub const SLOW_BODY: &str = "slow\n";
/// The body of a 404.
pub const MISSING_BODY: &str = "no such path\n";
/// The most that `/bytes/N` gives, in bytes; a larger N is a 404.
pub const BYTES_MAX: usize = 1 << 20;
/// The longest wait of `/slow/MS`, in milliseconds; a larger MS waits as long.
pub const SLOW_MS_MAX: u64 = 60_000;

/// The longest text that is read as a number, in bytes, white space included.
const NUMBER_BYTES_MAX: usize = 64;

static PATTERN: LazyLock<String> = LazyLock::new(|| "x".repeat(BYTES_MAX));

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /plaintext`
    Plaintext,
    /// `GET /json`
    Json,
    /// `GET` or `POST /baseline11`: the sum of the query's values and the body.
    Baseline,
    /// `GET /bytes/N`: so many bytes of [`pattern`], at most [`BYTES_MAX`].
    Bytes(usize),
    /// `POST /upload`: the number of bytes in the body.
    Upload,
    /// `GET /slow/MS`: an answer after so long, at most [`SLOW_MS_MAX`].
    Slow(Duration),
    /// Anything else.
    Missing,
}

/// The route of a request. `path` is without its query.
#[inline]
pub fn route(method: &str, path: &str) -> Route {
    match (method, path) {
        ("GET", "/plaintext") => Route::Plaintext,
        ("GET", "/json") => Route::Json,
        ("GET" | "POST", "/baseline11") => Route::Baseline,
        ("POST", "/upload") => Route::Upload,
        ("GET", _) => numbered(path),
        _ => Route::Missing,
    }
}

/// The routes with a number in their path.
fn numbered(path: &str) -> Route {
    if let Some(count) = path.strip_prefix("/bytes/").and_then(|text| text.parse().ok()) {
        return if count <= BYTES_MAX { Route::Bytes(count) } else { Route::Missing };
    }
    match path.strip_prefix("/slow/").and_then(|text| text.parse::<u64>().ok()) {
        Some(ms) => Route::Slow(Duration::from_millis(ms.min(SLOW_MS_MAX))),
        None => Route::Missing,
    }
}

/// So many times the byte `x`, from a buffer made once.
///
/// # Panics
/// If `count` is above [`BYTES_MAX`].
#[inline]
pub fn pattern(count: usize) -> &'static str {
    &PATTERN[..count]
}

/// A body that is one number, put together from its pieces without allocating.
#[derive(Clone, Debug)]
pub struct Number {
    text: [u8; NUMBER_BYTES_MAX],
    /// Bytes seen; above the size of `text`, the body is no number.
    length: usize,
}

impl Number {
    /// No bytes yet.
    pub const fn new() -> Self {
        Self { text: [0; NUMBER_BYTES_MAX], length: 0 }
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        if let Some(room) = self.text.get_mut(self.length..self.length.saturating_add(piece.len())) {
            room.copy_from_slice(piece);
        }
        self.length = self.length.saturating_add(piece.len());
    }

    /// The number, if all pieces together are one with white space around it.
    pub fn value(&self) -> Option<i64> {
        self.text.get(..self.length).and_then(integer)
    }
}

impl Default for Number {
    fn default() -> Self {
        Self::new()
    }
}

/// The answer to `/baseline11`: the sum of the query's values that are integers, and of the body, wrapping.
pub fn sum(query: Option<&str>, body: &Number) -> i64 {
    let values = query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').nth(1));
    let values = values.filter_map(|value| integer(value.as_bytes()));
    values.chain(body.value()).fold(0_i64, i64::wrapping_add)
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Loopback, and the port that is the only argument. Ends the program with a line on standard error if it is missing
/// or no port.
pub fn address() -> SocketAddr {
    let mut arguments = std::env::args().skip(1);
    let address = port(arguments.next());
    match arguments.next() {
        None => address,
        Some(text) => refuse(&format!("{text:?} is one argument too many: the port is the only one")),
    }
}

/// The same for a program that can be run in a second way: whether that way's name is the second argument.
pub fn address_and(way: &str) -> (SocketAddr, bool) {
    let mut arguments = std::env::args().skip(1);
    let address = port(arguments.next());
    match (arguments.next(), arguments.next()) {
        (None, _) => (address, false),
        (Some(text), None) if text == way => (address, true),
        (Some(text), None) => refuse(&format!("{text:?} is unknown: after the port comes {way:?} or nothing")),
        (_, Some(text)) => refuse(&format!("{text:?} is one argument too many: the port and {way:?} are all")),
    }
}

fn port(argument: Option<String>) -> SocketAddr {
    let Some(text) = argument else { refuse("the port to listen on is wanted (0 to 65535)") };
    match text.parse::<u16>() {
        Ok(port) => SocketAddr::from(([127, 0, 0, 1], port)),
        Err(_) => refuse(&format!("{text:?} is not a port (0 to 65535)")),
    }
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}");
    exit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(pieces: &[&str]) -> Number {
        let mut number = Number::new();
        pieces.iter().for_each(|piece| number.push(piece.as_bytes()));
        number
    }

    #[test]
    fn routes_are_the_showcases() {
        let cases = [
            ("GET", "/plaintext", Route::Plaintext),
            ("POST", "/plaintext", Route::Missing),
            ("GET", "/plaintext/", Route::Missing),
            ("GET", "/json", Route::Json),
            ("GET", "/baseline11", Route::Baseline),
            ("POST", "/baseline11", Route::Baseline),
            ("PUT", "/baseline11", Route::Missing),
            ("POST", "/upload", Route::Upload),
            ("GET", "/upload", Route::Missing),
            ("GET", "/bytes/0", Route::Bytes(0)),
            ("GET", "/bytes/1048576", Route::Bytes(BYTES_MAX)),
            ("GET", "/bytes/1048577", Route::Missing),
            ("GET", "/bytes/99999999999999999999", Route::Missing),
            ("GET", "/bytes/", Route::Missing),
            ("GET", "/bytes/-1", Route::Missing),
            ("POST", "/bytes/1", Route::Missing),
            ("GET", "/slow/25", Route::Slow(Duration::from_millis(25))),
            ("GET", "/slow/18446744073709551615", Route::Slow(Duration::from_mins(1))),
            ("GET", "/slow/soon", Route::Missing),
            ("GET", "", Route::Missing),
        ];
        for (method, path, expected) in cases {
            assert_eq!(route(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn query_and_body_are_summed() {
        assert_eq!(sum(Some("a=1&b=2"), &number(&["39"])), 42);
        assert_eq!(sum(Some("a=1&b=2"), &number(&[])), 3);
        assert_eq!(sum(None, &number(&[" -7\r\n"])), -7);
        assert_eq!(sum(Some(""), &number(&[])), 0);
    }

    #[test]
    fn what_is_no_integer_counts_nothing() {
        assert_eq!(sum(Some("a=1&b=two&c&=3&d=&e=5=6&f= 7"), &number(&["eight"])), 16);
        assert_eq!(sum(Some("a=9223372036854775808"), &number(&["1.5"])), 0);
    }

    #[test]
    fn sums_wrap() {
        assert_eq!(sum(Some("a=9223372036854775807"), &number(&["1"])), i64::MIN);
    }

    #[test]
    fn a_number_is_the_same_in_any_pieces() {
        let text = "-9223372036854775808";
        for cut in 0..=text.len() {
            assert_eq!(number(&[&text[..cut], &text[cut..]]).value(), Some(i64::MIN), "cut at {cut}");
        }
    }

    #[test]
    fn a_body_too_long_is_no_number() {
        let zeros = "0".repeat(NUMBER_BYTES_MAX);
        assert_eq!(number(&[&zeros]).value(), Some(0));
        assert_eq!(number(&[&zeros, "1"]).value(), None);
        assert_eq!(number(&[&zeros, "1", "2"]).value(), None);
        assert_eq!(number(&["1", &zeros]).value(), None);
    }

    #[test]
    fn the_pattern_has_the_length_asked_for() {
        for count in [0, 1, 1024, 65_536, BYTES_MAX] {
            assert_eq!(pattern(count).len(), count);
            assert!(pattern(count).bytes().all(|byte| byte == b'x'));
        }
    }
}

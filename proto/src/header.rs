//! Field names known in advance, so that the hot paths compare small integers instead of text.
//!
//! Invariants: names compare without case; each known name has one canonical spelling. Lookup costs one table read and
//! one comparison: the table is a perfect hash over the name's length and last four bytes, checked at compile
//! time.
//! Not here: field values and their grammar.
//! Source: RFC 9110 section 5.1 and the IANA field name registry.

use crate::words;

/// Slots of each perfect hash table.
const SLOT_COUNT: usize = 128;

/// One more than the bytes of the longest name the tables can hold.
const NAME_BYTES_MAX: usize = 24;

/// One slot of a table: a known name, in a form that compares in a few instructions. One cache line.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Slot<Name> {
    /// The name in lower case, and its colon; behind that all bits are 1.
    words: Words,
    /// The bits that do not count: 0x20 at each letter, and all behind the colon; none in an unused slot.
    ignored: Words,
    name: Name,
}

impl<Name: Copy> Slot<Name> {
    const fn unused(name: Name) -> Self {
        Self { words: [u64::MAX; 3], ignored: [0; 3], name }
    }

    const fn new(text: &str, name: Name) -> Self {
        assert!(text.len() < NAME_BYTES_MAX, "the name is too long for the table");
        let mut lower = [0xff; NAME_BYTES_MAX];
        let mut ignored = [0xff; NAME_BYTES_MAX];
        let mut index = 0;
        while index < text.len() {
            let byte = text.as_bytes()[index];
            lower[index] = byte.to_ascii_lowercase();
            ignored[index] = if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
            index += 1;
        }
        (lower[index], ignored[index]) = (b':', 0);
        Self { words: words(&lower), ignored: words(&ignored), name }
    }
}

/// The bytes of a name, and any others behind them.
type Words = [u64; NAME_BYTES_MAX / 8];

/// The words of up to 24 bytes.
#[inline]
const fn words(name: &[u8]) -> Words {
    [words::word(name, 0), words::word(name, 8), words::word(name, 16)]
}

/// The last four bytes of a name that stands behind a line's end, which known names of two and three bytes need.
const fn last_four(name: &[u8]) -> u32 {
    match (name.last_chunk(), name) {
        (Some(last), _) => u32::from_le_bytes(*last),
        (_, [first, second, third]) => u32::from_le_bytes([b'\n', *first, *second, *third]),
        (_, [first, second]) => u32::from_le_bytes([b'\r', b'\n', *first, *second]),
        _ => 0,
    }
}

/// Hash of a name that ignores the case of letters.
#[inline(always)]
const fn slot(last_four: u32, len: u32, factor: u32) -> usize {
    // Bit 0x20 of each byte is all that case changes.
    let mixed = (last_four | 0x2020_2020).wrapping_sub(len);
    (mixed.wrapping_mul(factor) >> (u32::BITS - SLOT_COUNT.ilog2())) as usize
}

/// Names without a number that browsers and proxies send with each request: found in the table they need not be looked
/// at for bytes that may not be in a name.
pub(crate) const TOKENS: [&str; 14] = [
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "Sec-Fetch-Site",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Dest",
    "Sec-Fetch-User",
    "Origin",
    "Priority",
    "DNT",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Requested-With",
    "X-Real-IP",
];

macro_rules! known_names {
    (
        $(#[doc = $doc:literal])+ $type:ident, factor $factor:literal, others $others:expr;
        $($name:ident = $text:literal,)+
    ) => {
        $(#[doc = $doc])+
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $type {
            /// Any name that is not listed here.
            Unknown = 0,
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl $type {
            /// Every known name, in declaration order.
            pub const NAMED: &'static [Self] = &[$(Self::$name,)+];

            const SLOTS: [Slot<Self>; SLOT_COUNT] = {
                let mut slots = [Slot::unused(Self::Unknown); SLOT_COUNT];
                let mut index = 0;
                let others: &[&str] = &$others;
                while index < Self::NAMED.len() + others.len() {
                    let (text, name) = if index < Self::NAMED.len() {
                        (Self::NAMED[index].as_str(), Self::NAMED[index])
                    } else {
                        (others[index - Self::NAMED.len()], Self::Unknown)
                    };
                    #[expect(clippy::cast_possible_truncation, reason = "NAME_BYTES_MAX")]
                    let slot = slot(last_four(text.as_bytes()), text.len() as u32, $factor);
                    assert!(slots[slot].ignored[0] == 0, "two names share a slot: choose another factor");
                    slots[slot] = Slot::new(text, name);
                    index += 1;
                }
                slots
            };

            /// The known name equal to `name`, ignoring case.
            #[must_use]
            pub fn lookup(name: &[u8]) -> Self {
                let Ok(len) = u32::try_from(name.len()) else { return Self::Unknown };
                let mut words = words(name);
                // Behind the name there are zeros.
                let Some(word) = words.get_mut(name.len() / 8) else { return Self::Unknown };
                *word |= u64::from(b':') << (name.len() % 8 * 8);
                let known = Self::lookup_words(last_four(name), len, words);
                known.filter(|known| known.as_str().len() == name.len()).unwrap_or(Self::Unknown)
            }

            /// [`lookup`](Self::lookup) of a name of `len` bytes that has no colon, by words with it, a colon, and any
            /// others behind; the last four are those before its end, behind a line's end. `Unknown`: a token that is
            /// in the table without a number.
            #[inline(always)]
            pub(crate) fn lookup_words<const N: usize>(last_four: u32, len: u32, words: [u64; N]) -> Option<Self> {
                static SLOTS: [Slot<$type>; SLOT_COUNT] = $type::SLOTS;
                let slot = &SLOTS[slot(last_four, len, $factor)];
                let mut differs = 0;
                let mut index = 0;
                while index < N {
                    differs |= (words[index] | slot.ignored[index]) ^ slot.words[index];
                    index += 1;
                }
                if differs == 0 { Some(slot.name) } else { None }
            }

            /// The canonical spelling; empty for `Unknown`.
            #[inline]
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Unknown => "",
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

known_names! {
    /// Request fields with a number of their own: 41 names.
    KnownHeader, factor 0xf918_e68f, others TOKENS;
    CacheControl = "Cache-Control",
    Date = "Date",
    KeepAlive = "Keep-Alive",
    Pragma = "Pragma",
    Trailer = "Trailer",
    Via = "Via",
    Warning = "Warning",
    Allow = "Allow",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLocation = "Content-Location",
    ContentMd5 = "Content-MD5",
    ContentRange = "Content-Range",
    Expires = "Expires",
    LastModified = "Last-Modified",
    Accept = "Accept",
    AcceptCharset = "Accept-Charset",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Authorization = "Authorization",
    Cookie = "Cookie",
    From = "From",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    MaxForwards = "Max-Forwards",
    ProxyAuthorization = "Proxy-Authorization",
    Referer = "Referer",
    Range = "Range",
    Te = "TE",
    Translate = "Translate",
    UserAgent = "User-Agent",
    // The last ones are those that are noted.
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    Connection = "Connection",
    Expect = "Expect",
    Upgrade = "Upgrade",
    Host = "Host",
}

known_names! {
    /// Response fields with a number of their own: 30 names.
    ResponseHeader, factor 0xf4be_a973, others [];
    CacheControl = "Cache-Control",
    Connection = "Connection",
    Date = "Date",
    KeepAlive = "Keep-Alive",
    Pragma = "Pragma",
    Trailer = "Trailer",
    TransferEncoding = "Transfer-Encoding",
    Upgrade = "Upgrade",
    Via = "Via",
    Warning = "Warning",
    Allow = "Allow",
    ContentLength = "Content-Length",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLocation = "Content-Location",
    ContentMd5 = "Content-MD5",
    ContentRange = "Content-Range",
    Expires = "Expires",
    LastModified = "Last-Modified",
    AcceptRanges = "Accept-Ranges",
    Age = "Age",
    ETag = "ETag",
    Location = "Location",
    ProxyAuthenticate = "Proxy-Authenticate",
    RetryAfter = "Retry-After",
    Server = "Server",
    SetCookie = "Set-Cookie",
    Vary = "Vary",
    WwwAuthenticate = "WWW-Authenticate",
}

const _: () = assert!(KnownHeader::NAMED.len() == 41);
const _: () = assert!(ResponseHeader::NAMED.len() == 30);

impl KnownHeader {
    /// Whether the field says something about the host, the body or the connection: these are the last, so that one
    /// comparison tells.
    #[inline]
    pub(crate) const fn is_noted(self) -> bool {
        self as u8 >= Self::ContentLength as u8
    }
}

/// The name of a response field: known, or any other token.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum HeaderName<'a> {
    /// A name from the table, written in its canonical spelling.
    Known(ResponseHeader),
    /// Any other name, written as given.
    Custom(&'a str),
}

impl<'a> HeaderName<'a> {
    /// The name as it is written; empty for `Unknown`, which cannot be.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        match self {
            Self::Known(known) => known.as_str(),
            Self::Custom(name) => name,
        }
    }
}

impl From<ResponseHeader> for HeaderName<'_> {
    #[inline]
    fn from(known: ResponseHeader) -> Self {
        Self::Known(known)
    }
}

impl<'a> From<&'a str> for HeaderName<'a> {
    #[inline]
    fn from(name: &'a str) -> Self {
        Self::Custom(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_finds_each_name_in_any_case_and_nothing_else() {
        for &known in KnownHeader::NAMED {
            let name = known.as_str();
            assert_eq!(KnownHeader::lookup(name.as_bytes()), known);
            assert_eq!(KnownHeader::lookup(name.to_lowercase().as_bytes()), known);
            assert_eq!(KnownHeader::lookup(name.to_uppercase().as_bytes()), known);
            assert_eq!(KnownHeader::lookup(&name.as_bytes()[1..]), KnownHeader::Unknown);
            assert_eq!(KnownHeader::lookup(std::format!("{name}x").as_bytes()), KnownHeader::Unknown);
        }
        for &known in ResponseHeader::NAMED {
            assert_eq!(ResponseHeader::lookup(known.as_str().to_lowercase().as_bytes()), known);
        }
        for name in [
            &b""[..],
            b"\x48\x4f\x53\x54\x00",
            b"content\x0dtype",
            b"h\x0fst",
            b"t\x05",
            b"VI\x01",
            b"H",
            b"Hos",
            b"Hxst",
            b"Content_Length",
            b"X-Forwarded-For",
            b"\x00",
            b"\xff",
        ] {
            assert_eq!(KnownHeader::lookup(name), KnownHeader::Unknown);
            assert_eq!(ResponseHeader::lookup(name), ResponseHeader::Unknown);
        }
    }

    #[test]
    fn neighbours_of_known_names_are_what_comparing_with_all_says() {
        let naive = |name: &[u8]| {
            let is = |known: &&KnownHeader| known.as_str().as_bytes().eq_ignore_ascii_case(name);
            KnownHeader::NAMED.iter().find(is).copied().unwrap_or(KnownHeader::Unknown)
        };
        let check = |name: &[u8]| assert_eq!(KnownHeader::lookup(name), naive(name), "{}", name.escape_ascii());
        for known in KnownHeader::NAMED {
            let name = known.as_str().as_bytes();
            for at in 0..name.len() {
                check(&[&name[..at], &name[at + 1..]].concat());
                check(&[&name[at..], &name[..at]].concat());
                for byte in 0..=255 {
                    check(&[&name[..at], &[byte], &name[at + 1..]].concat());
                    check(&[&name[..at], &[byte], &name[at..]].concat());
                    check(&[name, &[byte]].concat());
                }
            }
            // The end of one behind the beginning of another, of the length of either.
            for other in KnownHeader::NAMED.iter().map(|other| other.as_str().as_bytes()) {
                check(&[name, other].concat());
                if let Some(kept) = name.len().checked_sub(4).filter(|_| other.len() >= 4) {
                    check(&[&name[..kept], &other[other.len() - 4..]].concat());
                }
            }
        }
    }

    #[test]
    fn noted_are_those_that_say_something_of_host_body_or_connection() {
        let noted = KnownHeader::NAMED.iter().filter(|known| known.is_noted()).map(|known| known.as_str());
        let want = ["Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Host"];
        assert!(noted.eq(want));
        assert!(!KnownHeader::Unknown.is_noted());
    }

    #[test]
    fn tokens_in_the_table_have_no_number() {
        for name in TOKENS {
            assert!(name.bytes().all(crate::bytes::is_token_byte), "{name}");
            assert_eq!(KnownHeader::lookup(name.as_bytes()), KnownHeader::Unknown, "{name}");
        }
    }

    #[test]
    fn a_name_converts_from_either_kind() {
        assert_eq!(HeaderName::from(ResponseHeader::ETag), HeaderName::Known(ResponseHeader::ETag));
        assert_eq!(HeaderName::from("X-Id"), HeaderName::Custom("X-Id"));
    }
}

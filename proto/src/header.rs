//! Field names known in advance, so that the hot paths compare small integers instead of text.
//!
//! Invariants: names compare without case; each known name has one canonical spelling. Lookup costs one table read and
//! one comparison: the table is a perfect hash over the name's words, checked at compile time.
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
    /// The name in lower case; all zero in an unused slot.
    words: Words,
    /// 0x20 at each letter of `words`, 0 elsewhere: the bits that do not count.
    letters: Words,
    name: Name,
}

impl<Name: Copy> Slot<Name> {
    const fn new(text: &str, name: Name) -> Self {
        assert!(text.len() < NAME_BYTES_MAX, "the name is too long for the table");
        let mut lower = [0; NAME_BYTES_MAX];
        let mut letters = [0; NAME_BYTES_MAX];
        let mut index = 0;
        while index < text.len() {
            let byte = text.as_bytes()[index];
            lower[index] = byte.to_ascii_lowercase();
            letters[index] = if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
            index += 1;
        }
        Self { words: words(&lower), letters: words(&letters), name }
    }
}

/// A name, as words with zeros behind it.
type Words = [u64; NAME_BYTES_MAX / 8];

/// The words of a name of up to 24 bytes.
#[inline]
const fn words(name: &[u8]) -> Words {
    [words::word(name, 0), words::word(name, 8), words::word(name, 16)]
}

/// Hash of a name that ignores the case of letters: of the first four bytes of each word, in which known names differ.
#[inline(always)]
const fn slot<const N: usize>(words: [u64; N], factor: u32) -> usize {
    let mut mixed = words[0];
    let mut index = 1;
    while index < N {
        mixed ^= words[index];
        index += 1;
    }
    // Bit 0x20 of each byte is all that case changes.
    #[expect(clippy::cast_possible_truncation, reason = "these four bytes are meant")]
    let four = mixed as u32;
    let folded = four | 0x2020_2020;
    (folded.wrapping_mul(factor) >> (u32::BITS - SLOT_COUNT.ilog2())) as usize
}

macro_rules! known_names {
    (
        $(#[doc = $doc:literal])+ $type:ident, factor $factor:literal;
        $($name:ident = $text:literal,)+
    ) => {
        $(#[doc = $doc])+
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
                let mut slots = [Slot::new("", Self::Unknown); SLOT_COUNT];
                let mut index = 0;
                while index < Self::NAMED.len() {
                    let name = Self::NAMED[index];
                    let filled = Slot::new(name.as_str(), name);
                    let slot = slot(filled.words, $factor);
                    assert!(slots[slot].words[0] == 0, "two names share a slot: choose another factor");
                    slots[slot] = filled;
                    index += 1;
                }
                slots
            };

            /// The known name equal to `name`, ignoring case.
            #[must_use]
            pub fn lookup(name: &[u8]) -> Self {
                match name {
                    // In words it would be the name without it.
                    [.., 0] => Self::Unknown,
                    _ if name.len() < NAME_BYTES_MAX => Self::lookup_words(words(name)),
                    _ => Self::Unknown,
                }
            }

            /// [`lookup`](Self::lookup) of a name without NUL at its end that leaves at least a byte of the words zero:
            /// further words are not looked at, because in this byte a longer name has something.
            #[inline(always)]
            pub(crate) fn lookup_words<const N: usize>(name: [u64; N]) -> Self {
                static SLOTS: [Slot<$type>; SLOT_COUNT] = $type::SLOTS;
                let slot = &SLOTS[slot(name, $factor)];
                let mut index = 0;
                while index < N {
                    if name[index] | slot.letters[index] != slot.words[index] {
                        return Self::Unknown;
                    }
                    index += 1;
                }
                slot.name
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
    KnownHeader, factor 0xb9fa_d67f;
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
    Accept = "Accept",
    AcceptCharset = "Accept-Charset",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Authorization = "Authorization",
    Cookie = "Cookie",
    Expect = "Expect",
    From = "From",
    Host = "Host",
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
}

known_names! {
    /// Response fields with a number of their own: 30 names.
    ResponseHeader, factor 0xa46d_6753;
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
    /// Those that say something about the host, the body or the connection.
    const NOTED: u64 = 1 << Self::Host as u64
        | 1 << Self::ContentLength as u64
        | 1 << Self::TransferEncoding as u64
        | 1 << Self::Connection as u64
        | 1 << Self::Expect as u64
        | 1 << Self::Upgrade as u64;

    /// Whether the field says something about the host, the body or the connection.
    #[inline]
    pub(crate) const fn is_noted(self) -> bool {
        Self::NOTED >> self as u64 & 1 != 0
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
    fn a_name_converts_from_either_kind() {
        assert_eq!(HeaderName::from(ResponseHeader::ETag), HeaderName::Known(ResponseHeader::ETag));
        assert_eq!(HeaderName::from("X-Id"), HeaderName::Custom("X-Id"));
    }
}

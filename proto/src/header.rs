//! Field names known in advance, so that the hot paths compare small integers instead of text.
//!
//! Invariants: names compare without case; each known name has one canonical spelling. Lookup costs one table read and
//! one comparison: the table is a perfect hash over length, first and last byte, checked at compile time.
//! Not here: field values and their grammar.
//! Source: RFC 9110 section 5.1 and the IANA field name registry.

/// Slots of each perfect hash table.
const SLOT_COUNT: usize = 128;

/// Bytes of the longest name the tables can hold.
const NAME_BYTES_MAX: usize = 24;

/// One slot of a table: a known name, in a form that compares in a few instructions. One cache line.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Slot<Name> {
    /// `words` of the name in lower case.
    words: [u64; 3],
    /// 0x20 at each letter of `words`, 0 elsewhere: the bits that do not count.
    letters: [u64; 3],
    /// Bytes of the name; 0 in an unused slot.
    len: usize,
    name: Name,
}

impl<Name: Copy> Slot<Name> {
    const fn new(text: &str, name: Name) -> Self {
        assert!(text.len() <= NAME_BYTES_MAX, "the name is too long for the table");
        let mut lower = [0; NAME_BYTES_MAX];
        let mut letters = [0; NAME_BYTES_MAX];
        let mut index = 0;
        while index < text.len() {
            let byte = text.as_bytes()[index];
            lower[index] = byte.to_ascii_lowercase();
            letters[index] = if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
            index += 1;
        }
        let (lower, letters) = (lower.split_at(text.len()).0, letters.split_at(text.len()).0);
        Self { words: words(lower), letters: words(letters), len: text.len(), name }
    }

    /// Whether `name` is the slot's, ignoring case.
    #[inline]
    fn holds(&self, name: &[u8]) -> bool {
        // Written out because a comparison of arrays goes through memory.
        let [first, middle, last] = words(name);
        name.len() == self.len
            && ((first | self.letters[0]) ^ self.words[0])
                | ((middle | self.letters[1]) ^ self.words[1])
                | ((last | self.letters[2]) ^ self.words[2])
                == 0
    }
}

/// The bytes of a name of up to 24 bytes as three words. The words overlap where the name is not a multiple of
/// their size, so names of equal length are equal if and only if their words are.
#[inline]
const fn words(name: &[u8]) -> [u64; 3] {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let middle = match name.split_at(8).1.first_chunk() {
            Some(middle) => middle,
            None => last,
        };
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*middle), u64::from_le_bytes(*last)];
    }
    let word = match (name.first_chunk(), name.last_chunk(), name) {
        (Some(first), Some(last), _) => (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64,
        (.., [first, .., last]) => (*first as u64) << 16 | (name[name.len() / 2] as u64) << 8 | *last as u64,
        (.., [only]) => *only as u64,
        (.., []) => 0,
    };
    [word, 0, 0]
}

/// Hash of a non-empty name that ignores the case of letters.
#[inline]
const fn slot(name: &[u8], first_factor: usize, last_factor: usize) -> usize {
    let first = (name[0] | 0x20) as usize;
    let last = (name[name.len() - 1] | 0x20) as usize;
    (first * first_factor + last * last_factor + name.len()) % SLOT_COUNT
}

macro_rules! known_names {
    (
        $(#[doc = $doc:literal])+ $type:ident, factors $first_factor:literal $last_factor:literal;
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
                    let slot = slot(name.as_str().as_bytes(), $first_factor, $last_factor);
                    assert!(slots[slot].len == 0, "two names share a slot: choose other factors");
                    slots[slot] = Slot::new(name.as_str(), name);
                    index += 1;
                }
                slots
            };

            /// The known name equal to `name`, ignoring case.
            #[inline]
            #[must_use]
            pub fn lookup(name: &[u8]) -> Self {
                static SLOTS: [Slot<$type>; SLOT_COUNT] = $type::SLOTS;
                if name.is_empty() {
                    return Self::Unknown;
                }
                let slot = &SLOTS[slot(name, $first_factor, $last_factor)];
                if slot.holds(name) { slot.name } else { Self::Unknown }
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
    KnownHeader, factors 41 27;
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
    ResponseHeader, factors 34 1;
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

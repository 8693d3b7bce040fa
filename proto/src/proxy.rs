//! The header of the PROXY protocol, with which a proxy says before the first request whose connection it passes on.
//!
//! Invariants: nothing is decided before its bytes are there, and what is decided holds whatever follows: any split of
//! the input gives the same verdict. Strict where the text leaves a choice: one space between the parts of version 1,
//! numbers without leading zeros, additions of version 2 that end where they say. A checksum that is there is right.
//!
//! Not here: from whom a header is believed, how long one is waited for, and what `LOCAL` is answered.
//! Source: "The PROXY protocol, versions 1 and 2" (haproxy, doc/proxy-protocol.txt), sections 2.1 and 2.2.

mod additions;
#[cfg(test)]
mod tests;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::{self, FromStr};

pub use additions::{Additions, Tls};

/// Bytes of the longest header of version 1, with its CRLF (section 2.1).
pub const V1_BYTES_MAX: usize = 107;
/// Bytes of a header of version 2 before its addresses.
const V2_START: usize = 16;
/// Bytes of the longest header of version 2: its length is of 16 bits.
pub const V2_BYTES_MAX: usize = V2_START + u16::MAX as usize;

const V1_SIGNATURE: &[u8; 6] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a pair of unix socket paths.
const UNIX_PAIR: usize = 216;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parse<'a> {
    /// The beginning of a header, perhaps: more bytes decide.
    Partial,
    /// No header: these are the bytes of a client that sends none.
    Absent,
    /// A whole header, of its first [`Header::bytes`] bytes.
    Complete(Header<'a>),
    /// A header that is not as it has to be: nothing on this connection can be believed.
    Malformed(Fault),
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    bytes: usize,
    version: Version,
    relayed: Relayed,
    additions: Additions<'a>,
}

/// The form of a header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Whose connection a proxy passes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Nobody's: it is the proxy's own, to see whether the server is well.
    Own,
    /// Of a client whose address the proxy does not know, or that has none of TCP: the connection's own addresses hold.
    Unknown,
    /// Of this client, who reached the proxy at `destination`. Both are of one family.
    Client {
        /// The client's address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
}

/// Why a header cannot be believed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No CRLF within [`V1_BYTES_MAX`], or version 2 announces more bytes than the caller takes.
    TooLong,
    /// A line of version 1 that is not of its grammar.
    BadLine,
    /// A version other than 2 behind the signature of version 2.
    BadVersion,
    /// A command other than LOCAL and PROXY.
    BadCommand,
    /// A family or protocol that version 2 does not have.
    BadFamily,
    /// Version 2 announces fewer bytes than the addresses of its family have.
    TooShort,
    /// An addition that does not end where the header does.
    BadAddition,
    /// The checksum is not that of the header.
    BadChecksum,
}

impl Fault {
    /// One short sentence, for logs.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "The PROXY header is too long.",
            Self::BadLine => "The line of the PROXY header is malformed.",
            Self::BadVersion => "The PROXY header is of a version that does not exist.",
            Self::BadCommand => "The PROXY header has a command that does not exist.",
            Self::BadFamily => "The PROXY header has an address family that does not exist.",
            Self::TooShort => "The PROXY header is shorter than its addresses.",
            Self::BadAddition => "An addition to the PROXY header does not end where the header does.",
            Self::BadChecksum => "The checksum of the PROXY header is wrong.",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.detail())
    }
}

impl core::error::Error for Fault {}

impl<'a> Header<'a> {
    /// Bytes of the header; what follows is the client's. 15 to [`V2_BYTES_MAX`].
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The form.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Whose connection this is.
    #[inline]
    #[must_use]
    pub const fn relayed(&self) -> Relayed {
        self.relayed
    }

    /// What a header of version 2 says besides; nothing in one of version 1.
    #[inline]
    #[must_use]
    pub fn additions(&self) -> Additions<'a> {
        self.additions.clone()
    }
}

/// Reads the first bytes of a connection, of which at most `bytes_max` may be a header ([`V1_BYTES_MAX`] to
/// [`V2_BYTES_MAX`]; a header of version 1 has its own bound beside it).
///
/// Costs as much as the bytes are many: who waits for the rest of a header reads it anew.
#[must_use]
pub fn parse(input: &[u8], bytes_max: usize) -> Parse<'_> {
    if let Some(rest) = after_signature(input, V1_SIGNATURE) {
        return rest.map_or(Parse::Partial, |_| read_v1(input));
    }
    if let Some(rest) = after_signature(input, V2_SIGNATURE) {
        return rest.map_or(Parse::Partial, |_| read_v2(input, bytes_max));
    }
    Parse::Absent
}

/// What follows a signature, when all of it is there; `None` when this is another beginning.
fn after_signature<'a>(input: &'a [u8], signature: &[u8]) -> Option<Option<&'a [u8]>> {
    match input.strip_prefix(signature) {
        Some(rest) => Some(Some(rest)),
        None if signature.starts_with(input) => Some(None),
        None => None,
    }
}

fn read_v1(input: &[u8]) -> Parse<'_> {
    let within = &input[..input.len().min(V1_BYTES_MAX)];
    let Some(end) = within.iter().position(|&byte| byte == b'\r' || byte == b'\n') else {
        return if within.len() == V1_BYTES_MAX { Parse::Malformed(Fault::TooLong) } else { Parse::Partial };
    };
    let relayed = match (within[end], within.get(end + 1)) {
        (b'\r', Some(b'\n')) => v1_endpoints(&within[V1_SIGNATURE.len()..end]),
        (b'\r', None) if within.len() < V1_BYTES_MAX => return Parse::Partial,
        (b'\r', None) => return Parse::Malformed(Fault::TooLong),
        _ => None,
    };
    relayed.map_or(Parse::Malformed(Fault::BadLine), |relayed| {
        Parse::Complete(Header { bytes: end + 2, version: Version::V1, relayed, additions: Additions::NONE })
    })
}

/// What stands between `PROXY ` and CRLF.
fn v1_endpoints(line: &[u8]) -> Option<Relayed> {
    let line = str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let is_v4 = match parts.next()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever follows it means nothing.
        "UNKNOWN" => return Some(Relayed::Unknown),
        _ => return None,
    };
    let [source, destination] = [address(is_v4, parts.next()?)?, address(is_v4, parts.next()?)?];
    let [source_port, destination_port] = [port(parts.next()?)?, port(parts.next()?)?];
    parts.next().is_none().then_some(Relayed::Client {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address(is_v4: bool, text: &str) -> Option<IpAddr> {
    if is_v4 { Ipv4Addr::from_str(text).ok().map(IpAddr::V4) } else { Ipv6Addr::from_str(text).ok().map(IpAddr::V6) }
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn read_v2(input: &[u8], bytes_max: usize) -> Parse<'_> {
    let Some(start) = input.first_chunk::<V2_START>() else {
        return Parse::Partial;
    };
    let [.., version_and_command, family, high, low] = *start;
    let len = V2_START + usize::from(u16::from_be_bytes([high, low]));
    let (addresses, is_own) = match (version_and_command, family) {
        (0x20, _) => (0, true),
        (0x21, 0x00) => (0, false),
        (0x21, 0x11 | 0x12) => (12, false),
        (0x21, 0x21 | 0x22) => (36, false),
        (0x21, 0x31 | 0x32) => (UNIX_PAIR, false),
        (0x21, _) => return Parse::Malformed(Fault::BadFamily),
        (0x22..0x30, _) => return Parse::Malformed(Fault::BadCommand),
        _ => return Parse::Malformed(Fault::BadVersion),
    };
    if len > bytes_max {
        return Parse::Malformed(Fault::TooLong);
    }
    if len < V2_START + addresses {
        return Parse::Malformed(Fault::TooShort);
    }
    let Some(header) = input.get(..len) else {
        return Parse::Partial;
    };
    // What follows LOCAL need not be additions: it is to be skipped (section 2.2).
    let additions = if is_own { Ok(Additions::NONE) } else { Additions::read(header, V2_START + addresses) };
    match additions {
        Ok(additions) => {
            let relayed = if is_own { Relayed::Own } else { v2_endpoints(family, &header[V2_START..]) };
            Parse::Complete(Header { bytes: len, version: Version::V2, relayed, additions })
        }
        Err(fault) => Parse::Malformed(fault),
    }
}

/// The addresses of TCP; those of other protocols say nothing about a connection of ours.
fn v2_endpoints(family: u8, addresses: &[u8]) -> Relayed {
    let (source, destination, ports) = match (family, addresses) {
        (0x11, [a, b, c, d, e, f, g, h, ports @ ..]) => {
            (IpAddr::from([*a, *b, *c, *d]), IpAddr::from([*e, *f, *g, *h]), ports)
        }
        (0x21, _) => match (addresses.first_chunk::<16>(), addresses.get(16..).and_then(<[u8]>::first_chunk::<16>)) {
            (Some(source), Some(destination)) => (IpAddr::from(*source), IpAddr::from(*destination), &addresses[32..]),
            _ => return Relayed::Unknown,
        },
        _ => return Relayed::Unknown,
    };
    let [a, b, c, d, ..] = *ports else {
        return Relayed::Unknown;
    };
    Relayed::Client {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

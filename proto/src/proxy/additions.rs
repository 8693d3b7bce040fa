//! What a header of version 2 says besides addresses: type, length, value, one after the other.
//!
//! Invariants: made only of a header whose additions end where it does and whose checksum, if it has one, is right.
//! Not here: what an application makes of them.
//! Source: "The PROXY protocol", sections 2.2.1 to 2.2.8.

use super::Fault;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const NETNS: u8 = 0x30;

/// Bytes of the longest unique id (section 2.2.5).
const UNIQUE_ID_MAX: usize = 128;

/// Types and values in the order sent, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Additions<'a> {
    rest: &'a [u8],
}

/// What a proxy says of the TLS that ended at it. Not of the connection that brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    client: u8,
    verify: u32,
    parts: Additions<'a>,
}

impl<'a> Additions<'a> {
    pub(super) const NONE: Self = Self { rest: &[] };

    /// Those of a whole header, which begin at `start`.
    pub(super) fn read(header: &'a [u8], start: usize) -> Result<Self, Fault> {
        let additions = Self { rest: header.get(start..).ok_or(Fault::TooShort)? };
        let mut rest = additions.rest;
        while !rest.is_empty() {
            let (kind, value, after) = split(rest).ok_or(Fault::BadAddition)?;
            match kind {
                CRC32C => {
                    let at = header.len() - after.len() - value.len();
                    let sent = <[u8; 4]>::try_from(value).map_err(|_| Fault::BadAddition)?;
                    if u32::from_be_bytes(sent) != checksum(&header[..at], &header[at + 4..]) {
                        return Err(Fault::BadChecksum);
                    }
                }
                SSL => {
                    let mut parts = value.get(5..).ok_or(Fault::BadAddition)?;
                    while !parts.is_empty() {
                        (_, _, parts) = split(parts).ok_or(Fault::BadAddition)?;
                    }
                }
                UNIQUE_ID if value.len() > UNIQUE_ID_MAX => return Err(Fault::BadAddition),
                _ => {}
            }
            rest = after;
        }
        Ok(additions)
    }

    /// The first value of a type, of those not passed yet.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.clone().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The host that the client asked for, mostly by TLS's server name; as sent, which is to be UTF-8.
    #[must_use]
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.get(AUTHORITY)
    }

    /// The protocol that the client and the proxy agreed on, such as `h2`.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.get(ALPN)
    }

    /// The proxy's name for the connection, of at most 128 bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.get(UNIQUE_ID)
    }

    /// The network namespace in which the proxy took the connection.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a [u8]> {
        self.get(NETNS)
    }

    /// What is said of TLS.
    #[must_use]
    pub fn tls(&self) -> Option<Tls<'a>> {
        let (&[client, a, b, c, d], parts) = self.get(SSL)?.split_first_chunk()?;
        Some(Tls { client, verify: u32::from_be_bytes([a, b, c, d]), parts: Additions { rest: parts } })
    }
}

impl<'a> Iterator for Additions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (kind, value, after) = split(self.rest)?;
            self.rest = after;
            if kind != NOOP {
                return Some((kind, value));
            }
        }
    }
}

impl<'a> Tls<'a> {
    /// The client reached the proxy over TLS.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.client & 1 != 0
    }

    /// The client gave a certificate on this connection, or before in this session, and it was found good.
    #[must_use]
    pub const fn is_client_verified(&self) -> bool {
        self.client & 6 != 0 && self.verify == 0
    }

    /// The version, such as `TLSv1.3`.
    #[must_use]
    pub fn version(&self) -> Option<&'a [u8]> {
        self.parts.get(SSL_VERSION)
    }

    /// The common name of the client's certificate: UTF-8, as sent.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a [u8]> {
        self.parts.get(SSL_CN)
    }

    /// The cipher, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    #[must_use]
    pub fn cipher(&self) -> Option<&'a [u8]> {
        self.parts.get(SSL_CIPHER)
    }
}

/// Type and value of the first addition, and what follows it.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], after) = bytes.split_first_chunk()?;
    let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((kind, value, after))
}

/// The CRC32c of a header, whose own four bytes between the two parts count as zeros (section 2.2.3; RFC 4960
/// appendix B). A bit at a time: a header has one at most, before the first request of a connection.
pub(super) fn checksum(before: &[u8], after: &[u8]) -> u32 {
    let bytes = before.iter().chain(&[0; 4]).chain(after);
    !bytes.fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 })
    })
}

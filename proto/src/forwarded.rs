//! Whom proxies say that they passed a request on for: Forwarded and X-Forwarded-For.
//!
//! Invariants: hops are given in the order of the field, the client first, each read by itself: what is malformed is a
//! hop that nobody knows, never an end of the list.
//!
//! Not here: which of them are believed.
//! Source: RFC 7239 sections 4 to 6; for X-Forwarded-For, which has no text of its own, the forms that haproxy, nginx
//! and the large balancers write.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::{self, FromStr};

use crate::bytes::{is_token, trim_ows};

/// One element of a list.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// An address.
    Address(IpAddr),
    /// One that is hidden (`unknown`, `_name`), left out, or no address at all.
    Unknown,
}

/// The elements of an X-Forwarded-For field's value: addresses, some with ports.
#[derive(Clone, Debug)]
pub struct XForwardedFor<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> XForwardedFor<'a> {
    /// Of the value of one field.
    #[inline]
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl Iterator for XForwardedFor<'_> {
    type Item = Hop;

    fn next(&mut self) -> Option<Hop> {
        loop {
            let rest = self.rest?;
            let end = memchr::memchr(b',', rest);
            self.rest = end.map(|at| &rest[at + 1..]);
            let element = trim_ows(&rest[..end.unwrap_or(rest.len())]);
            // An element of a list may be empty, which is then none (RFC 9110 section 5.6.1.2).
            if !element.is_empty() {
                return Some(hop(element, true));
            }
        }
    }
}

/// The `for` of each element of a Forwarded field's value.
#[derive(Clone, Debug)]
pub struct Forwarded<'a> {
    rest: &'a [u8],
}

impl<'a> Forwarded<'a> {
    /// Of the value of one field.
    #[inline]
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl Iterator for Forwarded<'_> {
    type Item = Hop;

    fn next(&mut self) -> Option<Hop> {
        while !self.rest.is_empty() {
            let end = end_of_part(self.rest, b',');
            let element = trim_ows(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(forwarded_for(element));
            }
        }
        None
    }
}

/// The `for` of one element: pairs between semicolons. More than one is no answer.
fn forwarded_for(element: &[u8]) -> Hop {
    let mut rest = element;
    let mut found = None;
    while !rest.is_empty() {
        let end = end_of_part(rest, b';');
        let pair = trim_ows(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'=', pair) else {
            continue;
        };
        if pair[..at].eq_ignore_ascii_case(b"for") && found.replace(&pair[at + 1..]).is_some() {
            return Hop::Unknown;
        }
    }
    match found {
        Some([b'"', inner @ .., b'"']) => hop(inner, false),
        // A token has no colon and no bracket: an address of version 6, or a port, is quoted.
        Some(plain) if is_token(plain) => hop(plain, false),
        _ => Hop::Unknown,
    }
}

/// Where the first separator stands that is in no quoted string; the length when there is none.
fn end_of_part(bytes: &[u8], separator: u8) -> usize {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ if byte == separator && !is_quoted => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// An address, perhaps with a port. One of version 6 has brackets, which `is_bare` says may be missing.
fn hop(text: &[u8], is_bare: bool) -> Hop {
    str::from_utf8(text).ok().and_then(|text| node(text, is_bare)).map_or(Hop::Unknown, Hop::Address)
}

fn node(text: &str, is_bare: bool) -> Option<IpAddr> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if is_port { Ipv6Addr::from_str(address).ok().map(IpAddr::V6) } else { None };
    }
    if let Some(address) = is_bare.then(|| Ipv6Addr::from_str(text).ok()).flatten() {
        return Some(address.into());
    }
    let (address, port) = text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port)));
    if port.is_none_or(is_port) { Ipv4Addr::from_str(address).ok().map(IpAddr::V4) } else { None }
}

/// A number of 1 to 5 digits, or a name that hides one (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const UNKNOWN: Hop = Hop::Unknown;

    fn at(text: &str) -> Hop {
        Hop::Address(text.parse().expect("an address"))
    }

    fn listed(value: &str) -> Vec<Hop> {
        XForwardedFor::new(value.as_bytes()).collect()
    }

    fn forwarded(value: &str) -> Vec<Hop> {
        Forwarded::new(value.as_bytes()).collect()
    }

    #[test]
    fn addresses_are_listed_in_order_with_and_without_ports() {
        let value = "203.0.113.7, 198.51.100.2:4711 ,2001:db8::1,[2001:db8::2],\t[2001:db8::3]:80,::ffff:192.0.2.1";
        let want = ["203.0.113.7", "198.51.100.2", "2001:db8::1", "2001:db8::2", "2001:db8::3", "::ffff:192.0.2.1"];
        assert_eq!(listed(value), want.map(at));
        assert_eq!(listed(", ,192.0.2.1,,"), [at("192.0.2.1")], "empty elements are none");
        assert_eq!((listed(""), listed(" , ")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_no_address_is_a_hop_that_nobody_knows() {
        for value in
            ["unknown", "_gone", "192.0.2.256", "192.0.2.1:", "192.0.2.1:123456", "[::1", "::1]", "[::1]x", "a b"]
        {
            assert_eq!(listed(value), [UNKNOWN], "{value}");
        }
        assert_eq!(listed("192.0.2.1, nonsense"), [at("192.0.2.1"), UNKNOWN]);
        assert_eq!(XForwardedFor::new(b"\xff, 192.0.2.1").collect::<Vec<_>>(), [UNKNOWN, at("192.0.2.1")]);
    }

    #[test]
    fn elements_of_forwarded_are_read_as_the_rfc_shows_them() {
        assert_eq!(forwarded("for=\"_gazonk\""), [UNKNOWN]);
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), [at("2001:db8:cafe::17")]);
        assert_eq!(forwarded("for=192.0.2.60;proto=http;by=203.0.113.43"), [at("192.0.2.60")]);
        assert_eq!(forwarded("for=192.0.2.43, for=198.51.100.17"), [at("192.0.2.43"), at("198.51.100.17")]);
        assert_eq!(forwarded("for=\"192.0.2.43:47011\",for=unknown"), [at("192.0.2.43"), UNKNOWN]);
        assert_eq!(forwarded("for=\"[::1]:_hidden\" , ,"), [at("::1")]);
    }

    #[test]
    fn a_quoted_comma_does_not_end_an_element_of_forwarded() {
        assert_eq!(
            forwarded("by=\"a,for=192.0.2.1;\\\",\";for=192.0.2.2, for=192.0.2.3"),
            [at("192.0.2.2"), at("192.0.2.3")]
        );
        assert_eq!(forwarded("by=\"never ends, for=192.0.2.1"), [UNKNOWN]);
    }

    #[test]
    fn an_element_without_one_address_says_nothing() {
        for value in ["proto=https", "for=192.0.2.1;for=192.0.2.2", "for=2001:db8::1", "for=[::1]", "for=", "for", "="]
        {
            assert_eq!(forwarded(value), [UNKNOWN], "{value}");
        }
    }
}

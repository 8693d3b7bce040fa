//! URL prefixes: `scheme://host:port/path`, the addresses under which services register.
//!
//! Invariants: a prefix that parses can match; one that could never match is refused with the remedy. Paths match whole
//! segments, without regard to ASCII case, and a prefix's last slash carries no meaning.
//! Not here: the registry of prefixes and its search.
//! Source: RFC 3986 section 3; the grammar is written beside [`Prefix::parse`].

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The scheme of a prefix.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// Which hosts a prefix covers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern<'a> {
    /// `+`: every host, asked before all others.
    Strong,
    /// `*`: every host, asked after all others.
    Weak,
    /// One address.
    Ip(IpAddr),
    /// One name, compared without case.
    Name(&'a str),
}

/// A prefix taken apart.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The hosts covered.
    pub host: HostPattern<'a>,
    /// The port, 1 to 65,535.
    pub port: u16,
    /// The path as given: begins with a slash, and its last slash carries no meaning.
    pub path: &'a str,
}

impl<'a> Prefix<'a> {
    /// Parses
    ///
    /// ```text
    /// prefix = ("http" / "https") "://" host ":" port path
    /// host   = "+" / "*" / name / IPv4 / "[" IPv6 "]"
    /// port   = 1 to 65535, no leading zero
    /// path   = "/" [ text ], not escaped, no query, no fragment, no dot segments
    /// ```
    ///
    /// # Errors
    /// The first violation from the left.
    pub fn parse(text: &'a str) -> Result<Self, PrefixError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(PrefixError::Scheme),
        };
        let authority_len = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_len);
        let host_len = match authority.strip_prefix('[') {
            Some(literal) => literal.find(']').ok_or(PrefixError::Ipv6)? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_len);
        let host = parse_host(host)?;
        let port = parse_port(port)?;
        check_path(path)?;
        Ok(Self { scheme, host, port, path })
    }
}

fn parse_host(text: &str) -> Result<HostPattern<'_>, PrefixError> {
    match text {
        "" => return Err(PrefixError::HostMissing),
        "+" => return Ok(HostPattern::Strong),
        "*" => return Ok(HostPattern::Weak),
        _ => {}
    }
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or(PrefixError::Ipv6)?;
        let address: Ipv6Addr = literal.parse().map_err(|_| PrefixError::Ipv6)?;
        return Ok(HostPattern::Ip(IpAddr::V6(address)));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(HostPattern::Ip(IpAddr::V4(address)));
    }
    if !text.is_ascii() {
        return Err(PrefixError::HostNotAscii);
    }
    let good_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() > 253 || !text.split('.').all(good_label) {
        return Err(PrefixError::HostName);
    }
    let last_label = text.rsplit('.').next().unwrap_or_default();
    if last_label.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PrefixError::Ipv4);
    }
    Ok(HostPattern::Name(text))
}

fn parse_port(text: &str) -> Result<u16, PrefixError> {
    let digits = text.strip_prefix(':').ok_or(PrefixError::PortMissing)?;
    if digits.is_empty() {
        return Err(PrefixError::PortMissing);
    }
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PrefixError::Port);
    }
    digits.parse().map_err(|_| PrefixError::Port)
}

fn check_path(path: &str) -> Result<(), PrefixError> {
    if path.is_empty() {
        return Err(PrefixError::PathMissing);
    }
    if path.len() > usize::from(u16::MAX) {
        return Err(PrefixError::PathTooLong);
    }
    for letter in path.chars() {
        match letter {
            '?' | '#' => return Err(PrefixError::PathQuery),
            '%' => return Err(PrefixError::PathEscape),
            _ if letter.is_control() => return Err(PrefixError::PathControl),
            _ => {}
        }
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(PrefixError::PathDots);
    }
    Ok(())
}

/// Why a text is not a prefix.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrefixError {
    /// It does not begin with `http://` or `https://` in lower case.
    Scheme,
    /// The host is empty.
    HostMissing,
    /// The host has letters beyond ASCII.
    HostNotAscii,
    /// The host is neither a wildcard, nor an address, nor a name of letters, digits, `-`, `_` and dots.
    HostName,
    /// The host looks like an IPv4 address but is none.
    Ipv4,
    /// The bracketed host is not an IPv6 address.
    Ipv6,
    /// There is no port.
    PortMissing,
    /// The port is not a number from 1 to 65,535 without leading zeros.
    Port,
    /// There is no slash after the port.
    PathMissing,
    /// The path is longer than any request target.
    PathTooLong,
    /// The path has a query or a fragment.
    PathQuery,
    /// The path has a percent sign.
    PathEscape,
    /// The path has a control character.
    PathControl,
    /// The path has a segment `.` or `..`.
    PathDots,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the scheme is unknown: begin with http://, in lower case",
            Self::HostMissing => "the host is missing: name one, or use + or * for every host",
            Self::HostNotAscii => "the host has letters beyond ASCII: write its xn-- form",
            Self::HostName => {
                "the host is malformed: use letters, digits, '-', '_' and single dots between them, or + or * alone"
            }
            Self::Ipv4 => "the host ends in a number but is no IPv4 address: write four numbers from 0 to 255",
            Self::Ipv6 => "the host in brackets is no IPv6 address: write it like [::1], without zone",
            Self::PortMissing => "the port is missing: write it after the host, like :80",
            Self::Port => "the port is malformed: write a number from 1 to 65535 without leading zeros",
            Self::PathMissing => "the path is missing: end the prefix with a slash",
            Self::PathTooLong => "the path is longer than any request target: shorten it",
            Self::PathQuery => "the path has a '?' or '#': prefixes match paths only, so leave it out",
            Self::PathEscape => "the path has a '%': prefixes match decoded paths, so write the character itself",
            Self::PathControl => "the path has a control character: requests with one are refused, so leave it out",
            Self::PathDots => "the path has a '.' or '..' segment: requests lose theirs, so write the path without",
        })
    }
}

impl core::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_prefixes_are_taken_apart() {
        let prefix = Prefix::parse("http://+:80/vroot/").expect("valid");
        let want = Prefix { scheme: Scheme::Http, host: HostPattern::Strong, port: 80, path: "/vroot/" };
        assert_eq!(prefix, want);
        let cases = [
            ("https://adatum.com:443/", HostPattern::Name("adatum.com")),
            ("http://Localhost:8080/a/b", HostPattern::Name("Localhost")),
            ("http://*:1/", HostPattern::Weak),
            ("http://127.0.0.1:65535/", HostPattern::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            ("http://[::1]:80/", HostPattern::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST))),
            ("http://a_b-c.x1:80/\u{e9} \\//", HostPattern::Name("a_b-c.x1")),
        ];
        for (text, host) in cases {
            let prefix = Prefix::parse(text).expect(text);
            assert_eq!(prefix.host, host, "{text}");
        }
    }

    #[test]
    fn bad_prefixes_name_the_violation() {
        use PrefixError as E;
        let cases = [
            ("", E::Scheme),
            ("HTTP://+:80/", E::Scheme),
            ("ftp://+:80/", E::Scheme),
            ("http:/+:80/", E::Scheme),
            ("localhost:80/", E::Scheme),
            ("http://:80/", E::HostMissing),
            ("http:///", E::HostMissing),
            ("http://b\u{fc}cher.example:80/", E::HostNotAscii),
            ("http://a..b:80/", E::HostName),
            ("http://.a:80/", E::HostName),
            ("http://a.:80/", E::HostName),
            ("http://a b:80/", E::HostName),
            ("http://*.example.com:80/", E::HostName),
            ("http://user@host:80/", E::HostName),
            ("http://1.2.3:80/", E::Ipv4),
            ("http://1.2.3.256:80/", E::Ipv4),
            ("http://[::1:80/", E::Ipv6),
            ("http://[1.2.3.4]:80/", E::Ipv6),
            ("http://[fe80::1%eth0]:80/", E::Ipv6),
            ("http://+/", E::PortMissing),
            ("http://+:/", E::PortMissing),
            ("http://[::1]80/", E::PortMissing),
            ("http://+:0/", E::Port),
            ("http://+:080/", E::Port),
            ("http://+:65536/", E::Port),
            ("http://+:+80/", E::Port),
            ("http://a:80:80/", E::Port),
            ("http://+:80", E::PathMissing),
            ("http://+:80/a?b", E::PathQuery),
            ("http://+:80/a#b", E::PathQuery),
            ("http://+:80/a%20b", E::PathEscape),
            ("http://+:80/a\r\n", E::PathControl),
            ("http://+:80/\u{85}", E::PathControl),
            ("http://+:80/a/../b", E::PathDots),
            ("http://+:80/.", E::PathDots),
            ("http://+:80?x", E::Port),
        ];
        for (text, want) in cases {
            assert_eq!(Prefix::parse(text), Err(want), "{text}");
            assert!(std::format!("{want}").contains(':'), "{want:?} names a remedy");
        }
    }
}

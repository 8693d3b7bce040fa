//! The cookies of a Cookie field.
//!
//! Invariants: never an error; names and values are without white space at their ends and otherwise as sent, quotes
//! included; what has no `=` is a value without a name, as browsers mean it; nothing between two `;` is nothing.
//!
//! Not here: Set-Cookie, and what a value means.
//! Source: RFC 6265 sections 4.2.1 and 5.4; for cookies without a name, what replaces it
//! (draft-ietf-httpbis-rfc6265bis, section "The Set-Cookie Header Field").

use crate::bytes::trim_ows;

/// Names and values in the order sent.
#[derive(Clone, Debug, Default)]
pub struct Cookies<'a> {
    rest: &'a [u8],
}

impl<'a> Cookies<'a> {
    /// Of the value of one field.
    #[inline]
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for Cookies<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
            let pair = trim_ows(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !pair.is_empty() {
                let (name, value) =
                    memchr::memchr(b'=', pair).map_or((&[][..], pair), |at| (&pair[..at], &pair[at + 1..]));
                return Some((trim_ows(name), trim_ows(value)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn cookies_are_split_as_browsers_join_them() {
        let cookies: Vec<_> = Cookies::new(b"a=1; b=\"2\";c = d=e ;; f=;=g;\th\t;").collect();
        let want: [(&[u8], &[u8]); 6] =
            [(b"a", b"1"), (b"b", b"\"2\""), (b"c", b"d=e"), (b"f", b""), (b"", b"g"), (b"", b"h")];
        assert_eq!(cookies, want);
        assert_eq!(Cookies::new(b"").count() + Cookies::new(b" ; ;").count(), 0);
    }
}

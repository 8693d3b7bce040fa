//! The pairs of `application/x-www-form-urlencoded` text: of a query, or of a form that is a body.
//!
//! Invariants: never an error; a pair without `=` is a name with an empty value; between two `&` with nothing between
//! them there is no pair.
//!
//! Not here: decoding names and values ([`crate::escape::Unescaped::of_form`]).
//! Source: WHATWG URL Standard, section "application/x-www-form-urlencoded parsing".

/// Names and values as sent, in the order sent.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Of a query without its `?`, or of a body.
    #[inline]
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = split(self.rest, b'&');
            self.rest = rest;
            if !pair.is_empty() {
                return Some(split(pair, b'='));
            }
        }
        None
    }
}

/// What is before and behind the first such byte; without one, all is before it.
fn split(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(at, text) {
        Some(index) => (&text[..index], &text[index + 1..]),
        None => (text, &[]),
    }
}

/// Whether a Content-Type is that of a form, whatever parameters it has.
#[must_use]
pub fn is_form(content_type: &[u8]) -> bool {
    let (essence, _) = split(content_type, b';');
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        let pairs: Vec<_> = Pairs::new(b"&a=1&&b=c=d&e&=f&=&%26=%3D&").collect();
        let want: [(&[u8], &[u8]); 6] =
            [(b"a", b"1"), (b"b", b"c=d"), (b"e", b""), (b"", b"f"), (b"", b""), (b"%26", b"%3D")];
        assert_eq!(pairs, want);
        assert_eq!(Pairs::new(b"").count() + Pairs::new(b"&&").count(), 0);
    }

    #[test]
    fn a_content_type_of_a_form_is_known_by_its_essence() {
        for text in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded ; charset=utf-8"] {
            assert!(is_form(text.as_bytes()), "{text}");
        }
        for text in ["", "application/x-www-form-urlencodedx", "text/plain", "a; application/x-www-form-urlencoded"] {
            assert!(!is_form(text.as_bytes()), "{text}");
        }
    }
}

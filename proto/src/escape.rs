//! Escaped text: what `%` with two digits stands for, and `+` in a form.
//!
//! Invariants: decoded once, by bytes; never an error, since a `%` without two hexadecimal digits behind it stands for
//! itself. What is decoded is never longer than what it was.
//!
//! Not here: paths before they are routed, whose escapes must be whole (`url`), and what the bytes mean as text.
//! Source: WHATWG URL Standard, sections "Percent-encoded bytes" and "application/x-www-form-urlencoded parsing".

use crate::bytes::hex_value;

/// The bytes that an escaped text stands for.
#[derive(Clone, Debug)]
pub struct Unescaped<'a> {
    rest: &'a [u8],
    /// What a plus stands for.
    plus: u8,
}

impl<'a> Unescaped<'a> {
    /// Of a name or value in a form or a query, where a plus stands for a space.
    #[inline]
    #[must_use]
    pub const fn of_form(text: &'a [u8]) -> Self {
        Self { rest: text, plus: b' ' }
    }

    /// Of a segment of a path, where a plus is one.
    #[inline]
    #[must_use]
    pub const fn of_segment(text: &'a [u8]) -> Self {
        Self { rest: text, plus: b'+' }
    }

    /// What is left of the text, if it stands for itself.
    #[must_use]
    pub fn as_sent(&self) -> Option<&'a [u8]> {
        let stands_for_itself = |at: usize| match self.rest[at..] {
            [b'+', ..] => self.plus == b'+',
            [b'%', high, low, ..] => hex_value(high).is_none() || hex_value(low).is_none(),
            _ => true,
        };
        memchr::memchr2_iter(b'%', b'+', self.rest).all(stands_for_itself).then_some(self.rest)
    }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&first, mut rest) = self.rest.split_first()?;
        let byte = match (first, rest) {
            (b'+', _) => self.plus,
            (b'%', [high, low, behind @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    high << 4 | low
                }
                _ => first,
            },
            _ => first,
        };
        self.rest = rest;
        Some(byte)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len().div_ceil(3), Some(self.rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn escapes_are_decoded_once_and_what_is_none_stays() {
        let cases: [(&[u8], &[u8], &[u8]); 9] = [
            (b"", b"", b""),
            (b"a+b", b"a b", b"a+b"),
            (b"%41%2f%2F%25", b"A//%", b"A//%"),
            (b"%2541", b"%41", b"%41"),
            (b"%", b"%", b"%"),
            (b"%4", b"%4", b"%4"),
            (b"%zz%4g%g4", b"%zz%4g%g4", b"%zz%4g%g4"),
            (b"%%41", b"%A", b"%A"),
            (b"%C3%a9\xff%00", b"\xc3\xa9\xff\0", b"\xc3\xa9\xff\0"),
        ];
        for (text, of_form, of_segment) in cases {
            for (unescaped, want) in [(Unescaped::of_form(text), of_form), (Unescaped::of_segment(text), of_segment)] {
                let name = text.escape_ascii();
                assert_eq!(unescaped.as_sent(), (text == want).then_some(text), "{name}");
                assert_eq!(unescaped.collect::<Vec<u8>>(), want, "{name}");
            }
        }
    }
}

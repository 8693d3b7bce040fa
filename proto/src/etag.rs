//! Entity tags: reading them, alone and in lists, and comparing them.
//!
//! Invariants: a tag is quoted and may have commas in it; `W/` before it is case-sensitive. What is not a tag equals
//! nothing. Not here: `*`, and what a comparison means for a request ([`crate::conditional`], [`crate::range`]); making
//! tags. Source: RFC 9110 sections 8.8.3, 5.6.1.

use crate::bytes::trim_ows;

/// An entity tag of a request or of a representation.
#[derive(Copy, Clone, Debug)]
pub struct EntityTag<'a> {
    is_weak: bool,
    /// What is between the quotes.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The tag that `text` is, quotes included: `"a"` or `W/"a"`.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split_first(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The tag that `text` begins with, and what is behind it.
    fn split_first(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let quoted = text.strip_prefix(b"W/");
        let inside = quoted.unwrap_or(text).strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| !is_tag_byte(byte))?;
        let rest = inside[end..].strip_prefix(b"\"")?;
        Some((Self { is_weak: quoted.is_some(), opaque: &inside[..end] }, rest))
    }

    /// Whether the tag is weak: equal tags then mean equivalent, not identical, representations.
    #[must_use]
    pub const fn is_weak(self) -> bool {
        self.is_weak
    }

    /// The strong comparison: neither is weak, and they are the same.
    #[must_use]
    pub fn strongly_equals(self, other: EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// The weak comparison: they are the same but for their weakness.
    #[must_use]
    pub fn weakly_equals(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// `etagc`: visible ASCII but the quote, and obs-text.
const fn is_tag_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// Calls `each` for every tag of a comma-separated list, empty elements passed over. Whether it is a well-formed list:
/// if not, `each` may have been called for a part of it.
pub fn for_each<'a>(list: &'a [u8], mut each: impl FnMut(EntityTag<'a>)) -> bool {
    let mut rest = trim_ows(list);
    loop {
        while let [b',' | b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return true;
        }
        let Some((tag, behind)) = EntityTag::split_first(rest) else { return false };
        each(tag);
        rest = trim_ows(behind);
        if !matches!(rest, [] | [b',', ..]) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_comparisons_of_rfc_9110() {
        // Section 8.8.3.2, the table of examples: strong, weak.
        for (one, other, strong, weak) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
        ] {
            let parse = |text: &'static str| EntityTag::parse(text.as_bytes()).expect("a tag");
            let (one, other) = (parse(one), parse(other));
            assert_eq!((one.strongly_equals(other), one.weakly_equals(other)), (strong, weak), "{one:?} {other:?}");
            assert_eq!((other.strongly_equals(one), other.weakly_equals(one)), (strong, weak), "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_tag_is_quoted_text_without_spaces() {
        for text in [&b"\"\""[..], b"\"a,b\"", b"W/\"\"", b"\"\xe9'\\!~\"", b"\"W/\""] {
            assert!(EntityTag::parse(text).is_some(), "{}", text.escape_ascii());
        }
        for text in [&b""[..], b"a", b"\"", b"\"a", b"a\"", b"w/\"a\"", b"W\"a\"", b"W/", b"W/ \"a\"", b"\"a b\""] {
            assert!(EntityTag::parse(text).is_none(), "{}", text.escape_ascii());
        }
        for text in [&b"\"a\"b"[..], b"\"a\x7f\"", b"\"a\0\"", b" \"a\"", b"\"a\" ", b"\"a\"\"b\"", b"*"] {
            assert!(EntityTag::parse(text).is_none(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn lists_are_read_whole_or_not_at_all() {
        let read = |list: &'static str| {
            let mut tags = Vec::new();
            let is_list = for_each(list.as_bytes(), |tag| tags.push((tag.is_weak(), tag.opaque)));
            is_list.then_some(tags)
        };
        assert_eq!(read(r#""xyzzy", W/"r2d2",	"a,b" ,, "" ,"#).map(|tags| tags.len()), Some(4));
        assert_eq!(read(r#" "a,b" , W/"c""#), Some(std::vec![(false, &b"a,b"[..]), (true, &b"c"[..])]));
        for empty in ["", " ", ",", " , ,\t"] {
            assert_eq!(read(empty), Some(Vec::new()), "{empty:?}");
        }
        for list in [r#""a" "b""#, r#""a""b""#, r#""a", b"#, r#""a", "b"#, "*", r#""a", *"#, r#""a"; "b""#, "a"] {
            assert_eq!(read(list), None, "{list:?}");
        }
    }
}

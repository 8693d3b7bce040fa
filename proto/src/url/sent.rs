//! A target's path as it was sent.
//!
//! Invariants: of a target that was cooked; the segments of its path that are no dots, and what two dots leave of them,
//! are those of the cooked path, one by one.
//!
//! Not here: decoding a segment ([`crate::escape::Unescaped::of_segment`]).

use super::TargetForm;
use crate::escape::Unescaped;

/// A segment that is not one of the cooked path (RFC 3986 section 5.2.4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Dots {
    /// `.`: there, as a slash alone, if it is the last.
    One,
    /// `..`: so is this one, and takes the segment before it along.
    Two,
}

impl Dots {
    /// Which one a segment is, whether its dots are escaped or not.
    #[must_use]
    pub fn of(segment: &[u8]) -> Option<Self> {
        let mut bytes = Unescaped::of_segment(segment);
        match (bytes.next(), bytes.next(), bytes.next()) {
            (Some(b'.'), None, _) => Some(Self::One),
            (Some(b'.'), Some(b'.'), None) => Some(Self::Two),
            _ => None,
        }
    }
}

/// The path of a target of this form, as sent and without the query: `*` of [`TargetForm::Asterisk`], empty where there
/// is none.
#[must_use]
pub fn sent_path(target: &[u8], form: TargetForm) -> &[u8] {
    let path_and_query = match form {
        TargetForm::Origin | TargetForm::Asterisk => target,
        TargetForm::Authority => return &[],
        TargetForm::Absolute => {
            let authority = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
            let behind = target[authority..].iter().position(|byte| b"/?".contains(byte));
            behind.map_or(&[][..], |at| &target[authority + at..])
        }
    };
    memchr::memchr(b'?', path_and_query).map_or(path_and_query, |at| &path_and_query[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_known_also_if_they_are_escaped() {
        for segment in [".", "%2e", "%2E"] {
            assert_eq!(Dots::of(segment.as_bytes()), Some(Dots::One), "{segment}");
        }
        for segment in ["..", ".%2e", "%2E.", "%2e%2E"] {
            assert_eq!(Dots::of(segment.as_bytes()), Some(Dots::Two), "{segment}");
        }
        for segment in ["", "...", "a", ".a", "%252e", "%2e%2e%2e", "%2F"] {
            assert_eq!(Dots::of(segment.as_bytes()), None, "{segment}");
        }
    }

    #[test]
    fn a_path_is_found_in_every_form_of_target() {
        let cases = [
            (TargetForm::Origin, "/a%2Fb/?c?/d", "/a%2Fb/"),
            (TargetForm::Origin, "//h/x", "//h/x"),
            (TargetForm::Absolute, "http://h:1/a?b", "/a"),
            (TargetForm::Absolute, "http://h", ""),
            (TargetForm::Absolute, "http://[::1]?/a", ""),
            (TargetForm::Authority, "h:443", ""),
            (TargetForm::Asterisk, "*", "*"),
        ];
        for (form, target, path) in cases {
            assert_eq!(sent_path(target.as_bytes(), form), path.as_bytes(), "{target}");
        }
    }
}

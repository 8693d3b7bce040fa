//! Request methods.
//!
//! Invariants: methods are case-sensitive tokens; one that is not listed is [`Method::Unknown`], never an error: its
//! bytes stay in [`crate::head::Head::method_name`].
//! Not here: which methods a resource allows.
//! Source: RFC 9110 section 9, RFC 5789 (PATCH), RFC 4918 (WebDAV), RFC 5323 (SEARCH).

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// A request method.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Method {
            /// Not one of the methods below.
            Unknown,
            $($(#[doc = $doc])+ $name,)+
        }

        impl Method {
            /// Every method with a name, in declaration order.
            pub const NAMED: &'static [Self] = &[$(Self::$name,)+];

            /// The method with exactly this name, case-sensitive.
            #[inline]
            #[must_use]
            pub fn from_bytes(name: &[u8]) -> Self {
                $(const $name: &[u8] = $text.as_bytes();)+
                match name {
                    $($name => Self::$name,)+
                    _ => Self::Unknown,
                }
            }

            /// The name as it stands on the wire; empty for [`Method::Unknown`].
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

#[expect(non_upper_case_globals, reason = "the macro names each pattern constant after its variant")]
mod table {
    methods! {
        /// RFC 9110 section 9.3.7.
        Options = "OPTIONS";
        /// RFC 9110 section 9.3.1.
        Get = "GET";
        /// RFC 9110 section 9.3.2.
        Head = "HEAD";
        /// RFC 9110 section 9.3.3.
        Post = "POST";
        /// RFC 9110 section 9.3.4.
        Put = "PUT";
        /// RFC 9110 section 9.3.5.
        Delete = "DELETE";
        /// RFC 9110 section 9.3.8.
        Trace = "TRACE";
        /// RFC 9110 section 9.3.6.
        Connect = "CONNECT";
        /// RFC 5789.
        Patch = "PATCH";
        /// TRACE without the peer's own headers; not standardised.
        Track = "TRACK";
        /// RFC 4918 section 9.9.
        Move = "MOVE";
        /// RFC 4918 section 9.8.
        Copy = "COPY";
        /// RFC 4918 section 9.1.
        Propfind = "PROPFIND";
        /// RFC 4918 section 9.2.
        Proppatch = "PROPPATCH";
        /// RFC 4918 section 9.3.
        Mkcol = "MKCOL";
        /// RFC 4918 section 9.10.
        Lock = "LOCK";
        /// RFC 4918 section 9.11.
        Unlock = "UNLOCK";
        /// RFC 5323.
        Search = "SEARCH";
    }
}
pub use table::Method;

impl Method {
    /// Whether the method is safe: the client asks for no change (RFC 9110 section 9.2.1).
    #[inline]
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// The method of a head that is refused, or not whole: [`Unknown`](Self::Unknown) until the space behind it is
    /// here, but for [`Head`](Self::Head), which is taken for granted from its first letter on. One blank line before
    /// the head is passed over (RFC 9112 section 2.2).
    #[must_use]
    pub fn begun(head: &[u8]) -> Self {
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if !line.is_empty() && b"HEAD ".starts_with(line) {
            return Self::Head;
        }
        // No known method is longer.
        let space = line.iter().take(32).position(|byte| *byte == b' ');
        space.map_or(Self::Unknown, |len| Self::from_bytes(&line[..len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_case_matters() {
        for &method in Method::NAMED {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), method);
            assert_eq!(Method::from_bytes(method.as_str().to_lowercase().as_bytes()), Method::Unknown);
        }
        assert_eq!(Method::NAMED.len(), 18);
        for name in [&b""[..], b"GETS", b"GE", b"xyzzy"] {
            assert_eq!(Method::from_bytes(name), Method::Unknown);
        }
    }

    #[test]
    fn a_begun_head_has_its_method_once_the_space_behind_it_is_here() {
        let head = b"HEAD /x\x00";
        for len in 0..=head.len() {
            let want = if len == 0 { Method::Unknown } else { Method::Head };
            assert_eq!(Method::begun(&head[..len]), want, "{len} bytes");
        }
        for len in 0..5 {
            assert_eq!(Method::begun(&b"POST "[..len]), Method::Unknown, "{len} bytes");
        }
        let longest = Method::NAMED.iter().map(|method| method.as_str().len()).max();
        assert!(longest.is_some_and(|len| len < 32));
        for (head, want) in [
            (&b"\r\nHEAD / HTTP/1.1\r\n"[..], Method::Head),
            (b"\r\n\r\nHEAD / ", Method::Unknown),
            (b" HEAD / ", Method::Unknown),
            (b"head / ", Method::Unknown),
            (b"HEADS / ", Method::Unknown),
            (b"POST /HEAD ", Method::Post),
        ] {
            assert_eq!(Method::begun(head), want, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn safe_methods_are_the_four_of_rfc_9110() {
        let safe: std::vec::Vec<_> = Method::NAMED.iter().filter(|m| m.is_safe()).map(|m| m.as_str()).collect();
        assert_eq!(safe, ["OPTIONS", "GET", "HEAD", "TRACE"]);
    }
}

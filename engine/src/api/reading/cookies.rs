//! The cookies of a request.
//!
//! Invariants: those of all Cookie fields, in the order sent; nothing is decoded.
//!
//! Not here: how a field is taken apart (`proto::cookie`).

use ringress_proto::cookie;
use ringress_proto::header::KnownHeader;

use super::{HeaderValues, Request};

impl Request {
    /// The cookies in the order sent, of all Cookie fields: names and values as they are, quotes included, without
    /// white space at their ends. A cookie without a name has an empty one (RFC 6265 sections 4.2 and 5.4, and what
    /// replaces it).
    #[must_use]
    pub fn cookies(&self) -> Cookies<'_> {
        Cookies { fields: self.header_values(KnownHeader::Cookie), field: cookie::Cookies::default() }
    }

    /// The value of the first cookie of this name, whose case counts. Where cookies for several paths or domains have
    /// one name, browsers send that of the longest path first.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&[u8]> {
        self.cookies().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }
}

/// The cookies of a request: names and values, in the order sent. See [`Request::cookies`].
#[derive(Clone, Debug)]
pub struct Cookies<'a> {
    fields: HeaderValues<'a>,
    /// What is left of one field.
    field: cookie::Cookies<'a>,
}

impl<'a> Iterator for Cookies<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let found @ Some(_) = self.field.next() {
                return found;
            }
            self.field = cookie::Cookies::new(self.fields.next()?);
        }
    }
}

//! Conditional requests: whether a request is carried out, given what the client believes about the representation.
//!
//! Invariants: the preconditions are asked in the order of the standard, and the first that fails decides. A list that
//! is malformed matches nothing; a date that is malformed, repeated or has nothing to be compared with is ignored.
//! Not here: If-Range, which decides about the Range field alone ([`crate::range::if_range`]); knowing the validators.
//! Source: RFC 9110 sections 8.8, 13.1, 13.2.

use crate::bytes::trim_ows;
use crate::date::parse_imf_fixdate;
use crate::etag::{self, EntityTag};
use crate::header::KnownHeader;
use crate::method::Method;

/// What the current representation of a resource is known by.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The entity tag as it stands in the ETag field, quotes included: `"a"` or `W/"a"`. What is not one matches
    /// nothing.
    pub etag: Option<&'a [u8]>,
    /// The time of its last change, in seconds since 1970.
    pub last_modified: Option<u64>,
}

/// What becomes of a request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request is carried out. A Range field counts if [`crate::range::if_range`] says so, too.
    Proceed,
    /// The response is 304, with the validators and the fields that a 200 would have had for caches (RFC 9110 section
    /// 15.4.5), and without a body.
    NotModified,
    /// The response is 412.
    PreconditionFailed,
}

/// Asks the preconditions of a request, in the order of RFC 9110 section 13.2.2. To be called when the response would
/// otherwise be a success: other responses are given whatever the preconditions (section 13.2.1).
///
/// `fields` gives the values of all fields of a name, in their order: a list may come in several fields. It is asked
/// for If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since. `current` are the validators of the
/// representation, which may have none; `None` if the resource has no representation yet, which is what `*` asks for.
pub fn evaluate<'a, Values>(
    method: Method,
    fields: impl Fn(KnownHeader) -> Values,
    current: Option<Validators<'_>>,
) -> Outcome
where
    Values: IntoIterator<Item = &'a [u8]>,
{
    // These neither select nor change a representation (RFC 9110 section 13.2.1).
    if matches!(method, Method::Connect | Method::Options | Method::Trace | Method::Track) {
        return Outcome::Proceed;
    }
    let is_read = matches!(method, Method::Get | Method::Head);
    let etag = current.and_then(|current| current.etag).and_then(EntityTag::parse);
    let last_modified = current.and_then(|current| current.last_modified);
    let date = |name| single_date(fields(name)).zip(last_modified);
    let tags = |name, is_same: fn(EntityTag<'a>, EntityTag<'_>) -> bool| {
        list(fields(name), |tag| etag.is_some_and(|etag| is_same(tag, etag))).map(|listed| match listed {
            Listed::Any => current.is_some(),
            Listed::Found => true,
            Listed::NotFound => false,
        })
    };

    let may_go_on = match tags(KnownHeader::IfMatch, EntityTag::strongly_equals) {
        Some(matches) => matches,
        None => date(KnownHeader::IfUnmodifiedSince).is_none_or(|(date, changed)| changed <= date),
    };
    if !may_go_on {
        return Outcome::PreconditionFailed;
    }
    match tags(KnownHeader::IfNoneMatch, EntityTag::weakly_equals) {
        Some(true) if is_read => Outcome::NotModified,
        Some(true) => Outcome::PreconditionFailed,
        Some(false) => Outcome::Proceed,
        None if !is_read => Outcome::Proceed,
        None => match date(KnownHeader::IfModifiedSince) {
            Some((date, changed)) if changed <= date => Outcome::NotModified,
            _ => Outcome::Proceed,
        },
    }
}

/// What a field with a list of tags says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Listed {
    /// `*`: any representation.
    Any,
    /// One of the tags is wanted.
    Found,
    /// None is, or the list is malformed.
    NotFound,
}

/// Reads a list of tags that may come in several fields; `None` without a field.
fn list<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    mut is_wanted: impl FnMut(EntityTag<'a>) -> bool,
) -> Option<Listed> {
    let (mut value_count, mut star_count) = (0_usize, 0_usize);
    let (mut is_list, mut found) = (true, false);
    for value in values {
        value_count += 1;
        if trim_ows(value) == b"*" {
            star_count += 1;
        } else {
            is_list &= etag::for_each(value, |tag| found |= is_wanted(tag));
        }
    }
    match (value_count, star_count) {
        (0, _) => None,
        (1, 1) => Some(Listed::Any),
        // A star beside anything else is neither of the two forms.
        (_, 0) if is_list && found => Some(Listed::Found),
        _ => Some(Listed::NotFound),
    }
}

/// The date of a field that occurs once and has one.
fn single_date<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
    let mut values = values.into_iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_imf_fixdate(trim_ows(value))
}

#[cfg(test)]
mod tests;

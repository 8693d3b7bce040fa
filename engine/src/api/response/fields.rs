//! The header fields of a response.
//!
//! Invariants: they stay in the order given; the first few are held without allocating if they are borrowed. What is
//! owned is copied behind one another into one piece of memory, and let go of at once: fields are plain data, and
//! nothing of the application's is dropped while its request is being answered.
//!
//! Not here: what applications give (`header`), and whether it may be sent, which is checked when it is written.

use ringress_proto::header::{HeaderName as WireName, ResponseHeader};

use super::header::{HeaderName, HeaderValue, Name, Value};

/// Fields held without allocating.
const INLINE: usize = 4;

/// Bytes that the head of a final response has at most.
pub(super) const HEAD_BYTES_MAX: usize = 256 << 10;
/// Bytes of owned text at most: no head is larger, so that a response with more is refused.
const OWNED_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// A name and a value.
#[derive(Clone, Copy, Debug)]
struct Field<'a> {
    name: FieldName<'a>,
    value: Text<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FieldName<'a> {
    Known(ResponseHeader),
    Borrowed(&'a str),
    Owned(Place),
}

/// Borrowed bytes, or a place in what the response owns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a [u8]),
    Owned(Place),
}

/// Bytes of what the response owns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start: u32,
    len: u32,
}

impl Place {
    fn of(self, owned: &[u8]) -> &[u8] {
        owned[self.start as usize..].get(..self.len as usize).unwrap_or_default()
    }
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    count: u8,
    inline: [Field<'a>; INLINE],
    /// What most responses do not have.
    more: Option<Box<More<'a>>>,
}

#[derive(Clone, Debug, Default)]
struct More<'a> {
    /// Those beyond the inline ones.
    fields: Vec<Field<'a>>,
    owned: Vec<u8>,
    /// More was to be owned than can be sent, and was not kept.
    is_beyond: bool,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) const fn new() -> Self {
        let nothing = Field { name: FieldName::Known(ResponseHeader::ContentType), value: Text::Borrowed(&[]) };
        Self { count: 0, inline: [nothing; INLINE], more: None }
    }

    #[inline]
    pub(super) fn push(&mut self, name: HeaderName<'a>, value: HeaderValue<'a>) {
        let name = match name.0 {
            Name::Known(known) => FieldName::Known(known),
            Name::Borrowed(name) => FieldName::Borrowed(name),
            name => FieldName::Owned(self.own(HeaderName(name).as_str().as_bytes())),
        };
        let value = match value.0 {
            Value::Borrowed(bytes) => Text::Borrowed(bytes),
            value => Text::Owned(self.own(HeaderValue(value).as_bytes())),
        };
        self.add(Field { name, value });
    }

    /// Adds a field that is made here.
    pub(super) fn make(&mut self, name: ResponseHeader, value: &[u8]) {
        let value = Text::Owned(self.own(value));
        self.add(Field { name: FieldName::Known(name), value });
    }

    #[inline]
    fn add(&mut self, field: Field<'a>) {
        match self.inline.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = field;
                self.count += 1;
            }
            None => self.more.get_or_insert_default().fields.push(field),
        }
    }

    /// Keeps a copy.
    #[inline(never)]
    pub(super) fn own(&mut self, bytes: &[u8]) -> Place {
        let more = self.more.get_or_insert_default();
        more.is_beyond |= more.owned.len().saturating_add(bytes.len()) > OWNED_BYTES_MAX;
        let kept = if more.is_beyond { &[] } else { bytes };
        #[expect(clippy::cast_possible_truncation, reason = "OWNED_BYTES_MAX")]
        let place = Place { start: more.owned.len() as u32, len: kept.len() as u32 };
        more.owned.extend_from_slice(kept);
        place
    }

    /// Whether more was to be owned than fits any head.
    #[inline]
    pub(super) fn is_beyond(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.is_beyond)
    }

    #[inline]
    pub(super) fn bytes<'t>(&'t self, text: Text<'t>) -> &'t [u8] {
        match text {
            Text::Borrowed(bytes) => bytes,
            Text::Owned(place) => place.of(self.owned()),
        }
    }

    #[inline]
    fn owned(&self) -> &[u8] {
        self.more.as_ref().map(|more| more.owned.as_slice()).unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &Field<'a>> {
        let more = self.more.as_ref().map(|more| more.fields.as_slice()).unwrap_or_default();
        self.inline[..usize::from(self.count)].iter().chain(more)
    }

    /// Names and values, as they are written.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (WireName<'_>, &[u8])> {
        self.all().map(|field| (self.name_of(field), self.bytes(field.value)))
    }

    #[inline]
    fn name_of<'t>(&'t self, field: &Field<'t>) -> WireName<'t> {
        match field.name {
            FieldName::Known(known) => WireName::Known(known),
            FieldName::Borrowed(name) => WireName::Custom(name),
            // It was text when it was copied.
            FieldName::Owned(place) => {
                WireName::Custom(core::str::from_utf8(place.of(self.owned())).unwrap_or_default())
            }
        }
    }

    /// Takes off the fields of these names.
    pub(super) fn remove(&mut self, names: &[ResponseHeader]) {
        let is_kept = |field: &&Field<'a>| !names.contains(&known(self.name_of(field)));
        let kept: Vec<Field<'a>> = self.all().filter(is_kept).copied().collect();
        self.count = 0;
        if let Some(more) = &mut self.more {
            more.fields.clear();
        }
        kept.into_iter().for_each(|field| self.add(field));
    }
}

/// Which of the known fields it is.
pub(super) fn known(name: WireName<'_>) -> ResponseHeader {
    match name {
        WireName::Known(known) => known,
        WireName::Custom(name) => ResponseHeader::lookup(name.as_bytes()),
    }
}

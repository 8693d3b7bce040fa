//! The header fields that an application gives to a response.
//!
//! Invariants: they stay in the order given; the first few are held without allocating.
//!
//! Not here: whether they may be sent, which is checked when they are written, and the fields that the engine makes.

use ringress_proto::header::{HeaderName, ResponseHeader};

/// Fields held without allocating.
const INLINE: usize = 4;

/// A name and a value.
pub(super) type Field<'a> = (HeaderName<'a>, &'a [u8]);

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    count: u8,
    inline: [Field<'a>; INLINE],
    /// Those beyond the inline ones.
    more: Vec<Field<'a>>,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) const fn new() -> Self {
        let nothing: Field<'a> = (HeaderName::Known(ResponseHeader::ContentType), &[]);
        Self { count: 0, inline: [nothing; INLINE], more: Vec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, field: Field<'a>) {
        match self.inline.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = field;
                self.count += 1;
            }
            None => self.more.push(field),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.inline[..usize::from(self.count)].iter().chain(&self.more)
    }
}

impl<'a> FromIterator<Field<'a>> for Fields<'a> {
    fn from_iter<T: IntoIterator<Item = Field<'a>>>(fields: T) -> Self {
        let mut all = Self::new();
        fields.into_iter().for_each(|field| all.push(field));
        all
    }
}

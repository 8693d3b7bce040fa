//! A hash map that versions share: a change copies only the way to what it changes.
//!
//! Invariants: a copy of a map costs one reference; what a map alone holds is changed in place, the rest is copied
//! before; a lookup reads, and allocates nothing. A hash array mapped trie: five bits of the hash a level, the upper
//! first.
//!
//! Not here: hashes that nobody can foresee. Keys come from those who register; who looks something up adds none.
//! Source: P. Bagwell, "Ideal Hash Trees" (2001).

use std::sync::Arc;

/// What a map holds.
pub(super) trait Entry: Clone {
    /// Of its key.
    fn hash(&self) -> u64;
}

const WAYS: usize = 32;
const WAY_BITS: u32 = WAYS.trailing_zeros();

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) enum Map<T> {
    #[default]
    Empty,
    One(Arc<T>),
    /// At least two entries, by the next bits of their hashes.
    Branch(Arc<[Self; WAYS]>),
    /// At least two entries of the same hash.
    Many(Arc<Vec<Arc<T>>>),
}

impl<T> Map<T> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn is_single(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The entry with a key, of which this is the hash.
    #[inline(always)]
    pub(super) fn get(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        self.leaf(hash).get_here(is)
    }

    /// Where the hash leads: no branch.
    #[inline(always)]
    pub(super) fn leaf(&self, hash: u64) -> &Self {
        let (mut map, mut bits) = (self, hash);
        while let Self::Branch(ways) = map {
            (map, bits) = (&ways[way(bits)], bits << WAY_BITS);
        }
        map
    }

    /// As [`get`](Self::get), of what is no branch.
    #[inline(always)]
    fn get_here(&self, is: impl Fn(&T) -> bool) -> Option<&T> {
        match self {
            Self::One(entry) => is(entry).then_some(entry),
            Self::Many(entries) => entries.iter().find(|entry| is(entry)).map(|entry| &**entry),
            Self::Empty | Self::Branch(_) => None,
        }
    }

    /// Empties the map, and takes out the entries that no other one shares.
    pub(super) fn take_owned(&mut self, into: &mut Vec<T>) {
        match core::mem::take(self) {
            Self::Empty => {}
            Self::One(entry) => into.extend(Arc::into_inner(entry)),
            Self::Branch(ways) => {
                let ways = Arc::into_inner(ways);
                ways.into_iter().flatten().for_each(|mut way| way.take_owned(into));
            }
            Self::Many(entries) => {
                let entries = Arc::into_inner(entries);
                into.extend(entries.into_iter().flatten().filter_map(Arc::into_inner));
            }
        }
    }
}

impl<T: Entry> Map<T> {
    /// As [`get`](Self::get), to be changed.
    pub(super) fn get_mut(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        let (mut map, mut bits) = (self, hash);
        loop {
            match map {
                Self::Empty => return None,
                Self::One(entry) => return is(entry).then(|| Arc::make_mut(entry)),
                Self::Branch(ways) => map = &mut Arc::make_mut(ways)[way(bits)],
                Self::Many(entries) => {
                    return Arc::make_mut(entries).iter_mut().find(|entry| is(entry)).map(Arc::make_mut);
                }
            }
            bits <<= WAY_BITS;
        }
    }

    /// Puts an entry in whose key is not there.
    pub(super) fn insert(&mut self, entry: T) {
        let bits = entry.hash();
        self.insert_below(Arc::new(entry), bits, 0);
    }

    /// `bits`: those of the entry's hash that no level above has used; `depth`: levels above this one.
    fn insert_below(&mut self, entry: Arc<T>, bits: u64, depth: u32) {
        match self {
            Self::Empty => *self = Self::One(entry),
            Self::One(other) => {
                let other = Arc::clone(other);
                if depth * WAY_BITS >= u64::BITS {
                    *self = Self::Many(Arc::new(vec![other, entry]));
                } else {
                    let mut ways: [Self; WAYS] = Default::default();
                    let of_other = way(other.hash() << (depth * WAY_BITS));
                    ways[of_other] = Self::One(other);
                    ways[way(bits)].insert_below(entry, bits << WAY_BITS, depth + 1);
                    *self = Self::Branch(Arc::new(ways));
                }
            }
            Self::Branch(ways) => Arc::make_mut(ways)[way(bits)].insert_below(entry, bits << WAY_BITS, depth + 1),
            Self::Many(entries) => Arc::make_mut(entries).push(entry),
        }
    }

    /// Takes an entry out that is there.
    pub(super) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) {
        self.remove_below(hash, &is);
    }

    fn remove_below(&mut self, bits: u64, is: &impl Fn(&T) -> bool) {
        let left = match self {
            Self::Empty => return,
            Self::One(entry) if is(entry) => Self::Empty,
            Self::One(_) => return,
            Self::Branch(ways) => {
                let ways = Arc::make_mut(ways);
                ways[way(bits)].remove_below(bits << WAY_BITS, is);
                let mut left = ways.iter().filter(|way| !way.is_empty());
                match (left.next(), left.next()) {
                    (Some(Self::One(entry)), None) => Self::One(Arc::clone(entry)),
                    _ => return,
                }
            }
            Self::Many(entries) => {
                let entries = Arc::make_mut(entries);
                entries.retain(|entry| !is(entry));
                match &entries[..] {
                    [entry] => Self::One(Arc::clone(entry)),
                    _ => return,
                }
            }
        };
        *self = left;
    }
}

/// Which way the next bits of a hash lead.
#[inline]
fn way(bits: u64) -> usize {
    (bits >> (u64::BITS - WAY_BITS)) as usize
}

#[cfg(test)]
impl<T> Map<T> {
    /// Tells of all parts of a map: where each is, and which entry it is, if it is one.
    pub(super) fn visit(&self, tell: &mut impl FnMut(usize, Option<&T>)) {
        match self {
            Self::Empty => {}
            Self::One(entry) => tell(Arc::as_ptr(entry).addr(), Some(entry)),
            Self::Branch(ways) => {
                tell(Arc::as_ptr(ways).addr(), None);
                ways.iter().for_each(|way| way.visit(tell));
            }
            Self::Many(entries) => {
                tell(Arc::as_ptr(entries).addr(), None);
                entries.iter().for_each(|entry| tell(Arc::as_ptr(entry).addr(), Some(entry)));
            }
        }
    }
}

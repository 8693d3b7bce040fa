//! Slots with generations: a key of the past finds nothing.
//!
//! Invariants: a key is that of a table of one kind of thing, and no other takes it; an index is given out again only
//! with another generation; a shard's capacity is reserved at the start, so that inserting never allocates, but what
//! changes seldom may grow; the slot freed last is used first, while it is still in cache.
//!
//! Not here: sharing. A slab belongs to one shard, or to the control plane.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

/// Where a value is in a table of `T`s, and of which generation of its place; "none" costs nothing.
///
/// Made by the [`Slab`] that has the value, and of what was told of one before ([`of`](Self::of)).
pub(crate) struct Key<T> {
    pub(crate) index: u32,
    generation: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

/// Stands for the connections of a shard in their keys, for those who do not know what a connection is.
#[derive(Debug)]
pub(crate) enum OfConnection {}

/// The key of a connection.
pub(crate) type ConnectionKey = Key<OfConnection>;

const _: () = assert!(size_of::<Option<ConnectionKey>>() == size_of::<u64>());

impl<T> Key<T> {
    /// As it was told, by the parts of a token or of an id. `None`: no slab gives this generation.
    #[inline]
    pub(crate) fn of(index: u32, generation: u32) -> Option<Self> {
        Some(Self { index, generation: NonZeroU32::new(generation)?, of: PhantomData })
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        self.generation.get()
    }
}

impl<T> Clone for Key<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.index, self.generation)
    }
}

/// See the module's head. Its keys are those of a table of `K`s.
#[derive(Debug)]
pub(crate) struct Slab<T, K = T> {
    values: slab::Slab<(NonZeroU32, T)>,
    /// The generation each index will have next; grows with the highest index ever used, within the reserved capacity.
    generations: Vec<NonZeroU32>,
    capacity: usize,
    keys: PhantomData<fn() -> K>,
}

impl<T, K> Slab<T, K> {
    pub(crate) fn new(capacity: u32) -> Self {
        let places = capacity as usize;
        Self {
            values: slab::Slab::with_capacity(places),
            generations: Vec::with_capacity(places),
            ..Self::growing(capacity)
        }
    }

    /// One that reserves nothing: for what changes seldom.
    pub(crate) fn growing(capacity: u32) -> Self {
        let (values, generations) = (slab::Slab::new(), Vec::new());
        Self { values, generations, capacity: capacity as usize, keys: PhantomData }
    }

    fn key(index: usize, generation: NonZeroU32) -> Key<K> {
        Key { index: u32::try_from(index).unwrap_or(u32::MAX), generation, of: PhantomData }
    }

    /// Puts a value in; `None` when the slab is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<Key<K>> {
        self.insert_with(|_| value)
    }

    /// As [`insert`](Self::insert), of a value that knows its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key<K>) -> T) -> Option<Key<K>> {
        if self.values.len() == self.capacity {
            return None;
        }
        let entry = self.values.vacant_entry();
        let place = entry.key();
        if place == self.generations.len() {
            self.generations.push(NonZeroU32::MIN);
        }
        let generation = self.generations[place];
        let key = Self::key(place, generation);
        entry.insert((generation, make(key)));
        Some(key)
    }

    /// The value of a key, unless it is of the past.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        match self.values.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// As [`get_mut`](Self::get_mut).
    pub(crate) fn get(&self, key: Key<K>) -> Option<&T> {
        self.values.get(key.index as usize).filter(|(known, _)| *known == key.generation).map(|(_, value)| value)
    }

    /// What is in it, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<K>, &T)> {
        self.values.iter().map(|(index, (generation, value))| (Self::key(index, *generation), value))
    }

    /// The key of an index in use.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key<K>> {
        self.values.get(index as usize).map(|(generation, _)| Self::key(index as usize, *generation))
    }

    /// Takes a value out; its key is of the past from now on.
    pub(crate) fn remove(&mut self, key: Key<K>) -> Option<T> {
        self.get_mut(key)?;
        let next = &mut self.generations[key.index as usize];
        *next = next.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.values.try_remove(key.index as usize).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The keys in use; not for the hot path.
    pub(crate) fn keys(&self) -> Vec<Key<K>> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_past_finds_nothing() {
        let mut slab: Slab<char> = Slab::new(2);
        let first = slab.insert('a').expect("room");
        assert_eq!(slab.get_mut(first), Some(&mut 'a'));
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b').expect("room");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.key_of(second.index), Some(second));
    }

    #[test]
    fn a_full_slab_refuses() {
        let mut slab: Slab<u8> = Slab::new(1);
        assert!(slab.insert(1).is_some());
        assert_eq!((slab.insert(2), slab.len()), (None, 1));
    }
}

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

use crate::mem::give_back_room;

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

/// A place of a table.
#[derive(Debug)]
struct Place<T> {
    /// The generation of its value, or of the next one it has.
    generation: NonZeroU32,
    value: Option<T>,
}

/// See the module's head. Its keys are those of a table of `K`s.
#[derive(Debug)]
pub(crate) struct Slab<T, K = T> {
    /// Grow with the highest index used, within the reserved capacity.
    places: Vec<Place<T>>,
    /// The places without a value; the last one is used next.
    free: Vec<u32>,
    /// The generation of a place that is new: later than that of any place which was there before.
    fresh: NonZeroU32,
    capacity: usize,
    keys: PhantomData<fn() -> K>,
}

impl<T, K> Slab<T, K> {
    /// Bytes that a value takes.
    pub(crate) const BYTES: usize = size_of::<Place<T>>() + size_of::<u32>();

    pub(crate) fn new(capacity: u32) -> Self {
        let places = capacity as usize;
        Self { places: Vec::with_capacity(places), free: Vec::with_capacity(places), ..Self::growing(capacity) }
    }

    /// One that reserves nothing: for what changes seldom.
    pub(crate) fn growing(capacity: u32) -> Self {
        let (places, free, fresh) = (Vec::new(), Vec::new(), NonZeroU32::MIN);
        Self { places, free, fresh, capacity: capacity as usize, keys: PhantomData }
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
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            let key = Self::key(index as usize, place.generation);
            place.value = Some(make(key));
            return Some(key);
        }
        if self.places.len() == self.capacity {
            return None;
        }
        let key = Self::key(self.places.len(), self.fresh);
        self.places.push(Place { generation: self.fresh, value: Some(make(key)) });
        Some(key)
    }

    /// Gives the memory of the last places back to the system, as far as they have no value.
    #[cold]
    pub(crate) fn give_back_room(&mut self) {
        let kept = self.places.iter().rposition(|place| place.value.is_some()).map_or(0, |last| last + 1);
        let gone = self.places.drain(kept..).map(|place| place.generation).max();
        self.fresh = self.fresh.max(gone.unwrap_or(self.fresh));
        self.free.retain(|index| (*index as usize) < kept);
        // The first places are used first, so that the last ones are free some time.
        self.free.sort_unstable_by(|one, other| other.cmp(one));
        give_back_room(&mut self.places);
        give_back_room(&mut self.free);
    }

    /// The value of a key, unless it is of the past.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        match self.places.get_mut(key.index as usize) {
            Some(Place { generation, value }) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    /// As [`get_mut`](Self::get_mut).
    pub(crate) fn get(&self, key: Key<K>) -> Option<&T> {
        let place = self.places.get(key.index as usize).filter(|place| place.generation == key.generation);
        place.and_then(|place| place.value.as_ref())
    }

    /// What is in it, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<K>, &T)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(index, place)| Some((Self::key(index, place.generation), place.value.as_ref()?)))
    }

    /// The key of an index in use.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key<K>> {
        let place = self.places.get(index as usize).filter(|place| place.value.is_some());
        place.map(|place| Self::key(index as usize, place.generation))
    }

    /// Takes a value out; its key is of the past from now on.
    pub(crate) fn remove(&mut self, key: Key<K>) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(key.index);
        Some(value)
    }

    /// Whether nothing more can be put in.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
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
    fn what_was_given_back_is_had_again_with_other_keys() {
        let mut slab: Slab<u32> = Slab::new(1000);
        let keys: Vec<_> = (0..1000).filter_map(|value| slab.insert(value)).collect();
        for key in keys.iter().filter(|key| key.index != 10 && key.index != 500) {
            assert_eq!(slab.remove(*key), Some(key.index));
        }
        slab.give_back_room();
        assert_eq!((slab.len(), slab.get(keys[10]), slab.get(keys[500])), (2, Some(&10), Some(&500)));
        let again: Vec<_> = (2..1000).filter_map(|value| slab.insert(value)).collect();
        assert_eq!((slab.len(), again.len(), again[0].index, slab.insert(0)), (1000, 998, 0, None));
        let past = keys.iter().filter(|key| key.index != 10 && key.index != 500);
        assert!(past.clone().all(|key| slab.get(*key).is_none() && slab.key_of(key.index) != Some(*key)));
        for key in [keys[10], keys[500]] {
            assert!(slab.remove(key).is_some());
        }
        again.iter().for_each(|key| assert!(slab.remove(*key).is_some()));
        slab.give_back_room();
        assert_eq!((slab.len(), slab.keys()), (0, vec![]));
        let last = slab.insert(7).expect("room");
        assert!(last.index == 0 && keys.iter().chain(&again).all(|key| *key != last));
    }

    #[test]
    fn a_full_slab_refuses() {
        let mut slab: Slab<u8> = Slab::new(1);
        assert!(slab.insert(1).is_some());
        assert_eq!((slab.insert(2), slab.len()), (None, 1));
    }
}

//! Slots with generations: a key of the past finds nothing.
//!
//! Invariants: an index is given out again only with another generation; a shard's capacity is reserved at the start,
//! so that inserting never allocates, but what changes seldom may grow; the slot freed last is used first, while it is
//! still in cache.
//!
//! Not here: sharing. A slab belongs to one shard, or to the control plane.

/// Where a value is, and of which generation of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// The key of nothing: no slab gives this generation.
    pub(crate) const NOWHERE: Self = Self { index: u32::MAX, generation: 0 };
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    values: slab::Slab<(u32, T)>,
    /// The generation each index will have next; grows with the highest index ever used, within the reserved capacity.
    generations: Vec<u32>,
    capacity: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { values: slab::Slab::with_capacity(capacity), generations: Vec::with_capacity(capacity), capacity }
    }

    /// One that reserves nothing: for what changes seldom.
    pub(crate) fn growing(capacity: u32) -> Self {
        Self { values: slab::Slab::new(), generations: Vec::new(), capacity: capacity as usize }
    }

    /// Puts a value in; `None` when the slab is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<Key> {
        if self.values.len() == self.capacity {
            return None;
        }
        let entry = self.values.vacant_entry();
        let place = entry.key();
        if place == self.generations.len() {
            self.generations.push(1);
        }
        let generation = self.generations[place];
        entry.insert((generation, value));
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        Some(Key { index, generation })
    }

    /// The value of a key, unless it is of the past.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.values.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// As [`get_mut`](Self::get_mut).
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.values.get(key.index as usize).filter(|(known, _)| *known == key.generation).map(|(_, value)| value)
    }

    /// What is in it, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.values.iter().map(|(index, (generation, value))| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            (Key { index, generation: *generation }, value)
        })
    }

    /// The key of an index in use.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key> {
        self.values.get(index as usize).map(|(generation, _)| Key { index, generation: *generation })
    }

    /// Takes a value out; its key is of the past from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let next = &mut self.generations[key.index as usize];
        *next = next.wrapping_add(1).max(1);
        self.values.try_remove(key.index as usize).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The keys in use; not for the hot path.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_past_finds_nothing() {
        let mut slab = Slab::new(2);
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
        let mut slab = Slab::new(1);
        assert!(slab.insert(1).is_some());
        assert_eq!((slab.insert(2), slab.len()), (None, 1));
    }
}

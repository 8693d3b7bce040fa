//! A place for each key, found by the key: for what is kept beside it by the place.
//!
//! Invariants: a place is a key's until it is removed, and then free; place 0 is of none that is found, so that it can
//! stand for nobody; which bucket a key is in depends on a random key of the table.
//!
//! Not here: what is kept of a key.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

use crate::mem::give_back_room;

#[derive(Debug)]
struct Entry<K> {
    key: K,
    /// The next one in the same bucket, or of those that are free; 0: none.
    next: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Places<K> {
    /// The first is of no key that is found.
    entries: Vec<Entry<K>>,
    /// The first free one; 0: none.
    free: u32,
    /// The first entry in each; 0: none.
    buckets: Vec<u32>,
    hasher: RandomState,
    len: u32,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// Bytes that one place takes, and a bucket.
    pub(crate) const BYTES: usize = size_of::<Entry<K>>() + 2 * size_of::<u32>();

    /// Reserves `capacity` places, the first of which is nobody's, and at least `buckets` buckets.
    pub(crate) fn new(capacity: usize, buckets: usize, nobody: K) -> Self {
        let mut entries = Vec::with_capacity(capacity);
        entries.push(Entry { key: nobody, next: 0 });
        // Zeros that take no memory before they are written.
        let buckets = vec![0; buckets.max(1).next_power_of_two()];
        Self { entries, free: 0, buckets, hasher: RandomState::new(), len: 0 }
    }

    fn bucket(&self, key: &K) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "some bits are as good as others")]
        let hash = self.hasher.hash_one(key) as usize;
        hash & (self.buckets.len() - 1)
    }

    /// The place of a key, if it has one.
    pub(crate) fn find(&self, key: &K) -> Option<u32> {
        let mut next = self.buckets[self.bucket(key)];
        while next != 0 && self.entries[next as usize].key != *key {
            next = self.entries[next as usize].next;
        }
        (next != 0).then_some(next)
    }

    /// A place for a key that has none: one that was free, else the next number.
    pub(crate) fn insert(&mut self, key: K) -> u32 {
        let bucket = self.bucket(&key);
        let entry = Entry { key, next: self.buckets[bucket] };
        let place = match self.free {
            0 => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 are used at a time")
            }
            free => {
                let place = &mut self.entries[free as usize];
                self.free = place.next;
                *place = entry;
                free
            }
        };
        self.buckets[bucket] = place;
        self.len += 1;
        place
    }

    /// A place is free.
    pub(crate) fn remove(&mut self, place: u32) {
        let entry = &self.entries[place as usize];
        let (bucket, behind) = (self.bucket(&entry.key), entry.next);
        if self.buckets[bucket] == place {
            self.buckets[bucket] = behind;
        } else {
            let mut before = self.buckets[bucket];
            while before != 0 && self.entries[before as usize].next != place {
                before = self.entries[before as usize].next;
            }
            self.entries[before as usize].next = behind;
        }
        self.entries[place as usize].next = self.free;
        self.free = place;
        self.len -= 1;
    }

    /// The key that has a place, or had it last.
    pub(crate) fn key(&self, place: u32) -> K {
        self.entries[place as usize].key
    }

    /// How many keys have a place.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The memory of what no key has a place behind goes back to the system.
    #[cold]
    pub(crate) fn give_back_room(&mut self) {
        if self.len == 0 {
            self.entries.truncate(1);
            self.free = 0;
        }
        give_back_room(&mut self.entries);
    }
}

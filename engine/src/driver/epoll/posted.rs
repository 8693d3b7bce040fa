//! The buffers that the driver has, as a kernel would have them: given by the shard, and picked when there are bytes.
//!
//! Invariants: a buffer that is here is nobody else's ([`Spare`]); who picks one fills it and gives it on, or puts it
//! back. The one that was put in last is picked first, while it is still in cache; those that nobody has used for
//! longest are given back first.
//!
//! Not here: how many there are to be (room `mem`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mem::{Area, Arena, Filled, Group, Landing, Spare};

/// See the module's head.
pub(super) struct Posted {
    groups: [VecDeque<Spare>; Group::ALL.len()],
    arena: Arc<Arena>,
}

/// A buffer that is about to be filled.
#[must_use = "a buffer that is dropped is lost"]
pub(super) struct Picked {
    spare: Spare,
    place: Landing,
}

impl Picked {
    /// Where its first so many bytes are, or all.
    #[inline]
    pub(super) fn landing(&self, most: u32) -> Landing {
        Landing { len: self.place.len.min(most), ..self.place }
    }

    /// It has been written to, or not: it is the shard's.
    #[inline]
    pub(super) fn filled(self) -> Filled {
        // SAFETY: it was given to this driver, which stands in for the kernel, as the `Spare` that ends here; a call
        // that wrote to it has returned (duty 1).
        unsafe { Filled::new(self.spare.buffer()) }
    }
}

impl Posted {
    pub(super) fn new(arena: Arc<Arena>) -> Self {
        let area = |group: Group| if group.is_small() { Area::Receive } else { Area::Body };
        let groups = Group::ALL.map(|group| VecDeque::with_capacity(arena.count(area(group)) as usize));
        Self { groups, arena }
    }

    #[inline]
    pub(super) fn put(&mut self, spare: Spare) {
        self.groups[spare.group() as usize].push_back(spare);
    }

    /// The buffer of a group that is in cache most likely.
    #[inline]
    pub(super) fn pick(&mut self, group: Group) -> Option<Picked> {
        let spare = self.groups[group as usize].pop_back()?;
        let place = self.arena.give(&spare);
        #[cfg(ringress_asan)]
        self.arena.open_to_write(&spare);
        Some(Picked { spare, place })
    }

    /// It was not filled.
    #[inline]
    pub(super) fn put_back(&mut self, picked: Picked) {
        self.put(picked.spare);
    }

    /// The buffer of a group that was not used for longest, to be given back.
    pub(super) fn recall(&mut self, group: Group) -> Option<Filled> {
        let spare = self.groups[group as usize].pop_front()?;
        let place = self.arena.give(&spare);
        Some(Picked { spare, place }.filled())
    }
}

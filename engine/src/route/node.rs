//! The prefixes of one host, by the segments of their paths.
//!
//! Invariants: whatever is below a node leads to a prefix; a lookup compares whole segments, takes the longest prefix,
//! and allocates nothing; dropping does not recurse, however long a path is.
//!
//! Not here: ports, and the order in which kinds of host are asked (`route`); hashes and case (`text`); sharing between
//! versions (`map`).

use super::Target;
use super::map::{Entry, Map};
use super::text::{Ends, Text, hash_of_text, segment};

/// A path to which prefixes lead, or on the way to one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Of the prefix that ends here.
    target: Option<Target>,
    /// By the next segment; none that leads to no prefix.
    below: Map<Named>,
}

/// What there is under a name: the host of that name, or the segment. One cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Named {
    text: Text,
    pub(super) node: Node,
}

const _: () = assert!(size_of::<Named>() == 64);

impl Entry for Named {
    fn hash(&self) -> u64 {
        self.text.hash()
    }
}

impl Named {
    pub(super) fn new(name: &[u8]) -> Self {
        Self { text: Text::new(name), node: Node::default() }
    }

    #[inline]
    pub(super) fn is(&self, name: &[u8]) -> bool {
        self.text.is(name)
    }

    /// Whether this is the segment with which a text begins.
    #[inline]
    fn is_first_of(&self, text: &[u8]) -> bool {
        self.may_end_in(text) && self.text.begins(text)
    }

    /// As [`is_first_of`](Self::is_first_of), without a call. `None`: more must be looked at.
    #[inline(always)]
    fn is_first_of_quickly(&self, text: &[u8]) -> Option<bool> {
        if self.may_end_in(text) { self.text.begins_quickly(text) } else { Some(false) }
    }

    /// Whether there is an end where this segment would have it: that tells the common miss.
    #[inline(always)]
    fn may_end_in(&self, text: &[u8]) -> bool {
        matches!(text.get(self.text.len()), None | Some(b'/'))
    }
}

impl Map<Named> {
    /// What there is under a name.
    #[inline(always)]
    pub(super) fn named(&self, name: &[u8]) -> Option<&Node> {
        let named = match self {
            Self::Empty => return None,
            Self::One(named) => named.is(name).then_some(&**named),
            several => {
                let ends = Ends::of(name, name.len());
                several.get(ends.hash(name), |named| named.text.is_with(ends, name))
            }
        };
        named.map(|named| &named.node)
    }

    /// As [`named`](Self::named) of at most one, without a call. `None`: more must be looked at.
    #[inline(always)]
    pub(super) fn named_quickly(&self, name: &[u8]) -> Option<Option<&Node>> {
        match self {
            Self::Empty => Some(None),
            Self::One(named) if named.text.len() == name.len() => {
                Some(named.text.begins_quickly(name)?.then_some(&named.node))
            }
            Self::One(_) => Some(None),
            _ => None,
        }
    }

    /// What there is under a name, also if there was nothing yet.
    pub(super) fn named_mut(&mut self, name: &[u8]) -> &mut Node {
        let (hash, is) = (hash_of_text(name), |named: &Named| named.is(name));
        if self.get(hash, is).is_none() {
            self.insert(Named::new(name));
        }
        &mut self.get_mut(hash, is).expect("it has been put in").node
    }

    /// Takes out what there is under a name.
    pub(super) fn remove_named(&mut self, name: &[u8]) {
        self.remove(hash_of_text(name), |named| named.is(name));
    }

    /// What there is under the segment with which a text begins.
    #[inline(always)]
    fn segment(&self, text: &[u8]) -> Option<&Named> {
        match self {
            Self::Empty => None,
            Self::One(named) => named.is_first_of(text).then_some(named),
            several => {
                let ends = segment(text);
                several.get(ends.hash(text), |named| named.text.is_with(ends, text))
            }
        }
    }
}

impl Node {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.target.is_none() && self.below.is_empty()
    }

    /// The target of the longest prefix of a path.
    #[inline(always)]
    pub(super) fn find(&self, path: &[u8]) -> Option<&Target> {
        if self.below.is_empty() { self.target.as_ref() } else { self.find_below(path) }
    }

    /// As [`find`](Self::find) where at most one segment is below, without a call. `None`: more must be looked at.
    #[inline(always)]
    pub(super) fn find_quickly(&self, path: &[u8]) -> Option<Option<&Target>> {
        match (&self.below, path) {
            (Map::Empty, _) => Some(self.target.as_ref()),
            (Map::One(named), [b'/', text @ ..]) if named.node.below.is_empty() => {
                let node = if named.is_first_of_quickly(text)? { &named.node } else { self };
                Some(node.target.as_ref())
            }
            _ => None,
        }
    }

    /// As [`find`](Self::find), and without a call as long as segments are short, and in the case in which they were
    /// registered.
    #[inline(never)]
    fn find_below(&self, mut path: &[u8]) -> Option<&Target> {
        let (mut node, mut best) = (self, &self.target);
        while let [b'/', text @ ..] = path
            && let Some(ends) = text.first_chunk().and_then(Ends::of_segment)
        {
            let named = match node.below.leaf(ends.short_hash()) {
                Map::One(named) => named,
                Map::Many(_) => break,
                _ => return best.as_ref(),
            };
            match named.text.is_quickly(ends) {
                None => break,
                Some(false) => return best.as_ref(),
                Some(true) => {}
            }
            node = &named.node;
            if node.below.is_empty() {
                return node.target.as_ref();
            }
            if node.target.is_some() {
                best = &node.target;
            }
            path = &text[ends.len..];
        }
        node.find_slowly(path, best)
    }

    /// As [`find`](Self::find), where a shorter prefix of the path has this target.
    #[inline(never)]
    fn find_slowly<'a>(&'a self, mut path: &[u8], mut best: &'a Option<Target>) -> Option<&'a Target> {
        let mut node = self;
        // `*` and the empty path have no segment.
        while let [b'/', text @ ..] = path
            && let Some(named) = node.below.segment(text)
        {
            node = &named.node;
            if node.below.is_empty() {
                return node.target.as_ref();
            }
            if node.target.is_some() {
                best = &node.target;
            }
            path = text.get(named.text.len()..).unwrap_or_default();
        }
        best.as_ref()
    }

    /// The target of the prefix with this path.
    pub(super) fn get(&self, path: &str) -> Option<&Target> {
        segments(path).try_fold(self, |node, segment| node.below.named(segment))?.target.as_ref()
    }

    /// Puts a prefix in, which is not there.
    pub(super) fn insert(&mut self, path: &str, target: Target) {
        segments(path).fold(self, |node, segment| node.below.named_mut(segment)).target = Some(target);
    }

    /// Takes a prefix out, which is there, with what leads to no other.
    pub(super) fn remove(&mut self, path: &str) {
        let segments: Vec<&[u8]> = segments(path).collect();
        let (mut kept, mut node) = (0, &*self);
        for (depth, segment) in segments.iter().enumerate() {
            if node.target.is_some() || !node.below.is_single() {
                kept = depth;
            }
            let Some(below) = node.below.named(segment) else { return };
            node = below;
        }
        if !node.below.is_empty() {
            kept = segments.len();
        }
        let node = segments[..kept].iter().fold(self, |node, segment| node.below.named_mut(segment));
        match segments.get(kept) {
            Some(segment) => node.below.remove_named(segment),
            None => node.target = None,
        }
    }
}

impl Drop for Node {
    /// Not by recursion: a path may have as many segments as a stack has bytes to spare for each.
    fn drop(&mut self) {
        let mut owned = Vec::new();
        self.below.take_owned(&mut owned);
        while let Some(mut named) = owned.pop() {
            named.node.below.take_owned(&mut owned);
        }
    }
}

/// The segments of a prefix's path, whose last slash carries no meaning.
fn segments(path: &str) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').skip(1).map(str::as_bytes)
}

#[cfg(test)]
impl Node {
    /// The addresses of all that is below.
    pub(super) fn visit(&self, parts: &mut std::collections::HashSet<usize>) {
        self.below.visit(&mut |address, named| {
            parts.insert(address);
            named.into_iter().for_each(|named| named.node.visit(parts));
        });
    }
}

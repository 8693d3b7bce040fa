//! The prefixes of one host, by the segments of their paths.
//!
//! Invariants: whatever is below a node leads to a prefix; a lookup compares whole segments, takes the longest prefix,
//! and allocates nothing; dropping does not recurse, however long a path is.
//!
//! Not here: ports, and the order in which kinds of host are asked (`route`); hashes and case (`text`); sharing between
//! versions (`map`).

use super::Target;
use super::map::{Entry, Map};
use super::text::{Text, hash_of_text, segment};

/// A path to which prefixes lead, or on the way to one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Of the prefix that ends here.
    target: Option<Target>,
    /// By the next segment; none that leads to no prefix.
    below: Map<Named>,
}

/// What there is under a name: the host of that name, or the segment.
#[derive(Clone, Debug)]
pub(super) struct Named {
    text: Text,
    pub(super) node: Node,
}

impl Entry for Named {
    fn hash(&self) -> u64 {
        self.text.hash
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
    #[inline(always)]
    fn is_first_of(&self, text: &[u8]) -> bool {
        // Where this one would end there is no end: that tells the common miss.
        matches!(text.get(self.text.len()), None | Some(b'/')) && self.text.begins(text)
    }
}

impl Map<Named> {
    /// What there is under a name.
    #[inline(always)]
    pub(super) fn named(&self, name: &[u8]) -> Option<&Node> {
        let named = match self {
            Self::Empty => return None,
            Self::One(named) => named.is(name).then_some(&**named),
            several => several.get(hash_of_text(name), |named| named.is(name)),
        };
        named.map(|named| &named.node)
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
                let (hash, len) = segment(text);
                several.get(hash, |named| named.text.len() == len && named.text.begins(text))
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

    /// As [`find`](Self::find), without a call where at most one segment is below.
    #[inline(always)]
    pub(super) fn find_here(&self, path: &[u8]) -> Option<&Target> {
        match (&self.below, path) {
            (Map::Empty, _) => self.target.as_ref(),
            (Map::One(named), [b'/', text @ ..]) if named.node.below.is_empty() => {
                if named.is_first_of(text) {
                    named.node.target.as_ref()
                } else {
                    self.target.as_ref()
                }
            }
            _ => self.find_below(path),
        }
    }

    #[inline(never)]
    fn find_below(&self, mut path: &[u8]) -> Option<&Target> {
        let (mut node, mut best) = (self, &self.target);
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

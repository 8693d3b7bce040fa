//! The prefixes of one host, by the segments of their paths.

use super::Target;
use super::map::{Entry, Map};
use super::text::{Sought, Text};

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
    pub(super) fn new(name: Sought<'_>) -> Self {
        Self { text: Text::from(name), node: Node::default() }
    }

    #[inline]
    pub(super) fn is(&self, name: &Sought<'_>) -> bool {
        self.text.is(name)
    }
}

/// A path that is being searched for. Only what is asked about is looked at, once.
pub(super) struct Searched<'a> {
    path: &'a [u8],
    first: Option<Sought<'a>>,
}

impl<'a> Searched<'a> {
    #[inline]
    pub(super) fn new(path: &'a [u8]) -> Self {
        Self { path, first: None }
    }
}

impl Node {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.target.is_none() && self.below.is_empty()
    }

    /// The target of the longest prefix of a path.
    #[inline]
    pub(super) fn find(&self, searched: &mut Searched<'_>) -> Option<&Target> {
        let best = self.target.as_ref();
        // `*` and the empty path, which have no segment, are the root's.
        if self.below.is_empty() || searched.path.first() != Some(&b'/') {
            return best;
        }
        let path = searched.path;
        let first = *searched.first.get_or_insert_with(|| Sought::segment(path, 1));
        match self.below.get(first.hash, |named| named.is(&first)) {
            Some(named) => named.node.find_below(path, 1 + first.len()).or(best),
            None => best,
        }
    }

    /// [`find`](Self::find), with so much of the path behind it.
    #[inline]
    fn find_below(&self, path: &[u8], mut at: usize) -> Option<&Target> {
        let (mut node, mut best) = (self, self.target.as_ref());
        while !node.below.is_empty() && at < path.len() {
            let segment = Sought::segment(path, at + 1);
            let Some(named) = node.below.get(segment.hash, |named| named.is(&segment)) else { break };
            at += 1 + segment.len();
            node = &named.node;
            best = node.target.as_ref().or(best);
        }
        best
    }

    /// The target of the prefix with this path.
    pub(super) fn get(&self, path: &str) -> Option<&Target> {
        let mut segments = segments(path);
        let node = segments.try_fold(self, |node, segment| {
            node.below.get(segment.hash, |named| named.is(&segment)).map(|named| &named.node)
        });
        node?.target.as_ref()
    }

    /// Puts a prefix in, which is not there.
    pub(super) fn insert(&mut self, path: &str, target: Target) {
        let mut node = self;
        for segment in segments(path) {
            let is = |named: &Named| named.is(&segment);
            if node.below.get(segment.hash, is).is_none() {
                node.below.insert(Named::new(segment));
            }
            node = &mut node.below.get_mut(segment.hash, is).expect("it has been put in").node;
        }
        node.target = Some(target);
    }

    /// Takes a prefix out, which is there, with what leads to no other.
    pub(super) fn remove(&mut self, path: &str) {
        let segments: Vec<Sought<'_>> = segments(path).collect();
        let (mut kept, mut node) = (0, &*self);
        for (depth, segment) in segments.iter().enumerate() {
            if node.target.is_some() || !node.below.is_single() {
                kept = depth;
            }
            let Some(named) = node.below.get(segment.hash, |named| named.is(segment)) else { return };
            node = &named.node;
        }
        if !node.below.is_empty() {
            kept = segments.len();
        }
        let mut node = self;
        for segment in &segments[..kept] {
            node = &mut node.below.get_mut(segment.hash, |named| named.is(segment)).expect("it was there").node;
        }
        match segments.get(kept) {
            Some(segment) => node.below.remove(segment.hash, |named| named.is(segment)),
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
fn segments(path: &str) -> impl Iterator<Item = Sought<'_>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').skip(1).map(|segment| Sought::whole(segment.as_bytes()))
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

//! A tree built from keys that come in order: what a restart does with a checkpoint image.

use super::item::Item;
use super::keys::{Keys, separator};
use super::node::{BRANCH_MAX, Branch, Child, LEAF_BYTES_MAX, LEAF_MAX, Leaf, Node};
use super::tree::Tree;

/// How full nodes are made: room is left, or the first writes would split them all.
const LEAF_FILL: usize = LEAF_MAX * 7 / 8;
const BRANCH_FILL: usize = BRANCH_MAX * 7 / 8;

/// Takes ascending keys and makes a tree.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// The keys of the leaf being filled, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    items: Vec<Item>,
    /// The newest key, while no leaf is being filled.
    last: Vec<u8>,
    /// Finished leaves, each with the separator before it.
    leaves: Vec<(Vec<u8>, Child)>,
    between: Vec<u8>,
}

impl Builder {
    /// The newest key; empty before the first.
    pub(crate) fn last_key(&self) -> &[u8] {
        match self.ends.len() {
            0 => &self.last,
            1 => &self.bytes,
            n => &self.bytes[self.ends[n - 2]..],
        }
    }

    /// Takes the next key, which must be above all before.
    pub(crate) fn push(&mut self, key: &[u8], item: Item) {
        assert!(self.last_key() < key, "the caller checks the order of what it was given");
        let full = self.items.len() >= LEAF_FILL;
        if full || (!self.items.is_empty() && self.bytes.len() + key.len() > LEAF_BYTES_MAX) {
            let between = separator(self.last_key(), key).to_vec();
            self.close_leaf();
            self.between = between;
        }
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.items.push(item);
    }

    fn close_leaf(&mut self) {
        if self.items.is_empty() {
            return;
        }
        let last = self.last_key().to_vec();
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans: Vec<(usize, usize)> = starts.zip(self.ends.iter().copied()).collect();
        let keys = Keys::pack(spans.iter().map(|(start, end)| &self.bytes[*start..*end]));
        let mut items = std::mem::replace(&mut self.items, Vec::with_capacity(LEAF_FILL));
        items.shrink_to_fit();
        let leaf = Child::around(Node::Leaf(Leaf { keys, items }));
        self.leaves.push((std::mem::take(&mut self.between), leaf));
        self.last = last;
        self.bytes.clear();
        self.ends.clear();
    }

    pub(crate) fn finish(mut self) -> Tree {
        self.close_leaf();
        let mut level = self.leaves;
        while level.len() > 1 {
            level = raise(level);
        }
        let root = level.pop().map_or_else(Child::empty, |(_, child)| child);
        Tree { root }
    }
}

/// One level of branches over the nodes below. They share evenly, so none has a single child.
fn raise(level: Vec<(Vec<u8>, Child)>) -> Vec<(Vec<u8>, Child)> {
    let branches = level.len().div_ceil(BRANCH_FILL);
    let (each, longer) = (level.len() / branches, level.len() % branches);
    let mut nodes = level.into_iter();
    (0..branches)
        .map(|n| {
            let (separators, children): (Vec<Vec<u8>>, Vec<Child>) =
                nodes.by_ref().take(each + usize::from(n < longer)).unzip();
            let inner = Keys::pack(separators[1..].iter().map(|key| &key[..]));
            let branch = Branch { separators: inner, children };
            (separators[0].clone(), Child::around(Node::Branch(branch)))
        })
        .collect()
}

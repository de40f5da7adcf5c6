//! The tree as a whole: look-ups and writes.
//!
//! A copy-on-write B+tree. A snapshot is a clone of the root pointer; a write copies the nodes on
//! its path that a snapshot still holds and changes all others in place.

use std::fmt;
use std::sync::Arc;

use types::LeaseId;

use super::item::Item;
use super::keys::{Keys, reserve, separator};
use super::node::{BRANCH_MAX, Branch, Child, LEAF_BYTES_MAX, LEAF_MAX, Leaf, Node, Summary};
use super::record::Record;

/// All keys, in byte order.
#[derive(Clone)]
pub(crate) struct Tree {
    pub(super) root: Child,
}

impl fmt::Debug for Tree {
    /// A tree may hold millions of keys: its summary says enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tree").field(&self.root.summary).finish()
    }
}

/// The right half of a node that was split, with the separator before it.
type Split = Option<(Vec<u8>, Child)>;

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree { root: Child::empty() }
    }

    /// What is true of all keys together.
    pub(crate) fn summary(&self) -> Summary {
        self.root.summary
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Item> {
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.search(key).ok().map(|at| &leaf.items[at]),
                Node::Branch(branch) => node = &branch.children[branch.child_of(key)].node,
            }
        }
    }

    /// Appends a record to a key, given what was there before: `decide` sees the item as it is and
    /// says what comes next.
    pub(crate) fn write(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<&Item>) -> (Record, LeaseId),
    ) {
        let Some((between, right)) = self.root.write(key, decide) else { return };
        let left = std::mem::replace(&mut self.root, Child::empty());
        let separators = Keys::pack([&between[..]].into_iter());
        self.root = Child::around(Node::Branch(Branch { separators, children: vec![left, right] }));
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.root.node.memory_bytes()
    }
}

impl Child {
    fn write(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<&Item>) -> (Record, LeaseId),
    ) -> Split {
        let split = match Arc::make_mut(&mut self.node) {
            Node::Leaf(leaf) => {
                leaf.write(key, decide, &mut self.summary);
                leaf.split_if_full(key).map(|(between, right)| (between, Node::Leaf(right)))
            }
            Node::Branch(branch) => {
                let at = branch.child_of(key);
                let child = &mut branch.children[at];
                let before = child.summary;
                let split = child.write(key, decide);
                let mut after = child.summary;
                if let Some((between, right)) = split {
                    after = after.and(right.summary);
                    branch.insert(at, &between, right);
                }
                self.summary.live = self.summary.live - before.live + after.live;
                self.summary.newest = self.summary.newest.max(after.newest);
                self.summary.collectible = self.summary.collectible.min(after.collectible);
                branch.split_if_full(at).map(|(between, right)| (between, Node::Branch(right)))
            }
        };
        let (between, right) = split?;
        self.summary = self.node.summary();
        Some((between, Child::around(right)))
    }
}

impl Leaf {
    fn write(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<&Item>) -> (Record, LeaseId),
        summary: &mut Summary,
    ) {
        let (was_alive, item) = match self.keys.search(key) {
            Ok(at) => {
                let item = &mut self.items[at];
                let was_alive = item.is_alive();
                let (record, lease) = decide(Some(item));
                item.push(record, lease);
                (was_alive, item)
            }
            Err(at) => {
                let (record, lease) = decide(None);
                self.keys.insert(at, key);
                reserve(&mut self.items, 1);
                self.items.insert(at, Item::new(record, lease));
                (false, &mut self.items[at])
            }
        };
        summary.live = summary.live - u64::from(was_alive) + u64::from(item.is_alive());
        summary.newest = summary.newest.max(item.newest.main);
        summary.collectible = summary.collectible.min(item.collectible());
    }

    /// Splits a leaf that is full. Where `written` went to the end, keys are likely to keep arriving
    /// in order: the left half is left full, and a store filled in order ends up dense.
    fn split_if_full(&mut self, written: &[u8]) -> Option<(Vec<u8>, Leaf)> {
        let count = self.items.len();
        let too_many = count > LEAF_MAX;
        let too_long = count > 1 && self.keys.packed_bytes() > LEAF_BYTES_MAX;
        if !too_many && !too_long {
            return None;
        }
        let at_end = self.keys.search(written) == Ok(count - 1);
        let at = if at_end { count - 1 } else { count / 2 };
        let last = self.keys.get(at - 1).to_vec();
        let first = self.keys.get(at).to_vec();
        let right = Leaf { keys: self.keys.split_off(at), items: self.items.split_off(at) };
        self.items.shrink_to_fit();
        Some((separator(&last, &first).to_vec(), right))
    }
}

impl Branch {
    /// Inserts a child after child `at`.
    fn insert(&mut self, at: usize, between: &[u8], right: Child) {
        // The child on the left was changed in place by its split.
        self.separators.insert(at, between);
        reserve(&mut self.children, 1);
        self.children.insert(at + 1, right);
    }

    fn split_if_full(&mut self, written: usize) -> Option<(Vec<u8>, Branch)> {
        let count = self.children.len();
        if count <= BRANCH_MAX {
            return None;
        }
        // As in a leaf: dense on the left when keys arrive in order. A branch keeps two children.
        let at = if written + 2 == count { count - 2 } else { count / 2 };
        let mut separators = self.separators.split_off(at - 1);
        let between = separators.get(0).to_vec();
        separators.retain(|place| place > 0);
        let children = self.children.split_off(at);
        self.children.shrink_to_fit();
        Some((between, Branch { separators, children }))
    }
}

//! Pruning: forgetting, key by key and in small steps, what a compaction allows to forget.
//!
//! A subtree that has nothing to forget says so in its summary and is not visited, so a pass costs
//! what it frees. Between two steps anything may be written: new records lie above the compacted
//! revision and are none of the pass's business.

use std::sync::Arc;

use types::Revision;

use super::node::{BRANCH_MAX, Branch, Child, LEAF_MAX, Leaf, Node};
use super::tree::Tree;

/// One step of a pass.
pub(crate) struct Pruning {
    /// The compacted revision.
    pub revision: i64,
    /// How many keys and records may still be handled.
    pub budget: usize,
    /// Revisions forgotten.
    pub dead: Vec<Revision>,
    /// Where the budget ran out: the pass goes on with this key.
    pub stopped_at: Option<Vec<u8>>,
}

impl Tree {
    /// Prunes keys from `from` on until the budget is used up.
    pub(crate) fn prune(&mut self, from: &[u8], pruning: &mut Pruning) {
        self.root.prune(Some(from), pruning);
        if self.root.node.is_empty() {
            self.root = Child::empty();
        }
        while let Node::Branch(branch) = &*self.root.node
            && let [only] = &branch.children[..]
        {
            self.root = only.clone();
        }
    }
}

impl Child {
    fn prune(&mut self, from: Option<&[u8]>, pruning: &mut Pruning) {
        if self.summary.collectible > pruning.revision {
            return;
        }
        match Arc::make_mut(&mut self.node) {
            Node::Leaf(leaf) => leaf.prune(from, pruning),
            Node::Branch(branch) => branch.prune(from, pruning),
        }
        self.summary = self.node.summary();
    }
}

impl Leaf {
    fn prune(&mut self, from: Option<&[u8]>, pruning: &mut Pruning) {
        let first = from.map_or(0, |key| self.keys.search(key).unwrap_or_else(|at| at));
        let mut gone = Vec::new();
        for at in first..self.items.len() {
            if pruning.budget == 0 {
                pruning.stopped_at = Some(self.keys.get(at).to_vec());
                break;
            }
            let item = &mut self.items[at];
            pruning.budget -= 1;
            if item.collectible() > pruning.revision {
                continue;
            }
            let before = pruning.dead.len();
            let budget = pruning.budget.max(1);
            let left = item.cut(pruning.revision, budget, &mut pruning.dead);
            pruning.budget = pruning.budget.saturating_sub(pruning.dead.len() - before);
            if !left {
                gone.push(at);
            } else if item.collectible() <= pruning.revision {
                pruning.stopped_at = Some(self.keys.get(at).to_vec());
                break;
            }
        }
        self.remove(&gone);
    }

    fn remove(&mut self, gone: &[usize]) {
        if gone.is_empty() {
            return;
        }
        let stays = |at: usize| gone.binary_search(&at).is_err();
        self.keys.retain(stays);
        let mut at = 0;
        self.items.retain(|_| {
            at += 1;
            stays(at - 1)
        });
        self.items.shrink_to_fit();
    }
}

impl Branch {
    fn prune(&mut self, from: Option<&[u8]>, pruning: &mut Pruning) {
        let first = from.map_or(0, |key| self.child_of(key));
        let mut at = first;
        while at < self.children.len() && pruning.stopped_at.is_none() {
            let from = from.filter(|_| at == first);
            self.children[at].prune(from, pruning);
            at += 1;
        }
        self.tidy(first.saturating_sub(1), at + 1);
    }

    /// Takes out children that became empty, and joins small neighbours, among those from `first` up
    /// to `end`.
    fn tidy(&mut self, first: usize, end: usize) {
        for at in (first..end.min(self.children.len())).rev() {
            if self.children[at].node.is_empty() {
                self.remove(at);
            } else if at + 1 < self.children.len() && self.fit_together(at) {
                self.join(at);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        self.children.remove(at);
        let separator = at.saturating_sub(1);
        self.separators.retain(|place| place != separator);
    }

    /// Whether child `at` and the one after it would leave a node half empty even together.
    fn fit_together(&self, at: usize) -> bool {
        match (&*self.children[at].node, &*self.children[at + 1].node) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let bytes = left.keys.packed_bytes() + right.keys.packed_bytes();
                left.items.len() + right.items.len() <= LEAF_MAX / 2 && bytes <= 4096
            }
            (Node::Branch(left), Node::Branch(right)) => {
                left.children.len() + right.children.len() <= BRANCH_MAX / 2
            }
            _ => unreachable!("all children of a branch have the same height"),
        }
    }

    /// Joins child `at` with the one after it.
    fn join(&mut self, at: usize) {
        let right = self.children.remove(at + 1);
        let between = self.separators.get(at).to_vec();
        self.separators.retain(|place| place != at);
        let left = &mut self.children[at];
        match (Arc::make_mut(&mut left.node), &*right.node) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.keys.append(None, &right.keys);
                left.items.extend_from_slice(&right.items);
            }
            (Node::Branch(left), Node::Branch(right)) => {
                left.separators.append(Some(&between), &right.separators);
                left.children.extend_from_slice(&right.children);
            }
            _ => unreachable!("all children of a branch have the same height"),
        }
        left.summary = left.summary.and(right.summary);
    }
}

#[cfg(test)]
impl Tree {
    /// Checks everything that must always be true of a tree, for tests.
    pub(crate) fn check(&self) {
        check(&self.root, None, None);
    }
}

#[cfg(test)]
fn check(child: &Child, low: Option<Vec<u8>>, high: Option<Vec<u8>>) -> usize {
    assert_eq!(child.summary, child.node.summary());
    match &*child.node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.keys.len(), leaf.items.len());
            let keys: Vec<Vec<u8>> =
                (0..leaf.keys.len()).map(|at| leaf.keys.get(at).to_vec()).collect();
            assert!(keys.is_sorted_by(|a, b| a < b));
            assert!(keys.iter().all(|key| low.as_ref().is_none_or(|low| low <= key)));
            assert!(keys.iter().all(|key| high.as_ref().is_none_or(|high| key < high)));
            assert!(leaf.items.len() <= LEAF_MAX);
            1
        }
        Node::Branch(branch) => {
            let count = branch.children.len();
            assert_eq!(branch.separators.len() + 1, count);
            assert!(count <= BRANCH_MAX);
            let edge = |at: usize| Some(branch.separators.get(at).to_vec());
            let heights: Vec<usize> = (0..count)
                .map(|at| {
                    let low = if at == 0 { low.clone() } else { edge(at - 1) };
                    let high = if at + 1 == count { high.clone() } else { edge(at) };
                    check(&branch.children[at], low, high)
                })
                .collect();
            assert!(heights.iter().all(|height| *height == heights[0]));
            heights[0] + 1
        }
    }
}

//! Nodes of the tree and what a parent remembers of its children.
//!
//! The summary stands beside the pointer, in the parent: counting and pruning decide about a
//! subtree without touching it.

use std::sync::Arc;

use super::item::Item;
use super::keys::Keys;

/// Keys per leaf at most; one more fits, and makes it split. A leaf and a branch are what a write copies
/// when a view is held, so they are smaller than what would be best for reading alone.
pub(super) const LEAF_MAX: usize = 47;
/// Key bytes of a leaf above which it is split even if it holds few keys.
pub(super) const LEAF_BYTES_MAX: usize = 16 * 1024;
/// Children per branch at most.
pub(super) const BRANCH_MAX: usize = 24;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    pub keys: Keys<{ LEAF_MAX + 1 }>,
    /// One for each key.
    pub items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// One fewer than children: child `n` holds keys at or above separator `n - 1` and below `n`.
    pub separators: Keys<BRANCH_MAX>,
    pub children: Vec<Child>,
}

/// A subtree.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(super) node: Arc<Node>,
    pub(super) summary: Summary,
}

/// What is true of all keys of a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Keys that live now.
    pub live: u64,
    /// The newest main revision; at or above it, the subtree reads as it does now.
    pub newest: i64,
    /// The lowest compaction that would forget something; `i64::MAX` if none would.
    pub collectible: i64,
}

impl Summary {
    pub(super) const EMPTY: Summary = Summary { live: 0, newest: 0, collectible: i64::MAX };

    pub(super) fn of_item(item: &Item) -> Summary {
        Summary {
            live: u64::from(item.is_alive()),
            newest: item.newest.main,
            collectible: item.collectible(),
        }
    }

    pub(super) fn and(self, other: Summary) -> Summary {
        Summary {
            live: self.live + other.live,
            newest: self.newest.max(other.newest),
            collectible: self.collectible.min(other.collectible),
        }
    }
}

impl Child {
    pub(super) fn empty() -> Child {
        Child { node: Arc::new(Node::Leaf(Leaf::default())), summary: Summary::EMPTY }
    }

    /// Wraps a node, adding up its summary.
    pub(super) fn around(node: Node) -> Child {
        let summary = node.summary();
        Child { node: Arc::new(node), summary }
    }
}

impl Node {
    pub(super) fn summary(&self) -> Summary {
        match self {
            Node::Leaf(leaf) => {
                leaf.items.iter().map(Summary::of_item).fold(Summary::EMPTY, Summary::and)
            }
            Node::Branch(branch) => {
                branch.children.iter().map(|c| c.summary).fold(Summary::EMPTY, Summary::and)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.items.is_empty(),
            Node::Branch(branch) => branch.children.is_empty(),
        }
    }

    /// Bytes of memory, this node and all below it.
    pub(super) fn memory_bytes(&self) -> usize {
        // An Arc puts two counters before what it holds.
        let own = size_of::<Node>() + 2 * size_of::<usize>();
        own + match self {
            Node::Leaf(leaf) => {
                let below: usize = leaf.items.iter().map(Item::memory_bytes).sum();
                below + leaf.items.capacity() * size_of::<Item>() + leaf.keys.memory_bytes()
            }
            Node::Branch(branch) => {
                let below: usize = branch.children.iter().map(|c| c.node.memory_bytes()).sum();
                let children = branch.children.capacity() * size_of::<Child>();
                below + children + branch.separators.memory_bytes()
            }
        }
    }
}

impl Branch {
    /// Which child a key belongs to.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }
}

//! A map from key ranges to values that answers: which ranges hold this key?
//!
//! Single keys, by far the most common, stand in an ordered map. Other ranges stand in an interval
//! tree: a treap ordered by start in which every node knows the furthest end below it, so a question
//! costs O(log n) and a little for each answer, whether ten thousand prefixes lie side by side or
//! inside each other.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use types::KeyRange;

/// Ranges with a value each.
#[derive(Debug)]
pub(crate) struct RangeMap<T> {
    ones: BTreeMap<Bytes, T>,
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    root: u32,
    /// Feeds the priorities: any sequence without a pattern keeps the tree flat.
    seed: u64,
}

/// No node.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    end: End,
    /// The furthest end in this subtree.
    reach: End,
    priority: u64,
    left: u32,
    right: u32,
    /// `None` only while the node is on the free list.
    value: Option<T>,
}

/// Where a range ends, exclusive. Ordered: the end of the keyspace comes last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < &end[..],
            End::Never => true,
        }
    }
}

impl<T> Default for RangeMap<T> {
    fn default() -> RangeMap<T> {
        RangeMap { ones: BTreeMap::new(), nodes: Vec::new(), free: Vec::new(), root: NIL, seed: 0 }
    }
}

impl<T> RangeMap<T> {
    /// Calls `visit` with the value of each range that holds `key`.
    pub fn stab(&self, key: &[u8], mut visit: impl FnMut(&T)) {
        if let Some(value) = self.ones.get(key) {
            visit(value);
        }
        self.stab_below(self.root, key, &mut visit);
    }

    fn stab_below(&self, at: u32, key: &[u8], visit: &mut impl FnMut(&T)) {
        if at == NIL {
            return;
        }
        let node = &self.nodes[at as usize];
        if !node.reach.is_after(key) {
            return;
        }
        self.stab_below(node.left, key, visit);
        if &node.start[..] <= key {
            if node.end.is_after(key) {
                visit(node.value.as_ref().expect("a node in the tree has a value"));
            }
            self.stab_below(node.right, key, visit);
        }
    }

    /// The value of exactly this range, made if it is not there.
    pub fn entry(&mut self, range: &KeyRange, make: impl FnOnce() -> T) -> &mut T {
        let Some((start, end)) = bounds(range) else {
            return self.ones.entry(owned(range.start())).or_insert_with(make);
        };
        let found = self.find(&start, &end);
        let at = if found == NIL { self.insert(start, end, make()) } else { found };
        self.nodes[at as usize].value.as_mut().expect("a node in the tree has a value")
    }

    /// Forgets exactly this range.
    pub fn remove(&mut self, range: &KeyRange) -> Option<T> {
        let Some((start, end)) = bounds(range) else {
            return self.ones.remove(range.start());
        };
        let (before, rest) = self.split(self.root, &start, &end, Ordering::Less);
        let (one, after) = self.split(rest, &start, &end, Ordering::Equal);
        self.root = self.merge(before, after);
        if one == NIL {
            return None;
        }
        self.free.push(one);
        let node = &mut self.nodes[one as usize];
        (node.start, node.end, node.reach) = (Bytes::new(), End::Never, End::Never);
        node.value.take()
    }

    fn find(&self, start: &Bytes, end: &End) -> u32 {
        let mut at = self.root;
        while at != NIL {
            let node = &self.nodes[at as usize];
            at = match (start, end).cmp(&(&node.start, &node.end)) {
                Ordering::Less => node.left,
                Ordering::Equal => return at,
                Ordering::Greater => node.right,
            };
        }
        NIL
    }

    fn insert(&mut self, start: Bytes, end: End, value: T) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let (before, after) = self.split(self.root, &start, &end, Ordering::Less);
        let node = Node {
            start,
            reach: end.clone(),
            end,
            priority: scatter(self.seed),
            left: NIL,
            right: NIL,
            value: Some(value),
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.nodes.push(Node { value: None, ..free_node() });
                u32::try_from(self.nodes.len() - 1).expect("watches are bounded below 2^32")
            }
        };
        self.nodes[at as usize] = node;
        let left = self.merge(before, at);
        self.root = self.merge(left, after);
        at
    }

    /// Cuts a subtree in two: ranges that compare to (`start`, `end`) as less, or up to `last`, and
    /// the rest.
    fn split(&mut self, at: u32, start: &Bytes, end: &End, last: Ordering) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        let node = &self.nodes[at as usize];
        let (left, right) = (node.left, node.right);
        if (&node.start, &node.end).cmp(&(start, end)) <= last {
            let (inner, rest) = self.split(right, start, end, last);
            self.nodes[at as usize].right = inner;
            self.update(at);
            (at, rest)
        } else {
            let (rest, inner) = self.split(left, start, end, last);
            self.nodes[at as usize].left = inner;
            self.update(at);
            (rest, at)
        }
    }

    /// Joins two subtrees of which every range of the first comes before every one of the second.
    fn merge(&mut self, first: u32, second: u32) -> u32 {
        if first == NIL {
            return second;
        }
        if second == NIL {
            return first;
        }
        if self.nodes[second as usize].priority < self.nodes[first as usize].priority {
            let right = self.nodes[first as usize].right;
            self.nodes[first as usize].right = self.merge(right, second);
            self.update(first);
            first
        } else {
            let left = self.nodes[second as usize].left;
            self.nodes[second as usize].left = self.merge(first, left);
            self.update(second);
            second
        }
    }

    /// Computes how far a subtree reaches from its two halves.
    fn update(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let mut reach = &node.end;
        for half in [node.left, node.right] {
            if half != NIL {
                reach = reach.max(&self.nodes[half as usize].reach);
            }
        }
        self.nodes[at as usize].reach = reach.clone();
    }
}

fn free_node<T>() -> Node<T> {
    Node {
        start: Bytes::new(),
        end: End::Never,
        reach: End::Never,
        priority: 0,
        left: NIL,
        right: NIL,
        value: None,
    }
}

/// Start and end of a range of many keys; `None` for a single key.
fn bounds(range: &KeyRange) -> Option<(Bytes, End)> {
    match range {
        KeyRange::One(_) => None,
        KeyRange::From { start } => Some((owned(start), End::Never)),
        KeyRange::Between { start, end } => Some((owned(start), End::Before(owned(end)))),
    }
}

/// A copy of its own, so that a long-lived watch does not keep a whole request's buffer alive.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// The finalizer of splitmix64.
fn scatter(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

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

use crate::watcher::Table;

/// Ranges with a value each.
#[derive(Debug)]
pub(crate) struct RangeMap<T> {
    ones: BTreeMap<Bytes, T>,
    nodes: Table<Node<T>>,
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
    value: T,
}

/// Where a range ends, exclusive. Ordered: the end of the keyspace comes last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn owned(&self) -> End {
        match self {
            End::Before(end) => End::Before(owned(end)),
            End::Never => End::Never,
        }
    }

    fn range_from(&self, start: &Bytes) -> KeyRange {
        let start = start.clone();
        match self {
            End::Before(end) => KeyRange::Between { start, end: end.clone() },
            End::Never => KeyRange::From { start },
        }
    }

    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < &end[..],
            End::Never => true,
        }
    }
}

impl<T> Default for RangeMap<T> {
    fn default() -> RangeMap<T> {
        RangeMap { ones: BTreeMap::new(), nodes: Table::default(), root: NIL, seed: 0 }
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
        let node = &self.nodes[at];
        if !node.reach.is_after(key) {
            return;
        }
        self.stab_below(node.left, key, visit);
        if &node.start[..] <= key {
            if node.end.is_after(key) {
                visit(&node.value);
            }
            self.stab_below(node.right, key, visit);
        }
    }

    /// The value of exactly this range. If there is none it is made from a copy of the range that
    /// shares the map's own buffers.
    pub fn entry(&mut self, range: &KeyRange, make: impl FnOnce(KeyRange) -> T) -> &mut T {
        if let KeyRange::One(key) = range {
            return self
                .ones
                .entry(owned(key))
                .or_insert_with_key(|k| make(KeyRange::One(k.clone())));
        }
        let (start, end) = bounds(range);
        let found = self.find(&start, &end);
        let at = if found == NIL { self.insert(start, end, make) } else { found };
        &mut self.nodes[at].value
    }

    /// Forgets exactly this range.
    pub fn remove(&mut self, range: &KeyRange) -> Option<T> {
        if let KeyRange::One(key) = range {
            return self.ones.remove(key);
        }
        let (start, end) = bounds(range);
        let (before, rest) = self.split(self.root, &start, &end, Ordering::Less);
        let (one, after) = self.split(rest, &start, &end, Ordering::Equal);
        self.root = self.merge(before, after);
        if one == NIL { None } else { Some(self.nodes.remove(one).value) }
    }

    fn find(&self, start: &Bytes, end: &End) -> u32 {
        let mut at = self.root;
        while at != NIL {
            let node = &self.nodes[at];
            at = match (start, end).cmp(&(&node.start, &node.end)) {
                Ordering::Less => node.left,
                Ordering::Equal => return at,
                Ordering::Greater => node.right,
            };
        }
        NIL
    }

    fn insert(&mut self, start: Bytes, end: End, make: impl FnOnce(KeyRange) -> T) -> u32 {
        let (start, end) = (owned(&start), end.owned());
        let value = make(end.range_from(&start));
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let (before, after) = self.split(self.root, &start, &end, Ordering::Less);
        let node = Node {
            start,
            reach: end.clone(),
            end,
            priority: scatter(self.seed),
            left: NIL,
            right: NIL,
            value,
        };
        let at = self.nodes.insert(node);
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
        let node = &self.nodes[at];
        let (left, right) = (node.left, node.right);
        if (&node.start, &node.end).cmp(&(start, end)) <= last {
            let (inner, rest) = self.split(right, start, end, last);
            self.nodes[at].right = inner;
            self.update(at);
            (at, rest)
        } else {
            let (rest, inner) = self.split(left, start, end, last);
            self.nodes[at].left = inner;
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
        if self.nodes[second].priority < self.nodes[first].priority {
            let right = self.nodes[first].right;
            self.nodes[first].right = self.merge(right, second);
            self.update(first);
            first
        } else {
            let left = self.nodes[second].left;
            self.nodes[second].left = self.merge(first, left);
            self.update(second);
            second
        }
    }

    /// Computes how far a subtree reaches from its two halves.
    fn update(&mut self, at: u32) {
        let node = &self.nodes[at];
        let mut reach = &node.end;
        for half in [node.left, node.right] {
            if half != NIL {
                reach = reach.max(&self.nodes[half].reach);
            }
        }
        self.nodes[at].reach = reach.clone();
    }
}

/// Start and end of a range of many keys.
fn bounds(range: &KeyRange) -> (Bytes, End) {
    match range {
        KeyRange::One(_) => unreachable!("single keys stand in their own map"),
        KeyRange::From { start } => (start.clone(), End::Never),
        KeyRange::Between { start, end } => (start.clone(), End::Before(end.clone())),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u64) -> Bytes {
        Bytes::from(format!("{number:03}"))
    }

    /// Any range, also inverted ones: they are in the map and hold no key.
    fn some_range(seed: u64) -> KeyRange {
        let start = bytes(scatter(seed) % 40);
        match scatter(seed + 1000) % 4 {
            0 => KeyRange::One(start),
            1 => KeyRange::From { start },
            _ => KeyRange::Between { start, end: bytes(scatter(seed + 2000) % 60) },
        }
    }

    #[track_caller]
    fn check_same(map: &RangeMap<u64>, list: &[(KeyRange, u64)]) {
        for key in (0..62).map(bytes) {
            let mut found = Vec::new();
            map.stab(&key, |value| found.push(*value));
            found.sort_unstable();
            let holding = list.iter().filter(|(range, _)| range.contains(&key));
            let mut expected: Vec<u64> = holding.map(|(_, value)| *value).collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn stabbing_finds_what_a_search_through_a_list_finds() {
        let mut map = RangeMap::default();
        let mut list: Vec<(KeyRange, u64)> = Vec::new();
        for step in 0..2000 {
            let range = some_range(step);
            let known = list.iter().position(|(r, _)| *r == range);
            if scatter(step + 3000).is_multiple_of(3) {
                assert_eq!(map.remove(&range), known.map(|at| list.swap_remove(at).1));
            } else {
                let value = *map.entry(&range, |copy| {
                    assert_eq!(copy, range);
                    step
                });
                assert_eq!(value, known.map_or(step, |at| list[at].1));
                if known.is_none() {
                    list.push((range, step));
                }
            }
            if step % 50 == 0 {
                check_same(&map, &list);
            }
        }
        assert!(100 < list.len());
    }

    #[test]
    fn a_key_among_ten_thousand_prefixes_is_found_without_visiting_them_all() {
        let mut map = RangeMap::default();
        for number in 0..10_000u64 {
            let start = Bytes::from(format!("/registry/{number:05}/"));
            let end = Bytes::from(format!("/registry/{number:05}0"));
            map.entry(&KeyRange::Between { start, end }, |_| number);
        }
        let depth = depth(&map, map.root);
        assert!(depth < 45, "depth {depth}");
        let mut found = Vec::new();
        map.stab(b"/registry/01234/pod", |value| found.push(*value));
        assert_eq!(found, [1234]);
    }

    fn depth(map: &RangeMap<u64>, at: u32) -> usize {
        if at == NIL {
            return 0;
        }
        let node = &map.nodes[at];
        1 + depth(map, node.left).max(depth(map, node.right))
    }
}

//! Walking and counting: the keys of a range, as they were at some revision.

use std::ops::ControlFlow;

use bytes::Bytes;
use types::KeyRange;

use super::item::Item;
use super::keys::{KeyParts, Keys};
use super::node::{Child, Node};
use super::record::Record;
use super::tree::Tree;

/// A range with both ends spelled out.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// The first key that belongs to it.
    pub low: Bytes,
    /// The first key behind it; `None` for the end of the keyspace.
    pub high: Option<Bytes>,
}

impl Bounds {
    pub(crate) fn of(range: &KeyRange) -> Bounds {
        match range {
            KeyRange::One(key) => Bounds { low: key.clone(), high: Some(after(key)) },
            KeyRange::From { start } => Bounds { low: start.clone(), high: None },
            KeyRange::Between { start, end } => {
                Bounds { low: start.clone(), high: Some(end.clone()) }
            }
        }
    }

    fn edges(&self) -> Edges<'_> {
        Edges { low: Some(&self.low), high: self.high.as_deref() }
    }
}

/// The key that comes directly after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// What is left of the bounds within a subtree: `None` where the subtree lies inside.
#[derive(Clone, Copy)]
struct Edges<'a> {
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
}

impl<'a> Edges<'a> {
    /// Which of a leaf's keys lie inside.
    fn places<const MAX: usize>(self, keys: &Keys<MAX>) -> std::ops::Range<usize> {
        let place = |key: &[u8]| keys.search(key).unwrap_or_else(|at| at);
        let first = self.low.map_or(0, place);
        let end = self.high.map_or(keys.len(), place);
        first..end.max(first)
    }

    /// Which of a branch's children can hold keys inside, and what is left of the bounds for each.
    fn children<'n>(
        self,
        node: &'n super::node::Branch,
    ) -> impl Iterator<Item = (&'n Child, Edges<'a>)> {
        let first = self.low.map_or(0, |key| node.child_of(key));
        let last = self.high.map_or(node.children.len() - 1, |key| node.child_of(key));
        (first..=last).map(move |at| {
            let low = self.low.filter(|_| at == first);
            let high = self.high.filter(|_| at == last);
            (&node.children[at], Edges { low, high })
        })
    }

    fn are_open(self) -> bool {
        self.low.is_none() && self.high.is_none()
    }
}

impl Tree {
    /// Shows every key of `bounds` that lived at `revision`, in order, but for the first `skip`.
    pub(crate) fn walk<B>(
        &self,
        bounds: &Bounds,
        revision: i64,
        mut skip: u64,
        visit: &mut impl FnMut(KeyParts<'_>, &Item, Record) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.root.walk(bounds.edges(), revision, &mut skip, visit)
    }

    /// Shows every key at or after `low`, whether it lives or not.
    pub(crate) fn walk_all<B>(
        &self,
        low: &[u8],
        visit: &mut impl FnMut(KeyParts<'_>, &Item) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.root.walk_all(Edges { low: Some(low), high: None }, visit)
    }

    /// Whether `test` holds for any key. It must be true of a key that lives and has not changed at or
    /// after `revision`, and false of one that does not: subtrees without such changes then know.
    pub(crate) fn any(&self, revision: i64, test: &impl Fn(&Item) -> bool) -> bool {
        self.root.any(revision, test)
    }

    /// As [`Tree::count`], if that takes a look at no more than `nodes_max` nodes.
    pub(crate) fn count_within(
        &self,
        bounds: &Bounds,
        revision: i64,
        mut nodes_max: usize,
    ) -> Option<u64> {
        self.root.count_within(bounds.edges(), revision, &mut nodes_max)
    }

    /// How many keys of `bounds` lived at `revision`. Subtrees that have not changed since know it.
    pub(crate) fn count(&self, bounds: &Bounds, revision: i64) -> u64 {
        self.root.count(bounds.edges(), revision)
    }
}

impl Child {
    fn walk<B>(
        &self,
        edges: Edges<'_>,
        revision: i64,
        skip: &mut u64,
        visit: &mut impl FnMut(KeyParts<'_>, &Item, Record) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let unchanged = self.summary.newest <= revision;
        if unchanged && self.summary.live == 0 {
            return ControlFlow::Continue(());
        }
        if unchanged && edges.are_open() && self.summary.live <= *skip {
            *skip -= self.summary.live;
            return ControlFlow::Continue(());
        }
        match &*self.node {
            Node::Leaf(leaf) => {
                for at in edges.places(&leaf.keys) {
                    let item = &leaf.items[at];
                    let Some(record) = item.living_at(revision) else { continue };
                    if *skip > 0 {
                        *skip -= 1;
                        continue;
                    }
                    visit(leaf.keys.get(at), item, record)?;
                }
            }
            Node::Branch(branch) => {
                for (child, edges) in edges.children(branch) {
                    child.walk(edges, revision, skip, visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn walk_all<B>(
        &self,
        edges: Edges<'_>,
        visit: &mut impl FnMut(KeyParts<'_>, &Item) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match &*self.node {
            Node::Leaf(leaf) => {
                for at in edges.places(&leaf.keys) {
                    visit(leaf.keys.get(at), &leaf.items[at])?;
                }
            }
            Node::Branch(branch) => {
                for (child, edges) in edges.children(branch) {
                    child.walk_all(edges, visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn any(&self, revision: i64, test: &impl Fn(&Item) -> bool) -> bool {
        if self.summary.newest < revision {
            return self.summary.live > 0;
        }
        match &*self.node {
            Node::Leaf(leaf) => leaf.items.iter().any(test),
            Node::Branch(branch) => branch.children.iter().any(|c| c.any(revision, test)),
        }
    }

    fn count(&self, edges: Edges<'_>, revision: i64) -> u64 {
        let mut all = usize::MAX;
        let counted = self.count_within(edges, revision, &mut all);
        counted.expect("no tree has so many nodes")
    }

    /// `None` once no node may be looked at any more.
    fn count_within(&self, edges: Edges<'_>, revision: i64, nodes_left: &mut usize) -> Option<u64> {
        if edges.are_open() && self.summary.newest <= revision {
            return Some(self.summary.live);
        }
        *nodes_left = nodes_left.checked_sub(1)?;
        match &*self.node {
            Node::Leaf(leaf) => {
                let alive = |at: &usize| leaf.items[*at].living_at(revision).is_some();
                Some(edges.places(&leaf.keys).filter(alive).count() as u64)
            }
            Node::Branch(branch) => {
                let children = edges.children(branch);
                children.map(|(child, edges)| child.count_within(edges, revision, nodes_left)).sum()
            }
        }
    }
}

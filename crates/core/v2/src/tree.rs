//! The nodes: a flat map from path to node, from which directories are read as ranges.
//!
//! Everything below `/a` lies between `/a/` and `/a0`, because `0` follows the slash. So no function here calls itself
//! once for each level, but the one that shows a directory, and paths are bounded ([`PATH_PARTS_MAX`]).
//!
//! [`PATH_PARTS_MAX`]: crate::PATH_PARTS_MAX
//!
//! Circle: `writes` is what requests do to the tree's nodes, and `row` is how nodes are stored.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::event::{Action, Event, NodeView, seconds_left};
use crate::path::{below, is_hidden, normal, prefixes};
use crate::row::{self, BadRow, Change, Read};
use crate::stats::Stats;
use crate::{UnixNanos, writes};

/// What all nodes of a tree may take in memory, in bytes, each counted with 160 beside its path and value. A
/// write that would pass it is refused, on every member alike.
pub const TREE_BYTES_MAX: usize = 256 << 20;

/// What a node takes beside its path and value, roughly, in bytes.
const NODE_BYTES: usize = 160;

/// What etcd begins a tree with: for the cluster, and for clients.
const NAMESPACES: [&str; 3] = ["/", "/0", "/1"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    File(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    pub(crate) ends: Option<UnixNanos>,
}

impl Node {
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }

    /// A file's value; nothing for a directory.
    pub(crate) fn value(&self) -> Arc<str> {
        match &self.kind {
            Kind::Dir => Arc::from(""),
            Kind::File(value) => value.clone(),
        }
    }

    fn bytes(&self, path: &str) -> usize {
        let value = match &self.kind {
            Kind::Dir => 0,
            Kind::File(value) => value.len(),
        };
        NODE_BYTES + path.len() + value
    }
}

/// An event on its way to whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What happened.
    pub event: Arc<Event>,
    /// Every node that went with it, children before their directory. Whoever watches one of them is told.
    pub removed: Vec<Arc<str>>,
}

/// The replicated tree.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Arc<str>, Node>,
    /// Nodes with an end, soonest first.
    ends: BTreeSet<(UnixNanos, Arc<str>)>,
    index: u64,
    bytes: usize,
    pub(crate) changes: Vec<Change>,
    pub(crate) stats: Stats,
}

impl Default for Tree {
    fn default() -> Tree {
        let dir = || Node { kind: Kind::Dir, created: 0, modified: 0, ends: None };
        let nodes = NAMESPACES.into_iter().map(|path| (Arc::from(path), dir())).collect();
        Tree {
            nodes,
            ends: BTreeSet::new(),
            index: 0,
            bytes: 0,
            changes: Vec::new(),
            stats: Stats::default(),
        }
    }
}

impl Tree {
    /// The tree that was kept as these rows.
    ///
    /// # Errors
    /// [`BadRow`]: a row that no tree wrote.
    pub fn restore<'a>(rows: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Tree, BadRow> {
        let mut tree = Tree::default();
        for (key, value) in rows {
            match row::read(key, value)? {
                Read::Index(index) => tree.index = index,
                Read::Node(path, node) => {
                    if normal(&path) != path || NAMESPACES.contains(&&*path) {
                        return Err(BadRow { key: key.to_vec() });
                    }
                    tree.place(Arc::from(path), node);
                }
            }
        }
        Ok(tree)
    }

    /// Whether nobody has ever written to it.
    pub fn is_untouched(&self) -> bool {
        self.index == 0
    }

    /// How many changes were made.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What it takes, as [`TREE_BYTES_MAX`] counts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it has done since this member began.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// When the first node ends, if any does.
    pub fn first_end(&self) -> Option<UnixNanos> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Reads a node; a directory with what is in it, `recursive` with everything below. Children are always sorted.
    ///
    /// # Errors
    /// There is none, or a part of the path is a file.
    pub fn get(&mut self, path: &str, recursive: bool, now: UnixNanos) -> Result<Event, Error> {
        let path = normal(path);
        let found = self.find(&path).map(|node| (node.modified, node.created));
        match &found {
            Ok(_) => self.stats.gets_success += 1,
            Err(_) => self.stats.gets_fail += 1,
        }
        found?;
        let node = self.view_with_children(&path, recursive, now);
        Ok(Event { action: Action::Get, node, previous: None, index: self.index, refresh: false })
    }

    /// Carries out a request of the log.
    pub fn step(&mut self, request: &writes::Request) -> writes::Outcome {
        writes::step(self, request)
    }
}

/// What the writes are made of.
impl Tree {
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node, or why there is none: the first part of the path that is missing, or that is a file.
    pub(crate) fn find(&self, path: &str) -> Result<&Node, Error> {
        if let Some(node) = self.nodes.get(path) {
            return Ok(node);
        }
        let mut parent = "/";
        for prefix in prefixes(path) {
            match self.nodes.get(prefix) {
                Some(node) if node.is_dir() || prefix == path => parent = prefix,
                Some(_) => return Err(Error::new(Code::NotDir, prefix, self.index)),
                None => return Err(Error::new(Code::KeyNotFound, prefix, self.index)),
            }
        }
        unreachable!("{parent} is the path, and it was not found")
    }

    pub(crate) fn is_read_only(&self, path: &str) -> bool {
        NAMESPACES.contains(&path)
    }

    /// Whether so many bytes more fit.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes).saturating_add(NODE_BYTES) <= TREE_BYTES_MAX
    }

    /// Counts a change, and says which it is.
    pub(crate) fn advance(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    fn place(&mut self, path: Arc<str>, node: Node) {
        self.bytes += node.bytes(&path);
        if let Some(end) = node.ends {
            self.ends.insert((end, path.clone()));
        }
        if let Some(old) = self.nodes.insert(path.clone(), node) {
            self.forget(&path, &old);
        }
    }

    fn forget(&mut self, path: &Arc<str>, old: &Node) {
        self.bytes -= old.bytes(path);
        // The same end may have been set again.
        let still = self.nodes.get(path).and_then(|node| node.ends);
        if let Some(end) = old.ends.filter(|end| still != Some(*end)) {
            self.ends.remove(&(end, path.clone()));
        }
    }

    /// Puts a node in its place, instead of what was there.
    pub(crate) fn put(&mut self, path: &str, node: Node) {
        self.changes.push(row::node_row(path, &node));
        self.place(Arc::from(path), node);
    }

    /// Takes one node out.
    fn take(&mut self, path: &Arc<str>) {
        if let Some(old) = self.nodes.remove(path) {
            self.changes.push(row::no_node_row(path));
            self.forget(path, &old);
        }
    }

    /// Whether a directory has children.
    pub(crate) fn has_children(&self, dir: &str) -> bool {
        let below = below(dir);
        let mut behind = self.nodes.range::<str, _>((Excluded(&*below), Unbounded));
        behind.next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    /// Takes a node out with everything below it; what went, children before their directory.
    pub(crate) fn remove(&mut self, path: &str) -> Vec<Arc<str>> {
        let below = below(path);
        let from = self.nodes.range::<str, _>((Excluded(&*below), Unbounded));
        let inside = from.take_while(|(path, _)| path.starts_with(&below));
        let mut gone: Vec<Arc<str>> = inside.map(|(path, _)| path.clone()).collect();
        // A directory comes before what is in it, and goes after it.
        gone.reverse();
        gone.push(Arc::from(path));
        for path in &gone {
            self.take(path);
        }
        gone
    }

    /// The node whose end comes first, if it has come by `now`.
    pub(crate) fn ended(&self, now: UnixNanos) -> Option<Arc<str>> {
        let (end, path) = self.ends.first()?;
        (*end <= now).then(|| path.clone())
    }

    /// A node without what is in it.
    pub(crate) fn view(&self, path: &str, now: UnixNanos) -> NodeView {
        let (path, node) = self.nodes.get_key_value(path).expect("the caller has found it");
        NodeView {
            key: path.clone(),
            value: match &node.kind {
                Kind::Dir => None,
                Kind::File(value) => Some(value.clone()),
            },
            dir: node.is_dir(),
            ends: node.ends.map(|end| (end, seconds_left(end, now))),
            nodes: Vec::new(),
            modified: node.modified,
            created: node.created,
        }
    }

    fn view_with_children(&self, path: &str, recursive: bool, now: UnixNanos) -> NodeView {
        let mut view = self.view(path, now);
        if view.dir {
            let shown = self.children(path).filter(|child| !is_hidden(child));
            let show = |child: &Arc<str>| match recursive {
                true => self.view_with_children(child, true, now),
                false => self.view(child, now),
            };
            view.nodes = shown.map(show).collect();
        }
        view
    }

    /// The nodes right in a directory, by name.
    fn children(&self, dir: &str) -> impl Iterator<Item = &Arc<str>> {
        let below = below(dir);
        let mut from = Excluded(below.clone());
        std::iter::from_fn(move || {
            loop {
                let mut behind =
                    self.nodes.range::<str, _>((from.as_ref().map(|s| &**s), Unbounded));
                let (path, _) = behind.next().filter(|(path, _)| path.starts_with(&below))?;
                match path[below.len()..].find('/') {
                    None => {
                        from = Excluded(path.to_string());
                        return Some(path);
                    }
                    // Something in a child that was seen: past all of it, since 0 follows the slash.
                    Some(at) => from = Included(format!("{}0", &path[..below.len() + at])),
                }
            }
        })
    }
}

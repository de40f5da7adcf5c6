//! Which name leads to which file, twice: as the running system sees it and as the disk has it.
//!
//! A change of names waits until its directory is synced. Changes that touch the same name depend on
//! each other, as they do in any journal: a rename that survives brings the create it started from.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use super::content::{Choice, Piece};

/// A file or directory, whatever its name.
pub(super) type NodeId = u64;

/// The root directory. Relative paths start here too.
pub(super) const ROOT: NodeId = 0;

/// A name in a directory.
type Name = (NodeId, String);

/// Takes one name away, gives one name a meaning, or both at once.
#[derive(Clone, Debug)]
struct Change {
    unset: Option<Name>,
    set: Option<(Name, NodeId)>,
    /// The operation that made it.
    at: u64,
}

/// The names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    current: BTreeMap<Name, NodeId>,
    durable: BTreeMap<Name, NodeId>,
    pending: Vec<Change>,
    /// The operation under way.
    at: u64,
}

impl Names {
    /// Notes which operation what follows belongs to.
    pub(super) fn during(&mut self, operation: u64) {
        self.at = operation;
    }

    /// The node at `path`, if there is one.
    pub(super) fn find(&self, path: &Path) -> Option<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                node = *self.current.get(&(node, name.to_str()?.to_owned()))?;
            }
        }
        Some(node)
    }

    /// The directory that holds `path` and the name within it.
    pub(super) fn place(&self, path: &Path) -> io::Result<Name> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(crate::parent(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok((dir, name.to_owned()))
    }

    /// The names in a directory, sorted, and where they lead.
    pub(super) fn list(&self, dir: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        let all = self.current.range((dir, String::new())..(dir + 1, String::new()));
        all.map(|((_, name), node)| (name.as_str(), *node))
    }

    /// Every node that has a name.
    pub(super) fn named(&self) -> BTreeSet<NodeId> {
        self.current.values().copied().collect()
    }

    /// Every node that has a name, or may have one after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<NodeId> {
        let pending = self.pending.iter().filter_map(|change| change.set.as_ref());
        let known = self.current.values().chain(self.durable.values()).copied();
        known.chain(pending.map(|(_, node)| *node)).collect()
    }

    /// A name that is durable at once: directories, whose maker syncs the parent in the same step.
    pub(super) fn set_durably(&mut self, name: Name, node: NodeId) {
        self.current.insert(name.clone(), node);
        self.durable.insert(name, node);
    }

    pub(super) fn set(&mut self, name: Name, node: NodeId) {
        self.change(Change { unset: None, set: Some((name, node)), at: self.at });
    }

    pub(super) fn unset(&mut self, name: Name) {
        self.change(Change { unset: Some(name), set: None, at: self.at });
    }

    pub(super) fn rename(&mut self, from: Name, to: Name, node: NodeId) {
        self.change(Change { unset: Some(from), set: Some((to, node)), at: self.at });
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    /// Makes the changes in one directory durable, with those they depend on. A rename between
    /// directories belongs to the one it leads to: who syncs only the other has synced nothing.
    pub(super) fn sync(&mut self, dir: NodeId) {
        let chosen = self.pending.iter().map(|change| change.home() == dir).collect();
        let kept = self.with_what_they_need(chosen);
        let mut kept = kept.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let keep = kept.next().expect("one answer per change");
            if keep {
                apply(durable, change);
            }
            !keep
        });
    }

    /// What the next boot sees if of the changes not yet durable just those survive that `keep` names
    /// by their place in order.
    pub(super) fn after_crash(&self, mut keep: impl FnMut(usize) -> bool) -> Names {
        let chosen = (0..self.pending.len()).map(&mut keep).collect();
        self.found(self.with_what_they_need(chosen))
    }

    /// What the next boot sees if these pieces survive.
    pub(super) fn after_choice(&self, choice: Choice) -> Names {
        let pieces = self.pending.iter().map(Change::piece);
        let kept = match choice {
            Choice::Before(end) => pieces.map(|piece| piece < end).collect(),
            Choice::Only(kept) => {
                self.with_what_they_need(pieces.map(|piece| piece == kept).collect())
            }
            Choice::AllBut(lost) => self.without_what_needs(lost),
        };
        self.found(kept)
    }

    fn found(&self, kept: Vec<bool>) -> Names {
        let mut names = self.durable.clone();
        for (change, _) in self.pending.iter().zip(kept).filter(|(_, keep)| *keep) {
            apply(&mut names, change);
        }
        Names { current: names.clone(), durable: names, ..Names::default() }
    }

    /// How many changes wait for a sync.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The changes that wait for a sync, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.pending.iter().map(Change::piece)
    }

    fn without_what_needs(&self, lost: Piece) -> Vec<bool> {
        let mut gone = BTreeSet::new();
        let kept = self.pending.iter().map(|change| {
            let lost = change.piece() == lost || change.names().any(|name| gone.contains(name));
            if lost {
                gone.extend(change.names());
            }
            !lost
        });
        kept.collect()
    }

    fn with_what_they_need(&self, mut chosen: Vec<bool>) -> Vec<bool> {
        let mut needed = BTreeSet::new();
        for (change, chosen) in self.pending.iter().zip(&mut chosen).rev() {
            *chosen |= change.names().any(|name| needed.contains(name));
            if *chosen {
                needed.extend(change.names());
            }
        }
        chosen
    }
}

impl Change {
    fn piece(&self) -> Piece {
        (self.at, 0)
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        self.unset.iter().chain(self.set.iter().map(|(name, _)| name))
    }

    /// The directory whose sync makes it durable.
    fn home(&self) -> NodeId {
        let set = self.set.as_ref().map(|(name, _)| name);
        set.or(self.unset.as_ref()).map_or(ROOT, |(dir, _)| *dir)
    }
}

fn apply(names: &mut BTreeMap<Name, NodeId>, change: &Change) {
    if let Some(name) = &change.unset {
        names.remove(name);
    }
    if let Some((name, node)) = &change.set {
        names.insert(name.clone(), *node);
    }
}

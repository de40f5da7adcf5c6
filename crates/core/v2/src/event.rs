//! What happened to a node, as clients are told.

use std::sync::Arc;

use crate::UnixNanos;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read.
    Get,
    /// Made; it was not there.
    Create,
    /// Made or replaced.
    Set,
    /// Changed; it was there.
    Update,
    /// Removed.
    Delete,
    /// Changed on a condition.
    CompareAndSwap,
    /// Removed on a condition.
    CompareAndDelete,
    /// Removed because its time was over.
    Expire,
}

impl Action {
    /// As answers say it.
    pub fn name(self) -> &'static str {
        match self {
            Action::Get => "get",
            Action::Create => "create",
            Action::Set => "set",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::CompareAndSwap => "compareAndSwap",
            Action::CompareAndDelete => "compareAndDelete",
            Action::Expire => "expire",
        }
    }
}

/// A node as an answer shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its path in the tree, with its namespace (`/1`) in front.
    pub key: Arc<str>,
    /// A file's value; where it went, `None`.
    pub value: Option<Arc<str>>,
    /// Whether it is a directory.
    pub dir: bool,
    /// When it ends, and the seconds until then, begun ones counted as whole.
    pub ends: Option<(UnixNanos, i64)>,
    /// What is in it, by key, as far as it was asked for.
    pub nodes: Vec<NodeView>,
    /// The index of its last change.
    pub modified: u64,
    /// The index at which it was made.
    pub created: u64,
}

impl NodeView {
    /// What it takes in memory, roughly, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<NodeView>() + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// What happened, or what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// The node afterwards.
    pub node: NodeView,
    /// The node before, if it was there.
    pub previous: Option<NodeView>,
    /// The tree's index as of the event.
    pub index: u64,
    /// Whether only its time to live was lengthened. Nobody who watches is told.
    pub refresh: bool,
}

impl Event {
    /// Whether the answer's status is that something was made.
    pub fn is_creation(&self) -> bool {
        match self.action {
            Action::Create => true,
            Action::Set => self.previous.is_none(),
            _ => false,
        }
    }

    /// What it takes in memory, roughly, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Event>() + self.node.bytes() + self.previous.as_ref().map_or(0, NodeView::bytes)
    }
}

/// Seconds from `now` until `end`, a begun one counted as a whole.
pub(crate) fn seconds_left(end: UnixNanos, now: UnixNanos) -> i64 {
    const NANOS: i64 = 1_000_000_000;
    let left = end.saturating_sub(now);
    left / NANOS + i64::from(0 < left % NANOS)
}

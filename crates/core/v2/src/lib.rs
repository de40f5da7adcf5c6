//! The store behind etcd's API v2: a tree of directories and files, its events, and who waits for them.
//!
//! [`Tree`] is the replicated part. [`Tree::step`] carries out one [`Request`] of the log and returns what the asker is
//! told, which events came of it, and which [`rows`](Change) to keep; the same requests make the same tree on every
//! member. [`Hub`] is each member's own: the last events, and the watchers that wait for the next ones. [`json`] writes
//! answers as etcd 3.4 does.
//!
//! Time is an input: a request brings the clock of the member that proposed it, a read that of the member that reads.
//! A node's end is noted in the tree, and it goes when a request of kind [`Method::Sync`] says that its time has come.
//!
//! Always true: every change has an index of its own, one above the change before; a node has a row, and a row a node.
//!
//! Not here: how requests reach the log (see `member`), HTTP (see `server`).

mod error;
mod event;
mod hub;
pub mod json;
mod path;
mod row;
mod stats;
mod tree;
mod writes;

pub use error::{Code, Error};
pub use event::{Action, Event, NodeView};
pub use hub::{
    HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, Hub, Told, WATCHERS_MAX, WatchAnswer, WatchId,
    WatchRequest,
};
pub use path::{PATH_PARTS_MAX, joined, normal};
pub use row::{BadRow, Change};
pub use stats::Stats;
pub use tree::{Passed, TREE_BYTES_MAX, Tree};
pub use writes::{Method, Outcome, Request};

/// Nanoseconds since 1970 by some member's clock.
pub type UnixNanos = i64;

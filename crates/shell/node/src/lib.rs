//! A member with threads, a disk and a clock.
//!
//! `member` decides and never waits; here are the threads that wait for it:
//!
//! | thread | runs | waits for |
//! |---|---|---|
//! | front | [`member::Front`] | proposals, reads, the log writer, ticks |
//! | log | [`wal::Wal`] | its disk: one write and one sync for all that gathered meanwhile |
//! | engine | [`member::Engine`] | committed entries, watch streams, leases |
//! | store-sync | syncs of the store | its disk |
//! | log-read | entries from the raft log's files, for members that lag | its disk |
//! | history | watchers that are behind | reads of the log |
//! | upkeep | cleaning, hashes, checkpoints | reads and writes of the store |
//!
//! Requests come from the threads that serve connections. Each of them has a *lane*: what it
//! proposes in one turn of its loop travels together, and answers come back to it together.
//!
//! Front, log and engine stand behind locks, and whoever finds the next one idle does its work on the spot
//! instead of waking its thread. Locks are taken in this order: front, log's writer, engine; the log's
//! writer goes on being held when the front is let go.
//!
//! Not here: what a request looks like on the wire (see `server`), what it does (see `apply`).

mod boot;
mod config;
mod door;
mod engine;
mod front;
mod go_dir;
mod handle;
mod history;
mod install;
mod lane;
mod log;
mod peers;
mod readers;
mod repair;
mod report;
mod scrub;
mod shared;
mod start;
mod timed;
mod upkeep;
mod v2;

/// A product with planted bugs does not compile.
const _: () = assert!(!planted::COMPILED_IN);

pub use config::{Config, HASHED_BYTES_MAX};
pub use handle::{KeepAliveAnswer, LeaseLeft, Node, WatchStream};
pub use lane::SERVING_THREADS_MAX;
pub use member::BootError;
pub use peers::{Overloaded, Peers, SnapshotBody, SnapshotChunks, alone};
pub use readers::{Held, Reader, Readers};
pub use repair::Repairing;
pub use report::{Event, Level, Line, Report, SlowCall};
pub use shared::{ClusterView, Figures, HashSource};
pub use start::{Opened, Running, open, start};
pub use v2::{V2Watch, unix_nanos};

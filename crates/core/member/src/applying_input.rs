//! What reaches the half of a member that applies. The front asks for most of it, so it stands apart from both.

use consensus::{Message, Standing};
use mvcc::HashTriple;
use store::{CheckpointDone, Cleaning, StoreError, Synced};
use types::Entry;

use crate::boot_error::BootError;
use crate::engine::Stored;
use crate::install::InstallDone;

/// Everything that can happen to the applying half.
#[derive(Debug)]
pub enum Input {
    /// Entries are committed.
    Apply(Vec<Entry>),
    /// Term, leader or role changed.
    Standing(Standing),
    /// Something happened to a watch stream.
    Watch(watch::Input),
    /// Goes on with this snapshot, whose file is there and whose marker is synced.
    Install(Stored),
    /// A long step of that has ended.
    InstallStep(Result<InstallDone, BootError>),
    /// More of what was kept back may be done now.
    GoOn,
    /// Raft wants to send a snapshot: the applied state, whatever entry raft had in mind.
    SendSnapshot(Box<Message>),
    /// Somebody wants the applied state.
    Snapshot {
        /// By which it is told.
        ticket: u64,
    },
    /// The store is to be synced.
    SyncStore,
    /// A sync has run.
    Synced {
        /// What came of it.
        done: Result<Synced, StoreError>,
        /// What it has made durable.
        stored: Stored,
    },
    /// A compaction's hash is known, or could not be computed.
    Hashed(Option<HashTriple>),
    /// A round of cleaning has ended.
    Cleaned {
        /// The round.
        cleaning: Box<Cleaning>,
        /// Whether it ended well.
        succeeded: bool,
    },
    /// A checkpoint has ended.
    Checkpointed(Result<CheckpointDone, StoreError>),
    /// The store is to be cleaned completely.
    Defragment,
    /// Time passed; every 100 ms or so.
    Ticked,
}

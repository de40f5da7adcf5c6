//! The raft log on disk, in etcd's own format, byte for byte (`docs/etcd/wal-and-snap.md` 2).
//!
//! A log is a directory of segments. Each begins with the running checksum, the member's metadata and
//! the newest hard state; then follow entries, hard states and snapshot markers in the order they were
//! written. A later entry with the same index replaces the earlier and drops all behind it. The same
//! code reads the log of a Go member that we take over and writes one that a Go member accepts.
//!
//! Always true:
//! - what was synced is read back, in order, whatever a power cut did to what was not;
//! - only the end of the last segment may be torn; any other damage is refused with file and offset;
//! - a segment gets its name only when its beginning is on the disk and all behind it reads as zeros,
//!   so what a recycled file held before is never taken for log;
//! - after any error the log does nothing more: the process must stop, because nobody knows any longer
//!   what is on the disk.
//!
//! From small to large: `wire` (messages), `frame` (records and their frames), `segment` (one file),
//! `replay` (all files, and what their records mean), `open` and `repair` (start-up), `spare` (the
//! next segment), `writer` (appending), `reading` (entries back from the files).

mod error;
mod frame;
mod name;
mod open;
mod reading;
mod repair;
mod replay;
mod segment;
mod spare;
mod wire;
mod writer;

use std::path::PathBuf;

use bytes::Bytes;
use types::{ConfState, Entry, HardState};

pub use error::{CreateError, Damage, OpenError, WriteError};
pub use reading::LogReading;
pub use spare::{Preparation, Prepared};
pub use writer::Wal;

/// A snapshot as the log knows it (`walpb.Snapshot`): reading may begin behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// The last entry the snapshot covers; 0 for the beginning of time.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The configuration at that entry. Members older than 3.5 leave it out.
    pub conf_state: Option<ConfState>,
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The member's own bytes, the same in every segment.
    pub metadata: Bytes,
    /// The newest hard state. Its commit may lag behind what was applied.
    pub hard_state: HardState,
    /// The entries after the start marker, without gaps.
    pub entries: Vec<Entry>,
    /// The markers in the segments read that the hard state's commit has reached, in log order.
    pub markers: Vec<Marker>,
    /// What had to be cut off.
    pub repaired: Option<Repair>,
}

/// A torn end that was cut off. Nothing in it had been synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub file: PathBuf,
    /// Where its last whole record ends.
    pub offset: u64,
    /// The copy that was made of it before.
    pub copy: PathBuf,
}

/// Sizes, so that a test can have small segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size at which a segment is full. The group that reaches it still goes in whole.
    pub segment_bytes: u64,
    /// How many bytes are zeroed at a time ahead of the write position.
    pub tail_step_bytes: u64,
    /// How far [`Wal::prepare_next`] keeps the last segment zeroed ahead of the write position.
    pub tail_ahead_bytes: u64,
    /// How many bytes of the next segment one preparation zeroes and syncs.
    pub spare_step_bytes: u64,
    /// Whether whoever wrote the log wrote a commit index only for entries that it had synced before, as
    /// [`Wal::durable_index`] tells: a member of ours does, etcd does not. Then a record that cannot be read, with a
    /// commit index behind it that it was needed for, is rot and no torn write, and opening refuses it.
    pub commits_are_durable: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            // etcd's are four times as long, which a log that forgets after 16 MiB has no use for.
            segment_bytes: 16_000_000,
            tail_step_bytes: 1 << 20,
            tail_ahead_bytes: 8 << 20,
            spare_step_bytes: 1 << 20,
            commits_are_durable: false,
        }
    }
}

//! The writer's side: append, flush, and the quick halves of everything slow.

use std::path::Path;
use std::sync::Arc;

use types::{Revision, Row};
use vfs::Disk;

use crate::{
    Batch, CheckpointDone, CheckpointWriter, CleanProgress, Cleaning, LogView, OpenError, Restored,
    RowMetas, State, StoreError, SyncHandle, Synced,
};

/// The bounds a store keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size in bytes at which a segment is sealed.
    pub segment_bytes: u64,
    /// A segment is rewritten when less than this share of its bytes lives, in percent.
    pub clean_live_percent: u64,
    /// Garbage below this many bytes is not worth a rewrite.
    pub clean_garbage_bytes_min: u64,
    /// What [`Store::append`] may gather before it writes by itself, in bytes.
    pub tail_bytes_max: usize,
    /// Newest rows kept in memory for the writer's own reads, in bytes.
    pub recent_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            clean_live_percent: 50,
            clean_garbage_bytes_min: 1 << 20,
            tail_bytes_max: 8 << 20,
            recent_bytes_max: 4 << 20,
        }
    }
}

/// What the store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All files together, in bytes.
    pub file_bytes: u64,
    /// What of it is alive, in bytes: what would remain after [`Store::clean_all`], roughly.
    pub live_bytes: u64,
}

/// The log's one writer.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the store in `dir`, or makes a new one where there is none. A torn tail that was never
    /// confirmed as synced is cut; leftovers of a crash are removed; everything found is made durable.
    ///
    /// # Errors
    /// [`OpenError`] names the file, and the place in it, that cannot be read or trusted.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _dir: &Path,
        _options: Options,
    ) -> Result<(Store, Restored), OpenError> {
        todo!()
    }

    /// Takes a batch: visible to [`Store::read`] and [`Store::state`] at once, to views after the next
    /// flush, after a crash once it was synced. Writes to the file only when more than
    /// `Options::tail_bytes_max` have gathered; an error of that write comes with the next flush.
    pub fn append(&mut self, _batch: &Batch) {
        todo!()
    }

    /// Writes what was appended to the file: one write, no sync. A full segment is sealed and the next begun.
    ///
    /// # Errors
    /// When the disk refuses, a full one included. The store takes nothing more after that.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        todo!()
    }

    /// A handle that makes everything flushed so far durable. Hand its answer to [`Store::synced`].
    pub fn sync_handle(&mut self) -> SyncHandle {
        todo!()
    }

    /// Takes note of what a [`SyncHandle`] did.
    pub fn synced(&mut self, _done: Synced) {
        todo!()
    }

    /// The last entry appended.
    pub fn applied_index(&self) -> u64 {
        todo!()
    }

    /// The last entry that is known to be durable: the raft log must be kept after it.
    pub fn synced_index(&self) -> u64 {
        todo!()
    }

    /// The flushed log as it is now. Two reference counts.
    pub fn view(&self) -> LogView {
        todo!()
    }

    /// The row at `revision`, appended or flushed.
    ///
    /// # Errors
    /// `Missing`, or what the disk did.
    pub fn read(&self, _revision: Revision) -> Result<Row, StoreError> {
        todo!()
    }

    /// Many rows, in the order asked for.
    ///
    /// # Errors
    /// As [`Store::read`], for the first that fails.
    pub fn read_many(&self, _revisions: &[Revision]) -> Result<Vec<Row>, StoreError> {
        todo!()
    }

    /// The small state after the last batch appended. Clone it for a snapshot.
    pub fn state(&self) -> &State {
        todo!()
    }

    /// The keys of all rows after `revision`, for building an index at start: after a checkpoint's
    /// revision, or after 0 for all.
    pub fn rows_after(&self, _revision: i64) -> RowMetas {
        todo!()
    }

    /// Notes that nobody needs these rows any more: `mvcc` says so after a compaction. Rows that are not
    /// there are passed over. A tombstone must be marked together with, or after, all earlier rows of its key.
    /// The marks need not survive a restart; the compaction is then to be repeated.
    pub fn mark_dead(&mut self, _revisions: &[Revision]) {
        todo!()
    }

    /// Begins a round of cleaning if one is worth while: flushes, chooses the sparsest segments, and returns
    /// an object that does the work on any thread. `None` as well while a round is under way.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn begin_clean(&mut self) -> Result<Option<Cleaning>, StoreError> {
        todo!()
    }

    /// As [`Store::begin_clean`], for `Defragment`: any garbage is worth while, and the active segment is
    /// sealed first. Repeat until `None`.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn begin_clean_all(&mut self) -> Result<Option<Cleaning>, StoreError> {
        todo!()
    }

    /// Puts the new segment in the place of the old ones. Quick.
    pub fn finish_clean(&mut self, _cleaning: Cleaning) {
        todo!()
    }

    /// Gives a round up after its step failed.
    pub fn abandon_clean(&mut self, _cleaning: Cleaning) {
        todo!()
    }

    /// Cleaning driven by the writer itself: one step of a round, begun and finished as needed. It syncs
    /// where a round does; a server uses [`Store::begin_clean`] on a thread of its own.
    ///
    /// # Errors
    /// As [`Cleaning::step`].
    pub fn clean_step(&mut self, _budget_bytes: usize) -> Result<CleanProgress, StoreError> {
        todo!()
    }

    /// Cleans all there is to clean, now.
    ///
    /// # Errors
    /// As [`Cleaning::step`].
    pub fn clean_all(&mut self) -> Result<(), StoreError> {
        todo!()
    }

    /// Begins a checkpoint of an index that covers everything appended so far, up to `revision`. Flushes.
    ///
    /// # Errors
    /// When the flush fails or the file cannot be made.
    pub fn begin_checkpoint(&mut self, _revision: i64) -> Result<CheckpointWriter, StoreError> {
        todo!()
    }

    /// Takes note of a checkpoint that is in place. Quick.
    pub fn finish_checkpoint(&mut self, _done: CheckpointDone) {
        todo!()
    }

    /// What the store takes on disk. Cheap.
    pub fn sizes(&self) -> Sizes {
        todo!()
    }
}

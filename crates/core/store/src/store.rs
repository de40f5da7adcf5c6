//! The writer's side: append, flush, and the quick halves of everything slow.
//!
//! Circle: files that work on the whole store (`open`, `clean`, `bury`, `scrub`) are blocks of its methods.

use std::path::Path;
use std::sync::{Arc, Weak};

use types::{Revision, Row};
use vfs::Disk;

use crate::active::{Active, LogBegin};
use crate::batch::Piece;
use crate::ends::Applied;
use crate::recent::Recent;
use crate::scrub::Scrubbing;
use crate::sealed::{Sealed, order};
use crate::segment::{Extent, Segment};
use crate::shared::Shared;
use crate::sync::{Position, Unsynced};
use crate::sync_handle::{WRITE_OUT_BYTES, WriteOut};
use crate::{
    Batch, CheckpointDone, CheckpointWriter, Cleaning, Damage, LogView, OpenError, Restored,
    RowMetas, State, StoreError, SyncHandle, Synced,
};

/// The bounds a store keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size in bytes at which a segment is sealed, as long as the store is not large. At most 1 GiB.
    pub segment_bytes: u64,
    /// A segment is rewritten when less than this share of its bytes lives, in percent.
    pub clean_live_percent: u64,
    /// Garbage below this many bytes is not worth a rewrite.
    pub clean_garbage_bytes_min: u64,
    /// What a rewrite leaves free on the disk, in bytes: the logs need it.
    pub clean_spare_bytes: u64,
    /// What the store may take, in bytes; `None` for no bound. It does not keep to it by itself, but cleans the more
    /// eagerly the nearer it comes.
    pub quota_bytes: Option<u64>,
    /// What [`Store::append`] may gather before it writes by itself, in bytes.
    pub tail_bytes_max: usize,
    /// The longest frame, in bytes: a batch that takes more goes into several. Only a row may be longer.
    pub frame_bytes_max: usize,
    /// Newest rows kept in memory for the writer's own reads, in bytes.
    pub recent_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            clean_live_percent: 50,
            clean_garbage_bytes_min: 1 << 20,
            clean_spare_bytes: 16 << 20,
            quota_bytes: None,
            tail_bytes_max: 8 << 20,
            frame_bytes_max: 4 << 20,
            recent_bytes_max: 4 << 20,
        }
    }
}

/// A large store has about so many segments.
const SEGMENTS: u64 = 512;
/// The largest size at which a segment is sealed, in bytes: offsets in it have 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The part of a disk that is kept for what makes room: one in so many bytes, but at least and at most so much, and
/// never more than one in so many bytes of a small one.
const RESERVE_SHARE: u64 = 100;
const RESERVE_BYTES_MIN: u64 = 64 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;
const RESERVE_SHARE_MIN: u64 = 8;

/// What the store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All files together, in bytes, with those that were replaced and removed but are still read.
    pub file_bytes: u64,
    /// What of it are files that were replaced and removed: a view of a reader holds them, and they go with it.
    pub held_bytes: u64,
    /// What of it is alive, in bytes: what would remain after [`Store::clean_all`], roughly.
    pub live_bytes: u64,
}

impl Sizes {
    /// What the store takes by itself, without what readers hold: what a quota is compared with, and what is shown.
    /// What is held goes by itself when the readers do.
    pub fn own_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.held_bytes)
    }
}

/// The lengths of the files that are no segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OtherFiles {
    pub(crate) manifest: u64,
    pub(crate) synced: u64,
    pub(crate) state: u64,
    pub(crate) marks: u64,
    pub(crate) index: u64,
}

/// The log's one writer.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    /// Sealed segments, in revision order.
    pub(crate) sealed: Vec<Sealed>,
    /// The rows of `sealed`, as views share them.
    pub(crate) extents: Arc<Vec<Extent>>,
    pub(crate) active: Active,
    pub(crate) recent: Recent,
    pub(crate) state: State,
    /// The last entry appended, whether it changed anything or not.
    pub(crate) applied: Applied,
    /// The last entry that has a frame, and the last whose frame is in the file.
    pub(crate) framed: Applied,
    pub(crate) flushed: Applied,
    pub(crate) synced: Synced,
    /// How far the log was handed to the disk, see [`Store::write_out`].
    pub(crate) written_out: Position,
    /// Sealed log files that may not be durable yet.
    pub(crate) unsynced: Vec<Unsynced>,
    /// Whether a log file was begun since the directory was known to be durable.
    pub(crate) dir_changed: bool,
    pub(crate) failure: Failure,
    /// State changes before this are in the file of state.
    pub(crate) dumped: Position,
    /// Whether a [`Cleaning`] is under way somewhere.
    pub(crate) cleaning: bool,
    /// The one that [`Store::clean_step`] drives.
    pub(crate) own_cleaning: Option<Cleaning>,
    pub(crate) other_files: OtherFiles,
    /// How often marks were taken to be buried, and which of those are in place.
    pub(crate) marks_taken: u64,
    pub(crate) marks_in_place: u64,
    /// Files that were replaced, as long as somebody has them open.
    pub(crate) held: Vec<HeldFile>,
    /// Rows appended since the store was opened.
    pub(crate) rows_appended: u64,
    pub(crate) scrubbing: Scrubbing,
    /// Of `sealed`, so that [`Store::sizes`] need not add them up.
    pub(crate) sealed_sizes: Sizes,
}

/// A file that was replaced and removed. Its bytes are the disk's until nobody has it open any more.
#[derive(Debug)]
pub(crate) struct HeldFile {
    segment: Weak<Segment>,
    file_bytes: u64,
}

impl HeldFile {
    pub(crate) fn of(sealed: &Sealed) -> HeldFile {
        HeldFile { segment: Arc::downgrade(&sealed.segment), file_bytes: sealed.file_bytes }
    }

    /// What it still takes.
    pub(crate) fn bytes(&self) -> u64 {
        if self.segment.strong_count() == 0 { 0 } else { self.file_bytes }
    }
}

/// A failed write, after which nothing more is taken.
#[derive(Debug, Default)]
pub(crate) enum Failure {
    #[default]
    None,
    /// To be told with the next flush.
    Untold(StoreError),
    /// What could not be done, and with which file.
    Told { action: &'static str, file: String },
}

impl Store {
    /// Opens the store in `dir`, or makes a new one where there is none. A torn tail that was never
    /// confirmed as synced is cut; leftovers of a crash are removed; everything found is made durable.
    ///
    /// # Errors
    /// [`OpenError`] names the file, and the place in it, that cannot be read or trusted.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Store, Restored), OpenError> {
        assert!(options.segment_bytes <= SEGMENT_BYTES_MAX, "offsets in a segment have 32 bits");
        crate::open::open(disk, dir, options)
    }

    /// Takes a batch: visible to [`Store::read`] and [`Store::state`] at once, to views after the next
    /// flush, after a crash once it was synced. Writes to the file only when more than
    /// `Options::tail_bytes_max` have gathered; an error of that write comes with the next flush. After a
    /// failed flush nothing is taken.
    ///
    /// A batch that changes nothing takes no place: its index is remembered, and goes to the file with the next
    /// batch that does, or with the next [`Store::sync_handle`]. If a crash comes first, its entry is applied
    /// once more, and changes nothing again.
    ///
    /// # Panics
    /// When the index or the revisions do not come after those before.
    pub fn append(&mut self, batch: &Batch) {
        if !matches!(self.failure, Failure::None) {
            return;
        }
        assert!(self.applied.index <= batch.index, "entries are applied in order");
        self.applied = Applied { index: batch.index, term: batch.term };
        if batch.rows.is_empty() && batch.state.is_empty() {
            return;
        }
        if let Some(first) = batch.rows.first() {
            let last = self.last_revision();
            assert!(last.is_none_or(|last| last < first.revision), "revisions only grow");
        }
        for piece in batch.pieces(self.options.frame_bytes_max) {
            self.put(piece);
            if self.active.tail_bytes() > self.options.tail_bytes_max
                && let Err(error) = self.write_tail()
            {
                self.failure = Failure::Untold(error);
                return;
            }
        }
    }

    fn put(&mut self, piece: Piece<'_>) {
        self.active.append(piece, self.applied, &mut self.framed);
        self.rows_appended += piece.rows.len() as u64;
        for row in piece.rows {
            self.recent.push(row);
        }
        for change in piece.state {
            self.state.apply(change);
        }
    }

    /// Writes what was appended to the file: one write, no sync. A full segment is sealed and the next begun.
    ///
    /// # Errors
    /// When the disk refuses, a full one included, or has refused a sync. The store takes nothing more after
    /// that.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.shared.dir.check_going_on()?;
        match std::mem::take(&mut self.failure) {
            Failure::None => {
                let done = self.write_tail();
                done.map_err(|error| self.fail(error))
            }
            Failure::Untold(error) => Err(self.fail(error)),
            Failure::Told { action, file } => {
                self.failure = Failure::Told { action, file: file.clone() };
                Err(StoreError::Stopped { action, file })
            }
        }
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        let (action, file) = match &error {
            StoreError::Io { action, file, .. } => (*action, file.clone()),
            _ => ("write", self.active.segment.file.name().to_owned()),
        };
        self.failure = Failure::Told { action, file };
        error
    }

    fn write_tail(&mut self) -> Result<(), StoreError> {
        self.active.flush()?;
        self.flushed = self.framed;
        self.recent.flushed(self.options.recent_bytes_max);
        if self.active.end() >= self.segment_bytes() { self.roll() } else { Ok(()) }
    }

    /// The size at which a segment is sealed. It grows with the store, so that the number of files, each of them open,
    /// does not: a store of 100 GB has some 500.
    pub(crate) fn segment_bytes(&self) -> u64 {
        let usual = self.options.segment_bytes;
        (self.sealed_sizes.file_bytes / SEGMENTS).clamp(usual, usual.max(SEGMENT_BYTES_MAX))
    }

    /// Seals the active segment and begins the next. Nothing may be left to flush.
    pub(crate) fn roll(&mut self) -> Result<(), StoreError> {
        let Active { log, is_open, chain, .. } = self.active;
        let begin = LogBegin { log: log + 1, applied: self.framed, is_open, chain };
        let next = Active::create(&self.shared.dir, begin)?;
        let former = std::mem::replace(&mut self.active, next);
        let (sealed, unsynced) = former.seal(self.framed);
        self.unsynced.push(unsynced);
        self.dir_changed = true;
        if let Some(extent) = &sealed.extent {
            Arc::make_mut(&mut self.extents).push(extent.clone());
        }
        self.sealed.push(sealed);
        self.sealed_changed();
        Ok(())
    }

    /// To be called after `sealed` or its marks changed.
    pub(crate) fn sealed_changed(&mut self) {
        order(&mut self.sealed);
        self.sealed_sizes = Sizes {
            file_bytes: self.sealed.iter().map(|sealed| sealed.file_bytes).sum(),
            held_bytes: 0,
            live_bytes: self.sealed.iter().map(Sealed::live_bytes).sum(),
        };
    }

    /// Flushes, and returns a handle that makes everything appended so far durable. Hand its answer to
    /// [`Store::synced`].
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn sync_handle(&mut self) -> Result<SyncHandle, StoreError> {
        if self.framed != self.applied && matches!(self.failure, Failure::None) {
            self.put(Piece { rows: &[], state: &[], is_open: false });
        }
        self.flush()?;
        Ok(self.flushed_handle())
    }

    /// A handle that makes everything durable that is in the file.
    pub(crate) fn flushed_handle(&mut self) -> SyncHandle {
        let position = Position { log: self.active.log, offset: self.active.end() };
        let mut files = self.unsynced.clone();
        let (log, file) = (self.active.log, self.active.segment.file.clone());
        files.push(Unsynced { log, file, footer: None });
        SyncHandle {
            files,
            dir_changed: self.dir_changed,
            target: Synced { index: self.flushed.index, position, life: self.shared.life },
            shared: self.shared.clone(),
        }
    }

    /// What of the log is worth writing out before its sync; nothing most of the time.
    pub fn write_out(&mut self) -> Option<WriteOut> {
        let end = Position { log: self.active.log, offset: self.active.end() };
        if self.written_out.log != end.log {
            self.written_out = Position { log: end.log, offset: 0 };
        }
        if end.offset < self.written_out.offset + WRITE_OUT_BYTES {
            return None;
        }
        self.written_out = end;
        Some(WriteOut { file: self.active.segment.file.clone(), shared: self.shared.clone() })
    }

    /// Takes note of what a [`SyncHandle`] did. What another store's did is none of this one's business.
    pub fn synced(&mut self, done: Synced) {
        if done.life == self.shared.life && self.synced.position <= done.position {
            self.synced = done;
            self.unsynced.retain(|unsynced| done.position.log <= unsynced.log);
            self.dir_changed &= done.position.log < self.active.log;
        }
    }

    /// The last entry appended.
    pub fn applied_index(&self) -> u64 {
        self.applied.index
    }

    /// How many rows were appended since the store was opened: so many a restart without an image has to read more.
    pub fn rows_appended(&self) -> u64 {
        self.rows_appended
    }

    /// The last entry that is known to be durable: the raft log must be kept after it.
    pub fn synced_index(&self) -> u64 {
        self.synced.index
    }

    /// The newest row appended, if there is any.
    fn last_revision(&self) -> Option<Revision> {
        let last = self.active.last;
        last.or_else(|| Some(self.extents.last()?.last))
    }

    /// The flushed log as it is now. A few reference counts.
    pub fn view(&self) -> LogView {
        LogView { sealed: self.extents.clone(), active: self.active.extent.clone() }
    }

    /// The row at `revision`, appended or flushed.
    ///
    /// # Errors
    /// `Missing`, or what the disk did.
    pub fn read(&self, revision: Revision) -> Result<Row, StoreError> {
        match self.recent.get(revision) {
            Some(row) => Ok(row.clone()),
            None => self.view().read(revision),
        }
    }

    /// Many rows, in the order asked for.
    ///
    /// # Errors
    /// As [`Store::read`], for the first that fails.
    pub fn read_many(&self, revisions: &[Revision]) -> Result<Vec<Row>, StoreError> {
        let (mut rows, mut older) = (Vec::with_capacity(revisions.len()), Vec::new());
        for revision in revisions {
            let found = self.recent.get(*revision).cloned();
            if found.is_none() {
                older.push(*revision);
            }
            rows.push(found);
        }
        let mut older = self.view().read_many(&older)?.into_iter();
        let filled = rows.into_iter().map(|row| row.or_else(|| older.next()));
        Ok(filled.map(|row| row.expect("each gap was read")).collect())
    }

    /// The small state after the last batch appended. Clone it for a snapshot.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The keys of all rows after `revision`, for building an index at start: after a checkpoint's
    /// revision, or after 0 for all. What was not flushed is left out.
    pub fn rows_after(&self, revision: i64) -> RowMetas {
        self.view().rows_after(revision)
    }

    /// Notes that nobody needs these rows any more: `mvcc` says so after a compaction. Rows that are not
    /// there are passed over. A tombstone must be marked together with, or after, all earlier rows of its key.
    /// The marks need not survive a restart; the compaction is then to be repeated.
    pub fn mark_dead(&mut self, revisions: &[Revision]) {
        for revision in revisions {
            let place = self.sealed.partition_point(|sealed| sealed.last < *revision);
            let Some(sealed) = self.sealed.get_mut(place) else {
                self.active.mark_dead(*revision);
                continue;
            };
            if let Some(extent) = &sealed.extent
                && let Some(position) = extent.segment.table.find(*revision, extent.rows)
            {
                sealed.dead.mark(extent, position);
            }
        }
        self.sealed_changed();
    }

    /// Begins a checkpoint of an index that covers everything appended so far, up to `revision`. Flushes.
    ///
    /// # Errors
    /// When the flush fails or the file cannot be made.
    pub fn begin_checkpoint(&mut self, revision: i64) -> Result<CheckpointWriter, StoreError> {
        self.flush()?;
        let sync = self.flushed_handle();
        let marks = if self.cleaning { Err(self.next_taken()) } else { Ok(self.marks(0..0)) };
        CheckpointWriter::begin(sync, marks, revision)
    }

    /// Takes note of a checkpoint that is in place; another store's is passed over. Quick.
    pub fn finish_checkpoint(&mut self, done: CheckpointDone) {
        if done.synced.life != self.shared.life {
            return;
        }
        self.synced(done.synced);
        if let Some(marks) = &done.marks {
            self.buried(marks);
        }
        self.other_files.index = done.file_bytes;
    }

    /// What could not be read so far, the first of each file.
    pub fn damages(&self) -> Vec<Damage> {
        let sealed = self.sealed.iter().map(|sealed| &sealed.segment);
        let segments = sealed.chain([&self.active.segment]);
        segments.filter_map(|segment| segment.damage().cloned()).collect()
    }

    /// Whether the disk has so little room left that only what makes room should still be written: the last of it
    /// belongs to cleaning, deletions and the logs.
    pub fn lacks_room(&self) -> bool {
        self.shared.dir.space().is_some_and(|space| {
            let reserve = (space.total_bytes / RESERVE_SHARE).max(RESERVE_BYTES_MIN);
            let reserve = reserve.min(RESERVE_BYTES_MAX).min(space.total_bytes / RESERVE_SHARE_MIN);
            space.available_bytes < reserve
        })
    }

    /// What the store takes on disk. Cheap.
    pub fn sizes(&self) -> Sizes {
        let other = &self.other_files;
        let other = other.manifest + other.synced + other.state + other.marks + other.index;
        let held_bytes = self.held.iter().map(HeldFile::bytes).sum();
        let file_bytes = self.sealed_sizes.file_bytes + self.active.end() + other + held_bytes;
        let live_bytes =
            self.sealed_sizes.live_bytes + self.active.live_bytes() + self.state.bytes();
        Sizes { file_bytes, held_bytes, live_bytes: live_bytes.min(file_bytes) }
    }
}

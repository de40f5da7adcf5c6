//! Appending to a log.
//!
//! A group is encoded into one buffer and written with one call, into space that already holds zeros;
//! syncing is the caller's second step, so that whoever waits meanwhile joins the next group. A segment
//! that is full is cut: its successor is begun in a spare file, synced, and only then named.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use planted::planted;
use types::{Entry, HardState};
use vfs::{Disk, File, Lock, replace_durably};

use crate::error::WriteError;
use crate::frame::{RecordKind, put_record};
use crate::name::SegmentName;
use crate::reading::{LogReading, Place, Places};
use crate::spare::{Preparation, Prepared, SPARE_NAME, Spare};
use crate::{Marker, Options, wire};

/// A group's buffer is kept for the next one unless it grew beyond this.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// A log open for appending. One thread owns it.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    metadata: Bytes,
    hard_state: HardState,
    segments: VecDeque<SegmentName>,
    tail: Tail,
    /// Runs over the data of all records so far.
    checksum: u32,
    /// The last entry's index, or the last marker's if that is higher.
    last_index: u64,
    /// Where entries begin.
    places: Places,
    /// Markers that are not known to be durable and committed.
    open_markers: BTreeSet<u64>,
    /// The newest one that is: nothing behind it may be released.
    settled_marker: u64,
    spare: Spare,
    /// Frames of the group that is being written.
    buffer: Vec<u8>,
    /// A message that is being encoded.
    scratch: Vec<u8>,
    synced: bool,
    /// The last entry of what was synced, as far as nothing written since replaces it.
    durable_index: u64,
    ended: bool,
    bytes_written: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Tail {
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    /// Held while this segment is the last.
    pub _lock: Box<dyn Lock>,
    /// Where the next record goes.
    pub position: u64,
    /// How far the file reaches: zeros from `position` on.
    pub zeroed_to: u64,
}

/// What a log needs to go on.
pub(crate) struct Start {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub options: Options,
    pub metadata: Bytes,
    pub hard_state: HardState,
    pub segments: Vec<SegmentName>,
    pub tail: Tail,
    pub checksum: u32,
    pub last_index: u64,
    pub places: Places,
    pub markers: Vec<u64>,
    pub spare: Spare,
}

impl Wal {
    pub(crate) fn start(start: Start) -> Wal {
        let mut wal = Wal {
            disk: start.disk,
            dir: start.dir,
            options: start.options,
            metadata: start.metadata,
            hard_state: start.hard_state,
            segments: start.segments.into(),
            tail: start.tail,
            checksum: start.checksum,
            last_index: start.last_index,
            places: start.places,
            open_markers: start.markers.into_iter().collect(),
            settled_marker: 0,
            spare: start.spare,
            buffer: Vec::new(),
            scratch: Vec::new(),
            synced: true,
            durable_index: start.last_index,
            ended: false,
            bytes_written: 0,
        };
        wal.settle_markers();
        wal
    }

    /// Appends entries, then the hard state, as one write. Not durable before [`Wal::sync`], unless the
    /// segment became full. An entry replaces an earlier one with its index and drops all behind that.
    ///
    /// # Errors
    /// [`WriteError`]; the log has ended.
    pub fn append(
        &mut self,
        hard_state: Option<&HardState>,
        entries: &[Entry],
    ) -> Result<(), WriteError> {
        self.check_going_on()?;
        for entry in entries {
            self.put_entry(entry);
        }
        if let Some(state) = hard_state {
            assert!(state.term >= self.hard_state.term, "a member's term never goes back");
            self.hard_state = *state;
            self.put_hard_state();
        }
        self.write_buffer()?;
        if self.tail.position < self.options.segment_bytes { Ok(()) } else { self.cut() }
    }

    /// Appends the marker of a snapshot that is itself already durable.
    ///
    /// # Errors
    /// [`WriteError`]; the log has ended.
    pub fn append_marker(&mut self, marker: &Marker) -> Result<(), WriteError> {
        self.check_going_on()?;
        self.scratch.clear();
        wire::put_marker(&mut self.scratch, marker);
        self.put_scratch(RecordKind::Marker);
        self.last_index = self.last_index.max(marker.index);
        self.open_markers.insert(marker.index);
        self.write_buffer()
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`WriteError`]; the log has ended.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.check_going_on()?;
        if !self.synced {
            let synced = self.tail.file.sync_data();
            self.or_end(synced, |tail, source| WriteError::Sync {
                file: tail.path.clone(),
                offset: tail.position,
                source,
            })?;
            self.all_is_synced();
        }
        Ok(())
    }

    fn all_is_synced(&mut self) {
        self.synced = true;
        self.durable_index = self.last_index;
        self.settle_markers();
    }

    /// The last entry that is known to be durable. Whoever writes a commit index no higher than this was when the
    /// group's first entry was not yet written may later read the log with [`Options::commits_are_durable`].
    pub fn durable_index(&self) -> u64 {
        self.durable_index
    }

    /// Lets go of segments that nobody needs who reads from a snapshot at `index` on, oldest first, as
    /// long as more than `keep_files` are left. Never goes beyond the newest marker that is durable and
    /// committed. The segment that holds `index` and the one before it stay, as in etcd. The first let
    /// go becomes the spare.
    ///
    /// # Errors
    /// [`WriteError`]; the log has ended.
    pub fn release_to(&mut self, index: u64, keep_files: usize) -> Result<(), WriteError> {
        self.check_going_on()?;
        let index = index.min(self.settled_marker);
        let above = self.segments.iter().position(|name| name.index >= index);
        let needed = above.unwrap_or(self.segments.len()).saturating_sub(1);
        let surplus = self.segments.len().saturating_sub(keep_files.max(1));
        for _ in 0..needed.min(surplus) {
            let name = self.segments.pop_front().expect("there are more than are kept");
            let file = self.dir.join(name.to_string());
            self.places.forget(name);
            let released = self.release(&file);
            self.or_end(released, |_, source| WriteError::Release { file, source })?;
        }
        Ok(())
    }

    /// Does one bounded step of what appending would otherwise wait for: zeroes space ahead in the last
    /// segment, or makes a piece of the next one ready. Says whether there is more to do.
    ///
    /// # Errors
    /// [`WriteError::Prepare`]; the log can go on.
    pub fn prepare_next(&mut self) -> Result<bool, WriteError> {
        self.check_going_on()?;
        let wanted = self.tail.position + self.options.tail_ahead_bytes;
        if self.tail.zeroed_to < wanted.min(self.options.segment_bytes) {
            self.zero_ahead().map_err(|source| WriteError::Prepare {
                file: self.tail.path.clone(),
                offset: self.tail.zeroed_to,
                source,
            })?;
            return Ok(true);
        }
        match self.preparation() {
            Some(preparation) => self.prepared(preparation.run()).map(|()| true),
            None => Ok(false),
        }
    }

    /// The next step on the spare, for another thread to run; `None` while one is away or nothing is
    /// to do. Work begins when the last segment is half full: an idle member writes no zeros.
    pub fn preparation(&mut self) -> Option<Preparation> {
        let idle = self.tail.position < self.options.segment_bytes / 2;
        let ready = match &self.spare {
            Spare::Away => true,
            Spare::None => false,
            Spare::Here(spare) => spare.zeroed_to >= self.options.segment_bytes,
        };
        if idle || ready || self.ended {
            return None;
        }
        let file = match std::mem::replace(&mut self.spare, Spare::Away) {
            Spare::Here(file) => Some(file),
            Spare::None | Spare::Away => None,
        };
        Some(Preparation::new(self.disk.clone(), &self.dir, file, &self.options))
    }

    /// Takes back what [`Wal::preparation`] gave away.
    ///
    /// # Errors
    /// [`WriteError::Prepare`] if the step failed; the log can go on.
    pub fn prepared(&mut self, prepared: Prepared) -> Result<(), WriteError> {
        self.spare = Spare::None;
        self.spare = Spare::Here(prepared.0?);
        Ok(())
    }

    /// Prepares to read entries back from the files, on another thread: those from `first` to `last`, or as many as
    /// make up `bytes_max`. Nothing if the first was let go. They must have been synced.
    pub fn reading(&self, first: u64, last: u64, bytes_max: u64) -> Option<LogReading> {
        LogReading::new(self.disk.clone(), &self.dir, &self.places, (first, last), bytes_max)
    }

    /// Bytes of records and padding written since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// The index of the last entry, or of the last marker if that is higher.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// How many segments the log has.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    fn put_entry(&mut self, entry: &Entry) {
        assert!(wire::is_sound(entry), "raft numbers entries from term 1 and index 1");
        assert!(entry.index - 1 <= self.last_index, "raft leaves no entry out");
        self.durable_index = self.durable_index.min(entry.index - 1);
        let segment = *self.segments.back().expect("a log has a segment");
        let offset = self.tail.position + self.buffer.len() as u64;
        self.places.note(entry.index, Place { segment, offset, checksum: self.checksum });
        self.scratch.clear();
        wire::put_entry_head(&mut self.scratch, entry);
        let (out, checksum) = (&mut self.buffer, &mut self.checksum);
        put_record(out, checksum, RecordKind::Entry, &self.scratch, &entry.data);
        self.last_index = entry.index;
    }

    /// The empty hard state is never written: it says nothing.
    fn put_hard_state(&mut self) {
        if self.hard_state != HardState::default() {
            self.scratch.clear();
            wire::put_hard_state(&mut self.scratch, &self.hard_state);
            self.put_scratch(RecordKind::State);
        }
    }

    fn put_scratch(&mut self, kind: RecordKind) {
        put_record(&mut self.buffer, &mut self.checksum, kind, &self.scratch, &[]);
    }

    fn write_buffer(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.tail.file.write_all_at(&self.buffer, self.tail.position);
        let bytes = self.buffer.len();
        self.or_end(written, |tail, source| WriteError::Write {
            file: tail.path.clone(),
            offset: tail.position,
            bytes,
            source,
        })?;
        self.tail.position += bytes as u64;
        self.bytes_written += bytes as u64;
        self.synced = false;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        if self.tail.zeroed_to < self.tail.position {
            self.tail.zeroed_to = self.tail.position;
            // Only speed hangs on it: if the disk is full or failing, the next write there says so.
            let _ = self.zero_ahead();
        }
        Ok(())
    }

    /// Zeroes one step of the last segment, never beyond its size.
    fn zero_ahead(&mut self) -> io::Result<()> {
        let from = self.tail.zeroed_to;
        let to = (from + self.options.tail_step_bytes).min(self.options.segment_bytes);
        if from < to {
            self.tail.file.zero_fill(from, to)?;
            self.tail.zeroed_to = to;
            self.synced = false;
        }
        Ok(())
    }

    /// Ends the last segment and begins the next. The order matters: the full one is durable before the
    /// next has a name, because only the last segment may end torn; the next has a name only when its
    /// beginning is durable, because a segment without one cannot be read.
    fn cut(&mut self) -> Result<(), WriteError> {
        let trimmed = self.trim_tail();
        self.or_end(trimmed, |tail, source| WriteError::Sync {
            file: tail.path.clone(),
            offset: tail.position,
            source,
        })?;
        self.all_is_synced();

        let name = SegmentName {
            sequence: self.next_sequence(),
            index: self.last_index.saturating_add(1),
        };
        let path = self.dir.join(name.to_string());
        put_record(&mut self.buffer, &mut self.checksum, RecordKind::Crc, &[], &[]);
        let (out, checksum) = (&mut self.buffer, &mut self.checksum);
        put_record(out, checksum, RecordKind::Metadata, &self.metadata, &[]);
        self.put_hard_state();
        let begun = self.begin(&path);
        let tail = self.or_end(begun, |_, (attempt, source)| {
            let file = path.clone();
            WriteError::Cut { attempt, file, source }
        })?;
        self.tail = match tail {
            Some(tail) => tail,
            None => {
                self.ended = true;
                return Err(WriteError::Locked { file: path });
            }
        };
        self.segments.push_back(name);
        self.bytes_written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn trim_tail(&self) -> io::Result<()> {
        if self.tail.position < self.tail.zeroed_to {
            self.tail.file.set_len(self.tail.position)?;
        }
        if planted!("segment cut without a sync") { Ok(()) } else { self.tail.file.sync_data() }
    }

    /// Writes the buffer as the beginning of a segment and gives it its name. `None` if another process
    /// has the file.
    fn begin(&mut self, path: &std::path::Path) -> Result<Option<Tail>, (&'static str, io::Error)> {
        let at = |attempt| move |source| (attempt, source);
        let taken = self.spare.take(&*self.disk, &self.dir);
        let (temporary, spare) = taken.map_err(at("taking a spare for"))?;
        spare.file.write_all_at(&self.buffer, 0).map_err(at("writing"))?;
        spare.file.sync_data().map_err(at("syncing"))?;
        let Some(lock) = self.disk.lock(&temporary).map_err(at("locking"))? else {
            return Ok(None);
        };
        replace_durably(&*self.disk, &temporary, path).map_err(at("renaming to"))?;
        let position = self.buffer.len() as u64;
        let zeroed_to = spare.zeroed_to.max(position);
        Ok(Some(Tail { path: path.to_owned(), file: spare.file, _lock: lock, position, zeroed_to }))
    }

    fn next_sequence(&self) -> u64 {
        self.segments.back().expect("a log has a segment").sequence + 1
    }

    /// Durable before the next one is let go: a log with a hole cannot be read. And before a spare is
    /// zeroed: a power cut could otherwise bring a zeroed segment back into the log.
    fn release(&mut self, file: &std::path::Path) -> io::Result<()> {
        // One that somebody linked into a copy of the directory is left as it is.
        let is_ours = self.disk.open_read(file)?.links()? <= 1;
        if matches!(self.spare, Spare::None) && is_ours {
            replace_durably(&*self.disk, file, &self.dir.join(SPARE_NAME))?;
            self.spare = Spare::adopt(&*self.disk, &self.dir)?;
            return Ok(());
        }
        self.disk.remove(file)?;
        self.disk.sync_dir(&self.dir)
    }

    /// After a sync: markers up to the commit, which is durable too, may be read from.
    fn settle_markers(&mut self) {
        let open = self.open_markers.split_off(&self.hard_state.commit.saturating_add(1));
        let settled = std::mem::replace(&mut self.open_markers, open);
        self.settled_marker = settled.last().copied().unwrap_or(0).max(self.settled_marker);
    }

    fn check_going_on(&self) -> Result<(), WriteError> {
        if self.ended { Err(WriteError::Ended) } else { Ok(()) }
    }

    /// After an error nobody knows what is on the disk, so nothing more is written.
    fn or_end<T, E>(
        &mut self,
        result: Result<T, E>,
        describe: impl FnOnce(&Tail, E) -> WriteError,
    ) -> Result<T, WriteError> {
        result.map_err(|error| {
            self.ended = true;
            describe(&self.tail, error)
        })
    }
}

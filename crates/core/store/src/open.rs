//! Opening a store: what belongs to it, how far its log goes, what a crash left behind.
//!
//! Up to the recorded position the log is durable, so whatever is wrong there is damage and refused.
//! After it sectors may be kept or lost one by one: the log goes as far as whole frames follow each other and
//! complete an entry, and what comes behind is cut, however good it looks. All of this changes the disk only in
//! ways that a crash in the middle leaves repeatable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use planted::planted;
use types::Revision;
use vfs::Disk;

use crate::active::{Active, LogBegin};
use crate::dump::{self, Dump};
use crate::ends::{Applied, FramesEnd};
use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind, Named};
use crate::footer::{Column, Footer, Rebuilt};
use crate::frame::{self, Frame};
use crate::manifest::{MANIFEST, MANIFEST_NEW, Manifest, ManifestFile};
use crate::marks::{self, Bitmap};
use crate::scrub::Scrubbing;
use crate::sealed::{Dead, Sealed, order};
use crate::segment::{Extent, Segment};
use crate::shared::Shared;
use crate::store::OtherFiles;
use crate::sync::{Position, SYNCED, SyncRecord, Synced};
use crate::{
    Checkpoint, Damage, OpenError, Options, Repair, Restored, Scrubbed, Sizes, State, StateChange,
    Store, StoreError,
};

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    path: &Path,
    options: Options,
) -> Result<(Store, Restored), OpenError> {
    let dir = Dir::new(disk, path);
    dir.make()?;
    let names = dir.list()?;
    if !names.iter().any(|name| name == MANIFEST) {
        create(&dir, &names)?;
    }
    let manifest = ManifestFile::open(&dir)?;
    let record = SyncRecord::open(&dir)?;
    Opening::new(Shared::new(dir, manifest, record), options)?.run()
}

/// Makes a new store. It comes into being with its manifest, before any batch is written.
fn create(dir: &Dir, names: &[String]) -> Result<(), OpenError> {
    if holds_batches(dir, names)? {
        return Err(OpenError::MissingFile { file: MANIFEST.to_owned() });
    }
    let start = Position { log: 1, offset: HEADER_BYTES as u64 };
    SyncRecord::create(dir, Synced { index: 0, position: start, life: 0 })?;
    let begin = LogBegin { log: 1, applied: Applied::default(), is_open: false, chain: 0 };
    let log = Active::create(dir, begin)?;
    log.segment.file.sync()?;
    let manifest = Manifest { tail: 1, next: 1, ..Manifest::default() };
    ManifestFile::create(dir, manifest)?;
    Ok(())
}

/// Whether files without a manifest are more than a creation that a crash interrupted.
fn holds_batches(dir: &Dir, names: &[String]) -> Result<bool, OpenError> {
    for id in names.iter().filter_map(|name| FileId::from_name(name)) {
        let first = id == FileId::new(Kind::Log, 1);
        if !first || dir.open(&id.to_string())?.len()? > HEADER_BYTES as u64 {
            return Ok(true);
        }
    }
    let begun = names.iter().any(|name| name == SYNCED) && {
        let record = SyncRecord::open(dir);
        record.is_ok_and(|record| record.newest().index > 0)
    };
    Ok(begun)
}

/// A store that is being opened.
struct Opening {
    shared: Shared,
    options: Options,
    manifest: Manifest,
    /// Numbers of the log files that are there, from the manifest's tail on.
    logs: BTreeSet<u64>,
    /// How far the log is durable.
    synced: Position,
    state: State,
    /// Changes before this are in `state` already.
    dumped: Position,
    /// Whether the last frame walked is open, and the changes of such frames: they count when the last is there.
    is_open: bool,
    open_changes: Vec<StateChange>,
    marks: BTreeMap<FileId, (usize, Bitmap)>,
    sealed: Vec<Sealed>,
    ignored: Vec<Damage>,
    other_files: OtherFiles,
}

/// A log file walked frame by frame.
struct Walked {
    log: u64,
    file: Named,
    rebuilt: Rebuilt,
    end: FramesEnd,
    /// Where the last entry is complete; the file's header, if that is in a file before.
    complete: FramesEnd,
}

impl Opening {
    fn new(shared: Shared, options: Options) -> Result<Opening, OpenError> {
        let manifest = shared.manifest.current();
        let names = shared.dir.list()?;
        let ids = names.iter().filter_map(|name| FileId::from_name(name));
        let logs = ids.filter(|id| id.kind == Kind::Log && id.number >= manifest.tail);
        let logs = logs.map(|id| id.number).collect();
        let dump = manifest.state.map(|number| dump::read(&shared.dir, number)).transpose()?;
        let Dump { state, position, file_bytes: state_bytes } = dump.unwrap_or_default();
        let marks = manifest.marks.map(|number| marks::read(&shared.dir, number)).transpose()?;
        let (marks, marks_bytes) = marks.unwrap_or_default();
        // A manifest is only written after a sync up to its tail, so the log is durable that far even if
        // the newer place of the record was lost.
        let tail = Position { log: manifest.tail, offset: HEADER_BYTES as u64 };
        Ok(Opening {
            synced: shared.record.newest().position.max(tail),
            other_files: OtherFiles {
                manifest: shared.dir.open(MANIFEST)?.len()?,
                synced: shared.dir.open(SYNCED)?.len()?,
                state: state_bytes,
                marks: marks_bytes,
                index: 0,
            },
            dumped: position,
            is_open: false,
            open_changes: Vec::new(),
            shared,
            options,
            manifest,
            logs,
            state,
            marks,
            sealed: Vec::new(),
            ignored: Vec::new(),
        })
    }

    fn run(mut self) -> Result<(Store, Restored), OpenError> {
        for listed in self.manifest.segments.clone() {
            self.sealed_segment(listed.id, listed.end.chain)?;
        }
        self.durable_logs()?;
        let last = self.unsynced_logs()?;
        self.bury()?;
        let repaired = self.cut(&last)?;
        self.remove_leftovers()?;
        let checkpoint = self.checkpoint(last.end.index)?;
        self.finish(last, repaired, checkpoint)
    }

    /// Takes a segment whose frames are known to be durable and to end with `chain`.
    fn sealed_segment(&mut self, id: FileId, chain: u32) -> Result<(), OpenError> {
        let file = self.shared.dir.open(&id.to_string())?;
        let header = file.header(id)?;
        if let Some(footer) = Footer::read(&file)?.filter(|footer| footer.end.chain == chain) {
            for offset in &footer.states {
                if self.dumped <= (Position { log: id.number, offset: *offset }) {
                    let state = &mut self.state;
                    frame::read_at(&file, *offset, |frame| apply(state, frame))?;
                }
            }
            let file_bytes = file.len()?;
            let segment = Segment::new(id, file, footer.table);
            return self.push(segment, footer.end, footer.keys, footer.state_bytes, file_bytes);
        }
        let foreign = Footer::is_foreign(&file)?;
        let walked = self.walk(file, &header)?;
        // Whatever is durable was completed, if not in this file then in the next.
        self.is_open = false;
        for change in self.open_changes.drain(..) {
            self.state.apply(&change);
        }
        if walked.0.end.chain != chain {
            let (walked, why) = walked;
            let why = why.unwrap_or("the file ends too early");
            return Err(walked.file.damage(walked.end.offset, why).into());
        }
        if !foreign {
            let what = "the footer was damaged and has been built again";
            self.ignored.push(walked.0.file.damage(walked.0.end.offset, what));
        }
        self.write_footer(walked.0, id)
    }

    /// Visits the frames of a file, as far as they go, and takes their changes of state.
    fn walk(
        &mut self,
        file: Named,
        header: &Header,
    ) -> Result<(Walked, Option<&'static str>), OpenError> {
        let log = header.id.number;
        let mut rebuilt = Rebuilt::default();
        let mut complete = begin(header);
        let walk = frame::walk(&file, complete.offset, complete.chain, |frame| {
            rebuilt.frame(frame)?;
            self.is_open = frame.header.is_open();
            if self.dumped <= (Position { log, offset: frame.offset }) {
                self.open_changes.extend_from_slice(&frame.changes);
            }
            if !self.is_open {
                complete = frame.end();
                for change in self.open_changes.drain(..) {
                    self.state.apply(&change);
                }
            }
            Ok(())
        })?;
        let end = FramesEnd { offset: walk.offset, chain: walk.chain, ..complete };
        Ok((Walked { log, file, rebuilt, end, complete }, walk.why))
    }

    /// Walks a file again, as far as its last complete entry: what follows was never completed.
    fn rewind(&self, walked: Walked) -> Result<Walked, OpenError> {
        let Walked { log, file, complete, .. } = walked;
        let header = file.header(FileId::new(Kind::Log, log))?;
        let (mut rebuilt, begin) = (Rebuilt::default(), begin(&header));
        frame::walk(&file, begin.offset, begin.chain, |frame| {
            match frame.offset < complete.offset {
                true => rebuilt.frame(frame),
                false => Err("it is part of an entry that was not completed"),
            }
        })?;
        Ok(Walked { log, file, rebuilt, end: complete, complete })
    }

    /// Completes a sealed segment whose footer is missing or damaged.
    fn write_footer(&mut self, walked: Walked, id: FileId) -> Result<(), OpenError> {
        let Walked { file, rebuilt, end, .. } = walked;
        let state_bytes = rebuilt.footer.state_bytes;
        let (footer, keys) = rebuilt.footer.finish(end);
        file.cut(end.offset)?;
        file.write(&footer, end.offset)?;
        file.sync()?;
        let segment = Segment::new(id, file, rebuilt.table);
        self.push(segment, end, keys, state_bytes, end.offset + footer.len() as u64)
    }

    fn push(
        &mut self,
        segment: Segment,
        end: FramesEnd,
        keys: Column,
        state_bytes: u64,
        file_bytes: u64,
    ) -> Result<(), OpenError> {
        let segment = Arc::new(segment);
        let extent = Extent::new(&segment);
        let extent = extent.map(|extent| extent.with_keys(keys));
        self.check_order(extent.as_ref())?;
        let (last, dead) = (Revision::default(), Dead::default());
        self.sealed.push(Sealed { segment, extent, last, end, file_bytes, state_bytes, dead });
        Ok(())
    }

    /// Checksums cannot tell whether the right files were put together.
    fn check_order(&self, next: Option<&Extent>) -> Result<(), OpenError> {
        let before = self.sealed.iter().rev().find_map(|sealed| sealed.extent.as_ref());
        if let (Some(before), Some(next)) = (before, next)
            && next.first <= before.last
        {
            let what = "its rows do not come after those of the segment before";
            return Err(next.segment.file.damage(HEADER_BYTES as u64, what).into());
        }
        Ok(())
    }

    /// Takes the log files that were sealed before the recorded position: all of them must be there.
    fn durable_logs(&mut self) -> Result<(), OpenError> {
        for log in self.manifest.tail..self.synced.log {
            let id = FileId::new(Kind::Log, log);
            let next = FileId::new(Kind::Log, log + 1);
            let next = self.shared.dir.open(&next.to_string())?.header(next)?;
            self.sealed_segment(id, next.chain)?;
        }
        Ok(())
    }

    /// Walks the log files from the recorded position on, as far as whole frames follow each other. Returns
    /// the one where they end.
    fn unsynced_logs(&mut self) -> Result<Walked, OpenError> {
        let mut id = FileId::new(Kind::Log, self.synced.log);
        let file = self.shared.dir.open(&id.to_string())?;
        let header = file.header(id)?;
        let (mut walked, why) = self.walk(file, &header)?;
        if walked.complete.offset < self.synced.offset {
            let why = why.unwrap_or("the file ends too early");
            return Err(walked.file.damage(walked.end.offset, why).into());
        }
        // Files that end within an entry wait until it is known to be complete.
        let mut waiting: Vec<Walked> = Vec::new();
        while let Some((file, header)) = self.successor(id, walked.end.chain)? {
            waiting.push(walked);
            if !self.is_open {
                self.complete(&mut waiting)?;
            }
            id = header.id;
            walked = self.walk(file, &header)?.0;
            if walked.complete != begin(&header) {
                self.complete(&mut waiting)?;
            }
        }
        if !std::mem::take(&mut self.is_open) {
            self.complete(&mut waiting)?;
            return Ok(walked);
        }
        self.open_changes.clear();
        waiting.push(walked);
        let first = waiting.swap_remove(0);
        if header.numbers[2] == 1 && first.complete == begin(&header) {
            let what = "it ends within an entry that was complete";
            return Err(first.file.damage(first.end.offset, what).into());
        }
        self.rewind(first)
    }

    /// The log file after `id`, if it was begun after a frame with this checksum.
    fn successor(&self, id: FileId, chain: u32) -> Result<Option<(Named, Header)>, OpenError> {
        let next = FileId::new(Kind::Log, id.number + 1);
        if !self.logs.contains(&next.number) {
            return Ok(None);
        }
        let file = self.shared.dir.open(&next.to_string())?;
        match file.header(next) {
            Ok(header) if header.chain == chain => Ok(Some((file, header))),
            // It begins behind a gap, or was not even begun: a crash lost what came before.
            Ok(_) | Err(OpenError::Store(StoreError::Damaged(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes log files that were sealed after the recorded position.
    fn complete(&mut self, waiting: &mut Vec<Walked>) -> Result<(), OpenError> {
        waiting.drain(..).try_for_each(|walked| self.complete_one(walked))
    }

    fn complete_one(&mut self, walked: Walked) -> Result<(), OpenError> {
        let id = FileId::new(Kind::Log, walked.log);
        let footer = Footer::read(&walked.file)?;
        let Some(footer) = footer.filter(|footer| footer.end == walked.end) else {
            return self.write_footer(walked, id);
        };
        walked.file.sync()?;
        let file_bytes = walked.file.len()?;
        let segment = Segment::new(id, walked.file, walked.rebuilt.table);
        let state_bytes = walked.rebuilt.footer.state_bytes;
        self.push(segment, walked.end, footer.keys, state_bytes, file_bytes)
    }

    /// Hands each segment its buried rows.
    fn bury(&mut self) -> Result<(), OpenError> {
        for mut sealed in std::mem::take(&mut self.sealed) {
            if let Some(extent) = &mut sealed.extent {
                sealed.dead = self.marks_of(extent)?;
                extent.buried = (sealed.dead.bytes > 0).then(|| sealed.dead.bits.clone());
            }
            self.sealed.push(sealed);
        }
        Ok(())
    }

    /// The rows of a segment that were buried. It may have grown since.
    fn marks_of(&self, extent: &Extent) -> Result<Dead, OpenError> {
        let mut dead = Dead::default();
        let Some((rows, bits)) = self.marks.get(&extent.segment.id) else { return Ok(dead) };
        if extent.rows < *rows || bits.rows().any(|row| *rows <= row) {
            let number = self.manifest.marks.unwrap_or_default();
            let file = FileId::new(Kind::Marks, number).to_string();
            let what = "the marks do not fit their segment";
            return Err(Damage { file, offset: HEADER_BYTES as u64, what }.into());
        }
        for row in bits.rows() {
            dead.mark(extent, row);
        }
        dead.unburied = false;
        Ok(dead)
    }

    /// Removes what lies behind the last good frame. Later files go first: none of them may be there any
    /// more when the log grows again.
    fn cut(&mut self, last: &Walked) -> Result<Option<Repair>, OpenError> {
        let mut cut_bytes = last.file.len()?.saturating_sub(last.end.offset);
        let later: Vec<u64> = self.logs.range(last.log + 1..).copied().collect();
        for log in later {
            let name = FileId::new(Kind::Log, log).to_string();
            cut_bytes += self.shared.dir.open(&name)?.len()?;
            self.shared.dir.remove(&name)?;
            self.logs.remove(&log);
        }
        self.shared.dir.sync()?;
        if last.file.len()? > last.end.offset {
            last.file.cut(last.end.offset)?;
        }
        last.file.sync()?;
        let file = last.file.name().to_owned();
        let offset = last.end.offset;
        Ok((cut_bytes > 0).then_some(Repair { file, offset, cut_bytes }))
    }

    /// Removes files that a crash left: not listed, or not finished.
    fn remove_leftovers(&self) -> Result<(), OpenError> {
        let manifest = &self.manifest;
        let listed: BTreeSet<FileId> = manifest.segments.iter().map(|listed| listed.id).collect();
        for name in self.shared.dir.list()? {
            let ours = FileId::from_name(&name);
            let wanted = |id: &FileId| match id.kind {
                Kind::Log => listed.contains(id) || self.logs.contains(&id.number),
                Kind::Segment => listed.contains(id),
                Kind::Marks => manifest.marks == Some(id.number),
                Kind::State => manifest.state == Some(id.number),
                Kind::Index => manifest.index == Some(id.number),
                Kind::Manifest | Kind::Synced | Kind::Scrub => true,
            };
            if name == MANIFEST_NEW || ours.is_some_and(|id| !wanted(&id)) {
                self.shared.dir.remove(&name)?;
            }
        }
        Ok(())
    }

    /// The index image, unless there is something wrong with it.
    fn checkpoint(&mut self, applied_index: u64) -> Result<Option<Checkpoint>, OpenError> {
        let Some(number) = self.manifest.index else { return Ok(None) };
        if self.manifest.index_waits {
            self.shared.manifest.forget_index();
            return Ok(None);
        }
        let name = FileId::new(Kind::Index, number).to_string();
        let ignore = |what| Damage { file: name.clone(), offset: 0, what };
        let damage = match Checkpoint::open(&self.shared, number) {
            Ok(checkpoint)
                if checkpoint.index <= applied_index || planted!("checkpoint ahead of the log") =>
            {
                self.shared.image_in_place(checkpoint.revision);
                self.other_files.index = checkpoint.file_bytes;
                return Ok(Some(checkpoint));
            }
            Ok(_) => ignore("the image is ahead of the log"),
            Err(OpenError::MissingFile { .. }) => ignore("the image is missing"),
            Err(OpenError::Store(StoreError::Damaged(damage))) => damage,
            Err(error) => return Err(error),
        };
        self.ignored.push(damage);
        self.shared.manifest.forget_index();
        Ok(None)
    }

    fn finish(
        mut self,
        last: Walked,
        repaired: Option<Repair>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(Store, Restored), OpenError> {
        let position = Position { log: last.log, offset: last.end.offset };
        let applied = Applied { index: last.end.index, term: last.end.term };
        let synced = Synced { index: applied.index, position, life: self.shared.life };
        self.shared.record.write(&self.shared.dir, synced)?;
        let id = FileId::new(Kind::Log, last.log);
        let segment = Segment::new(id, last.file, last.rebuilt.table);
        let mut active = Active::reopen(Arc::new(segment), last.rebuilt.footer, last.end);
        self.check_order(active.extent.as_ref())?;
        if let Some(extent) = &active.extent {
            active.dead = self.marks_of(extent)?;
        }
        order(&mut self.sealed);
        let extents = self.sealed.iter().filter_map(|sealed| sealed.extent.clone()).collect();
        let restored = Restored {
            applied_index: applied.index,
            applied_term: applied.term,
            synced_index: applied.index,
            repaired,
            ignored: self.ignored,
            checkpoint,
        };
        let scrubbing = Scrubbing::found(Scrubbed::read(&self.shared.dir));
        let mut store = Store {
            options: self.options,
            shared: Arc::new(self.shared),
            sealed: self.sealed,
            extents: Arc::new(extents),
            active,
            recent: Default::default(),
            state: self.state,
            applied,
            framed: applied,
            flushed: applied,
            synced,
            written_out: Position::default(),
            unsynced: Vec::new(),
            dir_changed: false,
            failure: Default::default(),
            dumped: self.dumped,
            cleaning: false,
            own_cleaning: None,
            other_files: self.other_files,
            marks_taken: 0,
            marks_in_place: 0,
            held: Vec::new(),
            rows_appended: 0,
            scrubbing,
            sealed_sizes: Sizes::default(),
        };
        store.sealed_changed();
        Ok((store, restored))
    }
}

/// Where a file's frames begin.
fn begin(header: &Header) -> FramesEnd {
    let [index, term, _] = header.numbers;
    FramesEnd { offset: HEADER_BYTES as u64, chain: header.checksum(), index, term }
}

fn apply(state: &mut State, frame: &Frame<'_>) {
    for change in &frame.changes {
        state.apply(change);
    }
}

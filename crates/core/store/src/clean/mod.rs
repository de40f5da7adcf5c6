//! Cleaning: sparse segments are rewritten without their dead rows, small neighbours merged.
//!
//! A round syncs the log first: rows are dead because of an entry that must not be lost again. Then it writes
//! down what the segments it drops would have told a restart: all small state, and which older rows are
//! dead where it drops tombstones. Then it copies what lives, and one exchange of the manifest makes all of
//! that true together. Readers with older views go on with the old files, which have no name any more.

mod plan;
mod writer;

use std::ops::Range;
use std::sync::Arc;

use plan::{Plan, Zeal};
use planted::planted;
use writer::SegmentWriter;

use crate::bury::{Burial, Marks};
use crate::files::{FileId, Kind};
use crate::manifest::MANIFEST;
use crate::sealed::Sealed;
use crate::segment::{Extent, Segment, Span};
use crate::shared::{Round, Shared};
use crate::span_walk::SpanWalk;
use crate::store::HeldFile;
use crate::sync::Position;
use crate::{State, Store, StoreError, SyncHandle, Synced, dump};

/// One round of cleaning, begun by [`crate::Store::begin_clean`]: reads old segments, writes one new one.
/// May run on any thread while the store goes on. Hand it to [`crate::Store::finish_clean`] when it is done,
/// or to [`crate::Store::abandon_clean`] when it failed.
#[derive(Debug)]
pub struct Cleaning {
    shared: Arc<Shared>,
    phase: Phase,
    /// All sealed segments as the round found them.
    sealed: Vec<Sealed>,
    /// Which of them are rewritten.
    victims: Range<usize>,
    tombstones_stay_after: i64,
    /// State to be written down.
    state: Option<(State, u64)>,
    /// When it was begun.
    begun: u64,
    /// The dead to be buried.
    marks: Option<Marks>,
    cursor: (usize, usize),
    writer: Option<SegmentWriter>,
    /// The file that `writer` made.
    output: Option<FileId>,
    outcome: Outcome,
    exchanged: bool,
}

#[derive(Debug)]
enum Phase {
    Sync(SyncHandle),
    Prepare,
    Copy,
    Exchange,
    Done,
}

/// What a round achieved, for the store to take note of.
#[derive(Debug)]
struct Outcome {
    synced: Synced,
    output: Option<Sealed>,
    /// Number and length of the new file of state.
    state: Option<(u64, u64)>,
    marks: Option<Burial>,
    manifest_bytes: u64,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanProgress {
    /// Call again.
    More,
    /// Nothing left: this round is complete, or the store is clean.
    Done,
}

/// Files that a cleaning replaced and removed, still open.
#[derive(Debug)]
pub struct Replaced(Vec<Arc<Segment>>);

impl Replaced {
    /// Whether no reader has one of them any more.
    pub fn is_unread(&self) -> bool {
        self.0.iter().all(|segment| Arc::strong_count(segment) == 1)
    }

    /// Gives about so many bytes back to the file system; true when nothing is left. For files that are not
    /// read any more: those that have no name anywhere, so nobody can come to read them, are cut piece by piece.
    ///
    /// A file of some size that is closed gives its blocks back at once. Whoever syncs meanwhile waits for that,
    /// above all where the file system tells the disk which blocks are free.
    pub fn give_back(&mut self, bytes: u64) -> bool {
        if let Some(segment) = self.0.last() {
            let left = segment.file.len().unwrap_or(0).saturating_sub(bytes);
            // Closed when nothing is left of it, or when it cannot be cut: somebody may have linked it into a copy of
            // the directory.
            if left == 0 || segment.file.has_name() || segment.file.cut(left).is_err() {
                self.0.pop();
            }
        }
        self.0.is_empty()
    }
}

impl Cleaning {
    /// Works through about `budget_bytes` of rows. The first step syncs the log, the last one syncs the
    /// new segment and exchanges the files.
    ///
    /// # Errors
    /// When the disk refuses or a row is damaged. Nothing is lost then: the old segments stay.
    pub fn step(&mut self, budget_bytes: usize) -> Result<CleanProgress, StoreError> {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Sync(handle) => {
                self.outcome.synced = handle.sync()?;
                Phase::Prepare
            }
            Phase::Prepare => {
                self.write_state()?;
                self.write_marks()?;
                Phase::Copy
            }
            Phase::Copy if self.copy(budget_bytes as u64)? => Phase::Exchange,
            Phase::Copy => Phase::Copy,
            Phase::Exchange => {
                self.exchange()?;
                return Ok(CleanProgress::Done);
            }
            Phase::Done => return Ok(CleanProgress::Done),
        };
        Ok(CleanProgress::More)
    }

    /// The files that this round takes the place of. Whoever keeps them until nobody else has them open closes
    /// them last, and waits until the file system has given their blocks back.
    pub fn replaced(&self) -> Replaced {
        let victims = self.sealed[self.victims.clone()].iter();
        Replaced(victims.map(|sealed| sealed.segment.clone()).collect())
    }

    fn write_state(&mut self) -> Result<(), StoreError> {
        if let Some((state, index)) = &self.state {
            let number = self.shared.manifest.number();
            let position = self.outcome.synced.position;
            let bytes = dump::write(&self.shared.dir, number, state, *index, position)?;
            self.outcome.state = Some((number, bytes));
        }
        Ok(())
    }

    fn write_marks(&mut self) -> Result<(), StoreError> {
        if let Some(marks) = self.marks.take() {
            let stay_after = self.tombstones_stay_after;
            self.outcome.marks = Some(Burial::write(&self.shared, marks, stay_after)?);
        }
        Ok(())
    }

    /// Copies about `budget` bytes of what lives; true when all is copied.
    fn copy(&mut self, budget: u64) -> Result<bool, StoreError> {
        let mut done = 0;
        while done < budget {
            let (place, position) = self.cursor;
            if place == self.victims.end {
                return Ok(true);
            }
            let extent = self.sealed[place].extent.clone();
            let spans =
                extent.as_ref().map_or(Vec::new(), |extent| extent.spans(position, usize::MAX));
            let Some(extent) = extent.filter(|_| !spans.is_empty()) else {
                self.cursor = (place + 1, 0);
                continue;
            };
            done += self.copy_spans(&extent, place, position, &spans, budget - done)?;
        }
        Ok(false)
    }

    /// Copies from some rows of one segment what lives; returns how many bytes that were.
    fn copy_spans(
        &mut self,
        extent: &Extent,
        place: usize,
        position: usize,
        spans: &[Span],
        budget: u64,
    ) -> Result<u64, StoreError> {
        let dead = self.sealed[place].dead.bits.clone();
        let kept: Vec<_> = (position..)
            .zip(spans)
            .filter(|(at, span)| !dead.get(*at) || span.stays(self.tombstones_stay_after))
            .filter(|(at, _)| !planted!("cleaning drops a living row") || at % 8 != 7)
            .collect();
        let wanted: Vec<_> = kept.iter().map(|(_, span)| **span).collect();
        let rows = extent.read_spans(&wanted, budget)?;
        let next = kept.get(rows.len()).map_or(position + spans.len(), |(at, _)| *at);
        for ((at, _), row) in kept.iter().zip(&rows) {
            self.writer()?.push(row, dead.get(*at))?;
        }
        self.cursor = (place, next);
        // Rows that are passed over cost a little too, so that a step ends in any case.
        let copied: u64 = wanted[..rows.len()].iter().map(Span::bytes).sum();
        Ok(copied + spans.len() as u64)
    }

    fn writer(&mut self) -> Result<&mut SegmentWriter, StoreError> {
        if self.writer.is_none() {
            let id = FileId::new(Kind::Segment, self.shared.manifest.number());
            let end = self.sealed[self.victims.end - 1].end;
            let writer = SegmentWriter::create(&self.shared.dir, id, end.index, end.term)?;
            self.writer = Some(writer);
            self.output = Some(id);
        }
        Ok(self.writer.as_mut().expect("it was just made"))
    }

    /// Makes the new segment durable and puts it in the place of the old ones.
    fn exchange(&mut self) -> Result<(), StoreError> {
        let outcome = &mut self.outcome;
        outcome.output = self.writer.take().map(SegmentWriter::finish).transpose()?;
        let mut segments: Vec<_> = self.sealed.iter().map(Sealed::listed).collect();
        let output = outcome.output.iter().map(Sealed::listed);
        segments.splice(self.victims.clone(), output);
        let mut round = self.shared.round();
        if *round == Round::GivenUp {
            return Err(StoreError::Stopped { action: "clean", file: MANIFEST.to_owned() });
        }
        let changed = self.shared.manifest.change(|next| {
            next.segments = segments;
            next.cleaned = self.begun;
            next.tail = outcome.synced.position.log;
            next.state = outcome.state.map(|(number, _)| number).or(next.state);
            if let Some(marks) = &outcome.marks {
                marks.install(next);
                next.index_may_stop_waiting();
            }
        })?;
        *round = Round::Exchanged;
        drop(round);
        outcome.manifest_bytes = changed.now.file_bytes();
        self.exchanged = true;
        let victims = self.sealed[self.victims.clone()].iter().map(|sealed| sealed.segment.id);
        if !changed.now.index_waits {
            self.shared.image_waits(false);
        }
        for id in victims.chain(changed.useless()) {
            // The exchange is done and must be reported as done. What cannot be removed now, the next
            // start removes.
            let _ = self.shared.dir.remove(&id.to_string());
        }
        Ok(())
    }

    /// Removes what a round that failed has written. What cannot be removed the next start removes.
    fn remove_files(self) {
        if self.shared.manifest.is_doubtful() {
            return;
        }
        let outcome = &self.outcome;
        let state = outcome.state.map(|(number, _)| FileId::new(Kind::State, number).to_string());
        let marks = outcome.marks.as_ref().map(|marks| marks.id().to_string());
        let segment = self.output.map(|id| id.to_string());
        for name in state.into_iter().chain(marks).chain(segment) {
            let _ = self.shared.dir.remove(&name);
        }
    }
}

impl Store {
    /// Begins a round of cleaning if one is worth while: flushes, chooses the sparsest segments, and returns
    /// an object that does the work on any thread. `None` as well while a round is under way.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn begin_clean(&mut self) -> Result<Option<Cleaning>, StoreError> {
        self.begin(Zeal::Worthwhile)
    }

    /// As [`Store::begin_clean`], for `Defragment`: any garbage is worth while, and the active segment is
    /// sealed first. Repeat until `None`.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn begin_clean_all(&mut self) -> Result<Option<Cleaning>, StoreError> {
        self.begin(Zeal::All)
    }

    fn begin(&mut self, zeal: Zeal) -> Result<Option<Cleaning>, StoreError> {
        self.flush()?;
        if self.cleaning {
            return Ok(None);
        }
        if plan::seal_first(self, zeal) {
            self.roll()?;
        }
        let Some(plan) = plan::choose(self, zeal) else { return Ok(None) };
        self.cleaning = true;
        *self.shared.round() = Round::Allowed;
        Ok(Some(self.start(plan)))
    }

    fn start(&mut self, plan: Plan) -> Cleaning {
        let handle = self.flushed_handle();
        let state = plan.dump.then(|| (self.state.clone(), self.flushed.index));
        let victims = &self.sealed[plan.victims.clone()];
        let tombstones = victims.iter().any(|sealed| sealed.dead.tombstone_bytes > 0);
        let older = &self.sealed[..plan.victims.start];
        let bury = tombstones && older.iter().any(|sealed| sealed.dead.unburied);
        let bury = bury || self.shared.is_image_waiting() || self.scrubbing.marks_are_lost;
        let begun = self.next_taken();
        let marks = bury.then(|| self.marks(plan.victims.clone()));
        Cleaning {
            shared: self.shared.clone(),
            sealed: self.sealed.clone(),
            cursor: (plan.victims.start, 0),
            victims: plan.victims,
            tombstones_stay_after: self.shared.tombstones_stay_after(None),
            state,
            begun,
            marks,
            writer: None,
            output: None,
            outcome: Outcome {
                synced: handle.target,
                output: None,
                state: None,
                marks: None,
                manifest_bytes: 0,
            },
            phase: Phase::Sync(handle),
            exchanged: false,
        }
    }

    /// Whether a restart takes all changes of state in this segment from the file of state.
    pub(crate) fn is_dumped(&self, sealed: &Sealed) -> bool {
        let id = sealed.segment.id;
        let end = Position { log: id.number, offset: sealed.end.offset };
        id.kind == Kind::Segment || end <= self.dumped
    }

    /// Gives up the round that is under way on another thread, if its files are not exchanged yet: it will fail, and
    /// what it wrote the next start removes. For an end in order: an index image that is written while a round is
    /// under way is of no use to the next start.
    pub fn give_up_clean(&mut self) {
        let mut round = self.shared.round();
        if self.cleaning && *round == Round::Allowed {
            *round = Round::GivenUp;
            self.cleaning = false;
        }
    }

    /// Puts the new segment in the place of the old ones. Quick. A round of another store is passed over.
    ///
    /// # Panics
    /// When the round is not done.
    pub fn finish_clean(&mut self, cleaning: Cleaning) {
        if !Arc::ptr_eq(&self.shared, &cleaning.shared) {
            return;
        }
        let Cleaning { exchanged, sealed: before, victims, outcome, .. } = cleaning;
        assert!(exchanged, "a round is finished after its last step");
        let mut output = outcome.output;
        if let Some(output) = &mut output {
            let now = self.sealed[victims.clone()].iter();
            for (now, before) in now.zip(&before[victims.clone()]) {
                carry_marks(now, before, output);
            }
        }
        self.held.retain(|held| held.bytes() > 0);
        self.held.extend(self.sealed[victims.clone()].iter().map(HeldFile::of));
        self.sealed.splice(victims, output);
        if let Some(marks) = &outcome.marks {
            self.scrubbing.marks_are_lost = false;
            self.buried(marks);
        }
        if let Some((_, bytes)) = outcome.state {
            self.scrubbing.state_is_lost = false;
            self.other_files.state = bytes;
            self.dumped = outcome.synced.position;
        }
        self.other_files.manifest = outcome.manifest_bytes;
        self.renew_extents();
        self.synced(outcome.synced);
        self.sealed_changed();
        self.cleaning = false;
    }

    /// Gives a round up after its step failed. A round of another store is passed over.
    pub fn abandon_clean(&mut self, cleaning: Cleaning) {
        if !Arc::ptr_eq(&self.shared, &cleaning.shared) {
            return;
        }
        if cleaning.exchanged {
            self.finish_clean(cleaning);
        } else {
            cleaning.remove_files();
            self.cleaning = false;
        }
    }

    /// Cleaning driven by the writer itself: one step of a round, begun and finished as needed. It syncs
    /// where a round does; a server uses [`Store::begin_clean`] on a thread of its own.
    ///
    /// # Errors
    /// As [`Cleaning::step`].
    pub fn clean_step(&mut self, budget_bytes: usize) -> Result<CleanProgress, StoreError> {
        self.own_step(Zeal::Worthwhile, budget_bytes)
    }

    /// Cleans all there is to clean, now, unless a round is under way on another thread.
    ///
    /// # Errors
    /// As [`Cleaning::step`].
    pub fn clean_all(&mut self) -> Result<(), StoreError> {
        while self.own_step(Zeal::All, usize::MAX)? == CleanProgress::More {}
        Ok(())
    }

    fn own_step(&mut self, zeal: Zeal, budget_bytes: usize) -> Result<CleanProgress, StoreError> {
        let begun = match self.own_cleaning.take() {
            Some(cleaning) => Some(cleaning),
            None => self.begin(zeal)?,
        };
        let Some(mut cleaning) = begun else { return Ok(CleanProgress::Done) };
        match cleaning.step(budget_bytes) {
            Ok(CleanProgress::More) => self.own_cleaning = Some(cleaning),
            Ok(CleanProgress::Done) => self.finish_clean(cleaning),
            Err(error) => {
                self.abandon_clean(cleaning);
                return Err(error);
            }
        }
        Ok(CleanProgress::More)
    }
}

/// Rows that were marked dead while they were copied are dead in the copy.
fn carry_marks(now: &Sealed, before: &Sealed, output: &mut Sealed) {
    let (Some(from), Some(to)) = (&now.extent, &output.extent) else { return };
    // There may be as many as the segment has rows, and whoever waits for the writer waits for this.
    let (mut from, mut to) = (SpanWalk::new(from), SpanWalk::new(to));
    for position in now.dead.bits.minus(&before.dead.bits) {
        if let Some(died) = from.at(position)
            && let Some((position, copied)) = to.find_onwards(died.slot.revision)
        {
            output.dead.mark_span(position, copied);
        }
    }
}

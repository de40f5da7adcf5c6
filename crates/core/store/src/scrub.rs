//! Scrubbing: what is at rest is read from one end to the other, so that rot is found while it can still be mended.
//!
//! One sealed segment at a time, each frame against its checksums and each row against the table that finds it; after the
//! last segment the small files. How far a pass has come, and when all could last be read, stands in a small file.
//!
//! What is found in a segment is noted there: its rows are refused one by one, and it is not cleaned. The small state,
//! the marks and the manifest are in memory as well, so they are written anew, and a start never meets their rot.
//!
//! Not here: when to scrub and how fast (see `node`). The segment that still grows is not read, and neither are the keys
//! in a footer, on which nothing depends.

use std::sync::Arc;

use crate::checkpoint::Pieces;
use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind};
use crate::manifest::MANIFEST;
use crate::sealed::Sealed;
use crate::shared::Shared;
use crate::{Damage, OpenError, Store, StoreError, dump, frame, marks};

/// The file's name.
pub(crate) const SCRUB: &str = "scrub";

/// How far scrubbing has come. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// When the pass under way was begun; 0 when none is.
    pub begun_s: u64,
    /// Every sealed row up to this revision was read in it.
    pub revision: i64,
    /// When the last pass ended in which everything could be read; 0 for never.
    pub clean_s: u64,
    /// Files in which this pass, or the last one, found something that cannot be read.
    pub damages: u32,
    /// The segment that was read last.
    segment: u64,
}

impl Scrubbed {
    /// Reads the file. It says nothing that could not be found out again, so whatever is wrong with it is passed over.
    pub(crate) fn read(dir: &Dir) -> Scrubbed {
        let mut bytes = [0; HEADER_BYTES];
        let read = dir.open(SCRUB).ok().and_then(|file| file.read(&mut bytes, 0).ok());
        let header = read.and_then(|()| Header::decode(&bytes, Kind::Scrub, SCRUB).ok());
        let Some(Header { id, numbers: [begun_s, revision, clean_s], chain }) = header else {
            return Scrubbed::default();
        };
        let Ok(revision) = i64::try_from(revision) else { return Scrubbed::default() };
        Scrubbed { begun_s, revision, clean_s, damages: chain, segment: id.number }
    }

    fn write(&self, dir: &Dir) -> Result<(), StoreError> {
        let id = FileId::new(Kind::Scrub, self.segment);
        let revision = u64::try_from(self.revision).unwrap_or(0);
        let numbers = [self.begun_s, revision, self.clean_s];
        let header = Header { id, numbers, chain: self.damages };
        let file = match dir.open(SCRUB) {
            Ok(file) => file,
            Err(_) => dir.create(SCRUB)?,
        };
        file.write(&header.encode(), 0)
    }
}

/// What the writer remembers of it.
#[derive(Debug, Default)]
pub(crate) struct Scrubbing {
    now: Scrubbed,
    /// When the last pass of this run ended.
    ended_s: u64,
    is_under_way: bool,
    /// After a failure, when it is tried again.
    retry_s: u64,
    /// Whether the file of state, or of marks, has to be written anew.
    pub(crate) state_is_lost: bool,
    pub(crate) marks_are_lost: bool,
}

impl Scrubbing {
    pub(crate) fn found(now: Scrubbed) -> Scrubbing {
        Scrubbing { now, ended_s: now.clean_s, ..Scrubbing::default() }
    }
}

/// A piece of a pass: one segment, or the small files. May run on any thread while the store goes on. Hand it to
/// [`Store::finish_scrub`] when it is through or has failed.
#[derive(Debug)]
pub struct Scrub {
    shared: Arc<Shared>,
    place: Place,
    next: Scrubbed,
    bytes: u64,
    healed: Vec<Damage>,
    state_is_lost: bool,
    marks_are_lost: bool,
}

#[derive(Debug)]
enum Place {
    /// From an offset on; 0 before the header was read.
    Segment {
        sealed: Box<Sealed>,
        offset: u64,
        chain: u32,
        row: usize,
    },
    Manifest,
    State,
    Marks,
    Image,
    ImagePieces(Pieces),
    End,
    Done,
    /// Also while a step is taken.
    Failed,
}

/// What a piece of a pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubDone {
    /// What was read, in bytes.
    pub bytes: u64,
    /// Whether the pass is over.
    pub is_last: bool,
    /// What could not be read, was known all the same, and is written anew.
    pub healed: Vec<Damage>,
}

/// Seconds until a piece that failed is tried again.
const RETRY_S: u64 = 600;
/// Ends a walk that has done enough for one step.
const ENOUGH: &str = "enough for one step";

/// A segment's number with its kind: logs and rewritten segments are counted apart.
fn code(id: FileId) -> u64 {
    id.number << 1 | u64::from(id.kind == Kind::Segment)
}

impl Scrub {
    /// Reads about `budget_bytes` more; true when this piece is through.
    ///
    /// # Errors
    /// When the disk refuses something else than to read: this piece is over.
    pub fn step(&mut self, budget_bytes: u64) -> Result<bool, StoreError> {
        self.place = match std::mem::replace(&mut self.place, Place::Failed) {
            Place::Segment { sealed, offset, chain, row } => {
                self.segment(sealed, (offset, chain, row), budget_bytes)?
            }
            Place::Manifest => {
                if let Some(damage) = self.shared.manifest.verify()? {
                    self.healed.push(damage);
                }
                Place::State
            }
            Place::State => {
                let number = self.shared.manifest.current().state;
                let read = number.map(|number| dump::read(&self.shared.dir, number).map(drop));
                let shared = self.shared.clone();
                let still = || shared.manifest.current().state == number;
                self.state_is_lost = self.small_is_lost(read, still)?;
                Place::Marks
            }
            Place::Marks => {
                let number = self.shared.manifest.current().marks;
                let read = number.map(|number| marks::read(&self.shared.dir, number).map(drop));
                let shared = self.shared.clone();
                let still = || shared.manifest.current().marks == number;
                self.marks_are_lost = self.small_is_lost(read, still)?;
                Place::Image
            }
            Place::Image => self.begin_image(),
            Place::ImagePieces(pieces) => self.image(pieces, budget_bytes),
            Place::End => {
                self.next.write(&self.shared.dir)?;
                Place::Done
            }
            ended @ (Place::Done | Place::Failed) => ended,
        };
        Ok(matches!(self.place, Place::Done))
    }

    /// Frames from a place on, each row against the table.
    fn segment(
        &mut self,
        sealed: Box<Sealed>,
        (offset, chain, row): (u64, u32, usize),
        budget: u64,
    ) -> Result<Place, StoreError> {
        let table = &sealed.segment.table;
        let (mut row, mut left) = (row, budget);
        let (offset, chain) = match offset {
            0 => match sealed.segment.file.header(sealed.segment.id) {
                Ok(header) => (HEADER_BYTES as u64, header.checksum()),
                Err(OpenError::Store(error)) if !error.is_damage() => return Err(error),
                Err(_) => {
                    self.lost(&sealed, sealed.segment.file.damage(0, "its header cannot be read"));
                    return Ok(Place::End);
                }
            },
            _ => (offset, chain),
        };
        let walked = frame::walk(&sealed.segment.file, offset, chain, |frame| {
            if left == 0 {
                return Err(ENOUGH);
            }
            for ((at, record), place) in frame.rows.iter().zip(row..) {
                let slot = (place < table.len()).then(|| table.slot(place));
                let fits = slot.is_some_and(|slot| {
                    let same =
                        (slot.revision, slot.tombstone) == (record.revision, record.tombstone);
                    same && u64::from(slot.offset) == frame.offset_of(*at)
                });
                if !fits {
                    return Err("its rows are not those of its table");
                }
            }
            row += frame.rows.len();
            left = left.saturating_sub(frame.header.frame_bytes());
            Ok(())
        });
        let walked = match walked {
            Err(error) if error.is_damage() => {
                self.lost(&sealed, sealed.segment.file.damage(offset, "it cannot be read"));
                return Ok(Place::End);
            }
            walked => walked?,
        };
        self.bytes += walked.offset - offset;
        let (offset, chain) = (walked.offset, walked.chain);
        if walked.why == Some(ENOUGH) {
            return Ok(Place::Segment { sealed, offset, chain, row });
        }
        if (offset, chain, row) != (sealed.end.offset, sealed.end.chain, table.len()) {
            let why = walked.why.unwrap_or("the file ends too early");
            self.lost(&sealed, sealed.segment.file.damage(offset, why));
        }
        Ok(Place::End)
    }

    fn lost(&mut self, sealed: &Sealed, damage: Damage) {
        sealed.segment.note_damage(damage);
        self.next.damages += 1;
        // The pass goes on, but it is not clean any more.
    }

    /// Whether a small file cannot be read that is still the one in place.
    fn small_is_lost(
        &mut self,
        read: Option<Result<(), OpenError>>,
        still: impl Fn() -> bool,
    ) -> Result<bool, StoreError> {
        let damage = match read {
            None | Some(Ok(())) => return Ok(false),
            Some(Err(OpenError::Store(StoreError::Damaged(damage)))) => damage,
            Some(Err(OpenError::Store(error))) if !error.is_damage() => return Err(error),
            Some(Err(error)) => {
                let what = "it cannot be read";
                Damage { file: file_of(&error), offset: 0, what }
            }
        };
        // Another may have taken its place while it was read.
        let lost = still();
        if lost {
            self.healed.push(damage);
        }
        Ok(lost)
    }

    fn begin_image(&mut self) -> Place {
        let Some(number) = self.shared.manifest.current().index else { return self.ended() };
        let name = FileId::new(Kind::Index, number).to_string();
        match self.shared.dir.open(&name) {
            Ok(file) => Place::ImagePieces(Pieces::new(file)),
            // Exchanged a moment ago. And whatever is wrong with it, it only costs time.
            Err(_) => self.ended(),
        }
    }

    /// An image is a shortcut: a start that finds it damaged does without and says so.
    fn image(&mut self, mut pieces: Pieces, budget: u64) -> Place {
        let mut left = budget;
        while left > 0 {
            match pieces.next() {
                Ok(Some(piece)) => {
                    self.bytes += piece.len() as u64;
                    left = left.saturating_sub(piece.len() as u64);
                }
                Ok(None) | Err(_) => return self.ended(),
            }
        }
        Place::ImagePieces(pieces)
    }

    /// The pass is over.
    fn ended(&mut self) -> Place {
        if self.next.damages == 0 {
            self.next.clean_s = self.next.begun_s;
        }
        self.next.begun_s = 0;
        Place::End
    }
}

fn file_of(error: &OpenError) -> String {
    match error {
        OpenError::Store(StoreError::Io { file, .. } | StoreError::Stopped { file, .. })
        | OpenError::MissingFile { file }
        | OpenError::NewerFormat { file, .. } => file.clone(),
        OpenError::Store(StoreError::Damaged(damage)) => damage.file.clone(),
        OpenError::Store(StoreError::Missing { .. }) => MANIFEST.to_owned(),
    }
}

impl Store {
    /// How far scrubbing has come.
    pub fn scrubbed(&self) -> Scrubbed {
        self.scrubbing.now
    }

    /// Begins the next piece of a pass. A new pass is begun `rest_s` seconds after the end of the one before, at `now_s`
    /// seconds since 1970 at the earliest. `None` while there is nothing to do.
    pub fn begin_scrub(&mut self, now_s: u64, rest_s: u64) -> Option<Scrub> {
        let Scrubbing { now, ended_s, is_under_way, .. } = &self.scrubbing;
        let mut next = *now;
        if *is_under_way || now_s < self.scrubbing.retry_s {
            return None;
        }
        if next.begun_s == 0 {
            if 0 < *ended_s && now_s < ended_s.saturating_add(rest_s) {
                return None;
            }
            let clean_s = next.clean_s;
            next = Scrubbed { begun_s: now_s.max(1), clean_s, ..Scrubbed::default() };
        }
        let at = self.sealed.iter().position(|sealed| code(sealed.segment.id) == next.segment);
        let after = self.sealed.iter().position(|sealed| next.revision < sealed.last.main);
        let place = match at.filter(|_| 0 < next.segment) {
            Some(at) => self.sealed.get(at + 1),
            None => after.map(|place| &self.sealed[place]),
        };
        let place = match place {
            Some(sealed) => {
                next.segment = code(sealed.segment.id);
                next.revision = sealed.last.main;
                Place::Segment { sealed: Box::new(sealed.clone()), offset: 0, chain: 0, row: 0 }
            }
            None => Place::Manifest,
        };
        self.scrubbing.is_under_way = true;
        Some(Scrub {
            shared: self.shared.clone(),
            place,
            next,
            bytes: 0,
            healed: Vec::new(),
            state_is_lost: false,
            marks_are_lost: false,
        })
    }

    /// Takes note of a piece that is through, or has failed and is to be done again. One of another store is passed
    /// over. Quick. What the small files have lost the next cleaning writes.
    pub fn finish_scrub(&mut self, scrub: Scrub, now_s: u64) -> ScrubDone {
        if !Arc::ptr_eq(&self.shared, &scrub.shared) {
            return ScrubDone::default();
        }
        let scrubbing = &mut self.scrubbing;
        scrubbing.is_under_way = false;
        scrubbing.state_is_lost |= scrub.state_is_lost;
        scrubbing.marks_are_lost |= scrub.marks_are_lost;
        let is_done = matches!(scrub.place, Place::Done);
        if !is_done {
            scrubbing.retry_s = now_s.saturating_add(RETRY_S);
        }
        let is_last = is_done && scrub.next.begun_s == 0;
        if is_done {
            scrubbing.now = scrub.next;
        }
        if is_last {
            scrubbing.ended_s = now_s;
        }
        ScrubDone { bytes: scrub.bytes, is_last, healed: scrub.healed }
    }
}

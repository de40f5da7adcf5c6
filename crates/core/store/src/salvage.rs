//! Salvage: what is still whole of a store that does not open any more, or of which parts cannot be read.
//!
//! Nothing here believes that a file is there or right, and nothing is written. Rows come out in the order of their
//! revisions. Of a row that is lost the footer often knows the key: then a deletion of that key comes in its place, for
//! an older value would be taken for the present one. What is lost is told, row by row.
//!
//! Always true: what comes out was written so, or is such a deletion; a deleted key comes back only where what deleted
//! it is lost, and then that is told.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use types::{Revision, Row, encode_tombstone};
use vfs::Disk;

use crate::dump::{self, Dump};
use crate::ends::Applied;
use crate::files::{Dir, FileId, HEADER_BYTES, Kind, Named};
use crate::footer::{Footer, KeyColumn};
use crate::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use crate::manifest::{MANIFEST, Manifest, ManifestFile};
use crate::marks::{self, MarksRead};
use crate::segment::{Extent, Segment, Span};
use crate::sync::Position;
use crate::{Damage, OpenError, RowMeta, State, StateChange, StoreError, record};

/// Losses that are told one by one; more are only counted.
const LOSSES_TOLD_MAX: usize = 10_000;
/// Places looked up at once.
const SPANS_AT_ONCE: usize = 1024;

/// What could be had of a store, besides its rows.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// The small state.
    pub state: State,
    /// The last entry that was found complete, and its term.
    pub applied_index: u64,
    /// See `applied_index`.
    pub applied_term: u64,
    /// Rows that are whole.
    pub rows: u64,
    /// What is lost, as far as it is told one by one.
    pub losses: Vec<Loss>,
    /// How many losses there are.
    pub losses_count: u64,
    /// The newest revision of which a row is known to be lost; 0 for none.
    pub newest_lost: i64,
}

/// Something that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where, and what is wrong there.
    pub damage: Damage,
    /// The row's revision, where one row is lost and that is known.
    pub revision: Option<Revision>,
    /// Its key, where that is known: it is deleted in what comes out.
    pub key: Option<Bytes>,
}

/// Reads the store in `dir` and hands each row that can be had to `take`, in the order of revisions.
///
/// # Errors
/// When the directory cannot be listed, or `take` refuses.
pub fn salvage(
    disk: Arc<dyn Disk>,
    dir: &Path,
    take: &mut dyn FnMut(Row) -> Result<(), StoreError>,
) -> Result<Salvaged, StoreError> {
    let dir = Dir::new(disk, dir);
    let names = dir.list()?;
    let mut salvage = Salvage {
        dir,
        take,
        out: Salvaged::default(),
        last: Revision::default(),
        marks: MarksRead::default(),
        dumped: Position::default(),
        open: Open::default(),
        lost_before: false,
    };
    salvage.run(&names)?;
    Ok(salvage.out)
}

struct Salvage<'a> {
    dir: Dir,
    take: &'a mut dyn FnMut(Row) -> Result<(), StoreError>,
    out: Salvaged,
    /// The newest row that was handed out.
    last: Revision,
    marks: MarksRead,
    /// Changes of state before this are in the file of state.
    dumped: Position,
    open: Open,
    /// Whether rows may be lost behind the last one.
    lost_before: bool,
}

/// What open frames hold: it counts when the frame is there that ends them.
#[derive(Default)]
struct Open {
    rows: Vec<Row>,
    changes: Vec<StateChange>,
}

/// A footer and the file it ends.
struct Full {
    id: FileId,
    extent: Option<Extent>,
    keys: Option<KeyColumn>,
}

impl Salvage<'_> {
    fn run(&mut self, names: &[String]) -> Result<(), StoreError> {
        let manifest = match ManifestFile::open(&self.dir) {
            Ok(file) => Some(file.current()),
            Err(error) => {
                self.lose_beside(damage_of(error, MANIFEST));
                None
            }
        };
        if let Some(number) = manifest.as_ref().and_then(|manifest| manifest.state) {
            let (Dump { state, position, .. }, lost) = dump::salvage(&self.dir, number);
            (self.out.state, self.dumped) = (state, position);
            lost.into_iter().for_each(|damage| self.lose_beside(damage));
        }
        if let Some(number) = manifest.as_ref().and_then(|manifest| manifest.marks) {
            let name = FileId::new(Kind::Marks, number).to_string();
            match marks::read(&self.dir, number) {
                Ok((marks, _)) => self.marks = marks,
                Err(error) => self.lose_beside(damage_of(error, &name)),
            }
        }
        for (id, is_listed) in self.files(manifest.as_ref(), names) {
            self.file(id, is_listed)?;
        }
        Ok(())
    }

    /// The files that hold rows, in the order of their rows, and whether each is known to be complete.
    fn files(&self, manifest: Option<&Manifest>, names: &[String]) -> Vec<(FileId, bool)> {
        let ids = names.iter().filter_map(|name| FileId::from_name(name));
        let mut ids: Vec<FileId> =
            ids.filter(|id| matches!(id.kind, Kind::Log | Kind::Segment)).collect();
        ids.sort_by_key(|id| id.number);
        if let Some(manifest) = manifest {
            let listed = manifest.segments.iter().map(|listed| (listed.id, true));
            let tail = ids.iter().filter(|id| id.kind == Kind::Log && manifest.tail <= id.number);
            return listed.chain(tail.map(|id| (*id, false))).collect();
        }
        let mut by_row: Vec<(Revision, FileId)> =
            ids.into_iter().map(|id| (self.first_row(id), id)).collect();
        by_row.sort();
        by_row.into_iter().map(|(_, id)| (id, false)).collect()
    }

    /// The first row of a file, as far as that can be said.
    fn first_row(&self, id: FileId) -> Revision {
        let Ok(file) = self.dir.open(&id.to_string()) else { return Revision::default() };
        let mut first = None;
        let _ = frame::read_at(&file, HEADER_BYTES as u64, |frame| {
            first = frame.rows.first().map(|(_, record)| record.revision);
        });
        let table = || Footer::read(&file).ok().flatten().filter(|it| it.table.len() > 0);
        first.or_else(|| table().map(|footer| footer.table.slot(0).revision)).unwrap_or_default()
    }

    fn file(&mut self, id: FileId, is_listed: bool) -> Result<(), StoreError> {
        let name = id.to_string();
        let file = match self.dir.open(&name) {
            Ok(file) => file,
            Err(error) => {
                self.lose(damage_of(error, &name));
                return Ok(());
            }
        };
        if let Err(error) = file.header(id) {
            self.lose_beside(damage_of(error, &name));
        }
        match Footer::read(&file) {
            Ok(Some(footer)) if is_listed || self.ends_whole(id) => self.by_table(id, file, footer),
            _ => self.by_frames(id, &file),
        }
    }

    /// Whether a full log ends with a complete entry: the next one says so.
    fn ends_whole(&self, id: FileId) -> bool {
        let next = FileId::new(Kind::Log, id.number + 1);
        let header = self.dir.open(&next.to_string()).and_then(|file| file.header(next));
        id.kind == Kind::Segment || header.is_ok_and(|header| header.numbers[2] == 0)
    }

    /// Each row by itself, where the table says that it lies.
    fn by_table(&mut self, id: FileId, file: Named, footer: Footer) -> Result<(), StoreError> {
        let keys = footer.keys.read(&file).ok().flatten().map(KeyColumn::new);
        for offset in &footer.states {
            if self.dumped <= (Position { log: id.number, offset: *offset }) {
                let state = &mut self.out.state;
                let read = frame::read_at(&file, *offset, |frame| {
                    frame.changes.iter().for_each(|change| state.apply(change));
                });
                if let Err(error) = read {
                    self.lose_beside(damage_of(error.into(), file.name()));
                }
            }
        }
        self.applied(Applied { index: footer.end.index, term: footer.end.term });
        let segment = Arc::new(Segment::new(id, file, footer.table));
        let mut full = Full { id, extent: Extent::new(&segment), keys };
        let mut position = 0;
        while let Some(spans) = full.next(position) {
            let metas = full.metas(&spans);
            for (at, span) in spans.iter().enumerate() {
                let meta = metas.as_ref().map(|metas| &metas[at]);
                self.row_of_table(&full, position + at, *span, meta)?;
            }
            position += spans.len();
        }
        Ok(())
    }

    fn row_of_table(
        &mut self,
        full: &Full,
        position: usize,
        span: Span,
        meta: Option<&RowMeta>,
    ) -> Result<(), StoreError> {
        if self.marks.get(&full.id).is_some_and(|(_, bits)| bits.get(position)) {
            return Ok(());
        }
        let Some(extent) = &full.extent else { return Ok(()) };
        let error = match extent.read_span(span) {
            Ok(row) => return self.whole(row),
            Err(error) => error,
        };
        let (revision, key) = (span.slot.revision, meta.map(|meta| meta.key.clone()));
        let deleted = key.as_ref().map(|key| encode_tombstone(key, revision));
        // A deletion says no more than its key.
        if span.slot.tombstone
            && let Some(row) = deleted
        {
            return self.whole(row);
        }
        let damage = damage_of(error.into(), extent.segment.file.name());
        self.lose_row(Loss { damage, revision: Some(revision), key });
        deleted.map_or(Ok(()), |row| self.hand_out(row))
    }

    /// Frame by frame, as far as one leads to the next.
    fn by_frames(&mut self, id: FileId, file: &Named) -> Result<(), StoreError> {
        let bytes = file.len().unwrap_or(0);
        let (mut offset, mut chain) = (HEADER_BYTES as u64, None);
        while offset + FRAME_HEADER_BYTES as u64 <= bytes {
            let mut head = [0; FRAME_HEADER_BYTES];
            let header =
                file.read(&mut head, offset).ok().and_then(|()| FrameHeader::decode(&head));
            let follows = |header: &FrameHeader| {
                chain.is_none_or(|chain| header.follows(chain))
                    && offset + header.frame_bytes() <= bytes
            };
            let Some(header) = header.filter(follows) else {
                // A footer, or a torn end, or what an older life of the file left. Or rot.
                let what = "no frame begins here: whatever follows is left out";
                if head.iter().any(|byte| *byte != 0) && !is_footer(file, offset) {
                    self.lose(file.damage(offset, what));
                }
                return Ok(());
            };
            let mut body = vec![0; header.body_bytes as usize];
            match file.read(&mut body, offset + FRAME_HEADER_BYTES as u64) {
                Ok(()) => self.frame(id, file, offset, &header, &body.into())?,
                Err(error) => self.lose(damage_of(error.into(), file.name())),
            }
            offset += header.frame_bytes();
            chain = Some(header.checksum);
        }
        Ok(())
    }

    /// The records of a frame, each by itself.
    fn frame(
        &mut self,
        id: FileId,
        file: &Named,
        offset: u64,
        header: &FrameHeader,
        body: &Bytes,
    ) -> Result<(), StoreError> {
        let place = |at: usize| offset + (FRAME_HEADER_BYTES + at) as u64;
        let mut at = 0;
        for _ in 0..header.rows {
            let left = body.get(at..).unwrap_or_default();
            match record::take_row(body, at) {
                Some(row) => {
                    at += record::bytes_of(&row);
                    self.open.rows.push(row);
                }
                None => {
                    let damage = file.damage(place(at), "a row's checksum is wrong");
                    self.lose_row(Loss { damage, revision: None, key: None });
                    let Some(length) = record::stated_bytes(left) else { return Ok(()) };
                    at += length;
                }
            }
        }
        for _ in 0..header.changes {
            let Some((change, _, length)) = record::take_change(body.get(at..).unwrap_or_default())
            else {
                self.lose_beside(
                    file.damage(place(at), "a change of the small state cannot be read"),
                );
                break;
            };
            at += length;
            if self.dumped <= (Position { log: id.number, offset }) {
                self.open.changes.push(change);
            }
        }
        if header.is_open() {
            return Ok(());
        }
        self.applied(Applied { index: header.index, term: header.term });
        let Open { rows, changes } = std::mem::take(&mut self.open);
        changes.iter().for_each(|change| self.out.state.apply(change));
        rows.into_iter().try_for_each(|row| self.whole(row))
    }

    fn applied(&mut self, entry: Applied) {
        if self.out.applied_index < entry.index {
            (self.out.applied_index, self.out.applied_term) = (entry.index, entry.term);
        }
    }

    fn whole(&mut self, row: Row) -> Result<(), StoreError> {
        self.out.rows += u64::from(self.last < row.revision);
        self.hand_out(row)
    }

    /// Without a manifest a row may be met twice: in a segment and in the one it was copied to.
    fn hand_out(&mut self, row: Row) -> Result<(), StoreError> {
        if row.revision <= self.last {
            return Ok(());
        }
        self.last = row.revision;
        if std::mem::take(&mut self.lost_before) {
            self.out.newest_lost = row.revision.main;
        }
        (self.take)(row)
    }

    /// Rows may be lost with it, somewhere between the last one and the next.
    fn lose(&mut self, damage: Damage) {
        self.lose_row(Loss { damage, revision: None, key: None });
    }

    fn lose_row(&mut self, loss: Loss) {
        let main = loss.revision.map_or(self.last.main, |revision| revision.main);
        self.lost_before |= loss.revision.is_none();
        self.out.newest_lost = self.out.newest_lost.max(main);
        self.tell(loss);
    }

    /// No row is lost with it.
    fn lose_beside(&mut self, damage: Damage) {
        self.tell(Loss { damage, revision: None, key: None });
    }

    fn tell(&mut self, loss: Loss) {
        self.out.losses_count += 1;
        if self.out.losses.len() < LOSSES_TOLD_MAX {
            self.out.losses.push(loss);
        }
    }
}

impl Full {
    fn next(&self, position: usize) -> Option<Vec<Span>> {
        let spans = self.extent.as_ref()?.spans(position, SPANS_AT_ONCE);
        (!spans.is_empty()).then_some(spans)
    }

    /// The rows' keys, as long as the column holds them.
    fn metas(&mut self, spans: &[Span]) -> Option<Vec<RowMeta>> {
        let metas = self.keys.as_mut()?.take(spans);
        if metas.is_none() {
            self.keys = None;
        }
        metas
    }
}

/// Whether the frames of a full file end here.
fn is_footer(file: &Named, offset: u64) -> bool {
    matches!(Footer::read(file), Ok(Some(footer)) if footer.end.offset == offset)
}

fn damage_of(error: OpenError, file: &str) -> Damage {
    let lost = |what| Damage { file: file.to_owned(), offset: 0, what };
    match error {
        OpenError::Store(StoreError::Damaged(damage)) => damage,
        OpenError::Store(_) => lost("it cannot be read"),
        OpenError::MissingFile { .. } => lost("it is missing"),
        OpenError::NewerFormat { .. } => lost("it is of a newer release"),
    }
}

//! One segment as readers see it: a file, its table, and how much of both belongs to the view.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use types::{Revision, Row};

use crate::files::{FileId, Named};
use crate::footer::Column;
use crate::marks::Bitmap;
use crate::record;
pub(crate) use crate::table::Span;
use crate::table::{Slot, Table};
use crate::{Damage, StoreError};

/// A longer row is not read together with others.
const LONG_ROW_BYTES: u64 = 16 << 10;
/// Rows further apart than this are read with two calls.
const GAP_BYTES_MAX: u64 = 4 << 10;
/// The most that is read into one buffer for several rows.
const BUFFER_BYTES_MAX: u64 = 64 << 10;

/// A file of frames and the table of its rows.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: FileId,
    pub(crate) file: Named,
    pub(crate) table: Table,
    /// The first row of it that could not be read. It stays where it is: all others are served, and it is not
    /// cleaned.
    damage: OnceLock<Damage>,
}

impl Segment {
    pub(crate) fn new(id: FileId, file: Named, table: Table) -> Segment {
        Segment { id, file, table, damage: OnceLock::new() }
    }

    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Takes note of something that cannot be read; the first of it counts.
    pub(crate) fn note_damage(&self, damage: Damage) {
        let _ = self.damage.set(damage);
    }

    fn note(&self, error: StoreError, offset: u64) -> StoreError {
        let damage = match &error {
            StoreError::Damaged(damage) => damage.clone(),
            _ => self.file.damage(offset, "it cannot be read"),
        };
        self.note_damage(damage);
        error
    }
}

/// The part of a segment that belongs to a view, at least one row of it.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) segment: Arc<Segment>,
    pub(crate) rows: usize,
    /// The end of its last row.
    end: u64,
    pub(crate) first: Revision,
    pub(crate) last: Revision,
    /// Rows that nobody may build an index from.
    pub(crate) buried: Option<Arc<Bitmap>>,
    /// Where the rows' keys stand together; not in a segment that still grows.
    pub(crate) keys: Option<Column>,
}

impl Extent {
    /// All rows of a segment so far; `None` when there is none. For the one writer.
    pub(crate) fn new(segment: &Arc<Segment>) -> Option<Extent> {
        let rows = segment.table.len();
        let last = rows.checked_sub(1)?;
        Some(Extent {
            segment: segment.clone(),
            rows,
            end: segment.table.end(),
            first: segment.table.slot(0).revision,
            last: segment.table.slot(last).revision,
            buried: None,
            keys: None,
        })
    }

    /// The same of a segment that is full: its rows' keys stand in this column.
    pub(crate) fn with_keys(self, keys: Column) -> Extent {
        Extent { keys: Some(keys), ..self }
    }

    pub(crate) fn is_buried(&self, position: usize) -> bool {
        self.buried.as_ref().is_some_and(|bits| bits.get(position))
    }

    pub(crate) fn span(&self, position: usize) -> Span {
        let table = &self.segment.table;
        let next = position + 1;
        let end = if next < self.rows { table.slot(next).gap_start() } else { self.end };
        Span { slot: table.slot(position), end }
    }

    /// Spans from a position on, at least one if there is one, at most so many.
    pub(crate) fn spans(&self, from: usize, count_max: usize) -> Vec<Span> {
        let end = self.rows.min(from.saturating_add(count_max));
        let slots = self.segment.table.slots(from, end);
        let Some(last) = (from + slots.len()).checked_sub(1) else { return Vec::new() };
        let end = self.span(last).end;
        let ends = slots.iter().skip(1).map(Slot::gap_start).chain([end]);
        slots.iter().zip(ends).map(|(slot, end)| Span { slot: *slot, end }).collect()
    }

    /// Where the row of exactly this revision lies.
    pub(crate) fn find(&self, revision: Revision) -> Option<Span> {
        let (slot, next) = self.segment.table.find_with_next(revision, self.rows)?;
        Some(Span { slot, end: next.map_or(self.end, |next| next.gap_start()) })
    }

    /// Reads the row of exactly this revision.
    pub(crate) fn read(&self, revision: Revision) -> Result<Row, StoreError> {
        self.read_span(self.find(revision).ok_or(StoreError::Missing { revision })?)
    }

    pub(crate) fn read_span(&self, span: Span) -> Result<Row, StoreError> {
        let mut bytes = vec![0; span.bytes() as usize];
        let read = self.segment.file.read(&mut bytes, span.start());
        read.map_err(|error| self.segment.note(error, span.start()))?;
        self.take(&bytes.into(), 0, span)
    }

    /// Takes a row out of what was read, and makes sure that it is the one.
    pub(crate) fn take(&self, buffer: &Bytes, at: usize, span: Span) -> Result<Row, StoreError> {
        let row = record::take_row(buffer, at);
        let row = row.filter(|row| {
            row.revision == span.slot.revision && row.tombstone == span.slot.tombstone
        });
        row.ok_or_else(|| {
            let damage = self.segment.file.damage(span.start(), "a row's checksum is wrong");
            self.segment.note(damage.into(), span.start())
        })
    }

    /// Reads several rows, given in order of their place, neighbours with one call and many into one
    /// buffer. Ends early once about `bytes_max` bytes were read, but never before the first row.
    pub(crate) fn read_spans(
        &self,
        spans: &[Span],
        bytes_max: u64,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::with_capacity(spans.len());
        let mut done = 0;
        while rows.len() < spans.len() && (done < bytes_max || rows.is_empty()) {
            let runs = runs(&spans[rows.len()..], (bytes_max - done).min(BUFFER_BYTES_MAX));
            done += runs.iter().flat_map(|run| run.iter()).map(Span::bytes).sum::<u64>();
            match runs[..] {
                [[lone]] => rows.push(self.read_span(*lone)?),
                _ => self.read_runs(&runs, &mut rows)?,
            }
        }
        Ok(rows)
    }

    /// Reads runs into one buffer, each with one call, and takes their rows from there.
    fn read_runs(&self, runs: &[&[Span]], rows: &mut Vec<Row>) -> Result<(), StoreError> {
        let bytes: u64 = runs.iter().map(|run| run_bytes(run)).sum();
        let mut buffer = vec![0; bytes as usize];
        let mut rest = buffer.as_mut_slice();
        for run in runs {
            let (piece, behind) = rest.split_at_mut(run_bytes(run) as usize);
            self.segment.file.read(piece, run[0].start())?;
            rest = behind;
        }
        let buffer = Bytes::from(buffer);
        let mut at = 0;
        for run in runs {
            for span in *run {
                let row = at + span.start() - run[0].start();
                rows.push(self.take(&buffer, row as usize, *span)?);
            }
            at += run_bytes(run);
        }
        Ok(())
    }
}

/// From the first row of a run to the end of its last.
fn run_bytes(run: &[Span]) -> u64 {
    run.last().map_or(0, |last| last.end - run[0].start())
}

/// The first of these spans, at least one, as runs that are worth reading together, in about `bytes_max`
/// bytes. A long row without neighbours is a run by itself and the only one.
fn runs(spans: &[Span], bytes_max: u64) -> Vec<&[Span]> {
    let (mut runs, mut bytes, mut taken) = (Vec::new(), 0, 0);
    while taken < spans.len() && (bytes < bytes_max || taken == 0) {
        let left = &spans[taken..];
        let joined = left.windows(2).take_while(|pair| {
            let near = pair[1].start().saturating_sub(pair[0].end) <= GAP_BYTES_MAX;
            near && bytes + pair[1].end - left[0].start() <= bytes_max
        });
        let run = &left[..=joined.count()];
        let is_long = run.len() == 1 && LONG_ROW_BYTES < run[0].bytes();
        if is_long && taken > 0 {
            break;
        }
        bytes += run_bytes(run);
        taken += run.len();
        runs.push(run);
        if is_long {
            break;
        }
    }
    runs
}

//! A segment's table: which revision lies where, and how long its record is. Twelve bytes a row.
//!
//! Lengths cost nothing: a record ends where the next one begins, less what lies between the two. That is nothing,
//! or the header of a frame, and two bits say which; whatever else it may be stands in a short list.
//!
//! The writer pushes at the end while readers search the part they were shown: chunks of numbers that are
//! written once and never moved. A reader knows how many rows it may look at from its view, and views are
//! handed over with the rows already in place, so the numbers themselves need no order of their own.
//!
//! Always true: revisions ascend, offsets ascend, records do not overlap.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use types::{Revision, Row};

use crate::frame::FRAME_HEADER_BYTES;
use crate::record;

/// Rows per chunk.
const CHUNK_ROWS: usize = 1024;
const NUMBERS: usize = 3;
/// The bit beside a sub revision that says: a frame's header lies before the record.
const HEADER_BEFORE: u32 = 1 << 30;
/// The bit beside a sub revision that says: what lies before the record stands in the list.
const OTHER_BEFORE: u32 = 1 << 29;
const SUB: u32 = OTHER_BEFORE - 1;

/// One row's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// Where its record begins in the file.
    pub(crate) offset: u32,
    /// How many bytes lie between it and the record before.
    pub(crate) gap: u32,
}

impl Slot {
    /// Where the record before it ends.
    pub(crate) fn gap_start(&self) -> u64 {
        u64::from(self.offset).saturating_sub(self.gap.into())
    }
}

/// A row on its way into a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewSlot {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// Where its record begins in the file.
    pub(crate) offset: u32,
    /// Of the whole record, in bytes.
    pub(crate) bytes: u32,
}

impl NewSlot {
    /// A row whose record begins at `offset`.
    pub(crate) fn of(row: &Row, offset: u32) -> NewSlot {
        let bytes = u32::try_from(record::bytes_of(row)).expect("requests are far below 4 GiB");
        NewSlot { revision: row.revision, tombstone: row.tombstone, offset, bytes }
    }
}

/// Revisions and places of one segment's rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    chunks: RwLock<Vec<Chunk>>,
    len: AtomicUsize,
    /// Where the last record ends.
    end: AtomicU64,
    /// All records together, in bytes.
    bytes: AtomicU64,
    /// By position: what lies before a record where it is neither nothing nor a frame's header, in bytes.
    gaps: RwLock<Vec<(usize, u32)>>,
}

#[derive(Debug)]
struct Chunk {
    /// What the first number of each row counts from: the first row's revision.
    base: i64,
    /// And the rest of that revision.
    base_sub: i64,
    /// How many rows come before this chunk.
    first: usize,
    numbers: Box<[AtomicU32]>,
}

impl Chunk {
    fn new(begin: Revision, first: usize) -> Chunk {
        let numbers = (0..CHUNK_ROWS * NUMBERS).map(|_| AtomicU32::new(0)).collect();
        Chunk { base: begin.main, base_sub: begin.sub, first, numbers }
    }

    /// The revision of its first row. Stands here so that a search among chunks looks into none.
    fn begin(&self) -> Revision {
        Revision { main: self.base, sub: self.base_sub }
    }

    /// Takes the row of this position; false if the chunk is full or too far below it.
    fn push(&self, slot: NewSlot, before: u32, position: usize) -> bool {
        let place = position - self.first;
        let Ok(delta) = u32::try_from(slot.revision.main - self.base) else { return false };
        if place >= CHUNK_ROWS {
            return false;
        }
        let (_, sub) = record::split(slot.revision, slot.tombstone);
        for (which, number) in [delta, sub | before, slot.offset].into_iter().enumerate() {
            self.numbers[place * NUMBERS + which].store(number, Ordering::Relaxed);
        }
        true
    }

    fn number(&self, place: usize, which: usize) -> u32 {
        self.numbers[place * NUMBERS + which].load(Ordering::Relaxed)
    }

    fn revision(&self, place: usize) -> Revision {
        let main = self.base + i64::from(self.number(place, 0));
        Revision { main, sub: i64::from(self.number(place, 1) & SUB) }
    }

    /// The first of its first `rows` rows that is not before `revision`, which it does not begin behind.
    ///
    /// Revisions grow evenly for a while, and the changes of one transaction lie one behind the other. So a
    /// guess and a look beside it find nearly every row that is there, where bisecting waits for memory ten
    /// times.
    fn lower_bound(&self, revision: Revision, rows: usize) -> usize {
        let Some(last) = rows.checked_sub(1) else { return 0 };
        let (ahead, newest) = (revision.main - self.base, self.revision(last));
        if newest < revision {
            return rows;
        }
        let grown = (newest.main - self.base).max(1);
        // Neither is more than a chunk's 32 bits have room for.
        let guess = (ahead as u64 * last as u64 / grown as u64) as usize;
        let there = self.revision(guess);
        if there.main == revision.main {
            let beside = guess as i64 + (revision.sub - there.sub);
            let found = usize::try_from(beside).ok().filter(|place| *place <= last);
            if let Some(place) = found.filter(|place| self.revision(*place) == revision) {
                return place;
            }
        }
        let (mut low, mut high) = if there < revision { (guess + 1, last) } else { (0, guess) };
        while low < high {
            let middle = low.midpoint(high);
            if self.revision(middle) < revision { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn slot(&self, place: usize, gaps: &Gaps<'_>) -> Slot {
        let bits = self.number(place, 1);
        let gap = match bits {
            _ if bits & OTHER_BEFORE != 0 => gaps.at(self.first + place),
            _ if bits & HEADER_BEFORE != 0 => FRAME_HEADER_BYTES as u32,
            _ => 0,
        };
        Slot {
            revision: self.revision(place),
            tombstone: bits & record::TOMBSTONE != 0,
            offset: self.number(place, 2),
            gap,
        }
    }
}

/// The list of unusual gaps, looked into only where there is one.
struct Gaps<'a>(&'a RwLock<Vec<(usize, u32)>>);

impl Gaps<'_> {
    fn at(&self, position: usize) -> u32 {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = gaps.binary_search_by_key(&position, |(position, _)| *position);
        found.map_or(0, |place| gaps[place].1)
    }
}

impl Table {
    /// Rows pushed so far.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn chunks(&self) -> RwLockReadGuard<'_, Vec<Chunk>> {
        self.chunks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn gaps(&self) -> Gaps<'_> {
        Gaps(&self.gaps)
    }

    /// Where the last record ends; 0 without one.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// All records together, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds the next row. For the one writer.
    pub(crate) fn push(&self, slot: NewSlot) {
        let position = self.len();
        let before = self.note_gap(position, slot.offset);
        let pushed = self.chunks().last().is_some_and(|last| last.push(slot, before, position));
        if !pushed {
            let chunk = Chunk::new(slot.revision, position);
            let pushed = chunk.push(slot, before, position);
            assert!(pushed, "an empty chunk has room for its first row");
            self.chunks.write().unwrap_or_else(PoisonError::into_inner).push(chunk);
        }
        let (offset, bytes) = (u64::from(slot.offset), u64::from(slot.bytes));
        self.end.store(offset + bytes, Ordering::Relaxed);
        self.bytes.store(self.bytes() + bytes, Ordering::Relaxed);
        self.len.store(position + 1, Ordering::Release);
    }

    /// Notes what lies before a record, and returns the bits that say so.
    fn note_gap(&self, position: usize, offset: u32) -> u32 {
        let gap = u64::from(offset).checked_sub(self.end()).expect("records do not overlap");
        match gap {
            0 => 0,
            // Nobody asks what lies before the first one.
            _ if position == 0 => 0,
            _ if gap == FRAME_HEADER_BYTES as u64 => HEADER_BEFORE,
            _ => {
                let gap = u32::try_from(gap).expect("an offset has 32 bits");
                self.gaps.write().unwrap_or_else(PoisonError::into_inner).push((position, gap));
                OTHER_BEFORE
            }
        }
    }

    /// The first of the first `rows` rows that is not before `revision`; `rows` if there is none.
    pub(crate) fn lower_bound(&self, revision: Revision, rows: usize) -> usize {
        lower_bound(&self.chunks(), revision, rows)
    }

    /// The row at a position below [`Table::len`].
    pub(crate) fn slot(&self, position: usize) -> Slot {
        slot(&self.chunks(), position, &self.gaps())
    }

    /// Where the row of exactly this revision is among the first `rows`.
    pub(crate) fn find(&self, revision: Revision, rows: usize) -> Option<usize> {
        let chunks = self.chunks();
        let position = lower_bound(&chunks, revision, rows);
        (position < rows && revision_at(&chunks, position) == revision).then_some(position)
    }

    /// The row of exactly this revision among the first `rows`, and the one behind it.
    pub(crate) fn find_with_next(
        &self,
        revision: Revision,
        rows: usize,
    ) -> Option<(Slot, Option<Slot>)> {
        let chunks = self.chunks();
        let (chunk, place) = locate(&chunks, revision, rows)?;
        let here = chunks.get(chunk)?;
        let end = chunks.get(chunk + 1).map_or(rows, |next| next.first.min(rows));
        let behind = here.first + place + 1;
        if end < behind || here.revision(place) != revision {
            return None;
        }
        let next = match behind < end {
            true => Some(here.slot(place + 1, &self.gaps())),
            false => (behind < rows).then(|| chunks[chunk + 1].slot(0, &self.gaps())),
        };
        Some((here.slot(place, &self.gaps()), next))
    }

    /// Several rows from a position on, at least one if there is one, never past `end`.
    pub(crate) fn slots(&self, from: usize, end: usize) -> Vec<Slot> {
        let chunks = self.chunks();
        let found = chunks.partition_point(|chunk| chunk.first <= from);
        let Some(chunk) = found.checked_sub(1).map(|found| &chunks[found]) else {
            return Vec::new();
        };
        let end = chunks.get(found).map_or(end, |next| next.first.min(end));
        let gaps = self.gaps();
        (from..end).map(|position| chunk.slot(position - chunk.first, &gaps)).collect()
    }
}

fn lower_bound(chunks: &[Chunk], revision: Revision, rows: usize) -> usize {
    locate(chunks, revision, rows).map_or(0, |(chunk, place)| chunks[chunk].first + place)
}

/// The last chunk that does not begin behind `revision`, and how many of its rows come before that; `None`
/// when all begin behind it.
fn locate(chunks: &[Chunk], revision: Revision, rows: usize) -> Option<(usize, usize)> {
    let begun = chunks.partition_point(|chunk| chunk.first < rows && chunk.begin() <= revision);
    let last = begun.checked_sub(1)?;
    let chunk = &chunks[last];
    let end = chunks.get(begun).map_or(rows, |next| next.first.min(rows));
    Some((last, chunk.lower_bound(revision, end - chunk.first)))
}

fn chunk_of(chunks: &[Chunk], position: usize) -> &Chunk {
    &chunks[chunks.partition_point(|chunk| chunk.first <= position) - 1]
}

fn slot(chunks: &[Chunk], position: usize, gaps: &Gaps<'_>) -> Slot {
    let chunk = chunk_of(chunks, position);
    chunk.slot(position - chunk.first, gaps)
}

fn revision_at(chunks: &[Chunk], position: usize) -> Revision {
    let chunk = chunk_of(chunks, position);
    chunk.revision(position - chunk.first)
}

/// Where a row's record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) slot: Slot,
    pub(crate) end: u64,
}

impl Span {
    pub(crate) fn start(&self) -> u64 {
        self.slot.offset.into()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start())
    }

    /// Bytes of the row as it is stored and sent.
    pub(crate) fn encoded_bytes(&self) -> usize {
        (self.bytes() as usize).saturating_sub(record::ROW_HEADER_BYTES)
    }

    /// Whether it is a tombstone that must stay on disk even when it is dead.
    pub(crate) fn stays(&self, tombstones_stay_after: i64) -> bool {
        self.slot.tombstone && self.slot.revision.main > tombstones_stay_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mains: impl IntoIterator<Item = i64>) -> Table {
        let table = Table::default();
        for (place, main) in mains.into_iter().enumerate() {
            let revision = Revision { main, sub: 0 };
            let offset = place as u32;
            table.push(NewSlot { revision, tombstone: place % 3 == 0, offset, bytes: 1 });
        }
        table
    }

    #[test]
    fn every_row_is_found_and_gaps_lead_to_the_row_behind_them() {
        let table = table((0..5000).map(|n| n * 2));
        for position in 0..5000 {
            let revision = Revision::first_of(position as i64 * 2);
            assert_eq!(table.find(revision, 5000), Some(position));
            assert_eq!(table.slot(position).offset, position as u32);
            assert_eq!(table.slot(position).tombstone, position % 3 == 0);
            assert_eq!(table.find(Revision::first_of(revision.main + 1), 5000), None);
            assert_eq!(table.lower_bound(Revision::first_of(revision.main - 1), 5000), position);
            let (slot, next) = table.find_with_next(revision, 5000).expect("it is there");
            assert_eq!(slot, table.slot(position));
            assert_eq!(next, (position < 4999).then(|| table.slot(position + 1)));
            let last = table.find_with_next(revision, position + 1).expect("it is there");
            assert_eq!(last, (slot, None), "what is behind a view is not seen");
            assert_eq!(table.find_with_next(Revision::first_of(revision.main + 1), 5000), None);
        }
    }

    #[test]
    fn rows_behind_a_view_are_not_seen() {
        let table = table(0..3000);
        for rows in [0, 1, 1023, 1024, 1025, 2999] {
            assert_eq!(table.find(Revision::first_of(rows as i64), rows), None);
            assert_eq!(table.lower_bound(Revision::first_of(5000), rows), rows);
            let mut seen = 0;
            while seen < rows {
                seen += table.slots(seen, rows).len();
            }
            assert_eq!(seen, rows);
        }
    }

    #[test]
    fn changes_of_one_transaction_are_found_where_some_of_them_are_gone() {
        let table = Table::default();
        // Transactions of very different lengths, with gaps as cleaning leaves them.
        let all =
            (2..400).flat_map(|main: i64| (0..(main * 7) % 23).map(move |sub| (main * main, sub)));
        let kept: Vec<Revision> = all
            .filter(|(main, sub)| (main + sub) % 5 != 0)
            .map(|(main, sub)| Revision { main, sub })
            .collect();
        for (offset, revision) in (0..).zip(&kept) {
            table.push(NewSlot { revision: *revision, tombstone: false, offset, bytes: 1 });
        }
        for main in 0..170_000 {
            for sub in [0, 1, 7, 22] {
                let revision = Revision { main, sub };
                let expected = kept.partition_point(|kept| *kept < revision);
                assert_eq!(table.lower_bound(revision, kept.len()), expected, "{revision}");
            }
        }
    }

    #[test]
    fn whatever_lies_between_two_records_their_lengths_are_known() {
        let (table, gaps) = (Table::default(), [0, 40, 0, 56, 40, 1 << 20, 0, 80]);
        let (mut end, mut expected) = (64u32, Vec::new());
        for place in 0..4000 {
            let gap = gaps[place % gaps.len()];
            let (offset, bytes) = (end + gap, 21 + place as u32 % 50);
            let revision = Revision { main: 2 + place as i64, sub: place as i64 % 7 };
            table.push(NewSlot { revision, tombstone: place % 5 == 0, offset, bytes });
            expected.push(end);
            end = offset + bytes;
        }
        for (place, end) in expected.iter().enumerate().skip(1) {
            let slot = table.slot(place);
            assert_eq!(slot.gap_start(), u64::from(*end), "{place}");
            assert_eq!(slot.revision.sub, place as i64 % 7);
            assert_eq!(slot.tombstone, place % 5 == 0);
        }
        assert_eq!(table.end(), end.into());
        assert_eq!(table.bytes(), (0..4000).map(|place| 21 + place % 50).sum::<u64>());
    }

    #[test]
    fn revisions_may_jump_by_more_than_four_billion() {
        let mains = [2, 3, 1 << 33, (1 << 33) + 1, i64::MAX];
        let table = table(mains);
        for (position, main) in mains.into_iter().enumerate() {
            assert_eq!(table.find(Revision::first_of(main), 5), Some(position));
        }
    }
}

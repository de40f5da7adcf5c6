//! A segment's table: which revision lies where. Twelve bytes a row.
//!
//! The writer pushes at the end while readers search the part they were shown: chunks of numbers that are
//! written once and never moved. A reader knows how many rows it may look at from its view, and views are
//! handed over with the rows already in place, so the numbers themselves need no order of their own.
//!
//! Always true: revisions ascend, offsets ascend.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use types::Revision;

use crate::record;

/// Rows per chunk.
const CHUNK_ROWS: usize = 1024;
const NUMBERS: usize = 3;

/// One row's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// Where its record begins in the file.
    pub(crate) offset: u32,
}

/// Revisions and offsets of one segment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    chunks: RwLock<Vec<Chunk>>,
    len: AtomicUsize,
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
    fn push(&self, slot: Slot, position: usize) -> bool {
        let place = position - self.first;
        let Ok(delta) = u32::try_from(slot.revision.main - self.base) else { return false };
        if place >= CHUNK_ROWS {
            return false;
        }
        let (_, sub) = record::split(slot.revision, slot.tombstone);
        for (which, number) in [delta, sub, slot.offset].into_iter().enumerate() {
            self.numbers[place * NUMBERS + which].store(number, Ordering::Relaxed);
        }
        true
    }

    fn number(&self, place: usize, which: usize) -> u32 {
        self.numbers[place * NUMBERS + which].load(Ordering::Relaxed)
    }

    fn revision(&self, place: usize) -> Revision {
        let main = self.base + i64::from(self.number(place, 0));
        Revision { main, sub: i64::from(self.number(place, 1) & !record::TOMBSTONE) }
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

    fn slot(&self, place: usize) -> Slot {
        Slot {
            revision: self.revision(place),
            tombstone: self.number(place, 1) & record::TOMBSTONE != 0,
            offset: self.number(place, 2),
        }
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

    /// Adds the next row. For the one writer.
    pub(crate) fn push(&self, slot: Slot) {
        let position = self.len();
        let pushed = self.chunks().last().is_some_and(|last| last.push(slot, position));
        if !pushed {
            let chunk = Chunk::new(slot.revision, position);
            assert!(chunk.push(slot, position), "an empty chunk has room for its first row");
            self.chunks.write().unwrap_or_else(PoisonError::into_inner).push(chunk);
        }
        self.len.store(position + 1, Ordering::Release);
    }

    /// The first of the first `rows` rows that is not before `revision`; `rows` if there is none.
    pub(crate) fn lower_bound(&self, revision: Revision, rows: usize) -> usize {
        lower_bound(&self.chunks(), revision, rows)
    }

    /// The row at a position below [`Table::len`].
    pub(crate) fn slot(&self, position: usize) -> Slot {
        slot(&self.chunks(), position)
    }

    /// Where the row of exactly this revision is among the first `rows`.
    pub(crate) fn find(&self, revision: Revision, rows: usize) -> Option<usize> {
        let chunks = self.chunks();
        let position = lower_bound(&chunks, revision, rows);
        (position < rows && slot(&chunks, position).revision == revision).then_some(position)
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
            true => Some(here.slot(place + 1)),
            false => (behind < rows).then(|| chunks[chunk + 1].slot(0)),
        };
        Some((here.slot(place), next))
    }

    /// Several rows from a position on, at least one if there is one, never past `end`.
    pub(crate) fn slots(&self, from: usize, end: usize) -> Vec<Slot> {
        let chunks = self.chunks();
        let found = chunks.partition_point(|chunk| chunk.first <= from);
        let Some(chunk) = found.checked_sub(1).map(|found| &chunks[found]) else {
            return Vec::new();
        };
        let end = chunks.get(found).map_or(end, |next| next.first.min(end));
        (from..end).map(|position| chunk.slot(position - chunk.first)).collect()
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

fn slot(chunks: &[Chunk], position: usize) -> Slot {
    let chunk = &chunks[chunks.partition_point(|chunk| chunk.first <= position) - 1];
    chunk.slot(position - chunk.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mains: impl IntoIterator<Item = i64>) -> Table {
        let table = Table::default();
        for (place, main) in mains.into_iter().enumerate() {
            let revision = Revision { main, sub: 0 };
            table.push(Slot { revision, tombstone: place % 3 == 0, offset: place as u32 });
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
            table.push(Slot { revision: *revision, tombstone: false, offset });
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
    fn revisions_may_jump_by_more_than_four_billion() {
        let mains = [2, 3, 1 << 33, (1 << 33) + 1, i64::MAX];
        let table = table(mains);
        for (position, main) in mains.into_iter().enumerate() {
            assert_eq!(table.find(Revision::first_of(main), 5), Some(position));
        }
    }
}

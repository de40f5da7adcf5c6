//! Which rows of a segment are dead: one bit each, and the file that makes them durable.
//!
//! A dead tombstone may only leave the disk when nobody can find an earlier row of its key any more, or a
//! deleted key would come back at the next start. So before a cleaning drops tombstones it *buries* the dead:
//! it writes all marks down, and buried rows are never shown to anyone who builds an index.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind, u32_at, u64_at};
use crate::{OpenError, StoreError};

/// Bytes before each segment's bits.
const ENTRY_BYTES: usize = 24;

/// The buried rows of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Buried {
    pub(crate) id: FileId,
    pub(crate) rows: usize,
    pub(crate) bits: Arc<Bitmap>,
    /// The marks they were taken from.
    pub(crate) from: Arc<Bitmap>,
}

/// One bit per row of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// Sets a bit; false if it was set before. Grows as needed, for a segment that does.
    pub(crate) fn set(&mut self, row: usize) -> bool {
        let (word, bit) = (row / 64, 1 << (row % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    pub(crate) fn get(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// The rows that are set here and not in `other`, ascending.
    pub(crate) fn minus<'a>(&'a self, other: &'a Bitmap) -> impl Iterator<Item = usize> + 'a {
        self.words.iter().enumerate().flat_map(move |(place, word)| {
            let mut left = word & !other.words.get(place).copied().unwrap_or(0);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(place * 64 + bit)
            })
        })
    }

    /// The rows that are set, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        const NONE: &Bitmap = &Bitmap { words: Vec::new() };
        self.minus(NONE)
    }
}

/// Writes marks as file `number` and syncs it; returns its length. Its name is not durable yet.
pub(crate) fn write(dir: &Dir, number: u64, marks: &[Buried]) -> Result<u64, StoreError> {
    let id = FileId::new(Kind::Marks, number);
    let file = dir.create(&id.to_string())?;
    let header = Header { id, numbers: [marks.len() as u64, 0, 0], chain: 0 };
    file.write(&header.encode(), 0)?;
    let mut offset = HEADER_BYTES as u64;
    for mark in marks {
        let entry = encode(mark);
        file.write(&entry, offset)?;
        offset += entry.len() as u64;
    }
    file.sync()?;
    Ok(offset)
}

fn encode(mark: &Buried) -> Vec<u8> {
    let rows = u32::try_from(mark.rows).expect("a segment has fewer than 2^32 rows");
    let mut out = vec![0; ENTRY_BYTES];
    out[4..8].copy_from_slice(&(mark.id.kind as u32).to_le_bytes());
    out[8..16].copy_from_slice(&mark.id.number.to_le_bytes());
    out[16..20].copy_from_slice(&rows.to_le_bytes());
    for place in 0..mark.rows.div_ceil(64) {
        let word = mark.bits.words.get(place).copied().unwrap_or(0);
        out.extend_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&out[4..]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// For each segment how many rows it had and which of them were dead.
pub(crate) type MarksRead = BTreeMap<FileId, (usize, Bitmap)>;

/// Reads a file of marks; returns its length too.
pub(crate) fn read(dir: &Dir, number: u64) -> Result<(MarksRead, u64), OpenError> {
    let id = FileId::new(Kind::Marks, number);
    let file = dir.open(&id.to_string())?;
    let header = file.header(id)?;
    let file_bytes = file.len()?;
    let mut marks = BTreeMap::new();
    let mut offset = HEADER_BYTES as u64;
    for _ in 0..header.numbers[0] {
        let mut entry = vec![0; ENTRY_BYTES];
        file.read(&mut entry, offset)?;
        let rows = u32_at(&entry, 16) as usize;
        let words = rows.div_ceil(64);
        if offset + (ENTRY_BYTES + words * 8) as u64 > file_bytes {
            return Err(file.damage(offset, "the marks are longer than the file").into());
        }
        entry.resize(ENTRY_BYTES + words * 8, 0);
        file.read(&mut entry[ENTRY_BYTES..], offset + ENTRY_BYTES as u64)?;
        let kind = Kind::segment_from_number(u32_at(&entry, 4));
        let (Some(kind), true) = (kind, u32_at(&entry, 0) == crc32c::crc32c(&entry[4..])) else {
            return Err(file.damage(offset, "the marks' checksum is wrong").into());
        };
        let words = entry[ENTRY_BYTES..].chunks_exact(8).map(|word| u64_at(word, 0)).collect();
        marks.insert(FileId::new(kind, u64_at(&entry, 8)), (rows, Bitmap { words }));
        offset += entry.len() as u64;
    }
    Ok((marks, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_knows_what_was_set_and_what_another_lacks() {
        let mut all = Bitmap::default();
        for row in [0, 9, 63, 64, 200] {
            assert!(all.set(row));
            assert!(!all.set(row));
        }
        let mut some = Bitmap::default();
        some.set(9);
        some.set(200);
        assert_eq!(all.rows().collect::<Vec<_>>(), [0, 9, 63, 64, 200]);
        assert_eq!(all.minus(&some).collect::<Vec<_>>(), [0, 63, 64]);
        assert!(all.get(200));
        assert!(!all.get(10_000));
    }
}

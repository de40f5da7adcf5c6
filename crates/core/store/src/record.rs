//! One row or one change of small state as bytes, with a checksum of its own.
//!
//! A row's record says all about itself and nothing about where it lies, so a cleaning copies it verbatim
//! and a read of one row needs nothing else to know that it got the right one.

use bytes::Bytes;
use types::{Revision, Row};

use crate::change::{Bucket, StateChange};
use crate::files::u32_at;

/// Bytes before a row's encoded `KeyValue`: checksum, length, main, sub and tombstone mark.
pub(crate) const ROW_HEADER_BYTES: usize = 20;
/// Bytes before a change's key and value: checksum, bucket, what to do, two lengths.
pub(crate) const CHANGE_HEADER_BYTES: usize = 16;
/// The bit of `sub` that marks a tombstone.
pub(crate) const TOMBSTONE: u32 = 1 << 31;
/// The bits of `sub` that count: room for 2^29 changes in one transaction, which would take more than 11 GB.
const SUB: u32 = (1 << 29) - 1;

const SET: u8 = 0;
const DELETE: u8 = 1;

/// The revision as the eight and four bytes it is stored in.
pub(crate) fn split(revision: Revision, tombstone: bool) -> (u64, u32) {
    let main = u64::try_from(revision.main).expect("revisions are not negative");
    let sub = u32::try_from(revision.sub).ok().filter(|sub| *sub <= SUB);
    let sub = sub.expect("a transaction is bounded far below 2^29 changes");
    (main, if tombstone { sub | TOMBSTONE } else { sub })
}

/// Reads [`split`] back; `None` for numbers that no revision has.
pub(crate) fn join(main: u64, sub: u32) -> Option<(Revision, bool)> {
    let counts = Some(sub & !TOMBSTONE).filter(|counts| *counts <= SUB)?;
    let revision = Revision { main: i64::try_from(main).ok()?, sub: i64::from(counts) };
    Some((revision, sub & TOMBSTONE != 0))
}

/// Appends a row and returns its checksum.
pub(crate) fn put_row(out: &mut Vec<u8>, row: &Row) -> u32 {
    let length = u32::try_from(row.encoded.len()).expect("requests are bounded far below 4 GiB");
    let (main, sub) = split(row.revision, row.tombstone);
    let mut header = [0; ROW_HEADER_BYTES];
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&main.to_le_bytes());
    header[16..].copy_from_slice(&sub.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), &row.encoded);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&row.encoded);
    checksum
}

/// What the record of a change takes, in bytes.
pub(crate) fn bytes_of_change(change: &StateChange) -> usize {
    let (StateChange::Set { key, .. } | StateChange::Delete { key, .. }) = change;
    let value = match change {
        StateChange::Set { value, .. } => value.len(),
        StateChange::Delete { .. } => 0,
    };
    CHANGE_HEADER_BYTES + key.len() + value
}

/// A row's record that was verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRecord {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    pub(crate) checksum: u32,
    /// Of the whole record, in bytes.
    pub(crate) bytes: usize,
}

/// How long the record at the front says it is; `None` if not even its header is there.
fn row_bytes(front: &[u8]) -> Option<u64> {
    let header = front.get(..ROW_HEADER_BYTES)?;
    Some(ROW_HEADER_BYTES as u64 + u64::from(u32_at(header, 4)))
}

/// How long the record at the front says it is, if there is as much.
pub(crate) fn stated_bytes(front: &[u8]) -> Option<usize> {
    let bytes = usize::try_from(row_bytes(front)?).ok()?;
    (bytes <= front.len()).then_some(bytes)
}

/// What the record of a row takes, in bytes.
pub(crate) fn bytes_of(row: &Row) -> usize {
    ROW_HEADER_BYTES + row.encoded.len()
}

/// Verifies the row at the front of `bytes`.
pub(crate) fn check_row(bytes: &[u8]) -> Option<RowRecord> {
    let length = usize::try_from(row_bytes(bytes)?).ok()?;
    let record = bytes.get(..length)?;
    let checksum = crc32c::crc32c(&record[4..]);
    if u32_at(record, 0) != checksum {
        return None;
    }
    let main = crate::files::u64_at(record, 8);
    let (revision, tombstone) = join(main, u32_at(record, 16))?;
    Some(RowRecord { revision, tombstone, checksum, bytes: length })
}

/// Verifies the row at `at` of a shared buffer and takes it apart without copying.
pub(crate) fn take_row(buffer: &Bytes, at: usize) -> Option<Row> {
    let record = check_row(buffer.get(at..)?)?;
    let encoded = buffer.slice(at + ROW_HEADER_BYTES..at + record.bytes);
    Row::decode(record.revision, record.tombstone, encoded).ok()
}

/// Appends a change and returns its checksum.
pub(crate) fn put_change(out: &mut Vec<u8>, change: &StateChange) -> u32 {
    match change {
        StateChange::Set { bucket, key, value } => put_state(out, *bucket, SET, key, value),
        StateChange::Delete { bucket, key } => put_state(out, *bucket, DELETE, key, &[]),
    }
}

/// Appends one key and its value as [`StateChange::Set`] does.
pub(crate) fn put_set(out: &mut Vec<u8>, bucket: Bucket, key: &[u8], value: &[u8]) -> u32 {
    put_state(out, bucket, SET, key, value)
}

fn put_state(out: &mut Vec<u8>, bucket: Bucket, what: u8, key: &[u8], value: &[u8]) -> u32 {
    let narrow = |n: usize| u32::try_from(n).expect("requests are bounded far below 4 GiB");
    let mut header = [0; CHANGE_HEADER_BYTES];
    header[4] = bucket as u8;
    header[5] = what;
    header[8..12].copy_from_slice(&narrow(key.len()).to_le_bytes());
    header[12..].copy_from_slice(&narrow(value.len()).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), key);
    let checksum = crc32c::crc32c_append(checksum, value);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    checksum
}

/// How long the record of a change at the front says it is, if there is as much.
pub(crate) fn stated_change_bytes(front: &[u8]) -> Option<usize> {
    let header = front.get(..CHANGE_HEADER_BYTES)?;
    let bytes = CHANGE_HEADER_BYTES.checked_add(u32_at(header, 8) as usize)?;
    let bytes = bytes.checked_add(u32_at(header, 12) as usize)?;
    (bytes <= front.len()).then_some(bytes)
}

/// Verifies the change at the front of `bytes`; gives it with its checksum and its length in bytes.
pub(crate) fn take_change(bytes: &[u8]) -> Option<(StateChange, u32, usize)> {
    let header = bytes.get(..CHANGE_HEADER_BYTES)?;
    let key_end = CHANGE_HEADER_BYTES.checked_add(u32_at(header, 8) as usize)?;
    let end = key_end.checked_add(u32_at(header, 12) as usize)?;
    let record = bytes.get(..end)?;
    let checksum = crc32c::crc32c(&record[4..]);
    if u32_at(record, 0) != checksum {
        return None;
    }
    let bucket = Bucket::from_number(record[4])?;
    let key = Bytes::copy_from_slice(&record[CHANGE_HEADER_BYTES..key_end]);
    let change = match record[5] {
        SET => StateChange::Set { bucket, key, value: Bytes::copy_from_slice(&record[key_end..]) },
        DELETE => StateChange::Delete { bucket, key },
        _ => return None,
    };
    Some((change, checksum, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        types::encode_tombstone(b"key", Revision { main: 1 << 40, sub: 3 })
    }

    #[test]
    fn a_row_is_read_back_and_no_flipped_bit_goes_unnoticed() {
        let mut out = Vec::new();
        put_row(&mut out, &row());
        let buffer = Bytes::from(out);
        assert_eq!(take_row(&buffer, 0), Some(row()));
        for bit in 0..buffer.len() * 8 {
            let mut rotten = buffer.to_vec();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(take_row(&rotten.into(), 0), None, "bit {bit}");
        }
        assert_eq!(take_row(&buffer.slice(..buffer.len() - 1), 0), None);
        assert_eq!(take_row(&buffer, buffer.len() + 1), None);
    }

    #[test]
    fn a_change_is_read_back_and_no_flipped_bit_goes_unnoticed() {
        let (key, value) = (Bytes::from("k"), Bytes::from("v"));
        let set = StateChange::Set { bucket: Bucket::Lease, key: key.clone(), value };
        for change in [set, StateChange::Delete { bucket: Bucket::Meta, key }] {
            let mut out = Vec::new();
            let checksum = put_change(&mut out, &change);
            assert_eq!(take_change(&out), Some((change, checksum, out.len())));
            for bit in 0..out.len() * 8 {
                let mut rotten = out.clone();
                rotten[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(take_change(&rotten), None, "bit {bit}");
            }
        }
    }
}

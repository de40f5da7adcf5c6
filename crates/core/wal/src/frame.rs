//! Records and the frames they stand in.
//!
//! A frame is a length field of eight bytes, a record (`walpb.Record`: type, checksum, data) and zeros
//! up to a multiple of eight. The checksum (CRC-32C) runs over the data of all records in the order
//! they were written, across files; each record carries the value after its own data.
//!
//! Neither length nor type is under the checksum. But a length is stated twice, by the length field
//! and by the record, and a torn write cannot make them differ: it leaves what was written or what was
//! there before, which is zeros. So where both are there and differ, the bytes have rotted.

use bytes::Bytes;
use vfs::SECTOR_BYTES;

use crate::error::Damage;
use crate::wire::{put_varint, varint};

/// Bytes of a length field; frames start at multiples of this.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// The longest a record can be before its data: three tags, type, checksum and length.
const HEAD_BYTES_MAX: usize = 3 + 1 + 5 + 10;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    Crc = 4,
    Marker = 5,
}

impl RecordKind {
    pub fn from_number(number: u64) -> Option<RecordKind> {
        match number {
            1 => Some(RecordKind::Metadata),
            2 => Some(RecordKind::Entry),
            3 => Some(RecordKind::State),
            4 => Some(RecordKind::Crc),
            5 => Some(RecordKind::Marker),
            _ => None,
        }
    }
}

/// Appends a record whose data is `head` and `tail` together, and moves the checksum on. The checksum
/// record has no data and carries the value so far.
pub(crate) fn put_record(
    out: &mut Vec<u8>,
    checksum: &mut u32,
    kind: RecordKind,
    head: &[u8],
    tail: &[u8],
) {
    assert!(out.len().is_multiple_of(LENGTH_BYTES as usize), "frames start on 8-byte borders");
    let data_bytes = head.len() + tail.len();
    assert!(kind != RecordKind::Crc || data_bytes == 0);
    *checksum = crc32c::crc32c_append(crc32c::crc32c_append(*checksum, head), tail);

    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES as usize]);
    out.extend_from_slice(&[0x08, kind as u8, 0x10]);
    put_varint(out, u64::from(*checksum));
    if data_bytes > 0 {
        out.push(0x1a);
        put_varint(out, data_bytes as u64);
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
    }
    let record_bytes = (out.len() - start) as u64 - LENGTH_BYTES;
    let length = Length::of_record(record_bytes);
    out.resize(out.len() + length.padding as usize, 0);
    out[start..start + LENGTH_BYTES as usize].copy_from_slice(&length.field().to_le_bytes());
}

/// What a length field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    pub record: u64,
    pub padding: u64,
}

impl Length {
    fn of_record(record: u64) -> Length {
        assert!(record >> 56 == 0, "a group is bounded far below 2^56 bytes");
        Length { record, padding: record.next_multiple_of(LENGTH_BYTES) - record }
    }

    fn field(self) -> u64 {
        let mark = if self.padding == 0 { 0 } else { 0x80 | self.padding };
        self.record | mark << 56
    }

    /// `None` for a field that no writer makes: the padding follows from the length.
    pub fn from_field(field: u64) -> Option<Length> {
        let length = Length::of_record(field & ((1 << 56) - 1));
        (length.record > 0 && length.field() == field).then_some(length)
    }

    /// Bytes of the frame behind its length field.
    pub fn body(self) -> u64 {
        self.record + self.padding
    }
}

/// A record's fields before its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// A [`RecordKind`], if the bytes are sound.
    pub kind: u64,
    pub checksum: u32,
    /// Bytes before the data.
    pub head_bytes: usize,
    pub data_bytes: u64,
}

/// How far a record's beginning could be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadRead {
    Whole(Head),
    /// The bytes end within it.
    Cut,
    /// No record begins so.
    Wrong,
}

/// Reads the beginning of a record of `record_bytes`, of which `bytes` are there.
pub(crate) fn read_head(bytes: &[u8], record_bytes: u64) -> HeadRead {
    let bytes = &bytes[..bytes.len().min(usize::try_from(record_bytes).unwrap_or(usize::MAX))];
    let whole = bytes.len() as u64 == record_bytes || bytes.len() >= HEAD_BYTES_MAX;
    match parse_head(bytes, record_bytes) {
        Some(head) if head.head_bytes as u64 + head.data_bytes == record_bytes => {
            HeadRead::Whole(head)
        }
        None if !whole && begins_like_a_head(bytes) => HeadRead::Cut,
        _ => HeadRead::Wrong,
    }
}

fn parse_head(bytes: &[u8], record_bytes: u64) -> Option<Head> {
    let mut at = 0;
    let field = |tag: u8, at: &mut usize| {
        (*bytes.get(*at)? == tag).then_some(())?;
        *at += 1;
        varint(bytes, at)
    };
    let kind = field(0x08, &mut at)?;
    let checksum = u32::try_from(field(0x10, &mut at)?).ok()?;
    let data_bytes = if at as u64 == record_bytes { 0 } else { field(0x1a, &mut at)? };
    // Nobody has that many bytes; and the sum that follows must not overflow.
    (data_bytes >> 56 == 0).then_some(Head { kind, checksum, head_bytes: at, data_bytes })
}

/// Whether the few bytes that are there stand where a head has them.
fn begins_like_a_head(bytes: &[u8]) -> bool {
    let kind_fits = |kind: &u8| RecordKind::from_number(u64::from(*kind)).is_some();
    bytes.first().is_none_or(|tag| *tag == 0x08)
        && bytes.get(1).is_none_or(kind_fits)
        && bytes.get(2).is_none_or(|tag| *tag == 0x10)
}

/// A record that can be read but whose checksum is not yet proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub kind: RecordKind,
    pub checksum: u32,
    pub data: Bytes,
}

/// Takes a whole record apart.
pub(crate) fn parse_record(record: &Bytes) -> Result<Record, Damage> {
    let HeadRead::Whole(head) = read_head(record, record.len() as u64) else {
        return Err(Damage::Content { expected: "record" });
    };
    let kind = RecordKind::from_number(head.kind);
    let kind = kind.ok_or(Damage::UnknownType { found: head.kind })?;
    if kind == RecordKind::Crc && head.data_bytes > 0 {
        return Err(Damage::Content { expected: "checksum record" });
    }
    Ok(Record { kind, checksum: head.checksum, data: record.slice(head.head_bytes..) })
}

/// Whether a record that could not be read is an unfinished write. `body` is what there is of it, from
/// `offset` in the file, which is behind its length field.
///
/// A write is torn where the file ends or at the border of a sector, of which nothing or all arrived;
/// where nothing did, zeros were before. Padding proves nothing.
pub(crate) fn is_torn(body: &[u8], offset: u64, length: Length) -> bool {
    let record = &body[..body.len().min(length.record as usize)];
    let mut lost_at = ((record.len() as u64) < length.record).then_some(record.len());
    let mut start = 0;
    while start < record.len() && lost_at.is_none_or(|lost| start < lost) {
        let border = (offset + start as u64 + 1).next_multiple_of(SECTOR_BYTES) - offset;
        let end = record.len().min(border as usize);
        if record[start..end].iter().all(|byte| *byte == 0) {
            lost_at = Some(start);
        }
        start = end;
    }
    lost_at.is_some_and(|lost| match read_head(&record[..lost], length.record) {
        HeadRead::Whole(head) => RecordKind::from_number(head.kind).is_some(),
        HeadRead::Cut => true,
        HeadRead::Wrong => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_field_is_read_back_and_any_other_is_refused() {
        for record in 1..100 {
            let length = Length::of_record(record);
            assert_eq!(Length::from_field(length.field()), Some(length));
            assert!(length.body().is_multiple_of(8));
            for bit in 56..64 {
                assert_eq!(Length::from_field(length.field() ^ 1 << bit), None);
            }
        }
        assert_eq!(Length::of_record(4).field().to_le_bytes(), [4, 0, 0, 0, 0, 0, 0, 0x84]);
        assert_eq!(Length::of_record(16).field(), 16);
    }

    #[track_caller]
    fn check_torn(lose: std::ops::Range<usize>, expected: bool) {
        // 2000 bytes of data in a frame that begins at byte 480 of its file.
        let mut frame = Vec::new();
        put_record(&mut frame, &mut 0, RecordKind::Entry, &[7; 1000], &[7; 1000]);
        let field = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
        let length = Length::from_field(field).expect("just written");
        let mut body = frame[8..].to_vec();
        body[lose].fill(0);
        assert_eq!(is_torn(&body, 488, length), expected);
    }

    #[test]
    fn a_record_is_torn_where_a_whole_sector_of_it_is_zero() {
        check_torn(0..0, false);
        check_torn(0..24, true);
        check_torn(24..536, true);
        check_torn(25..536, false);
        check_torn(24..535, false);
        check_torn(1560..2011, true);
        check_torn(1560..2010, false);
    }

    #[test]
    fn a_record_cut_short_is_torn_unless_its_two_lengths_differ() {
        let mut frame = Vec::new();
        put_record(&mut frame, &mut 0, RecordKind::Entry, &[7; 100], &[]);
        let body = &frame[8..];
        let length = Length::of_record(body.len() as u64 - 2);
        assert_eq!(length.padding, 2, "chosen so");
        for cut in 0..body.len() - 2 {
            assert!(is_torn(&body[..cut], 8, length), "{cut} bytes are there");
        }
        let longer = Length::of_record(length.record + 64);
        assert!(is_torn(&body[..6], 8, longer), "the record's own length has not arrived");
        assert!(!is_torn(&body[..50], 8, longer));
    }
}

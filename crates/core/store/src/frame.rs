//! A batch as bytes: a header, then records; in a row of such frames where it is large. All but the last of them are
//! *open*: nothing of them counts until that one is there, which brings the entry's index.
//!
//! Each frame names the checksum of the one before, so a piece of an older life of the file, left behind
//! by a crash, cannot be taken for its continuation. The header's checksum covers the header, its digest
//! covers the records' checksums, and those cover the records.

use planted::planted;
use types::Row;

use crate::StateChange;
use crate::StoreError;
use crate::ends::{Applied, FramesEnd};
use crate::files::{Named, u32_at, u64_at};
use crate::record::{self, RowRecord};

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// The term that an open frame names, beside the index of the entry before: no entry has it.
const OPEN_TERM: u64 = u64::MAX;
/// How much of a file is read ahead when frames are walked.
const WINDOW_BYTES: usize = 1 << 20;

/// Writes one frame at the end of a buffer.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    start: usize,
    rows: u32,
    changes: u32,
    digest: u32,
}

impl FrameWriter {
    pub(crate) fn begin(out: &mut Vec<u8>) -> FrameWriter {
        let start = out.len();
        out.resize(start + FRAME_HEADER_BYTES, 0);
        FrameWriter { start, rows: 0, changes: 0, digest: 0 }
    }

    pub(crate) fn row(&mut self, out: &mut Vec<u8>, row: &Row) {
        let checksum = record::put_row(out, row);
        self.rows += 1;
        self.note(checksum);
    }

    pub(crate) fn change(&mut self, out: &mut Vec<u8>, change: &StateChange) {
        let checksum = record::put_change(out, change);
        self.changes += 1;
        self.note(checksum);
    }

    fn note(&mut self, checksum: u32) {
        self.digest = crc32c::crc32c_append(self.digest, &checksum.to_le_bytes());
    }

    /// Completes the header of a frame that ends what an entry changed; returns the checksum that the next frame
    /// refers back to.
    pub(crate) fn finish(self, out: &mut [u8], entry: Applied, previous: u32) -> u32 {
        self.end(out, entry, previous)
    }

    /// Completes the header of an open frame. `before` is the entry before.
    pub(crate) fn finish_open(self, out: &mut [u8], before: Applied, previous: u32) -> u32 {
        self.end(out, Applied { term: OPEN_TERM, ..before }, previous)
    }

    fn end(self, out: &mut [u8], Applied { index, term }: Applied, previous: u32) -> u32 {
        let frame = &mut out[self.start..];
        let body = u32::try_from(frame.len() - FRAME_HEADER_BYTES);
        let body = body.expect("a frame holds a few mebibytes, or one row");
        frame[4..8].copy_from_slice(&body.to_le_bytes());
        frame[8..12].copy_from_slice(&self.rows.to_le_bytes());
        frame[12..16].copy_from_slice(&self.changes.to_le_bytes());
        frame[16..24].copy_from_slice(&index.to_le_bytes());
        frame[24..32].copy_from_slice(&term.to_le_bytes());
        frame[32..36].copy_from_slice(&self.digest.to_le_bytes());
        frame[36..40].copy_from_slice(&previous.to_le_bytes());
        let checksum = crc32c::crc32c(&frame[4..FRAME_HEADER_BYTES]);
        frame[..4].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }
}

/// A frame's header, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) checksum: u32,
    pub(crate) body_bytes: u32,
    pub(crate) rows: u32,
    pub(crate) changes: u32,
    pub(crate) index: u64,
    pub(crate) term: u64,
    digest: u32,
    previous: u32,
}

impl FrameHeader {
    pub(crate) fn decode(bytes: &[u8]) -> Option<FrameHeader> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        let checksum = u32_at(bytes, 0);
        if checksum != crc32c::crc32c(&bytes[4..]) {
            return None;
        }
        Some(FrameHeader {
            checksum,
            body_bytes: u32_at(bytes, 4),
            rows: u32_at(bytes, 8),
            changes: u32_at(bytes, 12),
            index: u64_at(bytes, 16),
            term: u64_at(bytes, 24),
            digest: u32_at(bytes, 32),
            previous: u32_at(bytes, 36),
        })
    }

    /// Whether more of what the entry changed follows.
    pub(crate) fn is_open(&self) -> bool {
        self.term == OPEN_TERM
    }

    /// Whether it was written behind the frame, or file header, with this checksum.
    pub(crate) fn follows(&self, chain: u32) -> bool {
        self.previous == chain
    }

    /// Header and records together, in bytes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// A whole frame, verified down to its last record.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    /// Where it begins in its file.
    pub(crate) offset: u64,
    pub(crate) body: &'a [u8],
    /// Its rows and where they begin in `body`.
    pub(crate) rows: Vec<(usize, RowRecord)>,
    pub(crate) changes: Vec<StateChange>,
}

impl<'a> Frame<'a> {
    /// Verifies the records behind a verified header.
    pub(crate) fn read(header: FrameHeader, offset: u64, body: &'a [u8]) -> Option<Frame<'a>> {
        let (mut rows, mut changes) = (Vec::new(), Vec::new());
        let (mut at, mut digest) = (0, 0);
        for _ in 0..header.rows {
            let record = record::check_row(body.get(at..)?)?;
            rows.push((at, record));
            digest = crc32c::crc32c_append(digest, &record.checksum.to_le_bytes());
            at += record.bytes;
        }
        for _ in 0..header.changes {
            let (change, checksum, bytes) = record::take_change(body.get(at..)?)?;
            changes.push(change);
            digest = crc32c::crc32c_append(digest, &checksum.to_le_bytes());
            at += bytes;
        }
        let whole = at == body.len() && digest == header.digest;
        whole.then_some(Frame { header, offset, body, rows, changes })
    }

    /// Where it ends, with its entry.
    pub(crate) fn end(&self) -> FramesEnd {
        let FrameHeader { checksum, index, term, .. } = self.header;
        let offset = self.offset + self.header.frame_bytes();
        FramesEnd { offset, chain: checksum, index, term }
    }

    /// Where a record that begins at `at` of the body begins in the file.
    pub(crate) fn offset_of(&self, at: usize) -> u64 {
        self.offset + (FRAME_HEADER_BYTES + at) as u64
    }
}

/// Where a walk over frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalkEnd {
    /// The end of the last good frame.
    pub(crate) offset: u64,
    /// The checksum a next frame has to name.
    pub(crate) chain: u32,
    /// Why there is no next frame: `None` when the file ends here.
    pub(crate) why: Option<&'static str>,
}

/// Visits the frames of a file in order, from `offset` on, as long as they are whole and follow each
/// other. `visit` may end the walk too, by saying what is wrong with a frame.
pub(crate) fn walk(
    file: &Named,
    offset: u64,
    chain: u32,
    mut visit: impl FnMut(&Frame<'_>) -> Result<(), &'static str>,
) -> Result<WalkEnd, StoreError> {
    let mut window = Window { file, start: offset, bytes: Vec::new(), file_bytes: file.len()? };
    let mut end = WalkEnd { offset, chain, why: None };
    loop {
        let left = window.file_bytes.saturating_sub(end.offset);
        let header = window.get(end.offset, left.min(FRAME_HEADER_BYTES as u64))?;
        if header.is_empty() {
            return Ok(end);
        }
        let Some(header) = FrameHeader::decode(header) else {
            end.why = Some("there is no whole frame header");
            return Ok(end);
        };
        if header.previous != end.chain {
            end.why = Some("the frame does not follow the one before");
            return Ok(end);
        }
        if header.frame_bytes() > left {
            end.why = Some("the frame is longer than the file");
            return Ok(end);
        }
        let frame = window.get(end.offset, header.frame_bytes())?;
        let Some(frame) = Frame::read(header, end.offset, &frame[FRAME_HEADER_BYTES..]) else {
            if planted!("torn batch accepted") {
                let (rows, changes) = (Vec::new(), Vec::new());
                let _ = visit(&Frame { header, offset: end.offset, body: &[], rows, changes });
                end.offset += header.frame_bytes();
                end.chain = header.checksum;
                continue;
            }
            end.why = Some("a record of the frame is damaged");
            return Ok(end);
        };
        if let Err(why) = visit(&frame) {
            end.why = Some(why);
            return Ok(end);
        }
        end.offset += header.frame_bytes();
        end.chain = header.checksum;
    }
}

/// Reads and verifies the one frame that begins at `offset`.
pub(crate) fn read_at(
    file: &Named,
    offset: u64,
    mut visit: impl FnMut(&Frame<'_>),
) -> Result<(), StoreError> {
    let damage = |what| Err(StoreError::from(file.damage(offset, what)));
    let mut bytes = [0; FRAME_HEADER_BYTES];
    file.read(&mut bytes, offset)?;
    let Some(header) = FrameHeader::decode(&bytes) else {
        return damage("there is no whole frame header");
    };
    if offset + header.frame_bytes() > file.len()? {
        return damage("the frame is longer than the file");
    }
    let mut body = vec![0; header.body_bytes as usize];
    file.read(&mut body, offset + FRAME_HEADER_BYTES as u64)?;
    match Frame::read(header, offset, &body) {
        Some(frame) => visit(&frame),
        None => return damage("a record of the frame is damaged"),
    }
    Ok(())
}

/// A part of a file in memory, read ahead.
#[derive(Debug)]
struct Window<'a> {
    file: &'a Named,
    start: u64,
    bytes: Vec<u8>,
    file_bytes: u64,
}

impl Window<'_> {
    /// `count` bytes at `offset`, which lie within the file and never before what was asked for last.
    fn get(&mut self, offset: u64, count: u64) -> Result<&[u8], StoreError> {
        if offset + count > self.start + self.bytes.len() as u64 {
            let wanted = count.max(WINDOW_BYTES as u64).min(self.file_bytes - offset);
            let wanted = usize::try_from(wanted).expect("a frame fits into memory");
            self.bytes.clear();
            self.bytes.resize(wanted, 0);
            self.file.read(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..from + count as usize])
    }
}

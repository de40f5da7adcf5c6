//! Reading one segment, frame by frame.
//!
//! The file is read in chunks, and records share the chunk they lie in, so entries are not copied and
//! an entry that lives on keeps a mebibyte at most, not the file. No more is ever allocated than the
//! file has bytes left.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use vfs::{File, SECTOR_BYTES};

use crate::error::{Damage, OpenError};
use crate::frame::{LENGTH_BYTES, Length, Record, RecordKind, is_torn, parse_record};

const CHUNK_BYTES: u64 = 1 << 20;

/// A segment that is being read.
pub(crate) struct SegmentReader {
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
    /// Where the next frame begins.
    position: u64,
    /// Whether the log may end in this segment.
    last: bool,
    chunk: Bytes,
    chunk_at: u64,
}

/// What comes next in a segment.
pub(crate) enum Next {
    Record(Record),
    /// The segment ends here, as it was left.
    End,
    /// What follows was being written when the power went.
    Torn,
}

impl SegmentReader {
    pub fn new(path: PathBuf, file: Arc<dyn File>, last: bool) -> Result<SegmentReader, OpenError> {
        let mut reader = SegmentReader {
            path,
            file,
            bytes: 0,
            position: 0,
            last,
            chunk: Bytes::new(),
            chunk_at: 0,
        };
        reader.bytes = reader.file.len().map_err(|source| reader.fault("measuring", source))?;
        Ok(reader)
    }

    /// A reader of a segment that goes on being written, from the middle.
    pub fn starting_at(
        path: PathBuf,
        file: Arc<dyn File>,
        position: u64,
    ) -> Result<SegmentReader, OpenError> {
        let mut reader = SegmentReader::new(path, file, true)?;
        reader.position = position.min(reader.bytes);
        Ok(reader)
    }

    /// Where the next frame begins, or where the last whole one ended.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// An error about the frame at `offset`.
    pub fn damaged(&self, offset: u64, damage: Damage) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset, damage }
    }

    /// The segment's file.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Reads the next record. `running` is the checksum so far; `None` before the first record of a
    /// log that is read from the middle.
    pub fn next(&mut self, running: &mut Option<u32>) -> Result<Next, OpenError> {
        let left = self.bytes - self.position;
        if left < LENGTH_BYTES {
            return self.end(self.position);
        }
        let field = self.take(self.position, LENGTH_BYTES)?;
        let field = u64::from_le_bytes(field[..].try_into().expect("eight bytes were taken"));
        if field == 0 {
            return self.end(self.position + LENGTH_BYTES);
        }
        let damage = Damage::Length { field };
        let length = Length::from_field(field);
        let length = length.ok_or_else(|| self.damaged(self.position, damage.clone()))?;
        let body_at = self.position + LENGTH_BYTES;
        let body = self.take(body_at, length.body().min(left - LENGTH_BYTES))?;
        let record = if (body.len() as u64) < length.body() {
            Err(damage)
        } else {
            parse_record(&body.slice(..length.record as usize))
                .and_then(|record| proven(record, running))
        };
        match record {
            Ok(record) => {
                self.position = body_at + length.body();
                Ok(Next::Record(record))
            }
            Err(_) if is_torn(&body, body_at, length) => self.torn(),
            Err(damage) => Err(self.damaged(self.position, damage)),
        }
    }

    fn torn(&self) -> Result<Next, OpenError> {
        if self.last { Ok(Next::Torn) } else { Err(self.damaged(self.position, Damage::Torn)) }
    }

    /// A walk over the records behind the torn one at hand, as far as lengths lead from one to the next.
    pub fn behind_torn(&self) -> Behind {
        Behind { position: self.position, running: None }
    }

    /// A length field of zero ends the segment. A write that was cut off may have left later sectors,
    /// never bytes in this one: it arrives whole or not at all. In an earlier segment nothing follows.
    fn end(&mut self, from: u64) -> Result<Next, OpenError> {
        let border = self.position + 1;
        let to = if self.last { border.next_multiple_of(SECTOR_BYTES) } else { u64::MAX };
        let to = to.min(self.bytes);
        let mut at = from.min(to);
        while at < to {
            let rest = self.take(at, (to - at).min(CHUNK_BYTES))?;
            if let Some(found) = rest.iter().position(|byte| *byte != 0) {
                let at = at + found as u64;
                return Err(self.damaged(self.position, Damage::AfterEnd { at }));
            }
            at += rest.len() as u64;
        }
        Ok(Next::End)
    }

    /// `count` bytes from `offset`, which the caller has checked to be there.
    fn take(&mut self, offset: u64, count: u64) -> Result<Bytes, OpenError> {
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if offset < self.chunk_at || chunk_end < offset + count {
            let bytes = count.max(CHUNK_BYTES).min(self.bytes - offset);
            let mut chunk = vec![0; bytes as usize];
            let read = self.file.read_exact_at(&mut chunk, offset);
            read.map_err(|source| self.fault("reading", source))?;
            self.chunk = chunk.into();
            self.chunk_at = offset;
        }
        let start = (offset - self.chunk_at) as usize;
        Ok(self.chunk.slice(start..start + count as usize))
    }

    fn fault(&self, attempt: &'static str, source: std::io::Error) -> OpenError {
        OpenError::Io { attempt, path: self.path.clone(), offset: self.position, source }
    }
}

/// A walk over what stands behind a torn record.
///
/// A record states the checksum after itself, so the one behind it can be proven although it cannot be read as a whole:
/// what its head says is believed only as far as that fits the next record's data.
pub(crate) struct Behind {
    position: u64,
    /// As the record before states it; `None` if not even its head can be read.
    running: Option<u32>,
}

impl Behind {
    /// The next record that is proven by the one before it; `None` where no length leads on.
    pub fn next(&mut self, reader: &mut SegmentReader) -> Result<Option<Record>, OpenError> {
        loop {
            let body_at = self.position + LENGTH_BYTES;
            if reader.bytes < body_at {
                return Ok(None);
            }
            let field = reader.take(self.position, LENGTH_BYTES)?;
            let field = u64::from_le_bytes(field[..].try_into().expect("eight bytes were taken"));
            let length = Length::from_field(field);
            let Some(length) = length.filter(|length| length.body() <= reader.bytes - body_at)
            else {
                return Ok(None);
            };
            let body = reader.take(body_at, length.record)?;
            self.position = body_at + length.body();
            let before = self.running.take();
            let Ok(record) = parse_record(&body) else { continue };
            self.running = Some(record.checksum);
            if before.is_some() && proven(record.clone(), &mut before.clone()).is_ok() {
                return Ok(Some(record));
            }
        }
    }
}

/// Checks a record against the checksum so far and moves that on.
fn proven(record: Record, running: &mut Option<u32>) -> Result<Record, Damage> {
    let found = match (record.kind, *running) {
        (RecordKind::Crc, None) => record.checksum,
        (RecordKind::Crc, Some(running)) => running,
        (_, running) => crc32c::crc32c_append(running.unwrap_or(0), &record.data),
    };
    if found == record.checksum {
        *running = Some(found);
        Ok(record)
    } else {
        Err(Damage::Checksum { found, expected: record.checksum })
    }
}

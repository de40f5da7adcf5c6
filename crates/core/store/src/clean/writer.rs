//! The new segment that a cleaning writes: rows only, in frames of moderate size.

use std::sync::Arc;

use types::{Revision, Row};

use crate::StoreError;
use crate::ends::{Applied, FramesEnd};
use crate::files::{Dir, FileId, HEADER_BYTES, Header, Named};
use crate::footer::FooterBuilder;
use crate::frame::FrameWriter;
use crate::sealed::{Dead, Sealed};
use crate::segment::{Extent, Segment};
use crate::table::{NewSlot, Table};

/// A frame is ended when it has this many bytes.
pub(super) const FRAME_BYTES: usize = 256 << 10;
/// So much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// Writes a sealed segment row by row.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segment: Segment,
    footer: FooterBuilder,
    /// What is in the file, and what the last frame said.
    end: FramesEnd,
    buffer: Vec<u8>,
    frame: Option<(usize, FrameWriter)>,
    /// Rows that are dead already and had to be taken along.
    dead: Vec<usize>,
}

impl SegmentWriter {
    /// Begins file `id`; its frames name this entry.
    pub(crate) fn create(
        dir: &Dir,
        id: FileId,
        index: u64,
        term: u64,
    ) -> Result<SegmentWriter, StoreError> {
        let header = Header { id, numbers: [index, term, 0], chain: 0 };
        let file = dir.create(&id.to_string())?;
        file.write(&header.encode(), 0)?;
        let chain = header.checksum();
        Ok(SegmentWriter {
            segment: Segment::new(id, file, Table::default()),
            footer: FooterBuilder::default(),
            end: FramesEnd { offset: HEADER_BYTES as u64, chain, index, term },
            buffer: Vec::with_capacity(WRITE_BYTES + FRAME_BYTES),
            frame: None,
            dead: Vec::new(),
        })
    }

    /// Takes the next row.
    pub(crate) fn push(&mut self, row: &Row, dead: bool) -> Result<(), StoreError> {
        if dead {
            self.dead.push(self.segment.table.len());
        }
        let (start, mut frame) = self.frame.take().unwrap_or_else(|| {
            let start = self.buffer.len();
            (start, FrameWriter::begin(&mut self.buffer))
        });
        let offset = u32::try_from(self.end.offset + self.buffer.len() as u64);
        let offset = offset.expect("what is cleaned together fits into a segment");
        frame.row(&mut self.buffer, row);
        self.segment.table.push(NewSlot::of(row, offset));
        self.footer.row(row, offset);
        self.frame = Some((start, frame));
        if self.buffer.len() - start >= FRAME_BYTES {
            self.end_frame();
        }
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn end_frame(&mut self) {
        if let Some((_, frame)) = self.frame.take() {
            let end = &mut self.end;
            let entry = Applied { index: end.index, term: end.term };
            end.chain = frame.finish(&mut self.buffer, entry, end.chain);
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.end_frame();
        self.segment.file.write(&self.buffer, self.end.offset)?;
        self.end.offset += self.buffer.len() as u64;
        self.buffer.clear();
        // In small pieces: a write that is acknowledged waits behind what the disk was given before.
        self.segment.file.sync()
    }

    /// Completes the file and makes it durable; its name is not durable yet.
    pub(crate) fn finish(mut self) -> Result<Sealed, StoreError> {
        self.write()?;
        let end = self.end;
        let (footer, keys) = self.footer.finish(end);
        self.segment.file.write_in_pieces(&footer, end.offset, Named::sync)?;
        self.segment.file.sync()?;
        let segment = Arc::new(self.segment);
        let extent = Extent::new(&segment);
        let extent = extent.map(|extent| extent.with_keys(keys));
        let mut dead = Dead::default();
        for position in self.dead {
            dead.mark(extent.as_ref().expect("a dead row is a row"), position);
        }
        Ok(Sealed {
            segment,
            extent,
            last: Revision::default(),
            end,
            file_bytes: end.offset + footer.len() as u64,
            state_bytes: 0,
            dead,
        })
    }
}

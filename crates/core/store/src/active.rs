//! The segment that takes new batches: what is in its file, and the tail that is not there yet.

use std::sync::Arc;

use types::Revision;

use crate::StoreError;
use crate::batch::Piece;
use crate::ends::{Applied, FramesEnd};
use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind};
use crate::footer::FooterBuilder;
use crate::frame::FrameWriter;
use crate::sealed::{Contents, Dead, Sealed};
use crate::segment::{Extent, Segment};
use crate::sync::Unsynced;
use crate::table::{NewSlot, Table};

/// A tail that grew beyond this is given back to the system after it was written.
const TAIL_BYTES_KEPT: usize = 16 << 20;

/// The newest log file.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) log: u64,
    pub(crate) segment: Arc<Segment>,
    /// What views see of it: the rows that are in the file.
    pub(crate) extent: Option<Extent>,
    /// The checksum the next frame has to name.
    pub(crate) chain: u32,
    /// Whether the last frame is open.
    pub(crate) is_open: bool,
    pub(crate) dead: Dead,
    /// The newest row, flushed or not.
    pub(crate) last: Option<Revision>,
    /// Where the frames in the file end.
    end: u64,
    /// Frames to be written there.
    tail: Vec<u8>,
    footer: FooterBuilder,
}

/// Where a log file begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogBegin {
    pub(crate) log: u64,
    /// The last entry that is complete before it.
    pub(crate) applied: Applied,
    /// Whether the frame before it is open.
    pub(crate) is_open: bool,
    /// That frame's checksum.
    pub(crate) chain: u32,
}

impl Active {
    /// Begins a log file. Its name is not durable yet.
    pub(crate) fn create(dir: &Dir, begin: LogBegin) -> Result<Active, StoreError> {
        let id = FileId::new(Kind::Log, begin.log);
        let Applied { index, term } = begin.applied;
        let numbers = [index, term, u64::from(begin.is_open)];
        let header = Header { id, numbers, chain: begin.chain };
        let file = dir.create(&id.to_string())?;
        file.write(&header.encode(), 0)?;
        let segment = Arc::new(Segment::new(id, file, Table::default()));
        let end = FramesEnd { offset: HEADER_BYTES as u64, chain: header.checksum(), index, term };
        let is_open = begin.is_open;
        Ok(Active { is_open, ..Active::reopen(segment, FooterBuilder::default(), end) })
    }

    /// Goes on where the frames of a file end.
    pub(crate) fn reopen(segment: Arc<Segment>, footer: FooterBuilder, end: FramesEnd) -> Active {
        let extent = Extent::new(&segment);
        Active {
            log: segment.id.number,
            segment,
            last: extent.as_ref().map(|extent| extent.last),
            extent,
            chain: end.chain,
            is_open: false,
            dead: Dead::default(),
            end: end.offset,
            tail: Vec::new(),
            footer,
        }
    }

    /// Encodes a piece of what an entry changed into the tail. `framed` is the last complete entry, and becomes
    /// this one with its last piece.
    pub(crate) fn append(&mut self, piece: Piece<'_>, entry: Applied, framed: &mut Applied) {
        let start = self.end + self.tail.len() as u64;
        let mut frame = FrameWriter::begin(&mut self.tail);
        for row in piece.rows {
            let offset = u32::try_from(self.end + self.tail.len() as u64);
            let offset = offset.expect("a segment is sealed long before 4 GiB");
            assert!(self.last.is_none_or(|last| last < row.revision), "revisions only grow");
            self.last = Some(row.revision);
            frame.row(&mut self.tail, row);
            self.segment.table.push(NewSlot::of(row, offset));
            self.footer.row(row, offset);
        }
        let changes_start = self.tail.len();
        for change in piece.state {
            frame.change(&mut self.tail, change);
        }
        if !piece.state.is_empty() {
            let offset = u32::try_from(start).expect("a segment is sealed long before 4 GiB");
            self.footer.state(offset, (self.tail.len() - changes_start) as u64);
        }
        self.is_open = piece.is_open;
        self.chain = match piece.is_open {
            true => frame.finish_open(&mut self.tail, *framed, self.chain),
            false => {
                *framed = entry;
                frame.finish(&mut self.tail, entry, self.chain)
            }
        };
    }

    /// Writes the tail.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if !self.tail.is_empty() {
            self.segment.file.write(&self.tail, self.end)?;
            self.end += self.tail.len() as u64;
            self.tail.clear();
            if self.tail.capacity() > TAIL_BYTES_KEPT {
                self.tail = Vec::new();
            }
            self.extent = Extent::new(&self.segment);
        }
        Ok(())
    }

    /// Where the frames in the file end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail.len()
    }

    pub(crate) fn mark_dead(&mut self, revision: Revision) {
        if let Some(position) = self.segment.table.find(revision, self.segment.table.len())
            && let Some(extent) = Extent::new(&self.segment)
        {
            self.dead.mark(&extent, position);
        }
    }

    /// Rows that are not dead; see [`Sealed::live_bytes`].
    pub(crate) fn live_bytes(&self) -> u64 {
        self.segment.table.bytes() - self.dead.bytes
    }

    /// What cleaning decides by.
    pub(crate) fn contents(&self) -> Contents {
        Contents {
            bytes: self.end - HEADER_BYTES as u64,
            rows: self.segment.table.bytes(),
            dead: self.dead.bytes,
            dead_tombstones: self.dead.tombstone_bytes,
            state: self.footer.state_bytes,
            last: self.last.map_or(0, |last| last.main),
            is_damaged: self.segment.damage().is_some(),
        }
    }

    /// Ends the segment. Its footer is written when it is synced.
    pub(crate) fn seal(self, applied: Applied) -> (Sealed, Unsynced) {
        let Applied { index, term } = applied;
        assert!(self.tail.is_empty(), "a segment is sealed after a flush");
        let state_bytes = self.footer.state_bytes;
        let end = FramesEnd { offset: self.end, chain: self.chain, index, term };
        let (footer, keys) = self.footer.finish(end);
        let file_bytes = self.end + footer.len() as u64;
        let file = self.segment.file.clone();
        let footer = Some((self.end, Arc::new(footer)));
        let unsynced = Unsynced { log: self.log, file, footer };
        let extent = self.extent.map(|extent| extent.with_keys(keys));
        // Views of it have shown all its rows so far, whatever is written down about them.
        let unburied = self.dead.bytes > 0;
        let sealed = Sealed {
            segment: self.segment,
            extent,
            last: Revision::default(),
            end,
            file_bytes,
            state_bytes,
            dead: Dead { unburied, ..self.dead },
        };
        (sealed, unsynced)
    }
}

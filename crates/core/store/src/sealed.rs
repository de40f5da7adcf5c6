//! A segment that takes no more rows, as its writer keeps count of it.

use std::sync::Arc;

use types::Revision;

use crate::ends::FramesEnd;
use crate::files::HEADER_BYTES;
use crate::manifest::Listed;
use crate::marks::Bitmap;
use crate::segment::{Extent, Segment, Span};

/// Which rows of a segment are dead, and what they take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dead {
    pub(crate) bits: Arc<Bitmap>,
    /// Dead rows, tombstones included, in bytes.
    pub(crate) bytes: u64,
    /// Dead tombstones, in bytes.
    pub(crate) tombstone_bytes: u64,
    /// Whether rows were marked since the marks were last written down.
    pub(crate) unburied: bool,
}

impl Dead {
    /// Marks the row of an extent that is at `position`.
    pub(crate) fn mark(&mut self, extent: &Extent, position: usize) {
        if !self.bits.get(position) {
            self.mark_span(position, extent.span(position));
        }
    }

    /// Marks the row at `position`, of which it is known where it lies.
    pub(crate) fn mark_span(&mut self, position: usize, span: Span) {
        if !self.bits.get(position) {
            Arc::make_mut(&mut self.bits).set(position);
            self.bytes += span.bytes();
            if span.slot.tombstone {
                self.tombstone_bytes += span.bytes();
            }
            self.unburied = true;
        }
    }
}

/// What a segment holds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contents {
    /// Everything between header and footer.
    pub(crate) bytes: u64,
    /// The records of its rows.
    pub(crate) rows: u64,
    /// Those of them that are dead, tombstones included.
    pub(crate) dead: u64,
    /// Dead tombstones.
    pub(crate) dead_tombstones: u64,
    /// Its changes of state.
    pub(crate) state: u64,
    /// The revision of its last row.
    pub(crate) last: i64,
    /// Whether something in it could not be read.
    pub(crate) is_damaged: bool,
}

/// A sealed segment.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    /// Its rows; `None` if it only holds changes of state.
    pub(crate) extent: Option<Extent>,
    /// Its last row; without one, the last before it, so that segments can be searched.
    pub(crate) last: Revision,
    pub(crate) end: FramesEnd,
    pub(crate) file_bytes: u64,
    /// What its changes of state take.
    pub(crate) state_bytes: u64,
    pub(crate) dead: Dead,
}

impl Sealed {
    /// What is between header and footer, in bytes.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.end.offset - HEADER_BYTES as u64
    }

    /// Rows that are not dead. Changes of state do not count: they are in [`crate::State`] too.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.segment.table.bytes() - self.dead.bytes
    }

    /// What cleaning decides by.
    pub(crate) fn contents(&self) -> Contents {
        Contents {
            bytes: self.content_bytes(),
            rows: self.segment.table.bytes(),
            dead: self.dead.bytes,
            dead_tombstones: self.dead.tombstone_bytes,
            state: self.state_bytes,
            last: self.last.main,
            is_damaged: self.segment.damage().is_some(),
        }
    }

    pub(crate) fn listed(&self) -> Listed {
        Listed { id: self.segment.id, end: self.end }
    }
}

/// Gives row-less segments a place in the order of the others.
pub(crate) fn order(sealed: &mut [Sealed]) {
    let mut last = Revision::default();
    for each in sealed {
        last = each.extent.as_ref().map_or(last, |extent| extent.last);
        each.last = last;
    }
}

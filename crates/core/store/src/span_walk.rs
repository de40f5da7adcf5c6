//! A walk over the places of a segment's rows, for whoever looks at many of them in order.

use types::Revision;

use crate::segment::{Extent, Span};

/// Places looked up at once.
const SPANS_AT_ONCE: usize = 64;

/// Places of rows, asked for in ascending order. Looking up each by itself costs several waits for memory;
/// neighbours share them.
#[derive(Debug)]
pub(crate) struct SpanWalk<'a> {
    extent: &'a Extent,
    /// The position of the first of `spans`.
    start: usize,
    spans: Vec<Span>,
}

impl<'a> SpanWalk<'a> {
    pub(crate) fn new(extent: &'a Extent) -> SpanWalk<'a> {
        SpanWalk { extent, start: 0, spans: Vec::new() }
    }

    /// The place of the row at a position; `None` behind the last row.
    pub(crate) fn at(&mut self, position: usize) -> Option<Span> {
        if position < self.start || self.start + self.spans.len() <= position {
            self.load(position);
        }
        self.spans.get(position - self.start).copied()
    }

    /// The position and place of the row of exactly this revision, which is not before the one asked for
    /// last.
    pub(crate) fn find_onwards(&mut self, revision: Revision) -> Option<(usize, Span)> {
        let is_before = |span: &Span| span.slot.revision < revision;
        if self.spans.last().is_none_or(is_before) {
            let table = &self.extent.segment.table;
            self.load(table.lower_bound(revision, self.extent.rows));
        }
        let place = self.spans.partition_point(is_before);
        let span = self.spans.get(place).filter(|span| span.slot.revision == revision)?;
        Some((self.start + place, *span))
    }

    fn load(&mut self, position: usize) {
        self.start = position;
        self.spans = self.extent.spans(position, SPANS_AT_ONCE);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use vfs::{Disk, MemoryDisk};

    use super::*;
    use crate::files::{Dir, FileId, Kind};
    use crate::segment::Segment;
    use crate::table::{NewSlot, Table};

    /// Every third revision has a row.
    fn extent(rows: u32) -> Extent {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/store")).expect("memory");
        let file = Dir::new(Arc::new(disk), Path::new("/store")).create("a").expect("memory");
        let table = Table::default();
        for row in 0..rows {
            let revision = Revision::first_of(3 * i64::from(row));
            table.push(NewSlot { revision, tombstone: false, offset: 100 * row, bytes: 60 });
        }
        let segment = Segment::new(FileId::new(Kind::Log, 1), file, table);
        Extent::new(&Arc::new(segment)).expect("there are rows")
    }

    #[test]
    fn a_walk_finds_what_a_look_at_each_finds() {
        let extent = extent(5000);
        for step in [1, 2, 63, 64, 65, 700] {
            let (mut at, mut onwards) = (SpanWalk::new(&extent), SpanWalk::new(&extent));
            for position in (0..5000).step_by(step) {
                let expected = extent.span(position);
                let found = at.at(position).expect("it is there");
                assert_eq!((found.slot, found.end), (expected.slot, expected.end));
                let revision = expected.slot.revision;
                let before = Revision::first_of(revision.main - 1);
                assert!(onwards.find_onwards(before).is_none());
                let (place, found) = onwards.find_onwards(revision).expect("it is there");
                assert_eq!((place, found.slot), (position, expected.slot));
            }
            assert!(at.at(5000).is_none());
            assert!(onwards.find_onwards(Revision::first_of(15_000)).is_none());
        }
    }
}

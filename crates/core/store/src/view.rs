//! Reading the log from any thread, while the writer appends and the cleaner exchanges segments.

use std::sync::Arc;

use types::{Revision, Row};

use crate::segment::{Extent, Span};
use crate::{RowMetas, StoreError};

/// The log as it was flushed when the view was taken. Holds the segments' files, so rows stay readable
/// even after a cleaning has removed them.
#[derive(Clone, Debug)]
pub struct LogView {
    /// Sealed segments that have rows, in revision order.
    pub(crate) sealed: Arc<Vec<Extent>>,
    /// What was flushed of the active one.
    pub(crate) active: Option<Extent>,
}

impl LogView {
    /// The newest revision in this view; `None` when there is no row.
    pub fn last_revision(&self) -> Option<Revision> {
        Some(self.active.as_ref().or_else(|| self.sealed.last())?.last)
    }

    /// The row at `revision`.
    ///
    /// # Errors
    /// `Missing`, or what the disk did.
    pub fn read(&self, revision: Revision) -> Result<Row, StoreError> {
        let extent = self.extent(self.place_of(revision));
        extent.ok_or(StoreError::Missing { revision })?.read(revision)
    }

    /// How many bytes the row at `revision` takes in the log, which is more than its own; 0 when it is not
    /// there. Reads nothing.
    pub fn row_bytes(&self, revision: Revision) -> u64 {
        let span = self.extent(self.place_of(revision)).and_then(|extent| extent.find(revision));
        span.map_or(0, |span| span.bytes())
    }

    /// Many rows, in the order asked for. Neighbours in the log are read together.
    ///
    /// # Errors
    /// As [`LogView::read`], for the first that fails.
    pub fn read_many(&self, revisions: &[Revision]) -> Result<Vec<Row>, StoreError> {
        self.find_many(revisions)?.read()
    }

    /// Where many rows lie. Reads nothing.
    ///
    /// # Errors
    /// `Missing`, for the oldest that is.
    pub fn find_many(&self, revisions: &[Revision]) -> Result<Places<'_>, StoreError> {
        // In the order of the log: neighbours are found together as well.
        let mut asked: Vec<_> = revisions.iter().copied().zip(0..).collect();
        asked.sort_unstable();
        let mut places = Vec::with_capacity(asked.len());
        for (revision, which) in asked {
            let place = self.place_of(revision);
            let span = self.extent(place).and_then(|extent| extent.find(revision));
            places.push((place, span.ok_or(StoreError::Missing { revision })?, which));
        }
        Ok(Places { view: self, places })
    }

    /// Walks the log from `from` on, for snapshots and watchers that are behind.
    pub fn scan(&self, from: Revision) -> Scan {
        let place = self.place_of(from);
        let position = self
            .extent(place)
            .map_or(0, |extent| extent.segment.table.lower_bound(from, extent.rows));
        Scan { view: self.clone(), place, position }
    }

    /// All rows after `revision` without their values: see [`crate::Store::rows_after`].
    pub fn rows_after(&self, revision: i64) -> RowMetas {
        RowMetas::new(self.sealed.iter().cloned().chain(self.active.clone()), revision)
    }

    /// Which extent would hold `revision`: the first that does not end before it.
    fn place_of(&self, revision: Revision) -> usize {
        self.sealed.partition_point(|extent| extent.last < revision)
    }

    /// The extents in order, the active one last.
    pub(crate) fn extent(&self, place: usize) -> Option<&Extent> {
        self.sealed.get(place).or(self.active.as_ref().filter(|_| place == self.sealed.len()))
    }
}

/// Rows that were found and not yet read.
#[derive(Debug)]
pub struct Places<'a> {
    view: &'a LogView,
    /// In the order of the log: which extent, where in it, and which of the revisions asked for.
    places: Vec<(usize, Span, usize)>,
}

impl Places<'_> {
    /// How many bytes the rows take in the log, which is more than their own.
    pub fn bytes(&self) -> u64 {
        self.places.iter().map(|(_, span, _)| span.bytes()).sum()
    }

    /// The rows, in the order asked for. Neighbours in the log are read together.
    ///
    /// # Errors
    /// What the disk did, for the first that fails.
    pub fn read(&self) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Option<Row>> = vec![None; self.places.len()];
        for group in self.places.chunk_by(|left, right| left.0 == right.0) {
            let extent = self.view.extent(group[0].0).expect("it was found there");
            let spans: Vec<_> = group.iter().map(|(_, span, _)| *span).collect();
            let found = extent.read_spans(&spans, u64::MAX)?;
            for ((_, _, which), row) in group.iter().zip(found) {
                rows[*which] = Some(row);
            }
        }
        Ok(rows.into_iter().map(|row| row.expect("every span was read")).collect())
    }
}

/// A walk through a [`LogView`] in revision order. Rows that compaction marked dead may be missing or not,
/// with the promise of [`crate::RowMetas`].
#[derive(Debug)]
pub struct Scan {
    view: LogView,
    place: usize,
    position: usize,
}

impl Scan {
    /// The next rows, about `bytes_max` bytes of them and at least one; empty at the end.
    ///
    /// # Errors
    /// When the next row cannot be read. The walk can be asked again and goes on at that row, or, after
    /// [`Scan::pass`], at the one behind it.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Vec<Row>, StoreError> {
        let bytes_max = bytes_max as u64;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(extent) = self.view.extent(self.place) {
            let spans = extent.spans(self.position, usize::MAX);
            if spans.is_empty() {
                (self.place, self.position) = (self.place + 1, 0);
                continue;
            }
            let positions = self.position..self.position + spans.len();
            let kept: Vec<_> =
                positions.clone().zip(&spans).filter(|(at, _)| !extent.is_buried(*at)).collect();
            let wanted: Vec<_> = kept.iter().map(|(_, span)| **span).collect();
            if !rows.is_empty() && bytes >= bytes_max {
                break;
            }
            let found = read_some(extent, &wanted, bytes_max.saturating_sub(bytes));
            let found = match found {
                Err(_) if !rows.is_empty() => break,
                found => found?,
            };
            bytes += found.iter().map(|row| row.encoded.len() as u64).sum::<u64>();
            let is_whole = found.len() == kept.len();
            self.position = kept.get(found.len()).map_or(positions.end, |(at, _)| *at);
            rows.extend(found);
            if !is_whole {
                break;
            }
        }
        Ok(rows)
    }

    /// Passes over the next row, which could not be read, and says which it was; `None` at the end.
    pub fn pass(&mut self) -> Option<Revision> {
        loop {
            let extent = self.view.extent(self.place)?;
            if self.position < extent.rows {
                let position = self.position;
                self.position += 1;
                if !extent.is_buried(position) {
                    return Some(extent.span(position).slot.revision);
                }
            } else {
                (self.place, self.position) = (self.place + 1, 0);
            }
        }
    }
}

/// The first of these rows, about `bytes_max` bytes of them. One that cannot be read does not keep those before it
/// back.
fn read_some(extent: &Extent, wanted: &[Span], bytes_max: u64) -> Result<Vec<Row>, StoreError> {
    let error = match extent.read_spans(wanted, bytes_max) {
        Err(error) if error.is_damage() => error,
        other => return other,
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for span in wanted {
        match extent.read_span(*span) {
            Ok(row) if bytes < bytes_max || rows.is_empty() => rows.push(row),
            Err(error) if rows.is_empty() => return Err(error),
            _ => return Ok(rows),
        }
        bytes += span.bytes();
    }
    // Each could be read by itself: the disk has come to its senses.
    if rows.is_empty() { Err(error) } else { Ok(rows) }
}

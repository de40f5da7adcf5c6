//! Reading the log from any thread, while the writer appends and the cleaner exchanges segments.

use types::{Revision, Row};

use crate::StoreError;

/// The log as it was flushed when the view was taken. Holds the segments' files, so rows stay readable
/// even after a cleaning has removed them.
#[derive(Clone, Debug)]
pub struct LogView {}

impl LogView {
    /// The newest revision in this view; `None` when there is no row.
    pub fn last_revision(&self) -> Option<Revision> {
        todo!()
    }

    /// The row at `revision`.
    ///
    /// # Errors
    /// `Missing`, or what the disk did.
    pub fn read(&self, _revision: Revision) -> Result<Row, StoreError> {
        todo!()
    }

    /// Many rows, in the order asked for. Neighbours in the log are read together.
    ///
    /// # Errors
    /// As [`LogView::read`], for the first that fails.
    pub fn read_many(&self, _revisions: &[Revision]) -> Result<Vec<Row>, StoreError> {
        todo!()
    }

    /// Walks the log from `from` on, for snapshots and watchers that are behind.
    pub fn scan(&self, _from: Revision) -> Scan {
        todo!()
    }
}

/// A walk through a [`LogView`] in revision order. Rows that compaction marked dead may be missing or not,
/// with the promise of [`crate::RowMetas`].
#[derive(Debug)]
pub struct Scan {}

impl Scan {
    /// The next rows, about `bytes_max` bytes of them and at least one; empty at the end.
    ///
    /// # Errors
    /// What the disk did. The walk can be asked again and goes on at the same row.
    pub fn next_chunk(&mut self, _bytes_max: usize) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
}

//! The store as mvcc reads it.

use mvcc::{ReadError, Room, RowFault, RowSource};
use store::{LogView, Store};
use types::{Revision, Row};

/// The writer's own view: rows appended a moment ago included.
pub struct Written<'a>(pub &'a Store);

/// A reader's view, from any thread.
pub struct Flushed<'a>(pub &'a LogView);

impl RowSource for Written<'_> {
    fn row(&self, revision: Revision) -> Result<Row, RowFault> {
        self.0.read(revision).map_err(|error| fault(revision, error))
    }

    fn rows(&self, revisions: &[Revision]) -> Result<Vec<Row>, RowFault> {
        let first = revisions.first().copied().unwrap_or_default();
        self.0.read_many(revisions).map_err(|error| fault(first, error))
    }
}

impl RowSource for Flushed<'_> {
    fn row(&self, revision: Revision) -> Result<Row, RowFault> {
        self.0.read(revision).map_err(|error| fault(revision, error))
    }

    fn rows(&self, revisions: &[Revision]) -> Result<Vec<Row>, RowFault> {
        let first = revisions.first().copied().unwrap_or_default();
        self.0.read_many(revisions).map_err(|error| fault(first, error))
    }

    fn rows_with_room(
        &self,
        revisions: &[Revision],
        room: &mut Room<'_>,
    ) -> Result<Vec<Row>, ReadError> {
        let first = revisions.first().copied().unwrap_or_default();
        let places = self.0.find_many(revisions).map_err(|error| fault(first, error))?;
        room(places.bytes())?;
        Ok(places.read().map_err(|error| fault(first, error))?)
    }

    fn row_bytes(&self, revision: Revision) -> u64 {
        self.0.row_bytes(revision)
    }
}

fn fault(revision: Revision, error: store::StoreError) -> RowFault {
    RowFault { revision, source: Box::new(error) }
}

//! Where values come from, and what can go wrong on the way.

use types::{Refusal, Revision, Row};

/// Gives stored rows back. The revision log is one; tests use a map.
pub trait RowSource {
    /// The row stored at `revision`.
    ///
    /// # Errors
    /// [`RowFault`] when it is missing or damaged: the index says it must be there.
    fn row(&self, revision: Revision) -> Result<Row, RowFault>;

    /// Many rows, in the order asked for. Worth overriding where neighbours can be read together.
    ///
    /// # Errors
    /// As [`RowSource::row`], for the first that fails.
    fn rows(&self, revisions: &[Revision]) -> Result<Vec<Row>, RowFault> {
        revisions.iter().map(|revision| self.row(*revision)).collect()
    }

    /// Many rows, as [`RowSource::rows`], once `room` has allowed the bytes they take at most. Worth
    /// overriding where looking for a row says how long it is.
    ///
    /// # Errors
    /// What `room` answers, then as [`RowSource::rows`].
    fn rows_with_room(
        &self,
        revisions: &[Revision],
        room: &mut Room<'_>,
    ) -> Result<Vec<Row>, ReadError> {
        room(revisions.iter().map(|revision| self.row_bytes(*revision)).sum())?;
        Ok(self.rows(revisions)?)
    }

    /// How long the row at `revision` is, at most, in bytes; 0 where it is missing. Worth overriding where
    /// that is known without reading it.
    fn row_bytes(&self, revision: Revision) -> u64 {
        self.row(revision).map_or(0, |row| row.encoded.len() as u64)
    }
}

/// Asked before several rows are read, with the bytes they take at most: whether there is room for them. Of many rows
/// it is asked again and again, each time for the next ones; so it can also say that nobody waits for them any more.
pub type Room<'a> = dyn FnMut(u64) -> Result<(), Refusal> + 'a;

/// Room for whatever comes.
pub(crate) fn endless(_: u64) -> Result<(), Refusal> {
    Ok(())
}

/// A row that the index knows could not be read: the store is damaged.
#[derive(Debug, thiserror::Error)]
#[error("row {revision} cannot be read")]
pub struct RowFault {
    /// Which row.
    pub revision: Revision,
    /// What the store found.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client asked for what it cannot have.
    #[error("{}", .0.message())]
    Refused(Refusal),
    /// The store could not give what it must have. Not the client's doing; the member stops.
    #[error(transparent)]
    Fault(#[from] RowFault),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> ReadError {
        ReadError::Refused(refusal)
    }
}

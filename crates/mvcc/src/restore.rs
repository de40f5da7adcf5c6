//! The index rebuilt at start: from a checkpoint image, and from the rows after it.

use types::{LeaseId, Revision, Row};

use crate::Mvcc;

/// What the index must know of a stored row.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in types::Row")]
pub struct RowMeta<'a> {
    pub key: &'a [u8],
    pub revision: Revision,
    pub tombstone: bool,
    pub create_revision: i64,
    pub version: i64,
    pub lease: LeaseId,
}

impl<'a> From<&'a Row> for RowMeta<'a> {
    fn from(row: &'a Row) -> RowMeta<'a> {
        RowMeta {
            key: row.key(),
            revision: row.revision,
            tombstone: row.tombstone,
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
        }
    }
}

/// A keyspace being rebuilt.
#[derive(Debug)]
pub struct Restore {}

/// Rows that no store of ours could hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Rows come in revision order, and after the image's.
    #[error("row {found} follows row {newest}")]
    OutOfOrder {
        /// The row that came too late.
        found: Revision,
        /// The newest before it.
        newest: Revision,
    },
    /// The row's own fields contradict each other.
    #[error("row {revision} cannot be: {what}")]
    Impossible {
        /// Which row.
        revision: Revision,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Default for Restore {
    fn default() -> Restore {
        Restore::new()
    }
}

impl Restore {
    /// Starts from nothing: all rows follow.
    pub fn new() -> Restore {
        todo!()
    }

    /// The newest revision known so far; rows at or below it are already in. 1 when there is none.
    pub fn revision(&self) -> i64 {
        todo!()
    }

    /// The compacted revision the image was made under; -1 without one.
    pub fn compact_revision(&self) -> i64 {
        todo!()
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`RestoreError`] when the row cannot follow what came before.
    pub fn row(&mut self, _row: RowMeta<'_>) -> Result<(), RestoreError> {
        todo!()
    }

    /// Done. `compact_revision` is the last compaction that was begun, -1 for none (an older one than
    /// the image's is ignored). Pruning for it starts over, so [`Mvcc::compact_step`] names again
    /// what is dead; what is gone already is not found again.
    pub fn finish(self, _compact_revision: i64) -> Mvcc {
        todo!()
    }
}

//! What opening a store finds: how far it had come, and the rows' keys to build an index from.

use bytes::Bytes;
use types::{LeaseId, Revision};

use crate::{Checkpoint, Damage, StoreError};

/// What was found on disk. The small state is in [`crate::Store::state`], the rows' keys come from
/// [`crate::Store::rows_after`].
#[derive(Debug)]
pub struct Restored {
    /// The last entry whose changes are here; 0 for a new store. Its successor is to be applied next.
    pub applied_index: u64,
    /// That entry's term.
    pub applied_term: u64,
    /// What is durable: all of it, since opening ends with a sync.
    pub synced_index: u64,
    /// A torn tail that was cut, as a crash leaves it: nothing that was ever confirmed as synced.
    pub repaired: Option<Repair>,
    /// Damage that cost nothing: a checkpoint that is ignored, a footer that was built again.
    pub ignored: Vec<Damage>,
    /// The newest index image, if there is an intact one.
    pub checkpoint: Option<Checkpoint>,
}

/// Where a torn tail was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The file's name within the store's directory.
    pub file: String,
    /// Its length now, in bytes.
    pub offset: u64,
    /// How much was cut off, in bytes, this file and later ones together.
    pub cut_bytes: u64,
}

/// What an index must know of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in types::Row")]
pub struct RowMeta {
    pub revision: Revision,
    pub tombstone: bool,
    pub key: Bytes,
    pub create_revision: i64,
    pub version: i64,
    pub lease: LeaseId,
}

/// Rows without their values, in revision order. Reads one segment's keys at a time.
///
/// Rows that compaction marked dead may be missing already, in any order, with one promise: a key whose
/// tombstone is missing has no earlier row here either, so a deleted key never comes back.
#[derive(Debug)]
pub struct RowMetas {}

impl Iterator for RowMetas {
    type Item = Result<RowMeta, StoreError>;

    fn next(&mut self) -> Option<Result<RowMeta, StoreError>> {
        todo!()
    }
}

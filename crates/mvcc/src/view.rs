//! The keyspace at one instant: what readers and conditions look at.

use bytes::Bytes;
use types::{KeyRange, LeaseId, Refusal, Revision};

use crate::{
    CompactionHashes, Compare, HashAnswer, Hasher, ImageWriter, Pages, Put, RangeQuery,
    RangeResult, ReadError, RowSource,
};

/// An immutable snapshot of the index: `Clone + Send + Sync`, taken in O(1).
#[derive(Clone, Debug)]
pub struct IndexView {}

/// A living key as it was at some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAt {
    /// Where its row is stored; `main` is its mod revision.
    pub revision: Revision,
    /// The revision that created it.
    pub create_revision: i64,
    /// Changes since creation, from 1.
    pub version: i64,
}

impl IndexView {
    /// The revision of the newest change in this view; 1 when there never was one.
    pub fn current_revision(&self) -> i64 {
        todo!()
    }

    /// The revision below which nothing can be read; -1 if never compacted.
    pub fn compact_revision(&self) -> i64 {
        todo!()
    }

    /// Answers a range. Values are fetched only for the rows returned (all of the range's when they
    /// are sorted by value).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`, or a fault of `source`.
    pub fn range(
        &self,
        _source: &dyn RowSource,
        _query: &RangeQuery,
    ) -> Result<RangeResult, ReadError> {
        todo!()
    }

    /// The same answer in pages of bounded memory, for streams.
    ///
    /// # Errors
    /// As [`IndexView::range`]; all refusals come here, later only faults.
    pub fn pages(&self, _source: &dyn RowSource, _query: RangeQuery) -> Result<Pages, ReadError> {
        todo!()
    }

    /// How many keys lie in `range` at `revision` (0 or negative: now).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn count(&self, _range: &KeyRange, _revision: i64) -> Result<i64, Refusal> {
        todo!()
    }

    /// `key` as it is now, if it lives.
    pub fn get(&self, _key: &[u8]) -> Option<KeyAt> {
        todo!()
    }

    /// `key` as it was at `revision`, if it lived (0 or negative: now).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn get_at(&self, _key: &[u8], _revision: i64) -> Result<Option<KeyAt>, Refusal> {
        todo!()
    }

    /// Whether the row of `key` at `revision` is still needed by anybody: what the cleaner asks when it
    /// has lost count of what [`crate::Mvcc::compact_step`] told it.
    pub fn keeps(&self, _key: &[u8], _revision: Revision) -> bool {
        todo!()
    }

    /// The lease `key` hangs on now; 0 for none or when it does not live.
    pub fn lease_of(&self, _key: &[u8]) -> LeaseId {
        todo!()
    }

    /// Whether a condition holds now.
    ///
    /// # Errors
    /// Only faults of `source`, and only when values are compared.
    pub fn holds(&self, _source: &dyn RowSource, _compare: &Compare) -> Result<bool, ReadError> {
        todo!()
    }

    /// Whether `put` could be done now: `ignore_value` and `ignore_lease` need a living key. Whether
    /// its lease exists is asked before this, by the caller.
    ///
    /// # Errors
    /// `KeyNotFound`.
    pub fn check_put(&self, _put: &Put) -> Result<(), Refusal> {
        todo!()
    }

    /// Whether a range of a *transaction* may read at `revision`: unlike a lone range's, a negative
    /// one is refused as compacted (-1 passes while nothing was compacted).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn check_txn_range(&self, _revision: i64) -> Result<(), Refusal> {
        todo!()
    }

    /// Every living key that hangs on a lease, in key order.
    pub fn attachments(&self) -> Attachments {
        todo!()
    }

    /// Begins the answer to HashKV (`reference/bbolt-and-backend.md` 5.1): either known already, or a
    /// [`Hasher`] to be fed with the rows of the log up to its revision.
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn hash_kv(
        &self,
        _revision: i64,
        _stored: &CompactionHashes,
    ) -> Result<HashAnswer, Refusal> {
        todo!()
    }

    /// Begins the hash that a compaction at `revision` leaves behind. To be called on a view taken
    /// *before* [`crate::Mvcc::compact`]; its triple goes into [`CompactionHashes::store`].
    pub fn compaction_hash(&self, _revision: i64) -> Hasher {
        todo!()
    }

    /// The whole index as a checkpoint image, chunk by chunk.
    pub fn image(&self) -> ImageWriter {
        todo!()
    }

    /// Keys living now.
    pub fn live_keys(&self) -> u64 {
        todo!()
    }

    /// Bytes of memory the index takes, walked and added up: O(keys).
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}

/// Every living key that hangs on a lease. See [`IndexView::attachments`].
#[derive(Debug)]
pub struct Attachments {}

impl Iterator for Attachments {
    type Item = (Bytes, LeaseId);

    fn next(&mut self) -> Option<(Bytes, LeaseId)> {
        todo!()
    }
}

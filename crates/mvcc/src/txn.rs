//! Write transactions: all changes of one share a main revision and count sub revisions from 0.

use bytes::Bytes;
use types::{KeyRange, LeaseId, Revision, Row};

use crate::{Mvcc, RangeQuery, RangeResult, ReadError, RowSource};

/// A put, as a client asks for it.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// Never empty.
    pub key: Bytes,
    /// The new value; not looked at with `ignore_value`.
    pub value: Bytes,
    /// The lease to hang on, which the caller knows to exist; 0 for none.
    pub lease: LeaseId,
    /// Keep the value the key has.
    pub ignore_value: bool,
    /// Keep the lease the key hangs on.
    pub ignore_lease: bool,
    /// Answer with the row as it was before.
    pub prev_kv: bool,
}

/// A delete, as a client asks for it.
#[derive(Clone, Debug)]
pub struct DeleteRange {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with the rows as they were before.
    pub prev_kv: bool,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// How many keys.
    pub count: i64,
    /// Their rows before, in key order, if asked for.
    pub previous: Vec<Row>,
}

/// A key that changed the lease it hangs on. Both sides may be 0, for none; they always differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMove {
    /// Which key.
    pub key: Bytes,
    /// To be detached from this lease, if not 0.
    pub from: LeaseId,
    /// To be attached to this lease, if not 0.
    pub to: LeaseId,
}

/// Everything a transaction did, in the order it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The store's revision afterwards; as before when `rows` is empty.
    pub revision: i64,
    /// What to store and to show to watchers, in sub order.
    pub rows: Vec<Row>,
    /// For each row, the revision of its key's row just before the transaction: a watcher's
    /// `prev_kv`. `None` where the row creates its key, and where the key did not live.
    pub previous: Vec<Option<Revision>>,
    /// What to tell the lessor, in order.
    pub lease_moves: Vec<LeaseMove>,
}

/// A running write transaction. Its reads see its own changes.
#[derive(Debug)]
#[must_use = "a transaction must be finished: the index has changed already"]
pub struct Txn<'a> {
    _mvcc: &'a mut Mvcc,
}

impl Txn<'_> {
    /// The revision an answer's header shows right now: the one before the transaction, plus one as
    /// soon as it has changed something (`reference/apply-semantics.md` 2.1).
    pub fn revision(&self) -> i64 {
        todo!()
    }

    /// Puts a key; answers with the row before, if asked for and if the key lived.
    ///
    /// # Errors
    /// `KeyNotFound` when something was to be kept of a key that does not live (then nothing was
    /// changed by this put); faults of `source`.
    pub fn put(&mut self, _source: &dyn RowSource, _put: &Put) -> Result<Option<Row>, ReadError> {
        todo!()
    }

    /// Deletes the living keys of a range, in key order.
    ///
    /// # Errors
    /// Faults of `source`, before anything is deleted.
    pub fn delete_range(
        &mut self,
        _source: &dyn RowSource,
        _delete: &DeleteRange,
    ) -> Result<Deleted, ReadError> {
        todo!()
    }

    /// Answers a range, this transaction's changes included.
    ///
    /// # Errors
    /// As [`crate::IndexView::range`].
    pub fn range(
        &self,
        _source: &dyn RowSource,
        _query: &RangeQuery,
    ) -> Result<RangeResult, ReadError> {
        todo!()
    }

    /// Ends the transaction and tells what it did.
    pub fn finish(self) -> Changes {
        todo!()
    }

    /// Undoes everything. Only for a transaction begun with [`Mvcc::begin_revocable`].
    pub fn abandon(self) {
        todo!()
    }
}

//! The writer's side: the current and the compacted revision, and pruning.

use types::{Refusal, Revision};

use crate::{IndexView, Txn};

/// The keyspace, owned by its one writer.
#[derive(Debug)]
pub struct Mvcc {}

/// What one step of pruning did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactProgress {
    /// Revisions whose rows nobody needs any more, grouped by key, keys in order.
    pub dead: Vec<Revision>,
    /// Whether nothing is left to prune for the compacted revision.
    pub finished: bool,
}

impl Default for Mvcc {
    fn default() -> Mvcc {
        Mvcc::new()
    }
}

impl Mvcc {
    /// The empty store: at revision 1, never compacted.
    pub fn new() -> Mvcc {
        todo!()
    }

    /// The revision of the newest change; 1 when there never was one.
    pub fn current_revision(&self) -> i64 {
        todo!()
    }

    /// The revision below which nothing can be read; -1 if never compacted.
    pub fn compact_revision(&self) -> i64 {
        todo!()
    }

    /// A snapshot that stays as it is. While it is held, the nodes that change are copied first.
    pub fn view(&self) -> IndexView {
        todo!()
    }

    /// The present state, borrowed: for checks and conditions before a transaction begins.
    pub fn now(&self) -> &IndexView {
        todo!()
    }

    /// Begins a write transaction. What it does is done at once; it cannot be given up, so check
    /// first ([`IndexView::check_put`], [`IndexView::check_txn_range`]).
    pub fn begin(&mut self) -> Txn<'_> {
        todo!()
    }

    /// Begins a write transaction that [`Txn::abandon`] can undo. Its writes copy the nodes they
    /// touch, so it is for the rare transaction that cannot be checked beforehand.
    pub fn begin_revocable(&mut self) -> Txn<'_> {
        todo!()
    }

    /// Makes everything below `revision` unreadable at once. What may be forgotten is found by
    /// [`Mvcc::compact_step`], later and piece by piece; a compaction that comes before the former
    /// one is finished takes over its work.
    ///
    /// # Errors
    /// `Compacted` when `revision` is not above the compacted one, `FutureRev` when it is above the
    /// current one.
    pub fn compact(&mut self, _revision: i64) -> Result<(), Refusal> {
        todo!()
    }

    /// Prunes for a while: handles about `budget` keys and revisions, then returns.
    pub fn compact_step(&mut self, _budget: usize) -> CompactProgress {
        todo!()
    }
}

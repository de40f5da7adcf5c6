//! The writer's side: the current and the compacted revision, and pruning.

use planted::planted;
use types::{Refusal, Revision};

use crate::index::{Pruning, Tree};
use crate::{IndexView, Txn};

/// The keyspace, owned by its one writer.
#[derive(Debug)]
pub struct Mvcc {
    pub(crate) now: IndexView,
    /// Where the running pass of pruning goes on; `None` when all is pruned.
    pruning: Option<Vec<u8>>,
}

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
        Mvcc::from_view(IndexView { tree: Tree::new(), current: 1, compacted: -1 })
    }

    /// Goes on from a rebuilt index. What was compacted is pruned again: it may have been in doubt.
    pub(crate) fn from_view(now: IndexView) -> Mvcc {
        let pruning = (now.compacted >= 0).then(Vec::new);
        Mvcc { now, pruning }
    }

    /// The revision of the newest change; 1 when there never was one.
    pub fn current_revision(&self) -> i64 {
        self.now.current
    }

    /// The revision below which nothing can be read; -1 if never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.now.compacted
    }

    /// A snapshot that stays as it is. While it is held, the nodes that change are copied first.
    pub fn view(&self) -> IndexView {
        self.now.clone()
    }

    /// The present state, borrowed: for checks and conditions before a transaction begins.
    pub fn now(&self) -> &IndexView {
        &self.now
    }

    /// Begins a write transaction. What it does is done at once; it cannot be given up, so check
    /// first ([`IndexView::check_put`], [`IndexView::check_txn_range`]).
    pub fn begin(&mut self) -> Txn<'_> {
        Txn::new(self, None)
    }

    /// Begins a write transaction that [`Txn::abandon`] can undo. Its writes copy the nodes they
    /// touch, so it is for the rare transaction that cannot be checked beforehand.
    pub fn begin_revocable(&mut self) -> Txn<'_> {
        let before = self.view();
        Txn::new(self, Some(before))
    }

    /// Makes everything below `revision` unreadable at once. What may be forgotten is found by
    /// [`Mvcc::compact_step`], later and piece by piece; a compaction that comes before the former
    /// one is finished takes over its work.
    ///
    /// # Errors
    /// `Compacted` when `revision` is not above the compacted one, `FutureRev` when it is above the
    /// current one.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.now.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.now.current {
            return Err(Refusal::FutureRev);
        }
        self.now.compacted = revision;
        // From the start, even if a pass was under way: what it did is clean now and costs nothing.
        self.pruning = Some(Vec::new());
        Ok(())
    }

    /// Prunes for a while: handles about `budget` keys and revisions, then returns.
    pub fn compact_step(&mut self, budget: usize) -> CompactProgress {
        let Some(from) = self.pruning.take() else {
            return CompactProgress { dead: Vec::new(), finished: true };
        };
        let mut step = Pruning {
            revision: self.now.compacted + i64::from(planted!("compaction one revision too far")),
            budget: budget.max(1),
            dead: Vec::new(),
            stopped_at: None,
        };
        self.now.tree.prune(&from, &mut step);
        self.pruning = step.stopped_at;
        CompactProgress { dead: step.dead, finished: self.pruning.is_none() }
    }
}

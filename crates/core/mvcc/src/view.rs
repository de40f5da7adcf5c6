//! The keyspace at one instant: what readers and conditions look at.
//!
//! Circle: a view makes plans and pages, which read through it; a transaction reads through a view.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use types::{KeyRange, LeaseId, Refusal, Revision};

use crate::error::endless;
use crate::index::{Bounds, Record, Tree};
use crate::plan::{Hits, Plan, fetch, strip};
use crate::{Pages, Put, RangeQuery, RangeResult, ReadError, Room, RowSource};

/// An immutable snapshot of the index: `Clone + Send + Sync`, taken in O(1).
#[derive(Clone, Debug)]
pub struct IndexView {
    pub(crate) tree: Tree,
    /// The revision of the newest change; 1 when there never was one.
    pub(crate) current: i64,
    /// The compacted revision; -1 for none.
    pub(crate) compacted: i64,
}

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
        self.current
    }

    /// The revision below which nothing can be read; -1 if never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// Answers a range. Values are fetched only for the rows returned (all of the range's when they
    /// are sorted by value).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`, or a fault of `source`.
    pub fn range(
        &self,
        source: &dyn RowSource,
        query: &RangeQuery,
    ) -> Result<RangeResult, ReadError> {
        self.range_with_room(source, query, &mut endless)
    }

    /// The same, once `room` has allowed what the rows take that must be read.
    ///
    /// # Errors
    /// As [`IndexView::range`], and what `room` answers.
    pub fn range_with_room(
        &self,
        source: &dyn RowSource,
        query: &RangeQuery,
        room: &mut Room<'_>,
    ) -> Result<RangeResult, ReadError> {
        let revision = self.readable(query.revision)?;
        if query.count_only {
            let count = self.count_at(&query.range, revision);
            return Ok(RangeResult { rows: Vec::new(), more: false, count });
        }
        let Plan { hits, more, count } = self.plan(source, query, revision, room)?;
        let rows = match hits {
            Hits::Found(found) => fetch(source, &found, query.is_from_index(), room)?,
            Hits::Rows(rows) if query.keys_only => rows.iter().map(strip).collect(),
            Hits::Rows(rows) => rows,
        };
        Ok(RangeResult { rows, more, count })
    }

    /// The same answer in pages of bounded memory, for streams.
    ///
    /// # Errors
    /// As [`IndexView::range_with_room`]; all refusals of the query come here.
    pub fn pages(
        &self,
        source: &dyn RowSource,
        query: RangeQuery,
        room: &mut Room<'_>,
    ) -> Result<Pages, ReadError> {
        let revision = self.readable(query.revision)?;
        Pages::new(self, source, &query, revision, room)
    }

    /// How many keys lie in `range` at `revision` (0 or negative: now).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn count(&self, range: &KeyRange, revision: i64) -> Result<i64, Refusal> {
        Ok(self.count_at(range, self.readable(revision)?))
    }

    /// `key` as it is now, if it lives.
    pub fn get(&self, key: &[u8]) -> Option<KeyAt> {
        self.tree.get(key).and_then(|item| item.living_at(self.current)).map(KeyAt::from)
    }

    /// `key` as it was at `revision`, if it lived (0 or negative: now).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn get_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyAt>, Refusal> {
        let revision = self.readable(revision)?;
        let record = self.tree.get(key).and_then(|item| item.living_at(revision));
        Ok(record.map(KeyAt::from))
    }

    /// Whether the row of `key` at `revision` is still needed by anybody: what the cleaner asks when it
    /// has lost count of what [`crate::Mvcc::compact_step`] told it.
    pub fn keeps(&self, key: &[u8], revision: Revision) -> bool {
        let Some(item) = self.tree.get(key) else { return false };
        item.place_of(revision).is_some_and(|place| place >= item.keep(self.compacted).dead)
    }

    /// The lease `key` hangs on now; 0 for none or when it does not live.
    pub fn lease_of(&self, key: &[u8]) -> LeaseId {
        self.tree.get(key).map_or(0, |item| item.lease)
    }

    /// Whether `put` could be done now: `ignore_value` and `ignore_lease` need a living key. Whether
    /// its lease exists is asked before this, by the caller.
    ///
    /// # Errors
    /// `KeyNotFound`.
    pub fn check_put(&self, put: &Put) -> Result<(), Refusal> {
        let keeps_something = put.ignore_value || put.ignore_lease;
        if keeps_something && self.get(&put.key).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    /// Whether a range of a *transaction* may read at `revision`: unlike a lone range's, a negative
    /// one is refused as compacted (-1 passes while nothing was compacted).
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn check_txn_range(&self, revision: i64) -> Result<(), Refusal> {
        if revision > self.current {
            return Err(Refusal::FutureRev);
        }
        if revision != 0 && revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        Ok(())
    }

    /// Every living key that hangs on a lease, in key order.
    pub fn attachments(&self) -> Attachments {
        Attachments { view: self.clone(), batch: VecDeque::new(), next: Some(Bytes::new()) }
    }

    /// Keys living now.
    pub fn live_keys(&self) -> u64 {
        self.tree.summary().live
    }

    /// Bytes of memory the index takes, walked and added up: O(keys).
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes()
    }

    /// The revision a read is answered at.
    pub(crate) fn readable(&self, revision: i64) -> Result<i64, Refusal> {
        if revision > self.current {
            return Err(Refusal::FutureRev);
        }
        let revision = if revision > 0 { revision } else { self.current };
        if revision < self.compacted { Err(Refusal::Compacted) } else { Ok(revision) }
    }

    pub(crate) fn count_at(&self, range: &KeyRange, revision: i64) -> i64 {
        if let KeyRange::One(key) = range {
            let record = self.tree.get(key).and_then(|item| item.living_at(revision));
            return i64::from(record.is_some());
        }
        self.tree.count(&Bounds::of(range), revision) as i64
    }
}

impl From<Record> for KeyAt {
    fn from(record: Record) -> KeyAt {
        KeyAt {
            revision: record.revision(),
            create_revision: record.created,
            version: record.version,
        }
    }
}

/// Every living key that hangs on a lease. See [`IndexView::attachments`].
#[derive(Debug)]
pub struct Attachments {
    view: IndexView,
    batch: VecDeque<(Bytes, LeaseId)>,
    /// Where the next batch begins; `None` when the last one was read.
    next: Option<Bytes>,
}

/// How many keys are looked at before the first of them is handed out.
const BATCH_KEYS: usize = 1000;

impl Iterator for Attachments {
    type Item = (Bytes, LeaseId);

    fn next(&mut self) -> Option<(Bytes, LeaseId)> {
        while self.batch.is_empty() {
            let low = self.next.take()?;
            let mut left = BATCH_KEYS;
            let stopped = self.view.tree.walk_all(&low, &mut |key, item| {
                if left == 0 {
                    return ControlFlow::Break(key.to_bytes());
                }
                left -= 1;
                if item.lease != 0 {
                    self.batch.push_back((key.to_bytes(), item.lease));
                }
                ControlFlow::Continue(())
            });
            self.next = stopped.break_value();
        }
        self.batch.pop_front()
    }
}

//! Write transactions: all changes of one share a main revision and count sub revisions from 0.

use std::ops::ControlFlow;

use bytes::Bytes;
use types::{KeyRange, KeyValueRef, LeaseId, Revision, Row, encode_row, encode_tombstone};

use crate::index::{Bounds, Item, Record, after};
use crate::{IndexView, Mvcc, RangeQuery, RangeResult, ReadError, RowFault, RowSource};

/// Keys of a range that are collected before they are deleted.
const KEYS_AT_ONCE: usize = 1024;

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
    mvcc: &'a mut Mvcc,
    /// The revision before it.
    begin: i64,
    /// What it did so far.
    changes: Changes,
    /// What [`Txn::abandon`] goes back to.
    before: Option<IndexView>,
}

/// The rows of a running transaction, which the store has not seen yet, before all others.
struct Overlay<'a> {
    main: i64,
    rows: &'a [Row],
    stored: &'a dyn RowSource,
}

impl RowSource for Overlay<'_> {
    fn row(&self, revision: Revision) -> Result<Row, RowFault> {
        if revision.main != self.main {
            return self.stored.row(revision);
        }
        let at =
            usize::try_from(revision.sub).expect("the index holds what this transaction wrote");
        Ok(self.rows[at].clone())
    }

    fn rows(&self, revisions: &[Revision]) -> Result<Vec<Row>, RowFault> {
        if revisions.iter().any(|revision| revision.main == self.main) {
            return revisions.iter().map(|revision| self.row(*revision)).collect();
        }
        self.stored.rows(revisions)
    }
}

/// What the index said about a key in the moment it was written.
#[derive(Default)]
struct Written {
    record: Option<Record>,
    /// The row a watcher is shown as the one before.
    previous: Option<Revision>,
    lease_before: LeaseId,
    lease_after: LeaseId,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(mvcc: &'a mut Mvcc, before: Option<IndexView>) -> Txn<'a> {
        let begin = mvcc.now.current;
        let changes = Changes {
            revision: begin,
            rows: Vec::new(),
            previous: Vec::new(),
            lease_moves: Vec::new(),
        };
        Txn { mvcc, begin, changes, before }
    }

    /// The revision an answer's header shows right now: the one before the transaction, plus one as
    /// soon as it has changed something (`docs/etcd/apply-semantics.md` 2.1).
    pub fn revision(&self) -> i64 {
        self.changes.revision
    }

    /// Puts a key; answers with the row before, if asked for and if the key lived.
    ///
    /// # Errors
    /// `KeyNotFound` when something was to be kept of a key that does not live (then nothing was
    /// changed by this put); faults of `source`.
    pub fn put(&mut self, source: &dyn RowSource, put: &Put) -> Result<Option<Row>, ReadError> {
        assert!(!put.key.is_empty(), "an empty key is refused at the door");
        self.mvcc.now.check_put(put)?;
        let old =
            if put.ignore_value || put.prev_kv { self.row_now(source, &put.key)? } else { None };
        let value = match &old {
            Some(row) if put.ignore_value => row.value(),
            _ => &put.value[..],
        };
        let main = self.begin + 1;
        let written = self.write(&put.key, |old| {
            let living = old.filter(|item| item.is_alive());
            let (created, version) = match living {
                Some(item) => (item.newest.created, item.newest.version + 1),
                None => (main, 1),
            };
            let kept = living.map_or(0, |item| item.lease);
            (created, version, if put.ignore_lease { kept } else { put.lease })
        });
        let record = written.record.expect("the index has just been given it");
        let kv = KeyValueRef {
            key: &put.key,
            create_revision: record.created,
            mod_revision: main,
            version: record.version,
            value,
            lease: written.lease_after,
        };
        self.note(encode_row(kv, i64::from(record.sub)), &written);
        Ok(old.filter(|_| put.prev_kv))
    }

    /// Deletes the living keys of a range, in key order.
    ///
    /// # Errors
    /// Faults of `source`, before anything is deleted.
    pub fn delete_range(
        &mut self,
        source: &dyn RowSource,
        delete: &DeleteRange,
    ) -> Result<Deleted, ReadError> {
        let count = self.mvcc.now.count_at(&delete.range, self.mvcc.now.current);
        let mut previous = Vec::new();
        if delete.prev_kv {
            let revisions = self.living(&delete.range);
            previous = self.overlay(source).rows(&revisions)?;
        }
        if let KeyRange::One(key) = &delete.range {
            if 0 < count {
                self.bury(key);
            }
            return Ok(Deleted { count, previous });
        }
        let many = usize::try_from(count).unwrap_or(0);
        self.changes.rows.reserve(many);
        self.changes.previous.reserve(many);
        let mut bounds = Bounds::of(&delete.range);
        loop {
            let keys = self.next_living(&mut bounds);
            for key in &keys {
                self.bury(key);
            }
            if keys.len() < KEYS_AT_ONCE {
                return Ok(Deleted { count, previous });
            }
        }
    }

    fn bury(&mut self, key: &[u8]) {
        let written = self.write(key, |_| (0, 0, 0));
        let record = written.record.expect("the index has just been given it");
        self.note(encode_tombstone(key, record.revision()), &written);
    }

    /// Answers a range, this transaction's changes included.
    ///
    /// # Errors
    /// As [`IndexView::range`].
    pub fn range(
        &self,
        source: &dyn RowSource,
        query: &RangeQuery,
    ) -> Result<RangeResult, ReadError> {
        self.mvcc.now.range(&self.overlay(source), query)
    }

    /// Ends the transaction and tells what it did.
    pub fn finish(self) -> Changes {
        self.changes
    }

    /// Undoes everything. Only for a transaction begun with [`Mvcc::begin_revocable`].
    pub fn abandon(self) {
        self.mvcc.now = self.before.expect("only a revocable transaction is abandoned");
    }

    fn overlay<'o>(&'o self, stored: &'o dyn RowSource) -> Overlay<'o> {
        Overlay { main: self.begin + 1, rows: &self.changes.rows, stored }
    }

    /// The row of a key as it is now, if it lives.
    fn row_now(&self, source: &dyn RowSource, key: &[u8]) -> Result<Option<Row>, ReadError> {
        match self.mvcc.now.get(key) {
            Some(at) => Ok(Some(self.overlay(source).row(at.revision)?)),
            None => Ok(None),
        }
    }

    /// Where the rows of a range's living keys are.
    fn living(&self, range: &KeyRange) -> Vec<Revision> {
        let now = &self.mvcc.now;
        if let KeyRange::One(key) = range {
            return now.get(key).map(|at| at.revision).into_iter().collect();
        }
        let mut revisions = Vec::new();
        let _: ControlFlow<()> =
            now.tree.walk(&Bounds::of(range), now.current, 0, &mut |_, _, record| {
                revisions.push(record.revision());
                ControlFlow::Continue(())
            });
        revisions
    }

    /// The next living keys of a range that is being deleted, and moves its lower bound behind them. What
    /// was deleted stays in the tree, so nothing moves meanwhile.
    fn next_living(&self, bounds: &mut Bounds) -> Vec<Bytes> {
        let now = &self.mvcc.now;
        let mut keys = Vec::new();
        let _: ControlFlow<()> = now.tree.walk(bounds, now.current, 0, &mut |key, _, _| {
            keys.push(key.to_bytes());
            if keys.len() < KEYS_AT_ONCE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if let Some(last) = keys.last() {
            bounds.low = after(last);
        }
        keys
    }

    /// Gives the index its next record. `decide` says creation, version and lease; a version of 0
    /// makes a tombstone.
    fn write(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<&Item>) -> (i64, i64, LeaseId),
    ) -> Written {
        let main = self.begin + 1;
        let sub = u32::try_from(self.changes.rows.len()).expect("they are all in memory");
        let mut written = Written::default();
        self.mvcc.now.tree.write(key, |old| {
            let (created, version, lease) = decide(old);
            let record = Record { main, created, version, sub };
            written.record = Some(record);
            written.lease_before = old.map_or(0, |item| item.lease);
            written.lease_after = lease;
            // A row that creates its key has none before it, even where the key was deleted in this
            // same transaction.
            let shown = old.filter(|_| created != main);
            let before = shown.and_then(|item| item.living_at(main - 1));
            written.previous = before.map(|record| record.revision());
            (record, lease)
        });
        self.mvcc.now.current = main;
        self.changes.revision = main;
        written
    }

    /// Takes down a change for those who are told afterwards.
    fn note(&mut self, row: Row, written: &Written) {
        if written.lease_before != written.lease_after {
            let (from, to) = (written.lease_before, written.lease_after);
            self.changes.lease_moves.push(LeaseMove { key: row.key_bytes(), from, to });
        }
        self.changes.previous.push(written.previous);
        self.changes.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is read.
    struct Nothing;

    impl RowSource for Nothing {
        fn row(&self, revision: Revision) -> Result<Row, RowFault> {
            panic!("{revision} is read")
        }
    }

    #[test]
    fn a_range_of_many_keys_is_deleted_whole_and_nothing_beside_it() {
        for many in [KEYS_AT_ONCE - 1, KEYS_AT_ONCE, KEYS_AT_ONCE + 1, 3 * KEYS_AT_ONCE] {
            let mut mvcc = Mvcc::new();
            let mut txn = mvcc.begin();
            // Where keys are parted, the next is the very next there can be.
            let name =
                |number: usize| format!("b{:06}{}", number.div_ceil(2), ["\0", ""][number % 2]);
            for key in (0..many).map(name) {
                let put = Put { key: key.into(), ..Put::default() };
                txn.put(&Nothing, &put).expect("nothing is read");
            }
            for beside in ["a", "c"] {
                let put = Put { key: beside.into(), ..Put::default() };
                txn.put(&Nothing, &put).expect("nothing is read");
            }
            txn.finish();
            let range = KeyRange::Between { start: "b".into(), end: "c".into() };
            let mut txn = mvcc.begin();
            let delete = DeleteRange { range: range.clone(), prev_kv: false };
            let deleted = txn.delete_range(&Nothing, &delete).expect("nothing is read");
            let changes = txn.finish();
            assert_eq!((deleted.count, changes.rows.len()), (many as i64, many));
            assert!(changes.rows.iter().zip(0..).all(|(row, sub)| row.revision.sub == sub));
            assert_eq!(mvcc.now().count(&range, 0), Ok(0));
            assert_eq!(mvcc.now().live_keys(), 2);
        }
    }
}

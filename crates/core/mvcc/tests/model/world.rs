//! One random story of the store and its reference.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_mvcc::{
    CompactionHashes, Compare, DeleteRange, Filters, HashAnswer, Hasher, ImageReader, IndexView,
    LeaseMove, Mvcc, Operator, Put, RangeQuery, ReadError, Restore, RowFault, RowMeta, RowSource,
    SortOrder, SortTarget, Target, Txn,
};
use types::{KeyRange, Refusal, Revision, Row};

use crate::dice::Dice;
use crate::reference::{Reference, row_of};

/// Rows that are still there. Asking for another one is a fault, and fails the test.
#[derive(Clone, Default)]
struct Rows(BTreeMap<Revision, Row>);

impl RowSource for Rows {
    fn row(&self, revision: Revision) -> Result<Row, RowFault> {
        let missing = || RowFault { revision, source: "forgotten".into() };
        self.0.get(&revision).cloned().ok_or_else(missing)
    }
}

/// A view, and what it must go on saying.
struct Held {
    view: IndexView,
    rows: Rows,
    reference: Reference,
}

pub struct World {
    dice: Dice,
    keys: usize,
    mvcc: Mvcc,
    rows: Rows,
    reference: Reference,
    hashes: CompactionHashes,
    held: Vec<Held>,
}

impl World {
    pub fn new(seed: u64, keys: usize) -> World {
        World {
            dice: Dice(seed),
            keys,
            mvcc: Mvcc::new(),
            rows: Rows::default(),
            reference: Reference::new(),
            hashes: CompactionHashes::new(),
            held: Vec::new(),
        }
    }

    pub fn live(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.prune_all();
        self.check_everything();
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..40 => self.write(),
            40..60 => self.check_range(),
            60..68 => self.check_points(),
            68..74 => self.check_compare(),
            74..80 => self.check_pages(),
            80..82 => self.compact(),
            82..92 => {
                self.prune();
            }
            92..94 => self.check_hash(),
            94..96 => self.hold_or_drop(),
            96..98 => self.check_held(),
            98 => self.restart_from_image(),
            _ => self.check_restart_from_rows(),
        }
    }

    fn key(&mut self) -> Bytes {
        let n = self.dice.roll(self.keys);
        if self.keys > 1000 { format!("/registry/{}/{n:05}", n % 7) } else { format!("k{n}") }
            .into()
    }

    fn some_range(&mut self) -> KeyRange {
        match self.dice.roll(4) {
            0 => KeyRange::One(self.key()),
            1 => KeyRange::From { start: self.key() },
            2 => KeyRange::all(),
            // Half of these are inverted and so empty.
            _ => KeyRange::Between { start: self.key(), end: self.key() },
        }
    }

    fn narrow_range(&mut self) -> KeyRange {
        if self.keys < 1000 || self.dice.once_in(200) {
            return self.some_range();
        }
        let start = self.key();
        let end = [&start[..start.len() - 1], b"~"].concat().into();
        KeyRange::Between { start, end }
    }

    fn some_revision(&mut self) -> i64 {
        let (low, high) = (self.reference.compacted, self.reference.current);
        match self.dice.roll(4) {
            0 => 0,
            1 => self.dice.between(-2, high + 2),
            _ => self.dice.between(low, high),
        }
    }

    // Writes.

    fn write(&mut self) {
        let operations = if self.dice.once_in(3) { self.dice.roll(6) } else { 1 };
        let main = self.reference.current + 1;
        let revocable = self.dice.once_in(10);
        let before = revocable.then(|| self.reference.clone());
        let mut mvcc = std::mem::take(&mut self.mvcc);
        let mut txn = if revocable { mvcc.begin_revocable() } else { mvcc.begin() };
        let mut expected = Expected::default();
        for _ in 0..operations {
            match self.dice.roll(10) {
                0..6 => self.put(&mut txn, main, &mut expected),
                6..9 => self.delete(&mut txn, main, &mut expected),
                _ => self.range_within(&txn, main, &expected),
            }
            let begun = if expected.rows.is_empty() { main - 1 } else { main };
            assert_eq!(txn.revision(), begun);
        }
        if let Some(before) = before.filter(|_| self.dice.once_in(2)) {
            txn.abandon();
            self.reference = before;
        } else {
            let changes = txn.finish();
            if !expected.rows.is_empty() {
                self.reference.current = main;
            }
            assert_eq!(changes.revision, self.reference.current);
            let previous = expected.rows.iter().map(|row| self.watchers_previous(row));
            let previous: Vec<_> = previous.collect();
            assert_eq!(changes.previous, previous);
            assert_eq!(changes.rows, expected.rows);
            assert_eq!(changes.lease_moves, expected.lease_moves);
            self.rows.0.extend(changes.rows.into_iter().map(|row| (row.revision, row)));
        }
        self.mvcc = mvcc;
        assert_eq!(self.mvcc.current_revision(), self.reference.current);
    }

    /// A watcher is shown the row that lived before the transaction, unless this one creates its key.
    fn watchers_previous(&self, row: &Row) -> Option<Revision> {
        if !row.tombstone && row.create_revision == row.revision.main {
            return None;
        }
        let before = self.reference.living(row.key(), row.revision.main - 1);
        before.map(|change| change.revision)
    }

    fn put(&mut self, txn: &mut Txn<'_>, main: i64, expected: &mut Expected) {
        let put = Put {
            key: self.key(),
            value: vec![b'v'; self.dice.roll(4)].into(),
            lease: self.dice.pick(&[0, 0, 7, 8, -9]),
            ignore_value: self.dice.once_in(6),
            ignore_lease: self.dice.once_in(6),
            prev_kv: self.dice.once_in(3),
        };
        let before = self.reference.living(&put.key, i64::MAX).cloned();
        let result = txn.put(&self.rows, &put);
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            assert!(matches!(result, Err(ReadError::Refused(Refusal::KeyNotFound))));
            return;
        }
        let shown = before.as_ref().filter(|_| put.prev_kv).map(|change| row_of(&put.key, change));
        assert_eq!(result.expect("no fault"), shown);
        let (value, lease) = match &before {
            Some(before) => (
                if put.ignore_value { before.value.clone() } else { put.value.to_vec() },
                if put.ignore_lease { before.lease } else { put.lease },
            ),
            None => (put.value.to_vec(), put.lease),
        };
        let revision = Revision { main, sub: expected.rows.len() as i64 };
        expected.rows.push(self.reference.put(&put.key, &value, lease, revision));
        expected.lease_moves(&put.key, before.map_or(0, |change| change.lease), lease);
    }

    fn delete(&mut self, txn: &mut Txn<'_>, main: i64, expected: &mut Expected) {
        let range =
            if self.dice.once_in(3) { self.narrow_range() } else { KeyRange::One(self.key()) };
        let delete = DeleteRange { range, prev_kv: self.dice.once_in(2) };
        let deleted = txn.delete_range(&self.rows, &delete).expect("no fault");
        let found = self.reference.keys_in(&delete.range, i64::MAX);
        assert_eq!(deleted.count, found.len() as i64);
        let previous = if delete.prev_kv {
            found.iter().map(|(key, change)| row_of(key, change)).collect()
        } else {
            Vec::new()
        };
        assert_eq!(deleted.previous, previous);
        for (key, before) in found {
            let revision = Revision { main, sub: expected.rows.len() as i64 };
            expected.rows.push(self.reference.delete(&key, revision));
            expected.lease_moves(&key, before.lease, 0);
        }
    }

    fn range_within(&mut self, txn: &Txn<'_>, main: i64, expected: &Expected) {
        let mut query = self.some_query();
        query.revision = 0;
        let current = if expected.rows.is_empty() { main - 1 } else { main };
        self.reference.current = current;
        let answer = txn.range(&self.rows, &query).map_err(refusal);
        assert_eq!(answer, self.reference.range(&query), "{query:?}");
        self.reference.current = main - 1;
    }

    // Reads.

    fn some_query(&mut self) -> RangeQuery {
        let mut query = RangeQuery::new(self.some_range());
        query.revision = self.some_revision();
        query.limit = self.dice.pick(&[0, 0, -1, 1, 2, 3, 10, 100, 1_000_000, i64::MAX]);
        query.order = self.dice.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
        query.target = self.dice.pick(&[
            SortTarget::Key,
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ]);
        if self.dice.once_in(3) {
            let high = self.reference.current;
            let mut bound = || if self.dice.once_in(2) { self.dice.between(1, high) } else { 0 };
            query.filters = Filters {
                min_mod_revision: bound(),
                max_mod_revision: bound(),
                min_create_revision: bound(),
                max_create_revision: bound(),
            };
        }
        query.keys_only = self.dice.once_in(3);
        query.count_only = self.dice.once_in(8);
        query
    }

    fn check_range(&mut self) {
        let query = self.some_query();
        let answer = self.mvcc.now().range(&self.rows, &query).map_err(refusal);
        assert_eq!(answer, self.reference.range(&query), "{query:?}");
        self.check_size(&query);
        let count = self.mvcc.now().count(&query.range, query.revision);
        assert_eq!(count, self.reference.count(&query.range, query.revision), "{query:?}");
    }

    /// What is said of an answer before it is read is never too little, and exact where nothing is left out.
    fn check_size(&self, query: &RangeQuery) {
        let now = self.mvcc.now();
        let bytes = now.answer_bytes(&self.rows, query);
        let answer = match self.reference.range(query) {
            Ok(answer) => answer,
            Err(refusal) => return assert_eq!(bytes, Err(refusal)),
        };
        let (rows, bytes) = (answer.rows.len() as u64, bytes.expect("the range is not refused"));
        let taken: u64 = answer.rows.iter().map(|row| row.encoded.len() as u64 + 8).sum();
        assert!(taken <= bytes, "{query:?}: {taken} bytes, and {bytes} were said");
        let whole = now.answer_rows(query, usize::MAX);
        assert!(rows <= whole.expect("no bound"), "{query:?}");
        // A bound on the walk changes nothing but whether there is an answer.
        let bounded = now.answer_rows(query, 2);
        assert!(bounded.is_none() || bounded == whole, "{query:?}");
        let plain = RangeQuery { revision: query.revision, ..RangeQuery::new(query.range.clone()) };
        let plain_bytes = now.answer_bytes(&self.rows, &plain).expect("as above");
        let all = self.reference.range(&plain).expect("as above").rows;
        assert_eq!(plain_bytes, all.iter().map(|row| row.encoded.len() as u64 + 8).sum::<u64>());
    }

    fn check_pages(&mut self) {
        let query = self.some_query();
        let expected = self.reference.range(&query);
        let mut pages = match self
            .mvcc
            .now()
            .pages(&self.rows, query.clone(), &mut |_| Ok(()))
            .map_err(refusal)
        {
            Ok(pages) => pages,
            Err(refusal) => return assert_eq!(Some(refusal), expected.err()),
        };
        let expected = expected.expect("the pages were not refused");
        assert_eq!((pages.count(), pages.more()), (expected.count, expected.more), "{query:?}");
        let (mut rows, mut last) = (Vec::new(), false);
        let mut size = 1 + self.dice.roll(20);
        while let Some(page) = pages.next_page(&self.rows, size, &mut |_| Ok(())).expect("no fault")
        {
            assert!(!last, "nothing follows the last page");
            assert!(page.rows.len() <= size);
            last = page.last;
            rows.extend(page.rows);
            size *= 2;
        }
        assert!(last, "the end was announced");
        assert_eq!(rows, expected.rows, "{query:?}");
    }

    fn check_points(&mut self) {
        let (key, revision) = (self.key(), self.some_revision());
        let at = self.mvcc.now().get_at(&key, revision);
        let query = RangeQuery { revision, ..RangeQuery::new(KeyRange::One(key.clone())) };
        let expected = self.reference.range(&query);
        let found = expected.map(|result| {
            result.rows.first().map(|row| (row.revision, row.create_revision, row.version))
        });
        assert_eq!(at.map(|at| at.map(|at| (at.revision, at.create_revision, at.version))), found);
        let living = self.reference.living(&key, i64::MAX);
        assert_eq!(self.mvcc.now().lease_of(&key), living.map_or(0, |change| change.lease));
    }

    fn check_compare(&mut self) {
        let current = self.reference.current;
        let target = match self.dice.roll(6) {
            0 => Target::Version(self.dice.between(0, 4)),
            1 => Target::Create(self.dice.between(0, current)),
            2 => Target::Mod(self.dice.between(0, current)),
            3 => Target::Value(vec![b'v'; self.dice.roll(4)].into()),
            4 => Target::Lease(self.dice.pick(&[0, 7, 8, -9])),
            _ => Target::Unknown,
        };
        let operator = self.dice.pick(&[
            Operator::Equal,
            Operator::Greater,
            Operator::Less,
            Operator::NotEqual,
            Operator::Unknown,
        ]);
        let compare = Compare { range: self.narrow_range(), target, operator };
        let holds = self.mvcc.now().holds(&self.rows, &compare).expect("no fault");
        assert_eq!(holds, self.reference.holds(&compare), "{compare:?}");
    }

    // Compaction.

    fn compact(&mut self) {
        let (low, high) = (self.reference.compacted, self.reference.current);
        let revision =
            if self.dice.once_in(4) { high } else { self.dice.between(low - 1, high + 1) };
        if low < revision && revision <= high {
            let mut hasher = self.mvcc.now().compaction_hash(revision);
            feed(&mut hasher, &self.rows);
            let triple = hasher.finish();
            let keep = self.reference.keep(revision, true);
            assert_eq!(triple.hash, self.reference.hash(revision, &keep));
            assert_eq!((triple.compact_revision, triple.revision), (low, revision));
            self.hashes.store(triple);
        }
        assert_eq!(self.mvcc.compact(revision), self.reference.compact(revision));
        assert_eq!(self.mvcc.compact_revision(), self.reference.compacted);
    }

    fn prune(&mut self) -> bool {
        let budget = self.dice.pick(&[0, 1, 3, 20, 500]);
        let progress = self.mvcc.compact_step(budget);
        assert!(progress.dead.len() <= budget.max(1), "within the budget");
        for revision in progress.dead {
            assert!(self.rows.0.remove(&revision).is_some(), "{revision} died twice");
        }
        progress.finished
    }

    fn prune_all(&mut self) {
        while !self.prune() {}
        let left: Vec<Revision> = self.rows.0.keys().copied().collect();
        let expected: Vec<Revision> = self.reference.physical.iter().copied().collect();
        assert_eq!(left, expected, "what compaction leaves");
        for (revision, row) in &self.rows.0 {
            assert!(self.mvcc.now().keeps(row.key(), *revision));
        }
    }

    // Hashes.

    fn check_hash(&mut self) {
        let revision = self.some_revision();
        let (current, compacted) = (self.reference.current, self.reference.compacted);
        match self.mvcc.now().hash_kv(revision, &self.hashes) {
            Ok(HashAnswer::Stored(triple)) => assert_eq!(triple.revision, revision),
            Ok(HashAnswer::Compute(mut hasher)) => {
                feed(&mut hasher, &self.rows);
                let triple = hasher.finish();
                let revision = if revision == 0 { current } else { revision };
                assert_eq!((triple.revision, triple.compact_revision), (revision, compacted));
                let keep = self.reference.keep(revision, false);
                assert_eq!(triple.hash, self.reference.hash(revision, &keep));
            }
            Err(Refusal::FutureRev) => assert!(revision > current),
            Err(refused) => {
                assert_eq!(refused, Refusal::Compacted);
                assert!(0 < revision && revision < compacted);
            }
        }
    }

    // Views and restarts.

    fn hold_or_drop(&mut self) {
        if self.held.len() >= 3 {
            let at = self.dice.roll(self.held.len());
            self.held.remove(at);
        }
        let (view, rows) = (self.mvcc.view(), self.rows.clone());
        self.held.push(Held { view, rows, reference: self.reference.clone() });
    }

    fn check_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.roll(self.held.len());
        let query = self.some_query();
        let held = &self.held[at];
        let answer = held.view.range(&held.rows, &query).map_err(refusal);
        assert_eq!(answer, held.reference.range(&query), "{query:?}");
    }

    fn check_everything(&mut self) {
        (0..20).for_each(|_| self.check_range());
        (0..5).for_each(|_| self.check_hash());
        (0..10).for_each(|_| self.check_held());
        let leased = self.reference.keys_in(&KeyRange::all(), i64::MAX).into_iter();
        let leased = leased.filter(|(_, change)| change.lease != 0);
        let expected: Vec<_> =
            leased.map(|(key, change)| (Bytes::from(key), change.lease)).collect();
        assert_eq!(self.mvcc.now().attachments().collect::<Vec<_>>(), expected);
        assert_eq!(
            self.mvcc.now().live_keys() as usize,
            self.reference.keys_in(&KeyRange::all(), i64::MAX).len()
        );
    }

    /// The store goes on from an image, perhaps an older one with the rows after it on top.
    fn restart_from_image(&mut self) {
        let view = self.mvcc.view();
        let mut reader = ImageReader::new();
        for chunk in view.image() {
            reader.feed(&chunk).expect("our own image");
        }
        for _ in 0..self.dice.roll(20) {
            self.write();
        }
        let mut restore = reader.finish().expect("our own image");
        let after = Revision::first_of(restore.revision() + 1);
        for row in self.rows.0.range(after..).map(|(_, row)| row) {
            restore.row(RowMeta::from(row)).expect("rows in order");
        }
        let restored = restore.finish(self.reference.compacted);
        let before = std::mem::replace(&mut self.mvcc, restored);
        assert_eq!(image(&self.mvcc), image(&before), "what was restored is what was there");
        self.check_everything();
    }

    /// Without an image, all rows that are left tell the same.
    fn check_restart_from_rows(&mut self) {
        let mut restore = Restore::new();
        for row in self.rows.0.values() {
            restore.row(RowMeta::from(row)).expect("rows in order");
        }
        let mut restored = restore.finish(self.reference.compacted);
        while !restored.compact_step(100).finished {}
        self.prune_all();
        if self.reference.current > restored.current_revision() {
            return; // The newest rows were all compacted away; a restart knows by the meta bucket.
        }
        assert_eq!(image(&restored), image(&self.mvcc));
    }
}

/// What a transaction should have done.
#[derive(Default)]
struct Expected {
    rows: Vec<Row>,
    lease_moves: Vec<LeaseMove>,
}

impl Expected {
    fn lease_moves(&mut self, key: &[u8], from: i64, to: i64) {
        if from != to {
            self.lease_moves.push(LeaseMove { key: Bytes::copy_from_slice(key), from, to });
        }
    }
}

fn feed(hasher: &mut Hasher, rows: &Rows) {
    rows.0.values().for_each(|row| hasher.row(row));
}

fn image(mvcc: &Mvcc) -> Vec<u8> {
    mvcc.now().image().flat_map(|chunk| chunk.to_vec()).collect()
}

fn refusal(error: ReadError) -> Refusal {
    match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Fault(fault) => panic!("{fault}"),
    }
}

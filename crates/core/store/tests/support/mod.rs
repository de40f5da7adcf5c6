//! A store and, beside it, what it should hold: every batch that was applied, and which rows were marked
//! dead after which entry. From that follows what must be there at any index, and what may be gone.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_store::{
    Batch, Bucket, OpenError, Options, Restored, RowMeta, State, StateChange, Store, StoreError,
};
use types::{KeyValueRef, Revision, Row, encode_row, encode_tombstone};
use vfs::MemoryDisk;

/// Where the store lies on the disk in memory.
pub const DIR: &str = "/data/store";

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Small bounds, so that a short run seals, cleans and merges.
pub fn small() -> Options {
    Options {
        segment_bytes: 3000,
        clean_live_percent: 60,
        clean_garbage_bytes_min: 400,
        clean_spare_bytes: 0,
        quota_bytes: None,
        tail_bytes_max: 1500,
        frame_bytes_max: 400,
        recent_bytes_max: 600,
    }
}

pub fn open(disk: &MemoryDisk, options: Options) -> Result<(Store, Restored), OpenError> {
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

/// What should be there.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub batches: Vec<Batch>,
    /// Rows that were marked dead, and the entry that was the last applied then.
    pub dead: BTreeMap<Revision, u64>,
    /// The highest index that was confirmed as durable.
    pub synced: u64,
}

/// The newest rows of all keys at some index, and all small state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub rows: BTreeMap<Revision, Row>,
    pub newest: BTreeMap<Bytes, Row>,
    pub state: BTreeMap<(Bucket, Bytes), Bytes>,
    pub term: u64,
}

impl Model {
    pub fn index(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.index)
    }

    /// The last entry that changed something: those after it need no place in the log before a sync.
    pub fn framed(&self) -> u64 {
        let changes = |batch: &&Batch| !batch.rows.is_empty() || !batch.state.is_empty();
        self.batches.iter().rfind(changes).map_or(0, |batch| batch.index)
    }

    pub fn main(&self) -> i64 {
        let rows = self.batches.iter().flat_map(|batch| &batch.rows);
        rows.last().map_or(1, |row| row.revision.main)
    }

    /// Forgets what a crash lost.
    pub fn cut_to(&mut self, index: u64) {
        self.batches.retain(|batch| batch.index <= index);
        self.dead.retain(|_, marked| *marked <= index);
    }

    pub fn at(&self, index: u64) -> Expected {
        let mut expected = Expected::default();
        for batch in self.batches.iter().take_while(|batch| batch.index <= index) {
            expected.term = batch.term;
            for row in &batch.rows {
                expected.rows.insert(row.revision, row.clone());
                expected.newest.insert(row.key_bytes(), row.clone());
            }
            for change in &batch.state {
                match change.clone() {
                    StateChange::Set { bucket, key, value } => {
                        expected.state.insert((bucket, key), value);
                    }
                    StateChange::Delete { bucket, key } => {
                        expected.state.remove(&(bucket, key));
                    }
                }
            }
        }
        expected
    }

    /// Makes the next batch: some rows and some changes of state, perhaps neither.
    pub fn next_batch(&mut self, chance: &mut Chance, keys: u64, value_bytes: u64) -> Batch {
        let index = self.index() + 1 + chance.below(2);
        let now = self.at(u64::MAX);
        let main = self.main() + 1;
        let mut batch = Batch { index, term: 1 + index / 50, ..Batch::default() };
        let mut touched = BTreeSet::new();
        for _ in 0..chance.below(4) {
            let key = Bytes::from(format!("key-{:03}", chance.below(keys)));
            if !touched.insert(key.clone()) {
                continue;
            }
            let former = now.newest.get(&key).filter(|row| !row.tombstone);
            let revision = Revision { main, sub: batch.rows.len() as i64 };
            batch.rows.push(match former {
                Some(_) if chance.one_in(3) => encode_tombstone(&key, revision),
                _ => {
                    let (letter, bytes) = (chance.below(256) as u8, chance.below(value_bytes));
                    let value = vec![letter; bytes as usize];
                    let kv = KeyValueRef {
                        key: &key,
                        create_revision: former.map_or(main, |row| row.create_revision),
                        mod_revision: main,
                        version: former.map_or(1, |row| row.version + 1),
                        value: &value,
                        lease: chance.below(3) as i64 - 1,
                    };
                    encode_row(kv, revision.sub)
                }
            });
        }
        for _ in 0..chance.below(3) {
            let bucket = Bucket::ALL[chance.below(9) as usize];
            let key = Bytes::from(format!("{}", chance.below(6)));
            batch.state.push(if chance.one_in(3) {
                StateChange::Delete { bucket, key }
            } else {
                let value = vec![chance.below(256) as u8; chance.below(60) as usize].into();
                StateChange::Set { bucket, key, value }
            });
        }
        self.batches.push(batch.clone());
        batch
    }

    /// Makes a batch that takes several frames, and perhaps several files: a wide range is deleted, and its leases.
    pub fn wide_batch(&mut self, chance: &mut Chance, rows_max: u64) -> Batch {
        let (index, main) = (self.index() + 1, self.main() + 1);
        let mut batch = Batch { index, term: 1 + index / 50, ..Batch::default() };
        for sub in 0..chance.below(rows_max) as i64 {
            let key = vec![b'w'; 1 + chance.below(90) as usize];
            let key = [&sub.to_be_bytes()[..], &key].concat();
            batch.rows.push(encode_tombstone(&key, Revision { main, sub }));
        }
        for _ in 0..chance.below(rows_max) {
            let (bucket, key) = (Bucket::Lease, Bytes::from(format!("{}", chance.below(40))));
            batch.state.push(if chance.one_in(2) {
                StateChange::Delete { bucket, key }
            } else {
                StateChange::Set { bucket, key, value: vec![7; chance.below(60) as usize].into() }
            });
        }
        self.batches.push(batch.clone());
        batch
    }

    /// What a compaction at `revision` finds dead, key by key, as `mvcc` says it.
    pub fn compact(&mut self, revision: i64) -> Vec<Revision> {
        let now = self.at(u64::MAX);
        let mut by_key: BTreeMap<Bytes, Vec<&Row>> = BTreeMap::new();
        for row in now.rows.values().filter(|row| row.revision.main <= revision) {
            by_key.entry(row.key_bytes()).or_default().push(row);
        }
        let mut dead = Vec::new();
        for rows in by_key.values() {
            let newest_lives = rows.last().is_some_and(|row| !row.tombstone);
            let kept = usize::from(newest_lives);
            dead.extend(rows[..rows.len() - kept].iter().map(|row| row.revision));
        }
        // Whatever made them dead was an entry that changed something.
        let index = self.framed();
        for revision in &dead {
            self.dead.entry(*revision).or_insert(index);
        }
        dead
    }
}

/// An index image as these tests write it: the living keys and the revisions they are stored at.
pub fn image(expected: &Expected) -> Bytes {
    let mut out = Vec::new();
    for (key, row) in expected.newest.iter().filter(|(_, row)| !row.tombstone) {
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&row.revision.main.to_le_bytes());
        out.extend_from_slice(&row.revision.sub.to_le_bytes());
    }
    out.into()
}

fn read_image(bytes: &[u8]) -> BTreeMap<Bytes, Revision> {
    let (mut living, mut rest) = (BTreeMap::new(), bytes);
    while !rest.is_empty() {
        let (length, tail) = rest.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let (key, tail) = tail.split_at(length);
        let (main, tail) = tail.split_at(8);
        let (sub, tail) = tail.split_at(8);
        let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let revision = Revision { main: number(main), sub: number(sub) };
        living.insert(Bytes::copy_from_slice(key), revision);
        rest = tail;
    }
    living
}

fn state_of(state: &State) -> BTreeMap<(Bucket, Bytes), Bytes> {
    let all = Bucket::ALL.into_iter().flat_map(|bucket| {
        state.iter(bucket).map(move |(key, value)| ((bucket, key.clone()), value.clone()))
    });
    all.collect()
}

/// Compares everything the store can be asked with the model. Damage may come up as an error, but never as
/// a wrong answer.
pub fn check(store: &Store, model: &Model, index: u64) -> Result<(), StoreError> {
    let expected = model.at(index);
    assert_eq!(state_of(store.state()), expected.state, "small state at index {index}");
    let may_be_gone = |revision: &Revision| model.dead.get(revision).is_some_and(|i| *i <= index);
    let view = store.view();
    let mut there = Vec::new();
    for (revision, row) in &expected.rows {
        match store.read(*revision) {
            Ok(found) => {
                assert_eq!(found, *row);
                there.push(*revision);
            }
            Err(StoreError::Missing { .. }) if may_be_gone(revision) => {}
            Err(StoreError::Missing { .. }) => panic!("row {revision} is gone at index {index}"),
            Err(error) => return Err(error),
        }
    }
    let found = store.read_many(&there)?;
    assert!(found.iter().eq(there.iter().map(|revision| &expected.rows[revision])));

    let mut scan = view.scan(Revision::default());
    let mut scanned = BTreeMap::new();
    loop {
        let rows = scan.next_chunk(700)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            assert_eq!(Some(&row), expected.rows.get(&row.revision));
            let last = scanned.last_key_value().map(|(revision, _)| *revision);
            assert!(last < Some(row.revision), "a scan goes in revision order");
            scanned.insert(row.revision, row);
        }
    }
    for revision in expected.rows.keys().filter(|revision| !may_be_gone(revision)) {
        let flushed = view.last_revision().is_some_and(|last| *revision <= last);
        assert!(!flushed || scanned.contains_key(revision), "a scan misses {revision}");
    }
    Ok(())
}

/// Builds an index as a restart does and compares it with the model: no living key may be missing and no
/// deleted key may come back.
pub fn check_restart(
    store: &Store,
    restored: &Restored,
    model: &Model,
    with_image: bool,
) -> Result<(), StoreError> {
    let expected = model.at(restored.applied_index);
    let (mut living, mut after) = (BTreeMap::new(), 0);
    if let Some(checkpoint) = restored.checkpoint.as_ref().filter(|_| with_image) {
        let chunks: Vec<Bytes> = checkpoint.chunks().collect::<Result<_, _>>()?;
        living = read_image(&chunks.concat());
        after = checkpoint.revision;
    }
    let mut last = None;
    for meta in store.rows_after(after) {
        let meta = meta?;
        assert!(last < Some(meta.revision), "rows come in revision order");
        last = Some(meta.revision);
        check_meta(&meta, &expected);
        if meta.tombstone {
            living.remove(&meta.key);
        } else {
            living.insert(meta.key, meta.revision);
        }
    }
    let newest = expected.newest.iter().filter(|(_, row)| !row.tombstone);
    let newest: BTreeMap<Bytes, Revision> =
        newest.map(|(key, row)| (key.clone(), row.revision)).collect();
    assert_eq!(living, newest, "the living keys, image: {with_image}, after {after}");
    Ok(())
}

fn check_meta(meta: &RowMeta, expected: &Expected) {
    let row = expected.rows.get(&meta.revision).expect("only applied rows come back");
    assert_eq!(*meta, RowMeta::from(row.clone()));
}

/// Opens, looks at everything, and requires a prefix that holds all that was confirmed.
pub fn check_reopened(disk: &MemoryDisk, model: &Model) -> (Store, Restored) {
    let (store, restored) = open(disk, small()).expect("a crash leaves nothing to be refused");
    let index = restored.applied_index;
    let applied = model.batches.iter().any(|batch| batch.index == index) || index == 0;
    assert!(applied, "{index} is the index of a batch");
    assert!(index >= model.synced, "{index} is behind {}, which was confirmed", model.synced);
    assert_eq!(restored.applied_term, model.at(index).term);
    check(&store, model, index).expect("every row can be read");
    check_restart(&store, &restored, model, true).expect("the image and the keys can be read");
    check_restart(&store, &restored, model, false).expect("the keys can be read");
    (store, restored)
}

//! The keyspace as plainly as it can be written: every change ever made, in a map of lists.
//!
//! Nothing here is clever, shared, counted or forgotten. Ranges follow the steps of
//! `docs/etcd/api.md` 4.2 one by one, generations are real lists of lists, and hashes are computed
//! from the rows by the letter of the rule.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_mvcc::{Compare, Operator, RangeQuery, RangeResult, SortOrder, SortTarget, Target};
use types::{KeyRange, KeyValueRef, Refusal, Revision, Row, encode_row, encode_tombstone};

/// One change of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub revision: Revision,
    pub tombstone: bool,
    pub created: i64,
    pub version: i64,
    pub lease: i64,
    pub value: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Reference {
    pub keys: BTreeMap<Vec<u8>, Vec<Change>>,
    pub current: i64,
    pub compacted: i64,
    /// Rows that compactions have left.
    pub physical: BTreeSet<Revision>,
}

impl Reference {
    pub fn new() -> Reference {
        Reference { current: 1, compacted: -1, ..Reference::default() }
    }

    pub fn living(&self, key: &[u8], revision: i64) -> Option<&Change> {
        let changes = self.keys.get(key)?;
        let last = changes.iter().rfind(|change| change.revision.main <= revision)?;
        (!last.tombstone).then_some(last)
    }

    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64, revision: Revision) -> Row {
        let before = self.living(key, i64::MAX);
        let (created, version) = match before {
            Some(before) => (before.created, before.version + 1),
            None => (revision.main, 1),
        };
        let value = value.to_vec();
        let change = Change { revision, tombstone: false, created, version, lease, value };
        let row = row_of(key, &change);
        self.keys.entry(key.to_vec()).or_default().push(change);
        self.physical.insert(revision);
        row
    }

    pub fn delete(&mut self, key: &[u8], revision: Revision) -> Row {
        let change = Change {
            revision,
            tombstone: true,
            created: 0,
            version: 0,
            lease: 0,
            value: Vec::new(),
        };
        let row = row_of(key, &change);
        self.keys.get_mut(key).expect("only living keys are deleted").push(change);
        self.physical.insert(revision);
        row
    }

    /// The living keys of a range and what they were.
    pub fn keys_in(&self, range: &KeyRange, revision: i64) -> Vec<(Vec<u8>, Change)> {
        let inside = self.keys.keys().filter(|key| range.contains(key));
        inside.filter_map(|key| Some((key.clone(), self.living(key, revision)?.clone()))).collect()
    }

    fn readable(&self, revision: i64) -> Result<i64, Refusal> {
        if revision > self.current {
            return Err(Refusal::FutureRev);
        }
        let revision = if revision <= 0 { self.current } else { revision };
        if revision < self.compacted { Err(Refusal::Compacted) } else { Ok(revision) }
    }

    pub fn count(&self, range: &KeyRange, revision: i64) -> Result<i64, Refusal> {
        Ok(self.keys_in(range, self.readable(revision)?).len() as i64)
    }

    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, Refusal> {
        let mut found = self.keys_in(&query.range, self.readable(query.revision)?);
        let count = found.len() as i64;
        if query.count_only {
            return Ok(RangeResult { rows: Vec::new(), more: false, count });
        }
        let filters = query.filters;
        let filtered = [
            filters.max_mod_revision,
            filters.min_mod_revision,
            filters.max_create_revision,
            filters.min_create_revision,
        ];
        let limit = query.limit.max(0) as usize;
        let fetch_all = query.order != SortOrder::None || filtered.iter().any(|bound| *bound != 0);
        if limit > 0 && !fetch_all {
            found.truncate(limit + 1);
        }
        if filters.max_mod_revision != 0 {
            found.retain(|(_, change)| change.revision.main <= filters.max_mod_revision);
        }
        if filters.min_mod_revision != 0 {
            found.retain(|(_, change)| change.revision.main >= filters.min_mod_revision);
        }
        if filters.max_create_revision != 0 {
            found.retain(|(_, change)| change.created <= filters.max_create_revision);
        }
        if filters.min_create_revision != 0 {
            found.retain(|(_, change)| change.created >= filters.min_create_revision);
        }
        let mut order = query.order;
        if query.target != SortTarget::Key && order == SortOrder::None {
            order = SortOrder::Ascend;
        }
        if order != SortOrder::None {
            let sign = if order == SortOrder::Descend { -1 } else { 1 };
            match query.target {
                SortTarget::Key if sign < 0 => found.sort_by(|a, b| b.0.cmp(&a.0)),
                SortTarget::Key => {}
                SortTarget::Value if sign < 0 => found.sort_by(|a, b| b.1.value.cmp(&a.1.value)),
                SortTarget::Value => found.sort_by(|a, b| a.1.value.cmp(&b.1.value)),
                SortTarget::Version => found.sort_by_key(|(_, c)| c.version * sign),
                SortTarget::Create => found.sort_by_key(|(_, c)| c.created * sign),
                SortTarget::Mod => found.sort_by_key(|(_, c)| c.revision.main * sign),
            }
        }
        let more = limit > 0 && found.len() > limit;
        if more {
            found.truncate(limit);
        }
        if query.keys_only {
            for (_, change) in &mut found {
                change.value.clear();
                if query.target != SortTarget::Value {
                    change.lease = 0;
                }
            }
        }
        let rows = found.iter().map(|(key, change)| row_of(key, change)).collect();
        Ok(RangeResult { rows, more, count })
    }

    pub fn holds(&self, compare: &Compare) -> bool {
        let mut found = self.keys_in(&compare.range, self.current);
        if found.is_empty() {
            if matches!(compare.target, Target::Value(_)) {
                return false;
            }
            let revision = Revision::default();
            let absent = Change {
                revision,
                tombstone: false,
                created: 0,
                version: 0,
                lease: 0,
                value: Vec::new(),
            };
            found.push((Vec::new(), absent));
        }
        found.iter().all(|(_, change)| {
            let order = match &compare.target {
                Target::Version(given) => change.version.cmp(given),
                Target::Create(given) => change.created.cmp(given),
                Target::Mod(given) => change.revision.main.cmp(given),
                Target::Lease(given) => change.lease.cmp(given),
                Target::Value(given) => change.value[..].cmp(&given[..]),
                Target::Unknown => std::cmp::Ordering::Equal,
            };
            match compare.operator {
                Operator::Equal => order.is_eq(),
                Operator::Greater => order.is_gt(),
                Operator::Less => order.is_lt(),
                Operator::NotEqual => order.is_ne(),
                Operator::Unknown => true,
            }
        })
    }

    /// What `keep` finds of a key: which generation, and in it the newest change at or before the
    /// revision.
    fn kept(changes: &[Change], revision: i64) -> (Vec<Vec<Change>>, usize, Option<usize>) {
        let mut lives: Vec<Vec<Change>> = vec![Vec::new()];
        for change in changes {
            lives.last_mut().expect("never empty").push(change.clone());
            if change.tombstone {
                lives.push(Vec::new());
            }
        }
        let reaches =
            |life: &Vec<Change>| life.last().is_some_and(|change| change.revision.main >= revision);
        let life = lives.iter().position(reaches).unwrap_or(lives.len() - 1);
        let at = lives[life].iter().rposition(|change| change.revision.main <= revision);
        (lives, life, at)
    }

    /// The set that HashKV asks about, and with `tombstones` the one a compaction keeps.
    pub fn keep(&self, revision: i64, tombstones: bool) -> BTreeSet<Revision> {
        let mut keep = BTreeSet::new();
        for changes in self.keys.values() {
            let (lives, life, at) = Reference::kept(changes, revision);
            let Some(at) = at else { continue };
            let is_tombstone = at == lives[life].len() - 1 && life != lives.len() - 1;
            if tombstones || !is_tombstone {
                keep.insert(lives[life][at].revision);
            }
        }
        keep
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.current {
            return Err(Refusal::FutureRev);
        }
        self.compacted = revision;
        for changes in self.keys.values() {
            let (lives, life, at) = Reference::kept(changes, revision);
            let earlier = lives[..life].iter().flatten();
            let older = lives[life][..at.unwrap_or(0)].iter();
            for change in earlier.chain(older) {
                self.physical.remove(&change.revision);
            }
        }
        Ok(())
    }

    /// The hash by the letter of `docs/etcd/bbolt-and-backend.md` 5.1 and `docs/etcd/observed.md` B.
    pub fn hash(&self, revision: i64, keep: &BTreeSet<Revision>) -> u32 {
        let mut rows = BTreeMap::new();
        for (key, changes) in &self.keys {
            for change in changes.iter().filter(|c| self.physical.contains(&c.revision)) {
                rows.insert(change.revision, row_of(key, change));
            }
        }
        let mut fed = b"key".to_vec();
        for (at, row) in rows {
            let forgotten = at.main <= self.compacted && !keep.is_empty() && !keep.contains(&at);
            let doubtful = row.tombstone && at.main == self.compacted;
            if at.main > revision || forgotten || doubtful {
                continue;
            }
            fed.extend_from_slice(&at.to_bytes());
            if row.tombstone {
                fed.push(b't');
            }
            fed.extend_from_slice(&row.encoded);
        }
        crc32c::crc32c(&fed)
    }
}

pub fn row_of(key: &[u8], change: &Change) -> Row {
    if change.tombstone {
        return encode_tombstone(key, change.revision);
    }
    let kv = KeyValueRef {
        key,
        create_revision: change.created,
        mod_revision: change.revision.main,
        version: change.version,
        value: &change.value,
        lease: change.lease,
    };
    encode_row(kv, change.revision.sub)
}

//! How a range is answered: which keys, in which order, and only then their values.
//!
//! Everything but the value stands in the index, so filters, sorting and the limit have done their
//! work before the first value is read. Only a sort by value must read them all.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use types::{KeyRange, KeyValueRef, Revision, Row, encode_row};

use crate::index::{Bounds, KeyParts, Record};
use crate::{IndexView, RangeQuery, ReadError, Room, RowSource, SortOrder, SortTarget};

/// A row without its value and its key, at most.
pub(crate) const BARE_ROW_BYTES: u64 = 64;

/// A key of the answer, its value not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub record: Record,
    /// Its key, when the answer is made from the index alone; else empty.
    pub key: Bytes,
}

/// The rows of an answer, in their order.
#[derive(Debug)]
pub(crate) enum Hits {
    /// To be read.
    Found(Vec<Found>),
    /// Read already, because their values decided the order.
    Rows(Vec<Row>),
}

/// A range that is decided.
#[derive(Debug)]
pub(crate) struct Plan {
    pub hits: Hits,
    pub more: bool,
    pub count: i64,
}

impl RangeQuery {
    /// Whether the answer is the first keys of the range, in key order.
    pub(crate) fn is_in_key_order(&self) -> bool {
        let ascending = self.order != SortOrder::Descend;
        self.filters.are_off() && self.target == SortTarget::Key && ascending
    }

    /// Whether the limit cuts before anything is sorted. etcd reads no more than limit + 1 keys
    /// unless an order or a filter is asked for by name (`docs/etcd/observed.md` B).
    pub(crate) fn is_cut_first(&self) -> bool {
        self.is_in_key_order() || (self.filters.are_off() && self.order == SortOrder::None)
    }

    pub(crate) fn row_limit(&self) -> Option<usize> {
        usize::try_from(self.limit).ok().filter(|limit| *limit > 0)
    }

    /// Whether rows are made from the index: then they have neither value nor lease.
    pub(crate) fn is_from_index(&self) -> bool {
        self.keys_only && self.target != SortTarget::Value
    }
}

impl IndexView {
    /// Decides a range at a revision that is known to be readable.
    pub(crate) fn plan(
        &self,
        source: &dyn RowSource,
        query: &RangeQuery,
        revision: i64,
        room: &mut Room<'_>,
    ) -> Result<Plan, ReadError> {
        let limit = query.row_limit();
        let (mut found, count) = match limit {
            Some(limit) if query.is_cut_first() => self.first(query, revision, limit),
            Some(limit) if query.filters.are_off() && query.target == SortTarget::Key => {
                return Ok(self.last(query, revision, limit));
            }
            _ => {
                let found = self.collect(query, revision, 0, usize::MAX);
                let count = found.len() as i64;
                (found, count)
            }
        };
        if !query.filters.are_off() {
            found.retain(|hit| query.filters.pass(hit.record.main, hit.record.created));
        }
        let hits = self.sort(source, query, found, room)?;
        let (hits, more) = hits.cut(limit);
        Ok(Plan { hits, more, count })
    }

    /// One key more than the limit, in key order, and the count of all.
    fn first(&self, query: &RangeQuery, revision: i64, limit: usize) -> (Vec<Found>, i64) {
        let found = self.collect(query, revision, 0, limit.saturating_add(1));
        let all = found.len() <= limit;
        let count = if all { found.len() as i64 } else { self.count_at(&query.range, revision) };
        (found, count)
    }

    /// The last keys of the range, backwards.
    fn last(&self, query: &RangeQuery, revision: i64, limit: usize) -> Plan {
        let count = self.count_at(&query.range, revision);
        let skip = (count as u64).saturating_sub(limit as u64);
        let mut found = self.collect(query, revision, skip, limit);
        found.reverse();
        Plan { hits: Hits::Found(found), more: skip > 0, count }
    }

    fn collect(&self, query: &RangeQuery, revision: i64, skip: u64, take: usize) -> Vec<Found> {
        let with_key = query.is_from_index();
        if let KeyRange::One(key) = &query.range {
            let record = self.tree.get(key).and_then(|item| item.living_at(revision));
            let key = if with_key { key.clone() } else { Bytes::new() };
            return record.map(|record| Found { record, key }).into_iter().collect();
        }
        let mut found = Vec::new();
        let _ = self.tree.walk(&Bounds::of(&query.range), revision, skip, &mut |key, _, record| {
            found.push(Found::new(key, record, with_key));
            if found.len() < take { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    fn sort(
        &self,
        source: &dyn RowSource,
        query: &RangeQuery,
        mut found: Vec<Found>,
        room: &mut Room<'_>,
    ) -> Result<Hits, ReadError> {
        let descend = query.order == SortOrder::Descend;
        let directed = |order: Ordering| if descend { order.reverse() } else { order };
        let number: fn(&Record) -> i64 = match query.target {
            SortTarget::Key => {
                // They come in key order, and no two are equal.
                if descend {
                    found.reverse();
                }
                return Ok(Hits::Found(found));
            }
            SortTarget::Value => {
                let mut rows = read(source, &found, room)?;
                rows.sort_by(|a, b| directed(a.value().cmp(b.value())));
                return Ok(Hits::Rows(rows));
            }
            SortTarget::Version => |record| record.version,
            SortTarget::Create => |record| record.created,
            SortTarget::Mod => |record| record.main,
        };
        // A stable sort: equal ones stay in key order, also when descending.
        found.sort_by(|a, b| directed(number(&a.record).cmp(&number(&b.record))));
        Ok(Hits::Found(found))
    }
}

impl Found {
    pub(crate) fn new(key: KeyParts<'_>, record: Record, with_key: bool) -> Found {
        Found { record, key: if with_key { key.to_bytes() } else { Bytes::new() } }
    }
}

impl Hits {
    pub(crate) fn len(&self) -> usize {
        match self {
            Hits::Found(found) => found.len(),
            Hits::Rows(rows) => rows.len(),
        }
    }

    fn cut(mut self, limit: Option<usize>) -> (Hits, bool) {
        let Some(limit) = limit else { return (self, false) };
        let more = self.len() > limit;
        match &mut self {
            Hits::Found(found) => found.truncate(limit),
            Hits::Rows(rows) => rows.truncate(limit),
        }
        (self, more)
    }
}

/// Reads what was found, or makes it from the index when only keys are wanted. A single row needs no room:
/// it is no longer than a request may be.
pub(crate) fn fetch(
    source: &dyn RowSource,
    found: &[Found],
    from_index: bool,
    room: &mut Room<'_>,
) -> Result<Vec<Row>, ReadError> {
    if from_index {
        room(found.iter().map(|hit| hit.key.len() as u64 + BARE_ROW_BYTES).sum())?;
        return Ok(found.iter().map(key_row).collect());
    }
    let rows = match found {
        [one] => vec![source.row(one.record.revision())?],
        _ => read(source, found, room)?,
    };
    Ok(rows)
}

/// Rows read at once: between two times somebody may say that nobody waits for them any more.
const ROWS_AT_ONCE: usize = 4096;

/// Reads rows, some at a time, each time once `room` has allowed them.
fn read(
    source: &dyn RowSource,
    found: &[Found],
    room: &mut Room<'_>,
) -> Result<Vec<Row>, ReadError> {
    if found.len() <= ROWS_AT_ONCE {
        return source.rows_with_room(&revisions(found), room);
    }
    let mut rows = Vec::with_capacity(found.len());
    for some in found.chunks(ROWS_AT_ONCE) {
        rows.append(&mut source.rows_with_room(&revisions(some), room)?);
    }
    Ok(rows)
}

/// A row without its value, which was read for the sake of its order.
pub(crate) fn strip(row: &Row) -> Row {
    encode_row(KeyValueRef { value: &[], ..row.as_ref() }, row.revision.sub)
}

fn key_row(hit: &Found) -> Row {
    let kv = KeyValueRef {
        key: &hit.key,
        create_revision: hit.record.created,
        mod_revision: hit.record.main,
        version: hit.record.version,
        value: &[],
        lease: 0,
    };
    encode_row(kv, i64::from(hit.record.sub))
}

fn revisions(found: &[Found]) -> Vec<Revision> {
    found.iter().map(|hit| hit.record.revision()).collect()
}

//! How much an answer will take, before any of it is read.
//!
//! Everything but the value stands in the index, and where a row lies, with its length, in the store's tables.
//! So whoever is about to make a large answer can reserve the memory first, or refuse.

use std::ops::ControlFlow;

use types::{KeyRange, Refusal};

use crate::index::{Bounds, Record};
use crate::plan::BARE_ROW_BYTES;
use crate::{IndexView, RangeQuery, RowSource, SortTarget};

/// What stands around a row in an answer, at most: its tag and length.
const AROUND_BYTES: u64 = 8;

impl IndexView {
    /// How many bytes the rows have that answering `query` holds in memory, at most: those it returns, or all
    /// of the range when they are sorted by value.
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn answer_bytes(&self, source: &dyn RowSource, query: &RangeQuery) -> Result<u64, Refusal> {
        let revision = self.readable(query.revision)?;
        if query.count_only {
            return Ok(0);
        }
        let whole = |record: Record| source.row_bytes(record.revision()) + AROUND_BYTES;
        if let KeyRange::One(key) = &query.range {
            let record = self.tree.get(key).and_then(|item| item.living_at(revision));
            return Ok(record.map_or(0, whole));
        }
        let by_value = query.target == SortTarget::Value;
        let rows_max = query.row_limit().filter(|_| !by_value).map_or(u64::MAX, |n| n as u64);
        // Where the limit cuts before anything is sorted, one row more than it is looked at.
        let looked_at = match query.is_in_key_order() {
            true => rows_max,
            false if query.is_cut_first() => rows_max.saturating_add(1),
            false => u64::MAX,
        };
        let (mut bytes, mut longest, mut rows) = (0, 0, 0);
        let _ = self.tree.walk(&Bounds::of(&query.range), revision, 0, &mut |key, _, record| {
            if !by_value && !query.filters.pass(record.main, record.created) {
                return ControlFlow::Continue(());
            }
            let row = match query.is_from_index() {
                true => key.len() as u64 + BARE_ROW_BYTES + AROUND_BYTES,
                false => whole(record),
            };
            (bytes, longest, rows) = (bytes + row, row.max(longest), rows + 1);
            if looked_at <= rows { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok(bytes.min(rows_max.saturating_mul(longest)))
    }

    /// How many rows answering `query` holds in memory or looks at, at most; `None` when finding that out would take a
    /// look at more than `nodes_max` nodes of the index. Then so does the answer, whatever its limit: at an old
    /// revision nobody has counted the keys that changed since.
    pub fn answer_rows(&self, query: &RangeQuery, nodes_max: usize) -> Option<u64> {
        let Ok(revision) = self.readable(query.revision) else { return Some(0) };
        let count = match &query.range {
            KeyRange::One(_) => 1,
            range => self.tree.count_within(&Bounds::of(range), revision, nodes_max)?,
        };
        let limit = query.row_limit().filter(|_| query.is_cut_first());
        Some(limit.map_or(count, |limit| count.min(limit as u64)))
    }
}

//! A range's answer in pages, for streams of unbounded length in bounded memory.

use std::ops::ControlFlow;
use std::vec::IntoIter;

use bytes::Bytes;
use types::Row;

use crate::index::{Bounds, after};
use crate::plan::{Found, Hits, Plan, fetch, strip};
use crate::{IndexView, RangeQuery, ReadError, Room, RowSource};

/// A range being answered page by page, from one view.
#[derive(Debug)]
pub struct Pages {
    rest: Rest,
    /// Rows not handed out yet.
    left: u64,
    count: i64,
    more: bool,
    keys_only: bool,
    begun: bool,
}

/// Where the pages still to come are taken from.
#[derive(Debug)]
enum Rest {
    /// In key order: walked when asked for, from the key after the last page.
    Walk { view: IndexView, revision: i64, bounds: Bounds },
    /// In an order that had to be found first, by the index alone.
    Found(IntoIter<Found>),
    /// In the order of their values, which are all in memory.
    Rows(IntoIter<Row>),
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The next rows; empty only when there is nothing to return at all.
    pub rows: Vec<Row>,
    /// Whether no page follows.
    pub last: bool,
}

impl Pages {
    pub(crate) fn new(
        view: &IndexView,
        source: &dyn RowSource,
        query: &RangeQuery,
        revision: i64,
        room: &mut Room<'_>,
    ) -> Result<Pages, ReadError> {
        if !query.count_only && !query.is_in_key_order() {
            let Plan { hits, more, count } = view.plan(source, query, revision, room)?;
            let left = hits.len() as u64;
            let rest = match hits {
                Hits::Found(found) => Rest::Found(found.into_iter()),
                Hits::Rows(rows) => Rest::Rows(rows.into_iter()),
            };
            let keys_only = query.keys_only;
            return Ok(Pages { rest, left, count, more, keys_only, begun: false });
        }
        let count = view.count_at(&query.range, revision);
        let all = if query.count_only { 0 } else { count as u64 };
        let left = query.row_limit().map_or(all, |limit| all.min(limit as u64));
        let bounds = Bounds::of(&query.range);
        let rest = Rest::Walk { view: view.clone(), revision, bounds };
        Ok(Pages { rest, left, count, more: left < all, keys_only: query.keys_only, begun: false })
    }

    /// How many keys lie in the range, whatever the limit says.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Whether the limit leaves rows out.
    pub fn more(&self) -> bool {
        self.more
    }

    /// How many rows are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next page, of at most `rows_max` rows (at least one), once `room` has allowed them. `None`
    /// after the last one; the first call always gives a page.
    ///
    /// # Errors
    /// What `room` answers, and then the page is lost; or a fault of `source`.
    pub fn next_page(
        &mut self,
        source: &dyn RowSource,
        rows_max: usize,
        room: &mut Room<'_>,
    ) -> Result<Option<Page>, ReadError> {
        if self.begun && self.left == 0 {
            return Ok(None);
        }
        self.begun = true;
        let take = self.left.min(rows_max.max(1) as u64) as usize;
        let keys_only = self.keys_only;
        let rows = match &mut self.rest {
            Rest::Walk { view, revision, bounds } => {
                let found = walk_on(view, *revision, bounds, take, keys_only);
                fetch(source, &found, keys_only, room)?
            }
            Rest::Found(found) => {
                let found: Vec<Found> = found.take(take).collect();
                fetch(source, &found, keys_only, room)?
            }
            Rest::Rows(rows) if keys_only => rows.take(take).map(|row| strip(&row)).collect(),
            Rest::Rows(rows) => rows.take(take).collect(),
        };
        assert_eq!(rows.len(), take, "a view does not change, so its count holds");
        self.left -= take as u64;
        Ok(Some(Page { rows, last: self.left == 0 }))
    }
}

/// Collects the next `take` keys and moves the lower bound behind them.
fn walk_on(
    view: &IndexView,
    revision: i64,
    bounds: &mut Bounds,
    take: usize,
    with_key: bool,
) -> Vec<Found> {
    let mut found = Vec::with_capacity(take);
    if take == 0 {
        return found;
    }
    let last: ControlFlow<Bytes> = view.tree.walk(bounds, revision, 0, &mut |key, _, record| {
        found.push(Found::new(key, record, with_key));
        if found.len() < take {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(key.to_bytes())
    });
    if let ControlFlow::Break(key) = last {
        bounds.low = after(&key);
    }
    found
}

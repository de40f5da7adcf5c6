//! What a range asks for and what it gets (`docs/etcd/api.md` 4.2, `docs/etcd/observed.md` B).

use types::{KeyRange, Row};

/// A range over the keyspace at one revision.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// At which revision; 0 or negative for the current one.
    pub revision: i64,
    /// At most so many rows; 0 or negative for all.
    pub limit: i64,
    /// In which direction to sort by `target`.
    pub order: SortOrder,
    /// What to sort by.
    pub target: SortTarget,
    /// Which of the rows found to return.
    pub filters: Filters,
    /// Return rows without values, made from the index alone (then without their lease too).
    pub keys_only: bool,
    /// Return the count and no rows.
    pub count_only: bool,
}

impl RangeQuery {
    /// Every key of `range` now, in key order, with its value.
    pub fn new(range: KeyRange) -> RangeQuery {
        RangeQuery {
            range,
            revision: 0,
            limit: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            filters: Filters::default(),
            keys_only: false,
            count_only: false,
        }
    }
}

/// In which direction rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortOrder {
    /// Key order; with another target than the key, ascending by it *after* the limit has cut.
    None,
    /// Smallest first.
    Ascend,
    /// Largest first; equal ones stay in key order.
    Descend,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of a row")]
pub enum SortTarget {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// Bounds on the revisions of the rows returned, inclusive; 0 for none. They never change `count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as on the wire")]
pub struct Filters {
    pub min_mod_revision: i64,
    pub max_mod_revision: i64,
    pub min_create_revision: i64,
    pub max_create_revision: i64,
}

impl Filters {
    /// Whether no bound is set.
    pub fn are_off(&self) -> bool {
        *self == Filters::default()
    }

    /// Whether a row with these revisions is returned.
    pub fn pass(&self, mod_revision: i64, create_revision: i64) -> bool {
        let at_least = |bound: i64, revision: i64| bound == 0 || bound <= revision;
        let at_most = |bound: i64, revision: i64| bound == 0 || revision <= bound;
        at_least(self.min_mod_revision, mod_revision)
            && at_most(self.max_mod_revision, mod_revision)
            && at_least(self.min_create_revision, create_revision)
            && at_most(self.max_create_revision, create_revision)
    }
}

/// What a range found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResult {
    /// The rows to return, each with its wire form ready in `encoded`.
    pub rows: Vec<Row>,
    /// Whether the limit left rows out.
    pub more: bool,
    /// How many keys lie in the range at that revision, whatever limit and filters say.
    pub count: i64,
}

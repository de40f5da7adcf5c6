//! The conditions of a transaction (`docs/etcd/apply-semantics.md` 5.2).

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use types::{KeyRange, LeaseId};

use crate::error::endless;
use crate::index::{Bounds, Item, Record};
use crate::{IndexView, ReadError, Room, RowSource};

/// One condition: it must hold for every living key of `range`.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The keys it speaks of. [`KeyRange::One`] and a wider range obey the same rules.
    pub range: KeyRange,
    /// What is compared, and with what.
    pub target: Target,
    /// How (stored ? given).
    pub operator: Operator,
}

/// What a condition compares. A missing value on the wire is 0 or empty here.
#[derive(Clone, Debug)]
pub enum Target {
    /// Changes since creation.
    Version(i64),
    /// The revision that created the key.
    Create(i64),
    /// The revision of the newest change.
    Mod(i64),
    /// The value's bytes. Over no keys such a condition is false, whatever the operator.
    Value(Bytes),
    /// The lease it hangs on.
    Lease(LeaseId),
    /// A number of the wire's enum that nobody knows: counts as equal, as in Go.
    Unknown,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as on the wire")]
pub enum Operator {
    Equal,
    Greater,
    Less,
    NotEqual,
    /// A number of the wire's enum that nobody knows: holds, as in Go.
    Unknown,
}

/// Keys looked at until it is asked whether to go on.
const KEYS_AT_ONCE: usize = 1024;

/// A key that does not live: every number of it is 0.
const ABSENT: Record = Record { main: 0, created: 0, version: 0, sub: 0 };

impl IndexView {
    /// Whether a condition holds now.
    ///
    /// # Errors
    /// Only faults of `source`, and only when values are compared.
    pub fn holds(&self, source: &dyn RowSource, compare: &Compare) -> Result<bool, ReadError> {
        self.holds_with_room(source, compare, &mut endless)
    }

    /// The same; of many keys `room` is asked again and again, for nothing, whether to go on.
    ///
    /// # Errors
    /// As [`IndexView::holds`], and what `room` answers.
    pub fn holds_with_room(
        &self,
        source: &dyn RowSource,
        compare: &Compare,
        room: &mut Room<'_>,
    ) -> Result<bool, ReadError> {
        let mut seen = 0_usize;
        let mut test = |item: &Item| {
            seen += 1;
            if seen.is_multiple_of(KEYS_AT_ONCE)
                && let Err(refusal) = room(0)
            {
                return ControlFlow::Break(Err(refusal.into()));
            }
            match compare.stored_against_given(source, item.newest, item.lease) {
                Ok(order) if compare.operator.accepts(order) => ControlFlow::Continue(()),
                Ok(_) => ControlFlow::Break(Ok(false)),
                Err(fault) => ControlFlow::Break(Err(fault)),
            }
        };
        let outcome = match &compare.range {
            KeyRange::One(key) => match self.tree.get(key).filter(|item| item.is_alive()) {
                Some(item) => test(item),
                None => ControlFlow::Continue(()),
            },
            range => {
                let bounds = Bounds::of(range);
                self.tree.walk(&bounds, self.current, 0, &mut |_, item, _| test(item))
            }
        };
        match outcome {
            ControlFlow::Break(decided) => decided,
            ControlFlow::Continue(()) if seen > 0 => Ok(true),
            ControlFlow::Continue(()) if matches!(compare.target, Target::Value(_)) => Ok(false),
            ControlFlow::Continue(()) => {
                Ok(compare.operator.accepts(compare.stored_against_given(source, ABSENT, 0)?))
            }
        }
    }
}

impl Compare {
    fn stored_against_given(
        &self,
        source: &dyn RowSource,
        record: Record,
        lease: LeaseId,
    ) -> Result<Ordering, ReadError> {
        Ok(match &self.target {
            Target::Version(given) => record.version.cmp(given),
            Target::Create(given) => record.created.cmp(given),
            Target::Mod(given) => record.main.cmp(given),
            Target::Lease(given) => lease.cmp(given),
            Target::Value(given) => source.row(record.revision())?.value().cmp(given),
            Target::Unknown => Ordering::Equal,
        })
    }
}

impl Operator {
    fn accepts(self, stored_against_given: Ordering) -> bool {
        match self {
            Operator::Equal => stored_against_given.is_eq(),
            Operator::Greater => stored_against_given.is_gt(),
            Operator::Less => stored_against_given.is_lt(),
            Operator::NotEqual => stored_against_given.is_ne(),
            Operator::Unknown => true,
        }
    }
}

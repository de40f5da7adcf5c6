//! The conditions of a transaction (`reference/apply-semantics.md` 5.2).

use bytes::Bytes;
use types::{KeyRange, LeaseId};

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

//! The words everybody shares: revisions, ids, key ranges, rows, log entries, limits, refusals.
//!
//! Nothing here decides anything. A type lives here when two crates must mean the same by it, and
//! the wire's spelling (see `proto`) never reaches past `apply` and `server`: inside, a range is a
//! [`KeyRange`] and an error is a [`Refusal`].

mod entry;
mod limits;
mod range;
mod refusal;
mod revision;
mod row;
mod version;

pub use entry::{ConfState, Entry, EntryKind, HardState};
pub use limits::Limits;
pub use range::{EmptyKey, KeyRange};
pub use refusal::{Code, Refusal};
pub use revision::Revision;
pub use row::{KeyValueRef, MalformedRow, Row, encode_row, encode_tombstone};
pub use version::{MalformedVersion, Version};

/// A lease's id as clients see it. 0 means "no lease"; a client may choose a negative one.
pub type LeaseId = i64;

/// A member's id: the first eight bytes of a SHA-1, see `reference/peer-protocol.md` 8.1.
pub type MemberId = u64;

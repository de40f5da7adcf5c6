//! The words everybody shares: revisions, ids, key ranges, rows, log entries, limits, refusals.
//!
//! Nothing here decides anything. A type lives here when two crates must mean the same by it, and
//! the wire's spelling (see `proto`) never reaches past `apply` and `server`: inside, a range is a
//! [`KeyRange`] and an error is a [`Refusal`].

mod entry;
mod lease;
mod limits;
mod range;
mod refusal;
mod revision;
mod row;
mod version;

pub use entry::{ConfState, Entry, EntryKind, HardState};
pub use lease::{LeaseHex, LeaseId};
pub use limits::Limits;
pub use range::{EmptyKey, KeyRange};
pub use refusal::{Code, Refusal};
pub use revision::Revision;
pub use row::{KeyValueRef, MalformedRow, Row, encode_row, encode_tombstone};
pub use version::{MalformedVersion, Version};

/// A member's id: the first eight bytes of a SHA-1, see `docs/etcd/peer-protocol.md` 8.1.
pub type MemberId = u64;

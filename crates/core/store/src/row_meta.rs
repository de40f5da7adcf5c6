//! What an index must know of a row.

use bytes::Bytes;
use types::{LeaseId, Revision, Row};

/// What an index must know of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in types::Row")]
pub struct RowMeta {
    pub revision: Revision,
    pub tombstone: bool,
    pub key: Bytes,
    pub create_revision: i64,
    pub version: i64,
    pub lease: LeaseId,
    /// Bytes of the row as it is stored and sent.
    pub encoded_bytes: usize,
}

impl From<Row> for RowMeta {
    fn from(row: Row) -> RowMeta {
        RowMeta {
            revision: row.revision,
            tombstone: row.tombstone,
            // A copy: the row's buffer may be a large one, shared with its neighbours.
            key: Bytes::copy_from_slice(row.key()),
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
            encoded_bytes: row.encoded.len(),
        }
    }
}

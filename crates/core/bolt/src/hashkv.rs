//! HashKV over a file: one number for the history of all keys up to a revision, the same on every
//! member whatever its pages look like (`docs/etcd/bbolt-and-backend.md` 5.1).
//!
//! Members compact at different times, so a row that *may* be gone already must not count. Which
//! those are follows from the rows themselves: per key, only the newest change up to the hashed
//! revision is sure to be kept. This is the tools' own computation; a running member has its index.

use std::collections::HashMap;

use bytes::Bytes;
use types::{Revision, Row};

use crate::access::ReadAt;
use crate::backend::{Backend, RowsError, names};

/// The answer to HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over the rows that count.
    pub hash: u32,
    /// The revision up to which rows count.
    pub hash_revision: i64,
    /// The revision the store is compacted to; -1 if never.
    pub compact_revision: i64,
}

/// Why there is no such hash.
#[derive(Debug, thiserror::Error)]
pub enum HashKvError {
    /// The revision lies before the last compaction.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision lies after the newest one.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// The file cannot be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Hashes all rows up to `revision`; 0 stands for the newest.
///
/// A compaction that was asked for and not finished counts as done, because a member that opens the
/// file would finish it. Needs memory for each distinct key if the store was ever compacted.
///
/// # Errors
/// [`HashKvError`].
pub fn hash_kv<R: ReadAt>(backend: &Backend<R>, revision: i64) -> Result<HashKv, HashKvError> {
    let finished = backend.finished_compaction()?.unwrap_or(-1);
    let scheduled = backend.scheduled_compaction()?.unwrap_or(-1);
    let compact_revision = finished.max(scheduled);
    let current = newest(backend)?.max(compact_revision).max(1);
    if revision > 0 && revision < compact_revision {
        return Err(HashKvError::Compacted);
    }
    if revision > current {
        return Err(HashKvError::FutureRevision);
    }
    let hash_revision = if revision == 0 { current } else { revision };
    let kept = if compact_revision < 0 { None } else { Some(keep(backend, hash_revision)?) };
    let counts = |row: Revision, tombstone: bool| {
        let is_kept = row.main > compact_revision
            || kept.as_ref().is_none_or(|kept| kept.is_empty() || kept.contains(row));
        row.main <= hash_revision && is_kept && !(tombstone && row.main == compact_revision)
    };
    let mut hash = crc32c::crc32c(names::KEY);
    for row in backend.rows().map_err(RowsError::from)? {
        let row = row?;
        if row.revision.main > hash_revision {
            break;
        }
        if counts(row.revision, row.tombstone) {
            hash = crc32c::crc32c_append(hash, &row.revision.to_bytes());
            hash = crc32c::crc32c_append(hash, if row.tombstone { b"t" } else { b"" });
            hash = crc32c::crc32c_append(hash, &row.encoded);
        }
    }
    Ok(HashKv { hash, hash_revision, compact_revision })
}

fn newest<R: ReadAt>(backend: &Backend<R>) -> Result<i64, RowsError> {
    // Byte order is revision order.
    let bucket = backend.bolt().bucket(names::KEY)?;
    let last = bucket.map_or(Ok(None), |bucket| bucket.last())?;
    let revision = |(key, _): (Bytes, Bytes)| Revision::from_bytes(&key);
    Ok(last.and_then(revision).map_or(0, |(revision, _)| revision.main))
}

/// The revisions that a compaction at a given revision keeps.
#[derive(Debug, Default)]
struct Kept {
    of_key: HashMap<Box<[u8]>, Newest>,
    revisions: std::collections::HashSet<Revision>,
}

/// A key's state up to the revision in question.
#[derive(Clone, Copy, Debug)]
enum Newest {
    /// It exists, since this change.
    Put(Revision),
    /// It was deleted.
    Deleted,
    /// It was deleted in the very revision in question. What a transaction put there after the
    /// delete belongs to a later life of the key, and Go's rule looks at the earlier one only.
    DeletedLast,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.revisions.is_empty()
    }

    fn contains(&self, revision: Revision) -> bool {
        self.revisions.contains(&revision)
    }

    fn take(&mut self, row: &Row, last: i64) {
        let newest = match (self.of_key.get(row.key()), row.tombstone) {
            (Some(Newest::DeletedLast), _) => return,
            (_, false) => Newest::Put(row.revision),
            (_, true) if row.revision.main == last => Newest::DeletedLast,
            (_, true) => Newest::Deleted,
        };
        match self.of_key.get_mut(row.key()) {
            Some(known) => *known = newest,
            None => {
                self.of_key.insert(row.key().into(), newest);
            }
        }
    }
}

fn keep<R: ReadAt>(backend: &Backend<R>, last: i64) -> Result<Kept, RowsError> {
    let mut kept = Kept::default();
    for row in backend.rows()? {
        let row = row?;
        if row.revision.main > last {
            break;
        }
        kept.take(&row, last);
    }
    let puts = kept.of_key.drain().filter_map(|(_, newest)| match newest {
        Newest::Put(revision) => Some(revision),
        Newest::Deleted | Newest::DeletedLast => None,
    });
    kept.revisions = puts.collect();
    Ok(kept)
}

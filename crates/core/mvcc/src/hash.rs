//! HashKV and the hashes that compactions leave behind (`docs/etcd/bbolt-and-backend.md` 5,
//! corrected by `docs/etcd/observed.md` B).
//!
//! Members compare these hashes to find out whether they still hold the same, though each one's
//! compaction may have got further or less far. So the hash covers what *should* be there: a row at
//! or below the compacted revision counts only if the index keeps it at the hashed revision.

use types::{Refusal, Row};

use crate::IndexView;
use crate::index::Item;

/// A hash, with what it was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTriple {
    /// CRC-32C over the rows that count.
    pub hash: u32,
    /// The compacted revision it was taken under; -1 if never compacted.
    pub compact_revision: i64,
    /// The newest revision it covers.
    pub revision: i64,
}

/// How HashKV can be answered.
#[derive(Debug)]
pub enum HashAnswer {
    /// A compaction left this behind.
    Stored(HashTriple),
    /// It must be computed: feed all rows, in revision order, up to [`Hasher::revision`].
    Compute(Hasher),
}

/// Computes one hash from rows fed in revision order. Asks the index about each old row instead of
/// holding a set of what is kept.
///
/// Feed it from a scan taken at the same moment as the view it was made from: later compactions may
/// let rows go that count here.
#[derive(Debug)]
pub struct Hasher {
    view: IndexView,
    revision: i64,
    old: OldRows,
    hash: u32,
}

/// Which rows at or below the compacted revision count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OldRows {
    /// Those that the index keeps at the hashed revision.
    KeptAtRevision,
    /// It keeps none at all there: then, in etcd, whatever the last compaction has left.
    KeptByCompaction,
}

/// What etcd's backend calls the bucket of rows; its name is hashed first.
const BUCKET: &[u8] = b"key";

impl IndexView {
    /// Begins the answer to HashKV (`docs/etcd/bbolt-and-backend.md` 5.1): either known already, or a
    /// [`Hasher`] to be fed with the rows of the log up to its revision.
    ///
    /// # Errors
    /// `FutureRev` and `Compacted`.
    pub fn hash_kv(&self, revision: i64, stored: &CompactionHashes) -> Result<HashAnswer, Refusal> {
        if let Some(triple) = stored.get(revision) {
            return Ok(HashAnswer::Stored(triple));
        }
        if revision > self.current {
            return Err(Refusal::FutureRev);
        }
        if revision > 0 && revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        let revision = if revision == 0 { self.current } else { revision };
        // A tombstone at the revision itself is kept by a compaction there, but does not count here.
        let keeps =
            |item: &Item| item.keep(revision).kept.is_some_and(|record| !record.is_tombstone());
        Ok(HashAnswer::Compute(self.hasher(revision, keeps)))
    }

    /// Begins the hash that a compaction at `revision` leaves behind. To be called on a view taken
    /// *before* [`crate::Mvcc::compact`]; its triple goes into [`CompactionHashes::store`].
    pub fn compaction_hash(&self, revision: i64) -> Hasher {
        self.hasher(revision, |item| item.keep(revision).kept.is_some())
    }

    fn hasher(&self, revision: i64, keeps: impl Fn(&Item) -> bool) -> Hasher {
        let old = if self.tree.any(revision, &keeps) {
            OldRows::KeptAtRevision
        } else {
            OldRows::KeptByCompaction
        };
        Hasher { view: self.clone(), revision, old, hash: crc32c::crc32c(BUCKET) }
    }
}

impl Hasher {
    /// The last main revision whose rows count; later rows may be left out of the scan.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes the next row of the log.
    pub fn row(&mut self, row: &Row) {
        if !self.counts(row) {
            return;
        }
        let mut key = [b't'; 18];
        key[..17].copy_from_slice(&row.revision.to_bytes());
        let key = if row.tombstone { &key[..] } else { &key[..17] };
        self.hash = crc32c::crc32c_append(self.hash, key);
        self.hash = crc32c::crc32c_append(self.hash, &row.encoded);
    }

    fn counts(&self, row: &Row) -> bool {
        let compacted = self.view.compacted;
        if row.revision.main > self.revision {
            return false;
        }
        if row.revision.main > compacted {
            return true;
        }
        // Releases that drop this tombstone and releases that keep it must agree.
        if row.tombstone && row.revision.main == compacted {
            return false;
        }
        match self.old {
            OldRows::KeptAtRevision => {
                let item = self.view.tree.get(row.key());
                let kept = item.and_then(|item| item.keep(self.revision).kept);
                kept.is_some_and(|record| record.revision() == row.revision)
            }
            OldRows::KeptByCompaction => self.view.keeps(row.key(), row.revision),
        }
    }

    /// The hash of what was fed.
    pub fn finish(self) -> HashTriple {
        let compact_revision = self.view.compacted;
        HashTriple { hash: self.hash, compact_revision, revision: self.revision }
    }
}

/// The hashes of the ten newest compactions, in memory only, as etcd keeps them.
#[derive(Clone, Debug, Default)]
pub struct CompactionHashes {
    /// Newest revision first.
    triples: Vec<HashTriple>,
}

/// As many as etcd keeps; members compare them, so the number is part of the protocol.
const COMPACTION_HASHES_MAX: usize = 10;

impl CompactionHashes {
    /// None yet.
    pub fn new() -> CompactionHashes {
        CompactionHashes::default()
    }

    /// Remembers a compaction's hash; the one with the smallest revision beyond ten is forgotten.
    pub fn store(&mut self, triple: HashTriple) {
        self.triples.retain(|stored| stored.revision != triple.revision);
        let at = self.triples.partition_point(|stored| stored.revision > triple.revision);
        self.triples.insert(at, triple);
        self.triples.truncate(COMPACTION_HASHES_MAX);
    }

    /// The hash stored for exactly `revision`.
    pub fn get(&self, revision: i64) -> Option<HashTriple> {
        self.triples.iter().find(|triple| triple.revision == revision).copied()
    }

    /// All of them, newest revision first: the order in which members compare them.
    pub fn newest_first(&self) -> impl Iterator<Item = HashTriple> + '_ {
        self.triples.iter().copied()
    }
}

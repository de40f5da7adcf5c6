//! HashKV and the hashes that compactions leave behind (`reference/bbolt-and-backend.md` 5,
//! corrected by `reference/observed.md` B).

use types::Row;

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
#[derive(Debug)]
pub struct Hasher {}

impl Hasher {
    /// The last main revision whose rows count; later rows may be left out of the scan.
    pub fn revision(&self) -> i64 {
        todo!()
    }

    /// Takes the next row of the log.
    pub fn row(&mut self, _row: &Row) {
        todo!()
    }

    /// The hash of what was fed.
    pub fn finish(self) -> HashTriple {
        todo!()
    }
}

/// The hashes of the ten newest compactions, in memory only, as etcd keeps them.
#[derive(Clone, Debug, Default)]
pub struct CompactionHashes {}

impl CompactionHashes {
    /// None yet.
    pub fn new() -> CompactionHashes {
        todo!()
    }

    /// Remembers a compaction's hash; the one with the smallest revision beyond ten is forgotten.
    pub fn store(&mut self, _triple: HashTriple) {
        todo!()
    }

    /// The hash stored for exactly `revision`.
    pub fn get(&self, _revision: i64) -> Option<HashTriple> {
        todo!()
    }

    /// All of them, newest revision first: the order in which members compare them.
    pub fn newest_first(&self) -> impl Iterator<Item = HashTriple> + '_ {
        std::iter::empty()
    }
}

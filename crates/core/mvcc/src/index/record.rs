//! One change of a key, as the index keeps it.

use types::Revision;

/// One kept revision of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub main: i64,
    /// The revision that created the key in this life; 0 for a tombstone.
    pub created: i64,
    /// Changes since creation, from 1; 0 for a tombstone.
    pub version: i64,
    /// Four bytes, not eight: the changes of one transaction are all in memory at once.
    pub sub: u32,
}

impl Record {
    pub(crate) fn revision(&self) -> Revision {
        Revision { main: self.main, sub: i64::from(self.sub) }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

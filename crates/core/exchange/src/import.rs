//! A bbolt file, or anything that is walked as one, as a store of ours.
//!
//! What it says comes from outside: a row that does not fit is an error that names it. The store it goes into is
//! nobody's until all of it is there, so after an error, or a crash, its directory is thrown away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::Member;
use bolt::{Backend, BoltError, RowsError, Source, SourceError, names};
use bytes::Bytes;
use store::{Batch, Bucket, OpenError, StateChange, Store, StoreError};
use types::{ConfState, Revision, Row};
use vfs::Disk;

use crate::STORE_IDENTITY;

/// Bytes of rows that go into the store at a time.
const BATCH_BYTES: usize = 1 << 20;

/// After so many the store is synced, which lets it forget what it keeps for the next sync.
const SYNC_BYTES: usize = 64 << 20;

/// Why a file did not become a store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not there, or cannot be read at all.
    #[error("opening {file} failed")]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no bbolt file, or a damaged one.
    #[error("{file} cannot be read")]
    Bolt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoltError,
    },
    /// It holds what no etcd puts there.
    #[error("{file} holds no etcd's data")]
    Rows {
        /// The file.
        file: PathBuf,
        /// What.
        #[source]
        source: RowsError,
    },
    /// It is of another entry than it was said to be.
    #[error(
        "{file} holds the state at entry {index} of term {term}, not that at entry {wanted} of term {wanted_term}"
    )]
    Elsewhere {
        /// The file.
        file: PathBuf,
        /// The entry it is at.
        index: u64,
        /// Its term; 0 if the file does not say.
        term: u64,
        /// The entry it should be at.
        wanted: u64,
        /// Its term.
        wanted_term: u64,
    },
    /// The source failed on the way.
    #[error("reading what is to be stored failed")]
    Source(#[source] SourceError),
    /// A row of the keyspace that is none, or not behind the one before it.
    #[error("bucket key holds a row that cannot be stored: {key:02x?}")]
    Key {
        /// Its key.
        key: Bytes,
    },
    /// A member's row that is none.
    #[error("bucket members holds a row that cannot be read: {key:02x?}")]
    Member {
        /// Its key.
        key: Bytes,
    },
    /// Nobody wants it any more.
    #[error("it was given up")]
    GivenUp,
    /// The store could not be begun.
    #[error("the store cannot be begun")]
    Begin(#[from] OpenError),
    /// The store could not be written.
    #[error("the store cannot be written")]
    Write(#[from] StoreError),
}

/// What a file turned out to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Who votes at its entry.
    pub conf_state: ConfState,
    /// The newest revision; 1 for a keyspace that was never written to.
    pub revision: i64,
}

/// Makes the store in `dir` that `file` is, whose last entry is `at` (index and term). With `identity` it says whose
/// it is. Everything is synced when this returns.
///
/// # Errors
/// [`ImportError`]; `dir` then holds anything.
pub fn import(
    disk: &Arc<dyn Disk>,
    file: &Path,
    dir: &Path,
    at: (u64, u64),
    identity: Option<Bytes>,
) -> Result<Arrived, ImportError> {
    import_while(disk, file, dir, at, identity, &mut || true)
}

/// The same, as long as it is `wanted`, which is asked before each mebibyte or so.
///
/// # Errors
/// As [`import`], and [`ImportError::GivenUp`] when it was not.
pub fn import_while(
    disk: &Arc<dyn Disk>,
    file: &Path,
    dir: &Path,
    at: (u64, u64),
    identity: Option<Bytes>,
    wanted: &mut dyn FnMut() -> bool,
) -> Result<Arrived, ImportError> {
    let path = || file.to_owned();
    let opened =
        disk.open_read(file).map_err(|source| ImportError::File { file: path(), source })?;
    let backend =
        Backend::open(opened).map_err(|source| ImportError::Bolt { file: path(), source })?;
    let rows = |source| ImportError::Rows { file: path(), source };
    let index = backend.consistent_index().map_err(rows)?;
    let term = backend.term().map_err(rows)?;
    // A committed entry has one term, so its index names it. The file's own term may be older: etcd 3.4 knows no such
    // row, and leaves the one that it was sent by a newer member as it was.
    if index != at.0 || at.1 < term {
        let (wanted, wanted_term) = at;
        return Err(ImportError::Elsewhere { file: path(), index, term, wanted, wanted_term });
    }
    write_while(disk, dir, backend.bolt(), at, identity, wanted)
}

/// As [`import`], of any source.
///
/// # Errors
/// As [`import`].
pub fn write_store(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    source: &dyn Source,
    at: (u64, u64),
    identity: Option<Bytes>,
) -> Result<Arrived, ImportError> {
    write_while(disk, dir, source, at, identity, &mut || true)
}

fn write_while(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    source: &dyn Source,
    at: (u64, u64),
    identity: Option<Bytes>,
    wanted: &mut dyn FnMut() -> bool,
) -> Result<Arrived, ImportError> {
    let options = store::Options { recent_bytes_max: 0, ..Default::default() };
    let (store, _) = Store::open(disk.clone(), dir, options)?;
    let mut importing = Importing {
        store,
        at,
        batch: Batch { index: at.0, term: at.1, ..Batch::default() },
        batch_bytes: 0,
        unsynced_bytes: 0,
        last: Revision::default(),
        conf_state: ConfState::default(),
        wanted,
    };
    for bucket in source.buckets().map_err(ImportError::Source)? {
        for row in source.rows(&bucket) {
            let (key, value) = row.map_err(ImportError::Source)?;
            importing.row(&bucket, key, value)?;
        }
    }
    if let Some(value) = identity {
        let key = Bytes::from_static(STORE_IDENTITY);
        importing.batch.state.push(StateChange::Set { bucket: Bucket::Meta, key, value });
    }
    importing.finish()
}

/// A store in the making.
struct Importing<'a> {
    store: Store,
    at: (u64, u64),
    batch: Batch,
    batch_bytes: usize,
    unsynced_bytes: usize,
    last: Revision,
    conf_state: ConfState,
    wanted: &'a mut dyn FnMut() -> bool,
}

impl Importing<'_> {
    fn row(&mut self, bucket: &Bytes, key: Bytes, value: Bytes) -> Result<(), ImportError> {
        self.batch_bytes += key.len() + value.len();
        if bucket == names::KEY {
            self.key(&key, value)?;
        } else if let Some(bucket) = Bucket::from_name(bucket) {
            if bucket == Bucket::Members {
                self.member(&key, &value)?;
            }
            // Another's word on whose store this is means nothing here.
            if key != STORE_IDENTITY {
                self.batch.state.push(StateChange::Set { bucket, key, value });
            }
        }
        // A bucket that is none of etcd's has no place with us; etcd itself never looks into one.
        if BATCH_BYTES <= self.batch_bytes { self.flush() } else { Ok(()) }
    }

    fn key(&mut self, key: &Bytes, value: Bytes) -> Result<(), ImportError> {
        let unfit = || ImportError::Key { key: key.clone() };
        let (revision, tombstone) = Revision::from_bytes(key).ok_or_else(unfit)?;
        if revision <= self.last {
            return Err(unfit());
        }
        let row = Row::decode(revision, tombstone, value).map_err(|_| unfit())?;
        self.last = revision;
        self.batch.rows.push(row);
        Ok(())
    }

    fn member(&mut self, key: &Bytes, value: &Bytes) -> Result<(), ImportError> {
        let member: Member =
            serde_json::from_slice(value).map_err(|_| ImportError::Member { key: key.clone() })?;
        let ids = if member.is_learner {
            &mut self.conf_state.learners
        } else {
            &mut self.conf_state.voters
        };
        ids.push(member.id);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        if !(self.wanted)() {
            return Err(ImportError::GivenUp);
        }
        let empty = Batch { index: self.at.0, term: self.at.1, ..Batch::default() };
        self.store.append(&std::mem::replace(&mut self.batch, empty));
        self.store.flush()?;
        self.unsynced_bytes += std::mem::take(&mut self.batch_bytes);
        if SYNC_BYTES <= self.unsynced_bytes { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), ImportError> {
        self.unsynced_bytes = 0;
        let synced = self.store.sync_handle().and_then(store::SyncHandle::sync)?;
        self.store.synced(synced);
        Ok(())
    }

    fn finish(mut self) -> Result<Arrived, ImportError> {
        self.flush()?;
        self.sync()?;
        let mut conf_state = self.conf_state;
        conf_state.voters.sort_unstable();
        conf_state.learners.sort_unstable();
        Ok(Arrived { conf_state, revision: self.last.main.max(1) })
    }
}

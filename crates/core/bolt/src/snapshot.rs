//! Snapshot files: the digest behind the pages, the stream that ends with it, and what
//! `snapshot status` tells about a file.

use std::collections::HashSet;
use std::io;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use types::{Revision, Row};

use crate::access::ReadAt;
use crate::backend::{Backend, RowsError, names};
use crate::check::Check;
use crate::error::WriteError;
use crate::image::{ImageStream, Plan};
use crate::source::Source;

/// Bytes of the SHA-256 that `snapshot save` puts behind the pages.
pub const DIGEST_BYTES: usize = 32;

/// What the end of a snapshot file says about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// There is none: a copied database, or a file cut short.
    Missing,
    /// The file is as it was saved.
    Matches,
    /// It is not.
    Differs {
        /// The digest in the file.
        expected: [u8; DIGEST_BYTES],
        /// The digest of what stands before it.
        found: [u8; DIGEST_BYTES],
    },
}

/// The length of the image within a file of `file_bytes`. Pages are whole sectors, so a file whose
/// length is 32 bytes off has a digest.
pub fn image_bytes(file_bytes: u64) -> u64 {
    if file_bytes % 512 == DIGEST_BYTES as u64 {
        file_bytes - DIGEST_BYTES as u64
    } else {
        file_bytes
    }
}

/// Compares a file with the digest at its end.
///
/// # Errors
/// When the file cannot be read.
pub fn digest(file: &impl ReadAt) -> io::Result<Digest> {
    let file_bytes = file.file_bytes()?;
    let image_bytes = image_bytes(file_bytes);
    if image_bytes == file_bytes {
        return Ok(Digest::Missing);
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    let mut offset = 0;
    while offset < image_bytes {
        let chunk_bytes = (image_bytes - offset).min(buffer.len() as u64);
        let chunk = &mut buffer[..chunk_bytes as usize];
        file.read_exact_at(chunk, offset)?;
        hasher.update(chunk);
        offset += chunk_bytes;
    }
    let found: [u8; DIGEST_BYTES] = hasher.finalize().into();
    let mut expected = [0; DIGEST_BYTES];
    file.read_exact_at(&mut expected, image_bytes)?;
    Ok(if found == expected { Digest::Matches } else { Digest::Differs { expected, found } })
}

/// A snapshot file as a stream: the image, then its digest as a piece of its own.
pub struct SnapshotStream {
    image: ImageStream,
    /// Taken when the digest is sent.
    hasher: Option<Sha256>,
}

impl SnapshotStream {
    /// Begins to stream the rows that `plan` was made for.
    ///
    /// # Errors
    /// When the source fails.
    pub fn new(source: Box<dyn Source>, plan: Plan) -> Result<SnapshotStream, WriteError> {
        Ok(SnapshotStream { image: ImageStream::new(source, plan)?, hasher: Some(Sha256::new()) })
    }

    /// How many bytes the stream gives in all.
    pub fn total_bytes(plan: &Plan) -> u64 {
        plan.image_bytes() + DIGEST_BYTES as u64
    }

    /// The next piece, at most `bytes_max` long. `None` after the digest.
    ///
    /// # Errors
    /// As [`ImageStream::next_chunk`]; then no digest comes, so nobody takes the file for whole.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, WriteError> {
        let Some(hasher) = &mut self.hasher else { return Ok(None) };
        match self.image.next_chunk(bytes_max) {
            Ok(Some(chunk)) => {
                hasher.update(&chunk);
                Ok(Some(chunk))
            }
            Ok(None) => {
                let digest = self.hasher.take().map(Sha256::finalize);
                Ok(digest.map(|digest| BytesMut::from(&digest[..]).freeze()))
            }
            Err(error) => {
                self.hasher = None;
                Err(error)
            }
        }
    }
}

/// What `snapshot status` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over every bucket's name and rows.
    pub hash: u32,
    /// The newest revision; 0 if there is none.
    pub revision: i64,
    /// Keys that exist at that revision.
    pub total_key: u64,
    /// Bytes of all pages.
    pub total_size: u64,
    /// The storage version, or nothing before etcd 3.6.
    pub version: String,
}

/// Why a snapshot has no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Its pages do not fit together.
    #[error("snapshot file integrity check failed. {} errors found.", .0.faults_count)]
    Integrity(Check),
    /// Its pages do, but what they hold is no etcd's.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Checks all pages, then all rows, and sums them up.
///
/// # Errors
/// [`StatusError`] when anything in the file is not as it must be.
pub fn status<R: ReadAt>(backend: &Backend<R>) -> Result<Status, StatusError> {
    let check = backend.bolt().check();
    if !check.is_clean() {
        return Err(StatusError::Integrity(check));
    }
    let mut live = LiveKeys::new(backend)?;
    let (mut hash, mut revision) = (0, 0);
    for bucket in backend.bolt().buckets().map_err(RowsError::from)? {
        hash = crc32c::crc32c_append(hash, bucket.name());
        let mut rows = bucket.rows().map_err(RowsError::from)?;
        while let Some(row) = rows.next() {
            let (key, value) = row.map_err(RowsError::from)?;
            hash = crc32c::crc32c_append(hash, &key);
            hash = crc32c::crc32c_append(hash, &value);
            if bucket.name() == names::KEY {
                let row = crate::backend::decode((key, value), &rows)?;
                revision = row.revision.main;
                live.take(&row);
            }
        }
    }
    let version = backend.storage_version()?.unwrap_or_default();
    let total_size = backend.bolt().image_bytes();
    Ok(Status { hash, revision, total_key: live.count(), total_size, version })
}

/// Counts the keys that exist, in a walk over all changes.
///
/// Up to a finished compaction each key has one row at most, and after it no row is missing. So a
/// life of a key begins with its only row up to there or with version 1, and ends with a tombstone,
/// and counting needs no memory. While a compaction is under way nothing of this is sure and the
/// keys themselves are remembered.
enum LiveKeys {
    Compacted { to: i64, count: u64 },
    Compacting { keys: HashSet<Box<[u8]>> },
}

impl LiveKeys {
    fn new<R: ReadAt>(backend: &Backend<R>) -> Result<LiveKeys, RowsError> {
        let finished = backend.finished_compaction()?.unwrap_or(-1);
        let scheduled = backend.scheduled_compaction()?.unwrap_or(-1);
        Ok(if scheduled <= finished {
            LiveKeys::Compacted { to: finished, count: 0 }
        } else {
            LiveKeys::Compacting { keys: HashSet::new() }
        })
    }

    fn take(&mut self, row: &Row) {
        match self {
            LiveKeys::Compacted { to, count } => {
                let Revision { main, .. } = row.revision;
                let begins = !row.tombstone && (main <= *to || row.version == 1);
                let ends = row.tombstone && main > *to;
                *count = count.saturating_add(begins.into()).saturating_sub(ends.into());
            }
            LiveKeys::Compacting { keys } if row.tombstone => {
                keys.remove(row.key());
            }
            LiveKeys::Compacting { keys } => {
                keys.insert(row.key().into());
            }
        }
    }

    fn count(&self) -> u64 {
        match self {
            LiveKeys::Compacted { count, .. } => *count,
            LiveKeys::Compacting { keys } => keys.len() as u64,
        }
    }
}

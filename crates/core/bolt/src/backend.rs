//! What etcd keeps in a bbolt file: ten buckets, and what their rows mean.

use bytes::Bytes;
use types::{Revision, Row};

use crate::access::ReadAt;
use crate::cursor::Cursor;
use crate::error::{BoltError, Place};
use crate::reader::Bolt;

/// The buckets, and the keys within `meta`. Every etcd makes all ten buckets at its first start.
#[allow(missing_docs, reason = "the names are etcd's own, see docs/etcd/bbolt-and-backend.md 2")]
pub mod names {
    pub const ALARM: &[u8] = b"alarm";
    pub const AUTH: &[u8] = b"auth";
    pub const AUTH_ROLES: &[u8] = b"authRoles";
    pub const AUTH_USERS: &[u8] = b"authUsers";
    pub const CLUSTER: &[u8] = b"cluster";
    pub const KEY: &[u8] = b"key";
    pub const LEASE: &[u8] = b"lease";
    pub const MEMBERS: &[u8] = b"members";
    pub const MEMBERS_REMOVED: &[u8] = b"members_removed";
    pub const META: &[u8] = b"meta";

    /// All ten, as they sort.
    pub const ALL: [&[u8]; 10] =
        [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];

    pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    pub const TERM: &[u8] = b"term";
    pub const CONF_STATE: &[u8] = b"confState";
    pub const STORAGE_VERSION: &[u8] = b"storageVersion";
    pub const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
    pub const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
    pub const CLUSTER_VERSION: &[u8] = b"clusterVersion";
}

/// An etcd store in a bbolt file, read only.
#[derive(Clone, Debug)]
pub struct Backend<R> {
    bolt: Bolt<R>,
}

/// A row that bbolt holds well and etcd would never have put there.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file itself is damaged.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// A key of bucket `key` that is no revision.
    #[error("{place} holds a revision that cannot be read: {key:02x?}")]
    Revision {
        /// Where.
        place: Place,
        /// The key.
        key: Bytes,
    },
    /// A value of bucket `key` that is no key-value pair.
    #[error("{place} holds revision {revision}, whose value cannot be read")]
    Value {
        /// Where.
        place: Place,
        /// Which.
        revision: Revision,
    },
    /// A value of bucket `meta` of the wrong length or shape.
    #[error("{name} in bucket meta cannot be read: {value:02x?}")]
    Meta {
        /// Its key.
        name: String,
        /// What stands there.
        value: Bytes,
    },
}

impl<R: ReadAt> Backend<R> {
    /// Opens a database, or a snapshot file with or without its digest.
    ///
    /// # Errors
    /// As [`Bolt::open`].
    pub fn open(file: R) -> Result<Backend<R>, BoltError> {
        Ok(Backend { bolt: Bolt::open(file)? })
    }

    /// The file underneath.
    pub fn bolt(&self) -> &Bolt<R> {
        &self.bolt
    }

    /// One value; `None` if the bucket or the key is absent.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BoltError> {
        self.bolt.bucket(bucket)?.map_or(Ok(None), |bucket| bucket.get(key))
    }

    /// All rows of a bucket in key order; none if the bucket is absent.
    ///
    /// # Errors
    /// When the bucket's first page is damaged; later ones come from the iterator.
    pub fn entries(
        &self,
        bucket: &[u8],
    ) -> Result<impl Iterator<Item = Result<(Bytes, Bytes), BoltError>> + use<R>, BoltError> {
        let rows = self.bolt.bucket(bucket)?.map(|bucket| bucket.rows()).transpose()?;
        Ok(rows.into_iter().flatten())
    }

    /// All changes in the order they were made.
    ///
    /// # Errors
    /// When the bucket's first page is damaged; later ones come from the iterator.
    pub fn rows(&self) -> Result<impl Iterator<Item = Result<Row, RowsError>> + use<R>, BoltError> {
        let cursor = self.bolt.bucket(names::KEY)?.map(|bucket| bucket.rows()).transpose()?;
        Ok(cursor.into_iter().flat_map(|mut cursor| {
            std::iter::from_fn(move || {
                let row = cursor.next()?;
                Some(row.map_err(Into::into).and_then(|row| decode(row, &cursor)))
            })
        }))
    }

    /// The index of the last log entry whose effects the file holds; 0 if it does not say.
    ///
    /// # Errors
    /// When a page is damaged, or the value is not eight bytes.
    pub fn consistent_index(&self) -> Result<u64, RowsError> {
        self.number(names::CONSISTENT_INDEX)
    }

    /// The term of that entry; 0 before etcd 3.5.
    ///
    /// # Errors
    /// When a page is damaged, or the value is not eight bytes.
    pub fn term(&self) -> Result<u64, RowsError> {
        self.number(names::TERM)
    }

    /// The schema the file follows, since etcd 3.6: `3.6.0`, say.
    ///
    /// # Errors
    /// When a page is damaged, or the value is no text.
    pub fn storage_version(&self) -> Result<Option<String>, RowsError> {
        let value = self.get(names::META, names::STORAGE_VERSION)?;
        let text = |value: Bytes| {
            String::from_utf8(value.to_vec()).map_err(|_| wrong(names::STORAGE_VERSION, value))
        };
        value.map(text).transpose()
    }

    /// The revision the last finished compaction went up to; `None` if there was none.
    ///
    /// # Errors
    /// When a page is damaged, or the value is no revision.
    pub fn finished_compaction(&self) -> Result<Option<i64>, RowsError> {
        self.revision(names::FINISHED_COMPACT)
    }

    /// The revision a compaction was asked for last, finished or not.
    ///
    /// # Errors
    /// When a page is damaged, or the value is no revision.
    pub fn scheduled_compaction(&self) -> Result<Option<i64>, RowsError> {
        self.revision(names::SCHEDULED_COMPACT)
    }

    fn number(&self, name: &[u8]) -> Result<u64, RowsError> {
        let Some(value) = self.get(names::META, name)? else { return Ok(0) };
        match value[..].try_into() {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => Err(wrong(name, value)),
        }
    }

    fn revision(&self, name: &[u8]) -> Result<Option<i64>, RowsError> {
        let Some(value) = self.get(names::META, name)? else { return Ok(None) };
        match Revision::from_bytes(&value) {
            Some((revision, _)) => Ok(Some(revision.main)),
            None => Err(wrong(name, value)),
        }
    }
}

fn wrong(name: &[u8], value: Bytes) -> RowsError {
    RowsError::Meta { name: String::from_utf8_lossy(name).into_owned(), value }
}

pub(crate) fn decode<R: ReadAt>(
    (key, value): (Bytes, Bytes),
    cursor: &Cursor<R>,
) -> Result<Row, RowsError> {
    let place = cursor.place();
    let Some((revision, tombstone)) = Revision::from_bytes(&key) else {
        return Err(RowsError::Revision { place, key });
    };
    Row::decode(revision, tombstone, value).map_err(|_| RowsError::Value { place, revision })
}

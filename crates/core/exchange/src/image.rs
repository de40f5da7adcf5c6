//! The replicated state as a bbolt file: what snapshots hold and what the Hash method covers.
//!
//! The file is exactly what Go etcd keeps (`docs/etcd/bbolt-and-backend.md` 2): its buckets, its keys,
//! its encodings. Rows that the last compaction made unreadable are left out, so the file says that
//! the compaction is finished.

use std::collections::BTreeMap;

use apply::{Member, ReadView};
use bolt::{ImageStream, Layout, RowSize, Rows, Sizes, Source, SourceError, WriteError};
use bytes::{Bytes, BytesMut};
use store::{Bucket, RowMeta, Scan, State, StoreError};
use types::{ConfState, Revision, Row, Version};

use crate::{STORE_IDENTITY, v2json};

/// Bytes of the log read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The state at one entry.
#[derive(Clone)]
pub struct Image {
    view: ReadView,
    state: State,
    /// Whether another member will go on with it, and needs the API v2's tree. A snapshot for a backup is without, as
    /// etcd's is.
    for_member: bool,
}

impl Image {
    /// The state that this view shows, with the small state of the same entry.
    pub fn new(view: ReadView, state: State) -> Image {
        Image { view, state, for_member: false }
    }

    /// The same with the API v2's tree, as its last bucket: for another member, or a copy of this one.
    pub fn with_v2(self) -> Image {
        Image { for_member: true, ..self }
    }

    /// Index and term of the entry it is at.
    pub fn applied(&self) -> (u64, u64) {
        (self.view.applied_index, self.view.applied_term)
    }

    /// Whether there is a node of the API v2's tree. It has no place in a Go etcd's database.
    pub fn has_v2(&self) -> bool {
        let rows = self.state.iter(Bucket::V2).map(|(key, value)| (&key[..], &value[..]));
        v2::Tree::restore(rows).map_or(true, |tree| 0 < tree.bytes())
    }

    /// All members, by id.
    pub fn members(&self) -> Vec<Member> {
        let rows = self.state.iter(Bucket::Members);
        let mut members: Vec<Member> =
            rows.filter_map(|(_, row)| serde_json::from_slice(row).ok()).collect();
        members.sort_by_key(|member| member.id);
        members
    }

    /// Who votes at that entry.
    pub fn conf_state(&self) -> ConfState {
        let members = self.members();
        let ids = |learner: bool| -> Vec<u64> {
            members.iter().filter(|m| m.is_learner == learner).map(|m| m.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true) }
    }

    /// What a snapshot's message says beside the file: the members, for etcd up to 3.6.
    pub fn members_json(&self) -> Vec<u8> {
        let version = self.cluster_version().map(|version| version.to_string());
        self.members_json_at(version.as_deref())
    }

    /// What the members agreed on.
    pub fn cluster_version(&self) -> Option<Version> {
        let version = self.state.get(Bucket::Cluster, b"clusterVersion")?;
        String::from_utf8_lossy(version).parse().ok()
    }

    /// [`Image::members_json`] for a cluster of another version.
    pub fn members_json_at(&self, version: Option<&str>) -> Vec<u8> {
        let removed = self.state.iter(Bucket::MembersRemoved);
        let removed: Vec<String> =
            removed.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        v2json::members_json(&self.members(), &removed, version)
    }

    /// The file for another member, piece by piece.
    ///
    /// # Errors
    /// What the store could not read.
    pub fn stream(self, chunk_bytes: usize) -> Result<MemberSnapshot, WriteError> {
        let whole = self.with_v2();
        let plan = bolt::plan(&whole, Layout::default())?;
        let bytes = plan.image_bytes();
        let stream = ImageStream::new(Box::new(whole), plan)?;
        Ok(MemberSnapshot { stream, bytes, chunk_bytes })
    }

    /// The revision it is at.
    pub fn revision(&self) -> i64 {
        self.view.index.current_revision()
    }

    /// The version its data has, as `3.7.0`; empty before it is known.
    pub fn storage_version(&self) -> String {
        let version = self.state.get(Bucket::Meta, b"storageVersion");
        version.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }

    /// CRC-32C over all buckets in the order of their names, without what members may differ in
    /// (`docs/etcd/bbolt-and-backend.md` 5.3).
    ///
    /// # Errors
    /// What the store could not read.
    pub fn hash(&self) -> Result<u32, StoreError> {
        let hash = self.hash_while(&mut || true)?;
        Ok(hash.expect("it was not told to stop"))
    }

    /// The same, as long as it is `wanted`, which is asked again and again; `None` when it was not.
    ///
    /// # Errors
    /// As [`Image::hash`].
    pub fn hash_while(&self, wanted: &mut dyn FnMut() -> bool) -> Result<Option<u32>, StoreError> {
        const ROWS_AT_ONCE: usize = 1024;
        let mut hash = 0;
        for name in bucket_names() {
            hash = crc32c::crc32c_append(hash, name.as_bytes());
            if name == KEY {
                let mut rows = KeyRows::new(self.view.clone());
                let mut read = 0_usize;
                while let Some(row) = rows.next_row()? {
                    let (key, value) = stored(&row);
                    hash = crc32c::crc32c_append(hash, &key);
                    hash = crc32c::crc32c_append(hash, &value);
                    read += 1;
                    if read.is_multiple_of(ROWS_AT_ONCE) && !wanted() {
                        return Ok(None);
                    }
                }
                continue;
            }
            for (key, value) in self.small(name) {
                let left_out = ["consistent_index", "term", "storageVersion"];
                if name == "meta" && left_out.iter().any(|left| left.as_bytes() == key) {
                    continue;
                }
                hash = crc32c::crc32c_append(hash, &key);
                hash = crc32c::crc32c_append(hash, &value);
            }
        }
        Ok(Some(hash))
    }

    /// The rows of a bucket other than `key`.
    fn small(&self, name: &str) -> BTreeMap<Bytes, Bytes> {
        let bucket =
            Bucket::from_name(name.as_bytes()).expect("the names are those of the buckets");
        let mut rows: BTreeMap<Bytes, Bytes> =
            self.state.iter(bucket).map(|(key, value)| (key.clone(), value.clone())).collect();
        match bucket {
            Bucket::Meta => {
                rows.remove(STORE_IDENTITY);
                self.add_meta(&mut rows);
            }
            Bucket::Auth => {
                // Every version writes the first revision of users and roles when it makes the bucket.
                rows.entry(Bytes::from_static(b"authRevision"))
                    .or_insert_with(|| Bytes::copy_from_slice(&1u64.to_be_bytes()));
            }
            Bucket::Alarm
            | Bucket::AuthRoles
            | Bucket::AuthUsers
            | Bucket::Cluster
            | Bucket::Lease
            | Bucket::Members
            | Bucket::MembersRemoved
            | Bucket::V2 => {}
        }
        rows
    }

    fn add_meta(&self, rows: &mut BTreeMap<Bytes, Bytes>) {
        let mut set = |key: &'static str, value: Bytes| {
            rows.insert(Bytes::from_static(key.as_bytes()), value);
        };
        let number = |n: u64| Bytes::copy_from_slice(&n.to_be_bytes());
        set("consistent_index", number(self.view.applied_index));
        set("term", number(self.view.applied_term));
        set("confState", self.conf_state_json());
        let compacted = self.view.index.compact_revision();
        if 0 <= compacted {
            let revision = Bytes::copy_from_slice(&Revision::first_of(compacted).to_bytes());
            set("scheduledCompactRev", revision.clone());
            set("finishedCompactRev", revision);
        }
    }

    /// Who votes, as Go writes it.
    fn conf_state_json(&self) -> Bytes {
        let ConfState { voters, learners } = self.conf_state();
        let mut json = serde_json::Map::new();
        json.insert("voters".into(), voters.into());
        if !learners.is_empty() {
            json.insert("learners".into(), learners.into());
        }
        json.insert("auto_leave".into(), false.into());
        serde_json::to_vec(&json).expect("numbers always serialize").into()
    }
}

/// A snapshot on its way to another member: the file, without a digest.
pub struct MemberSnapshot {
    stream: ImageStream,
    bytes: u64,
    chunk_bytes: usize,
}

impl MemberSnapshot {
    /// How long the whole file is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Iterator for MemberSnapshot {
    type Item = Result<Bytes, WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next_chunk(self.chunk_bytes).transpose()
    }
}

const KEY: &str = "key";

/// All buckets of etcd's backend, in the order of their names. That of the API v2 is none of them: it travels to
/// another member alone, and no hash covers it.
fn bucket_names() -> Vec<&'static str> {
    let etcds = Bucket::ALL.iter().filter(|bucket| **bucket != Bucket::V2);
    let mut names: Vec<&str> = etcds.map(|bucket| bucket.name()).collect();
    names.push(KEY);
    names.sort_unstable();
    names
}

/// A row as etcd stores it: its revision, with a mark if it deletes, and its bytes.
fn stored(row: &Row) -> (Bytes, Bytes) {
    let mut key = BytesMut::with_capacity(Revision::BYTES + 1);
    key.extend_from_slice(&row.revision.to_bytes());
    if row.tombstone {
        key.extend_from_slice(b"t");
    }
    (key.freeze(), row.encoded.clone())
}

/// The rows of a view that its compaction keeps, in revision order. The same at every walk: what the
/// view's index keeps does not change, and its log holds on to all of it.
struct KeyRows {
    view: ReadView,
    scan: Scan,
    chunk: std::vec::IntoIter<Row>,
}

impl KeyRows {
    fn new(view: ReadView) -> KeyRows {
        let scan = view.log.scan(Revision::default());
        KeyRows { view, scan, chunk: Vec::new().into_iter() }
    }

    fn next_row(&mut self) -> Result<Option<Row>, StoreError> {
        let last = self.view.index.current_revision();
        loop {
            let Some(row) = self.chunk.next() else {
                let chunk = self.scan.next_chunk(CHUNK_BYTES)?;
                if chunk.is_empty() {
                    return Ok(None);
                }
                self.chunk = chunk.into_iter();
                continue;
            };
            if row.revision.main <= last && self.view.index.keeps(row.key(), row.revision) {
                return Ok(Some(row));
            }
        }
    }
}

/// The sizes of [`KeyRows`].
fn key_sizes(view: ReadView) -> impl Iterator<Item = Result<RowSize, SourceError>> {
    let last = view.index.current_revision();
    let metas = view.log.rows_after(0);
    let kept = move |meta: &Result<RowMeta, StoreError>| match meta {
        Ok(meta) => meta.revision.main <= last && view.index.keeps(&meta.key, meta.revision),
        Err(_) => true,
    };
    let size = |meta: RowMeta| RowSize {
        key_bytes: Revision::BYTES + usize::from(meta.tombstone),
        value_bytes: meta.encoded_bytes,
    };
    metas.filter(kept).map(move |meta| Ok(meta.map(size)?))
}

impl Iterator for KeyRows {
    type Item = Result<(Bytes, Bytes), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_row() {
            Ok(row) => row.map(|row| Ok(stored(&row))),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Source for Image {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        let mut names = bucket_names();
        if self.for_member && self.state.iter(Bucket::V2).next().is_some() {
            // The last by its name.
            names.push(Bucket::V2.name());
        }
        Ok(names.into_iter().map(|name| Bytes::from_static(name.as_bytes())).collect())
    }

    /// Known from the log's tables and its rows' keys: no value is read twice, and the first byte leaves before any is.
    fn sizes(&self, bucket: &Bytes) -> Sizes {
        if bucket == KEY {
            return Box::new(key_sizes(self.view.clone()));
        }
        let size = |(key, value): (Bytes, Bytes)| RowSize {
            key_bytes: key.len(),
            value_bytes: value.len(),
        };
        Box::new(self.rows(bucket).map(move |row| row.map(size)))
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        if bucket == KEY {
            return Box::new(KeyRows::new(self.view.clone()));
        }
        let name = std::str::from_utf8(bucket).expect("the names are ours");
        Box::new(self.small(name).into_iter().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use prost::Message as _;
    use proto::etcdserverpb as pb;
    use store::{Options, Store};
    use types::{Entry, EntryKind};
    use vfs::MemoryDisk;

    use super::*;

    fn image() -> Image {
        let disk = Arc::new(MemoryDisk::new());
        let options = Options { segment_bytes: 3000, ..Options::default() };
        let (store, restored) = Store::open(disk, Path::new("/s"), options).expect("a new store");
        let config = apply::Config {
            member: 7,
            quota_bytes: None,
            learners_max: 1,
            leases: lease::Options::new(2),
            persist_checkpoints: false,
            hashed_bytes_max: 0,
        };
        let mut applier = apply::Applier::open(config, store, &restored).expect("it is empty");
        for index in 1..400u64 {
            let key = Bytes::from(format!("key-{}", index % 37));
            let mut request = pb::InternalRaftRequest::default();
            match index % 11 {
                3 => {
                    request.delete_range =
                        Some(pb::DeleteRangeRequest { key, ..Default::default() })
                }
                7 => {
                    request.lease_grant = Some(pb::LeaseGrantRequest { ttl: 60, id: index as i64 })
                }
                _ if index == 250 => {
                    request.compaction =
                        Some(pb::CompactionRequest { revision: 120, physical: false });
                }
                _ => {
                    let value = vec![7; (index % 90) as usize].into();
                    request.put = Some(pb::PutRequest { key, value, ..Default::default() });
                }
            }
            let data = request.encode_to_vec().into();
            let entry = Entry { index, term: 1, kind: EntryKind::Normal, data };
            applier.apply(&entry).expect("the disk works");
            // So that there are full segments with and without footers, and one that still grows.
            if index % 100 == 50 {
                let handle = applier.upkeep().sync_handle().expect("the disk works");
                let done = handle.sync().expect("the disk works");
                applier.upkeep().synced(done);
            }
        }
        applier.flush().expect("the disk works");
        Image::new(applier.view(), applier.stored().state().clone())
    }

    #[test]
    fn the_sizes_of_a_snapshots_rows_are_known_without_reading_them() {
        let image = image();
        let mut count = 0;
        for bucket in image.buckets().expect("they are ours") {
            let sizes: Vec<_> = image.sizes(&bucket).map(|size| size.expect("intact")).collect();
            let rows = image.rows(&bucket).map(|row| {
                let (key, value) = row.expect("intact");
                RowSize { key_bytes: key.len(), value_bytes: value.len() }
            });
            assert!(rows.eq(sizes.iter().copied()), "{bucket:?}");
            count += sizes.len();
        }
        assert!(count > 200, "{count}");
    }
}

//! The replicated state as a bbolt file: what snapshots hold and what the Hash method covers.
//!
//! The file is exactly what Go etcd keeps (`reference/bbolt-and-backend.md` 2): its buckets, its keys,
//! its encodings. Rows that the last compaction made unreadable are left out, so the file says that
//! the compaction is finished.

use std::collections::BTreeMap;

use apply::ReadView;
use bolt::{Layout, Plan, Rows, SnapshotStream, Source, SourceError};
use bytes::{Bytes, BytesMut};
use node::Node;
use proto::etcdserverpb as pb;
use rpc::Sink;
use store::{Bucket, Scan, State, StoreError};
use tokio::sync::mpsc;
use types::{Refusal, Revision, Row};

/// Bytes in one message of a snapshot stream, as etcd cuts them.
const BLOB_BYTES: usize = 32 * 1024;

/// Messages made ahead of a slow client.
const BLOBS_AHEAD: usize = 32;

/// Bytes of the log read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The state at one entry.
pub(crate) struct Image {
    view: ReadView,
    state: State,
}

impl Image {
    /// Takes the state as it is now.
    pub(crate) async fn take(node: &Node) -> Result<Image, Refusal> {
        let (view, state) = node.snapshot().await?;
        Ok(Image { view, state })
    }

    /// The revision it is at.
    pub(crate) fn revision(&self) -> i64 {
        self.view.index.current_revision()
    }

    /// The version its data has, as `3.7.0`; empty before it is known.
    fn storage_version(&self) -> String {
        let version = self.state.get(Bucket::Meta, b"storageVersion");
        version.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }

    /// CRC-32C over all buckets in the order of their names, without what members may differ in
    /// (`reference/bbolt-and-backend.md` 5.3).
    ///
    /// # Errors
    /// What the store could not read.
    pub(crate) fn hash(&self) -> Result<u32, StoreError> {
        let mut hash = 0;
        for name in bucket_names() {
            hash = crc32c::crc32c_append(hash, name.as_bytes());
            if name == KEY {
                let mut rows = KeyRows::new(self.view.clone());
                while let Some(row) = rows.next_row()? {
                    let (key, value) = stored(&row);
                    hash = crc32c::crc32c_append(hash, &key);
                    hash = crc32c::crc32c_append(hash, &value);
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
        Ok(hash)
    }

    /// The rows of a bucket other than `key`.
    fn small(&self, name: &str) -> BTreeMap<Bytes, Bytes> {
        let bucket =
            Bucket::from_name(name.as_bytes()).expect("the names are those of the buckets");
        let mut rows: BTreeMap<Bytes, Bytes> =
            self.state.iter(bucket).map(|(key, value)| (key.clone(), value.clone())).collect();
        match bucket {
            Bucket::Meta => self.add_meta(&mut rows),
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
            | Bucket::MembersRemoved => {}
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
        set("confState", self.conf_state());
        let compacted = self.view.index.compact_revision();
        if 0 <= compacted {
            let revision = Bytes::copy_from_slice(&Revision::first_of(compacted).to_bytes());
            set("scheduledCompactRev", revision.clone());
            set("finishedCompactRev", revision);
        }
    }

    /// Who votes, as Go writes it.
    fn conf_state(&self) -> Bytes {
        let ids = |learner: bool| -> Vec<u64> {
            self.state
                .iter(Bucket::Members)
                .filter_map(|(_, row)| serde_json::from_slice::<apply::Member>(row).ok())
                .filter(|member| member.is_learner == learner)
                .map(|member| member.id)
                .collect()
        };
        let mut json = serde_json::Map::new();
        json.insert("voters".into(), ids(false).into());
        let learners = ids(true);
        if !learners.is_empty() {
            json.insert("learners".into(), learners.into());
        }
        json.insert("auto_leave".into(), false.into());
        serde_json::to_vec(&json).expect("numbers always serialize").into()
    }
}

const KEY: &str = "key";

/// All buckets of etcd's backend, in the order of their names.
fn bucket_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Bucket::ALL.iter().map(|bucket| bucket.name()).collect();
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
        Ok(bucket_names().into_iter().map(|name| Bytes::from_static(name.as_bytes())).collect())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        if bucket == KEY {
            return Box::new(KeyRows::new(self.view.clone()));
        }
        let name = std::str::from_utf8(bucket).expect("the names are ours");
        Box::new(self.small(name).into_iter().map(Ok))
    }
}

/// Streams an image and its digest: what `snapshot save` writes to its file. The file is made on a
/// thread of its own, a few messages ahead of the client.
pub(crate) async fn send(node: &Node, image: Image, mut sink: Sink) -> Result<(), Refusal> {
    let version = image.storage_version();
    let (sender, mut blobs) = mpsc::channel(BLOBS_AHEAD);
    let made = tokio::task::spawn_blocking(move || make(image, &sender));
    while let Some((blob, remaining_bytes)) = blobs.recv().await {
        let version = version.clone();
        sink.send(&pb::SnapshotResponse { header: None, remaining_bytes, blob, version }).await?;
    }
    match made.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            node.fault("making a snapshot", &error);
            Err(Refusal::Stopped)
        }
        Err(_) => Err(Refusal::Stopped),
    }
}

/// Blobs with what remains of the image after each; the digest is the last one.
fn make(image: Image, sender: &mpsc::Sender<(Bytes, u64)>) -> Result<(), bolt::WriteError> {
    let plan: Plan = bolt::plan(&image, Layout::default())?;
    let mut remaining = plan.image_bytes();
    let mut stream = SnapshotStream::new(Box::new(image), plan)?;
    while let Some(blob) = stream.next_chunk(BLOB_BYTES)? {
        remaining = remaining.saturating_sub(blob.len() as u64);
        if sender.blocking_send((blob, remaining)).is_err() {
            // The client has gone.
            return Ok(());
        }
    }
    Ok(())
}

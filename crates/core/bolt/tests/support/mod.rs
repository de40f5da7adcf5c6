//! What the tests share: a source in memory, dice from a seed, and etcd-like content.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

pub mod oracle;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_bolt::{Bolt, ImageStream, Layout, ReadAt, Rows, Source, SourceError, names, plan};
use types::{KeyValueRef, Revision, Row, encode_row, encode_tombstone};

pub type Content = BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>;

/// Buckets in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub Arc<Content>);

impl Source for Memory {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let content = self.0.clone();
        let bucket = bucket.clone();
        let mut last = None::<Bytes>;
        Box::new(std::iter::from_fn(move || {
            use std::ops::Bound::{Excluded, Unbounded};
            let from = last.as_ref().map_or(Unbounded, Excluded);
            let (key, value) = content[&bucket].range::<Bytes, _>((from, Unbounded)).next()?;
            last = Some(key.clone());
            Some(Ok((key.clone(), value.clone())))
        }))
    }
}

/// Numbers that look random and are the same for a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Bytes {
        (0..count).map(|_| self.roll() as u8).collect()
    }
}

/// The whole image of a source, streamed in pieces of an odd size.
pub fn image(source: &Memory, layout: Layout) -> Bytes {
    let plan = plan(source, layout).expect("memory does not fail");
    let mut stream = ImageStream::new(Box::new(source.clone()), plan).expect("nor does it here");
    let mut image = Vec::new();
    while let Some(chunk) = stream.next_chunk(32_771).expect("nor here") {
        image.extend_from_slice(&chunk);
    }
    assert_eq!(image.len() as u64, plan.image_bytes());
    image.into()
}

/// Everything a file holds.
pub fn content<R: ReadAt>(bolt: &Bolt<R>) -> Result<Content, holdfast_bolt::BoltError> {
    let mut content = Content::new();
    for bucket in bolt.buckets()? {
        let rows = bucket.rows()?.collect::<Result<_, _>>()?;
        content.insert(bucket.name().clone(), rows);
    }
    Ok(content)
}

/// A store as etcd keeps it, under construction.
pub struct Store {
    pub content: Content,
    pub revision: i64,
    /// Create revision and version of the keys that exist, and their values.
    pub live: BTreeMap<Bytes, (i64, i64, Bytes)>,
}

impl Store {
    /// An empty store, with all buckets and what a member of `version` writes into `meta`.
    pub fn new(storage_version: &str, index: u64) -> Store {
        let buckets = names::ALL.map(|name| (Bytes::from_static(name), BTreeMap::new()));
        let mut store = Store { content: buckets.into(), revision: 1, live: BTreeMap::new() };
        store.set(names::META, b"consistent_index", &index.to_be_bytes());
        store.set(names::META, b"term", &2u64.to_be_bytes());
        store.set(names::META, b"confState", br#"{"voters":[1],"auto_leave":false}"#);
        store.set(names::META, b"storageVersion", storage_version.as_bytes());
        store.set(names::CLUSTER, b"clusterVersion", storage_version.as_bytes());
        let member = br#"{"id":1,"peerURLs":["http://127.0.0.1:2380"],"name":"one"}"#;
        store.set(names::MEMBERS, b"1", member);
        store.set(names::MEMBERS_REMOVED, b"2f", b"removed");
        store
    }

    pub fn set(&mut self, bucket: &'static [u8], key: &[u8], value: &[u8]) {
        let bucket = self.content.get_mut(bucket).expect("a known bucket");
        bucket.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    pub fn put(&mut self, key: &[u8], value: Bytes, lease: i64) {
        self.revision += 1;
        let known = self.live.get(key).map(|(create, version, _)| (*create, version + 1));
        let (create_revision, version) = known.unwrap_or((self.revision, 1));
        let kv = KeyValueRef {
            key,
            create_revision,
            mod_revision: self.revision,
            version,
            value: &value,
            lease,
        };
        self.store(&encode_row(kv, 0));
        let state = (create_revision, version, value);
        self.live.insert(Bytes::copy_from_slice(key), state);
    }

    pub fn delete(&mut self, key: &[u8]) {
        if self.live.remove(key).is_some() {
            self.revision += 1;
            self.store(&encode_tombstone(key, Revision::first_of(self.revision)));
        }
    }

    pub fn grant(&mut self, lease: i64, ttl: u8) {
        let mut value = vec![0x08];
        let mut id = lease as u64;
        while id >= 0x80 {
            value.push(id as u8 | 0x80);
            id >>= 7;
        }
        value.extend([id as u8, 0x10, ttl]);
        self.set(names::LEASE, &lease.to_be_bytes(), &value);
    }

    fn store(&mut self, row: &Row) {
        let mut key = row.revision.to_bytes().to_vec();
        if row.tombstone {
            key.push(b't');
        }
        let rows = self.content.get_mut(names::KEY).expect("it was made in new");
        rows.insert(key.into(), row.encoded.clone());
    }

    pub fn source(&self) -> Memory {
        Memory(Arc::new(self.content.clone()))
    }
}

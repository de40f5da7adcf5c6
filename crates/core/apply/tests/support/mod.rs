#![allow(dead_code, reason = "each test uses its part of it")]
//! A log that is applied as it is written, on a disk in memory.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_apply::{Answer, Applied, Applier, Config, Fault};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::membershippb::ClusterVersionSetRequest;
use proto::raftpb;
use store::{Bucket, Options, Store};
use types::{Entry, EntryKind, Refusal};
use vfs::{Disk, MemoryDisk};

/// A member that applies what it is told.
pub struct Log {
    pub applier: Applier,
    pub disk: MemoryDisk,
    next: u64,
}

/// This member.
pub const MEMBER: u64 = 7;

pub fn config() -> Config {
    Config {
        member: MEMBER,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(2),
        persist_checkpoints: false,
        hashed_bytes_max: u64::MAX,
    }
}

impl Log {
    pub fn new() -> Log {
        Log::with(config())
    }

    pub fn with(config: Config) -> Log {
        let disk = MemoryDisk::new();
        Log { applier: open(config, &disk), disk, next: 1 }
    }

    /// A log whose cluster has agreed on a version.
    pub fn of_version(version: &str) -> Log {
        let mut log = Log::new();
        log.version(version).expect("it is a version");
        log
    }

    pub fn entry(&mut self, kind: EntryKind, data: Bytes) -> Result<Applied, Fault> {
        let entry = Entry { term: 1, index: self.next, kind, data };
        let applied = self.applier.apply(&entry)?;
        self.next += 1;
        self.applier.flush().expect("memory takes it");
        Ok(applied)
    }

    pub fn bytes(&mut self, data: impl Into<Bytes>) -> Result<Applied, Fault> {
        self.entry(EntryKind::Normal, data.into())
    }

    pub fn request(&mut self, request: pb::InternalRaftRequest) -> Applied {
        self.bytes(request.encode_to_vec()).expect("the store works")
    }

    pub fn change(&mut self, change: raftpb::ConfChange) -> Applied {
        self.entry(EntryKind::ConfChange, change.encode_to_vec().into()).expect("the store works")
    }

    pub fn version(&mut self, version: &str) -> Result<Answer, Refusal> {
        let set = ClusterVersionSetRequest { ver: version.into() };
        self.request(pb::InternalRaftRequest { cluster_version_set: Some(set), ..none() }).result
    }

    pub fn put(&mut self, key: &'static str, value: &'static str) -> Result<Answer, Refusal> {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        self.request(pb::InternalRaftRequest { put: Some(put), ..none() }).result
    }

    pub fn alarm(&mut self, alarm: pb::AlarmType) -> Result<Answer, Refusal> {
        let action = pb::alarm_request::AlarmAction::Activate as i32;
        let alarm = pb::AlarmRequest { action, member_id: MEMBER, alarm: alarm as i32 };
        self.request(pb::InternalRaftRequest { alarm: Some(alarm), ..none() }).result
    }

    /// A row of the store's small state, as text.
    pub fn row(&self, bucket: Bucket, key: impl AsRef<[u8]>) -> Option<String> {
        let row = self.applier.stored().state().get(bucket, key.as_ref())?;
        Some(String::from_utf8_lossy(row).into_owned())
    }

    /// The member that starts again from what this one stored.
    pub fn restarted(self) -> Log {
        let Log { applier, disk, next } = self;
        drop(applier);
        Log { applier: open(config(), &disk), disk, next }
    }
}

pub fn open(config: Config, disk: &MemoryDisk) -> Applier {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (store, restored) =
        Store::open(shared, Path::new("/store"), Options::default()).expect("nothing is damaged");
    Applier::open(config, store, &restored).expect("it is a member's state")
}

/// A request that asks for nothing yet.
pub fn none() -> pb::InternalRaftRequest {
    pb::InternalRaftRequest::default()
}

/// A voter is added.
pub fn add(id: u64, url: &str) -> raftpb::ConfChange {
    raftpb::ConfChange {
        id: Some(1),
        r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode as i32),
        node_id: Some(id),
        context: Some(format!(r#"{{"id":{id},"peerURLs":["{url}"]}}"#).into()),
    }
}

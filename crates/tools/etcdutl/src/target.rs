//! The two kinds of data directory a snapshot can be restored to: Go etcd's and our own.
//!
//! They share the log (`member/wal`), which has one format, and differ in the store: a bbolt file in
//! `member/snap`, or our revision log in `member/store`. [`TargetFormat::write_store`] is the one place
//! that tells them apart.

use std::path::Path;
use std::sync::Arc;

use bolt::{Backend, names};
use bytes::Bytes;
use prost::Message;
use proto::{raftpb, snappb};
use types::{ConfState, Revision};
use vfs::{Disk, OsDisk};

use crate::bootstrap::Cluster;
use crate::cli::Failure;
use crate::files::BULK;
use crate::rewrite::{self, File, Rewrite};

/// What `--target-format` takes.
pub const TARGET_FORMATS: &[&str] = &["holdfast", "go"];
/// The term a restored cluster begins in.
pub const TERM: u64 = 1;

/// Whose data directory is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFormat {
    Holdfast,
    Go,
}

/// What is to be restored.
pub struct Content {
    pub backend: Backend<File>,
    pub cluster: Cluster,
    /// A revision that everything before is to look compacted at.
    pub bumped_to: Option<i64>,
}

impl Content {
    /// The entry that the restored state stands at: the log begins with one entry for each member.
    pub fn index(&self) -> u64 {
        self.cluster.members.len() as u64
    }

    /// Everybody votes.
    pub fn conf_state(&self) -> ConfState {
        let voters = self.cluster.members.iter().map(|member| member.id).collect();
        ConfState { voters, learners: Vec::new() }
    }

    /// The snapshot with another cluster's members, and as nothing had been applied but their
    /// addition.
    fn rewrite(&self) -> Rewrite {
        let mut rewrite = rewrite::copy(&self.backend);
        // A database older than a bucket has none; the server wants all of them.
        for bucket in names::ALL {
            rewrite.ensure(bucket);
        }
        rewrite.empty(names::MEMBERS);
        rewrite.empty(names::MEMBERS_REMOVED);
        for member in &self.cluster.members {
            let json = serde_json::to_vec(member).expect("text and numbers always serialize");
            rewrite.set(names::MEMBERS, format!("{:x}", member.id).as_bytes(), &json);
        }
        let voters = self.conf_state().voters;
        let conf_state = serde_json::json!({ "voters": voters, "auto_leave": false });
        rewrite.set(names::META, names::CONF_STATE, conf_state.to_string().as_bytes());
        rewrite.set(names::META, names::CONSISTENT_INDEX, &self.index().to_be_bytes());
        rewrite.set(names::META, names::TERM, &TERM.to_be_bytes());
        if let Some(main) = self.bumped_to {
            let revision = Revision::first_of(main).to_bytes();
            rewrite.set(names::KEY, &revision, b"");
            rewrite.set(names::META, names::SCHEDULED_COMPACT, &revision);
        }
        rewrite
    }
}

impl TargetFormat {
    pub fn parse(typed: &str) -> Result<TargetFormat, Failure> {
        match typed {
            "holdfast" => Ok(TargetFormat::Holdfast),
            "go" => Ok(TargetFormat::Go),
            other => {
                let other = go::quote(other);
                Err(Failure::bad_arguments(format!(
                    "invalid --target-format {other}: must be holdfast or go"
                )))
            }
        }
    }

    /// Writes everything but the log into `member_dir`.
    pub fn write_store(self, content: &Content, member_dir: &Path) -> Result<(), Failure> {
        match self {
            TargetFormat::Go => write_go(content, &member_dir.join("snap")),
            TargetFormat::Holdfast => write_holdfast(content, &member_dir.join("store")),
        }
    }
}

fn write_go(content: &Content, dir: &Path) -> Result<(), Failure> {
    let failure = |error| Failure::new(format!("{}: {}", dir.display(), go::io_text(&error)));
    OsDisk.create_dir_all(dir).map_err(failure)?;
    rewrite::write(&content.rewrite(), &dir.join("db"))?;
    let index = content.index();
    let path = dir.join(format!("{TERM:016x}-{index:016x}.snap"));
    let bytes = snap_file(content);
    let file = OsDisk.create(&path).map_err(failure)?;
    file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()).map_err(failure)?;
    OsDisk.sync_dir(dir).map_err(failure)
}

/// A `.snap` file: the members for etcd 3.4 to 3.6, and where the log goes on for all.
fn snap_file(content: &Content) -> Vec<u8> {
    let ConfState { voters, learners } = content.conf_state();
    let conf_state =
        raftpb::ConfState { voters, learners, auto_leave: Some(false), ..Default::default() };
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: Some(content.index()),
        term: Some(TERM),
    };
    let members = exchange::members_json(&content.cluster.members, &[], None);
    let snapshot = raftpb::Snapshot { data: Some(members.into()), metadata: Some(metadata) };
    let data = Bytes::from(snapshot.encode_to_vec());
    snappb::Snapshot { crc: Some(crc32c::crc32c(&data)), data: Some(data) }.encode_to_vec()
}

fn write_holdfast(content: &Content, dir: &Path) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(BULK);
    let at = (content.index(), TERM);
    let written = exchange::write_store(&disk, dir, &content.rewrite(), at, None);
    written.map(|_| ()).map_err(|error| Failure::new(go::chain(&error)))
}

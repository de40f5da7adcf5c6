//! What the raft log of a data directory says.

use std::path::Path;

use prost::Message;
use proto::etcdserverpb::InternalRaftRequest;
use proto::{raftpb, v2pb};
use serde::Serialize;
use types::{Entry, EntryKind, LeaseHex};
use vfs::{Disk, OsDisk};
use wal::Wal;

/// How many of the last entries are shown.
const SHOWN_MAX: usize = 10;
/// How much of a key is shown, in bytes.
const KEY_BYTES_MAX: usize = 60;

/// The log of a member.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    pub member_id: u64,
    pub cluster_id: u64,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    /// The newest snapshot the log knows of.
    pub snapshot_index: u64,
    pub snapshot_term: u64,
    pub last_index: u64,
    pub segments: usize,
    pub bytes: u64,
    pub last_entries: Vec<Shown>,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub index: u64,
    pub term: u64,
    pub what: String,
}

/// Reads every record of every segment, comparing their checksums.
pub fn read(dir: &Path) -> Result<Log, String> {
    let chain = |error: wal::OpenError| go::chain(&error);
    let markers = Wal::valid_markers(&OsDisk, dir).map_err(chain)?;
    let newest = markers.last().cloned().unwrap_or_default();
    // From the oldest on, so that there are entries to show right after a snapshot too.
    let oldest = markers.first().cloned().unwrap_or_default();
    let read = Wal::read(&OsDisk, dir, &oldest).or_else(|_| Wal::read(&OsDisk, dir, &newest));
    let read = read.map_err(chain)?;
    let identity = v2pb::Metadata::decode(read.metadata.clone())
        .map_err(|_| format!("the log in {} does not say which member wrote it", dir.display()))?;
    let first_shown = read.entries.len().saturating_sub(SHOWN_MAX);
    let (segments, bytes) = segments(dir);
    Ok(Log {
        member_id: identity.node_id.unwrap_or_default(),
        cluster_id: identity.cluster_id.unwrap_or_default(),
        term: read.hard_state.term,
        vote: read.hard_state.vote,
        commit: read.hard_state.commit,
        snapshot_index: newest.index,
        snapshot_term: newest.term,
        last_index: read.entries.last().map_or(newest.index, |entry| entry.index).max(newest.index),
        segments,
        bytes,
        last_entries: read.entries[first_shown..].iter().map(shown).collect(),
    })
}

fn segments(dir: &Path) -> (usize, u64) {
    let names = OsDisk.list(dir).unwrap_or_default();
    let names: Vec<_> = names.iter().filter(|name| name.ends_with(".wal")).collect();
    let bytes = |name: &&String| OsDisk.open_read(&dir.join(name)).and_then(|file| file.len());
    (names.len(), names.iter().filter_map(|name| bytes(name).ok()).sum())
}

fn shown(entry: &Entry) -> Shown {
    let what = match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => "empty: a leader began its term".to_owned(),
        EntryKind::Normal => InternalRaftRequest::decode(entry.data.clone())
            .map_or_else(|_| "a request that cannot be read".to_owned(), |request| told(&request)),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => change(entry),
    };
    Shown { index: entry.index, term: entry.term, what }
}

fn change(entry: &Entry) -> String {
    let Ok(change) = raftpb::ConfChange::decode(entry.data.clone()) else {
        return "a change of members".to_owned();
    };
    let what = match change.r#type() {
        raftpb::ConfChangeType::ConfChangeAddNode => "add member",
        raftpb::ConfChangeType::ConfChangeRemoveNode => "remove member",
        raftpb::ConfChangeType::ConfChangeUpdateNode => "update member",
        raftpb::ConfChangeType::ConfChangeAddLearnerNode => "add learner",
    };
    format!("{what} {:x}", change.node_id())
}

/// A request in a few words. Values and passwords are left out.
fn told(request: &InternalRaftRequest) -> String {
    if let Some(put) = &request.put {
        return format!("put {} ({} bytes)", key(&put.key), put.value.len());
    }
    if let Some(delete) = &request.delete_range {
        let end = if delete.range_end.is_empty() { "" } else { ", a range" };
        return format!("delete {}{end}", key(&delete.key));
    }
    if let Some(txn) = &request.txn {
        let (compares, then, or) = (txn.compare.len(), txn.success.len(), txn.failure.len());
        return format!("txn: {compares} compares, {then} or {or} operations");
    }
    if let Some(compaction) = &request.compaction {
        return format!("compact to revision {}", compaction.revision);
    }
    if let Some(lease) = &request.lease_grant {
        return format!("grant lease {:x} for {} s", LeaseHex(lease.id), lease.ttl);
    }
    if let Some(lease) = &request.lease_revoke {
        return format!("revoke lease {:x}", LeaseHex(lease.id));
    }
    if let Some(version) = &request.cluster_version_set {
        return format!("set cluster version {}", version.ver);
    }
    if let Some(member) = &request.cluster_member_attr_set {
        return format!("publish attributes of member {:x}", member.member_id);
    }
    let named = [
        ("alarm", request.alarm.is_some()),
        ("lease checkpoint", request.lease_checkpoint.is_some()),
        ("auth enable", request.auth_enable.is_some()),
        ("auth disable", request.auth_disable.is_some()),
        ("authenticate", request.authenticate.is_some()),
        ("user add", request.auth_user_add.is_some()),
        ("user delete", request.auth_user_delete.is_some()),
        ("user change password", request.auth_user_change_password.is_some()),
        ("user grant role", request.auth_user_grant_role.is_some()),
        ("user revoke role", request.auth_user_revoke_role.is_some()),
        ("role add", request.auth_role_add.is_some()),
        ("role delete", request.auth_role_delete.is_some()),
        ("role grant permission", request.auth_role_grant_permission.is_some()),
        ("role revoke permission", request.auth_role_revoke_permission.is_some()),
        ("set downgrade", request.downgrade_info_set.is_some()),
    ];
    let found = named.iter().find(|(_, there)| *there);
    found.map_or("another request", |(name, _)| name).to_owned()
}

fn key(key: &[u8]) -> String {
    let shown = &key[..key.len().min(KEY_BYTES_MAX)];
    let more = if shown.len() < key.len() { "..." } else { "" };
    format!("{}{more}", go::quote(shown))
}

//! `backup` of a Go member's directory: a copy that belongs to nobody, from which `etcd --force-new-cluster` makes a
//! cluster of one.
//!
//! What clients of API v2 have stored is in the `.snap` file and in the log behind it; what those of API v3 have stored is
//! in the database, and comes along only when asked for. Member and cluster get new ids. Entries of the log that speak of
//! members become empty ones, so that all others keep their numbers, which the database counts by.

use std::path::PathBuf;
use std::sync::Arc;

use apply::Member;
use bolt::{Bolt, Layout, Rewrite, Rows, Source, SourceError, names, write_file};
use bytes::Bytes;
use exchange::{SnapFile, read_snap_file, snap_file, with_lone_member};
use prost::Message as _;
use proto::{etcdserverpb as pb, v2pb};
use types::{ConfState, Entry, EntryKind};
use vfs::Disk;
use wal::{Marker, Wal};

use crate::found::io;
use crate::{Dirs, TakeoverError};

/// What is wanted of a backup.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// What clients of API v3 have stored comes along.
    pub with_v3: bool,
    /// The ids of member and cluster, which nobody else has.
    pub ids: (u64, u64),
    /// Sizes of the raft log.
    pub wal: wal::Options,
}

/// What is left out of the log, for those who want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A change of members.
    ConfChange,
    /// A member's name and addresses, by the path they had in the v2 store.
    Attributes(String),
    /// A member's name and addresses, as 3.6 writes them.
    MemberAttributes,
    /// A request of API v3.
    V3,
}

/// Copies `from` to `to`, whose directories hold nothing yet. Whoever calls holds the lock of the database when
/// [`BackupOptions::with_v3`] is set, and has seen to it that the directory of `.snap` files is there.
///
/// # Errors
/// [`TakeoverError`]; what was written so far is no backup.
pub fn back_up(
    disk: &Arc<dyn Disk>,
    from: &Dirs,
    to: &Dirs,
    options: &BackupOptions,
    told: &mut dyn FnMut(LeftOut),
) -> Result<(), TakeoverError> {
    let marker = copy_snap(&**disk, from, to, options.ids.0)?;
    let mut log = Wal::read(&**disk, &from.wal, &marker)?;
    for entry in &mut log.entries {
        if let Some(left_out) = left_out(entry, options.with_v3) {
            told(left_out);
            entry.kind = EntryKind::Normal;
            entry.data = Bytes::new();
        }
    }
    write_database(&**disk, from, to, log.hard_state.commit, options.with_v3)?;
    let (node_id, cluster_id) = options.ids;
    let metadata = v2pb::Metadata { node_id: Some(node_id), cluster_id: Some(cluster_id) };
    let metadata = metadata.encode_to_vec();
    let mut wal = Wal::create_with(disk.clone(), &to.wal, &metadata, options.wal)?;
    if marker != Marker::default() {
        wal.append_marker(&marker)?;
    }
    wal.append(Some(&log.hard_state), &log.entries)?;
    Ok(wal.sync()?)
}

/// What `--force-new-cluster` gives to a member that it makes.
const PEER_URL: &str = "http://localhost:2380";

/// Copies the newest `.snap` file that the log knows of, and gives its place in the log. In the copy the new member is
/// the only one: etcd 3.4 cannot remove all who are named there before it has added itself.
fn copy_snap(disk: &dyn Disk, from: &Dirs, to: &Dirs, id: u64) -> Result<Marker, TakeoverError> {
    let member = Member { id, peer_urls: vec![PEER_URL.to_owned()], ..Member::default() };
    let mut markers = Wal::valid_markers(disk, &from.wal)?;
    markers.sort_by_key(|marker| std::cmp::Reverse(marker.index));
    for marker in markers {
        let name = SnapFile::name(marker.index, marker.term);
        let Ok(snap) = read_snap_file(disk, &from.snap.join(&name)) else { continue };
        let Some(json) = with_lone_member(&snap.json, &member) else { continue };
        let conf_state = ConfState { voters: vec![id], learners: Vec::new() };
        let bytes =
            snap_file(&SnapFile { conf_state: conf_state.clone(), json: json.into(), ..snap });
        let target = to.snap.join(&name);
        let file = io("making", &target, disk.create(&target))?;
        io("writing", &target, file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()))?;
        io("syncing", &to.snap, disk.sync_dir(&to.snap))?;
        let conf_state = marker.conf_state.is_some().then_some(conf_state);
        return Ok(Marker { conf_state, ..marker });
    }
    Ok(Marker::default())
}

/// Whether an entry has no place in another cluster.
fn left_out(entry: &Entry, with_v3: bool) -> Option<LeftOut> {
    if entry.kind != EntryKind::Normal {
        return Some(LeftOut::ConfChange);
    }
    if let Some(request) = v2_request(&entry.data) {
        let names_member = request.method() == "PUT" && is_of_attributes(request.path());
        return names_member.then(|| LeftOut::Attributes(request.path().to_owned()));
    }
    let request = pb::InternalRaftRequest::decode(entry.data.clone()).ok()?;
    if request.cluster_member_attr_set.is_some() {
        return Some(LeftOut::MemberAttributes);
    }
    (!with_v3 && request.header.is_some()).then_some(LeftOut::V3)
}

/// A request of API v2, which has a method; one of API v3 has nothing in that place.
fn v2_request(data: &Bytes) -> Option<v2pb::Request> {
    let request = v2pb::Request::decode(data.clone()).ok()?;
    (!request.method().is_empty()).then_some(request)
}

/// `/0/members/8e9e05c52164694d/attributes`.
fn is_of_attributes(path: &str) -> bool {
    let id = path.strip_prefix("/0/members/").and_then(|rest| rest.strip_suffix("/attributes"));
    id.is_some_and(|id| {
        (1..=16).contains(&id.len()) && id.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn write_database(
    disk: &dyn Disk,
    from: &Dirs,
    to: &Dirs,
    commit: u64,
    with_v3: bool,
) -> Result<(), TakeoverError> {
    let source: Box<dyn Source> = if with_v3 {
        let path = from.database();
        let file = io("opening", &path, disk.open_read(&path))?;
        let bolt = Bolt::open(file);
        let bolt = bolt.map_err(|source| TakeoverError::Bolt { file: path, source })?;
        let mut rewrite = Rewrite::new(bolt);
        for bucket in [names::MEMBERS, names::MEMBERS_REMOVED, names::CLUSTER] {
            rewrite.empty(bucket);
        }
        Box::new(rewrite)
    } else {
        let mut rewrite = Rewrite::new(Nothing);
        rewrite.set(names::META, names::CONSISTENT_INDEX, &commit.to_be_bytes());
        Box::new(rewrite)
    };
    let path: PathBuf = to.database();
    let file = io("making", &path, disk.create(&path))?;
    let written = write_file(&*file, &*source, Layout::default());
    written.map_err(|source| TakeoverError::Write { file: path, source })?;
    io("syncing", &to.snap, disk.sync_dir(&to.snap))
}

/// A database without anything.
struct Nothing;

impl Source for Nothing {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(Vec::new())
    }

    fn rows(&self, _bucket: &Bytes) -> Rows {
        Box::new(std::iter::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: Vec<u8>, without_v3: Option<LeftOut>, with_v3: Option<LeftOut>) {
        let entry = Entry { term: 1, index: 1, kind: EntryKind::Normal, data: data.into() };
        assert_eq!(left_out(&entry, false), without_v3);
        assert_eq!(left_out(&entry, true), with_v3);
    }

    fn v2(method: &str, path: &str) -> Vec<u8> {
        let request = v2pb::Request {
            id: Some(7),
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            ..v2pb::Request::default()
        };
        request.encode_to_vec()
    }

    #[test]
    fn what_clients_of_api_v2_stored_stays_and_what_members_said_of_themselves_goes() {
        check(v2("PUT", "/1/a"), None, None);
        check(v2("DELETE", "/1/a"), None, None);
        let path = "/0/members/8e9e05c52164694d/attributes";
        let attributes = Some(LeftOut::Attributes(path.to_owned()));
        check(v2("PUT", path), attributes.clone(), attributes);
        check(v2("PUT", "/0/members/x/attributes"), None, None);
        check(Vec::new(), None, None);
    }

    #[test]
    fn what_clients_of_api_v3_stored_stays_only_when_it_is_wanted() {
        let request = pb::InternalRaftRequest {
            header: Some(pb::RequestHeader { id: 7, ..pb::RequestHeader::default() }),
            put: Some(pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() }),
            ..pb::InternalRaftRequest::default()
        };
        check(request.encode_to_vec(), Some(LeftOut::V3), None);
    }

    #[test]
    fn a_change_of_members_goes() {
        let data = Bytes::from_static(b"\x08\x01");
        let entry = Entry { term: 1, index: 1, kind: EntryKind::ConfChange, data };
        assert_eq!(left_out(&entry, true), Some(LeftOut::ConfChange));
    }
}

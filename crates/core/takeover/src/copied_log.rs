//! The raft log of a copy: the entries of a member's log without what has no place in another cluster, for a new member
//! that is the only one.

use std::sync::Arc;

use apply::Member;
use bytes::Bytes;
use prost::Message as _;
use proto::{etcdserverpb as pb, v2pb};
use types::{Entry, EntryKind, HardState};
use vfs::Disk;
use wal::{Marker, Wal};

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

/// Makes empty what has no place in another cluster.
pub(crate) fn blank(entries: &mut [Entry], with_v3: bool, told: &mut dyn FnMut(LeftOut)) {
    for entry in entries {
        if let Some(left_out) = left_out(entry, with_v3) {
            told(left_out);
            entry.kind = EntryKind::Normal;
            entry.data = Bytes::new();
        }
    }
}

/// Writes the log of the copy, which begins behind `marker`.
pub(crate) fn write_log(
    disk: &Arc<dyn Disk>,
    to: &Dirs,
    options: &BackupOptions,
    marker: &Marker,
    hard_state: &HardState,
    entries: &[Entry],
) -> Result<(), TakeoverError> {
    let (node_id, cluster_id) = options.ids;
    let metadata = v2pb::Metadata { node_id: Some(node_id), cluster_id: Some(cluster_id) };
    let metadata = metadata.encode_to_vec();
    let mut wal = Wal::create_with(disk.clone(), &to.wal, &metadata, options.wal)?;
    if *marker != Marker::default() {
        wal.append_marker(marker)?;
    }
    wal.append(Some(hard_state), entries)?;
    Ok(wal.sync()?)
}

/// The one member of the copy.
pub(crate) fn lone_member(id: u64) -> Member {
    Member { id, peer_urls: vec![PEER_URL.to_owned()], ..Member::default() }
}

/// What `--force-new-cluster` gives to a member that it makes.
const PEER_URL: &str = "http://localhost:2380";

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

//! Requests on their way into the log: made in one place, so that none leaves without its header.

use apply::Asker;
use bytes::Bytes;
use consensus::Scope;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::raftpb::ConfChange;
use proto::v2pb;
use types::EntryKind;

/// A request on its way into the log.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// By which its proposer is told what came of it.
    pub id: u64,
    /// Who may take it.
    pub scope: Scope,
    /// What `data` holds.
    pub kind: EntryKind,
    /// The entry's payload.
    pub data: Bytes,
}

impl Proposal {
    /// A request, on behalf of a user.
    pub fn of(
        mut request: pb::InternalRaftRequest,
        id: u64,
        scope: Scope,
        asker: Asker,
    ) -> Proposal {
        let Asker { user: username, auth_revision } = asker;
        request.header = Some(pb::RequestHeader { id, username, auth_revision });
        let data = request.encode_to_vec().into();
        Proposal { id, scope, kind: EntryKind::Normal, data }
    }

    /// A `PUT` of the v2 store, in which members of 3.4 tell each other who they are and which version their
    /// cluster has. They end at the form that [`Proposal::of`] makes of the same (`docs/etcd/peer-protocol.md`
    /// 9.4).
    pub fn of_v2_put(path: String, value: String, id: u64) -> Proposal {
        let request = v2pb::Request {
            id: Some(id),
            method: Some("PUT".to_owned()),
            path: Some(path),
            val: Some(value),
            ..Default::default()
        };
        let data = request.encode_to_vec().into();
        Proposal { id, scope: Scope::Anyone, kind: EntryKind::Normal, data }
    }

    /// A request of the API v2, in Go's form, which writes every field. It bears the time of its proposer, as Go's do
    /// not: by that it is told from theirs.
    pub fn of_v2(request: v2::Request, id: u64, scope: Scope) -> Proposal {
        let data = v2pb::Request {
            id: Some(id),
            method: Some(request.method.name().to_owned()),
            path: Some(request.path),
            val: Some(request.value),
            dir: Some(request.dir),
            prev_value: Some(request.previous_value),
            prev_index: Some(request.previous_index),
            prev_exist: request.previous_exists,
            expiration: Some(request.ends),
            wait: Some(false),
            since: Some(0),
            recursive: Some(request.recursive),
            sorted: Some(false),
            quorum: Some(request.method == v2::Method::QGet),
            time: Some(request.time),
            stream: Some(false),
            refresh: request.refresh.then_some(true),
        };
        let data = data.encode_to_vec().into();
        Proposal { id, scope, kind: EntryKind::Normal, data }
    }

    /// A configuration change. Its id is set here.
    pub fn of_change(change: ConfChange, id: u64) -> Proposal {
        let change = ConfChange { id: Some(id), ..change };
        let data = change.encode_to_vec().into();
        Proposal { id, scope: Scope::Anyone, kind: EntryKind::ConfChange, data }
    }
}

//! The Cluster service, for a cluster of one.
//!
//! Headers of this service show no revision (`docs/etcd/api.md` 3).

use apply::{Answer, ChangeContext, Member};
use auth::Permitted;
use proto::etcdserverpb as pb;
use proto::raftpb::{ConfChange, ConfChangeType};
use rpc::{Call, Rpc};
use types::{Code, Refusal};

use crate::desk::Desk;
use crate::services::Methods;
use crate::services::kv::unexpected;

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::ClusterMemberAdd, add);
    methods.unary(Rpc::ClusterMemberRemove, remove);
    methods.unary(Rpc::ClusterMemberUpdate, update);
    methods.unary(Rpc::ClusterMemberList, list);
    methods.unary(Rpc::ClusterMemberPromote, promote);
}

fn members(desk: &Desk) -> Vec<pb::Member> {
    desk.cluster().members.to_wire()
}

async fn add(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberAddRequest>,
) -> Result<pb::MemberAddResponse, Refusal> {
    let request = permitted.message();
    let taken = desk
        .cluster()
        .members
        .members()
        .any(|member| member.peer_urls.iter().any(|url| request.peer_ur_ls.contains(url)));
    if taken {
        return Err(Refusal::PeerURLExist);
    }
    // Added without a way to reach it, the new member would take the quorum with it.
    let text = "etcdserver: this release serves one member; others cannot be added to it yet";
    Err(Refusal::Other(Code::Unimplemented, text.into()))
}

async fn remove(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberRemoveRequest>,
) -> Result<pb::MemberRemoveResponse, Refusal> {
    let request = permitted.message();
    if desk.cluster().members.get(request.id).is_none() {
        return Err(Refusal::MemberNotFound);
    }
    // Without its only member there is no cluster.
    Err(Refusal::MemberNotEnoughStarted)
}

async fn update(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberUpdateRequest>,
) -> Result<pb::MemberUpdateResponse, Refusal> {
    let request = permitted.message();
    let member =
        Member { id: request.id, peer_urls: request.peer_ur_ls.clone(), ..Default::default() };
    let context = ChangeContext { member, is_promote: false };
    let context = serde_json::to_vec(&context).expect("strings and numbers always serialize");
    let change = ConfChange {
        id: None,
        r#type: Some(ConfChangeType::ConfChangeUpdateNode as i32),
        node_id: Some(request.id),
        context: Some(context.into()),
    };
    match desk.propose_change(&permitted, change).await? {
        Answer::Members { members, .. } => {
            let members = members.clone();
            Ok(pb::MemberUpdateResponse { header: Some(desk.header(0)), members })
        }
        other => Err(unexpected(&other)),
    }
}

async fn list(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberListRequest>,
) -> Result<pb::MemberListResponse, Refusal> {
    let request = permitted.message();
    if request.linearizable {
        desk.barrier().await?;
    }
    Ok(pb::MemberListResponse { header: Some(desk.header(0)), members: members(&desk) })
}

async fn promote(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberPromoteRequest>,
) -> Result<pb::MemberPromoteResponse, Refusal> {
    let request = permitted.message();
    let cluster = desk.cluster();
    match cluster.members.get(request.id) {
        None => Err(Refusal::MemberNotFound),
        Some(member) if !member.is_learner => Err(Refusal::MemberNotLearner),
        Some(_) => Err(Refusal::LearnerNotReady),
    }
}

//! The Cluster service, for a cluster of one.
//!
//! Headers of this service show no revision (`reference/api.md` 3).

use apply::{Answer, ChangeContext, Member};
use node::Node;
use proto::etcdserverpb as pb;
use proto::raftpb::{ConfChange, ConfChangeType};
use rpc::{Call, Router, Rpc};
use types::{Code, Refusal};

use crate::door;
use crate::services::kv::unexpected;

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::ClusterMemberAdd.path(), move |call, request| {
        add(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::ClusterMemberRemove.path(), move |call, request| {
        remove(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::ClusterMemberUpdate.path(), move |call, request| {
        update(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::ClusterMemberList.path(), move |call, request| {
        list(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::ClusterMemberPromote.path(), move |call, request| {
        promote(at.clone(), call, request)
    });
}

fn members(node: &Node) -> Vec<pb::Member> {
    node.cluster().members.iter().map(Member::to_wire).collect()
}

/// Peer URLs that could not be parsed by others must not get into the log
/// (`reference/observed.md` A 3).
fn check_urls(urls: &[String]) -> Result<(), Refusal> {
    let parses = |url: &String| {
        let rest = ["http://", "https://", "unix://", "unixs://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        rest.is_some_and(|host| !host.is_empty() && !host.contains('/') && host.contains(':'))
    };
    if urls.is_empty() || !urls.iter().all(parses) {
        return Err(Refusal::MemberBadURLs);
    }
    Ok(())
}

async fn add(
    node: Node,
    call: Call,
    request: pb::MemberAddRequest,
) -> Result<pb::MemberAddResponse, Refusal> {
    door::enter(&node, &call)?;
    check_urls(&request.peer_ur_ls)?;
    let taken = node
        .cluster()
        .members
        .iter()
        .any(|member| member.peer_urls.iter().any(|url| request.peer_ur_ls.contains(url)));
    if taken {
        return Err(Refusal::PeerURLExist);
    }
    // Added without a way to reach it, the new member would take the quorum with it.
    let text = "etcdserver: this release serves one member; others cannot be added to it yet";
    Err(Refusal::Other(Code::Unimplemented, text.into()))
}

async fn remove(
    node: Node,
    call: Call,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, Refusal> {
    door::enter(&node, &call)?;
    if !node.cluster().members.iter().any(|member| member.id == request.id) {
        return Err(Refusal::MemberNotFound);
    }
    // Without its only member there is no cluster.
    Err(Refusal::MemberNotEnoughStarted)
}

async fn update(
    node: Node,
    call: Call,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, Refusal> {
    door::enter(&node, &call)?;
    check_urls(&request.peer_ur_ls)?;
    let member = Member { id: request.id, peer_urls: request.peer_ur_ls, ..Default::default() };
    let context = ChangeContext { member, is_promote: false };
    let context = serde_json::to_vec(&context).expect("strings and numbers always serialize");
    let change = ConfChange {
        id: None,
        r#type: Some(ConfChangeType::ConfChangeUpdateNode as i32),
        node_id: Some(request.id),
        context: Some(context.into()),
    };
    match node.propose_change(change).await? {
        Answer::Members { members, .. } => {
            let members = members.clone();
            Ok(pb::MemberUpdateResponse { header: Some(node.header(0)), members })
        }
        other => Err(unexpected(&other)),
    }
}

async fn list(
    node: Node,
    call: Call,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Refusal> {
    door::enter(&node, &call)?;
    if request.linearizable {
        node.barrier().await?;
    }
    Ok(pb::MemberListResponse { header: Some(node.header(0)), members: members(&node) })
}

async fn promote(
    node: Node,
    call: Call,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, Refusal> {
    door::enter(&node, &call)?;
    let cluster = node.cluster();
    match cluster.members.iter().find(|member| member.id == request.id) {
        None => Err(Refusal::MemberNotFound),
        Some(member) if !member.is_learner => Err(Refusal::MemberNotLearner),
        Some(_) => Err(Refusal::LearnerNotReady),
    }
}

//! The Cluster service: who belongs to the cluster, and every change of that.
//!
//! A change is checked here against what this member sees of the others (`reconfigure`), proposed, and decided once
//! more when it is applied. Headers of this service show no revision (`docs/etcd/api.md` 3).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::{Answer, ChangeContext, Member};
use auth::Permitted;
use member::added_member_id;
use peer::{MemberJson, PromoteRefusal};
use proto::etcdserverpb as pb;
use proto::raftpb::{ConfChange, ConfChangeType};
use rpc::{Call, Rpc};
use types::{MemberId, Refusal};

use crate::desk::Desk;
use crate::door;
use crate::leader;
use crate::proposals::ChangesMembers;
use crate::services::Methods;
use crate::services::kv::unexpected;
use crate::services::reconfigure::{Health, is_ready};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::ClusterMemberAdd, add);
    methods.unary(Rpc::ClusterMemberRemove, remove);
    methods.unary(Rpc::ClusterMemberUpdate, update);
    methods.unary(Rpc::ClusterMemberList, list);
    methods.unary(Rpc::ClusterMemberPromote, promote);
}

async fn add(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberAddRequest>,
) -> Result<pb::MemberAddResponse, Refusal> {
    member_added(&desk, &permitted).await
}

/// Adds a member.
///
/// # Errors
/// Those of the call.
pub(crate) async fn member_added(
    desk: &Desk,
    permitted: &Permitted<pb::MemberAddRequest>,
) -> Result<pb::MemberAddResponse, Refusal> {
    let request = permitted.message();
    let is_learner = request.is_learner;
    checked(desk, |health| health.may_add(is_learner))?;
    let mut peer_urls = request.peer_ur_ls.clone();
    peer_urls.sort_unstable();
    let id = added_member_id(&peer_urls, unix_seconds());
    let member = Member { id, peer_urls, is_learner, ..Member::default() };
    let added = member.to_wire();
    let kind = match is_learner {
        true => ConfChangeType::ConfChangeAddLearnerNode,
        false => ConfChangeType::ConfChangeAddNode,
    };
    let members = change(desk, permitted, kind, id, Some(member)).await?;
    Ok(pb::MemberAddResponse { header: Some(desk.header(0)), member: Some(added), members })
}

async fn remove(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberRemoveRequest>,
) -> Result<pb::MemberRemoveResponse, Refusal> {
    member_removed(&desk, &permitted).await
}

/// Removes a member.
///
/// # Errors
/// Those of the call.
pub(crate) async fn member_removed(
    desk: &Desk,
    permitted: &Permitted<pb::MemberRemoveRequest>,
) -> Result<pb::MemberRemoveResponse, Refusal> {
    let id = permitted.message().id;
    checked(desk, |health| health.may_remove(id))?;
    let kind = ConfChangeType::ConfChangeRemoveNode;
    let members = change(desk, permitted, kind, id, None).await?;
    Ok(pb::MemberRemoveResponse { header: Some(desk.header(0)), members })
}

async fn update(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberUpdateRequest>,
) -> Result<pb::MemberUpdateResponse, Refusal> {
    member_updated(&desk, &permitted).await
}

/// Gives a member other peer URLs.
///
/// # Errors
/// Those of the call.
pub(crate) async fn member_updated(
    desk: &Desk,
    permitted: &Permitted<pb::MemberUpdateRequest>,
) -> Result<pb::MemberUpdateResponse, Refusal> {
    let pb::MemberUpdateRequest { id, peer_ur_ls } = permitted.message().clone();
    let member = Member { id, peer_urls: peer_ur_ls, ..Member::default() };
    let kind = ConfChangeType::ConfChangeUpdateNode;
    let members = change(desk, permitted, kind, id, Some(member)).await?;
    Ok(pb::MemberUpdateResponse { header: Some(desk.header(0)), members })
}

async fn list(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MemberListRequest>,
) -> Result<pb::MemberListResponse, Refusal> {
    if permitted.message().linearizable {
        desk.barrier().await?;
    }
    let members = desk.cluster().members.to_wire();
    Ok(pb::MemberListResponse { header: Some(desk.header(0)), members })
}

/// Only the leader knows how far a learner is, so whoever else is asked hands the question on.
async fn promote(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::MemberPromoteRequest>,
) -> Result<pb::MemberPromoteResponse, Refusal> {
    let members = match promote_here(&desk, &permitted).await {
        Err(Refusal::NotLeader) => {
            let token = door::token(&call).and_then(|token| std::str::from_utf8(token).ok());
            promote_there(&desk, permitted.message().id, token).await?
        }
        promoted => promoted?,
    };
    Ok(pb::MemberPromoteResponse { header: Some(desk.header(0)), members })
}

/// Makes a learner a voter for another member, which was asked by whoever holds this token. Answers with all
/// members.
///
/// # Errors
/// Those of the call itself; `NotLeader`.
pub(crate) async fn promote_for(
    desk: &Desk,
    member: MemberId,
    token: Option<String>,
) -> Result<Vec<pb::Member>, Refusal> {
    let request = pb::MemberPromoteRequest { id: member };
    let permitted = desk.admit_for(Rpc::ClusterMemberPromote, token, request).await?;
    promote_here(desk, &permitted).await
}

/// Makes a learner a voter, as the leader.
async fn promote_here(
    desk: &Desk,
    permitted: &Permitted<pb::MemberPromoteRequest>,
) -> Result<Vec<pb::Member>, Refusal> {
    let promoted = promote_as_leader(desk, permitted).await;
    let server = &desk.metrics().server;
    match &promoted {
        Ok(_) => server.learner_promote_successes.inc(),
        Err(Refusal::NotLeader) => {}
        Err(refusal) => server.learner_promote_failures.with(&[reason(refusal)]).inc(),
    }
    promoted
}

/// A failed promotion's reason as etcd counts it.
fn reason(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::MemberNotFound => "membership: ID not found",
        Refusal::MemberNotLearner => "membership: can only promote a learner member",
        other => other.message(),
    }
}

async fn promote_as_leader(
    desk: &Desk,
    permitted: &Permitted<pb::MemberPromoteRequest>,
) -> Result<Vec<pb::Member>, Refusal> {
    let id = permitted.message().id;
    leader::caught_up(desk.node()).await?;
    if !desk.node().is_leader() {
        return Err(Refusal::NotLeader);
    }
    let Some(is_learner) = desk.cluster().members.get(id).map(|member| member.is_learner) else {
        return Err(Refusal::MemberNotFound);
    };
    // etcd asks how far anybody is before it asks whether that is a learner: a voter that never started is not ready.
    is_ready(&desk.progress(permitted), desk.member(), id)?;
    checked(desk, |health| health.may_promote())?;
    if !is_learner {
        return Err(Refusal::MemberNotLearner);
    }
    let member = Member { id, ..Member::default() };
    let context = ChangeContext { member, is_promote: true };
    propose(desk, permitted, ConfChangeType::ConfChangeAddNode, id, Some(context)).await
}

/// Has the leader make a learner a voter.
async fn promote_there(
    desk: &Desk,
    member: MemberId,
    token: Option<&str>,
) -> Result<Vec<pb::Member>, Refusal> {
    let asker = &desk.network().asker;
    leader::ask(desk, async |url| match asker.promote(url, member, token).await {
        Ok(Ok(members)) => Some(Ok(members.into_iter().map(shown).collect())),
        Ok(Err(PromoteRefusal::NotFound)) => Some(Err(Refusal::MemberNotFound)),
        Ok(Err(PromoteRefusal::NotLearner)) => Some(Err(Refusal::MemberNotLearner)),
        Ok(Err(PromoteRefusal::NotReady)) => Some(Err(Refusal::LearnerNotReady)),
        // Whoever leads next may do better.
        Ok(Err(PromoteRefusal::Other(_))) | Err(_) => None,
    })
    .await
}

fn shown(member: MemberJson) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls.unwrap_or_default(),
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}

/// Asks whether a change is safe, where it is to be asked (`--strict-reconfig-check`).
fn checked(
    desk: &Desk,
    check: impl FnOnce(&Health<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if !desk.config().strict_reconfig_check {
        return Ok(());
    }
    let now = Instant::now();
    let reached_for = |id| -> Option<Duration> {
        desk.network().active_since(id).map(|since| now.saturating_duration_since(since))
    };
    let cluster = desk.cluster();
    check(&Health { members: &cluster.members, reached_for: &reached_for })
}

async fn change<M: ChangesMembers>(
    desk: &Desk,
    permitted: &Permitted<M>,
    kind: ConfChangeType,
    id: MemberId,
    member: Option<Member>,
) -> Result<Vec<pb::Member>, Refusal> {
    let context = member.map(|member| ChangeContext { member, is_promote: false });
    propose(desk, permitted, kind, id, context).await
}

async fn propose<M: ChangesMembers>(
    desk: &Desk,
    permitted: &Permitted<M>,
    kind: ConfChangeType,
    id: MemberId,
    context: Option<ChangeContext>,
) -> Result<Vec<pb::Member>, Refusal> {
    let json =
        |context| serde_json::to_vec(&context).expect("strings and numbers always serialize");
    let change = ConfChange {
        id: None,
        r#type: Some(kind as i32),
        node_id: Some(id),
        context: context.map(|context| json(context).into()),
    };
    match desk.propose_change(permitted, change).await? {
        Answer::Members { members, .. } => Ok(members),
        other => Err(unexpected(&other)),
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

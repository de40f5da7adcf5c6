//! The Maintenance service.

use std::sync::atomic::Ordering;
use std::time::Instant;

use apply::{Answer, CORRUPT, NOSPACE};
use consensus::Role;
use mvcc::HashAnswer;
use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Router, Rpc, Sink};
use types::{Code, Refusal, Version};

use crate::services::kv::unexpected;
use crate::{door, export};

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceAlarm.path(), move |call, request| {
        alarm(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceStatus.path(), move |call, request| {
        status(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceDefragment.path(), move |call, request| {
        defragment(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceHash.path(), move |call, request| {
        hash(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceHashKv.path(), move |call, request| {
        hash_kv(at.clone(), call, request)
    });
    let at = node.clone();
    router.server_stream(Rpc::MaintenanceSnapshot.path(), move |call, message, sink| {
        snapshot(at.clone(), call, message, sink)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceMoveLeader.path(), move |call, request| {
        move_leader(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::MaintenanceDowngrade.path(), move |call, request| {
        downgrade(at.clone(), call, request)
    });
}

async fn alarm(
    node: Node,
    call: Call,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Refusal> {
    door::enter(&node, &call)?;
    // Validated before it is proposed (`reference/observed.md` A 5).
    if pb::alarm_request::AlarmAction::try_from(request.action).is_err() {
        return Err(Refusal::invalid("etcdserver: unknown alarm action"));
    }
    let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
    match node.propose(request).await? {
        Answer::Alarm { revision, alarms } => {
            Ok(pb::AlarmResponse { header: Some(node.header(revision)), alarms })
        }
        other => Err(unexpected(&other)),
    }
}

async fn status(
    node: Node,
    call: Call,
    _request: pb::StatusRequest,
) -> Result<pb::StatusResponse, Refusal> {
    door::enter(&node, &call)?;
    let standing = node.standing();
    let cluster = node.cluster();
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut errors = Vec::new();
    if standing.leader == 0 {
        errors.push(Refusal::NoLeader.message().to_owned());
    }
    errors.extend(cluster.alarms.iter().map(alarm_text));
    Ok(pb::StatusResponse {
        header: Some(node.header(node.revision())),
        version: node.config().server_version.to_owned(),
        db_size: bytes(node.figures().file_bytes.load(Ordering::Acquire)),
        db_size_in_use: bytes(node.figures().live_bytes.load(Ordering::Acquire)),
        leader: standing.leader,
        raft_index: standing.committed,
        raft_term: standing.term,
        raft_applied_index: node.applied(),
        errors,
        is_learner: node.own_member().is_some_and(|member| member.is_learner),
        storage_version: cluster.storage_version.clone().unwrap_or_default(),
        db_size_quota: node.limits().quota_bytes.map_or(0, bytes),
        downgrade_info: Some(pb::DowngradeInfo {
            enabled: cluster.downgrade.enabled,
            target_version: cluster.downgrade.target.clone(),
        }),
    })
}

/// An alarm in protobuf's text form, as Go prints it. Zero fields are left out.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = match alarm.alarm {
        NOSPACE => "NOSPACE".to_owned(),
        CORRUPT => "CORRUPT".to_owned(),
        other => other.to_string(),
    };
    let mut text = String::new();
    if alarm.member_id != 0 {
        text = format!("memberID:{} ", alarm.member_id);
    }
    text + "alarm:" + &kind
}

/// Cleans the store. Reads and writes go on meanwhile, unlike in etcd.
async fn defragment(
    node: Node,
    call: Call,
    _request: pb::DefragmentRequest,
) -> Result<pb::DefragmentResponse, Refusal> {
    door::enter(&node, &call)?;
    let began = Instant::now();
    node.metrics().disk.defrag_inflight.set(1);
    let done = node.defragment().await;
    node.metrics().disk.defrag_inflight.set(0);
    node.metrics().disk.backend_defrag.observe_duration(began.elapsed());
    done.map(|()| pb::DefragmentResponse { header: None })
}

async fn hash(
    node: Node,
    call: Call,
    _request: pb::HashRequest,
) -> Result<pb::HashResponse, Refusal> {
    door::enter(&node, &call)?;
    let began = Instant::now();
    let image = export::take(&node).await?;
    let revision = image.revision();
    let hashed = tokio::task::spawn_blocking(move || image.hash()).await;
    let hash = settled(&node, hashed)?;
    node.metrics().mvcc.hash.observe_duration(began.elapsed());
    Ok(pb::HashResponse { header: Some(node.header(revision)), hash })
}

async fn hash_kv(
    node: Node,
    call: Call,
    request: pb::HashKvRequest,
) -> Result<pb::HashKvResponse, Refusal> {
    door::enter(&node, &call)?;
    let began = Instant::now();
    let view = node.view();
    let triple = match view.index.hash_kv(request.revision, &node.compaction_hashes())? {
        HashAnswer::Stored(triple) => triple,
        HashAnswer::Compute(hasher) => {
            let view = view.clone();
            let hashed = tokio::task::spawn_blocking(move || Node::hash(&view, hasher)).await;
            settled(&node, hashed)?
        }
    };
    node.metrics().mvcc.hash_revision.observe_duration(began.elapsed());
    Ok(pb::HashKvResponse {
        header: Some(node.header(view.index.current_revision())),
        hash: triple.hash,
        compact_revision: triple.compact_revision,
        hash_revision: triple.revision,
    })
}

/// The result of work on another thread. A store that cannot be read ends the member.
fn settled<T, E: std::error::Error>(
    node: &Node,
    result: Result<Result<T, E>, tokio::task::JoinError>,
) -> Result<T, Refusal> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            node.fault("reading from the store", &error);
            Err(Refusal::Stopped)
        }
        Err(_) => Err(Refusal::Stopped),
    }
}

async fn snapshot(
    node: Node,
    call: Call,
    message: bytes::Bytes,
    sink: Sink,
) -> Result<(), Refusal> {
    door::enter(&node, &call)?;
    rpc::decode_streamed::<pb::SnapshotRequest>(message)?;
    let began = Instant::now();
    let image = export::take(&node).await?;
    export::send(&node, image, sink).await?;
    node.metrics().disk.backend_snapshot.observe_duration(began.elapsed());
    Ok(())
}

async fn move_leader(
    node: Node,
    call: Call,
    request: pb::MoveLeaderRequest,
) -> Result<pb::MoveLeaderResponse, Refusal> {
    door::enter(&node, &call)?;
    if node.standing().role != Role::Leader {
        return Err(Refusal::NotLeader);
    }
    if request.target_id == node.member() {
        return Ok(pb::MoveLeaderResponse { header: None });
    }
    // A cluster of one has nobody else to lead it.
    Err(Refusal::BadLeaderTransferee)
}

async fn downgrade(
    node: Node,
    call: Call,
    request: pb::DowngradeRequest,
) -> Result<pb::DowngradeResponse, Refusal> {
    use pb::downgrade_request::DowngradeAction;
    door::enter(&node, &call)?;
    let answer = |version: Option<Version>| pb::DowngradeResponse {
        header: Some(node.header(node.revision())),
        version: version.map(Version::short).unwrap_or_default(),
    };
    let cluster = node.cluster();
    let Ok(action) = DowngradeAction::try_from(request.action) else {
        return Err(Refusal::unknown("etcdserver: unknown method"));
    };
    if action == DowngradeAction::Cancel {
        return Ok(answer(cluster.version));
    }
    let target: Version =
        request.version.parse().map_err(|_| Refusal::WrongDowngradeVersionFormat)?;
    node.barrier().await?;
    let version = cluster.version.ok_or(Refusal::ClusterVersionUnavailable)?;
    if target.major != version.major || target.minor.checked_add(1) != Some(version.minor) {
        return Err(Refusal::InvalidDowngradeTargetVersion);
    }
    if cluster.downgrade.enabled {
        return Err(Refusal::DowngradeInProcess);
    }
    if action == DowngradeAction::Validate {
        return Ok(answer(Some(version)));
    }
    // Once enabled, older members may come; there are none yet to come to.
    let text = "etcdserver: this release serves one member; it cannot be downgraded in place yet";
    Err(Refusal::Other(Code::Unimplemented, text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_reads_as_go_prints_it() {
        let alarm = |member_id| pb::AlarmMember { member_id, alarm: NOSPACE };
        assert_eq!(alarm_text(&alarm(7)), "memberID:7 alarm:NOSPACE");
        assert_eq!(alarm_text(&alarm(0)), "alarm:NOSPACE");
    }
}

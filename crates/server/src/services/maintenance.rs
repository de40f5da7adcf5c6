//! The Maintenance service.

use std::sync::atomic::Ordering;
use std::time::Instant;

use apply::{Answer, CORRUPT, NOSPACE};
use auth::Permitted;
use consensus::Role;
use mvcc::HashAnswer;
use proto::etcdserverpb as pb;
use rpc::{Call, Rpc, Sink, Turn, aside};
use types::{Code, Refusal, Version};

use crate::desk::Desk;
use crate::export;
use crate::services::Methods;
use crate::services::kv::unexpected;

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::MaintenanceAlarm, alarm);
    methods.unary(Rpc::MaintenanceStatus, status);
    methods.unary(Rpc::MaintenanceDefragment, defragment);
    methods.unary(Rpc::MaintenanceHash, hash);
    methods.unary(Rpc::MaintenanceHashKv, hash_kv);
    methods.server_stream(Rpc::MaintenanceSnapshot, Err, snapshot);
    methods.unary(Rpc::MaintenanceMoveLeader, move_leader);
    methods.unary(Rpc::MaintenanceDowngrade, downgrade);
}

async fn alarm(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::AlarmRequest>,
) -> Result<pb::AlarmResponse, Refusal> {
    match desk.propose(permitted).await? {
        Answer::Alarm { revision, alarms } => {
            Ok(pb::AlarmResponse { header: Some(desk.header(revision)), alarms })
        }
        other => Err(unexpected(&other)),
    }
}

async fn status(
    desk: Desk,
    _call: Call,
    _permitted: Permitted<pb::StatusRequest>,
) -> Result<pb::StatusResponse, Refusal> {
    let standing = desk.standing();
    let cluster = desk.cluster();
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut errors = Vec::new();
    if standing.leader == 0 {
        errors.push(Refusal::NoLeader.message().to_owned());
    }
    errors.extend(cluster.alarms.iter().map(alarm_text));
    errors.extend(desk.figures().damages.load().iter().map(|damage| format!("damaged: {damage}")));
    Ok(pb::StatusResponse {
        header: Some(desk.header(desk.revision())),
        version: desk.config().server_version.to_owned(),
        db_size: bytes(desk.figures().file_bytes.load(Ordering::Acquire)),
        db_size_in_use: bytes(desk.figures().live_bytes.load(Ordering::Acquire)),
        leader: standing.leader,
        raft_index: standing.committed,
        raft_term: standing.term,
        raft_applied_index: desk.applied(),
        errors,
        is_learner: desk.own_member().is_some_and(|member| member.is_learner),
        storage_version: cluster.storage_version.clone().unwrap_or_default(),
        db_size_quota: desk.limits().quota_shown(),
        downgrade_info: Some(pb::DowngradeInfo {
            enabled: cluster.members.downgrade().enabled,
            target_version: cluster.members.downgrade().target.clone(),
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
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::DefragmentRequest>,
) -> Result<pb::DefragmentResponse, Refusal> {
    let began = Instant::now();
    desk.metrics().disk.defrag_inflight.set(1);
    let done = desk.defragment(&permitted).await;
    desk.metrics().disk.defrag_inflight.set(0);
    desk.metrics().disk.backend_defrag.observe_duration(began.elapsed());
    done.map(|()| pb::DefragmentResponse { header: None })
}

async fn hash(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::HashRequest>,
) -> Result<pb::HashResponse, Refusal> {
    let began = Instant::now();
    let turn = Turn::take(Some(&call)).await?;
    let image = export::take(&desk, &permitted).await?;
    let revision = image.revision();
    let hashed = aside(turn, move |_| image.hash()).await?;
    let hash = hashed.map_err(|error| fault(&desk, &error))?;
    desk.metrics().mvcc.hash.observe_duration(began.elapsed());
    Ok(pb::HashResponse { header: Some(desk.header(revision)), hash })
}

async fn hash_kv(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::HashKvRequest>,
) -> Result<pb::HashKvResponse, Refusal> {
    let began = Instant::now();
    let view = desk.view(&permitted);
    let request = permitted.message();
    let triple = match view.index.hash_kv(request.revision, &desk.compaction_hashes())? {
        HashAnswer::Stored(triple) => triple,
        HashAnswer::Compute(hasher) => {
            let view = view.clone();
            let turn = Turn::take(Some(&call)).await?;
            let hashed = aside(turn, move |_| node::Node::hash(&view, hasher)).await?;
            hashed.map_err(|error| fault(&desk, &error))?
        }
    };
    desk.metrics().mvcc.hash_revision.observe_duration(began.elapsed());
    Ok(pb::HashKvResponse {
        header: Some(desk.header(view.index.current_revision())),
        hash: triple.hash,
        compact_revision: triple.compact_revision,
        hash_revision: triple.revision,
    })
}

/// Part of the store cannot be read.
fn fault(desk: &Desk, error: &(dyn std::error::Error + 'static)) -> Refusal {
    desk.fault("reading from the store", error)
}

async fn snapshot(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::SnapshotRequest>,
    sink: Sink,
) -> Result<(), Refusal> {
    let began = Instant::now();
    export::send(&desk, &call, &permitted, sink).await?;
    desk.metrics().disk.backend_snapshot.observe_duration(began.elapsed());
    Ok(())
}

async fn move_leader(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::MoveLeaderRequest>,
) -> Result<pb::MoveLeaderResponse, Refusal> {
    let request = permitted.message();
    if desk.standing().role != Role::Leader {
        return Err(Refusal::NotLeader);
    }
    if request.target_id == desk.member() {
        return Ok(pb::MoveLeaderResponse { header: None });
    }
    // A cluster of one has nobody else to lead it.
    Err(Refusal::BadLeaderTransferee)
}

async fn downgrade(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::DowngradeRequest>,
) -> Result<pb::DowngradeResponse, Refusal> {
    use pb::downgrade_request::DowngradeAction;
    let request = permitted.message();
    let answer = |version: Option<Version>| pb::DowngradeResponse {
        header: Some(desk.header(desk.revision())),
        version: version.map(Version::short).unwrap_or_default(),
    };
    let cluster = desk.cluster();
    let Ok(action) = DowngradeAction::try_from(request.action) else {
        return Err(Refusal::unknown("etcdserver: unknown method"));
    };
    if action == DowngradeAction::Cancel {
        return Ok(answer(cluster.members.version()));
    }
    let target: Version =
        request.version.parse().map_err(|_| Refusal::WrongDowngradeVersionFormat)?;
    desk.barrier().await?;
    let version = cluster.members.version().ok_or(Refusal::ClusterVersionUnavailable)?;
    if target.major != version.major || target.minor.checked_add(1) != Some(version.minor) {
        return Err(Refusal::InvalidDowngradeTargetVersion);
    }
    if cluster.members.downgrade().enabled {
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

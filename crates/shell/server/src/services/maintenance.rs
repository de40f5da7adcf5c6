//! The Maintenance service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apply::{Answer, CORRUPT, Members, NOSPACE, ReadView};
use auth::Permitted;
use mvcc::{HashAnswer, HashTriple};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use rpc::{Call, Rpc, Sink, Turn, Wanted, aside};
use types::{Refusal, Version};

use crate::desk::Desk;
use crate::door::AtLearners;
use crate::export;
use crate::services::kv::unexpected;
use crate::services::{Known, Methods};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::MaintenanceAlarm, alarm);
    methods.unary(Rpc::MaintenanceStatus, status);
    methods.unary(Rpc::MaintenanceDefragment, defragment);
    methods.unary(Rpc::MaintenanceHash, hash);
    methods.unary(Rpc::MaintenanceHashKv, hash_kv);
    let at_learners = AtLearners::Served;
    methods.many::<Known, _, _>(Rpc::MaintenanceSnapshot, at_learners, Err, snapshot);
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
        is_learner: desk.node().is_learner(),
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
    let hashed = aside(turn, move |wanted| image.hash_while(&mut || wanted.is_wanted())).await?;
    let hash = hashed.map_err(|error| fault(&desk, &error))?.ok_or(rpc::Gone)?;
    desk.metrics().mvcc.hash.observe_duration(began.elapsed());
    Ok(pb::HashResponse { header: Some(desk.header(revision)), hash })
}

async fn hash_kv(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::HashKvRequest>,
) -> Result<pb::HashKvResponse, Refusal> {
    let view = desk.view(&permitted);
    let revision = view.index.current_revision();
    let triple = hash_of(&desk, Some(&call), view, permitted.message().revision).await?;
    Ok(pb::HashKvResponse {
        header: Some(desk.header(revision)),
        hash: triple.hash,
        compact_revision: triple.compact_revision,
        hash_revision: triple.revision,
    })
}

/// The store's revision, and the hash of all keys at a revision, 0 for the newest: for another member, which is told
/// whoever its own users are.
///
/// # Errors
/// `Compacted`, `FutureRev`, `Stopped`.
pub(crate) async fn hash_at(desk: &Desk, revision: i64) -> Result<(i64, HashTriple), Refusal> {
    let view = desk.node().view();
    let now = view.index.current_revision();
    Ok((now, hash_of(desk, None, view, revision).await?))
}

async fn hash_of(
    desk: &Desk,
    call: Option<&Call>,
    view: Arc<ReadView>,
    revision: i64,
) -> Result<HashTriple, Refusal> {
    let began = Instant::now();
    let triple = match view.index.hash_kv(revision, &desk.compaction_hashes())? {
        HashAnswer::Stored(triple) => triple,
        HashAnswer::Compute(hasher) => {
            let turn = Turn::take(call).await?;
            let hash = move |wanted: &Wanted| {
                node::Node::hash_while(&view, hasher, &mut || wanted.is_wanted())
            };
            let hashed = aside(turn, hash).await?;
            hashed.map_err(|error| fault(desk, &error))?.ok_or(rpc::Gone)?
        }
    };
    desk.metrics().mvcc.hash_revision.observe_duration(began.elapsed());
    Ok(triple)
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
    let to = permitted.message().target_id;
    if !desk.node().is_leader() {
        return Err(Refusal::NotLeader);
    }
    if desk.cluster().members.get(to).is_none_or(|member| member.is_learner) {
        return Err(Refusal::BadLeaderTransferee);
    }
    if to != desk.member() {
        desk.transfer(&permitted);
    }
    // The old leader gives the transfer up after an election timeout; the new one may just have begun then.
    let until = Instant::now() + 2 * desk.config().election_timeout();
    while desk.standing().leader != to {
        if until <= Instant::now() || desk.is_stopping() {
            let text = "etcdserver: request timed out, leader transfer took too long";
            return Err(Refusal::unknown(text));
        }
        tokio::time::sleep(TRANSFER_LOOKS_EVERY).await;
    }
    Ok(pb::MoveLeaderResponse { header: None })
}

/// How often it is looked whether leadership has moved.
const TRANSFER_LOOKS_EVERY: Duration = Duration::from_millis(5);

/// Begins, calls off or only tries the way down to the minor release before. It has begun when the entry that says so
/// is applied; then the leader lowers the cluster's version, which the storage version follows, and members of that
/// release may join.
async fn downgrade(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::DowngradeRequest>,
) -> Result<pb::DowngradeResponse, Refusal> {
    let (mut request, by) = permitted.split();
    let Ok(action) = DowngradeAction::try_from(request.action) else {
        return Err(Refusal::unknown("etcdserver: unknown method"));
    };
    if action == DowngradeAction::Cancel {
        desk.barrier().await?;
        // As in etcd 3.6 and later, calling off nothing is no mistake.
        if desk.cluster().members.downgrade().enabled {
            desk.propose(desk.readmit(by, request)?).await?;
        }
    } else {
        let target: Version =
            request.version.parse().map_err(|_| Refusal::WrongDowngradeVersionFormat)?;
        desk.barrier().await?;
        downgradable(&desk.cluster().members, target)?;
        if action == DowngradeAction::Enable {
            request.version = target.to_string();
            desk.propose(desk.readmit(by, request)?).await?;
        }
    }
    let version = desk.cluster().members.version();
    Ok(pb::DowngradeResponse {
        header: Some(desk.header(desk.revision())),
        version: version.map(Version::short).unwrap_or_default(),
    })
}

/// Whether the cluster may go down to a version.
fn downgradable(members: &Members, target: Version) -> Result<(), Refusal> {
    let version = members.version().ok_or(Refusal::ClusterVersionUnavailable)?;
    if target.major != version.major || target.minor.checked_add(1) != Some(version.minor) {
        return Err(Refusal::InvalidDowngradeTargetVersion);
    }
    if members.downgrade().enabled {
        return Err(Refusal::DowngradeInProcess);
    }
    Ok(())
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

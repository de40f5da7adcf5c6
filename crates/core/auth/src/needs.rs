//! What each message asks for (`docs/etcd/api.md` 4 to 11, `docs/etcd/apply-semantics.md` 8).
//!
//! A message without a line here cannot be admitted: it does not compile. One whose line says nothing needs
//! root.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use proto::{health, v3electionpb, v3lockpb};
use types::Refusal;

use crate::judge::Judge;

/// A message that somebody asks for something with.
pub trait Needs {
    /// Asks the judge for everything the message needs.
    ///
    /// # Errors
    /// The first refusal.
    fn judged(&self, judge: &Judge<'_>) -> Result<(), Refusal> {
        judge.root()
    }
}

/// Messages with the same needs.
macro_rules! need {
    (root: $($message:ty),* $(,)?) => { $(impl Needs for $message {})* };
    ($ask:expr; $($message:ty),* $(,)?) => {
        $(impl Needs for $message {
            fn judged(&self, judge: &Judge<'_>) -> Result<(), Refusal> {
                let ask: fn(&Self, &Judge<'_>) -> Result<(), Refusal> = $ask;
                ask(self, judge)
            }
        })*
    };
}

need!(root:
    pb::CompactionRequest,
    pb::MemberAddRequest,
    pb::MemberRemoveRequest,
    pb::MemberUpdateRequest,
    pb::MemberPromoteRequest,
    pb::DefragmentRequest,
    pb::HashRequest,
    pb::HashKvRequest,
    pb::SnapshotRequest,
    pb::MoveLeaderRequest,
    pb::DowngradeRequest,
    pb::AuthEnableRequest,
    pb::AuthDisableRequest,
    pb::AuthUserAddRequest,
    pb::AuthUserListRequest,
    pb::AuthUserDeleteRequest,
    pb::AuthUserChangePasswordRequest,
    pb::AuthUserGrantRoleRequest,
    pb::AuthUserRevokeRoleRequest,
    pb::AuthRoleAddRequest,
    pb::AuthRoleListRequest,
    pb::AuthRoleDeleteRequest,
    pb::AuthRoleGrantPermissionRequest,
    pb::AuthRoleRevokePermissionRequest,
);

need!(|_, judge| judge.login();
    pb::LeaseGrantRequest, pb::MemberListRequest, pb::StatusRequest);

// Nothing of the keyspace is in their answers.
need!(|_, _| Ok(());
    pb::AuthStatusRequest, pb::AuthenticateRequest, health::HealthCheckRequest);

// They are made of other requests, and each of those is asked about (`server`, services/inner.rs).
need!(|_, _| Ok(());
    v3lockpb::LockRequest,
    v3lockpb::UnlockRequest,
    v3electionpb::CampaignRequest,
    v3electionpb::ProclaimRequest,
    v3electionpb::LeaderRequest,
    v3electionpb::ResignRequest,
);

need!(|this, judge| judge.root_or_user(&this.name); pb::AuthUserGetRequest);
need!(|this, judge| judge.root_or_role(&this.role); pb::AuthRoleGetRequest);

need!(|this, judge| judge.read(&this.key, &this.range_end); pb::RangeRequest);

need!(|this, judge| {
    judge.write(&this.key, &Bytes::new())?;
    judge.write_lease(this.lease)?;
    if this.prev_kv { judge.read(&this.key, &Bytes::new()) } else { Ok(()) }
}; pb::PutRequest);

need!(|this, judge| {
    judge.write(&this.key, &this.range_end)?;
    if this.prev_kv { judge.read(&this.key, &this.range_end) } else { Ok(()) }
}; pb::DeleteRangeRequest);

// Both branches, whichever will run: the answer tells which did.
need!(|this, judge| {
    this.compare.iter().try_for_each(|compare| judge.read(&compare.key, &compare.range_end))?;
    this.success.iter().chain(&this.failure).try_for_each(|operation| operation.judged(judge))
}; pb::TxnRequest);

need!(|this, judge| match &this.request {
    Some(Request::RequestRange(range)) => range.judged(judge),
    Some(Request::RequestPut(put)) => put.judged(judge),
    Some(Request::RequestDeleteRange(delete)) => delete.judged(judge),
    Some(Request::RequestTxn(txn)) => txn.judged(judge),
    None => Ok(()),
}; pb::RequestOp);

// Without a key it watches from the first one on.
need!(|this, judge| match &this.key[..] {
    [] => judge.read(&Bytes::from_static(&[0]), &this.range_end),
    _ => judge.read(&this.key, &this.range_end),
}; pb::WatchCreateRequest);

need!(|this, judge| {
    judge.login()?;
    judge.write_lease(this.id)
}; pb::LeaseRevokeRequest, pb::LeaseKeepAliveRequest);

need!(|this, judge| {
    judge.login()?;
    if this.keys { judge.read_lease(this.id) } else { Ok(()) }
}; pb::LeaseTimeToLiveRequest);

need!(|_, judge| {
    judge.login()?;
    judge.read_all_leases()
}; pb::LeaseLeasesRequest);

need!(|this, judge| match pb::alarm_request::AlarmAction::try_from(this.action) {
    Ok(pb::alarm_request::AlarmAction::Get) => judge.login(),
    Ok(pb::alarm_request::AlarmAction::Activate | pb::alarm_request::AlarmAction::Deactivate)
    | Err(_) => judge.root(),
}; pb::AlarmRequest);

//! Which messages become entries, and what must be true of a message before anybody asks who sent it.

use apply::check;
use proto::etcdserverpb as pb;
use types::{Limits, Refusal};

use auth::Needs;

use crate::door::AtLearners;

/// A message that is proposed as it is.
pub(crate) trait IntoRaft: Needs {
    /// The message in an entry's wrapping.
    fn into_raft(self) -> pb::InternalRaftRequest;
}

macro_rules! proposed {
    ($($message:ty => $field:ident),* $(,)?) => {
        $(impl IntoRaft for $message {
            fn into_raft(self) -> pb::InternalRaftRequest {
                pb::InternalRaftRequest { $field: Some(self), ..Default::default() }
            }
        })*
    };
}

proposed! {
    pb::PutRequest => put,
    pb::DeleteRangeRequest => delete_range,
    pb::TxnRequest => txn,
    pb::CompactionRequest => compaction,
    pb::LeaseGrantRequest => lease_grant,
    pb::LeaseRevokeRequest => lease_revoke,
    pb::AlarmRequest => alarm,
    pb::AuthEnableRequest => auth_enable,
    pb::AuthDisableRequest => auth_disable,
    pb::AuthStatusRequest => auth_status,
    pb::AuthUserAddRequest => auth_user_add,
    pb::AuthUserGetRequest => auth_user_get,
    pb::AuthUserListRequest => auth_user_list,
    pb::AuthUserDeleteRequest => auth_user_delete,
    pb::AuthUserChangePasswordRequest => auth_user_change_password,
    pb::AuthUserGrantRoleRequest => auth_user_grant_role,
    pb::AuthUserRevokeRoleRequest => auth_user_revoke_role,
    pb::AuthRoleAddRequest => auth_role_add,
    pb::AuthRoleGetRequest => auth_role_get,
    pb::AuthRoleListRequest => auth_role_list,
    pb::AuthRoleDeleteRequest => auth_role_delete,
    pb::AuthRoleGrantPermissionRequest => auth_role_grant_permission,
    pb::AuthRoleRevokePermissionRequest => auth_role_revoke_permission,
}

/// A downgrade is begun with the version it leads to; anything else about it calls it off.
impl IntoRaft for pb::DowngradeRequest {
    fn into_raft(self) -> pb::InternalRaftRequest {
        let enabled = self.action() == pb::downgrade_request::DowngradeAction::Enable;
        let ver = if enabled { self.version } else { String::new() };
        let set = proto::membershippb::DowngradeInfoSetRequest { enabled, ver };
        pb::InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() }
    }
}

/// A message that changes who belongs to the cluster.
pub(crate) trait ChangesMembers: Needs {}

impl ChangesMembers for pb::MemberAddRequest {}
impl ChangesMembers for pb::MemberRemoveRequest {}
impl ChangesMembers for pb::MemberUpdateRequest {}
impl ChangesMembers for pb::MemberPromoteRequest {}

/// What is looked at before the sender is: as in etcd, a request with two mistakes is refused for its form, and
/// before that for want of room.
pub(crate) trait Asked: Needs {
    /// Bytes it may add to the store.
    fn cost(&self) -> u64 {
        0
    }

    /// Whether the message has its form.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether a learner answers it, where it is a message of a unary call.
    fn at_learners(&self) -> AtLearners {
        AtLearners::Refused
    }

    /// Whether it is refused while members are known to disagree.
    fn is_held_up_by_corruption(&self) -> bool {
        false
    }
}

macro_rules! asked_at_once {
    ($($message:ty),* $(,)?) => { $(impl Asked for $message {})* };
}

impl Asked for pb::RangeRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check::range(self)
    }

    fn at_learners(&self) -> AtLearners {
        if self.serializable { AtLearners::Served } else { AtLearners::Refused }
    }
}

impl Asked for pb::StatusRequest {
    fn at_learners(&self) -> AtLearners {
        AtLearners::Served
    }
}

impl Asked for pb::PutRequest {
    fn cost(&self) -> u64 {
        check::put_cost(self)
    }

    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check::put(self)
    }

    fn is_held_up_by_corruption(&self) -> bool {
        true
    }
}

impl Asked for pb::DeleteRangeRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check::delete_range(self)
    }

    fn is_held_up_by_corruption(&self) -> bool {
        true
    }
}

impl Asked for pb::TxnRequest {
    fn cost(&self) -> u64 {
        check::txn_cost(self)
    }

    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        check::txn(self, limits.txn_ops_max)
    }

    fn is_held_up_by_corruption(&self) -> bool {
        !check::is_read_only(self)
    }
}

impl Asked for pb::LeaseGrantRequest {
    fn cost(&self) -> u64 {
        check::LEASE_COST
    }
}

impl Asked for pb::AlarmRequest {
    /// Validated before it is proposed (`docs/etcd/observed.md` A 5).
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        match pb::alarm_request::AlarmAction::try_from(self.action) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::invalid("etcdserver: unknown alarm action")),
        }
    }
}

impl Asked for pb::MemberAddRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check_urls(&self.peer_ur_ls)
    }
}

impl Asked for pb::MemberUpdateRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check_urls(&self.peer_ur_ls)
    }
}

/// Peer URLs that could not be parsed by others must not get into the log
/// (`docs/etcd/observed.md` A 3).
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

/// The longest password: bcrypt looks at no more bytes.
const PASSWORD_BYTES_MAX: usize = 72;

fn check_password(password: &str) -> Result<(), Refusal> {
    if password.len() <= PASSWORD_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::unknown("bcrypt: password length exceeds 72 bytes"))
}

impl Asked for pb::AuthUserAddRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        let none = self.options.as_ref().is_some_and(|options| options.no_password);
        if none { Ok(()) } else { check_password(&self.password) }
    }
}

impl Asked for pb::AuthUserChangePasswordRequest {
    fn check(&self, _limits: &Limits) -> Result<(), Refusal> {
        check_password(&self.password)
    }
}

asked_at_once! {
    pb::CompactionRequest,
    pb::LeaseRevokeRequest,
    pb::LeaseKeepAliveRequest,
    pb::LeaseTimeToLiveRequest,
    pb::LeaseLeasesRequest,
    pb::MemberListRequest,
    pb::MemberRemoveRequest,
    pb::MemberPromoteRequest,
    pb::DefragmentRequest,
    pb::HashRequest,
    pb::HashKvRequest,
    pb::SnapshotRequest,
    pb::MoveLeaderRequest,
    pb::DowngradeRequest,
    pb::WatchCreateRequest,
    pb::AuthEnableRequest,
    pb::AuthDisableRequest,
    pb::AuthStatusRequest,
    pb::AuthenticateRequest,
    pb::AuthUserGetRequest,
    pb::AuthUserListRequest,
    pb::AuthUserDeleteRequest,
    pb::AuthUserGrantRoleRequest,
    pb::AuthUserRevokeRoleRequest,
    pb::AuthRoleAddRequest,
    pb::AuthRoleGetRequest,
    pb::AuthRoleListRequest,
    pb::AuthRoleDeleteRequest,
    pb::AuthRoleGrantPermissionRequest,
    pb::AuthRoleRevokePermissionRequest,
    proto::v3lockpb::LockRequest,
    proto::v3lockpb::UnlockRequest,
    proto::v3electionpb::CampaignRequest,
    proto::v3electionpb::ProclaimRequest,
    proto::v3electionpb::LeaderRequest,
    proto::v3electionpb::ResignRequest,
}

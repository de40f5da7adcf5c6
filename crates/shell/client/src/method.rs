//! The methods of etcd's services: paths, messages, and what may be done twice.

use std::marker::PhantomData;

use proto::Rpc;

/// Whether a call may be sent again after the connection failed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It changes nothing, or the same thing.
    Repeatable,
    /// It may have been done already.
    Once,
}

/// Whether a method may be called again. By etcd's client: what only reads, and what does the same the
/// second time.
pub const fn retry(rpc: Rpc) -> Retry {
    match rpc {
        Rpc::AuthRoleGet
        | Rpc::AuthRoleList
        | Rpc::AuthStatus
        | Rpc::AuthUserGet
        | Rpc::AuthUserList
        | Rpc::ClusterMemberList
        | Rpc::ElectionLeader
        | Rpc::ElectionObserve
        | Rpc::HealthCheck
        | Rpc::HealthList
        | Rpc::HealthWatch
        | Rpc::KvRange
        | Rpc::KvRangeStream
        | Rpc::LeaseGrant
        | Rpc::LeaseKeepAlive
        | Rpc::LeaseLeases
        | Rpc::LeaseRevoke
        | Rpc::LeaseTimeToLive
        | Rpc::MaintenanceAlarm
        | Rpc::MaintenanceHash
        | Rpc::MaintenanceHashKv
        | Rpc::MaintenanceMoveLeader
        | Rpc::MaintenanceSnapshot
        | Rpc::MaintenanceStatus
        | Rpc::Watch => Retry::Repeatable,
        Rpc::AuthDisable
        | Rpc::AuthEnable
        | Rpc::AuthRoleAdd
        | Rpc::AuthRoleDelete
        | Rpc::AuthRoleGrantPermission
        | Rpc::AuthRoleRevokePermission
        | Rpc::AuthUserAdd
        | Rpc::AuthUserChangePassword
        | Rpc::AuthUserDelete
        | Rpc::AuthUserGrantRole
        | Rpc::AuthUserRevokeRole
        | Rpc::Authenticate
        | Rpc::ClusterMemberAdd
        | Rpc::ClusterMemberPromote
        | Rpc::ClusterMemberRemove
        | Rpc::ClusterMemberUpdate
        | Rpc::ElectionCampaign
        | Rpc::ElectionProclaim
        | Rpc::ElectionResign
        | Rpc::KvCompact
        | Rpc::KvDeleteRange
        | Rpc::KvPut
        | Rpc::KvTxn
        | Rpc::Lock
        | Rpc::LockUnlock
        | Rpc::MaintenanceDefragment
        | Rpc::MaintenanceDowngrade => Retry::Once,
    }
}

/// A unary method that takes a `Q` and answers an `R`.
#[derive(Debug)]
pub struct Method<Q, R> {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Whether it may be repeated.
    pub retry: Retry,
    messages: PhantomData<fn(Q) -> R>,
}

impl<Q, R> Method<Q, R> {
    /// A method of another service than etcd's.
    pub const fn new(path: &'static str, retry: Retry) -> Method<Q, R> {
        Method { path, retry, messages: PhantomData }
    }
}

impl<Q, R> Clone for Method<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Method<Q, R> {}

/// Every unary method a client uses.
pub mod methods {
    use super::{Method, PhantomData, Rpc, retry};
    use proto::etcdserverpb as pb;

    macro_rules! methods {
        ($($name:ident = $rpc:ident, $request:ident -> $response:ident;)*) => {
            $(
                #[doc = concat!("[`Rpc::", stringify!($rpc), "`].")]
                pub const $name: Method<pb::$request, pb::$response> = Method {
                    path: Rpc::$rpc.path(),
                    retry: retry(Rpc::$rpc),
                    messages: PhantomData,
                };
            )*
        };
    }

    methods! {
        RANGE = KvRange, RangeRequest -> RangeResponse;
        PUT = KvPut, PutRequest -> PutResponse;
        DELETE_RANGE = KvDeleteRange, DeleteRangeRequest -> DeleteRangeResponse;
        TXN = KvTxn, TxnRequest -> TxnResponse;
        COMPACT = KvCompact, CompactionRequest -> CompactionResponse;
        LEASE_GRANT = LeaseGrant, LeaseGrantRequest -> LeaseGrantResponse;
        LEASE_REVOKE = LeaseRevoke, LeaseRevokeRequest -> LeaseRevokeResponse;
        LEASE_TIME_TO_LIVE = LeaseTimeToLive, LeaseTimeToLiveRequest -> LeaseTimeToLiveResponse;
        LEASE_LEASES = LeaseLeases, LeaseLeasesRequest -> LeaseLeasesResponse;
        MEMBER_ADD = ClusterMemberAdd, MemberAddRequest -> MemberAddResponse;
        MEMBER_REMOVE = ClusterMemberRemove, MemberRemoveRequest -> MemberRemoveResponse;
        MEMBER_UPDATE = ClusterMemberUpdate, MemberUpdateRequest -> MemberUpdateResponse;
        MEMBER_LIST = ClusterMemberList, MemberListRequest -> MemberListResponse;
        MEMBER_PROMOTE = ClusterMemberPromote, MemberPromoteRequest -> MemberPromoteResponse;
        ALARM = MaintenanceAlarm, AlarmRequest -> AlarmResponse;
        STATUS = MaintenanceStatus, StatusRequest -> StatusResponse;
        DEFRAGMENT = MaintenanceDefragment, DefragmentRequest -> DefragmentResponse;
        HASH_KV = MaintenanceHashKv, HashKvRequest -> HashKvResponse;
        MOVE_LEADER = MaintenanceMoveLeader, MoveLeaderRequest -> MoveLeaderResponse;
        DOWNGRADE = MaintenanceDowngrade, DowngradeRequest -> DowngradeResponse;
        AUTH_ENABLE = AuthEnable, AuthEnableRequest -> AuthEnableResponse;
        AUTH_DISABLE = AuthDisable, AuthDisableRequest -> AuthDisableResponse;
        AUTH_STATUS = AuthStatus, AuthStatusRequest -> AuthStatusResponse;
        AUTHENTICATE = Authenticate, AuthenticateRequest -> AuthenticateResponse;
        USER_ADD = AuthUserAdd, AuthUserAddRequest -> AuthUserAddResponse;
        USER_GET = AuthUserGet, AuthUserGetRequest -> AuthUserGetResponse;
        USER_LIST = AuthUserList, AuthUserListRequest -> AuthUserListResponse;
        USER_DELETE = AuthUserDelete, AuthUserDeleteRequest -> AuthUserDeleteResponse;
        USER_CHANGE_PASSWORD = AuthUserChangePassword, AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse;
        USER_GRANT_ROLE = AuthUserGrantRole, AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse;
        USER_REVOKE_ROLE = AuthUserRevokeRole, AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse;
        ROLE_ADD = AuthRoleAdd, AuthRoleAddRequest -> AuthRoleAddResponse;
        ROLE_GET = AuthRoleGet, AuthRoleGetRequest -> AuthRoleGetResponse;
        ROLE_LIST = AuthRoleList, AuthRoleListRequest -> AuthRoleListResponse;
        ROLE_DELETE = AuthRoleDelete, AuthRoleDeleteRequest -> AuthRoleDeleteResponse;
        ROLE_GRANT_PERMISSION = AuthRoleGrantPermission, AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse;
        ROLE_REVOKE_PERMISSION = AuthRoleRevokePermission, AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse;
    }
}

/// The end of the range of all keys that start with `prefix`; a zero byte, which means "to the end of
/// the keyspace", when nothing comes after them.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte < 0xff) else {
        return vec![0];
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_byte_string_that_does_not_start_with_it() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0");
        assert_eq!(prefix_end(b""), b"\0");
    }
}

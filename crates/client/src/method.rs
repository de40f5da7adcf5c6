//! The methods of etcd's services: paths, messages, and what may be done twice.

use std::marker::PhantomData;

/// Whether a call may be sent again after the connection failed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It changes nothing, or the same thing.
    Repeatable,
    /// It may have been done already.
    Once,
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

impl<Q, R> Clone for Method<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Method<Q, R> {}

/// Every unary method a client uses.
pub mod methods {
    use super::{Method, PhantomData, Retry};
    use proto::etcdserverpb as pb;

    macro_rules! methods {
        ($($name:ident = $path:literal, $retry:ident, $request:ident -> $response:ident;)*) => {
            $(
                #[doc = concat!("`", $path, "`.")]
                pub const $name: Method<pb::$request, pb::$response> = Method {
                    path: concat!("/etcdserverpb.", $path),
                    retry: Retry::$retry,
                    messages: PhantomData,
                };
            )*
        };
    }

    methods! {
        RANGE = "KV/Range", Repeatable, RangeRequest -> RangeResponse;
        PUT = "KV/Put", Once, PutRequest -> PutResponse;
        DELETE_RANGE = "KV/DeleteRange", Once, DeleteRangeRequest -> DeleteRangeResponse;
        TXN = "KV/Txn", Once, TxnRequest -> TxnResponse;
        COMPACT = "KV/Compact", Once, CompactionRequest -> CompactionResponse;
        LEASE_GRANT = "Lease/LeaseGrant", Repeatable, LeaseGrantRequest -> LeaseGrantResponse;
        LEASE_REVOKE = "Lease/LeaseRevoke", Repeatable, LeaseRevokeRequest -> LeaseRevokeResponse;
        LEASE_TIME_TO_LIVE = "Lease/LeaseTimeToLive", Repeatable, LeaseTimeToLiveRequest -> LeaseTimeToLiveResponse;
        LEASE_LEASES = "Lease/LeaseLeases", Repeatable, LeaseLeasesRequest -> LeaseLeasesResponse;
        MEMBER_ADD = "Cluster/MemberAdd", Once, MemberAddRequest -> MemberAddResponse;
        MEMBER_REMOVE = "Cluster/MemberRemove", Once, MemberRemoveRequest -> MemberRemoveResponse;
        MEMBER_UPDATE = "Cluster/MemberUpdate", Once, MemberUpdateRequest -> MemberUpdateResponse;
        MEMBER_LIST = "Cluster/MemberList", Repeatable, MemberListRequest -> MemberListResponse;
        MEMBER_PROMOTE = "Cluster/MemberPromote", Once, MemberPromoteRequest -> MemberPromoteResponse;
        ALARM = "Maintenance/Alarm", Repeatable, AlarmRequest -> AlarmResponse;
        STATUS = "Maintenance/Status", Repeatable, StatusRequest -> StatusResponse;
        DEFRAGMENT = "Maintenance/Defragment", Once, DefragmentRequest -> DefragmentResponse;
        HASH_KV = "Maintenance/HashKV", Repeatable, HashKvRequest -> HashKvResponse;
        MOVE_LEADER = "Maintenance/MoveLeader", Repeatable, MoveLeaderRequest -> MoveLeaderResponse;
        DOWNGRADE = "Maintenance/Downgrade", Once, DowngradeRequest -> DowngradeResponse;
        AUTH_ENABLE = "Auth/AuthEnable", Once, AuthEnableRequest -> AuthEnableResponse;
        AUTH_DISABLE = "Auth/AuthDisable", Once, AuthDisableRequest -> AuthDisableResponse;
        AUTH_STATUS = "Auth/AuthStatus", Repeatable, AuthStatusRequest -> AuthStatusResponse;
        AUTHENTICATE = "Auth/Authenticate", Once, AuthenticateRequest -> AuthenticateResponse;
        USER_ADD = "Auth/UserAdd", Once, AuthUserAddRequest -> AuthUserAddResponse;
        USER_GET = "Auth/UserGet", Repeatable, AuthUserGetRequest -> AuthUserGetResponse;
        USER_LIST = "Auth/UserList", Repeatable, AuthUserListRequest -> AuthUserListResponse;
        USER_DELETE = "Auth/UserDelete", Once, AuthUserDeleteRequest -> AuthUserDeleteResponse;
        USER_CHANGE_PASSWORD = "Auth/UserChangePassword", Once, AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse;
        USER_GRANT_ROLE = "Auth/UserGrantRole", Once, AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse;
        USER_REVOKE_ROLE = "Auth/UserRevokeRole", Once, AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse;
        ROLE_ADD = "Auth/RoleAdd", Once, AuthRoleAddRequest -> AuthRoleAddResponse;
        ROLE_GET = "Auth/RoleGet", Repeatable, AuthRoleGetRequest -> AuthRoleGetResponse;
        ROLE_LIST = "Auth/RoleList", Repeatable, AuthRoleListRequest -> AuthRoleListResponse;
        ROLE_DELETE = "Auth/RoleDelete", Once, AuthRoleDeleteRequest -> AuthRoleDeleteResponse;
        ROLE_GRANT_PERMISSION = "Auth/RoleGrantPermission", Once, AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse;
        ROLE_REVOKE_PERMISSION = "Auth/RoleRevokePermission", Once, AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse;
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

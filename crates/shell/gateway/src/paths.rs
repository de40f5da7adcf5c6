//! Which path leads to which method (`docs/etcd/http.md` 3.1).

use proto::Rpc;

/// All paths of the gateway, each with its method. Two paths may lead to one method.
pub const PATHS: &[(&str, Rpc)] = &[
    ("/v3/kv/range", Rpc::KvRange),
    ("/v3/kv/put", Rpc::KvPut),
    ("/v3/kv/deleterange", Rpc::KvDeleteRange),
    ("/v3/kv/txn", Rpc::KvTxn),
    ("/v3/kv/compaction", Rpc::KvCompact),
    ("/v3/watch", Rpc::Watch),
    ("/v3/lease/grant", Rpc::LeaseGrant),
    ("/v3/lease/revoke", Rpc::LeaseRevoke),
    ("/v3/kv/lease/revoke", Rpc::LeaseRevoke),
    ("/v3/lease/keepalive", Rpc::LeaseKeepAlive),
    ("/v3/lease/timetolive", Rpc::LeaseTimeToLive),
    ("/v3/kv/lease/timetolive", Rpc::LeaseTimeToLive),
    ("/v3/lease/leases", Rpc::LeaseLeases),
    ("/v3/kv/lease/leases", Rpc::LeaseLeases),
    ("/v3/cluster/member/add", Rpc::ClusterMemberAdd),
    ("/v3/cluster/member/remove", Rpc::ClusterMemberRemove),
    ("/v3/cluster/member/update", Rpc::ClusterMemberUpdate),
    ("/v3/cluster/member/list", Rpc::ClusterMemberList),
    ("/v3/cluster/member/promote", Rpc::ClusterMemberPromote),
    ("/v3/maintenance/alarm", Rpc::MaintenanceAlarm),
    ("/v3/maintenance/status", Rpc::MaintenanceStatus),
    ("/v3/maintenance/defragment", Rpc::MaintenanceDefragment),
    ("/v3/maintenance/hash", Rpc::MaintenanceHash),
    ("/v3/maintenance/hashkv", Rpc::MaintenanceHashKv),
    ("/v3/maintenance/snapshot", Rpc::MaintenanceSnapshot),
    ("/v3/maintenance/transfer-leadership", Rpc::MaintenanceMoveLeader),
    ("/v3/maintenance/downgrade", Rpc::MaintenanceDowngrade),
    ("/v3/auth/enable", Rpc::AuthEnable),
    ("/v3/auth/disable", Rpc::AuthDisable),
    ("/v3/auth/status", Rpc::AuthStatus),
    ("/v3/auth/authenticate", Rpc::Authenticate),
    ("/v3/auth/user/add", Rpc::AuthUserAdd),
    ("/v3/auth/user/get", Rpc::AuthUserGet),
    ("/v3/auth/user/list", Rpc::AuthUserList),
    ("/v3/auth/user/delete", Rpc::AuthUserDelete),
    ("/v3/auth/user/changepw", Rpc::AuthUserChangePassword),
    ("/v3/auth/user/grant", Rpc::AuthUserGrantRole),
    ("/v3/auth/user/revoke", Rpc::AuthUserRevokeRole),
    ("/v3/auth/role/add", Rpc::AuthRoleAdd),
    ("/v3/auth/role/get", Rpc::AuthRoleGet),
    ("/v3/auth/role/list", Rpc::AuthRoleList),
    ("/v3/auth/role/delete", Rpc::AuthRoleDelete),
    ("/v3/auth/role/grant", Rpc::AuthRoleGrantPermission),
    ("/v3/auth/role/revoke", Rpc::AuthRoleRevokePermission),
    ("/v3/lock/lock", Rpc::Lock),
    ("/v3/lock/unlock", Rpc::LockUnlock),
    ("/v3/election/campaign", Rpc::ElectionCampaign),
    ("/v3/election/proclaim", Rpc::ElectionProclaim),
    ("/v3/election/leader", Rpc::ElectionLeader),
    ("/v3/election/observe", Rpc::ElectionObserve),
    ("/v3/election/resign", Rpc::ElectionResign),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee (etcd's gateway): every method has a path, but for those etcd gives none.
    #[test]
    fn every_method_has_a_path_but_range_stream_and_health() {
        let without = |rpc: &Rpc| !PATHS.iter().any(|(_, served)| served == rpc);
        let left: Vec<Rpc> = Rpc::ALL.into_iter().filter(without).collect();
        let health = [Rpc::HealthCheck, Rpc::HealthList, Rpc::HealthWatch];
        assert_eq!(left, [&[Rpc::KvRangeStream][..], &health].concat());
    }
}

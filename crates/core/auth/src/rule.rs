//! What each method asks of whoever calls it.
//!
//! One line for each of all methods, and no default: a new method does not compile until somebody has thought
//! about it. The lines are etcd 3.7's (`docs/etcd/api.md` 4 to 12).

use proto::Rpc;

/// What a method asks of its caller before it looks at the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing, not even a token that is one.
    Open,
    /// Nothing; the message, or each of its stream, says what it needs.
    AsAsked,
    /// Nothing of its own: it is made of other requests, and each of those is asked about.
    Inner,
    /// To be somebody; the message may need more.
    LoggedIn,
    /// The role root.
    Root,
}

/// The rule of a method.
pub const fn rule(rpc: Rpc) -> Rule {
    match rpc {
        Rpc::KvRange
        | Rpc::KvRangeStream
        | Rpc::KvPut
        | Rpc::KvDeleteRange
        | Rpc::KvTxn
        | Rpc::Watch => Rule::AsAsked,
        Rpc::KvCompact => Rule::Root,
        Rpc::LeaseGrant
        | Rpc::LeaseRevoke
        | Rpc::LeaseKeepAlive
        | Rpc::LeaseTimeToLive
        | Rpc::LeaseLeases => Rule::LoggedIn,
        Rpc::ClusterMemberList => Rule::LoggedIn,
        Rpc::ClusterMemberAdd
        | Rpc::ClusterMemberRemove
        | Rpc::ClusterMemberUpdate
        | Rpc::ClusterMemberPromote => Rule::Root,
        // Raising an alarm or taking it back needs root, which the message says.
        Rpc::MaintenanceAlarm | Rpc::MaintenanceStatus => Rule::LoggedIn,
        Rpc::MaintenanceDefragment
        | Rpc::MaintenanceHash
        | Rpc::MaintenanceHashKv
        | Rpc::MaintenanceSnapshot
        | Rpc::MaintenanceMoveLeader
        | Rpc::MaintenanceDowngrade => Rule::Root,
        Rpc::Authenticate => Rule::Open,
        // Users may ask about themselves and their roles, which the message says.
        Rpc::AuthStatus | Rpc::AuthUserGet | Rpc::AuthRoleGet => Rule::AsAsked,
        Rpc::AuthEnable
        | Rpc::AuthDisable
        | Rpc::AuthUserAdd
        | Rpc::AuthUserList
        | Rpc::AuthUserDelete
        | Rpc::AuthUserChangePassword
        | Rpc::AuthUserGrantRole
        | Rpc::AuthUserRevokeRole
        | Rpc::AuthRoleAdd
        | Rpc::AuthRoleList
        | Rpc::AuthRoleDelete
        | Rpc::AuthRoleGrantPermission
        | Rpc::AuthRoleRevokePermission => Rule::Root,
        Rpc::Lock
        | Rpc::LockUnlock
        | Rpc::ElectionCampaign
        | Rpc::ElectionProclaim
        | Rpc::ElectionLeader
        | Rpc::ElectionObserve
        | Rpc::ElectionResign => Rule::Inner,
        Rpc::HealthCheck | Rpc::HealthList | Rpc::HealthWatch => Rule::Open,
    }
}

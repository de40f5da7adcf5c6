//! What is asked of each method. A method that nobody asks anything of does not compile.

use prost::Message;
use proto::Rpc;
use proto::authpb::Permission;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::{health, v3electionpb as ep, v3lockpb as lp};

use super::world::PASSWORD;

fn one(message: impl Message) -> Vec<Vec<u8>> {
    vec![message.encode_to_vec()]
}

fn all<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<Vec<u8>> {
    messages.into_iter().map(|message| message.encode_to_vec()).collect()
}

/// Ranges inside, outside, across, to the end, inverted, and without a key.
const RANGES: [(&str, &str); 9] = [
    ("a/1", ""),
    ("z/1", ""),
    ("a/", "a0"),
    ("a/", "b"),
    ("a/4", "a/6"),
    ("a/", "\0"),
    ("\0", "\0"),
    ("z/", "a/"),
    ("", ""),
];

pub fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    pb::RangeRequest { key, range_end, ..Default::default() }
}

pub fn put(key: &str, lease: i64, prev_kv: bool) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), lease, prev_kv, ..Default::default() }
}

pub fn delete(key: &str, range_end: &str, prev_kv: bool) -> pb::DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    pb::DeleteRangeRequest { key, range_end, prev_kv }
}

fn watch(key: &str, range_end: &str) -> pb::WatchRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    let create = pb::WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// What is asked, given a word that makes names differ between callers.
pub fn asks(rpc: Rpc, word: &str) -> Vec<Vec<u8>> {
    match rpc {
        Rpc::KvRange | Rpc::KvRangeStream => kv_range(),
        Rpc::KvPut => kv_put(),
        Rpc::KvDeleteRange => kv_delete_range(),
        Rpc::KvTxn => one(pb::TxnRequest::default()),
        Rpc::KvCompact => one(pb::CompactionRequest { revision: 1, physical: false }),
        Rpc::Watch => watches(),
        Rpc::LeaseGrant => one(pb::LeaseGrantRequest { id: lease_of(word), ttl: 6000 }),
        Rpc::LeaseRevoke => all([7, lease_of(word), 99].map(|id| pb::LeaseRevokeRequest { id })),
        Rpc::LeaseKeepAlive => all([7, 8, 9, 99].map(|id| pb::LeaseKeepAliveRequest { id })),
        Rpc::LeaseTimeToLive => lease_time_to_live(),
        Rpc::LeaseLeases => one(pb::LeaseLeasesRequest {}),
        Rpc::ClusterMemberAdd => cluster_member_add(),
        Rpc::ClusterMemberRemove => one(pb::MemberRemoveRequest { id: 12345 }),
        Rpc::ClusterMemberUpdate => cluster_member_update(),
        Rpc::ClusterMemberList => cluster_member_list(),
        Rpc::ClusterMemberPromote => one(pb::MemberPromoteRequest { id: 12345 }),
        Rpc::MaintenanceAlarm => maintenance_alarm(),
        Rpc::MaintenanceStatus => one(pb::StatusRequest {}),
        Rpc::MaintenanceDefragment => one(pb::DefragmentRequest {}),
        Rpc::MaintenanceHash => one(pb::HashRequest {}),
        Rpc::MaintenanceHashKv => one(pb::HashKvRequest { revision: 1_000_000 }),
        Rpc::MaintenanceSnapshot => one(pb::SnapshotRequest {}),
        Rpc::MaintenanceMoveLeader => one(pb::MoveLeaderRequest { target_id: 12345 }),
        Rpc::MaintenanceDowngrade => one(pb::DowngradeRequest { action: 0, version: "x".into() }),
        Rpc::HealthCheck => one(health::HealthCheckRequest::default()),
        Rpc::HealthList => one(health::HealthListRequest {}),
        Rpc::HealthWatch => one(health::HealthCheckRequest::default()),
        Rpc::Lock => lock(word),
        Rpc::LockUnlock => lock_unlock(),
        Rpc::ElectionCampaign => election_campaign(word),
        Rpc::ElectionProclaim => election_proclaim(),
        Rpc::ElectionLeader | Rpc::ElectionObserve => election_leader(),
        Rpc::ElectionResign => election_resign(),
        Rpc::AuthEnable => one(pb::AuthEnableRequest {}),
        Rpc::AuthDisable => one(pb::AuthDisableRequest {}),
        Rpc::AuthStatus => one(pb::AuthStatusRequest {}),
        Rpc::Authenticate => authenticate(),
        Rpc::AuthUserAdd => auth_user_add(word),
        Rpc::AuthUserGet => auth_user_get(),
        Rpc::AuthUserList => one(pb::AuthUserListRequest {}),
        Rpc::AuthUserDelete => auth_user_delete(word),
        Rpc::AuthUserChangePassword => auth_user_change_password(),
        Rpc::AuthUserGrantRole => auth_user_grant_role(),
        Rpc::AuthUserRevokeRole => auth_user_revoke_role(),
        Rpc::AuthRoleAdd => auth_role_add(word),
        Rpc::AuthRoleGet => auth_role_get(),
        Rpc::AuthRoleList => one(pb::AuthRoleListRequest {}),
        Rpc::AuthRoleDelete => auth_role_delete(word),
        Rpc::AuthRoleGrantPermission => auth_role_grant_permission(),
        Rpc::AuthRoleRevokePermission => auth_role_revoke_permission(),
    }
}

fn kv_range() -> Vec<Vec<u8>> {
    let serializable = pb::RangeRequest { serializable: true, ..range("z/1", "") };
    all(RANGES.iter().map(|(key, end)| range(key, end)).chain([serializable]))
}

fn kv_put() -> Vec<Vec<u8>> {
    all([
        put("a/1", 0, false),
        put("a/1", 0, true),
        put("z/1", 0, false),
        put("a/1", 7, false),
        put("a/1", 9, false),
        put("", 0, false),
    ])
}

fn kv_delete_range() -> Vec<Vec<u8>> {
    all([
        delete("a/none", "", false),
        delete("a/6", "a/7", true),
        delete("a/none", "b", false),
        delete("z/none", "", true),
        delete("z/none", "\0", false),
        delete("", "", false),
    ])
}

fn watches() -> Vec<Vec<u8>> {
    all([
        watch("a/1", ""),
        watch("z/1", ""),
        watch("a/", "a0"),
        watch("a/1", "\0"),
        watch("", ""),
        watch("", "\0"),
    ])
}

fn lease_time_to_live() -> Vec<Vec<u8>> {
    all([(7, false), (7, true), (8, true), (9, true), (99, true)]
        .map(|(id, keys)| pb::LeaseTimeToLiveRequest { id, keys }))
}

fn cluster_member_add() -> Vec<Vec<u8>> {
    one(pb::MemberAddRequest {
        peer_ur_ls: vec!["http://localhost:2380".into()],
        is_learner: false,
    })
}

fn cluster_member_update() -> Vec<Vec<u8>> {
    one(pb::MemberUpdateRequest { id: 12345, peer_ur_ls: vec!["http://localhost:2399".into()] })
}

fn cluster_member_list() -> Vec<Vec<u8>> {
    all([false, true].map(|linearizable| pb::MemberListRequest { linearizable }))
}

fn maintenance_alarm() -> Vec<Vec<u8>> {
    all([0, 1, 2].map(|action| pb::AlarmRequest { action, ..Default::default() }))
}

fn lock(word: &str) -> Vec<Vec<u8>> {
    all(["a", "z"]
        .map(|name| lp::LockRequest { name: format!("{name}/lock-{word}").into(), lease: 0 }))
}

fn lock_unlock() -> Vec<Vec<u8>> {
    all(["a/none", "z/none", ""].map(|key| lp::UnlockRequest { key: key.into() }))
}

fn election_campaign(word: &str) -> Vec<Vec<u8>> {
    all(["a", "z"].map(|name| ep::CampaignRequest {
        name: format!("{name}/election-{word}").into(),
        lease: 9,
        value: "v".into(),
    }))
}

fn election_proclaim() -> Vec<Vec<u8>> {
    all([None, Some("a/x"), Some("z/x")].map(|key| {
        let leader = key.map(leader);
        ep::ProclaimRequest { leader, value: "v".into() }
    }))
}

fn election_leader() -> Vec<Vec<u8>> {
    all(["a/nobody", "z/nobody"].map(|name| ep::LeaderRequest { name: name.into() }))
}

fn election_resign() -> Vec<Vec<u8>> {
    all([Some("a/x"), Some("z/x")].map(|key| ep::ResignRequest { leader: key.map(leader) }))
}

fn authenticate() -> Vec<Vec<u8>> {
    all([("reader", PASSWORD), ("reader", "no"), ("ghost", "no")].map(|(name, password)| {
        pb::AuthenticateRequest { name: name.into(), password: password.into() }
    }))
}

fn auth_user_add(word: &str) -> Vec<Vec<u8>> {
    all([format!("new-{word}"), "reader".into(), String::new()]
        .map(|name| pb::AuthUserAddRequest { name, password: "p".into(), ..Default::default() })
        .into_iter()
        .chain([pb::AuthUserAddRequest {
            name: "long".into(),
            password: "x".repeat(73),
            ..Default::default()
        }]))
}

fn auth_user_get() -> Vec<Vec<u8>> {
    all(["reader", "writer", "root", "ghost", ""]
        .map(|name| pb::AuthUserGetRequest { name: name.into() }))
}

fn auth_user_delete(word: &str) -> Vec<Vec<u8>> {
    all([format!("new-{word}"), "root".into()].map(|name| pb::AuthUserDeleteRequest { name }))
}

fn auth_user_change_password() -> Vec<Vec<u8>> {
    all(["fickle", "ghost"].map(|name| pb::AuthUserChangePasswordRequest {
        name: name.into(),
        password: "another".into(),
        ..Default::default()
    }))
}

fn auth_user_grant_role() -> Vec<Vec<u8>> {
    all([("fickle", "reads"), ("fickle", "ghost"), ("reader", "reads")]
        .map(|(user, role)| pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }))
}

fn auth_user_revoke_role() -> Vec<Vec<u8>> {
    all([("fickle", "reads"), ("fickle", "writes"), ("root", "root")]
        .map(|(name, role)| pb::AuthUserRevokeRoleRequest { name: name.into(), role: role.into() }))
}

fn auth_role_add(word: &str) -> Vec<Vec<u8>> {
    all([format!("role-{word}"), String::new(), "reads".into()]
        .map(|name| pb::AuthRoleAddRequest { name }))
}

fn auth_role_get() -> Vec<Vec<u8>> {
    all(["reads", "writes", "root", "ghost"]
        .map(|role| pb::AuthRoleGetRequest { role: role.into() }))
}

fn auth_role_delete(word: &str) -> Vec<Vec<u8>> {
    all([format!("role-{word}"), "root".into()].map(|role| pb::AuthRoleDeleteRequest { role }))
}

fn auth_role_grant_permission() -> Vec<Vec<u8>> {
    all([Some(("m", "n")), Some(("n", "m")), None].map(|range| {
        let perm = range.map(|(key, end)| Permission {
            perm_type: 0,
            key: key.into(),
            range_end: end.into(),
        });
        // Without a permission real etcd's members cannot go on; ours alone is asked (`logins`).
        let perm = perm.or_else(|| Some(Permission::default()));
        pb::AuthRoleGrantPermissionRequest { name: "reads".into(), perm }
    }))
}

fn auth_role_revoke_permission() -> Vec<Vec<u8>> {
    all([("m", "n"), ("x", "")].map(|(key, end)| pb::AuthRoleRevokePermissionRequest {
        role: "reads".into(),
        key: key.into(),
        range_end: end.into(),
    }))
}

fn lease_of(word: &str) -> i64 {
    100 + word.bytes().map(i64::from).sum::<i64>()
}

fn leader(key: &str) -> ep::LeaderKey {
    ep::LeaderKey { name: "a/e".into(), key: key.to_owned().into(), rev: 1, lease: 9 }
}

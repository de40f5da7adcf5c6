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
        Rpc::KvRange | Rpc::KvRangeStream => {
            let serializable = pb::RangeRequest { serializable: true, ..range("z/1", "") };
            all(RANGES.iter().map(|(key, end)| range(key, end)).chain([serializable]))
        }
        Rpc::KvPut => all([
            put("a/1", 0, false),
            put("a/1", 0, true),
            put("z/1", 0, false),
            put("a/1", 7, false),
            put("a/1", 9, false),
            put("", 0, false),
        ]),
        Rpc::KvDeleteRange => all([
            delete("a/none", "", false),
            delete("a/6", "a/7", true),
            delete("a/none", "b", false),
            delete("z/none", "", true),
            delete("z/none", "\0", false),
            delete("", "", false),
        ]),
        Rpc::KvTxn => one(pb::TxnRequest::default()),
        Rpc::KvCompact => one(pb::CompactionRequest { revision: 1, physical: false }),
        Rpc::Watch => all([
            watch("a/1", ""),
            watch("z/1", ""),
            watch("a/", "a0"),
            watch("a/1", "\0"),
            watch("", ""),
            watch("", "\0"),
        ]),
        Rpc::LeaseGrant => one(pb::LeaseGrantRequest { id: lease_of(word), ttl: 6000 }),
        Rpc::LeaseRevoke => all([7, lease_of(word), 99].map(|id| pb::LeaseRevokeRequest { id })),
        Rpc::LeaseKeepAlive => all([7, 8, 9, 99].map(|id| pb::LeaseKeepAliveRequest { id })),
        Rpc::LeaseTimeToLive => all([(7, false), (7, true), (8, true), (9, true), (99, true)]
            .map(|(id, keys)| pb::LeaseTimeToLiveRequest { id, keys })),
        Rpc::LeaseLeases => one(pb::LeaseLeasesRequest {}),
        Rpc::ClusterMemberAdd => one(pb::MemberAddRequest {
            peer_ur_ls: vec!["http://localhost:2380".into()],
            is_learner: false,
        }),
        Rpc::ClusterMemberRemove => one(pb::MemberRemoveRequest { id: 12345 }),
        Rpc::ClusterMemberUpdate => one(pb::MemberUpdateRequest {
            id: 12345,
            peer_ur_ls: vec!["http://localhost:2399".into()],
        }),
        Rpc::ClusterMemberList => {
            all([false, true].map(|linearizable| pb::MemberListRequest { linearizable }))
        }
        Rpc::ClusterMemberPromote => one(pb::MemberPromoteRequest { id: 12345 }),
        Rpc::MaintenanceAlarm => {
            all([0, 1, 2].map(|action| pb::AlarmRequest { action, ..Default::default() }))
        }
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
        Rpc::Lock => all(["a", "z"]
            .map(|name| lp::LockRequest { name: format!("{name}/lock-{word}").into(), lease: 0 })),
        Rpc::LockUnlock => {
            all(["a/none", "z/none", ""].map(|key| lp::UnlockRequest { key: key.into() }))
        }
        Rpc::ElectionCampaign => all(["a", "z"].map(|name| ep::CampaignRequest {
            name: format!("{name}/election-{word}").into(),
            lease: 9,
            value: "v".into(),
        })),
        Rpc::ElectionProclaim => all([None, Some("a/x"), Some("z/x")].map(|key| {
            let leader = key.map(|key| leader(key));
            ep::ProclaimRequest { leader, value: "v".into() }
        })),
        Rpc::ElectionLeader | Rpc::ElectionObserve => {
            all(["a/nobody", "z/nobody"].map(|name| ep::LeaderRequest { name: name.into() }))
        }
        Rpc::ElectionResign => {
            all([Some("a/x"), Some("z/x")].map(|key| ep::ResignRequest { leader: key.map(leader) }))
        }
        Rpc::AuthEnable => one(pb::AuthEnableRequest {}),
        Rpc::AuthDisable => one(pb::AuthDisableRequest {}),
        Rpc::AuthStatus => one(pb::AuthStatusRequest {}),
        Rpc::Authenticate => all([("reader", PASSWORD), ("reader", "no"), ("ghost", "no")].map(
            |(name, password)| pb::AuthenticateRequest {
                name: name.into(),
                password: password.into(),
            },
        )),
        Rpc::AuthUserAdd => all([format!("new-{word}"), "reader".into(), String::new()]
            .map(|name| pb::AuthUserAddRequest { name, password: "p".into(), ..Default::default() })
            .into_iter()
            .chain([pb::AuthUserAddRequest {
                name: "long".into(),
                password: "x".repeat(73),
                ..Default::default()
            }])),
        Rpc::AuthUserGet => all(["reader", "writer", "root", "ghost", ""]
            .map(|name| pb::AuthUserGetRequest { name: name.into() })),
        Rpc::AuthUserList => one(pb::AuthUserListRequest {}),
        Rpc::AuthUserDelete => {
            all([format!("new-{word}"), "root".into()]
                .map(|name| pb::AuthUserDeleteRequest { name }))
        }
        Rpc::AuthUserChangePassword => {
            all(["fickle", "ghost"].map(|name| pb::AuthUserChangePasswordRequest {
                name: name.into(),
                password: "another".into(),
                ..Default::default()
            }))
        }
        Rpc::AuthUserGrantRole => {
            all([("fickle", "reads"), ("fickle", "ghost"), ("reader", "reads")].map(
                |(user, role)| pb::AuthUserGrantRoleRequest {
                    user: user.into(),
                    role: role.into(),
                },
            ))
        }
        Rpc::AuthUserRevokeRole => {
            all([("fickle", "reads"), ("fickle", "writes"), ("root", "root")].map(
                |(name, role)| pb::AuthUserRevokeRoleRequest {
                    name: name.into(),
                    role: role.into(),
                },
            ))
        }
        Rpc::AuthRoleAdd => all([format!("role-{word}"), String::new(), "reads".into()]
            .map(|name| pb::AuthRoleAddRequest { name })),
        Rpc::AuthRoleGet => all(["reads", "writes", "root", "ghost"]
            .map(|role| pb::AuthRoleGetRequest { role: role.into() })),
        Rpc::AuthRoleList => one(pb::AuthRoleListRequest {}),
        Rpc::AuthRoleDelete => {
            all([format!("role-{word}"), "root".into()]
                .map(|role| pb::AuthRoleDeleteRequest { role }))
        }
        Rpc::AuthRoleGrantPermission => {
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
        Rpc::AuthRoleRevokePermission => {
            all([("m", "n"), ("x", "")].map(|(key, end)| pb::AuthRoleRevokePermissionRequest {
                role: "reads".into(),
                key: key.into(),
                range_end: end.into(),
            }))
        }
    }
}

fn lease_of(word: &str) -> i64 {
    100 + word.bytes().map(i64::from).sum::<i64>()
}

fn leader(key: &str) -> ep::LeaderKey {
    ep::LeaderKey { name: "a/e".into(), key: key.to_owned().into(), rev: 1, lease: 9 }
}

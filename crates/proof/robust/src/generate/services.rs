//! Cluster, maintenance, alarms, health; locks and elections.

use proto::etcdserverpb::{
    AlarmRequest, AuthStatusRequest, AuthenticateRequest, DefragmentRequest, DowngradeRequest,
    HashKvRequest, HashRequest, LeaseGrantRequest, LeaseRevokeRequest, MemberAddRequest,
    MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
    MoveLeaderRequest, StatusRequest,
};
use proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use proto::v3lockpb::{LockRequest, UnlockRequest};

use super::{MEMBER_ID, Step, World, call, kv};
use crate::grpc::Call;

pub(super) fn step(world: &mut World) -> Step {
    match world.random.below(16) {
        0 => call("/etcdserverpb.Maintenance/Status", &StatusRequest {}),
        1..5 => call("/etcdserverpb.Maintenance/Alarm", &alarm(world)),
        5 => call("/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {}),
        6 => call("/etcdserverpb.Maintenance/Hash", &HashRequest {}),
        7 => call(
            "/etcdserverpb.Maintenance/HashKV",
            &HashKvRequest { revision: world.at_revision() },
        ),
        8 => downgrade_or_move(world),
        9 | 10 => cluster(world),
        11 => health(world),
        12 => auth_while_off(world),
        13 => call(
            "/etcdserverpb.Lease/LeaseGrant",
            &LeaseGrantRequest { ttl: 600, id: world.random.between(1, 5) },
        ),
        _ => kv::step(world),
    }
}

/// Every action that has a meaning: an unknown one ends real etcd (`docs/etcd/observed.md` A5).
fn alarm(world: &mut World) -> AlarmRequest {
    let action = world.random.pick(&[0, 0, 1, 2, 2]);
    let alarm = world.random.pick(&[0, 1, 1, 2, 9]);
    AlarmRequest { action, alarm, member_id: world.random.pick(&[0, 1, MEMBER_ID]) }
}

/// An ENABLE that would be granted is left out: it changes the version both servers run at.
fn downgrade_or_move(world: &mut World) -> Step {
    if world.random.one_in(2) {
        let target_id = world.random.pick(&[0, 1, MEMBER_ID]);
        return call("/etcdserverpb.Maintenance/MoveLeader", &MoveLeaderRequest { target_id });
    }
    let action = world.random.between(0, 3) as i32;
    let versions =
        ["3.6", "3.6.0", "3.6.7", "3.5", "3.7", "3.8", "", "x", "v3.6", "3", " 3.6", "3.6.0-rc.1"];
    let version = match action {
        1 => world.random.pick(&["3.5", "3.7", "4.0", "", "x"]),
        _ => world.random.pick(&versions),
    };
    call(
        "/etcdserverpb.Maintenance/Downgrade",
        &DowngradeRequest { action, version: version.to_string() },
    )
}

/// Only what leaves the one member alone: refusals, lists, and a new peer URL that parses.
fn cluster(world: &mut World) -> Step {
    let strangers: [u64; 3] = [0, 1, u64::MAX];
    let urls = |texts: &[&str]| texts.iter().map(|url| url.to_string()).collect::<Vec<_>>();
    match world.random.below(8) {
        0 | 1 => {
            let linearizable = world.random.one_in(2);
            call("/etcdserverpb.Cluster/MemberList", &MemberListRequest { linearizable })
        }
        2 => {
            let choices: [&[&str]; 3] = [
                &["http://127.0.0.1:2380"],
                &["http://127.0.0.1:2390"],
                &["http://127.0.0.1:2390", "http://127.0.0.1:2380"],
            ];
            let id = world.random.pick(&[MEMBER_ID, MEMBER_ID, 1]);
            let peer_ur_ls = urls(world.random.pick(&choices));
            call("/etcdserverpb.Cluster/MemberUpdate", &MemberUpdateRequest { id, peer_ur_ls })
        }
        3 => {
            let id = world.random.pick(&strangers);
            call("/etcdserverpb.Cluster/MemberRemove", &MemberRemoveRequest { id })
        }
        4 => call("/etcdserverpb.Cluster/MemberRemove", &MemberRemoveRequest { id: MEMBER_ID }),
        5 => {
            let id = world.random.pick(&[0, 1, MEMBER_ID]);
            call("/etcdserverpb.Cluster/MemberPromote", &MemberPromoteRequest { id })
        }
        6 => {
            let bad: [&[&str]; 4] =
                [&["x"], &["http://"], &["http://127.0.0.1"], &["127.0.0.1:2380"]];
            let peer_ur_ls = urls(world.random.pick(&bad));
            call(
                "/etcdserverpb.Cluster/MemberAdd",
                &MemberAddRequest { peer_ur_ls, is_learner: true },
            )
        }
        _ => call("/etcdserverpb.Cluster/MemberList", &MemberListRequest::default()),
    }
}

fn health(world: &mut World) -> Step {
    // HealthCheckRequest{service}: field 1, a string.
    let service: &[u8] =
        world.random.pick(&[b"" as &[u8], b"\x0a\x01x", b"\x0a\x0fetcdserverpb.KV "]);
    let (path, messages_max) =
        world.random.pick(&[("Check", usize::MAX), ("Watch", 1), ("List", usize::MAX)]);
    let call = Call::unary(&format!("/grpc.health.v1.Health/{path}"), service);
    Step::Call { call, messages_max }
}

fn auth_while_off(world: &mut World) -> Step {
    if world.random.one_in(2) {
        return call("/etcdserverpb.Auth/AuthStatus", &AuthStatusRequest {});
    }
    let request = AuthenticateRequest { name: "root".to_string(), password: "x".to_string() };
    call("/etcdserverpb.Auth/Authenticate", &request)
}

/// Nobody waits here: each lock and election is asked for by one lease only, or is free.
pub(super) fn lock_step(world: &mut World) -> Step {
    let lease = world.random.pick(&[1, 1, 1, 1, 0, 99]);
    let name = format!("n{}", world.random.below(3)).into_bytes();
    match world.random.below(14) {
        0 | 1 => call("/etcdserverpb.Lease/LeaseGrant", &LeaseGrantRequest { ttl: 600, id: 1 }),
        2 => call("/etcdserverpb.Lease/LeaseRevoke", &LeaseRevokeRequest { id: 1 }),
        3 | 4 => {
            // Lease 0 makes a lock that a later request would wait for: it gets a name of its own.
            let name =
                if lease == 0 { format!("free{}", world.random.next_u64()).into() } else { name };
            call("/v3lockpb.Lock/Lock", &LockRequest { name: name.into(), lease })
        }
        5 => {
            let key = world.random.pick(&["n0/1", "n1/1", "n2/1", "", "none"]);
            call("/v3lockpb.Lock/Unlock", &UnlockRequest { key: key.as_bytes().to_vec().into() })
        }
        6 | 7 => {
            let lease = if lease == 0 { 1 } else { lease };
            let name = [b"e".as_slice(), &name].concat();
            let value = world.value().into();
            call(
                "/v3electionpb.Election/Campaign",
                &CampaignRequest { name: name.into(), lease, value },
            )
        }
        8 => {
            let leader = leader_key(world, lease);
            let value = world.value().into();
            call("/v3electionpb.Election/Proclaim", &ProclaimRequest { leader, value })
        }
        9 => {
            let leader = leader_key(world, lease);
            call("/v3electionpb.Election/Resign", &ResignRequest { leader })
        }
        10 => leader("Leader", &name, usize::MAX),
        // No hashes: they cover the leases in the keys, which the servers choose.
        11 => call("/etcdserverpb.KV/Put", &kv::put(world, true)),
        _ => call("/etcdserverpb.KV/Range", &kv::everything()),
    }
}

fn leader(method: &str, name: &[u8], messages_max: usize) -> Step {
    let name = [b"e".as_slice(), name].concat();
    let message = LeaderRequest { name: name.into() };
    let call = Call::unary(
        &format!("/v3electionpb.Election/{method}"),
        &prost::Message::encode_to_vec(&message),
    );
    Step::Call { call, messages_max }
}

fn leader_key(world: &mut World, lease: i64) -> Option<LeaderKey> {
    if world.random.one_in(8) {
        return None;
    }
    let name = format!("en{}", world.random.below(3));
    let key = format!("{name}/1").into_bytes().into();
    let rev = world.random.between(0, world.revision);
    // Lease 0 would be granted one of 60 s; the key it moves to would end in the middle of things.
    let lease = if lease == 0 { 1 } else { lease };
    Some(LeaderKey { name: name.into_bytes().into(), key, rev, lease })
}

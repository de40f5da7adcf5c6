//! Leases: ids chosen and not, times to live of every size, keys on them, keep-alives.

use prost::Message;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest,
};

use super::{Step, World, call, kv};

fn id(world: &mut World) -> i64 {
    match world.random.below(12) {
        0 => -7,
        1 => 0,
        2 => 999_999,
        _ => world.random.between(1, 5),
    }
}

pub(super) fn steps(world: &mut World) -> Vec<Step> {
    match world.random.below(20) {
        0..5 => grant(world),
        5..8 => vec![revoke(id(world))],
        8..11 => {
            let (id, keys) = (id(world), world.random.one_in(2));
            vec![call("/etcdserverpb.Lease/LeaseTimeToLive", &LeaseTimeToLiveRequest { id, keys })]
        }
        11 => vec![call("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {})],
        12 | 13 => {
            let count = world.random.below(4) + 1;
            let message = |id| LeaseKeepAliveRequest { id }.encode_to_vec();
            vec![Step::KeepAlive { messages: (0..count).map(|_| message(id(world))).collect() }]
        }
        14..18 => vec![put_on_lease(world)],
        18 => vec![call("/etcdserverpb.KV/Range", &kv::everything())],
        _ => vec![kv::step(world)],
    }
}

fn revoke(id: i64) -> Step {
    call("/etcdserverpb.Lease/LeaseRevoke", &LeaseRevokeRequest { id })
}

/// A lease that would end within the episode is revoked at once: when it ends by itself is a matter
/// of time, which no two servers share.
fn grant(world: &mut World) -> Vec<Step> {
    let ttl = world.random.pick(&[-1, 0, 1, 100, 600, 9_000_000_000, 9_000_000_001, i64::MAX]);
    let id = match id(world) {
        0 if ttl < 100 => 77,
        id => id,
    };
    let granted = call("/etcdserverpb.Lease/LeaseGrant", &LeaseGrantRequest { ttl, id });
    if ttl < 100 { vec![granted, revoke(id)] } else { vec![granted] }
}

fn put_on_lease(world: &mut World) -> Step {
    let request = PutRequest {
        key: world.sound_key().into(),
        value: world.value().into(),
        lease: id(world),
        prev_kv: world.random.one_in(2),
        ignore_value: false,
        ignore_lease: world.random.one_in(8),
    };
    call("/etcdserverpb.KV/Put", &request)
}

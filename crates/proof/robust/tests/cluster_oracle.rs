//! Three members of ours and three of real etcd's, the same requests, the same answers: membership, leadership, learners,
//! downgrades, and no quorum.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::generate::{Area, Step, World};
use holdfast_robust::grpc::Call;
use holdfast_robust::oracle::clusters::{Side, Twins};
use holdfast_robust::random;
use prost::Message;
use proto::etcdserverpb as pb;

/// Requests to the healthy cluster.
const REQUESTS: usize = 160;
/// URLs of members that never start.
const NOBODY: [&str; 3] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];

fn call(method: &str, message: &impl Message) -> Call {
    Call::unary(&format!("/etcdserverpb.{method}"), &message.encode_to_vec())
}

/// A member of both clusters, whose ids differ.
#[derive(Clone, Copy)]
enum Whom {
    Seat(usize),
    Added(&'static str),
    Nobody(u64),
}

impl Whom {
    fn draw(world: &mut World) -> Whom {
        match world.random.below(4) {
            0 => Whom::Nobody(world.random.pick(&[0, 1, u64::MAX])),
            1 => Whom::Seat(world.random.below(3) as usize),
            _ => Whom::Added(world.random.pick(&NOBODY)),
        }
    }

    fn id(self, side: &Side) -> u64 {
        match self {
            Whom::Seat(seat) => side.id(seat),
            Whom::Added(url) => side.id_of(url),
            Whom::Nobody(id) => id,
        }
    }
}

/// etcd draws the id of a new member from its URLs and the second of the clock. One that is added, removed and added
/// within a second is refused as removed for good, and which of two clusters gets that far would be chance.
fn wait_for_another_second() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sleep(Duration::from_secs(1).saturating_sub(Duration::from_nanos(since.subsec_nanos().into())));
}

/// One request to the healthy cluster; running members are not removed, nor their URLs changed.
fn step(twins: &mut Twins, world: &mut World, leader: &mut usize, place: &str) {
    let through = world.random.below(3) as usize;
    let mut ask = |make: &dyn Fn(&Side) -> Call| twins.ask(place, through, make);
    match world.random.below(22) {
        0..5 => {
            for step in world.next(Area::Kv) {
                if let Step::Call { call, .. } = step {
                    ask(&|_| call.clone());
                }
            }
        }
        5 | 6 => {
            let linearizable = world.random.one_in(2);
            ask(&|_| call("Cluster/MemberList", &pb::MemberListRequest { linearizable }));
        }
        7..10 => {
            let (url, is_learner) = (world.random.pick(&NOBODY), world.random.one_in(2));
            let one = [url];
            let urls = world.random.pick(&[&one[..], &one, &["x"], &[], &["http://127.0.0.1"]]);
            let peer_ur_ls: Vec<String> = urls.iter().map(|url| url.to_string()).collect();
            let add = pb::MemberAddRequest { peer_ur_ls, is_learner };
            wait_for_another_second();
            ask(&|_| call("Cluster/MemberAdd", &add));
        }
        10..12 => {
            let url = world.random.pick(&NOBODY);
            ask(&|side| {
                call("Cluster/MemberRemove", &pb::MemberRemoveRequest { id: side.id_of(url) })
            });
        }
        12 => {
            let (url, new) = (world.random.pick(&NOBODY), world.random.pick(&NOBODY));
            let peer_ur_ls = vec![new.to_owned()];
            ask(&|side| {
                let (id, peer_ur_ls) = (side.id_of(url), peer_ur_ls.clone());
                call("Cluster/MemberUpdate", &pb::MemberUpdateRequest { id, peer_ur_ls })
            });
        }
        13 => {
            let whom = Whom::draw(world);
            ask(&|side| {
                call("Cluster/MemberPromote", &pb::MemberPromoteRequest { id: whom.id(side) })
            });
        }
        14 | 15 => move_leader(twins, world, leader, place),
        _ => maintenance(twins, world, through, place),
    }
}

/// Versions, states, hashes, alarms and leases.
fn maintenance(twins: &mut Twins, world: &mut World, through: usize, place: &str) {
    let mut ask = |make: &dyn Fn(&Side) -> Call| twins.ask(place, through, make);
    match world.random.below(6) {
        0 => {
            let versions = ["3.6", "3.6.0", "3.5", "3.7", "4.0", "", "x"];
            let (action, version) = match world.random.below(3) {
                0 => (0, world.random.pick(&versions)),
                1 => (1, world.random.pick(&["3.5", "3.7", "4.0", "", "x"])),
                _ => (2, ""),
            };
            let version = version.to_owned();
            ask(&|_| {
                let version = version.clone();
                call("Maintenance/Downgrade", &pb::DowngradeRequest { action, version })
            });
        }
        1 => ask(&|_| call("Maintenance/Status", &pb::StatusRequest {})),
        2 => {
            let revision = world.random.between(-1, world.revision + 1);
            ask(&|_| call("Maintenance/HashKV", &pb::HashKvRequest { revision }));
        }
        3 => {
            let (whom, action) = (Whom::draw(world), world.random.pick(&[0, 0, 1, 2, 2]));
            ask(&|side| {
                let member_id = whom.id(side);
                call("Maintenance/Alarm", &pb::AlarmRequest { action, member_id, alarm: 1 })
            });
        }
        _ => {
            let (id, ttl) = (world.random.between(1, 5), 600);
            let calls = [
                call("Lease/LeaseGrant", &pb::LeaseGrantRequest { ttl, id }),
                call("Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id }),
                call("Lease/LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id, keys: true }),
                call("Lease/LeaseLeases", &pb::LeaseLeasesRequest {}),
                call("Lease/LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id }),
            ];
            let chosen = calls[world.random.below(4) as usize].clone();
            ask(&|_| chosen.clone());
        }
    }
}

fn move_leader(twins: &mut Twins, world: &mut World, leader: &mut usize, place: &str) {
    // Whoever never started cannot lead: real etcd may try for ever, so it is not asked to.
    let whom = match Whom::draw(world) {
        Whom::Added(_) => Whom::Nobody(1),
        other => other,
    };
    let through = if world.random.one_in(4) { (*leader + 1) % 3 } else { *leader };
    twins.ask(place, through, &|side| {
        call("Maintenance/MoveLeader", &pb::MoveLeaderRequest { target_id: whom.id(side) })
    });
    if let Whom::Seat(seat) = whom
        && through == *leader
    {
        *leader = seat;
        twins.wait_for_leader(seat);
    }
}

/// What a learner answers, and what it refuses.
fn of_a_learner(url: &str) -> Vec<Call> {
    let range = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
    let put = pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() };
    let serializable = pb::RangeRequest { serializable: true, ..range.clone() };
    let ask = pb::MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner: false };
    vec![
        call("KV/Range", &range),
        call("KV/Range", &serializable),
        call("KV/Put", &put),
        call("KV/Txn", &pb::TxnRequest::default()),
        call("KV/Compact", &pb::CompactionRequest { revision: 2, physical: false }),
        call("Lease/LeaseGrant", &pb::LeaseGrantRequest { ttl: 600, id: 9 }),
        call("Lease/LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id: 9, keys: false }),
        call("Lease/LeaseLeases", &pb::LeaseLeasesRequest {}),
        call("Cluster/MemberList", &pb::MemberListRequest { linearizable: true }),
        call("Cluster/MemberList", &pb::MemberListRequest { linearizable: false }),
        call("Cluster/MemberAdd", &ask),
        call("Cluster/MemberPromote", &pb::MemberPromoteRequest { id: 1 }),
        call("Maintenance/Status", &pb::StatusRequest {}),
        call("Maintenance/HashKV", &pb::HashKvRequest { revision: 0 }),
        call("Maintenance/Alarm", &pb::AlarmRequest::default()),
        call("Maintenance/MoveLeader", &pb::MoveLeaderRequest { target_id: 1 }),
        call("Maintenance/Downgrade", &pb::DowngradeRequest { action: 0, version: "3.6".into() }),
        call("Auth/AuthStatus", &pb::AuthStatusRequest {}),
    ]
}

/// A learner that runs comes to both, is asked, is promoted through a follower, and leaves.
fn learners(twins: &mut Twins, reference: &std::path::Path, subject: &std::path::Path) {
    let seat = twins.add_learner(reference, subject);
    for request in of_a_learner(NOBODY[0]) {
        twins.ask("learner", seat, &|_| request.clone());
    }
    twins.ask("learner", 1, &|side| {
        call("Maintenance/MoveLeader", &pb::MoveLeaderRequest { target_id: side.id(seat) })
    });
    twins.ask("learner", 1, &|side| {
        call("Cluster/MemberPromote", &pb::MemberPromoteRequest { id: side.id(seat) })
    });
    twins.wait("word of the promotion", |side| {
        side.cluster.status(seat).is_some_and(|status| !status.is_learner)
    });
    for through in [0, seat] {
        twins.ask("promoted", through, &|_| {
            call("Cluster/MemberList", &pb::MemberListRequest { linearizable: true })
        });
    }
    sleep(Duration::from_secs(6));
    twins.ask("promoted", 1, &|side| {
        call("Cluster/MemberRemove", &pb::MemberRemoveRequest { id: side.id(seat) })
    });
    twins.reference.cluster.kill(seat);
    twins.subject.cluster.kill(seat);
}

/// A voter that is listed and never starts: it cannot be promoted, and can go.
fn strangers(twins: &mut Twins) {
    let peer_ur_ls = vec![NOBODY[2].to_owned()];
    let add = pb::MemberAddRequest { peer_ur_ls, is_learner: false };
    twins.ask("stranger", 0, &|_| call("Cluster/MemberAdd", &add));
    for through in [0, 1] {
        twins.ask("stranger", through, &|side| {
            let id = side.id_of(NOBODY[2]);
            call("Cluster/MemberPromote", &pb::MemberPromoteRequest { id })
        });
    }
    twins.ask("stranger", 1, &|side| {
        call("Cluster/MemberRemove", &pb::MemberRemoveRequest { id: side.id_of(NOBODY[2]) })
    });
}

/// What a member alone of three answers, each in its own time.
fn without_a_quorum(twins: &mut Twins) {
    for side in [&mut twins.reference, &mut twins.subject] {
        side.cluster.kill(1);
        side.cluster.kill(2);
    }
    twins.wait("the loss of the leader", |side| {
        side.cluster.status(0).is_some_and(|status| status.leader == 0)
    });
    sleep(Duration::from_secs(3));
    let mut calls = of_a_learner(NOBODY[0]);
    let range = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
    calls.push(call("KV/Range", &range).with_header("hasleader", "true"));
    twins.ask_at_once("no quorum", 0, &calls);
}

#[test]
fn clusters_have_real_etcds_answers() {
    let name = "oracle-cluster";
    if std::env::var("HOLDFAST_AREA").is_ok_and(|area| area != "cluster") {
        return;
    }
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let Some(subject) = foreign::subject(name) else { return };
    let seed = random::seed(name, 1000);
    let mut twins = Twins::start(&reference, &subject, &[]);
    let (mut world, mut leader) = (World::new(seed, false), 0);
    strangers(&mut twins);
    while twins.findings.requests < REQUESTS {
        step(&mut twins, &mut world, &mut leader, &format!("seed {seed}"));
    }
    // Whoever never started goes, so that the rest is about those who run.
    for number in 0..twins.reference.added().count() {
        twins.ask("the end of strangers", leader, &|side| {
            let id = side.added().nth(number).unwrap_or_default();
            call("Cluster/MemberRemove", &pb::MemberRemoveRequest { id })
        });
    }
    twins.reference.cluster.move_leader(0);
    twins.subject.cluster.move_leader(0);
    learners(&mut twins, &reference, &subject);
    without_a_quorum(&mut twins);
    crate::oracle::judge(name, &twins.findings);
}

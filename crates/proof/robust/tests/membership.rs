//! Members come, go and change their part in a cluster of real processes, as operators do it with `etcdctl`; and
//! what followers and learners do for clients meanwhile.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::{Cluster, Writer};
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::grpc::{Answer, Call, Connection, Item};
use prost::Message as _;
use proto::etcdserverpb as pb;

/// How long members must have been connected before anybody may come or go.
const SETTLED_AFTER: Duration = Duration::from_secs(6);

fn answer(cluster: &Cluster, seat: usize, path: &str, message: &impl prost::Message) -> Answer {
    let connection = Connection::open(&cluster.address(seat)).expect("it serves");
    connection.unary(path, message)
}

#[track_caller]
fn ask<M: prost::Message + Default>(
    cluster: &Cluster,
    seat: usize,
    path: &str,
    message: &impl prost::Message,
) -> M {
    answer(cluster, seat, path, message).ok()
}

/// The text with which a call is refused.
#[track_caller]
fn refused(cluster: &Cluster, seat: usize, path: &str, message: &impl prost::Message) -> String {
    let answer = answer(cluster, seat, path, message);
    assert!(!answer.is_ok(), "{path} was not refused");
    answer.message.unwrap_or_default()
}

fn members(cluster: &Cluster, seat: usize) -> Vec<pb::Member> {
    let request = pb::MemberListRequest { linearizable: true };
    let path = "/etcdserverpb.Cluster/MemberList";
    ask::<pb::MemberListResponse>(cluster, seat, path, &request).members
}

fn id(cluster: &Cluster, seat: usize) -> u64 {
    cluster.status(seat).and_then(|it| it.header).map_or(0, |header| header.member_id)
}

/// Runs an `etcdctl` until it says `done`: a change may have to wait until everybody is connected again.
#[track_caller]
fn etcdctl_until(cluster: &Cluster, etcdctl: &Path, line: &str, done: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let said = cluster.etcdctl(etcdctl, line);
        if said.contains(done) {
            return;
        }
        assert!(Instant::now() < deadline, "etcdctl {line}: {said}");
        sleep(Duration::from_millis(500));
    }
}

fn three(name: &str) -> Option<(Cluster, PathBuf)> {
    let ours = foreign::subject(name)?;
    Some((Cluster::start(&[&ours, &ours, &ours], &[]), ours))
}

/// Adds a learner, lets it catch up and makes it a voter, asking a follower.
#[track_caller]
fn learner_story(name: &str, part: Part) {
    let Some((mut cluster, ours)) = three(name) else { return };
    let Some(etcdctl) = need(name, part) else { return };
    for key in 0..50 {
        cluster.put(0, &format!("k{key}"), "v").expect("acknowledged");
    }
    let seat = cluster.add_seat(&ours);
    let add = format!("member add m4 --learner --peer-urls={}", cluster.peer_url(seat));
    etcdctl_until(&cluster, &etcdctl, &add, " to cluster ");
    let learner = members(&cluster, 0).into_iter().find(|it| it.is_learner).expect("it is listed");
    assert!(learner.name.is_empty(), "it has not started: {learner:?}");
    // One that has not come yet is far behind.
    let promote = format!("member promote {:x}", learner.id);
    let said = cluster.etcdctl(&etcdctl, &promote);
    assert!(said.contains("in sync with leader"), "{said}");

    cluster.launch(seat);
    wait_for(|| cluster.status(seat).is_some_and(|it| it.leader != 0 && it.is_learner));
    refusals_of_a_learner(&cluster, seat);

    let follower = (cluster.leader() + 1) % 3;
    let path = "/etcdserverpb.Cluster/MemberPromote";
    let request = pb::MemberPromoteRequest { id: learner.id };
    wait_for(|| {
        let answer = answer(&cluster, follower, path, &request);
        let promoted = answer.is_ok();
        if promoted {
            let all = answer.ok::<pb::MemberPromoteResponse>().members;
            assert!(all.len() == 4 && all.iter().all(|it| !it.is_learner), "{all:?}");
        }
        promoted
    });
    cluster.wait_until_ready(seat);
    cluster.wait_until_equal();
    assert_eq!(cluster.get(seat, "k49"), Ok(Some("v".to_owned())));
    assert!(refused(&cluster, follower, path, &request).contains("can only promote a learner"));
    let unknown = pb::MemberPromoteRequest { id: 5 };
    assert_eq!(refused(&cluster, follower, path, &unknown), "etcdserver: member not found");
    cluster.put(seat, "after", "v").expect("it is a member like any other");
}

#[track_caller]
fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it never came to that");
        sleep(Duration::from_millis(100));
    }
}

/// A learner serves what needs no more than its own store.
#[track_caller]
fn refusals_of_a_learner(cluster: &Cluster, seat: usize) {
    let not_here = "etcdserver: rpc not supported for learner";
    let get = |serializable| pb::RangeRequest {
        key: "k0".into(),
        serializable,
        ..pb::RangeRequest::default()
    };
    let range = "/etcdserverpb.KV/Range";
    assert_eq!(refused(cluster, seat, range, &get(false)), not_here);
    wait_for(|| {
        let found = answer(cluster, seat, range, &get(true));
        found.is_ok() && found.ok::<pb::RangeResponse>().kvs.len() == 1
    });
    let put = pb::PutRequest { key: "k".into(), ..pb::PutRequest::default() };
    assert_eq!(refused(cluster, seat, "/etcdserverpb.KV/Put", &put), not_here);
    let list = pb::MemberListRequest::default();
    assert_eq!(refused(cluster, seat, "/etcdserverpb.Cluster/MemberList", &list), not_here);
    let watch = pb::WatchRequest::default();
    assert_eq!(refused(cluster, seat, "/etcdserverpb.Watch/Watch", &watch), not_here);
    let connection = Connection::open(&cluster.address(seat)).expect("it serves");
    let saved = connection.unary("/etcdserverpb.Maintenance/Snapshot", &pb::SnapshotRequest {});
    assert!(saved.is_ok() && 1 < saved.messages.len(), "{:?}", saved.message);
}

#[test]
fn a_learner_comes_catches_up_and_is_promoted() {
    learner_story("learner", Part::EtcdctlNew);
}

#[test]
fn a_learner_comes_by_the_etcdctl_of_3_4() {
    learner_story("learner-3.4", Part::Etcdctl34);
}

/// The runbook: a member is dead for good; it is removed, its place wiped, and a new one added.
#[track_caller]
fn replace_a_dead_member(name: &str, part: Part) {
    let Some((mut cluster, _)) = three(name) else { return };
    let Some(etcdctl) = need(name, part) else { return };
    sleep(SETTLED_AFTER);
    let writer = Writer::start(&cluster, "w");
    let dead = cluster.leader();
    let (gone, lives) = (id(&cluster, dead), (dead + 1) % 3);
    sleep(Duration::from_millis(300));
    cluster.kill(dead);
    cluster.leader();
    let removed = format!("Member {gone:16x} removed from cluster");
    etcdctl_until(&cluster, &etcdctl, &format!("member remove {gone:x}"), &removed);
    // Its id is gone for good.
    let again = pb::MemberRemoveRequest { id: gone };
    let path = "/etcdserverpb.Cluster/MemberRemove";
    assert_eq!(refused(&cluster, lives, path, &again), "etcdserver: member not found");

    let name = format!("m{}", dead + 1);
    let add = format!("member add {name} --peer-urls={}", cluster.peer_url(dead));
    etcdctl_until(&cluster, &etcdctl, &add, "added to cluster");
    cluster.wipe(dead);
    let all = cluster.initial();
    cluster.will_join(dead, &all);
    cluster.launch(dead);
    cluster.wait_until_ready(dead);
    assert_ne!(id(&cluster, dead), gone);
    let written = writer.stop();
    cluster.wait_until_equal();
    (0..3).for_each(|seat| written.check(&cluster, seat));
    assert!(members(&cluster, dead).iter().all(|it| !it.name.is_empty()));
}

#[test]
fn a_dead_member_is_replaced_as_the_runbook_says() {
    replace_a_dead_member("replace", Part::EtcdctlNew);
}

#[test]
fn a_dead_member_is_replaced_by_the_etcdctl_of_3_4() {
    replace_a_dead_member("replace-3.4", Part::Etcdctl34);
}

#[test]
fn members_are_removed_down_to_the_last_who_stays() {
    let Some((mut cluster, _)) = three("remove") else { return };
    cluster.put(0, "a", "v").expect("acknowledged");
    sleep(SETTLED_AFTER);
    let path = "/etcdserverpb.Cluster/MemberRemove";
    let left = |cluster: &Cluster, through: usize, gone: usize| {
        let request = pb::MemberRemoveRequest { id: id(cluster, gone) };
        ask::<pb::MemberRemoveResponse>(cluster, through, path, &request).members.len()
    };
    // A follower, and then the leader: both end by themselves.
    let leader = cluster.leader();
    let (follower, last) = ((leader + 1) % 3, (leader + 2) % 3);
    assert_eq!(left(&cluster, leader, follower), 2);
    assert!(cluster.wait_for_end(follower).success());
    let (leader, last) = if cluster.leader() == last { (last, leader) } else { (leader, last) };
    assert_eq!(left(&cluster, last, leader), 1);
    assert!(cluster.wait_for_end(leader).success());
    assert_eq!(cluster.leader(), last);
    cluster.put(last, "b", "v").expect("it goes on alone");
    assert_eq!(cluster.get(last, "a"), Ok(Some("v".to_owned())));
    let myself = pb::MemberRemoveRequest { id: id(&cluster, last) };
    let text = refused(&cluster, last, path, &myself);
    assert_eq!(text, "etcdserver: re-configuration failed due to not enough started members");
}

#[test]
fn what_would_cost_the_quorum_is_refused() {
    let Some((mut cluster, _)) = three("strict") else { return };
    sleep(SETTLED_AFTER);
    let dead = (cluster.leader() + 1) % 3;
    let gone = id(&cluster, dead);
    cluster.kill(dead);
    let leader = cluster.leader();
    let other =
        (0..3).find(|seat| ![dead, leader].contains(seat)).expect("three are more than two");
    wait_for(|| cluster.log(leader).contains("inactive"));
    let add = pb::MemberAddRequest {
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        is_learner: false,
    };
    let text = refused(&cluster, leader, "/etcdserverpb.Cluster/MemberAdd", &add);
    assert_eq!(text, "etcdserver: unhealthy cluster");
    let path = "/etcdserverpb.Cluster/MemberRemove";
    let living = pb::MemberRemoveRequest { id: id(&cluster, other) };
    assert_eq!(refused(&cluster, leader, path, &living), "etcdserver: unhealthy cluster");
    // The dead one may go, and then nobody is away any more.
    let dead_one = pb::MemberRemoveRequest { id: gone };
    let left = ask::<pb::MemberRemoveResponse>(&cluster, leader, path, &dead_one).members;
    assert_eq!(left.len(), 2);
    let bad = pb::MemberAddRequest::default();
    let text = refused(&cluster, leader, "/etcdserverpb.Cluster/MemberAdd", &bad);
    assert_eq!(text, "etcdserver: given member URLs are invalid");
    let taken = pb::MemberUpdateRequest { id: left[0].id, peer_ur_ls: left[1].peer_ur_ls.clone() };
    let text = refused(&cluster, leader, "/etcdserverpb.Cluster/MemberUpdate", &taken);
    assert_eq!(text, "etcdserver: Peer URLs already exists");
}

/// `move-leader` of both `etcdctl`s, and its refusals.
/// Whoever heard that one change was made may ask for the next at once, however busy the member is with puts.
#[test]
fn changes_that_follow_each_other_at_once_are_all_taken() {
    let name = "changes-at-once";
    let Some(ours) = foreign::subject(name) else { return };
    let cluster = Cluster::start(&[&ours], &[]);
    let (id, url) = (id(&cluster, 0), cluster.peer_url(0));
    let writer = Writer::start(&cluster, "beside");
    for round in 0..300 {
        let peer_ur_ls = vec![url.clone(), format!("http://127.0.0.1:{}", 1 + round % 2)];
        let update = pb::MemberUpdateRequest { id, peer_ur_ls };
        let updated = answer(&cluster, 0, "/etcdserverpb.Cluster/MemberUpdate", &update);
        assert!(updated.is_ok(), "round {round}: {:?}", updated.message);
    }
    writer.stop().check(&cluster, 0);
}

#[test]
fn leadership_is_moved_where_an_operator_wants_it() {
    let name = "move";
    let Some((cluster, _)) = three(name) else { return };
    for part in [Part::EtcdctlNew, Part::Etcdctl34] {
        let Some(etcdctl) = need(name, part) else { return };
        let from = cluster.leader();
        let to = (from + 1) % 3;
        let line = format!("move-leader {:x}", id(&cluster, to));
        let said = cluster.etcdctl(&etcdctl, &line);
        assert!(said.contains("Leadership transferred from"), "{said}");
        assert_eq!(cluster.leader(), to);
    }
    let path = "/etcdserverpb.Maintenance/MoveLeader";
    let leader = cluster.leader();
    let nobody = pb::MoveLeaderRequest { target_id: 5 };
    assert_eq!(refused(&cluster, leader, path, &nobody), "etcdserver: bad leader transferee");
    let follower = (leader + 1) % 3;
    assert_eq!(refused(&cluster, follower, path, &nobody), "etcdserver: not leader");
}

/// A lease lives for as long as somebody keeps it alive through a follower, whoever leads.
#[test]
fn a_lease_is_kept_alive_through_a_follower() {
    let Some((mut cluster, _)) = three("keep-alive") else { return };
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let grant = pb::LeaseGrantRequest { ttl: 3, id: 77 };
    ask::<pb::LeaseGrantResponse>(&cluster, follower, "/etcdserverpb.Lease/LeaseGrant", &grant);
    let put = pb::PutRequest { key: "l".into(), lease: 77, ..pb::PutRequest::default() };
    ask::<pb::PutResponse>(&cluster, follower, "/etcdserverpb.KV/Put", &put);

    let connection = Connection::open(&cluster.address(follower)).expect("it serves");
    let mut stream = connection.stream("/etcdserverpb.Lease/LeaseKeepAlive");
    let keep = |stream: &mut holdfast_robust::grpc::Stream, id: i64| {
        stream.send(&pb::LeaseKeepAliveRequest { id });
        stream.expect::<pb::LeaseKeepAliveResponse>().ttl
    };
    for _ in 0..8 {
        sleep(Duration::from_millis(700));
        assert_eq!(keep(&mut stream, 77), 3);
    }
    assert_eq!(keep(&mut stream, 78), 0, "nobody granted it");
    // The stream goes on with whoever leads next.
    cluster.kill(leader);
    for _ in 0..4 {
        assert_eq!(keep(&mut stream, 77), 3);
        sleep(Duration::from_millis(700));
    }
    let new = cluster.leader();
    let other = (0..3).find(|seat| ![leader, new].contains(seat)).expect("three are more than two");
    let request = pb::LeaseTimeToLiveRequest { id: 77, keys: true };
    let path = "/etcdserverpb.Lease/LeaseTimeToLive";
    let left = ask::<pb::LeaseTimeToLiveResponse>(&cluster, other, path, &request);
    assert!((0..=3).contains(&left.ttl) && left.granted_ttl == 3, "{left:?}");
    assert_eq!(left.keys, ["l"]);
    let unknown = pb::LeaseTimeToLiveRequest { id: 78, keys: false };
    let left = ask::<pb::LeaseTimeToLiveResponse>(&cluster, other, path, &unknown);
    assert_eq!((left.id, left.ttl), (78, -1));
    // Left alone it ends.
    drop(stream);
    wait_for(|| cluster.get(other, "l") == Ok(None));
}

/// Without a quorum: who wants a leader is told at once, streams that want one end, and the rest waits its time.
#[test]
fn a_member_without_a_leader_says_so() {
    let Some((mut cluster, _)) = three("no-leader") else { return };
    let stays = (cluster.leader() + 1) % 3;
    let connection = Connection::open(&cluster.address(stays)).expect("it serves");
    let create = pb::WatchCreateRequest { key: "a".into(), ..pb::WatchCreateRequest::default() };
    let create = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    let call = Call::unary("/etcdserverpb.Watch/Watch", &create.encode_to_vec());
    let mut watch = connection.begin(&call.with_header("hasleader", "true")).expect("it is taken");
    assert!(watch.expect::<pb::WatchResponse>().created);
    (0..3).filter(|seat| *seat != stays).for_each(|seat| cluster.kill(seat));
    wait_for(|| cluster.status(stays).is_some_and(|it| it.leader == 0));

    let status = cluster.status(stays).expect("it answers");
    assert_eq!(status.errors, ["etcdserver: no leader"]);
    let get = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
    let get = Call::unary("/etcdserverpb.KV/Range", &get.encode_to_vec());
    let told = connection.call(&get.with_header("hasleader", "true"));
    assert_eq!(told.message.as_deref(), Some("etcdserver: no leader"));
    let put = pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() };
    let text = refused(&cluster, stays, "/etcdserverpb.KV/Put", &put);
    assert!(text.starts_with("etcdserver: request timed out"), "{text}");
    match watch.next(Duration::from_secs(10)) {
        Item::End(end) => assert_eq!(end.message.as_deref(), Some("etcdserver: no leader")),
        other => panic!("{other:?}"),
    }
}

/// The way to an older release is tried, begun and called off.
#[test]
fn a_downgrade_is_begun_and_called_off() {
    let name = "downgrade";
    let Some((cluster, _)) = three(name) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let run = |line: &str| cluster.etcdctl(&etcdctl, line);
    let said = run("downgrade validate 3.6");
    assert!(said.contains("Downgrade validate success, cluster version 3.7"), "{said}");
    assert!(run("downgrade validate 3.5").contains("invalid downgrade target version"));
    let said = run("downgrade enable 3.6.0");
    assert!(said.contains("Downgrade enable success"), "{said}");
    wait_for(|| {
        let all: Vec<_> = (0..3).filter_map(|seat| cluster.status(seat)).collect();
        let lowered = |it: &pb::StatusResponse| it.storage_version == "3.6.0";
        all.len() == 3 && all.iter().all(lowered)
    });
    assert!(run("downgrade enable 3.6").contains("invalid downgrade target version"));
    assert!(run("downgrade cancel").contains("Downgrade cancel success"));
    wait_for(|| {
        let all: Vec<_> = (0..3).filter_map(|seat| cluster.status(seat)).collect();
        let back = |it: &pb::StatusResponse| it.storage_version == "3.7.0";
        all.len() == 3 && all.iter().all(back)
    });
}

//! A Go member's data directory goes on under our server, in place, and under Go again: the same member, data,
//! history, leases, users and alarms, whichever of the two runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::{Cluster, ELECTION_TIMEOUT, Writer, Written};
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::grpc::Connection;
use proto::etcdserverpb as pb;

/// Everything a client can ask for that must be the same after a directory changed hands.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture {
    member: u64,
    cluster: u64,
    revision: i64,
    hash: u32,
    compacted: i64,
    members: Vec<pb::Member>,
    leases: Vec<(i64, i64, usize)>,
    users: Vec<String>,
    roles: Vec<String>,
    permissions: Vec<pb::AuthRoleGetResponse>,
    alarms: Vec<pb::AlarmMember>,
}

#[track_caller]
pub(crate) fn ask<M: prost::Message + Default>(
    connection: &Connection,
    method: &str,
    message: &impl prost::Message,
) -> M {
    connection.unary(&format!("/etcdserverpb.{method}"), message).ok()
}

/// The state of a seat that serves.
#[track_caller]
pub(crate) fn picture(cluster: &Cluster, seat: usize) -> Picture {
    let it = Connection::open(&cluster.address(seat)).expect("it serves");
    let hashed: pb::HashKvResponse =
        ask(&it, "Maintenance/HashKV", &pb::HashKvRequest { revision: 0 });
    let header = hashed.header.expect("a header");
    let list = pb::MemberListRequest { linearizable: true };
    let mut members = ask::<pb::MemberListResponse>(&it, "Cluster/MemberList", &list).members;
    members.sort_by_key(|member| member.id);
    let leases: pb::LeaseLeasesResponse =
        ask(&it, "Lease/LeaseLeases", &pb::LeaseLeasesRequest::default());
    let lease = |id| {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        let left: pb::LeaseTimeToLiveResponse = ask(&it, "Lease/LeaseTimeToLive", &request);
        (id, left.granted_ttl, left.keys.len())
    };
    let mut leases: Vec<_> = leases.leases.iter().map(|found| lease(found.id)).collect();
    leases.sort_unstable();
    let mut users: Vec<String> =
        ask::<pb::AuthUserListResponse>(&it, "Auth/UserList", &pb::AuthUserListRequest {}).users;
    users.sort();
    let mut roles: Vec<String> =
        ask::<pb::AuthRoleListResponse>(&it, "Auth/RoleList", &pb::AuthRoleListRequest {}).roles;
    roles.sort();
    let permissions = roles.iter().map(|role| {
        let request = pb::AuthRoleGetRequest { role: role.clone() };
        let found: pb::AuthRoleGetResponse = ask(&it, "Auth/RoleGet", &request);
        pb::AuthRoleGetResponse { header: None, ..found }
    });
    let permissions = permissions.collect();
    let mut alarms =
        ask::<pb::AlarmResponse>(&it, "Maintenance/Alarm", &pb::AlarmRequest::default()).alarms;
    alarms.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
    Picture {
        member: header.member_id,
        cluster: header.cluster_id,
        revision: header.revision,
        hash: hashed.hash,
        compacted: hashed.compact_revision,
        members,
        leases,
        users,
        roles,
        permissions,
        alarms,
    }
}

/// Keys with history and leases, a compaction, users and roles.
#[track_caller]
pub(crate) fn fill(cluster: &Cluster, seat: usize, prefix: &str) {
    let it = Connection::open(&cluster.address(seat)).expect("it serves");
    for (id, ttl) in [(11, 1000), (12, 2000)] {
        // Another round finds them there.
        let _ = it.unary("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { id, ttl });
    }
    let mut last = 0;
    for number in 0..240i64 {
        let put = pb::PutRequest {
            key: format!("{prefix}{}", number % 60).into(),
            value: vec![b'v'; 20 + number as usize].into(),
            lease: [0, 11, 12][(number % 3) as usize],
            ..Default::default()
        };
        let done: pb::PutResponse = ask(&it, "KV/Put", &put);
        last = done.header.expect("a header").revision;
    }
    let (key, range_end) = (format!("{prefix}1").into(), format!("{prefix}2").into());
    let delete = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
    ask::<pb::DeleteRangeResponse>(&it, "KV/DeleteRange", &delete);
    let compact = pb::CompactionRequest { revision: last - 30, physical: true };
    ask::<pb::CompactionResponse>(&it, "KV/Compact", &compact);
    let again = pb::PutRequest { key: format!("{prefix}1").into(), ..Default::default() };
    ask::<pb::PutResponse>(&it, "KV/Put", &again);
}

/// A user with a role and a permission.
#[track_caller]
fn add_user(cluster: &Cluster, seat: usize) {
    let it = Connection::open(&cluster.address(seat)).expect("it serves");
    let role = pb::AuthRoleAddRequest { name: "r".into() };
    ask::<pb::AuthRoleAddResponse>(&it, "Auth/RoleAdd", &role);
    let perm = proto::authpb::Permission { perm_type: 2, key: "k".into(), range_end: "l".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    ask::<pb::AuthRoleGrantPermissionResponse>(&it, "Auth/RoleGrantPermission", &grant);
    let user =
        pb::AuthUserAddRequest { name: "u".into(), password: "pw".into(), ..Default::default() };
    ask::<pb::AuthUserAddResponse>(&it, "Auth/UserAdd", &user);
    let grant = pb::AuthUserGrantRoleRequest { user: "u".into(), role: "r".into() };
    ask::<pb::AuthUserGrantRoleResponse>(&it, "Auth/UserGrantRole", &grant);
}

#[track_caller]
fn alarm(cluster: &Cluster, seat: usize, member: u64, raise: bool) {
    let it = Connection::open(&cluster.address(seat)).expect("it serves");
    let action = if raise { 1 } else { 2 };
    let alarm = pb::AlarmRequest { action, member_id: member, alarm: 1 };
    ask::<pb::AlarmResponse>(&it, "Maintenance/Alarm", &alarm);
}

/// Our etcdutl, which is built beside the server.
pub(crate) fn etcdutl(subject: &Path, name: &str) -> Option<PathBuf> {
    let path = subject.with_file_name("etcdutl");
    if !path.exists() {
        foreign::skip(
            name,
            "no etcdutl is built beside the server (remedy: cargo build -p etcdutl)",
        );
        return None;
    }
    Some(path)
}

/// Runs our `etcdutl migrate` on a seat's directory.
#[track_caller]
pub(crate) fn migrate(etcdutl: &Path, data_dir: &Path, words: &[&str]) -> String {
    let ran = Command::new(etcdutl)
        .args(["migrate", "--data-dir"])
        .arg(data_dir)
        .args(words)
        .output()
        .expect("etcdutl runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{words:?}: {said}");
    said
}

/// The same again, but for what a start itself may change.
#[track_caller]
pub(crate) fn compare(before: &Picture, now: &Picture, story: &str) {
    assert_eq!(before, now, "{story}");
}

/// Starts a seat with another program.
#[track_caller]
pub(crate) fn start_with(cluster: &mut Cluster, seat: usize, binary: &Path) {
    cluster.set_binary(seat, binary);
    cluster.launch(seat);
    cluster.wait_until_ready(seat);
}

/// Go's directory, left by SIGTERM or kill -9, goes on under ours, and ours under Go.
fn there_and_back(name: &str, part: Part, version: &str, kill: bool) {
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdutl)) = (need(name, part), etcdutl(&ours, name)) else { return };
    // So that there is a snapshot of the log, and entries behind it.
    let mut cluster = Cluster::start(&[&go], &["--snapshot-count=100"]);
    fill(&cluster, 0, "k");
    add_user(&cluster, 0);
    let member = picture(&cluster, 0).member;
    alarm(&cluster, 0, member, true);
    let before = picture(&cluster, 0);
    assert!(before.leases.len() == 2 && before.users == ["u"] && before.alarms.len() == 1);
    if kill {
        cluster.kill(0);
    } else {
        cluster.stop(0);
    }

    start_with(&mut cluster, 0, &ours);
    let dir = cluster.data_dir(0).join("member");
    assert!(!dir.join("snap/db").exists() && dir.join("taken-over/db").exists());
    assert!(cluster.log(0).contains("took over the data directory of a Go etcd"));
    compare(&before, &picture(&cluster, 0), "taken over");
    alarm(&cluster, 0, member, false);
    fill(&cluster, 0, "k2");
    let before = picture(&cluster, 0);
    cluster.kill(0);
    start_with(&mut cluster, 0, &ours);
    compare(&before, &picture(&cluster, 0), "ours, once more");

    // A lone member's version is lowered, so that any release may follow.
    cluster.stop(0);
    let said = migrate(
        &etcdutl,
        &cluster.data_dir(0),
        &["--target-format=go", &format!("--target-version={version}")],
    );
    assert!(said.contains("gave the data directory the form of a Go etcd"), "{said}");
    start_with(&mut cluster, 0, &go);
    compare(&before, &picture(&cluster, 0), "Go again");
    fill(&cluster, 0, "k3");
    let before = picture(&cluster, 0);
    cluster.stop(0);

    // Offline, as the server does it; the store that Go left behind is no hindrance.
    let said = migrate(&etcdutl, &cluster.data_dir(0), &["--target-format=holdfast"]);
    assert!(said.contains("took over the data directory of a Go etcd"), "{said}");
    start_with(&mut cluster, 0, &ours);
    compare(&before, &picture(&cluster, 0), "ours, by etcdutl");
    println!("{name}: {part:?} to ours and back, twice");
}

#[test]
fn a_directory_of_3_4_is_taken_over_and_handed_back() {
    there_and_back("takeover-3.4", Part::Etcd34, "3.4", false);
}

#[test]
fn a_directory_of_3_5_is_taken_over_and_handed_back() {
    there_and_back("takeover-3.5", Part::Etcd35, "3.5", true);
}

#[test]
fn a_directory_of_3_6_is_taken_over_and_handed_back() {
    there_and_back("takeover-3.6", Part::Etcd36, "3.6", true);
}

#[test]
fn a_directory_of_the_newest_is_taken_over_and_handed_back() {
    there_and_back("takeover-new", Part::EtcdNew, "3.7", true);
}

#[test]
fn a_directory_is_left_alone_with_takeover_refuse_and_found_with_a_log_elsewhere() {
    let name = "takeover-refused";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, Part::Etcd34) else { return };
    let wal = tempfile::tempdir().expect("a folder");
    let wal_dir = format!("--wal-dir={}", wal.path().join("wal").display());
    let mut cluster = Cluster::start(&[&go], &[&wal_dir]);
    fill(&cluster, 0, "k");
    let before = picture(&cluster, 0);
    cluster.stop(0);
    let database = cluster.data_dir(0).join("member/snap/db");
    let bytes = std::fs::read(&database).expect("it is there");

    let refused = |flags: &[&str]| {
        let ran = Command::new(&ours)
            .arg(format!("--data-dir={}", cluster.data_dir(0).display()))
            .args(["--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://x:1"])
            .args(["--listen-peer-urls=http://127.0.0.1:0", "--initial-cluster=default=http://x:2"])
            .arg("--initial-advertise-peer-urls=http://x:2")
            .args(flags)
            .output()
            .expect("it starts");
        assert!(!ran.status.success());
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let said = refused(&[&wal_dir, "--takeover=refuse"]);
    assert!(
        said.contains("is the database of a Go etcd, and --takeover=refuse was given"),
        "{said}"
    );
    // Without the log nobody knows where the database stands.
    let said = refused(&[]);
    assert!(said.contains("if the log is elsewhere, give --wal-dir"), "{said}");
    assert!(std::fs::read(&database).is_ok_and(|now| now == bytes), "it was changed");

    start_with(&mut cluster, 0, &ours);
    compare(&before, &picture(&cluster, 0), "with --wal-dir");
}

#[test]
fn what_clients_of_the_v2_api_stored_is_refused_by_its_path_and_the_directory_left_alone() {
    let name = "takeover-v2";
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdctl), Some(etcdutl)) =
        (need(name, Part::Etcd34), need(name, Part::Etcdctl34), etcdutl(&ours, name))
    else {
        return;
    };
    let mut cluster = Cluster::start(&[&go], &["--enable-v2=true", "--snapshot-count=10"]);
    let check = |cluster: &Cluster| {
        let words = ["check", "v2store", "--data-dir"];
        let ran = Command::new(&etcdutl).args(words).arg(cluster.data_dir(0)).output();
        let ran = ran.expect("etcdutl runs");
        (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    cluster.stop(0);
    let clean = "No custom content found in both v2store and WAL records.\n".to_owned();
    assert_eq!(check(&cluster), (true, clean));
    start_with(&mut cluster, 0, &go);
    // Once in the log alone, then in a `.snap` file.
    for puts in [0, 30] {
        let url = format!("http://{}", cluster.address(0));
        let v2 = Command::new(&etcdctl)
            .env("ETCDCTL_API", "2")
            .args(["--endpoints", &url, "set", "/old/key", "value"])
            .output()
            .expect("etcdctl runs");
        assert!(v2.status.success(), "{v2:?}");
        for number in 0..puts {
            cluster.put(0, &format!("k{number}"), "v").expect("acknowledged");
        }
        cluster.stop(0);
        assert_eq!(check(&cluster), (false, String::new()));
        // Our server would refuse the flag as well, so the tool is asked.
        let ran = Command::new(&etcdutl)
            .args(["migrate", "--target-format=holdfast", "--data-dir"])
            .arg(cluster.data_dir(0))
            .output()
            .expect("etcdutl runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains("/1/old"), "{said}");
        start_with(&mut cluster, 0, &go);
    }
}

#[test]
fn passwords_and_authentication_go_along() {
    let name = "takeover-auth";
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdctl), Some(etcdutl)) =
        (need(name, Part::Etcd34), need(name, Part::Etcdctl34), etcdutl(&ours, name))
    else {
        return;
    };
    let mut cluster = Cluster::start(&[&go], &[]);
    let say = |cluster: &Cluster, line: &str| cluster.etcdctl(&etcdctl, line);
    say(&cluster, "put k v");
    for line in ["user add root:secret", "role add root", "user grant-role root root"] {
        let said = say(&cluster, line);
        assert!(said.contains("root"), "{line}: {said}");
    }
    let said = say(&cluster, "auth enable");
    assert!(said.contains("Authentication Enabled"), "{said}");
    for (binary, words) in
        [(&ours, None), (&go, Some(["--target-format=go", "--target-version=3.4"])), (&ours, None)]
    {
        cluster.stop(0);
        if let Some(words) = words {
            migrate(&etcdutl, &cluster.data_dir(0), &words);
        }
        cluster.set_binary(0, binary);
        cluster.launch(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        let get = "--user=root:secret get k --print-value-only";
        while say(&cluster, get).trim() != "v" {
            assert!(Instant::now() < deadline, "{}", say(&cluster, get));
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = say(&cluster, "--user=root:wrong get k");
        assert!(said.contains("authentication failed"), "{said}");
        let said = say(&cluster, "get k");
        assert!(said.contains("user name is empty"), "{said}");
    }
}

/// What was acknowledged is there. A writer may have had nothing acknowledged: a follower of 3.4 whose leader stops keeps
/// its client waiting for seconds.
#[track_caller]
fn check(written: &Written, cluster: &Cluster, seat: usize) {
    if !written.acknowledged.is_empty() {
        written.check(cluster, seat);
    }
}

/// Each of three Go members gives its seat to ours and takes it back, one after the other, while clients write.
fn one_by_one(name: &str, part: Part, version: &str, flags: &[&str]) {
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdutl)) = (need(name, part), etcdutl(&ours, name)) else { return };
    let mut cluster = Cluster::start(&[&go, &go, &go], flags);
    fill(&cluster, 0, "k");
    let mut acknowledged = 0;
    for seat in 0..3 {
        // So that nobody waits for an election.
        cluster.move_leader((seat + 1) % 3);
        let prefix = format!("to-ours-{seat}-");
        let writer = Writer::with_patience(&cluster, &prefix, ELECTION_TIMEOUT);
        cluster.stop(seat);
        start_with(&mut cluster, seat, &ours);
        assert!(cluster.log(seat).contains("took over the data directory"), "seat {seat}");
        let written = writer.stop();
        check(&written, &cluster, seat);
        cluster.wait_until_equal();

        let prefix = format!("to-go-{seat}-");
        let writer = Writer::with_patience(&cluster, &prefix, ELECTION_TIMEOUT);
        cluster.stop(seat);
        let version = format!("--target-version={version}");
        migrate(&etcdutl, &cluster.data_dir(seat), &["--target-format=go", &version]);
        start_with(&mut cluster, seat, &go);
        let back = writer.stop();
        check(&back, &cluster, seat);
        check(&written, &cluster, seat);
        cluster.wait_until_equal();
        acknowledged += written.acknowledged.len() + back.acknowledged.len();
        let (there, again) = (written.acknowledged.len(), back.acknowledged.len());
        written.check_gap(&format!("{name}: seat {seat} to ours, {there} writes"));
        back.check_gap(&format!("{name}: seat {seat} back, {again} writes"));
    }
    assert!(0 < acknowledged, "nobody wrote");
    // And all of it, to stay.
    for seat in 0..3 {
        cluster.stop(seat);
        start_with(&mut cluster, seat, &ours);
    }
    cluster.wait_until_equal();
    cluster.put(1, "after", "v").expect("it is a cluster of ours");
}

#[test]
fn three_members_of_3_4_change_hands_one_by_one_under_load() {
    one_by_one("takeover-three-3.4", Part::Etcd34, "3.4", &["--snapshot-count=200"]);
}

#[test]
fn three_members_of_the_newest_change_hands_one_by_one_under_load() {
    one_by_one("takeover-three-new", Part::EtcdNew, "3.7", &["--snapshot-count=200"]);
}

#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: it never came to that");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// After `downgrade enable` a stop leaves Go's form beside ours, and 3.6 goes on with the same flags.
fn downgraded(name: &str, members: usize) {
    let Some(ours) = foreign::subject(name) else { return };
    let (Some(go), Some(etcdctl)) = (need(name, Part::Etcd36), need(name, Part::EtcdctlNew)) else {
        return;
    };
    let mut cluster = Cluster::start(&vec![ours.as_path(); members], &["--snapshot-count=100"]);
    fill(&cluster, 0, "k");
    let version = |cluster: &Cluster, seat: usize| {
        let found = holdfast_robust::http::get(&cluster.address(seat), "/version");
        found.map(|answer| answer.text()).unwrap_or_default()
    };
    until("3.7", || {
        (0..members).all(|it| version(&cluster, it).contains("\"etcdcluster\":\"3.7.0\""))
    });
    let said = cluster.etcdctl_at(&etcdctl, 0, "downgrade enable 3.6.0");
    assert!(said.contains("Downgrade enable success"), "{said}");
    until("3.6", || {
        (0..members).all(|it| version(&cluster, it).contains("\"etcdcluster\":\"3.6.0\""))
    });
    for seat in 0..members {
        let before = picture(&cluster, seat);
        cluster.stop(seat);
        let database = cluster.data_dir(seat).join("member/snap/db");
        assert!(database.exists(), "{}", cluster.log(seat));
        start_with(&mut cluster, seat, &go);
        compare(&before, &picture(&cluster, seat), "3.6 goes on");
        cluster.put(seat, "by-3.6", "v").expect("acknowledged");
        cluster.wait_until_equal();
    }
    fill(&cluster, 0, "k2");
    // Ours again: Go went further, so its state counts.
    for seat in 0..members {
        let before = picture(&cluster, seat);
        cluster.stop(seat);
        start_with(&mut cluster, seat, &ours);
        assert!(cluster.log(seat).contains("took over the data directory"), "seat {seat}");
        compare(&before, &picture(&cluster, seat), "ours again");
        cluster.wait_until_equal();
    }
    // Where Go was quick to be gone it has not noticed that the downgrade was over: it is called off then. The version
    // rises again, and nothing of Go's is left at a stop.
    cluster.etcdctl_at(&etcdctl, 0, "downgrade cancel");
    until("3.7", || {
        (0..members).all(|it| version(&cluster, it).contains("\"etcdcluster\":\"3.7.0\""))
    });
    cluster.stop(0);
    assert!(!cluster.data_dir(0).join("member/snap/db").exists());
}

#[test]
fn a_lone_member_is_downgraded_in_place() {
    downgraded("downgrade-one", 1);
}

#[test]
fn three_members_are_downgraded_in_place() {
    downgraded("downgrade-three", 3);
}

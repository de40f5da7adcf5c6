//! Snapshots move freely: every Go etcd at hand -> us -> Go etcd, and us -> every Go etcd. What was there
//! before is there after, by HashKV and by looking.

use std::path::Path;
use std::process::Command;

use proto::authpb::Permission;
use proto::etcdserverpb as pb;
use robust::foreign::{self, Part};
use robust::grpc::Connection;
use robust::process::{Home, Server};

use crate::support::Sandbox;

/// The name and URL that [`Home`] starts every member with.
const MEMBER: [&str; 6] = [
    "--name",
    "robust",
    "--initial-cluster",
    "robust=http://localhost:2380",
    "--initial-advertise-peer-urls",
    "http://localhost:2380",
];

/// Save with, restore with, start.
const VERSIONS: [(Part, Part, Part); 3] = [
    (Part::Etcdctl34, Part::Etcdctl34, Part::Etcd34),
    (Part::Etcdctl35, Part::Etcdutl35, Part::Etcd35),
    (Part::EtcdctlNew, Part::EtcdutlNew, Part::EtcdNew),
];

#[track_caller]
fn tool(program: &Path, words: &[&str]) {
    let output = Command::new(program).args(words).env("ETCDCTL_API", "3").output();
    let output = output.expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {words:?}: {errors}", program.display());
}

#[track_caller]
fn save(etcdctl: &Path, server: &Server, folder: &Sandbox) -> String {
    let file = folder.path(&format!("{}.db", server.pid())).display().to_string();
    tool(etcdctl, &["--endpoints", &server.address(), "snapshot", "save", &file]);
    file
}

/// Restores into the home's data directory with our own tool.
#[track_caller]
fn restore(file: &str, home: &Home, more: &[&str]) {
    let data_dir = home.data_dir().display().to_string();
    let words = [&["snapshot", "restore", file, "--data-dir", &data_dir], &MEMBER[..], more];
    Sandbox::new().succeed(&words.concat());
}

/// `keys` keys, some changed again, some deleted, some on leases; a compaction in the middle.
fn fill(connection: &Connection, keys: usize) {
    const AT_ONCE: usize = 100;
    for id in 1..=10 {
        let request = pb::LeaseGrantRequest { id, ttl: 1000 + id };
        connection.unary("/etcdserverpb.Lease/LeaseGrant", &request).ok::<pb::LeaseGrantResponse>();
    }
    let put = |number: usize, value: usize| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: format!("/jobs/{}/{number:07}", number % 7).into(),
            value: vec![b'v'; value % 300].into(),
            lease: if number.is_multiple_of(3) { 1 + number as i64 % 10 } else { 0 },
            ..Default::default()
        })),
    };
    for first in (0..keys).step_by(AT_ONCE) {
        let success =
            (first..keys.min(first + AT_ONCE)).map(|number| put(number, number)).collect();
        let request = pb::TxnRequest { success, ..Default::default() };
        connection.unary("/etcdserverpb.KV/Txn", &request).ok::<pb::TxnResponse>();
    }
    let delete = pb::DeleteRangeRequest {
        key: "/jobs/3/".into(),
        range_end: "/jobs/30".into(),
        ..Default::default()
    };
    let deleted = connection.unary("/etcdserverpb.KV/DeleteRange", &delete);
    let revision = deleted.ok::<pb::DeleteRangeResponse>().header.expect("a header").revision;
    for number in (0..keys.min(700)).step_by(7) {
        let request = pb::TxnRequest { success: vec![put(number, 7)], ..Default::default() };
        connection.unary("/etcdserverpb.KV/Txn", &request).ok::<pb::TxnResponse>();
    }
    let compact = pb::CompactionRequest { revision, physical: true };
    connection.unary("/etcdserverpb.KV/Compact", &compact).ok::<pb::CompactionResponse>();
}

fn add_users(connection: &Connection) {
    let role = pb::AuthRoleAddRequest { name: "reader".into() };
    connection.unary("/etcdserverpb.Auth/RoleAdd", &role).ok::<pb::AuthRoleAddResponse>();
    let perm = Some(Permission { perm_type: 2, key: "/jobs/".into(), range_end: "/jobs0".into() });
    let grant = pb::AuthRoleGrantPermissionRequest { name: "reader".into(), perm };
    let granted = connection.unary("/etcdserverpb.Auth/RoleGrantPermission", &grant);
    granted.ok::<pb::AuthRoleGrantPermissionResponse>();
    for name in ["root", "ann", "ben"] {
        let user = pb::AuthUserAddRequest {
            name: name.into(),
            password: "secret".into(),
            ..Default::default()
        };
        connection.unary("/etcdserverpb.Auth/UserAdd", &user).ok::<pb::AuthUserAddResponse>();
    }
    let grant = pb::AuthUserGrantRoleRequest { user: "ann".into(), role: "reader".into() };
    let granted = connection.unary("/etcdserverpb.Auth/UserGrantRole", &grant);
    granted.ok::<pb::AuthUserGrantRoleResponse>();
}

/// Users with their roles, and what a role permits.
fn users(connection: &Connection) -> (Vec<String>, Vec<String>, Vec<Permission>) {
    let list = connection.unary("/etcdserverpb.Auth/UserList", &pb::AuthUserListRequest {});
    let user = pb::AuthUserGetRequest { name: "ann".into() };
    let user = connection.unary("/etcdserverpb.Auth/UserGet", &user);
    let role = pb::AuthRoleGetRequest { role: "reader".into() };
    let role = connection.unary("/etcdserverpb.Auth/RoleGet", &role);
    (
        list.ok::<pb::AuthUserListResponse>().users,
        user.ok::<pb::AuthUserGetResponse>().roles,
        role.ok::<pb::AuthRoleGetResponse>().perm,
    )
}

/// What must be the same everywhere.
#[derive(Debug, PartialEq)]
struct Seen {
    revision: i64,
    keys: i64,
    hash: u32,
    /// Every key and value, as one number.
    content: u32,
    leases: Vec<(i64, i64, usize)>,
}

fn look(connection: &Connection) -> Seen {
    let hash = connection.unary("/etcdserverpb.Maintenance/HashKV", &pb::HashKvRequest::default());
    let hash = hash.ok::<pb::HashKvResponse>();
    let (mut content, mut keys, mut key) = (0, 0, vec![0u8]);
    loop {
        let request = pb::RangeRequest {
            key: key.clone().into(),
            range_end: vec![0].into(),
            limit: 5000,
            ..Default::default()
        };
        let page = connection.unary("/etcdserverpb.KV/Range", &request).ok::<pb::RangeResponse>();
        for kv in &page.kvs {
            keys += 1;
            content = crc32c::crc32c_append(content, &prost::Message::encode_to_vec(kv));
        }
        let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
        key = [&last.key[..], &[0]].concat();
    }
    let lease = |id: i64| {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        let lease = connection.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request);
        let lease = lease.ok::<pb::LeaseTimeToLiveResponse>();
        (id, lease.granted_ttl, lease.keys.len())
    };
    let leases = (1..=10).map(lease).collect();
    let revision = hash.header.expect("a header").revision;
    Seen { revision, keys, hash: hash.hash, content, leases }
}

/// A Go etcd's data through us and back into the newest Go etcd.
#[track_caller]
fn check_round_trip((save_with, _, server): (Part, Part, Part), keys: usize) {
    let name = "the snapshot matrix";
    let (Some(subject), Some(etcdctl), Some(theirs)) =
        (foreign::subject(name), foreign::need(name, save_with), foreign::need(name, server))
    else {
        return;
    };
    let (Some(newest), Some(etcdctl_new), Some(etcdutl_new)) = (
        foreign::need(name, Part::EtcdNew),
        foreign::need(name, Part::EtcdctlNew),
        foreign::need(name, Part::EtcdutlNew),
    ) else {
        return;
    };
    let folder = Sandbox::new();
    let go = Home::new(&theirs, &[]).start();
    let connection = go.connect();
    fill(&connection, keys);
    add_users(&connection);
    let (before, users_before) = (look(&connection), users(&connection));
    assert!(before.keys as usize > keys / 2, "{before:?}");
    assert!(before.leases.iter().all(|(_, _, keys)| *keys > 0), "{before:?}");
    let file = save(&etcdctl, &go, &folder);

    let home = Home::new(&subject, &[]);
    restore(&file, &home, &[]);
    let ours = home.start();
    assert_eq!(look(&ours.connect()), before, "{server:?} -> us");
    // Once more after a restart, from what the member wrote itself.
    let ours = ours.kill_and_restart();
    assert_eq!(look(&ours.connect()), before, "{server:?} -> us, restarted");
    let file = save(&etcdctl_new, &ours, &folder);
    drop((go, ours));

    for with_ours in [true, false] {
        let home = Home::new(&newest, &[]);
        if with_ours {
            restore(&file, &home, &["--target-format", "go"]);
        } else {
            let data_dir = home.data_dir().display().to_string();
            let words = ["snapshot", "restore", &file, "--data-dir", &data_dir];
            tool(&etcdutl_new, &[&words[..], &MEMBER].concat());
        }
        let back = home.start();
        let connection = back.connect();
        assert_eq!(look(&connection), before, "{server:?} -> us -> newest, our tool: {with_ours}");
        assert_eq!(users(&connection), users_before, "{server:?}: users and roles");
    }
    println!("{name}: {server:?} -> us -> the newest: {before:?}");
}

#[test]
fn data_of_etcd_3_4_comes_to_us_and_goes_back_with_everything() {
    check_round_trip(VERSIONS[0], 2_000);
}

#[test]
fn data_of_etcd_3_5_comes_to_us_and_goes_back_with_everything() {
    check_round_trip(VERSIONS[1], 2_000);
}

#[test]
fn a_hundred_thousand_keys_of_the_newest_etcd_come_to_us_and_go_back_with_everything() {
    check_round_trip(VERSIONS[2], 100_000);
}

#[test]
fn our_data_goes_to_every_etcd_by_our_own_tool() {
    let name = "the snapshot matrix";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(etcdctl) = foreign::need(name, Part::EtcdctlNew) else { return };
    let folder = Sandbox::new();
    let ours = Home::new(&subject, &[]).start();
    fill(&ours.connect(), 2_000);
    let before = look(&ours.connect());
    let file = save(&etcdctl, &ours, &folder);
    for (_, _, server) in VERSIONS {
        let Some(theirs) = foreign::need(name, server) else { continue };
        let home = Home::new(&theirs, &[]);
        restore(&file, &home, &["--target-format", "go"]);
        let theirs = home.start();
        assert_eq!(look(&theirs.connect()), before, "us -> {server:?}");
    }
}

#[test]
fn a_bumped_restore_hashes_the_same_with_us_and_with_etcd() {
    let name = "the snapshot matrix";
    let (Some(subject), Some(newest), Some(etcdctl), Some(etcdutl)) = (
        foreign::subject(name),
        foreign::need(name, Part::EtcdNew),
        foreign::need(name, Part::EtcdctlNew),
        foreign::need(name, Part::EtcdutlNew),
    ) else {
        return;
    };
    let folder = Sandbox::new();
    let go = Home::new(&newest, &[]).start();
    fill(&go.connect(), 200);
    let file = save(&etcdctl, &go, &folder);
    let bump = ["--bump-revision", "1000000", "--mark-compacted"];
    let hash = |home: Home| {
        let server = home.start();
        let connection = server.connect();
        let put = pb::PutRequest { key: "after".into(), ..Default::default() };
        connection.unary("/etcdserverpb.KV/Put", &put).ok::<pb::PutResponse>();
        let seen = look(&connection);
        assert!(seen.revision > 1_000_000, "{seen:?}");
        seen
    };
    let (ours, theirs) = (Home::new(&subject, &[]), Home::new(&newest, &[]));
    restore(&file, &ours, &bump);
    let data_dir = theirs.data_dir().display().to_string();
    let words = ["snapshot", "restore", &file, "--data-dir", &data_dir];
    tool(&etcdutl, &[&words[..], &MEMBER, &bump].concat());
    assert_eq!(hash(ours), hash(theirs));
}

#[test]
fn data_with_users_is_served_to_them_alone() {
    let name = "the snapshot matrix";
    let (Some(subject), Some(newest), Some(etcdctl)) = (
        foreign::subject(name),
        foreign::need(name, Part::EtcdNew),
        foreign::need(name, Part::EtcdctlNew),
    ) else {
        return;
    };
    let go = Home::new(&newest, &[]).start();
    let connection = go.connect();
    add_users(&connection);
    let role = pb::AuthRoleAddRequest { name: "root".into() };
    connection.unary("/etcdserverpb.Auth/RoleAdd", &role).ok::<pb::AuthRoleAddResponse>();
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    let granted = connection.unary("/etcdserverpb.Auth/UserGrantRole", &grant);
    granted.ok::<pb::AuthUserGrantRoleResponse>();
    let enabled = connection.unary("/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {});
    enabled.ok::<pb::AuthEnableResponse>();
    let file = go.home().folder().join("saved.db").display().to_string();
    let endpoint = go.address();
    tool(&etcdctl, &["--endpoints", &endpoint, "--user", "root:secret", "snapshot", "save", &file]);

    let home = Home::new(&subject, &[]);
    restore(&file, &home, &[]);
    let data_dir = home.data_dir().display().to_string();
    let shown = Sandbox::new().succeed(&["inspect", &data_dir]);
    assert!(shown.contains("authentication     on, 3 users, 2 roles"), "{shown}");
    let ours = home.start();
    let users = |user: &[&str]| {
        let endpoint = ours.address();
        let mut words = vec!["--endpoints", &endpoint];
        words.extend_from_slice(user);
        words.extend(["user", "list"]);
        let listed = Command::new(&etcdctl).args(&words).output().expect("it runs");
        String::from_utf8_lossy(&[listed.stdout, listed.stderr].concat()).into_owned()
    };
    assert!(users(&[]).contains("user name is empty"), "{}", users(&[]));
    assert!(users(&["--user", "root:wrong"]).contains("invalid user ID or password"));
    assert_eq!(users(&["--user", "root:secret"]).lines().count(), 3);
}

//! A snapshot is a file that real etcd's tools accept, and from which a real etcd starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::grpc::Connection;
use holdfast_robust::process::{Home, Server};
use proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, LeaseGrantRequest, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest, RangeRequest, RangeResponse,
};

/// Runs a tool to its end and returns what it printed.
#[track_caller]
fn tool(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("ETCDCTL_API", "3").output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{} {arguments:?}: {text}", program.display());
    text
}

fn everything(connection: &Connection, revision: i64) -> RangeResponse {
    let request = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision,
        ..RangeRequest::default()
    };
    connection.unary("/etcdserverpb.KV/Range", &request).ok()
}

/// Keys of several revisions, deleted ones, two leases, a compaction in the middle.
fn fill(server: &Server) -> Connection {
    let connection = server.connect();
    for (id, ttl) in [(11, 1000), (12, 2000)] {
        let request = LeaseGrantRequest { id, ttl };
        assert!(connection.unary("/etcdserverpb.Lease/LeaseGrant", &request).is_ok());
    }
    for number in 0..600i64 {
        let request = PutRequest {
            key: format!("key{}", number % 200).into(),
            value: vec![b'v'; 1000 + number as usize].into(),
            lease: [0, 11, 12][(number % 3) as usize],
            ..PutRequest::default()
        };
        assert!(connection.unary("/etcdserverpb.KV/Put", &request).is_ok());
    }
    let request = proto::etcdserverpb::DeleteRangeRequest {
        key: "key1".into(),
        range_end: "key12".into(),
        ..Default::default()
    };
    assert!(connection.unary("/etcdserverpb.KV/DeleteRange", &request).is_ok());
    let request = proto::etcdserverpb::CompactionRequest { revision: 300, physical: true };
    assert!(connection.unary("/etcdserverpb.KV/Compact", &request).is_ok());
    connection
}

/// The tools that can save and restore, from old to new.
fn tools(name: &str) -> Vec<(Part, PathBuf, PathBuf)> {
    let pairs = [
        (Part::Etcdctl34, Part::Etcdctl34, Part::Etcd34),
        (Part::Etcdctl35, Part::Etcdutl35, Part::Etcd35),
        (Part::EtcdctlNew, Part::EtcdutlNew, Part::EtcdNew),
    ];
    let found = pairs.into_iter().filter_map(|(save, restore, server)| {
        Some((save, foreign::need(name, restore)?, foreign::need(name, server)?))
    });
    found.collect()
}

#[test]
fn a_go_etcd_starts_from_a_snapshot_with_the_same_data_revision_and_leases() {
    let name = "snapshots";
    let Some(subject) = foreign::subject(name) else { return };
    let server = Home::new(&subject, &[]).start();
    let ours = fill(&server);
    let before = everything(&ours, 0);
    let revision = before.header.as_ref().expect("a header").revision;
    let hash = ours.unary("/etcdserverpb.Maintenance/HashKV", &HashKvRequest { revision });
    let hash = hash.ok::<HashKvResponse>().hash;

    for (save, restore, go_etcd) in tools(name) {
        let Some(etcdctl) = foreign::need(name, save) else { continue };
        let home = Home::new(&go_etcd, &[]);
        let file = home.folder().join("saved.db").display().to_string();
        tool(&etcdctl, &["--endpoints", &server.address(), "snapshot", "save", &file]);
        let table = tool(&restore, &["snapshot", "status", &file, "--write-out=table"]);
        assert!(table.contains("REVISION") && table.contains(&format!(" {revision} ")), "{table}");

        let data_dir = home.data_dir().display().to_string();
        let cluster = "robust=http://localhost:2380";
        let peer = "http://localhost:2380";
        let restored = tool(
            &restore,
            &[
                "snapshot",
                "restore",
                &file,
                "--data-dir",
                &data_dir,
                "--name",
                "robust",
                "--initial-cluster",
                cluster,
                "--initial-advertise-peer-urls",
                peer,
            ],
        );
        assert!(Path::new(&data_dir).join("member/snap/db").exists(), "{restored}");
        let theirs = home.start();
        compare(&everything_of(&theirs, revision), &before, save);
        let connection = theirs.connect();
        let theirs_hash =
            connection.unary("/etcdserverpb.Maintenance/HashKV", &HashKvRequest { revision });
        assert_eq!(theirs_hash.ok::<HashKvResponse>().hash, hash, "{save:?}: the hash of the keys");
        for (id, granted) in [(11, 1000), (12, 2000)] {
            let request = LeaseTimeToLiveRequest { id, keys: true };
            let lease = connection.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request);
            let lease = lease.ok::<LeaseTimeToLiveResponse>();
            assert_eq!(lease.granted_ttl, granted, "{save:?}: lease {id}");
            assert!(lease.keys.len() > 50, "{save:?}: {} keys on lease {id}", lease.keys.len());
        }
        println!("{name}: saved with {save:?}, and a Go etcd has started from it");
    }
}

fn everything_of(server: &Server, revision: i64) -> RangeResponse {
    let connection = server.connect();
    let now = everything(&connection, 0);
    assert_eq!(now.header.as_ref().expect("a header").revision, revision, "the revision");
    now
}

#[track_caller]
fn compare(restored: &RangeResponse, before: &RangeResponse, tool: Part) {
    assert_eq!(restored.count, before.count, "{tool:?}: the number of keys");
    for (one, two) in restored.kvs.iter().zip(&before.kvs) {
        assert_eq!(one, two, "{tool:?}");
    }
}

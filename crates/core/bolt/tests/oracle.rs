//! Side by side with real etcd: its tools read what we write, and we read what it wrote.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_bolt::{
    Backend, HashKv, Layout, SnapshotStream, Status, hash_kv, names, plan, status,
};
use serde_json::{Value, json};
use support::oracle::{Server, base64, find, free_port, run, succeed, unbase64};
use support::{Dice, Store};
use vfs::{Disk, OsDisk};

fn open(path: &Path) -> Backend<Arc<dyn vfs::File>> {
    let file = OsDisk.open_read(path).expect("the file is there");
    Backend::open(file).expect("a whole file")
}

fn write_snapshot(store: &Store, path: &Path) {
    let source = store.source();
    let plan = plan(&source, Layout::default()).expect("memory does not fail");
    let mut stream = SnapshotStream::new(Box::new(source), plan).expect("nor here");
    let mut file = std::fs::File::create(path).expect("a file in our own folder");
    while let Some(chunk) = stream.next_chunk(64 * 1024).expect("nor here") {
        std::io::Write::write_all(&mut file, &chunk).expect("room on the disk");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn json_of(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap_or_else(|_| panic!("not JSON: {printed}"))
}

#[track_caller]
fn check_status(ours: &Status, theirs: &Value) {
    assert_eq!(json!(ours.hash), theirs["hash"]);
    assert_eq!(json!(ours.revision), theirs["revision"]);
    assert_eq!(json!(ours.total_size), theirs["totalSize"]);
    // Before 3.6 "total keys" counted rows, and there was no version.
    if let Some(version) = theirs.get("version") {
        assert_eq!(json!(ours.version), *version);
        assert_eq!(json!(ours.total_key), theirs["totalKey"]);
    }
}

fn hash_of(etcdctl: &Path, server: &Server, revision: i64) -> HashKv {
    let (endpoint, revision) = (server.endpoint(), revision.to_string());
    let arguments =
        ["--endpoints", &endpoint, "endpoint", "hashkv", "--rev", &revision, "-w", "json"];
    let answer = &json_of(&succeed(etcdctl, &arguments))[0]["HashKV"];
    HashKv {
        hash: answer["hash"].as_u64().unwrap_or_default() as u32,
        compact_revision: answer["compact_revision"].as_i64().unwrap_or_default(),
        hash_revision: answer["header"]["revision"].as_i64().unwrap_or_default(),
    }
}

/// Everything the writer must get right at once: 100,000 rows, several lives of a key, leases,
/// empty values and such as run over hundreds of pages.
fn large_store() -> Store {
    let mut store = Store::new("3.5.0", 100_123);
    store.content.get_mut(names::META).expect("made in new").remove(&b"storageVersion"[..]);
    let mut dice = Dice(1);
    for lease in 1..=20 {
        store.grant(lease * 0x0123_4567_89ab, 100);
    }
    for row in 0..100_000usize {
        let key = format!("/registry/things/{:05}", dice.below(80_000));
        let lease = if dice.below(50) == 0 { 0x0123_4567_89ab } else { 0 };
        let value_bytes = match row {
            77 | 50_000 => 2 * 1024 * 1024,
            _ if row.is_multiple_of(1000) => dice.below(60_000),
            _ if row.is_multiple_of(9) => 0,
            _ => dice.below(200),
        };
        store.put(key.as_bytes(), dice.bytes(value_bytes), lease);
        if dice.below(10) == 0 {
            store.delete(format!("/registry/things/{:05}", dice.below(80_000)).as_bytes());
        }
    }
    store
}

#[test]
fn a_snapshot_we_wrote_is_accepted_restored_and_served_by_real_etcd() {
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (find("etcd"), find("etcdctl"), find("etcdutl"))
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = large_store();
    let snapshot = dir.path().join("ours.snapshot");
    write_snapshot(&store, &snapshot);

    let printed = succeed(&etcdutl, &["snapshot", "status", text(&snapshot), "-w", "json"]);
    let backend = open(&snapshot);
    let ours = status(&backend).expect("our own file");
    assert_eq!(ours.total_key, store.live.len() as u64);
    check_status(&ours, &json_of(&printed));

    let (client_port, peer_port) = (free_port(), free_port());
    let peer = format!("http://127.0.0.1:{peer_port}");
    let data_dir = dir.path().join("data");
    let cluster = format!("default={peer}");
    let restore = ["snapshot", "restore", text(&snapshot), "--data-dir", text(&data_dir)];
    let urls = ["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &peer];
    succeed(&etcdutl, &[&restore[..], &urls[..]].concat());
    let server = Server::start(&etcd, &data_dir, client_port, peer_port);

    let all = json!({"key": base64("\0"), "range_end": base64("\0"), "count_only": true});
    let answer = server.post("/v3/kv/range", &all);
    assert_eq!(answer["count"], json!(store.live.len().to_string()));
    assert_eq!(answer["header"]["revision"], json!(store.revision.to_string()));
    for (key, (create, version, value)) in store.live.iter().step_by(997) {
        let answer = server.post("/v3/kv/range", &json!({"key": base64(key)}));
        let kv = &answer["kvs"][0];
        assert_eq!(unbase64(&kv["value"]), value[..]);
        assert_eq!(kv["create_revision"], json!(create.to_string()));
        assert_eq!(kv["version"], json!(version.to_string()));
    }
    for revision in [2, 1000, store.revision / 2, store.revision] {
        let ours = hash_kv(&backend, revision).expect("never compacted");
        assert_eq!(ours.compact_revision, -1);
        assert_eq!(ours.hash, hash_of(&etcdctl, &server, revision).hash, "at {revision}");
    }
    let leases = server.post("/v3/lease/leases", &json!({}));
    assert_eq!(leases["leases"].as_array().map(Vec::len), Some(20));
    // It is a store like any other: it takes writes, and what it writes we read.
    server.post("/v3/kv/put", &json!({"key": base64("after"), "value": base64("restore")}));
    server.stop();
    let backend = open(&data_dir.join("member/snap/db"));
    let check = backend.bolt().check();
    assert!(check.is_clean(), "{:?}", check.faults);
    let last = backend.rows().expect("whole").last().expect("not empty").expect("whole");
    assert_eq!((last.key(), last.value()), (&b"after"[..], &b"restore"[..]));
}

/// One round of changes, with deletes, new lives, transactions and compactions at awkward places.
fn change(server: &Server, dice: &mut Dice, revision: &mut i64) {
    let key = |dice: &mut Dice| base64(format!("key {}", dice.below(30)));
    let request = json!({"key": key(dice), "value": base64(dice.bytes(100))});
    let answer = match dice.below(10) {
        0..=5 => server.post("/v3/kv/put", &request),
        6..=7 => server.post("/v3/kv/deleterange", &json!({"key": key(dice)})),
        8 => {
            let puts = (0..3).map(
                |i| json!({"requestPut": {"key": base64(format!("key {i}")), "value": key(dice)}}),
            );
            server.post("/v3/kv/txn", &json!({"success": puts.collect::<Vec<_>>()}))
        }
        _ => server.post(
            "/v3/kv/put",
            &json!({"key": base64("large"), "value":
            base64(dice.bytes(30_000))}),
        ),
    };
    let header = answer["header"]["revision"].as_str().expect("a header");
    *revision = header.parse().expect("a number");
}

#[test]
fn what_real_etcd_wrote_has_the_same_hashes_for_us() {
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (find("etcd"), find("etcdctl"), find("etcdutl"))
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    for seed in 0..3 {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let data_dir = dir.path().join(format!("data{seed}"));
        let server = Server::start(&etcd, &data_dir, free_port(), free_port());
        let (mut revision, mut compacted) = (1, -1);
        let mut expected = Vec::new();
        for round in 0..4 {
            for _ in 0..60 {
                change(&server, &mut dice, &mut revision);
            }
            if round != 0 || seed != 0 {
                compacted = revision - dice.below(20) as i64;
                let request = json!({"revision": compacted.to_string(), "physical": true});
                server.post("/v3/kv/compaction", &request);
            }
            for _ in 0..10 {
                change(&server, &mut dice, &mut revision);
            }
            let snapshot = dir.path().join(format!("{seed}-{round}.snapshot"));
            let endpoint = server.endpoint();
            succeed(&etcdctl, &["--endpoints", &endpoint, "snapshot", "save", text(&snapshot)]);
            let backend = open(&snapshot);
            let printed = succeed(&etcdutl, &["snapshot", "status", text(&snapshot), "-w", "json"]);
            check_status(&status(&backend).expect("whole"), &json_of(&printed));
            // A hash at a compaction's own revision may be a stored one, which no file holds.
            for at in compacted.max(1) + 1..=revision {
                let (ours, theirs) =
                    (hash_kv(&backend, at).expect("in range"), hash_of(&etcdctl, &server, at));
                assert_eq!(ours.hash, theirs.hash, "seed {seed} round {round} at {at}");
                assert_eq!(ours.compact_revision, theirs.compact_revision);
            }
            expected.push((snapshot, hash_kv(&backend, 0).expect("whole")));
        }
        drop(server);
        for (snapshot, ours) in expected {
            let output = run(&etcdutl, &["hashkv", text(&snapshot), "-w", "json"]);
            if String::from_utf8_lossy(&output.stderr).contains("unknown command") {
                continue; // Older than 3.6.
            }
            let theirs = json_of(&String::from_utf8_lossy(&output.stdout));
            assert_eq!(json!(ours.hash), theirs["hash"]);
            assert_eq!(json!(ours.hash_revision), theirs["hashRevision"]);
            assert_eq!(json!(ours.compact_revision), theirs["compactRevision"]);
        }
    }
}

#[test]
fn a_database_without_digest_or_a_page_of_another_size_is_accepted_too() {
    let Some(etcdutl) = find("etcdutl") else { return };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::new("3.7.0", 5);
    for key in ["a", "b", "c"] {
        store.put(key.as_bytes(), Bytes::from_static(b"value"), 0);
    }
    for page_bytes in [1024, 4096, 16_384, 65_536] {
        let path = dir.path().join(format!("{page_bytes}.db"));
        let layout = Layout { page_bytes, transaction: 7 };
        std::fs::write(&path, support::image(&store.source(), layout)).expect("room");
        let printed = succeed(&etcdutl, &["snapshot", "status", text(&path), "-w", "json"]);
        check_status(&status(&open(&path)).expect("whole"), &json_of(&printed));
    }
}

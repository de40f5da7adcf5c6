//! Snapshots that etcd 3.4, 3.5 and 3.7 made, with what those versions themselves say about them.
//!
//! The files hold keys with several lives, a compaction at a tombstone, changes after it, leases,
//! a user and a role. Each `.txt` was written by the real tools beside its snapshot.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_bolt::{Backend, Digest, Layout, digest, hash_kv, names, status};

const VERSIONS: [&str; 3] = ["3.4.23", "3.5.1", "3.7.3"];

fn snapshot(version: &str) -> Bytes {
    read(&format!("etcd-{version}.snapshot")).into()
}

fn read(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/files/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).expect("the file lies beside the test")
}

/// The lines of a `.txt` that begin with `what`, each as its named fields.
fn said(version: &str, what: &str) -> Vec<HashMap<String, String>> {
    let text = String::from_utf8(read(&format!("etcd-{version}.txt"))).expect("it is text");
    let fields = |line: &str| {
        let pairs = line.split(' ').filter_map(|field| field.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    text.lines().filter(|line| line.starts_with(what)).map(fields).collect()
}

#[test]
fn the_status_of_a_real_snapshot_is_what_its_own_tool_says() {
    for version in VERSIONS {
        let backend = Backend::open(snapshot(version)).expect("a whole file");
        let ours = status(&backend).expect("a whole file");
        let theirs = &said(version, "status")[0];
        assert_eq!(ours.hash.to_string(), theirs["hash"], "{version}");
        assert_eq!(ours.revision.to_string(), theirs["revision"], "{version}");
        assert_eq!(ours.total_key.to_string(), theirs["live"], "{version}");
        assert_eq!(ours.total_size.to_string(), theirs["size"], "{version}");
        assert_eq!(ours.version, theirs["version"], "{version}");
    }
}

#[test]
fn hash_kv_of_a_real_snapshot_is_what_the_server_answered() {
    for version in VERSIONS {
        let backend = Backend::open(snapshot(version)).expect("a whole file");
        let lines = said(version, "hashkv");
        assert_eq!(lines.len(), 12);
        for theirs in lines {
            let revision = theirs["rev"].parse().expect("a number");
            let ours = hash_kv(&backend, revision).expect("the revision is not compacted");
            assert_eq!(ours.hash.to_string(), theirs["hash"], "{version} at {revision}");
            assert_eq!(ours.hash_revision.to_string(), theirs["hash_revision"]);
            assert_eq!(ours.compact_revision.to_string(), theirs["compact_revision"]);
        }
        for (revision, text) in [
            (1, "mvcc: required revision has been compacted"),
            (9999, "mvcc: required revision is a future revision"),
        ] {
            let refused = hash_kv(&backend, revision).expect_err("there is no such hash");
            assert_eq!(refused.to_string(), text);
        }
    }
}

#[test]
fn a_real_snapshot_has_its_digest_and_a_changed_one_shows() {
    for version in VERSIONS {
        let file = snapshot(version);
        assert_eq!(digest(&file).expect("memory is readable"), Digest::Matches);
        let image = file.slice(..file.len() - 32);
        assert_eq!(digest(&image).expect("memory is readable"), Digest::Missing);
        let mut changed = file.to_vec();
        changed[5000] ^= 1;
        let found = digest(&Bytes::from(changed)).expect("memory is readable");
        assert!(matches!(found, Digest::Differs { .. }));
    }
}

#[test]
fn every_row_of_a_real_snapshot_can_be_asked_for() {
    for version in VERSIONS {
        let backend = Backend::open(snapshot(version)).expect("a whole file");
        let content = support::content(backend.bolt()).expect("a whole file");
        let found: Vec<&Bytes> = content.keys().collect();
        assert_eq!(found, names::ALL, "{version}");
        for (bucket, rows) in &content {
            for (key, value) in rows {
                assert_eq!(backend.get(bucket, key).expect("whole"), Some(value.clone()));
                assert_eq!(backend.get(bucket, &[key, &b"\0"[..]].concat()).expect("whole"), None);
            }
        }
        let rows = backend.rows().expect("whole").collect::<Result<Vec<_>, _>>().expect("whole");
        assert!(rows.is_sorted_by_key(|row| row.revision));
        assert_eq!(rows.len(), content[names::KEY].len());
        assert_eq!(backend.finished_compaction().expect("whole"), Some(186));
        assert!(backend.consistent_index().expect("whole") > 200);
        assert_eq!(backend.term().expect("whole") > 0, version != "3.4.23");
    }
}

#[test]
fn a_real_snapshot_written_anew_holds_the_same() {
    for version in VERSIONS {
        let backend = Backend::open(snapshot(version)).expect("a whole file");
        let content = support::content(backend.bolt()).expect("a whole file");
        let anew = support::image(&support::Memory(content.into()), Layout::default());
        let again = Backend::open(anew).expect("our own file");
        let (before, after) = (status(&backend).expect("whole"), status(&again).expect("whole"));
        assert_eq!(before.hash, after.hash);
        assert_eq!(before.total_key, after.total_key);
        assert!(after.total_size < before.total_size, "holes are left behind");
    }
}

/// The 3.7.3 snapshot as `bbolt compact` writes it: with its list of free pages in the file.
fn with_stored_freelist() -> Vec<u8> {
    read("bbolt-stored-freelist.db")
}

#[test]
fn a_stored_list_of_free_pages_is_checked_too() {
    let file = with_stored_freelist();
    let backend = Backend::open(Bytes::from(file.clone())).expect("a whole file");
    let check = backend.bolt().check();
    assert!(check.is_clean(), "{:?}", check.faults);
    let original = Backend::open(snapshot("3.7.3")).expect("a whole file");
    let (ours, theirs) = (status(&backend).expect("whole"), status(&original).expect("whole"));
    assert_eq!((ours.hash, ours.total_key), (theirs.hash, theirs.total_key));

    let list = 14 * 4096;
    let damaged = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[list + at..list + at + bytes.len()].copy_from_slice(bytes);
        let bolt = holdfast_bolt::Bolt::open(Bytes::from(file)).expect("the metas are whole");
        let check = bolt.check();
        assert_eq!(check.faults_count, 1, "{:?}", check.faults);
        check.faults[0].to_string()
    };
    // One entry, and it names the page of the names of the buckets.
    assert_eq!(damaged(10, &[1, 0, 0, 0, 0, 0, 13]), IN_USE);
    assert!(damaged(10, &[1, 0, 0, 0, 0, 0, 99]).contains("entry 0 of the free page list"));
    assert!(damaged(10, &[0xfe, 0xff]).contains("entry 510 of the free page list"));
    assert!(damaged(8, &[2]).contains("kind 0x0002 does not belong here"));
    assert!(damaged(0, &[9]).contains("it says it is page 9"));
    assert!(damaged(12, &[9]).contains("runs over 9 further pages"));
}

const IN_USE: &str = "page 13 at byte 53248 is damaged: it is in use and yet listed as free";

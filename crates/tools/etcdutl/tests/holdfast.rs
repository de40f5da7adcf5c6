//! A restore for our own server holds what the snapshot held.

use std::sync::Arc;

use crate::support::{Sandbox, snapshot_of};
use apply::Applier;
use store::{Bucket, Store};
use vfs::{Disk, OsDisk};
use wal::Wal;

fn open(sandbox: &Sandbox, dir: &str) -> (Applier, u64) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = sandbox.path(dir).join("member/store");
    let (store, restored) =
        Store::open(disk, &path, store::Options::default()).expect("a whole store");
    assert!(restored.repaired.is_none());
    let index = restored.applied_index;
    let config = apply::Config {
        member: 1,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(1),
        persist_checkpoints: false,
        hashed_bytes_max: u64::MAX,
    };
    (Applier::open(config, store, &restored).expect("a member's state"), index)
}

#[test]
fn a_restored_store_is_at_the_snapshots_revision_with_the_new_members() {
    for version in ["3.4.23", "3.5.1", "3.7.3"] {
        let sandbox = Sandbox::new();
        let cluster = "a=http://h:1,b=http://h:2,c=http://h:3";
        sandbox.succeed(&[
            "snapshot",
            "restore",
            &snapshot_of(version),
            "--data-dir",
            "new",
            "--name",
            "b",
            "--initial-cluster",
            cluster,
            "--initial-advertise-peer-urls",
            "http://h:2",
        ]);
        let (applier, index) = open(&sandbox, "new");
        assert_eq!(index, 3);
        assert_eq!(applier.revision(), 256);
        assert_eq!(applier.compact_revision(), 186);
        assert_eq!(applier.conf_state().voters.len(), 3);

        let log = sandbox.path("new/member/wal");
        let markers = Wal::valid_markers(&OsDisk, &log).expect("a whole log");
        let last = markers.last().expect("the one at the last member");
        assert_eq!((last.index, last.term), (3, 1));
        let conf_state = last.conf_state.clone().expect("it is written");
        assert_eq!(conf_state.voters, applier.conf_state().voters);
        let read = Wal::read(&OsDisk, &log, &markers[0]).expect("a whole log");
        assert_eq!(read.entries.len(), 3);
        assert_eq!(read.hard_state.commit, 3);
    }
}

#[test]
fn a_bumped_restore_goes_on_at_its_new_revision() {
    let sandbox = Sandbox::new();
    sandbox.succeed(&[
        "snapshot",
        "restore",
        &snapshot_of("3.7.3"),
        "--data-dir",
        "new",
        "--bump-revision",
        "1000",
        "--mark-compacted",
    ]);
    let (applier, _) = open(&sandbox, "new");
    assert_eq!(applier.revision(), 1256);
    assert_eq!(applier.compact_revision(), 1256);
}

#[test]
fn small_state_comes_along() {
    let sandbox = Sandbox::new();
    sandbox.succeed(&["snapshot", "restore", &snapshot_of("3.5.1"), "--data-dir", "new"]);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = sandbox.path("new/member/store");
    let (store, _) = Store::open(disk, &path, store::Options::default()).expect("a whole store");
    let state = store.state();
    assert!(state.get(Bucket::AuthUsers, b"u").is_some());
    assert!(state.get(Bucket::AuthRoles, b"r").is_some());
    assert_eq!(state.iter(Bucket::Lease).count(), 1);
    assert_eq!(
        state.get(Bucket::Meta, b"term").map(|term| &term[..]),
        Some(&1u64.to_be_bytes()[..])
    );
}

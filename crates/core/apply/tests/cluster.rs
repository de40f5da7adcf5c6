//! What entries make of the cluster: its first members, versions up and down, downgrades, alarms of others.

mod support;

use std::path::Path;
use std::sync::Arc;

use holdfast_apply::{Answer, Applier, Change, Fact, Fault, RecoverError};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use proto::raftpb::{ConfChange, ConfChangeType};
use store::{Batch, Bucket, Options, StateChange, Store};
use types::Version;
use vfs::{Disk, MemoryDisk};

use crate::support::{Log, MEMBER, config, none};

fn remove(id: u64) -> ConfChange {
    ConfChange {
        id: Some(2),
        r#type: Some(ConfChangeType::ConfChangeRemoveNode as i32),
        node_id: Some(id),
        context: None,
    }
}

/// The first entries of a cluster of three, which each of them begins with.
fn of_three() -> Log {
    let mut log = Log::new();
    for (id, url) in [(MEMBER, "http://a:1"), (8, "http://b:1"), (9, "http://c:1")] {
        let change = support::add(id, url);
        let applied = log.change(change.clone());
        assert_eq!(applied.facts, [Fact::Configuration(Change::Made(Box::new(change)))]);
    }
    log
}

#[test]
fn a_cluster_begins_with_an_entry_for_each_of_its_members() {
    let log = of_three();
    let members = log.applier.members();
    assert_eq!(members.conf_state().voters, [7, 8, 9]);
    assert_eq!(members.own_member().map(|own| own.id), Some(MEMBER));
    assert_eq!(
        log.row(Bucket::Members, "9").as_deref(),
        Some(r#"{"id":9,"peerURLs":["http://c:1"]}"#)
    );
    let again = log.restarted();
    assert_eq!(again.applier.members(), members);
}

#[test]
fn a_member_hears_that_it_was_removed_and_nobody_else_does() {
    let mut log = of_three();
    let change = remove(9);
    let applied = log.change(change.clone());
    assert_eq!(applied.facts, [Fact::Configuration(Change::Made(Box::new(change)))]);
    let change = remove(MEMBER);
    let applied = log.change(change.clone());
    let made = Fact::Configuration(Change::Made(Box::new(change)));
    assert_eq!(applied.facts, [made, Fact::Removed]);
    assert!(log.applier.members().was_removed(MEMBER));
    // Once more it is no news, and the last one stays.
    assert_eq!(log.change(remove(MEMBER)).facts, [Fact::Configuration(Change::Refused)]);
    assert_eq!(log.change(remove(8)).facts, [Fact::Configuration(Change::Refused)]);
    assert_eq!(log.applier.conf_state().voters, [8]);
}

#[test]
fn the_storage_version_follows_the_clusters_down_and_is_gone_below_3_6() {
    let mut log = Log::new();
    let mut before = None;
    for (text, stored) in
        [("3.5.0", None), ("3.7.0", Some("3.7.0")), ("3.6.0", Some("3.6.0")), ("3.5.0", None)]
    {
        let now: Version = text.parse().expect("it is a version");
        let set = ClusterVersionSetRequest { ver: text.into() };
        let request = pb::InternalRaftRequest { cluster_version_set: Some(set), ..none() };
        let facts = log.request(request).facts;
        assert_eq!(facts, [Fact::Membership, Fact::Version { before, now }]);
        assert_eq!(log.row(Bucket::Meta, "storageVersion").as_deref(), stored, "{text}");
        assert_eq!(log.applier.members().version(), Some(now));
        before = Some(now);
    }
}

#[test]
fn a_version_above_ones_own_ends_the_member_before_it_counts() {
    let mut log = Log::of_version("3.7.0");
    let set = ClusterVersionSetRequest { ver: "3.8.0".into() };
    let request = pb::InternalRaftRequest { cluster_version_set: Some(set), ..none() };
    let fault = log.bytes(request.encode_to_vec()).expect_err("this release is of 3.7");
    let agreed = Version::new(3, 8);
    assert!(matches!(fault, Fault::InvalidDowngrade { agreed: told } if told == agreed));
    let said =
        "invalid downgrade: this server is of version 3.7, and the cluster's version becomes 3.8";
    assert_eq!(fault.to_string(), said);
    assert_eq!(log.applier.applied().0, 1);
    assert_eq!(log.row(Bucket::Cluster, "clusterVersion").as_deref(), Some("3.7.0"));
}

#[test]
fn a_store_of_a_newer_cluster_is_not_opened() {
    let disk = MemoryDisk::new();
    let open = || {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        Store::open(shared, Path::new("/store"), Options::default()).expect("nothing is damaged")
    };
    let (mut store, _) = open();
    let version = StateChange::Set {
        bucket: Bucket::Cluster,
        key: "clusterVersion".into(),
        value: "3.8.0".into(),
    };
    store.append(&Batch { index: 1, term: 1, rows: Vec::new(), state: vec![version] });
    store.flush().expect("memory takes it");
    drop(store);
    let (store, restored) = open();
    let refused = Applier::open(config(), store, &restored).err().expect("it is of 3.8");
    assert!(matches!(refused, RecoverError::InvalidDowngrade { .. }), "{refused}");
}

#[test]
fn a_downgrade_is_known_to_all_who_hold_the_members() {
    let mut log = Log::of_version("3.7.0");
    let set = |enabled, ver: &str| pb::InternalRaftRequest {
        downgrade_info_set: Some(DowngradeInfoSetRequest { enabled, ver: ver.into() }),
        ..none()
    };
    assert_eq!(log.request(set(true, "3.6.0")).facts, [Fact::Membership]);
    let members = log.applier.members();
    assert_eq!((members.downgrade().enabled, members.downgrade().target.as_str()), (true, "3.6.0"));
    let row = r#"{"target-version":"3.6.0","enabled":true}"#;
    assert_eq!(log.row(Bucket::Cluster, "downgrade").as_deref(), Some(row));
    log.request(set(false, ""));
    assert!(!log.applier.members().downgrade().enabled);
    assert!(members.downgrade().enabled, "what was handed out stays as it was");
}

#[test]
fn an_alarm_of_another_member_counts_for_all_and_only_it_is_taken_back() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate};
    let mut log = Log::new();
    let mut alarm = |action: pb::alarm_request::AlarmAction, member_id, alarm: pb::AlarmType| {
        let alarm = pb::AlarmRequest { action: action as i32, member_id, alarm: alarm as i32 };
        log.request(pb::InternalRaftRequest { alarm: Some(alarm), ..none() })
    };
    let full = pb::AlarmType::Nospace;
    assert_eq!(alarm(Activate, 8, full).facts, [Fact::Alarms]);
    assert_eq!(alarm(Activate, 9, full).facts, [Fact::Alarms]);
    // Of nobody in particular: no majority was found.
    assert_eq!(alarm(Activate, 0, pb::AlarmType::Corrupt).facts, [Fact::Alarms]);
    assert_eq!(alarm(Deactivate, MEMBER, full).facts, []);
    assert_eq!(alarm(Deactivate, 8, full).facts, [Fact::Alarms]);
    let applied = alarm(pb::alarm_request::AlarmAction::Get, 0, pb::AlarmType::None);
    let Ok(Answer::Alarm { alarms, .. }) = applied.result else { panic!("{:?}", applied.result) };
    let left: Vec<_> = alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect();
    assert_eq!(left, [(0, pb::AlarmType::Corrupt as i32), (9, full as i32)]);
}

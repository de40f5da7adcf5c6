//! What an alarm or a quota lets through, and what a cluster's version decides.

mod support;

use holdfast_apply::{Answer, Config, Fact};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use store::Bucket;
use types::Refusal;

use crate::support::{Log, config, none};

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "1".into(), ..Default::default() }
}

fn put_op(key: &'static str) -> pb::RequestOp {
    pb::RequestOp { request: Some(Op::RequestPut(put(key))) }
}

fn range_op(revision: i64) -> pb::RequestOp {
    let range = pb::RangeRequest { key: "a".into(), revision, ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestRange(range)) }
}

fn nested(ops: Vec<pb::RequestOp>) -> pb::RequestOp {
    let txn = pb::TxnRequest { success: ops, ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestTxn(txn)) }
}

fn txn(success: Vec<pb::RequestOp>) -> pb::InternalRaftRequest {
    let txn = pb::TxnRequest { success, ..Default::default() };
    pb::InternalRaftRequest { txn: Some(txn), ..none() }
}

/// One of each kind that a gate could meet, each of which succeeds where no gate is closed.
fn requests() -> Vec<(&'static str, pb::InternalRaftRequest)> {
    let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "z".into(), ..Default::default() };
    let grant = pb::LeaseGrantRequest { id: 2, ttl: 10 };
    let alarm = pb::AlarmRequest::default();
    let attributes = proto::membershippb::ClusterMemberAttrSetRequest::default();
    let downgrade = proto::membershippb::DowngradeInfoSetRequest::default();
    let delete_op = pb::RequestOp { request: Some(Op::RequestDeleteRange(delete.clone())) };
    vec![
        ("range", pb::InternalRaftRequest { range: Some(range), ..none() }),
        ("put", pb::InternalRaftRequest { put: Some(put("a")), ..none() }),
        ("delete", pb::InternalRaftRequest { delete_range: Some(delete), ..none() }),
        ("txn that puts", txn(vec![put_op("a")])),
        ("txn that puts deep down", txn(vec![nested(vec![put_op("a")])])),
        ("txn that deletes", txn(vec![delete_op])),
        ("grant", pb::InternalRaftRequest { lease_grant: Some(grant), ..none() }),
        (
            "checkpoint",
            pb::InternalRaftRequest { lease_checkpoint: Some(Default::default()), ..none() },
        ),
        (
            "revoke",
            pb::InternalRaftRequest {
                lease_revoke: Some(pb::LeaseRevokeRequest { id: 1 }),
                ..none()
            },
        ),
        ("alarms asked for", pb::InternalRaftRequest { alarm: Some(alarm), ..none() }),
        (
            "attributes",
            pb::InternalRaftRequest { cluster_member_attr_set: Some(attributes), ..none() },
        ),
        ("downgrade", pb::InternalRaftRequest { downgrade_info_set: Some(downgrade), ..none() }),
        (
            "compaction",
            pb::InternalRaftRequest {
                compaction: Some(pb::CompactionRequest { revision: 2, physical: false }),
                ..none()
            },
        ),
    ]
}

#[track_caller]
fn refused_under(alarm: Option<pb::AlarmType>, refusal: &Refusal) -> Vec<&'static str> {
    let mut log = Log::new();
    log.put("a", "0").expect("nothing speaks against it");
    let lease = pb::LeaseGrantRequest { id: 1, ttl: 10 };
    log.request(pb::InternalRaftRequest { lease_grant: Some(lease), ..none() });
    if let Some(alarm) = alarm {
        log.alarm(alarm).expect("an alarm is always taken");
    }
    let mut refused = Vec::new();
    for (what, request) in requests() {
        match log.request(request).result {
            Ok(_) => {}
            Err(said) => {
                assert_eq!(&said, refusal, "{what}");
                refused.push(what);
            }
        }
    }
    refused
}

#[test]
fn a_corrupt_alarm_stops_everything_about_keys_and_a_full_one_what_grows() {
    assert_eq!(refused_under(None, &Refusal::Corrupt), [""; 0]);
    let corrupt = refused_under(Some(pb::AlarmType::Corrupt), &Refusal::Corrupt);
    let about_keys = [
        "range",
        "put",
        "delete",
        "txn that puts",
        "txn that puts deep down",
        "txn that deletes",
        "grant",
        "revoke",
        "compaction",
    ];
    assert_eq!(corrupt, about_keys);
    let full = refused_under(Some(pb::AlarmType::Nospace), &Refusal::NoSpace);
    assert_eq!(full, ["put", "txn that puts", "txn that puts deep down", "grant"]);
}

#[test]
fn above_the_quota_a_write_stands_and_only_its_answer_tells() {
    let mut log = Log::with(Config { quota_bytes: Some(1), ..config() });
    let request = pb::InternalRaftRequest { put: Some(put("a")), ..none() };
    let applied = log.request(request);
    assert_eq!(applied.result, Err(Refusal::NoSpace));
    assert_eq!(applied.facts, [Fact::QuotaExceeded]);
    assert_eq!(log.applier.revision(), 2);
    let deleted = pb::DeleteRangeRequest { key: "a".into(), ..Default::default() };
    let request = pb::InternalRaftRequest { delete_range: Some(deleted), ..none() };
    assert!(log.request(request).result.is_ok());
}

/// Bytes read for a compaction: none, unless the store is small or somebody compares the hashes.
#[test]
fn a_compaction_of_a_large_store_hashes_nothing_and_prunes_at_once() {
    for (hashed_bytes_max, hashes) in [(0, false), (10_000, false), (u64::MAX, true)] {
        let mut log = Log::with(Config { hashed_bytes_max, ..config() });
        for _ in 0..1000 {
            log.request(pb::InternalRaftRequest { put: Some(put("a")), ..none() });
        }
        let compaction = pb::CompactionRequest { revision: 900, physical: false };
        log.request(pb::InternalRaftRequest { compaction: Some(compaction), ..none() });
        assert_eq!(log.applier.take_hash_job().is_some(), hashes, "{hashed_bytes_max}");
        if !hashes {
            while log.applier.prune(10) {}
            assert!(!log.applier.is_pruning(), "nothing is waited for");
        }
    }
}

#[test]
fn members_up_to_3_6_carry_a_transaction_out_whatever_its_ranges_say() {
    for version in ["3.4.0", "3.5.0", "3.6.0"] {
        let mut log = Log::of_version(version);
        let applied = log.request(txn(vec![range_op(99), put_op("a")]));
        assert_eq!(applied.result, Err(Refusal::FutureRev), "{version}: the client is told");
        assert_eq!(log.applier.revision(), 2, "{version}: and the write stands");
        // Ranges of nested transactions count on all members of all releases.
        let applied = log.request(txn(vec![nested(vec![range_op(99)]), put_op("a")]));
        assert_eq!(applied.result, Err(Refusal::FutureRev));
        assert_eq!(log.applier.revision(), 2, "{version}");
        let applied = log.request(txn(vec![put_op("a"), range_op(0)]));
        let Ok(Answer::Txn(answer)) = applied.result else { panic!("{:?}", applied.result) };
        assert_eq!((answer.revision, answer.responses.len()), (3, 2));
    }
}

#[test]
fn from_3_7_on_a_transaction_with_a_range_that_has_no_answer_changes_nothing() {
    let mut log = Log::of_version("3.7.0");
    let applied = log.request(txn(vec![range_op(99), put_op("a")]));
    assert_eq!(applied.result, Err(Refusal::FutureRev));
    assert_eq!(log.applier.revision(), 1);
}

#[test]
fn checkpoints_of_leases_are_stored_from_3_6_on() {
    for (version, stored) in [("3.4.0", false), ("3.5.0", false), ("3.6.0", true), ("3.7.0", true)]
    {
        let mut log = Log::of_version(version);
        let lease = pb::LeaseGrantRequest { id: 1, ttl: 100 };
        log.request(pb::InternalRaftRequest { lease_grant: Some(lease), ..none() });
        let before = log.row(Bucket::Lease, 1_i64.to_be_bytes());
        let noted = pb::LeaseCheckpoint { id: 1, remaining_ttl: 40 };
        let noted = pb::LeaseCheckpointRequest { checkpoints: vec![noted] };
        log.request(pb::InternalRaftRequest { lease_checkpoint: Some(noted), ..none() });
        let after = log.row(Bucket::Lease, 1_i64.to_be_bytes());
        assert_eq!(before != after, stored, "{version}");
    }
}

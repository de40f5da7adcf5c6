//! Entries that need a row which one member has lost: what both members change is the same, what they answer is not.

mod support;

use std::path::Path;

use holdfast_apply::{Answer, Applied, Decidable, Fault};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::{Code, Refusal};

use crate::support::{Log, none};

/// A member with three keys; of `rotten` it can lose the value.
fn member() -> Log {
    let mut log = Log::new();
    log.version("3.7.0").expect("it is a version");
    for (key, value) in [("a", "sound"), ("rotten", "letter"), ("z", "sound")] {
        log.put(key, value).expect("it is taken");
    }
    // Its newest rows are not in memory any more.
    log.restarted()
}

fn rotten_member() -> Log {
    let log = member();
    let file = Path::new("/store/0000000000000001.log");
    let bytes = vfs::read_all(&log.disk, file).expect("it is there");
    let at = bytes.windows(6).position(|window| window == b"letter").expect("it is there");
    log.disk.flip_bit(file, at as u64 * 8).expect("the file is that long");
    log
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "new".into(), ..Default::default() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn range(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

/// Applies the same on a sound member and on one that lost a row.
#[track_caller]
fn on_both(request: pb::InternalRaftRequest) -> (Applied, Applied) {
    let (mut sound, mut rotten) = (member(), rotten_member());
    let there = sound.request(request.clone());
    let here = rotten.request(request);
    assert_eq!(there.changes, here.changes);
    assert_eq!(there.facts, here.facts);
    assert_eq!(sound.applier.revision(), rotten.applier.revision());
    for mut log in [sound, rotten] {
        assert!(log.put("b", "more").is_ok(), "both go on");
    }
    (there, here)
}

#[track_caller]
fn is_data_loss(result: &Result<Answer, Refusal>) {
    let refusal = result.as_ref().expect_err("a row is lost");
    assert_eq!(refusal.code(), Code::DataLoss);
    let text = refusal.message();
    assert!(text.contains("0000000000000001.log is damaged at byte"), "{text}");
}

#[test]
fn an_entry_whose_answer_needs_a_lost_row_changes_what_it_changes_on_every_member() {
    let delete = pb::DeleteRangeRequest { key: "a".into(), range_end: "\0".into(), prev_kv: true };
    let txn = |request: Request| pb::TxnRequest {
        success: vec![op(Request::RequestPut(put("b"))), op(request)],
        ..Default::default()
    };
    let with_previous = || pb::PutRequest { prev_kv: true, ..put("rotten") };
    let requests = [
        pb::InternalRaftRequest { put: Some(with_previous()), ..none() },
        pb::InternalRaftRequest { delete_range: Some(delete.clone()), ..none() },
        pb::InternalRaftRequest { range: Some(range("rotten")), ..none() },
        pb::InternalRaftRequest {
            txn: Some(txn(Request::RequestRange(range("rotten")))),
            ..none()
        },
        pb::InternalRaftRequest { txn: Some(txn(Request::RequestPut(with_previous()))), ..none() },
        pb::InternalRaftRequest { txn: Some(txn(Request::RequestDeleteRange(delete))), ..none() },
        pb::InternalRaftRequest {
            txn: Some(txn(Request::RequestTxn(txn(Request::RequestRange(range("rotten")))))),
            ..none()
        },
    ];
    for request in requests {
        let (there, here) = on_both(request);
        assert!(there.result.is_ok(), "{there:?}");
        is_data_loss(&here.result);
    }
}

#[test]
fn an_entry_that_needs_no_lost_row_is_answered() {
    let delete = pb::DeleteRangeRequest { key: "rotten".into(), ..Default::default() };
    for request in [
        pb::InternalRaftRequest { put: Some(put("rotten")), ..none() },
        pb::InternalRaftRequest { delete_range: Some(delete), ..none() },
    ] {
        let (there, here) = on_both(request);
        assert_eq!(there.result, here.result);
        assert!(here.result.is_ok());
    }
}

/// A request whose change hangs on the row.
fn undecidable() -> [(pb::InternalRaftRequest, Box<dyn Decidable>); 2] {
    let keeping = pb::PutRequest {
        key: "rotten".into(),
        ignore_value: true,
        prev_kv: true,
        ..Default::default()
    };
    let compare = pb::Compare {
        key: "rotten".into(),
        target: pb::compare::CompareTarget::Value as i32,
        target_union: Some(pb::compare::TargetUnion::Value("letter".into())),
        ..Default::default()
    };
    let nested = pb::TxnRequest { compare: vec![compare], ..Default::default() };
    let txn =
        pb::TxnRequest { success: vec![op(Request::RequestTxn(nested))], ..Default::default() };
    [
        (
            pb::InternalRaftRequest { put: Some(keeping.clone()), ..none() },
            Box::new(keeping) as Box<dyn Decidable>,
        ),
        (pb::InternalRaftRequest { txn: Some(txn.clone()), ..none() }, Box::new(txn)),
    ]
}

#[test]
fn an_entry_that_cannot_be_decided_without_a_lost_row_ends_the_member_by_name() {
    for (request, decidable) in undecidable() {
        let mut rotten = rotten_member();
        // Whoever looks before it proposes does not come so far.
        let view = rotten.applier.view();
        assert!(decidable.decidable(&view.index, &view.rows()).is_err());
        let fault = rotten.bytes(request.encode_to_vec()).expect_err("it cannot be decided");
        let Fault::Undecidable { index: 5, row, .. } = &fault else { panic!("{fault:?}") };
        assert_eq!(row.revision.main, 3);

        let mut sound = member();
        let view = sound.applier.view();
        assert!(decidable.decidable(&view.index, &view.rows()).is_ok());
        assert!(sound.request(request).result.is_ok());
    }
}

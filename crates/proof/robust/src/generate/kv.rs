//! Ranges, puts, deletes, compactions, hashes, transactions.

use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, compare, request_op,
};

use super::{Step, World, call};

pub(super) fn step(world: &mut World) -> Step {
    match world.random.below(20) {
        0..6 => call("/etcdserverpb.KV/Put", &put(world, true)),
        6..8 => call("/etcdserverpb.KV/DeleteRange", &delete(world)),
        15 | 16 if !world.old => call("/etcdserverpb.KV/RangeStream", &range_stream(world)),
        8..17 => call("/etcdserverpb.KV/Range", &range(world)),
        17 => compact(world),
        18 => call(
            "/etcdserverpb.Maintenance/HashKV",
            &HashKvRequest { revision: world.at_revision() },
        ),
        _ => call("/etcdserverpb.KV/Txn", &txn(world, 1)),
    }
}

pub(super) fn txn_step(world: &mut World) -> Step {
    match world.random.below(12) {
        0 => call("/etcdserverpb.KV/Put", &put(world, true)),
        1 => call("/etcdserverpb.KV/DeleteRange", &delete(world)),
        2 if world.random.one_in(2) => compact(world),
        3 if world.random.one_in(4) => call("/etcdserverpb.KV/Txn", &crowded_txn(world)),
        4 => call(
            "/etcdserverpb.Maintenance/HashKV",
            &HashKvRequest { revision: world.at_revision() },
        ),
        5 => call("/etcdserverpb.KV/Range", &everything()),
        _ => call("/etcdserverpb.KV/Txn", &txn(world, 3)),
    }
}

/// All keys with all their fields: shows a difference of state soon after it came to be.
pub(super) fn everything() -> RangeRequest {
    RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..RangeRequest::default() }
}

pub(super) fn put(world: &mut World, may_ignore: bool) -> PutRequest {
    let ignore_value = may_ignore && world.random.one_in(10);
    let ignore_lease = may_ignore && world.random.one_in(10);
    let keeps_both = !world.random.one_in(4);
    PutRequest {
        key: world.key().into(),
        value: if ignore_value && keeps_both { Vec::new() } else { world.value() }.into(),
        lease: if ignore_lease && keeps_both { 0 } else { world.lease() },
        prev_kv: world.random.one_in(3),
        ignore_value,
        ignore_lease,
    }
}

pub(super) fn delete(world: &mut World) -> DeleteRangeRequest {
    let key = world.key();
    let range_end = if world.random.one_in(2) { Vec::new() } else { world.range_end(&key) };
    DeleteRangeRequest {
        range_end: range_end.into(),
        key: key.into(),
        prev_kv: world.random.one_in(2),
    }
}

fn revision_bound(world: &mut World) -> i64 {
    if world.random.one_in(6) { world.random.between(-1, world.revision + 1) } else { 0 }
}

pub(super) fn range(world: &mut World) -> RangeRequest {
    let key = world.key();
    let insane = !world.old && world.random.one_in(15);
    let (orders, targets) = if insane { (4, 6) } else { (2, 4) };
    let sorted = world.random.one_in(2);
    RangeRequest {
        range_end: world.range_end(&key).into(),
        key: key.into(),
        limit: if world.random.one_in(2) { world.random.between(-1, 5) } else { 0 },
        revision: world.at_revision(),
        sort_order: if sorted { world.random.between(0, orders) as i32 } else { 0 },
        sort_target: if sorted { world.random.between(0, targets) as i32 } else { 0 },
        serializable: world.random.one_in(3),
        keys_only: world.random.one_in(6),
        count_only: world.random.one_in(8),
        min_mod_revision: revision_bound(world),
        max_mod_revision: revision_bound(world),
        min_create_revision: revision_bound(world),
        max_create_revision: revision_bound(world),
    }
}

/// Without the one combination real etcd answers with garbage (`docs/etcd/observed.md` B): no order
/// but another target than the key.
fn range_stream(world: &mut World) -> RangeRequest {
    let mut request = range(world);
    if request.sort_order == 0 {
        request.sort_target = 0;
    }
    request
}

fn compact(world: &mut World) -> Step {
    let revision = match world.random.below(8) {
        0 => world.random.between(-2, 1),
        1 => world.revision + 1,
        2 => world.compacted,
        _ => world.random.between(world.compacted.min(world.revision), world.revision),
    };
    call("/etcdserverpb.KV/Compact", &CompactionRequest { revision, physical: true })
}

fn compare_one(world: &mut World) -> Compare {
    let key = world.key();
    let target = world.random.between(0, 4) as i32;
    let number = match world.random.below(4) {
        0 => 0,
        1 => world.random.between(0, 3),
        _ => world.random.between(0, world.revision + 1),
    };
    // Now and then the union holds another field than the target says, or none.
    let told = if world.random.one_in(10) { world.random.between(0, 5) as i32 } else { target };
    let target_union = match told {
        0 => Some(compare::TargetUnion::Version(number)),
        1 => Some(compare::TargetUnion::CreateRevision(number)),
        2 => Some(compare::TargetUnion::ModRevision(number)),
        3 => Some(compare::TargetUnion::Value(world.value().into())),
        4 => Some(compare::TargetUnion::Lease(number)),
        _ => None,
    };
    let unknown_result = !world.old && world.random.one_in(20);
    let unknown_target = !world.old && world.random.one_in(40);
    Compare {
        result: world.random.between(0, if unknown_result { 4 } else { 3 }) as i32,
        target: if unknown_target { 5 } else { target },
        range_end: if world.random.one_in(3) {
            world.range_end(&key).into()
        } else {
            Vec::new().into()
        },
        key: key.into(),
        target_union,
    }
}

/// A transaction either deletes or has puts that keep a value or lease, never both: real etcd ends on
/// some of those (`docs/etcd/observed.md` A1).
pub(super) fn txn(world: &mut World, depth: u32) -> TxnRequest {
    let deletes = world.random.one_in(2);
    txn_of(world, depth, deletes)
}

fn txn_of(world: &mut World, depth: u32, deletes: bool) -> TxnRequest {
    let compares = world.random.below(3);
    let (yes, no) = (world.random.below(4), world.random.below(3));
    TxnRequest {
        compare: (0..compares).map(|_| compare_one(world)).collect(),
        success: (0..yes).map(|_| op(world, depth, deletes)).collect(),
        failure: (0..no).map(|_| op(world, depth, deletes)).collect(),
    }
}

fn op(world: &mut World, depth: u32, deletes: bool) -> RequestOp {
    use request_op::Request;
    let request = match world.random.below(20) {
        0..6 => Some(Request::RequestRange(range(world))),
        6..11 => Some(Request::RequestPut(put(world, !deletes))),
        11..15 if deletes => Some(Request::RequestDeleteRange(delete(world))),
        11..19 if depth > 1 => Some(Request::RequestTxn(txn_of(world, depth - 1, deletes))),
        19 if world.random.one_in(3) => None,
        _ => Some(Request::RequestPut(put(world, !deletes))),
    };
    RequestOp { request }
}

/// At and over the limit of 128, at the top and with what a nested one has left.
fn crowded_txn(world: &mut World) -> TxnRequest {
    let count = world.random.pick(&[127usize, 128, 129]);
    let read = |number: usize| RequestOp {
        request: Some(request_op::Request::RequestRange(RangeRequest {
            key: format!("k{number}").into_bytes().into(),
            ..RangeRequest::default()
        })),
    };
    let mut success: Vec<RequestOp> = (0..count).map(read).collect();
    if world.random.one_in(2) {
        let inner = world.random.pick(&[27usize, 28, 29]);
        success.truncate(99);
        success.push(RequestOp {
            request: Some(request_op::Request::RequestTxn(TxnRequest {
                success: (0..inner).map(read).collect(),
                ..TxnRequest::default()
            })),
        });
    }
    TxnRequest { success, ..TxnRequest::default() }
}

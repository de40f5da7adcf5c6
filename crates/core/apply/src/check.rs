//! What a request must look like before anybody decides about it.
//!
//! The checks of etcd's own front (`docs/etcd/api.md` 4), in its order, so that a request with two
//! mistakes is refused for the same one. Besides, some requests are validated here before they are
//! proposed that etcd lets pass (`docs/etcd/observed.md` A). A log written by another member may hold
//! anything, so
//! `apply` relies on none of this.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::Refusal;

/// A range: a key, and a sort order and target that exist.
///
/// # Errors
/// `EmptyKey`, `InvalidSortOption`.
pub fn range(request: &pb::RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let known = pb::range_request::SortOrder::try_from(request.sort_order).is_ok()
        && pb::range_request::SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Refusal::InvalidSortOption) }
}

/// A put: a key, and nothing given that is to be kept.
///
/// # Errors
/// `EmptyKey`, `ValueProvided`, `LeaseProvided`.
pub fn put(request: &pb::PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// A delete: a key.
///
/// # Errors
/// `EmptyKey`.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// A transaction: its size, its conditions, its operations, and no key written twice.
///
/// # Errors
/// `TooManyOps`, those of the operations, `DuplicateKey`.
pub fn txn(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    operations(request, ops_max)?;
    written(&request.success)?;
    written(&request.failure)?;
    Ok(())
}

fn operations(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    let widest = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops_max < widest {
        return Err(Refusal::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            None => return Err(Refusal::KeyNotFound),
            Some(Request::RequestRange(inner)) => range(inner)?,
            Some(Request::RequestPut(inner)) => put(inner)?,
            Some(Request::RequestDeleteRange(inner)) => delete_range(inner)?,
            Some(Request::RequestTxn(inner)) => operations(inner, ops_max - widest)?,
        }
    }
    Ok(())
}

/// What a branch writes: keys put, and ranges deleted as `[start, end)`.
#[derive(Default)]
struct Written {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Written {
    fn deletes_key(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|(start, end)| &start[..] <= key && key < &end[..])
    }
}

/// Refuses a branch that writes a key twice. Order matters as it does in etcd
/// (`docs/etcd/observed.md` B): a nested transaction's puts are held against the deletes seen so far,
/// the branch's own puts against everything.
fn written(branch: &[pb::RequestOp]) -> Result<Written, Refusal> {
    let mut written = Written::default();
    for op in branch {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            written.deletes.extend(deleted(delete));
        }
    }
    for op in branch {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            nested_writes(nested, &mut written)?;
        }
    }
    for op in branch {
        if let Some(Request::RequestPut(put)) = &op.request {
            add_put(&mut written, &put.key)?;
        }
    }
    Ok(written)
}

fn nested_writes(nested: &pb::TxnRequest, written_so_far: &mut Written) -> Result<(), Refusal> {
    let success = written(&nested.success)?;
    let failure = written(&nested.failure)?;
    for key in &success.puts {
        add_put(written_so_far, key)?;
    }
    for key in &failure.puts {
        // Only one of the two branches runs, so both may put the same key.
        if success.puts.contains(key) {
            continue;
        }
        add_put(written_so_far, key)?;
    }
    written_so_far.deletes.extend(success.deletes);
    written_so_far.deletes.extend(failure.deletes);
    Ok(())
}

fn add_put(written: &mut Written, key: &Bytes) -> Result<(), Refusal> {
    if written.deletes_key(key) || !written.puts.insert(key.clone()) {
        return Err(Refusal::DuplicateKey);
    }
    Ok(())
}

/// The keys a delete covers, as etcd's duplicate check sees them: `"\0"` as an end counts as a plain
/// (inverted, so empty) range there, and such a delete is invisible (`docs/etcd/observed.md` B).
fn deleted(delete: &pb::DeleteRangeRequest) -> Option<(Bytes, Bytes)> {
    let end = if delete.range_end.is_empty() {
        let mut after = delete.key.to_vec();
        after.push(0);
        Bytes::from(after)
    } else {
        delete.range_end.clone()
    };
    (delete.key < end).then(|| (delete.key.clone(), end))
}

/// Whether a transaction only reads: all operations of both branches are ranges. A nested transaction
/// counts as a write, whatever it does.
pub fn is_read_only(request: &pb::TxnRequest) -> bool {
    let reads = |op: &pb::RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    request.success.iter().all(reads) && request.failure.iter().all(reads)
}

/// Whether every range of a read-only transaction may be answered from local state.
pub fn is_serializable(request: &pb::TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

/// What a put costs against the quota, in bytes.
pub fn put_cost(request: &pb::PutRequest) -> u64 {
    256 + request.key.len() as u64 + request.value.len() as u64
}

/// What a transaction costs against the quota: its dearer branch, nested ones included. 0 when it puts
/// nothing.
pub fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let branch = |ops: &[pb::RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(put)) => put_cost(put),
                Some(Request::RequestTxn(nested)) => txn_cost(nested),
                Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
            })
            .sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// What a lease costs against the quota, in bytes.
pub const LEASE_COST: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn put_op(key: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete_op(key: &'static str, range_end: &'static str) -> pb::RequestOp {
        let delete = pb::DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest { compare: vec![], success, failure };
        pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    #[track_caller]
    fn check(success: Vec<pb::RequestOp>, expected: Result<(), Refusal>) {
        let request = pb::TxnRequest { compare: vec![], success, failure: vec![] };
        assert_eq!(txn(&request, 128), expected);
    }

    #[test]
    fn a_key_is_put_once_in_a_branch() {
        check(vec![put_op("a"), put_op("b")], Ok(()));
        check(vec![put_op("a"), put_op("a")], Err(Refusal::DuplicateKey));
        check(vec![put_op("a"), delete_op("a", "")], Err(Refusal::DuplicateKey));
        check(vec![delete_op("a", "c"), put_op("b")], Err(Refusal::DuplicateKey));
        check(vec![delete_op("a", "c"), delete_op("b", "d")], Ok(()));
    }

    #[test]
    fn a_delete_to_the_end_of_the_keyspace_is_invisible_to_the_check() {
        check(vec![delete_op("a", "\0"), put_op("a")], Ok(()));
        check(vec![put_op("a"), nested(vec![delete_op("a", "\0")], vec![])], Ok(()));
        check(vec![delete_op("c", "a"), put_op("b")], Ok(()));
    }

    #[test]
    fn nested_branches_exclude_each_other_but_not_their_neighbours() {
        check(vec![nested(vec![put_op("a")], vec![put_op("a")])], Ok(()));
        check(
            vec![nested(vec![put_op("a")], vec![]), nested(vec![], vec![put_op("a")])],
            Err(Refusal::DuplicateKey),
        );
        check(
            vec![nested(vec![put_op("a")], vec![]), nested(vec![delete_op("a", "")], vec![])],
            Ok(()),
        );
        check(
            vec![nested(vec![delete_op("a", "")], vec![]), nested(vec![put_op("a")], vec![])],
            Err(Refusal::DuplicateKey),
        );
        check(
            vec![put_op("b"), nested(vec![delete_op("a", "c")], vec![])],
            Err(Refusal::DuplicateKey),
        );
    }

    #[test]
    fn a_nested_transaction_has_what_its_parent_left_over() {
        let wide = nested(vec![put_op("a"), put_op("b"), put_op("c")], vec![]);
        let request =
            pb::TxnRequest { compare: vec![], success: vec![wide.clone()], failure: vec![] };
        assert_eq!(txn(&request, 4), Ok(()));
        assert_eq!(txn(&request, 3), Err(Refusal::TooManyOps));
    }

    #[test]
    fn the_first_mistake_is_the_one_named() {
        let mut request = pb::RangeRequest { sort_order: 9, ..Default::default() };
        assert_eq!(range(&request), Err(Refusal::EmptyKey));
        request.key = "a".into();
        assert_eq!(range(&request), Err(Refusal::InvalidSortOption));
    }
}

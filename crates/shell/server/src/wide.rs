//! How many keys a request may delete. Decided before it is proposed: once it is in the log, every member must carry it
//! out, and must be able to.

use apply::ReadView;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::{KeyRange, Refusal};

/// Refuses a deletion of more than `keys_max` keys, as far as can be seen now.
///
/// # Errors
/// `RequestTooLarge`.
pub(crate) fn delete_range(
    view: &ReadView,
    request: &pb::DeleteRangeRequest,
    keys_max: u64,
) -> Result<(), Refusal> {
    bounded(keys(view, request), keys_max)
}

/// Refuses a transaction of which one way to go deletes more than `keys_max` keys.
///
/// # Errors
/// `RequestTooLarge`.
pub(crate) fn txn(view: &ReadView, request: &pb::TxnRequest, keys_max: u64) -> Result<(), Refusal> {
    bounded(keys_of_txn(view, request), keys_max)
}

fn bounded(keys: u64, keys_max: u64) -> Result<(), Refusal> {
    if keys <= keys_max { Ok(()) } else { Err(Refusal::RequestTooLarge) }
}

/// Counted by the index, which knows how many keys each of its nodes holds.
fn keys(view: &ReadView, request: &pb::DeleteRangeRequest) -> u64 {
    if request.range_end.is_empty() {
        return 1;
    }
    let range = KeyRange::from_wire(&request.key, &request.range_end);
    let count = range.map_or(Ok(0), |range| view.index.count(&range, 0));
    count.ok().and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

fn keys_of_txn(view: &ReadView, request: &pb::TxnRequest) -> u64 {
    let of_branch = |ops: &[pb::RequestOp]| {
        let keys = ops.iter().map(|op| match &op.request {
            Some(Request::RequestDeleteRange(delete)) => keys(view, delete),
            Some(Request::RequestTxn(nested)) => keys_of_txn(view, nested),
            Some(Request::RequestPut(_) | Request::RequestRange(_)) | None => 0,
        });
        keys.fold(0, u64::saturating_add)
    };
    of_branch(&request.success).max(of_branch(&request.failure))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use mvcc::{Mvcc, RowMeta};
    use store::{Options, Store};
    use types::Revision;
    use vfs::MemoryDisk;

    use super::*;

    /// A view of keys `0000` to `0999`.
    fn view() -> ReadView {
        let disk = Arc::new(MemoryDisk::new());
        let (store, _) = Store::open(disk, Path::new("/s"), Options::default()).expect("memory");
        let mut restore = mvcc::Restore::new();
        for key in 0..1000i64 {
            let (main, key) = (key + 2, format!("{key:04}"));
            let meta = RowMeta {
                key: key.as_bytes(),
                revision: Revision::first_of(main),
                tombstone: false,
                create_revision: main,
                version: 1,
                lease: 0,
            };
            restore.row(meta).expect("in order");
        }
        let keyspace: Mvcc = restore.finish(-1);
        ReadView {
            index: keyspace.view(),
            log: store.view(),
            applied_index: 1,
            applied_term: 1,
            users: Default::default(),
        }
    }

    fn delete(key: &str, range_end: &str) -> pb::DeleteRangeRequest {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        pb::DeleteRangeRequest { key, range_end, ..Default::default() }
    }

    #[test]
    fn a_deletion_of_more_keys_than_a_member_can_hold_is_refused_at_the_door() {
        let view = view();
        for (range, keys) in [
            (delete("0005", ""), 1),
            (delete("0100", "0200"), 100),
            (delete("0", "\0"), 1000),
            (delete("0200", "0100"), 0),
        ] {
            assert_eq!(delete_range(&view, &range, keys), Ok(()));
            let refused = delete_range(&view, &range, keys.saturating_sub(1));
            assert_eq!(refused.is_err(), keys > 0, "{range:?}");
            let op = || pb::RequestOp { request: Some(Request::RequestDeleteRange(range.clone())) };
            let nested = pb::TxnRequest { failure: vec![op(), op()], ..Default::default() };
            let nested = pb::RequestOp { request: Some(Request::RequestTxn(nested)) };
            let request = pb::TxnRequest { success: vec![op(), nested], ..Default::default() };
            assert_eq!(txn(&view, &request, 3 * keys), Ok(()));
            assert_eq!(txn(&view, &request, (3 * keys).saturating_sub(1)).is_err(), keys > 0);
        }
    }
}

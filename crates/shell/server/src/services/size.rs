//! How much an answer will take, and whether it is made here or where nobody else waits.

use std::sync::Arc;

use apply::{ReadView, wire};
use bytes::Bytes;
use mvcc::RangeQuery;
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use rpc::{Turn, Wanted, aside};
use types::Refusal;

/// Rows from which on a range is read on a thread that serves nobody else.
pub(crate) const ROWS_INLINE_MAX: u64 = 1000;
/// And bytes.
pub(crate) const BYTES_INLINE_MAX: u64 = 1 << 20;
/// Operations of a transaction that are not looked at when each speaks of one key.
const OPS_SMALL_MAX: usize = 4;

/// Nodes of the index, of some 30 keys each, that are looked at here to know how long an answer will be: a millisecond or
/// two.
const NODES_INLINE_MAX: usize = 512;

/// Whether a range returns so many rows, or walks so far, that others on this thread would notice.
pub(crate) fn has_many_rows(view: &ReadView, request: &pb::RangeRequest) -> bool {
    if request.range_end.is_empty() {
        return false;
    }
    // What cannot be answered is refused at once.
    let Ok(query) = wire::range_query(request) else { return false };
    let rows = view.index.answer_rows(&query, NODES_INLINE_MAX);
    rows.is_none_or(|rows| !query.count_only && ROWS_INLINE_MAX < rows)
}

/// Whether it takes a long walk through the index to know how many keys a range has.
pub(crate) fn is_long_walk(view: &ReadView, query: &RangeQuery) -> bool {
    view.index.answer_rows(query, NODES_INLINE_MAX).is_none()
}

fn rows_of(view: &ReadView, query: &RangeQuery) -> u64 {
    view.index.answer_rows(query, NODES_INLINE_MAX).unwrap_or(u64::MAX)
}

/// What the rows of a range take; 0 when it will be refused.
fn range_bytes(view: &ReadView, query: &RangeQuery) -> u64 {
    view.index.answer_bytes(&view.rows(), query).unwrap_or(0)
}

/// What the rows of a large transaction's answer take as of this view, whichever way it goes; `None` when it
/// is not large. Where there are many to look at, that is done where nobody else waits.
pub(crate) async fn txn_bytes(
    view: &Arc<ReadView>,
    request: &pb::TxnRequest,
) -> Result<Option<u64>, Refusal> {
    let small = |ops: &[pb::RequestOp]| ops.len() <= OPS_SMALL_MAX && ops.iter().all(is_small);
    if small(&request.success) && small(&request.failure) {
        return Ok(None);
    }
    large(view, request, rows_of_branches, dearer).await
}

/// The same for the rows a deletion returns.
pub(crate) async fn delete_bytes(
    view: &Arc<ReadView>,
    request: &pb::DeleteRangeRequest,
) -> Result<Option<u64>, Refusal> {
    if !request.prev_kv || request.range_end.is_empty() {
        return Ok(None);
    }
    large(view, request, rows_deleted, deleted).await
}

/// What `bytes` says, if that is much. It is asked elsewhere when `rows` says that it will look at many.
async fn large<R: Clone + Send + 'static>(
    view: &Arc<ReadView>,
    request: &R,
    rows: fn(&ReadView, &R) -> u64,
    bytes: fn(&ReadView, &R, &Wanted) -> u64,
) -> Result<Option<u64>, Refusal> {
    let bytes = if rows(view, request) <= ROWS_INLINE_MAX {
        bytes(view, request, &Wanted::always())
    } else {
        let (view, request) = (view.clone(), request.clone());
        aside(Turn::take(None).await?, move |wanted| bytes(&view, &request, wanted)).await?
    };
    Ok(Some(bytes).filter(|bytes| BYTES_INLINE_MAX < *bytes))
}

/// Whether a transaction that only reads looks at so many rows that others on this thread would notice, however
/// short its answer is: those it compares, and those it puts in order to return a few.
pub(crate) fn looks_at_many(view: &ReadView, request: &pb::TxnRequest) -> bool {
    ROWS_INLINE_MAX < rows_compared(view, request).saturating_add(rows_of_branches(view, request))
}

fn rows_compared(view: &ReadView, request: &pb::TxnRequest) -> u64 {
    let compared = |compare: &pb::Compare| {
        let range = wire::key_range(&compare.key, &compare.range_end);
        range.map_or(0, |range| rows_of(view, &RangeQuery::new(range)))
    };
    let nested = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestTxn(txn)) => rows_compared(view, txn),
        _ => 0,
    };
    let wide = request.compare.iter().filter(|compare| !compare.range_end.is_empty());
    let ops = request.success.iter().chain(&request.failure);
    wide.map(compared).chain(ops.map(nested)).fold(0, u64::saturating_add)
}

/// How many rows are looked at to know how long a transaction's answer will be.
fn rows_of_branches(view: &ReadView, request: &pb::TxnRequest) -> u64 {
    let rows = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestRange(range)) => {
            wire::range_query(range).map_or(0, |query| rows_of(view, &query))
        }
        Some(Request::RequestDeleteRange(delete)) if delete.prev_kv => rows_deleted(view, delete),
        Some(Request::RequestTxn(txn)) => rows_of_branches(view, txn),
        _ => 1,
    };
    request.success.iter().chain(&request.failure).map(rows).fold(0, u64::saturating_add)
}

fn rows_deleted(view: &ReadView, request: &pb::DeleteRangeRequest) -> u64 {
    let range = wire::key_range(&request.key, &request.range_end);
    range.map_or(0, |range| rows_of(view, &RangeQuery::new(range)))
}

fn is_small(op: &pb::RequestOp) -> bool {
    match &op.request {
        Some(Request::RequestRange(range)) => range.range_end.is_empty(),
        Some(Request::RequestDeleteRange(delete)) => !delete.prev_kv || delete.range_end.is_empty(),
        Some(Request::RequestTxn(_)) => false,
        Some(Request::RequestPut(_)) | None => true,
    }
}

fn dearer(view: &ReadView, request: &pb::TxnRequest, wanted: &Wanted) -> u64 {
    let branch = |ops: &[pb::RequestOp]| -> u64 {
        let ops = ops.iter().take_while(|_| wanted.is_wanted());
        ops.map(|op| op_bytes(view, op, wanted)).sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

fn op_bytes(view: &ReadView, op: &pb::RequestOp, wanted: &Wanted) -> u64 {
    match &op.request {
        Some(Request::RequestRange(range)) => {
            wire::range_query(range).map_or(0, |query| range_bytes(view, &query))
        }
        Some(Request::RequestDeleteRange(delete)) if delete.prev_kv => {
            deleted(view, delete, wanted)
        }
        Some(Request::RequestPut(put)) if put.prev_kv => one(view, &put.key),
        Some(Request::RequestTxn(txn)) => dearer(view, txn, wanted),
        Some(Request::RequestDeleteRange(_) | Request::RequestPut(_)) | None => 0,
    }
}

fn deleted(view: &ReadView, request: &pb::DeleteRangeRequest, _wanted: &Wanted) -> u64 {
    let range = wire::key_range(&request.key, &request.range_end);
    range.map_or(0, |range| range_bytes(view, &RangeQuery::new(range)))
}

fn one(view: &ReadView, key: &Bytes) -> u64 {
    let range = wire::key_range(key, &Bytes::new());
    range.map_or(0, |range| range_bytes(view, &RangeQuery::new(range)))
}

//! The KV service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apply::{Answer, RangeAnswer, ReadView, check, wire};
use mvcc::ReadError;
use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Router, Sink};
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{Code, KeyRange, Refusal};

use crate::door;
use crate::observer::described_range;
use crate::quota;
use crate::reply::{
    DeleteReply, LongRange, PutReply, RangeOut, RangeReply, RangeStreamReply, TxnReply,
};

/// Rows from which on a range is read on a thread that serves nobody else.
const ROWS_INLINE_MAX: i64 = 1000;
/// And bytes, as far as the average row tells.
const BYTES_INLINE_MAX: i64 = 1 << 20;

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router
        .unary_of("/etcdserverpb.KV/Range", move |call, request| range(at.clone(), call, request));
    let at = node.clone();
    router.server_stream("/etcdserverpb.KV/RangeStream", move |call, message, sink| {
        range_stream(at.clone(), call, message, sink)
    });
    let at = node.clone();
    router.unary_of("/etcdserverpb.KV/Put", move |call, request| put(at.clone(), call, request));
    let at = node.clone();
    router.unary_of("/etcdserverpb.KV/DeleteRange", move |call, request| {
        delete_range(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of("/etcdserverpb.KV/Txn", move |call, request| txn(at.clone(), call, request));
    let at = node.clone();
    router.unary_of("/etcdserverpb.KV/Compact", move |call, request| {
        compact(at.clone(), call, request)
    });
}

async fn range(node: Node, call: Call, request: pb::RangeRequest) -> Result<RangeOut, Refusal> {
    door::enter(&node, &call)?;
    check::range(&request)?;
    let view = settled(&node, &request, Some(&call)).await?;
    if is_long(&node, &view, &request) {
        let _turn = turn(Some(&call)).await?;
        return Ok(RangeOut::Framed(long_range(&node, view, request).await?));
    }
    let read = || apply::read_range(&view.index, &view.rows(), &request);
    let answer = timed(&node, &request, read);
    let answer = answer.map_err(|error| refused(&node, error))?;
    Ok(RangeOut::Short(RangeReply { header: Some(node.header(answer.revision)), answer }))
}

/// Rows of a long answer that are read and written first; then as many at a time as take about
/// [`STEP_BYTES`].
const ROWS_FIRST_STEP: usize = 64;
const STEP_BYTES: usize = 1 << 20;

/// A long answer, on a thread that serves nobody else. Its rows go into the frame page by page: what is in
/// memory is the answer, once, and one page.
async fn long_range(
    node: &Node,
    view: Arc<ReadView>,
    request: pb::RangeRequest,
) -> Result<bytes::Bytes, Refusal> {
    let header = node.header(view.index.current_revision());
    let at = node.clone();
    let write = move |request: &pb::RangeRequest| {
        let mut pages = view.index.pages(&view.rows(), wire::range_query(request)?)?;
        let mut frame = LongRange::begin(&header);
        let mut rows_max = ROWS_FIRST_STEP;
        while let Some(page) = pages.next_page(&view.rows(), rows_max)? {
            let bytes = frame.rows(&page.rows, pages.left());
            if rpc::ANSWER_BYTES_MAX < frame.len() {
                return Err(rpc::answer_too_large(frame.len()).into());
            }
            rows_max = next_rows_max(rows_max, bytes, STEP_BYTES);
        }
        Ok(frame.end(pages.more(), pages.count()))
    };
    let timed = move || timed(&at, &request, || write(&request));
    let written = tokio::task::spawn_blocking(timed).await;
    written.map_err(|_| Refusal::Stopped)?.map_err(|error| refused(node, error))
}

/// What readers see now, or from the moment on at which a linearizable range may be read. For a `call` whose
/// client reads too little it waits.
async fn settled(
    node: &Node,
    request: &pb::RangeRequest,
    call: Option<&Call>,
) -> Result<Arc<ReadView>, Refusal> {
    if !request.serializable {
        node.barrier().await?;
    }
    room(call).await;
    Ok(node.view())
}

/// Reads, and counts that it was done and how long it took.
fn timed<T>(
    node: &Node,
    request: &pb::RangeRequest,
    read: impl FnOnce() -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let began = Instant::now();
    node.metrics().mvcc.ranges.inc();
    let answer = read();
    let success = if answer.is_ok() { "true" } else { "false" };
    let took = began.elapsed();
    node.metrics().server.range_duration.with(&[success]).observe_duration(took);
    node.read_took("read-only range ", took, &|| described_range(request));
    answer
}

/// Long reads at once, over all threads: each may hold a large answer before it is counted as unread.
static LONG_READS: Semaphore = Semaphore::const_new(4);

/// A checked range, linearizable unless it says otherwise. For a `call` whose client reads too little it
/// waits.
pub(crate) async fn read_range(
    node: &Node,
    request: pb::RangeRequest,
    call: Option<&Call>,
) -> Result<RangeAnswer, Refusal> {
    let view = settled(node, &request, call).await?;
    let read = {
        let (node, view) = (node.clone(), view.clone());
        move |asked: &pb::RangeRequest| {
            timed(&node, asked, || apply::read_range(&view.index, &view.rows(), asked))
        }
    };
    let answer = if is_long(node, &view, &request) {
        let _turn = turn(call).await?;
        let read = tokio::task::spawn_blocking(move || read(&request));
        read.await.map_err(|_| Refusal::Stopped)?
    } else {
        read(&request)
    };
    answer.map_err(|error| refused(node, error))
}

async fn room(call: Option<&Call>) {
    if let Some(call) = call {
        call.room().await;
    }
}

/// Waits for one of the turns. Whoever was overtaken by answers its client does not read gives the turn
/// back and waits for room first. While all clients together leave too much unread, nobody gets one.
async fn turn(call: Option<&Call>) -> Result<SemaphorePermit<'static>, Refusal> {
    loop {
        room(call).await;
        let turn = LONG_READS.acquire().await.map_err(|_| Refusal::Stopped)?;
        call.map_or(Ok(()), Call::check_unread)?;
        if call.is_none_or(Call::has_room) {
            return Ok(turn);
        }
    }
}

/// About how long a row is: the store's live bytes over keys and revisions that are not forgotten.
fn average_row_bytes(node: &Node, view: &ReadView) -> i64 {
    let live = node.figures().live_bytes.load(Ordering::Relaxed);
    let keys = view.index.count(&KeyRange::all(), 0).unwrap_or(0);
    let history = view.index.current_revision() - view.index.compact_revision().max(0);
    (i64::try_from(live).unwrap_or(i64::MAX) / (keys + history).max(1)).max(1)
}

/// Whether a range returns so much that others on this thread would notice.
fn is_long(node: &Node, view: &ReadView, request: &pb::RangeRequest) -> bool {
    if request.count_only || request.range_end.is_empty() {
        return false;
    }
    let rows_max = ROWS_INLINE_MAX.min(BYTES_INLINE_MAX / average_row_bytes(node, view));
    if (1..=rows_max).contains(&request.limit) {
        return false;
    }
    wire::key_range(&request.key, &request.range_end)
        .and_then(|range| view.index.count(&range, 0))
        .is_ok_and(|count| rows_max < count)
}

/// A refusal goes to the client. A fault of the store ends the member: rather none than a wrong answer.
pub(crate) fn refused(node: &Node, error: ReadError) -> Refusal {
    match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Fault(fault) => {
            node.fault("reading from the store", &fault);
            Refusal::Stopped
        }
    }
}

async fn range_stream(
    node: Node,
    call: Call,
    message: bytes::Bytes,
    mut sink: Sink,
) -> Result<(), Refusal> {
    door::enter(&node, &call)?;
    let mut request: pb::RangeRequest = rpc::decode_streamed(message)?;
    check::range(&request)?;
    let query = wire::range_query(&request)?;
    refuse_unstreamable(&query)?;
    if !request.serializable {
        node.barrier().await?;
    }
    request.serializable = true;
    let view = node.view();
    stream_pages(&node, view, query, &mut sink).await
}

/// Streams come in key order and whole; etcd has no better for those who want something else.
fn refuse_unstreamable(query: &mvcc::RangeQuery) -> Result<(), Refusal> {
    let refused = |what: &str| {
        let text = format!("RangeStream does not support {what}");
        Err(Refusal::Other(Code::Unimplemented, text.into()))
    };
    let by_key = query.target == mvcc::SortTarget::Key;
    match query.order {
        mvcc::SortOrder::Descend => return refused("custom sort orders"),
        mvcc::SortOrder::Ascend if !by_key => return refused("custom sort orders"),
        mvcc::SortOrder::Ascend | mvcc::SortOrder::None => {}
    }
    if query.filters.are_off() { Ok(()) } else { refused("revision filters") }
}

/// Sends a range page by page from one view: what is in memory is one page, however long the list.
async fn stream_pages(
    node: &Node,
    view: Arc<ReadView>,
    query: mvcc::RangeQuery,
    sink: &mut Sink,
) -> Result<(), Refusal> {
    const ROWS_FIRST: usize = 10;
    let bytes_max = node.limits().request_bytes_max;
    let revision = view.index.current_revision();
    let whole = query.limit < 0;
    let mut pages = view.index.pages(&view.rows(), query).map_err(|error| refused(node, error))?;
    let (count, more) = (pages.count(), pages.more());
    let mut rows_max = if whole { usize::MAX } else { ROWS_FIRST };
    loop {
        let page = pages
            .next_page(&view.rows(), rows_max)
            .map_err(|error| refused(node, error))?
            .expect("the last page says that it is");
        let bytes: usize = page.rows.iter().map(|row| row.encoded.len()).sum();
        let mut answer = RangeAnswer { revision, rows: page.rows, more: false, count: 0 };
        let mut header = None;
        if page.last {
            answer.more = more;
            answer.count = count;
            header = Some(node.header(revision));
        }
        sink.send(&RangeStreamReply(RangeReply { header, answer })).await?;
        if page.last {
            return Ok(());
        }
        rows_max = next_rows_max(rows_max, bytes, bytes_max);
    }
}

/// Twice as many rows as long as the messages stay short, half as many when they grow long.
fn next_rows_max(rows_max: usize, bytes: usize, bytes_max: usize) -> usize {
    if bytes < bytes_max / 2 {
        rows_max.saturating_mul(2)
    } else if bytes_max < bytes {
        (rows_max / 2).max(1)
    } else {
        rows_max
    }
}

async fn put(node: Node, call: Call, request: pb::PutRequest) -> Result<PutReply, Refusal> {
    door::enter(&node, &call)?;
    quota::check(&node, check::put_cost(&request)).await?;
    check::put(&request)?;
    let decided =
        node.propose(pb::InternalRaftRequest { put: Some(request), ..Default::default() });
    match decided.await? {
        Answer::Put(answer) => Ok(PutReply { header: node.header(answer.revision), answer }),
        other => Err(unexpected(&other)),
    }
}

async fn delete_range(
    node: Node,
    call: Call,
    request: pb::DeleteRangeRequest,
) -> Result<DeleteReply, Refusal> {
    door::enter(&node, &call)?;
    check::delete_range(&request)?;
    let decided =
        node.propose(pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() });
    match decided.await? {
        Answer::DeleteRange(answer) => {
            Ok(DeleteReply { header: node.header(answer.revision), answer })
        }
        other => Err(unexpected(&other)),
    }
}

async fn txn(node: Node, call: Call, request: pb::TxnRequest) -> Result<TxnReply, Refusal> {
    door::enter(&node, &call)?;
    quota::check(&node, check::txn_cost(&request)).await?;
    check::txn(&request, node.limits().txn_ops_max)?;
    let answer = run_txn(&node, request, Some(&call)).await?;
    Ok(TxnReply { header: node.header(answer.revision), answer })
}

/// A checked transaction: through the log if it may write, else on a snapshot.
pub(crate) async fn run_txn(
    node: &Node,
    request: pb::TxnRequest,
    call: Option<&Call>,
) -> Result<apply::TxnAnswer, Refusal> {
    if check::is_read_only(&request) {
        if !check::is_serializable(&request) {
            node.barrier().await?;
        }
        room(call).await;
        let view = node.view();
        node.metrics().mvcc.txns.inc();
        return apply::read_txn(&view.index, &view.rows(), &request)
            .map_err(|error| refused(node, error));
    }
    let decided =
        node.propose(pb::InternalRaftRequest { txn: Some(request), ..Default::default() });
    match decided.await? {
        Answer::Txn(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

async fn compact(
    node: Node,
    call: Call,
    request: pb::CompactionRequest,
) -> Result<pb::CompactionResponse, Refusal> {
    door::enter(&node, &call)?;
    let compaction =
        pb::CompactionRequest { revision: request.revision, physical: request.physical };
    let proposal = pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() };
    let answer = node.propose(proposal).await?;
    if request.physical {
        while node.pruned() < request.revision && !node.is_stopping() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let revision = revision_of(&answer);
    Ok(pb::CompactionResponse { header: Some(node.header(revision)) })
}

/// The revision an answer shows in its header.
pub(crate) fn revision_of(answer: &Answer) -> i64 {
    match answer {
        Answer::Done { revision }
        | Answer::LeaseGrant { revision, .. }
        | Answer::Alarm { revision, .. } => *revision,
        Answer::Range(answer) => answer.revision,
        Answer::Put(answer) => answer.revision,
        Answer::DeleteRange(answer) => answer.revision,
        Answer::Txn(answer) => answer.revision,
        Answer::Members { .. } => 0,
    }
}

/// An answer of another kind than the request: our mistake, not the client's.
pub(crate) fn unexpected(answer: &Answer) -> Refusal {
    let text = format!("etcdserver: the answer is of another kind than the request: {answer:?}");
    Refusal::Other(Code::Internal, text.into())
}

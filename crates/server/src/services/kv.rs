//! The KV service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apply::{Answer, RangeAnswer, ReadView, check, wire};
use mvcc::{Page, ReadError};
use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Reply, Reserved, Router, Sink, Unread};
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{Code, Refusal};

use crate::door;
use crate::observer::described_range;
use crate::quota;
use crate::reply::{
    CountedFrame, DeleteReply, LongRange, Out, PutReply, RangeReply, RangeStreamReply, TxnReply,
    rows_len,
};
use crate::services::size;

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

async fn range(
    node: Node,
    call: Call,
    request: pb::RangeRequest,
) -> Result<Out<RangeReply>, Refusal> {
    door::enter(&node, &call)?;
    check::range(&request)?;
    let view = settled(&node, &request, Some(&call)).await?;
    let header = |revision| Some(node.header(revision));
    if let Some(answer) = short_range(&node, &view, &request)? {
        return Ok(Out::Short(RangeReply { header: header(answer.revision), answer }));
    }
    let _turn = turn(Some(&call)).await?;
    long_range(&node, view, request, call.unread()).await
}

/// Rows of a long answer that are read and written first; then as many at a time as take about
/// [`STEP_BYTES`].
const ROWS_FIRST_STEP: usize = 64;
const STEP_BYTES: usize = 1 << 20;

/// A long answer, on a thread that serves nobody else. Its rows go into the frame page by page: what is in
/// memory is the answer, once, and one page. Room for a page is reserved once it is known what it takes,
/// before it is read.
async fn long_range(
    node: &Node,
    view: Arc<ReadView>,
    request: pb::RangeRequest,
    unread: Unread,
) -> Result<Out<RangeReply>, Refusal> {
    let header = node.header(view.index.current_revision());
    let at = node.clone();
    let write = move |request: &pb::RangeRequest| {
        let (mut reserved, mut taken) = (unread.reserve(0)?, 0);
        let mut room = |bytes: u64| {
            taken += bytes;
            reserved.extend_to(while_made(taken))
        };
        let query = wire::range_query(request)?;
        let mut pages = view.index.pages(&view.rows(), query, &mut room)?;
        let mut frame = LongRange::begin(&header);
        let mut rows_max = ROWS_FIRST_STEP;
        while let Some(page) = pages.next_page(&view.rows(), rows_max, &mut room)? {
            let bytes = rows_len(&page.rows);
            frame.rows(&page.rows, bytes, bytes_left(&page, bytes, pages.left()));
            if rpc::ANSWER_BYTES_MAX < frame.len() {
                return Err(rpc::answer_too_large(frame.len()).into());
            }
            rows_max = next_rows_max(rows_max, bytes, STEP_BYTES);
        }
        let frame = frame.end(pages.more(), pages.count());
        Ok(Out::Framed { frame, _reserved: reserved })
    };
    let timed = move || {
        let began = Instant::now();
        let written = write(&request);
        count_range(&at, &request, began, written.is_ok());
        written
    };
    let written = tokio::task::spawn_blocking(timed).await;
    written.map_err(|_| Refusal::Stopped)?.map_err(|error| refused(node, error))
}

/// What so many rows more will take, if they are like these, with an eighth to spare.
fn bytes_left(page: &Page, bytes: usize, rows: u64) -> usize {
    let average = bytes as u64 / (page.rows.len() as u64).max(1) + 1;
    usize::try_from((average + average / 8).saturating_mul(rows)).unwrap_or(usize::MAX)
}

/// An answer that is short enough to be made here.
fn short_range(
    node: &Node,
    view: &ReadView,
    request: &pb::RangeRequest,
) -> Result<Option<RangeAnswer>, Refusal> {
    if size::has_many_rows(view, request) {
        return Ok(None);
    }
    let began = Instant::now();
    let rows = view.rows();
    let answer = apply::read_short_range(&view.index, &rows, request, size::BYTES_INLINE_MAX);
    if !matches!(answer, Ok(None)) {
        count_range(node, request, began, answer.is_ok());
    }
    answer.map_err(|error| refused(node, error))
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

/// Counts that a range was read and how long it took.
fn count_range(node: &Node, request: &pb::RangeRequest, began: Instant, succeeded: bool) {
    let success = if succeeded { "true" } else { "false" };
    let took = began.elapsed();
    node.metrics().mvcc.ranges.inc();
    node.metrics().server.range_duration.with(&[success]).observe_duration(took);
    node.read_took("read-only range ", took, &|| described_range(request));
}

/// What an answer takes while it is made: its rows as they were read, and its frame.
fn while_made(rows_bytes: u64) -> usize {
    usize::try_from(rows_bytes.saturating_mul(2)).unwrap_or(usize::MAX)
}

/// Long reads at once, over all threads.
static LONG_READS: Semaphore = Semaphore::const_new(4);

/// A checked range, linearizable unless it says otherwise. For a `call` whose client reads too little it
/// waits.
pub(crate) async fn read_range(
    node: &Node,
    request: pb::RangeRequest,
    call: Option<&Call>,
) -> Result<RangeAnswer, Refusal> {
    let view = settled(node, &request, call).await?;
    if let Some(answer) = short_range(node, &view, &request)? {
        return Ok(answer);
    }
    let _turn = turn(call).await?;
    let at = node.clone();
    let read = move || {
        let began = Instant::now();
        let answer = apply::read_range(&view.index, &view.rows(), &request);
        count_range(&at, &request, began, answer.is_ok());
        answer
    };
    let answer = tokio::task::spawn_blocking(read).await.map_err(|_| Refusal::Stopped)?;
    answer.map_err(|error| refused(node, error))
}

async fn room(call: Option<&Call>) {
    if let Some(call) = call {
        call.room().await;
    }
}

/// Waits for one of the turns. Whoever was overtaken by answers its client does not read gives the turn
/// back and waits for room first.
async fn turn(call: Option<&Call>) -> Result<SemaphorePermit<'static>, Refusal> {
    loop {
        room(call).await;
        let turn = LONG_READS.acquire().await.map_err(|_| Refusal::Stopped)?;
        if call.is_none_or(Call::has_room) {
            return Ok(turn);
        }
    }
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
    stream_pages(&node, view, query, &call, &mut sink).await
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
    call: &Call,
    sink: &mut Sink,
) -> Result<(), Refusal> {
    const ROWS_FIRST: usize = 10;
    let bytes_max = node.limits().request_bytes_max;
    let revision = view.index.current_revision();
    let whole = query.limit < 0;
    let mut endless = |_| Ok(());
    let pages = view.index.pages(&view.rows(), query, &mut endless);
    let mut pages = pages.map_err(|error| refused(node, error))?;
    let (count, more) = (pages.count(), pages.more());
    let mut rows_max = if whole { usize::MAX } else { ROWS_FIRST };
    loop {
        call.room().await;
        let mut reserved = call.unread().reserve(0)?;
        let mut room = |bytes: u64| reserved.extend_to(while_made(bytes));
        let page = pages
            .next_page(&view.rows(), rows_max, &mut room)
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
        let reply = RangeStreamReply(RangeReply { header, answer });
        let frame = call.unread().count(rpc::frame(&reply))?;
        drop((reply, reserved));
        sink.send(&CountedFrame(frame)).await?;
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
) -> Result<Out<DeleteReply>, Refusal> {
    door::enter(&node, &call)?;
    check::delete_range(&request)?;
    let reserved = reserve(&call, size::delete_bytes(&node.view(), &request)).await?;
    let decided =
        node.propose(pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() });
    match decided.await? {
        Answer::DeleteRange(answer) => {
            written(DeleteReply { header: node.header(answer.revision), answer }, reserved).await
        }
        other => Err(unexpected(&other)),
    }
}

async fn txn(node: Node, call: Call, request: pb::TxnRequest) -> Result<Out<TxnReply>, Refusal> {
    door::enter(&node, &call)?;
    quota::check(&node, check::txn_cost(&request)).await?;
    check::txn(&request, node.limits().txn_ops_max)?;
    if !check::is_read_only(&request) {
        let reserved = reserve(&call, size::txn_bytes(&node.view(), &request)).await?;
        let answer = write_txn(&node, request).await?;
        return written(TxnReply { header: node.header(answer.revision), answer }, reserved).await;
    }
    let view = settled_txn(&node, &request, Some(&call)).await?;
    let Some(bytes) = size::txn_bytes(&view, &request) else {
        let answer = read_txn(&node, &view, &request)?;
        return Ok(Out::Short(TxnReply { header: node.header(answer.revision), answer }));
    };
    let _turn = turn(Some(&call)).await?;
    let reserved = call.unread().reserve(while_made(bytes))?;
    let at = node.clone();
    let read = tokio::task::spawn_blocking(move || read_txn(&at, &view, &request));
    let answer = read.await.map_err(|_| Refusal::Stopped)??;
    written(TxnReply { header: node.header(answer.revision), answer }, Some(reserved)).await
}

/// Reserves what a change's large answer will take, once its client reads enough. How large it is, is known
/// as of now: what is changed before the change itself is applied is not.
async fn reserve(call: &Call, bytes: Option<u64>) -> Result<Option<Reserved>, Refusal> {
    let Some(bytes) = bytes else { return Ok(None) };
    call.room().await;
    call.unread().reserve(while_made(bytes)).map(Some)
}

/// An answer for which something was reserved is long: it is written on a thread that serves nobody else.
async fn written<R: Reply + Send + 'static>(
    reply: R,
    reserved: Option<Reserved>,
) -> Result<Out<R>, Refusal> {
    let Some(reserved) = reserved else { return Ok(Out::Short(reply)) };
    let frame = tokio::task::spawn_blocking(move || rpc::answer_frame(&reply));
    let frame = frame.await.map_err(|_| Refusal::Stopped)??;
    Ok(Out::Framed { frame, _reserved: reserved })
}

/// A checked transaction of the member's own services: through the log if it may write, else on a snapshot.
pub(crate) async fn run_txn(
    node: &Node,
    request: pb::TxnRequest,
) -> Result<apply::TxnAnswer, Refusal> {
    if !check::is_read_only(&request) {
        return write_txn(node, request).await;
    }
    let view = settled_txn(node, &request, None).await?;
    read_txn(node, &view, &request)
}

/// What readers see now, or from the moment on at which a linearizable transaction may be read.
async fn settled_txn(
    node: &Node,
    request: &pb::TxnRequest,
    call: Option<&Call>,
) -> Result<Arc<ReadView>, Refusal> {
    if !check::is_serializable(request) {
        node.barrier().await?;
    }
    room(call).await;
    Ok(node.view())
}

fn read_txn(
    node: &Node,
    view: &ReadView,
    request: &pb::TxnRequest,
) -> Result<apply::TxnAnswer, Refusal> {
    node.metrics().mvcc.txns.inc();
    apply::read_txn(&view.index, &view.rows(), request).map_err(|error| refused(node, error))
}

async fn write_txn(node: &Node, request: pb::TxnRequest) -> Result<apply::TxnAnswer, Refusal> {
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

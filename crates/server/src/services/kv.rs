//! The KV service.

use std::sync::Arc;
use std::time::Duration;

use apply::{Answer, ReadView, check};
use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Reply, Reserved, Router, Rpc};
use types::{Code, Refusal};

use crate::door;
use crate::quota;
use crate::reply::{DeleteReply, Out, PutReply, TxnReply};
use crate::services::range::{range, refused, room, turn, while_made};
use crate::services::range_stream::range_stream;
use crate::services::size;

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::KvRange.path(), move |call, request| range(at.clone(), call, request));
    let at = node.clone();
    router.server_stream(Rpc::KvRangeStream.path(), move |call, message, sink| {
        range_stream(at.clone(), call, message, sink)
    });
    let at = node.clone();
    router.unary_of(Rpc::KvPut.path(), move |call, request| put(at.clone(), call, request));
    let at = node.clone();
    router.unary_of(Rpc::KvDeleteRange.path(), move |call, request| {
        delete_range(at.clone(), call, request)
    });
    let at = node.clone();
    router.unary_of(Rpc::KvTxn.path(), move |call, request| txn(at.clone(), call, request));
    let at = node.clone();
    router.unary_of(Rpc::KvCompact.path(), move |call, request| compact(at.clone(), call, request));
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
    let reserved = reserve(&call, size::delete_bytes(&node.view(), &request).await?).await?;
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
        let reserved = reserve(&call, size::txn_bytes(&node.view(), &request).await?).await?;
        let answer = write_txn(&node, request).await?;
        return written(TxnReply { header: node.header(answer.revision), answer }, reserved).await;
    }
    let view = settled_txn(&node, &request, Some(&call)).await?;
    let Some(bytes) = size::txn_bytes(&view, &request).await? else {
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

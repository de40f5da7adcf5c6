//! The KV service.

use std::sync::Arc;
use std::time::Duration;

use apply::{Answer, ReadView, check};
use auth::Permitted;
use proto::etcdserverpb as pb;
use rpc::{Call, Reply, Reserved, Rpc, Turn, Wanted, aside};
use types::{Code, Refusal};

use crate::desk::Desk;
use crate::door::AtLearners;
use crate::reply::{DeleteReply, Out, PutReply, TxnReply};
use crate::services::range::{range, refused, while_made};
use crate::services::range_stream::range_stream;
use crate::services::{Known, Methods, size};
use crate::wide;

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::KvRange, range);
    let at_learners = AtLearners::Refused;
    methods.many::<Known, _, _>(Rpc::KvRangeStream, at_learners, Err, range_stream);
    methods.unary(Rpc::KvPut, put);
    methods.unary(Rpc::KvDeleteRange, delete_range);
    methods.unary(Rpc::KvTxn, txn);
    methods.unary(Rpc::KvCompact, compact);
}

async fn put(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::PutRequest>,
) -> Result<PutReply, Refusal> {
    if permitted.message().ignore_value {
        desk.decidable(&permitted).await?;
    }
    match desk.propose(permitted).await? {
        Answer::Put(answer) => Ok(PutReply { header: desk.header(answer.revision), answer }),
        other => Err(unexpected(&other)),
    }
}

async fn delete_range(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::DeleteRangeRequest>,
) -> Result<Out<DeleteReply>, Refusal> {
    let view = desk.view(&permitted);
    wide::delete_range(&view, permitted.message(), desk.limits().deleted_keys_max)?;
    let bytes = size::delete_bytes(&view, permitted.message()).await?;
    let reserved = reserve(&call, bytes).await?;
    match desk.propose(permitted).await? {
        Answer::DeleteRange(answer) => {
            written(DeleteReply { header: desk.header(answer.revision), answer }, reserved).await
        }
        other => Err(unexpected(&other)),
    }
}

async fn txn(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::TxnRequest>,
) -> Result<Out<TxnReply>, Refusal> {
    if !check::is_read_only(permitted.message()) {
        let view = desk.view(&permitted);
        wide::txn(&view, permitted.message(), desk.limits().deleted_keys_max)?;
        let bytes = size::txn_bytes(&view, permitted.message()).await?;
        let reserved = reserve(&call, bytes).await?;
        let answer = write_txn(&desk, permitted).await?;
        return written(TxnReply { header: desk.header(answer.revision), answer }, reserved).await;
    }
    let view = settled_txn(&desk, &permitted, Some(&call)).await?;
    let bytes = size::txn_bytes(&view, permitted.message()).await?;
    if bytes.is_none() && !size::looks_at_many(&view, permitted.message()) {
        let answer = read_txn(&desk, &view, permitted.message(), &Wanted::always())?;
        desk.still_as_it_was(&permitted)?;
        return Ok(Out::Short(TxnReply { header: desk.header(answer.revision), answer }));
    }
    let turn = Turn::take(Some(&call)).await?;
    let reserved = call.unread().reserve(while_made(bytes.unwrap_or(0)))?;
    let at = desk.clone();
    let read = move |wanted: &Wanted| {
        let answer = read_txn(&at, &view, permitted.message(), wanted).and_then(|answer| {
            framed(&TxnReply { header: at.header(answer.revision), answer }, reserved)
        });
        (answer, permitted)
    };
    let (answer, permitted) = aside(turn, read).await?;
    desk.still_as_it_was(&permitted)?;
    answer
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
    aside(Turn::take(None).await?, move |_| framed(&reply, reserved)).await?
}

fn framed<R: Reply, O>(reply: &R, reserved: Reserved) -> Result<Out<O>, Refusal> {
    Ok(Out::Framed { frame: rpc::answer_frame(reply)?, _reserved: reserved })
}

/// A checked transaction of the member's own services: through the log if it may write, else on a snapshot.
pub(crate) async fn run_txn(
    desk: &Desk,
    permitted: Permitted<pb::TxnRequest>,
) -> Result<apply::TxnAnswer, Refusal> {
    if !check::is_read_only(permitted.message()) {
        return write_txn(desk, permitted).await;
    }
    let view = settled_txn(desk, &permitted, None).await?;
    read_txn(desk, &view, permitted.message(), &Wanted::always())
}

/// What readers see now, or from the moment on at which a linearizable transaction may be read.
async fn settled_txn(
    desk: &Desk,
    permitted: &Permitted<pb::TxnRequest>,
    call: Option<&Call>,
) -> Result<Arc<ReadView>, Refusal> {
    desk.settled(permitted, check::is_serializable(permitted.message()), call).await
}

fn read_txn(
    desk: &Desk,
    view: &ReadView,
    request: &pb::TxnRequest,
    wanted: &Wanted,
) -> Result<apply::TxnAnswer, Refusal> {
    desk.metrics().mvcc.txns.inc();
    let answer =
        apply::read_txn_with_room(&view.index, &view.rows(), request, &mut |_| wanted.check());
    answer.map_err(|error| refused(desk, error))
}

async fn write_txn(
    desk: &Desk,
    permitted: Permitted<pb::TxnRequest>,
) -> Result<apply::TxnAnswer, Refusal> {
    desk.decidable(&permitted).await?;
    match desk.propose(permitted).await? {
        Answer::Txn(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

async fn compact(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::CompactionRequest>,
) -> Result<pb::CompactionResponse, Refusal> {
    let (revision, physical) = (permitted.message().revision, permitted.message().physical);
    let answer = desk.propose(permitted).await?;
    if physical {
        while desk.pruned() < revision && !desk.is_stopping() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let revision = revision_of(&answer);
    Ok(pb::CompactionResponse { header: Some(desk.header(revision)) })
}

/// The revision an answer shows in its header.
pub(crate) fn revision_of(answer: &Answer) -> i64 {
    match answer {
        Answer::Done { revision }
        | Answer::LeaseGrant { revision, .. }
        | Answer::Alarm { revision, .. }
        | Answer::Auth { revision, .. } => *revision,
        Answer::Range(answer) => answer.revision,
        Answer::Put(answer) => answer.revision,
        Answer::DeleteRange(answer) => answer.revision,
        Answer::Txn(answer) => answer.revision,
        Answer::Members { .. } | Answer::V2(_) => 0,
    }
}

/// An answer of another kind than the request: our mistake, not the client's.
pub(crate) fn unexpected(answer: &Answer) -> Refusal {
    let text = format!("etcdserver: the answer is of another kind than the request: {answer:?}");
    Refusal::Other(Code::Internal, text.into())
}

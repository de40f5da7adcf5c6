//! A snapshot to a peer that is too far behind: its message, then its database, read chunk by chunk on a thread of
//! its own and at a measured pace.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::{Body, Frame};
use metrics::Counter;
use proto::raftpb::Message;
use tokio::sync::mpsc;

use super::LocalBody;
use super::event::Event;
use super::link::{NoAnswer, ask, begin, connect, read_answer};
use super::peers::Peer;
use super::reader::refusal;
use super::shared::Core;
use super::timed::Patience;
use crate::rules::Failure;
use crate::wire::{Segments, encode_frame};

/// The database of a snapshot, in chunks of up to a mebibyte.
pub trait SnapshotBody: Iterator<Item = io::Result<Bytes>> + Send + 'static {}
impl<B: Iterator<Item = io::Result<Bytes>> + Send + 'static> SnapshotBody for B {}

/// Chunks read ahead of the socket.
const CHUNKS_AHEAD: usize = 4;
/// How long a receiver may write to its disk without taking a byte, and how long it may sync at the end.
const PATIENCE: Patience =
    Patience { read: Duration::from_secs(120), write: Duration::from_secs(30) };

/// Sends it, and tells raft what became of it.
pub(super) async fn send(
    core: Arc<Core>,
    peer: Arc<Peer>,
    message: Message,
    body: Box<dyn SnapshotBody>,
) {
    let network = &core.metrics.network;
    let label: &[&str] = &[&peer.label];
    let index = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.index());
    let index = index.unwrap_or_default();
    let said = |event: Event| event.with("snapshot-index", index);
    core.report.event(said(Event::info("sending database snapshot", &peer.label)));
    let (inflight, began) = (network.snapshot_send_inflights.with(label), Instant::now());
    inflight.inc();
    // Also when this is dropped in the middle, because the peer was removed.
    let _inflight = OnDrop(|| inflight.dec());
    match post(&core, &peer, &message, body).await {
        Ok(bytes) => {
            core.worked(&peer);
            core.raft.snapshot_sent(peer.id, true);
            network.snapshot_send_successes.with(label).inc();
            network.snapshot_send_duration.with(label).observe_duration(began.elapsed());
            let event = Event::info("sent database snapshot", &peer.label);
            core.report.event(said(event).with("bytes", bytes));
        }
        Err(failed) => {
            core.lost(&peer);
            core.raft.snapshot_sent(peer.id, false);
            network.snapshot_send_failures.with(label).inc();
            peer.counters.sent_failures.inc();
            let event = Event::warn("failed to send database snapshot", &peer.label);
            core.report.event(said(event).with("error", &failed.reason));
            let (action, way) = ("post", "snapshot");
            core.failed(&peer, &Failure { action, way, reason: failed.reason });
        }
    }
}

/// Does something at the end of a scope.
pub(super) struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

async fn post(
    core: &Arc<Core>,
    peer: &Peer,
    message: &Message,
    body: Box<dyn SnapshotBody>,
) -> Result<u64, NoAnswer> {
    let url = peer.urls().pick();
    let url = url.ok_or_else(|| NoAnswer::because("no peer URL can be dialled"))?;
    let connector = core.connector.as_ref();
    let connected = connect(&url, connector, core.dial_timeout, PATIENCE).await;
    let mut connection = connected.inspect_err(|_| core.url_failed(peer, &url))?;
    let mut head = Segments::default();
    encode_frame(message, &mut head);
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let pace = core.limits.snapshot_bytes_per_second;
    let thread = std::thread::Builder::new().name("peer-snapshot".into());
    let spawned = thread.spawn(move || read_chunks(body, &chunks, pace));
    spawned.map_err(|error| NoAnswer::because(format!("no thread to read it: {error}")))?;
    let sent = peer.counters.sent_bytes.clone();
    let bytes = Rc::new(Cell::new(0));
    let (head, total) = (head.take().into(), bytes.clone());
    let body: LocalBody = Box::pin(Chunks { head, chunks: receiver, sent, total, ended: false });
    let request = begin(core, Method::POST, &url, "/raft/snapshot");
    let request = request.header(http::header::CONTENT_TYPE, "application/octet-stream");
    let request = request.body(body).map_err(|error| NoAnswer::because(error.to_string()))?;
    let answer = ask(&mut connection, request).await?;
    let status = answer.status();
    let text = read_answer(answer).await?;
    match status {
        StatusCode::NO_CONTENT => Ok(bytes.get()),
        _ => Err(NoAnswer::because(refusal(core, peer, status, &text))),
    }
}

/// One step of a body: a chunk, or its end, which must be said: a reader that dies is no end.
type Step = io::Result<Option<Bytes>>;

/// Reads chunks as fast as they are taken, but not faster than the pace.
fn read_chunks(body: Box<dyn SnapshotBody>, chunks: &mpsc::Sender<Step>, pace: u64) {
    let (began, mut bytes) = (Instant::now(), 0u64);
    for chunk in body {
        let len = chunk.as_ref().map_or(0, Bytes::len);
        let failed = chunk.is_err();
        // Nobody takes it any more: the peer is gone, or has failed.
        if chunks.blocking_send(chunk.map(Some)).is_err() || failed {
            return;
        }
        bytes += len as u64;
        let due = Duration::from_secs_f64(bytes as f64 / pace.max(1) as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let _ = chunks.blocking_send(Ok(None));
}

/// The body of the POST.
struct Chunks {
    head: VecDeque<Bytes>,
    chunks: mpsc::Receiver<Step>,
    sent: Arc<Counter>,
    total: Rc<Cell<u64>>,
    ended: bool,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let part = match self.head.pop_front() {
            Some(part) => part,
            None => match ready!(self.chunks.poll_recv(cx)) {
                Some(Ok(Some(part))) => part,
                Some(Ok(None)) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let error = io::Error::other("the snapshot's reader has ended early");
                    return Poll::Ready(Some(Err(error)));
                }
            },
        };
        self.sent.add(part.len() as u64);
        self.total.set(self.total.get() + part.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

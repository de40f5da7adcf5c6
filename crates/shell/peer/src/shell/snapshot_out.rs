//! A snapshot to a peer that is too far behind: its message, then its database, read chunk by chunk on a thread of
//! its own and at a measured pace.
//!
//! When the connection breaks, a peer of ours has kept what came. It is asked how much that is, and the same database
//! goes on from there; raft hears of one sending that took a while. A Go member does not know the question, so it gets
//! a new snapshot, as from any other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::{Body, Frame};
use metrics::Counter;
use proto::raftpb::Message;
use tokio::sync::mpsc;

use super::LocalBody;
use super::event::Event;
use super::link::{NoAnswer, PATIENT, ask, begin, connect, nothing, read_answer};
use super::parts::Extent;
use super::peers::Peer;
use super::reader::refusal;
use super::shared::Core;
use super::timed::Patience;
use crate::rules::{Failure, header};
use crate::wire::{Segments, encode_frame};

/// The database of a snapshot, in chunks of up to a mebibyte.
pub type SnapshotChunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// Where the database of a snapshot can be read from its beginning, again and again and always the same.
pub trait SnapshotBody: Fn() -> SnapshotChunks + Send + 'static {}
impl<B: Fn() -> SnapshotChunks + Send + 'static> SnapshotBody for B {}

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

/// Goes on so often in a row without a byte more than before.
const TRIES_MAX: u32 = 3;
/// How long it is asked how much was kept: a peer may need a while to notice that the connection is dead.
const ASKED_DURATION_MAX: Duration = Duration::from_secs(10);
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Why one connection did not bring it over.
enum Broken {
    /// The connection: a part may have arrived.
    Off(NoAnswer),
    /// Anything else, which would not be better the next time.
    For(NoAnswer),
}

/// Sends it, on as many connections as that takes; how long the database is.
async fn post(
    core: &Arc<Core>,
    peer: &Peer,
    message: &Message,
    body: Box<dyn SnapshotBody>,
) -> Result<u64, NoAnswer> {
    // No two sendings of one run get the same, and no two runs begin at the same nanosecond.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = u64::try_from(since.as_nanos()).unwrap_or_default();
    let (mut from, mut tries) = (Extent::default(), 0);
    loop {
        let failed = match post_from(core, peer, message, body(), (number, from)).await {
            Ok(bytes) => return Ok(from.bytes + bytes),
            Err(Broken::For(failed)) => return Err(failed),
            Err(Broken::Off(failed)) => failed,
        };
        let Some(kept) = kept(core, peer, number).await else { return Err(failed) };
        tries = if from.bytes < kept.bytes { 0 } else { tries + 1 };
        if kept.bytes == 0 || TRIES_MAX <= tries {
            return Err(failed);
        }
        let event = Event::info("sending database snapshot goes on", &peer.label);
        core.report.event(event.with("from-byte", kept.bytes).with("error", &failed.reason));
        from = kept;
    }
}

/// How much the peer has kept of a sending that broke off; nothing if it keeps none, or does not know the question.
async fn kept(core: &Core, peer: &Peer, number: u64) -> Option<Extent> {
    let began = Instant::now();
    while began.elapsed() < ASKED_DURATION_MAX {
        match ask_kept(core, peer, number).await {
            Ok((StatusCode::OK, text)) => return Extent::read(&text),
            // Not yet, or nobody is there at the moment.
            Ok((StatusCode::CONFLICT, _)) | Err(_) => {}
            Ok(_) => return None,
        }
        tokio::time::sleep(ASKED_AGAIN_AFTER).await;
    }
    None
}

async fn ask_kept(core: &Core, peer: &Peer, number: u64) -> Result<(StatusCode, Bytes), NoAnswer> {
    let url = peer.urls().pick();
    let url = url.ok_or_else(|| NoAnswer::because("no peer URL can be dialled"))?;
    let connected = connect(&url, core.connector.as_ref(), core.dial_timeout, PATIENT).await;
    let mut connection = connected.inspect_err(|_| core.url_failed(peer, &url))?;
    let request = begin(core, Method::GET, &url, "/holdfast/snapshot/part");
    let request = request.header(header::SENDING, format!("{number:x}")).body(nothing());
    let request = request.map_err(|error| NoAnswer::because(error.to_string()))?;
    let answer = ask(&mut connection, request).await?;
    Ok((answer.status(), read_answer(answer).await?))
}

/// Sends what is behind `from` on one connection; how much that was.
async fn post_from(
    core: &Arc<Core>,
    peer: &Peer,
    message: &Message,
    chunks: SnapshotChunks,
    (number, from): (u64, Extent),
) -> Result<u64, Broken> {
    let url = peer.urls().pick();
    let url = url.ok_or_else(|| Broken::For(NoAnswer::because("no peer URL can be dialled")))?;
    let connected = connect(&url, core.connector.as_ref(), core.dial_timeout, PATIENCE).await;
    let connected = connected.inspect_err(|_| core.url_failed(peer, &url));
    let mut connection = connected.map_err(Broken::Off)?;
    let mut head = Segments::default();
    encode_frame(message, &mut head);
    let reader =
        Reader { from, pace: core.limits.snapshot_bytes_per_second, failed: Arc::default() };
    let failed = reader.failed.clone();
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let thread = std::thread::Builder::new().name("peer-snapshot".into());
    let spawned = thread.spawn(move || reader.run(chunks, &sender));
    let no_thread = |error| NoAnswer::because(format!("no thread to read it: {error}"));
    spawned.map_err(|error| Broken::For(no_thread(error)))?;
    let sent = peer.counters.sent_bytes.clone();
    let bytes = Rc::new(Cell::new(0));
    let (head, total) = (head.take().into(), bytes.clone());
    let body: LocalBody = Box::pin(Chunks { head, chunks: receiver, sent, total, ended: false });
    let request = begin(core, Method::POST, &url, "/raft/snapshot")
        .header(http::header::CONTENT_TYPE, "application/octet-stream")
        .header(header::SENDING, format!("{number:x}"))
        .header(header::FROM_BYTE, from.bytes)
        .body(body);
    let request = request.map_err(|error| Broken::For(NoAnswer::because(error.to_string())))?;
    // What could not be read here is no fault of the connection.
    let broken = |error| match failed.load(Ordering::Acquire) {
        true => Broken::For(error),
        false => Broken::Off(error),
    };
    let answer = ask(&mut connection, request).await.map_err(broken)?;
    let status = answer.status();
    let text = read_answer(answer).await.map_err(broken)?;
    match status {
        StatusCode::NO_CONTENT => Ok(bytes.get()),
        _ => Err(Broken::For(NoAnswer::because(refusal(core, peer, status, &text)))),
    }
}

/// One step of a body: a chunk, or its end, which must be said: a reader that dies is no end.
type Step = io::Result<Option<Bytes>>;

/// What is there already is read so many times as fast as the rest: nobody waits for a socket.
const PASSED_OVER_PACE: u64 = 4;

/// Reads chunks as fast as they are taken, but not faster than the pace.
struct Reader {
    /// What the receiver has.
    from: Extent,
    /// Bytes a second.
    pace: u64,
    /// Whether it could not read.
    failed: Arc<AtomicBool>,
}

impl Reader {
    fn run(self, chunks: SnapshotChunks, sender: &mpsc::Sender<Step>) {
        let mut chunks = chunks;
        let rest = match self.pass_over(&mut chunks) {
            Ok(rest) => rest,
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        let (began, mut bytes) = (Instant::now(), 0u64);
        for chunk in rest.map(Ok).into_iter().chain(chunks) {
            let len = chunk.as_ref().map_or(0, Bytes::len);
            let failed = chunk.is_err();
            if failed {
                self.failed.store(true, Ordering::Release);
            }
            // Nobody takes it any more: the peer is gone, or has failed.
            if sender.blocking_send(chunk.map(Some)).is_err() || failed {
                return;
            }
            bytes += len as u64;
            keep_pace(began, bytes, self.pace);
        }
        let _ = sender.blocking_send(Ok(None));
    }

    /// Reads what the receiver has and compares it; what is left of the last chunk.
    fn pass_over(&self, chunks: &mut SnapshotChunks) -> io::Result<Option<Bytes>> {
        let (began, mut passed, mut rest) = (Instant::now(), Extent::default(), None);
        while passed.bytes < self.from.bytes {
            let mut chunk =
                chunks.next().ok_or_else(|| io::Error::other("it is shorter now"))??;
            let wanted = usize::try_from(self.from.bytes - passed.bytes).unwrap_or(usize::MAX);
            if wanted < chunk.len() {
                rest = Some(chunk.split_off(wanted));
            }
            passed.grow(&chunk);
            keep_pace(began, passed.bytes, self.pace.saturating_mul(PASSED_OVER_PACE));
        }
        match passed == self.from {
            true => Ok(rest),
            false => Err(io::Error::other("what the receiver has is not its beginning")),
        }
    }
}

/// Waits until so many bytes are due.
fn keep_pace(began: Instant, bytes: u64, pace: u64) {
    let due = Duration::from_secs_f64(bytes as f64 / pace.max(1) as f64);
    std::thread::sleep(due.saturating_sub(began.elapsed()));
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

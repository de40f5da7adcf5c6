//! HTTP/2: who drives a connection, and the two ends of a call on it.
//!
//! One task drives the connection. Each call's future is polled once where it was accepted, and
//! only if it has to wait becomes a task of its own: most reads never do. Answers gather in the
//! [`Wire`] and leave once per turn of the loop.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http2::{Field, Reason};
use net::Phase;
use tokio::time::{sleep, sleep_until, timeout};

use crate::Limits;
use crate::answer::{Hub, answer};
use crate::server::Shared;
use crate::stream::Gone;
use crate::wire::{Begun, Wire};

/// Reads from one connection until others of its thread have a turn.
const READS_PER_TURN: usize = 4;

/// Calls begun by one connection, and the time it has for that, until others of its thread have a turn: 64 KiB
/// of requests may hold thousands of them, and ask for a long read each.
const CALLS_PER_TURN: usize = 32;
const TURN: Duration = Duration::from_millis(1);

/// How long a client may take to learn that it should leave before it is taken to know.
const NOTICE: Duration = Duration::from_secs(1);

/// A client that was told to go away may finish its sentence, for so long and so many bytes. Hanging up on it
/// at once would take from it what it was told.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 4 * 1024 * 1024;

/// Serves a connection until it ends, for whatever reason: it tells nobody, because a client may
/// come and go as it likes.
pub(crate) async fn serve(connection: net::Connection, shared: Shared) {
    let net::Connection { stream, unread, remote, mut phases, http } = connection;
    let limits = shared.limits.clone();
    let wire = Wire::new(stream, &unread, &limits);
    let hub = Hub::new(shared, remote, phases.clone(), http);
    let _abandoned = Abandoned(wire.clone());
    let mut alive = std::pin::pin!(keep_alive(wire.clone(), limits.clone()));
    let mut relief = std::pin::pin!(give_way(wire.clone(), hub.clone()));
    let mut greeting = std::pin::pin!(sleep(limits.connections.handshake_timeout));
    let mut greeted = false;
    let mut awaited = Phase::Draining;
    let mut notice = std::pin::pin!(sleep(NOTICE));
    let mut noticed = true;
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| turn(&wire, &hub, cx)) => {
                if ended.is_ok() {
                    wire.abandon();
                    let _ = timeout(FAREWELL, part(&wire)).await;
                }
                return;
            }
            () = phases.reached(awaited) => {
                if awaited == Phase::Closed {
                    return;
                }
                wire.with(|http| http.drain());
                awaited = Phase::Closed;
                notice.as_mut().reset(tokio::time::Instant::now() + NOTICE);
                noticed = false;
            }
            () = &mut notice, if !noticed => {
                noticed = true;
                wire.with(|http| http.drain_answered());
            }
            () = &mut alive => return,
            () = &mut relief => {}
            () = &mut greeting, if !greeted => {
                greeted = wire.with(|http| http.is_established());
                if !greeted {
                    return;
                }
            }
        }
    }
}

/// Tells all calls of a connection that it has ended, however it ended.
struct Abandoned(Wire);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What one turn of a connection may take before others of its thread have theirs.
struct Turn {
    began: Instant,
    calls: usize,
}

impl Turn {
    fn new() -> Turn {
        Turn { began: Instant::now(), calls: 0 }
    }

    fn may_begin(&self) -> bool {
        self.calls == 0 || (self.calls < CALLS_PER_TURN && self.began.elapsed() < TURN)
    }
}

/// One turn: read what is there, begin the calls in it, send what was answered. Ready when the
/// connection has ended, well if the client should be left to hear it.
fn turn(wire: &Wire, hub: &Rc<Hub>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut turn = Turn::new();
    wire.turn_begins();
    begin_calls(wire, hub, &mut turn, cx);
    for read in 1.. {
        if wire.with(|http| http.is_failed()) {
            return Poll::Ready(Ok(()));
        }
        if wire.has_events() {
            // More was asked for than is begun.
            break;
        }
        match wire.poll_receive(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => begin_calls(wire, hub, &mut turn, cx),
            Poll::Pending => break,
        }
        if read == READS_PER_TURN {
            cx.waker().wake_by_ref();
            break;
        }
    }
    loop {
        let unserved = wire.pump();
        begin_calls(wire, hub, &mut turn, cx);
        match wire.poll_send(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if unserved || wire.has_events() => cx.waker().wake_by_ref(),
            // What was held is sent; more of it may fit now.
            Poll::Ready(Ok(())) if wire.with(|http| http.holds_more()) => continue,
            // The rest is begun as the client reads.
            _ if wire.has_events() && wire.with(|http| http.has_room()) => cx.waker().wake_by_ref(),
            _ => {}
        }
        break;
    }
    if wire.with(|http| http.is_failed() || http.is_drained()) {
        return Poll::Ready(Ok(()));
    }
    if !hub.bodies.count(wire.bodies_bytes()) {
        // Nobody takes them, and others are refused theirs.
        wire.end_all(|http| http.unread());
        hub.bodies.count(wire.bodies_bytes());
    }
    wire.turn_ends(cx);
    Poll::Pending
}

/// Begins the calls that have come, as many as the turn allows, and wakes the others.
fn begin_calls(wire: &Wire, hub: &Rc<Hub>, turn: &mut Turn, cx: &mut Context<'_>) {
    while let Begun::Call(id, head) = wire.next(turn.may_begin()) {
        turn.calls += 1;
        if !hub.streams.count(wire.with(|http| http.streams_open())) {
            wire.reset(id, Reason::REFUSED_STREAM);
            continue;
        }
        let body = RequestBody { wire: wire.clone(), id, unreleased: 0 };
        let sender = Answer { wire: wire.clone(), id, is_started: false, is_done: false };
        let mut call = Box::pin(answer(hub.clone(), head, body, sender));
        if call.as_mut().poll(cx).is_pending() {
            tokio::task::spawn_local(call);
        }
    }
}

/// Sends what is left, says that nothing follows, and hears the client out.
async fn part(wire: &Wire) -> io::Result<()> {
    poll_fn(|cx| wire.poll_shutdown(cx)).await?;
    let mut heard = 0;
    while heard < FAREWELL_BYTES {
        match poll_fn(|cx| wire.poll_discard(cx)).await? {
            0 => break,
            bytes => heard += bytes,
        }
    }
    Ok(())
}

/// Ends the streams of a client that takes nothing of its answers while others are refused theirs for want of
/// the room they hold. Never ends.
async fn give_way(wire: Wire, hub: Rc<Hub>) {
    loop {
        let answers = &hub.budget.answers;
        answers.stands_in_the_way().await;
        let before = wire.sent();
        sleep(PATIENCE).await;
        if answers.holds_something() && wire.sent() - before < PROGRESS_BYTES_MIN {
            wire.end_all(|http| http.stalled());
        }
    }
}

/// How long a client may take next to nothing of answers whose room others want, and what is more than that.
const PATIENCE: Duration = Duration::from_secs(30);
const PROGRESS_BYTES_MIN: u64 = 64 * 1024;

/// Pings a silent client; ends when it does not answer.
async fn keep_alive(wire: Wire, limits: Arc<Limits>) {
    if limits.keepalive_interval.is_zero() {
        return std::future::pending().await;
    }
    loop {
        let due = wire.last_read() + limits.keepalive_interval;
        if Instant::now() < due {
            sleep_until(due.into()).await;
            continue;
        }
        let pinged = Instant::now();
        wire.with(|http| http.ping());
        sleep(limits.keepalive_timeout).await;
        if wire.last_read() < pinged {
            return;
        }
    }
}

/// The body of a request.
pub(crate) struct RequestBody {
    wire: Wire,
    id: u32,
    /// Bytes handed out that the client has not been told are gone.
    unreleased: usize,
}

impl RequestBody {
    /// The next piece; `None` at the end. Asking for it says that the piece before is dealt with.
    pub fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Gone>>> {
        self.release();
        let chunk = self.wire.poll_body(self.id, cx);
        if let Poll::Ready(Some(Ok(bytes))) = &chunk {
            self.unreleased = bytes.len();
        }
        chunk
    }

    fn release(&mut self) {
        if 0 < self.unreleased {
            self.wire.release(self.id, std::mem::take(&mut self.unreleased));
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.release();
    }
}

/// The sending half of a call. Dropping it before the answer's end resets the stream.
pub(crate) struct Answer {
    wire: Wire,
    id: u32,
    is_started: bool,
    is_done: bool,
}

impl Answer {
    /// Sends the headers of an answer that has a body.
    pub fn start(&mut self, status: u16, fields: &[Field]) -> Result<(), Gone> {
        self.is_started = true;
        self.wire.start(self.id, status, fields)
    }

    /// Drops the next piece of the request and says how long it was; `None` at the end, or when the stream is gone.
    pub fn poll_request(&mut self, cx: &Context<'_>) -> Poll<Option<usize>> {
        let Poll::Ready(piece) = self.wire.poll_body(self.id, cx) else { return Poll::Pending };
        let len = piece.and_then(Result::ok).map(|bytes| bytes.len());
        if let Some(len @ 1..) = len {
            self.wire.release(self.id, len);
        }
        Poll::Ready(len)
    }

    /// Whether [`Answer::start`] was called.
    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// Sends headers that are the whole answer.
    pub fn end_at_once(&mut self, status: u16, fields: &[Field]) -> Result<(), Gone> {
        self.is_done = true;
        self.wire.respond(self.id, status, fields)
    }

    /// Ready when the client and the socket take something.
    pub fn poll_window(&self, cx: &Context<'_>) -> Poll<Result<(), Gone>> {
        self.wire.poll_room(self.id, cx)
    }

    /// Sends bytes; what does not fit the window waits in memory.
    pub fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.wire.send(self.id, bytes)
    }

    /// Ends an answer that was started.
    pub fn end(&mut self, trailers: &[Field]) -> Result<(), Gone> {
        self.is_done = true;
        self.wire.finish(self.id, trailers)
    }

    /// Ready when the client reset the stream or the connection ended.
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        self.wire.poll_gone(self.id, cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_done {
            self.wire.reset(self.id, Reason::CANCEL);
        }
    }
}

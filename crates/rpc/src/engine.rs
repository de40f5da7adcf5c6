//! HTTP/2: the only file that names the engine.
//!
//! One task drives the connection. Each call's future is polled once where it was accepted, and
//! only if it has to wait becomes a task of its own: most reads never do. Answers gather in the
//! engine and the [`Wire`] and leave once per turn of the loop.
//!
//! To exchange the engine, write [`serve`], [`RequestBody`] and [`Answer`] anew.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::answer::{Hub, answer};
use crate::server::{Phase, Shared, reached};
use crate::stream::Gone;
use crate::wire::Wire;
use crate::{Limits, Peer};

/// Serves a connection until it ends, for whatever reason: it tells nobody, because a client may
/// come and go as it likes.
pub(crate) async fn serve(
    wire: Wire,
    shared: Shared,
    peer: Arc<Peer>,
    mut phase: watch::Receiver<Phase>,
) {
    let limits = shared.limits.clone();
    let hub = Hub::new(shared, peer, phase.clone(), wire.clone());
    let Ok(Ok(mut connection)) = timeout(limits.handshake_timeout, handshake(&wire, &limits)).await
    else {
        return;
    };
    let pinger = connection.ping_pong().expect("it is asked for once");
    let mut alive = std::pin::pin!(keep_alive(pinger, wire.clone(), limits));
    let mut awaited = Phase::Draining;
    loop {
        tokio::select! {
            biased;
            () = poll_fn(|cx| turn(&mut connection, &hub, cx)) => return,
            () = reached(&mut phase, awaited) => {
                if awaited == Phase::Closed {
                    return;
                }
                connection.graceful_shutdown();
                awaited = Phase::Closed;
            }
            () = &mut alive => return,
        }
    }
}

async fn handshake(wire: &Wire, limits: &Limits) -> Result<Connection<Wire, Bytes>, h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_pending_accept_reset_streams(limits.early_resets_max)
        .max_send_buffer_size(limits.stream_send_bytes_max);
    if limits.concurrent_streams_max != u32::MAX {
        builder.max_concurrent_streams(limits.concurrent_streams_max);
    }
    let mut handshake = builder.handshake(wire.clone());
    poll_fn(|cx| {
        let done = Pin::new(&mut handshake).poll(cx);
        // A socket that fails to send will fail to read as well.
        let _ = wire.poll_send(cx);
        done
    })
    .await
}

/// One turn: read what is there, begin the calls in it, send what was answered. Ready when the
/// connection has ended.
fn turn(connection: &mut Connection<Wire, Bytes>, hub: &Rc<Hub>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        match hub.wire.poll_unblocked(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => begin(hub, request, respond, cx),
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    match hub.wire.poll_send(cx) {
        Poll::Ready(Err(_)) => Poll::Ready(()),
        _ => Poll::Pending,
    }
}

fn begin(
    hub: &Rc<Hub>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    cx: &mut Context<'_>,
) {
    if hub.wire.calls_open() >= hub.shared.limits.streams_per_connection_max {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let (head, body) = request.into_parts();
    let body = RequestBody { stream: body, unreleased: 0 };
    let mut call = Box::pin(answer(hub.clone(), head, body, Answer { respond, stream: None }));
    if call.as_mut().poll(cx).is_pending() {
        tokio::task::spawn_local(call);
    }
}

/// Pings a silent client; ends when it does not answer.
async fn keep_alive(mut pinger: PingPong, wire: Wire, limits: Arc<Limits>) {
    if limits.keepalive_interval.is_zero() {
        return std::future::pending().await;
    }
    loop {
        let due = wire.last_read() + limits.keepalive_interval;
        if Instant::now() < due {
            sleep_until(due.into()).await;
            continue;
        }
        if pinger.send_ping(Ping::opaque()).is_err() {
            return;
        }
        let answered = timeout(limits.keepalive_timeout, poll_fn(|cx| pinger.poll_pong(cx))).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}

/// The body of a request.
pub(crate) struct RequestBody {
    stream: RecvStream,
    /// Bytes handed out that the client has not been told are gone.
    unreleased: usize,
}

impl RequestBody {
    /// The next piece; `None` at the end. Asking for it says that the piece before is dealt with.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Gone>>> {
        // The last piece is released by dropping the stream, which saves a call of one frame this.
        if 0 < self.unreleased {
            let released = self.stream.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
            if released.is_err() {
                return Poll::Ready(Some(Err(Gone)));
            }
        }
        let chunk = ready!(self.stream.poll_data(cx));
        Poll::Ready(chunk.map(|chunk| match chunk {
            Ok(bytes) => {
                self.unreleased = bytes.len();
                Ok(bytes)
            }
            Err(_) => Err(Gone),
        }))
    }
}

/// The sending half of a call.
pub(crate) struct Answer {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

impl Answer {
    /// Sends the headers of an answer that has a body.
    pub fn start(&mut self, headers: Response<()>) -> Result<(), Gone> {
        self.stream = Some(self.respond.send_response(headers, false).map_err(|_| Gone)?);
        Ok(())
    }

    /// Whether [`Answer::start`] was called.
    pub fn is_started(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends headers that are the whole answer.
    pub fn end_at_once(&mut self, headers: Response<()>) -> Result<(), Gone> {
        self.respond.send_response(headers, true).map(drop).map_err(|_| Gone)
    }

    /// Asks for so much of the client's window and tells how much of it we have.
    pub fn window(&mut self, wanted: usize) -> usize {
        let stream = self.started();
        stream.reserve_capacity(wanted);
        stream.capacity()
    }

    /// Waits until [`Answer::window`] has grown. Somebody must have asked for more than it was.
    pub fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match ready!(self.started().poll_capacity(cx)) {
            Some(Ok(_)) => Poll::Ready(Ok(())),
            Some(Err(_)) | None => Poll::Ready(Err(Gone)),
        }
    }

    /// Sends bytes; what does not fit the window waits in memory.
    pub fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.started().send_data(bytes, false).map_err(|_| Gone)
    }

    /// Ends an answer that was started.
    pub fn end(&mut self, trailers: HeaderMap) -> Result<(), Gone> {
        self.started().send_trailers(trailers).map_err(|_| Gone)
    }

    /// Ready when the client reset the stream or the connection ended.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    fn started(&mut self) -> &mut SendStream<Bytes> {
        self.stream.as_mut().expect("the answer was started before")
    }
}

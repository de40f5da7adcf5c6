//! A connection's socket and its protocol, shared by the task that drives them and the calls.
//!
//! Calls write their answers into the protocol's buffer; the driver sends what one turn of the event
//! loop gathered in one system call. A call that writes while the driver rests wakes it, once.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http2::{Body, Connection, Event, Fault, Field, Reason};
use net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Limits;
use crate::pings::PingPolicy;
use crate::stream::Gone;

/// Bytes read at once. The buffer is the thread's, so a connection at rest holds none.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A socket and what is spoken on it.
#[derive(Clone)]
pub(crate) struct Wire(Rc<RefCell<State>>);

struct State {
    stream: Box<dyn Stream>,
    http: Connection<Waiting>,
    pings: PingPolicy,
    last_read: Instant,
    /// Bytes that the socket has taken.
    sent: u64,
    /// Woken when there is something to send; taken while it runs.
    driver: Option<Waker>,
}

/// Who waits for what on a stream.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    body: Option<Waker>,
    room: Option<Waker>,
    gone: Option<Waker>,
}

impl Waiting {
    fn wake_all(self) {
        [self.body, self.room, self.gone].into_iter().flatten().for_each(Waker::wake);
    }
}

/// What the driver has to do for a client.
pub(crate) enum Begun {
    /// A request with these headers.
    Call(u32, Rc<http2::Head>),
    /// Nothing more.
    Nothing,
}

impl Wire {
    /// `unread` was read while finding out which protocol this is.
    pub fn new(stream: Box<dyn Stream>, unread: &[u8], limits: &Limits) -> Wire {
        // A bound that the client is not told of would look like a fault to it.
        let streams_max =
            (limits.concurrent_streams_max as usize).min(limits.streams_per_connection_max);
        let mut http = Connection::new(http2::Config {
            streams_announced: u32::try_from(streams_max).ok(),
            streams_max,
            stream_window_bytes: limits.stream_window_bytes,
            connection_window_bytes: limits.connection_window_bytes,
            header_list_bytes_max: limits.header_list_bytes_max,
            early_resets_max: limits.early_resets_max,
        });
        http.receive(unread);
        Wire(Rc::new(RefCell::new(State {
            stream,
            http,
            pings: PingPolicy::new(limits.keepalive_min_time),
            last_read: Instant::now(),
            sent: 0,
            driver: None,
        })))
    }

    /// When the client was last heard of.
    pub fn last_read(&self) -> Instant {
        self.0.borrow().last_read
    }

    /// How many bytes the socket has taken.
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// Asks something of the connection as a whole, and sees to it that it is sent.
    pub fn with<R>(&self, ask: impl FnOnce(&mut Connection<Waiting>) -> R) -> R {
        let mut state = self.0.borrow_mut();
        let answer = ask(&mut state.http);
        state.nudge();
        answer
    }

    /// The driver has begun a turn.
    pub fn turn_begins(&self) {
        self.0.borrow_mut().driver = None;
    }

    /// The driver rests until it is woken.
    pub fn turn_ends(&self, cx: &Context<'_>) {
        let mut state = self.0.borrow_mut();
        state.driver = Some(cx.waker().clone());
    }

    /// Reads once. Pending also while the client reads so slowly that nothing more should be begun.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_receive(cx)
    }

    /// Hands the socket what waits to be sent. Ready when all of it is gone.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Shuts the sending side down, after all that waits.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        ready!(state.poll_send(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }

    /// Reads what nobody wants any more. Ready with how much it was.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut state.stream).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Sends what is held and fits. Returns whether somebody is left for whom there is room.
    pub fn pump(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let before = state.http.out().len();
        let is_left = state.http.pump();
        if before < state.http.out().len() {
            // Go's client pings to measure what it receives, and Go's server forgives that with each write.
            state.pings.forgive();
        }
        is_left
    }

    /// Whether something happened that was not looked at.
    pub fn has_events(&self) -> bool {
        self.0.borrow().http.has_events()
    }

    /// Wakes whoever waits for what has happened, up to the next request. That waits until another turn if
    /// no more `may_begin`, and while so much waits to be sent that its answer would only add to it.
    pub fn next(&self, may_begin: bool) -> Begun {
        loop {
            let mut state = self.0.borrow_mut();
            let event = match may_begin && state.http.has_room() {
                true => state.http.poll_event(),
                false => state.http.poll_event_but_requests(),
            };
            let Some(event) = event else { return Begun::Nothing };
            let woken = match event {
                Event::Request(id, head) => return Begun::Call(id, head),
                Event::Body(id) => state.http.tag(id).and_then(|tag| tag.body.take()),
                Event::Room(id) => state.http.tag(id).and_then(|tag| tag.room.take()),
                Event::Reset(_, tag) => {
                    drop(state);
                    tag.wake_all();
                    continue;
                }
                Event::Ping => {
                    state.pinged();
                    None
                }
                Event::Pong => None,
            };
            // Whoever is woken must find the connection free.
            drop(state);
            wake(woken);
        }
    }

    /// The connection has ended: nobody need wait any more.
    pub fn abandon(&self) {
        let waiting = self.0.borrow_mut().http.abandon();
        waiting.into_iter().for_each(Waiting::wake_all);
    }
}

/// The same, for one stream of the connection.
impl Wire {
    pub fn poll_body(&self, id: u32, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Gone>>> {
        let mut state = self.0.borrow_mut();
        match state.http.take_body(id) {
            Body::Piece(bytes) => Poll::Ready(Some(Ok(bytes))),
            Body::End => Poll::Ready(None),
            Body::Gone => Poll::Ready(Some(Err(Gone))),
            Body::Later => state.wait(id, cx, |waiting| &mut waiting.body),
        }
    }

    pub fn release(&self, id: u32, bytes: usize) {
        self.with(|http| http.release(id, bytes as u32));
    }

    pub fn start(&self, id: u32, status: u16, fields: &[Field]) -> Result<(), Gone> {
        self.answer(id, |http| http.start(id, status, fields))
    }

    pub fn respond(&self, id: u32, status: u16, fields: &[Field]) -> Result<(), Gone> {
        self.answer(id, |http| http.respond(id, status, fields))
    }

    pub fn send(&self, id: u32, bytes: Bytes) -> Result<(), Gone> {
        self.answer(id, |http| http.send(id, bytes))
    }

    pub fn finish(&self, id: u32, trailers: &[Field]) -> Result<(), Gone> {
        self.answer(id, |http| http.finish(id, trailers))
    }

    pub fn reset(&self, id: u32, reason: Reason) {
        self.with(|http| http.reset(id, reason));
    }

    /// Takes these streams away from a client that makes no progress on them; whoever waits for one is told.
    pub fn end_all(&self, which: impl FnOnce(&mut Connection<Waiting>) -> Vec<u32>) {
        for id in self.with(which) {
            let waiting = self.with(|http| {
                let waiting = http.tag(id).map(std::mem::take);
                http.reset(id, Reason::ENHANCE_YOUR_CALM);
                waiting
            });
            waiting.into_iter().for_each(Waiting::wake_all);
        }
    }

    /// Bytes of requests that have come and are not dealt with.
    pub fn bodies_bytes(&self) -> usize {
        self.0.borrow().http.held_bytes()
    }

    /// Ready when something could be sent.
    pub fn poll_room(&self, id: u32, cx: &Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.0.borrow_mut();
        match state.http.capacity(id) {
            None => Poll::Ready(Err(Gone)),
            Some(0) => {
                state.http.want(id);
                state.nudge();
                state.wait(id, cx, |waiting| &mut waiting.room)
            }
            Some(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the client reset the stream or the connection ended.
    pub fn poll_gone(&self, id: u32, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        match state.http.tag(id) {
            None => Poll::Ready(()),
            Some(_) => state.wait(id, cx, |waiting| &mut waiting.gone),
        }
    }

    fn answer(&self, id: u32, write: impl FnOnce(&mut Connection<Waiting>)) -> Result<(), Gone> {
        let mut state = self.0.borrow_mut();
        state.http.tag(id).ok_or(Gone)?;
        state.pings.forgive();
        write(&mut state.http);
        state.nudge();
        Ok(())
    }
}

fn wake(waker: Option<Waker>) {
    waker.into_iter().for_each(Waker::wake);
}

impl State {
    fn nudge(&mut self) {
        wake(self.driver.take());
    }

    fn wait<R>(
        &mut self,
        id: u32,
        cx: &Context<'_>,
        place: impl FnOnce(&mut Waiting) -> &mut Option<Waker>,
    ) -> Poll<R> {
        if let Some(waiting) = self.http.tag(id) {
            match place(waiting) {
                Some(waker) => waker.clone_from(cx.waker()),
                nobody => *nobody = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    fn pinged(&mut self) {
        let calls_open = self.http.streams_open() > 0;
        if !self.pings.allows(self.last_read, calls_open) {
            // The words that Go clients look for to slow down.
            self.http.fail(Fault::new(Reason::ENHANCE_YOUR_CALM, "too_many_pings"));
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.http.has_room()
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        if !self.http.has_room() {
            return Poll::Pending;
        }
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.last_read = Instant::now();
            self.http.receive(read.filled());
            Poll::Ready(Ok(()))
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.http.out().is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, self.http.out()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.http.advance(sent);
            self.sent += sent as u64;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

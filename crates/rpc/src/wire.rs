//! The socket under an HTTP/2 connection.
//!
//! The engine writes frame by frame, and flushes whenever it likes. Here the frames of one turn of
//! the event loop gather in one buffer and leave in one system call, which is most of the
//! difference between 31 and 11 us per call. The connection calls [`Wire::poll_send`] at the end
//! of each turn; until then a flush only ends a frame.
//!
//! When the client does not read, the buffer stops growing at [`GATHER_BYTES`], the engine's writes
//! wait, and the connection stops reading.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listen::Stream;
use crate::pings::{FrameWalker, PingPolicy, TOO_MANY_PINGS};

/// Gathered bytes at which the socket is written to within a turn.
const GATHER_BYTES: usize = 64 * 1024;

/// The socket, shared by the engine and the connection that drives it.
#[derive(Clone)]
pub(crate) struct Wire(Rc<RefCell<State>>);

struct State {
    stream: Box<dyn Stream>,
    /// Read while finding out which protocol this is.
    unread: Bytes,
    /// Written by the engine, not yet by the socket.
    gathered: BytesMut,
    walker: FrameWalker,
    pings: PingPolicy,
    calls_open: usize,
    too_many_pings: bool,
    /// After this the engine reads an end of file.
    closing: bool,
    last_read: Instant,
}

impl Wire {
    pub fn new(stream: Box<dyn Stream>, unread: Bytes, ping_min_time: Duration) -> Wire {
        Wire(Rc::new(RefCell::new(State {
            stream,
            unread,
            gathered: BytesMut::new(),
            walker: FrameWalker::new(),
            pings: PingPolicy::new(ping_min_time),
            calls_open: 0,
            too_many_pings: false,
            closing: false,
            last_read: Instant::now(),
        })))
    }

    /// Hands the socket what was gathered. Ready when all of it is gone.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Ready unless the client reads so slowly that nothing more should be begun.
    pub fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_room(cx)
    }

    /// When the client was last heard of.
    pub fn last_read(&self) -> Instant {
        self.0.borrow().last_read
    }

    /// Headers or data of an answer are on their way.
    pub fn answered(&self) {
        self.0.borrow_mut().pings.forgive();
    }

    /// Calls open on the connection.
    pub fn calls_open(&self) -> usize {
        self.0.borrow().calls_open
    }

    /// One call more.
    pub fn call_opened(&self) {
        self.0.borrow_mut().calls_open += 1;
    }

    /// One call less.
    pub fn call_closed(&self) {
        self.0.borrow_mut().calls_open -= 1;
    }
}

impl State {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        // An idle connection keeps no buffer: there may be many.
        self.gathered = BytesMut::new();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.len() < GATHER_BYTES {
            return Poll::Ready(Ok(()));
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ if self.gathered.len() < GATHER_BYTES => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.closing {
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        } else {
            let count = self.unread.len().min(out.remaining());
            out.put_slice(&self.unread.split_to(count));
        }
        let now = Instant::now();
        self.last_read = now;
        for _ in 0..self.walker.pings_in(&out.filled()[before..]) {
            self.too_many_pings |= !self.pings.allows(now, self.calls_open > 0);
        }
        Poll::Ready(Ok(()))
    }

    /// The engine flushes only between frames, so here one of our own may go. Whether one went.
    fn say_farewell(&mut self) -> bool {
        let now = self.too_many_pings && !self.closing;
        if now {
            self.gathered.extend_from_slice(TOO_MANY_PINGS);
            self.closing = true;
        }
        now
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, out)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        ready!(state.poll_room(cx))?;
        state.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.borrow_mut().say_farewell() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        ready!(state.poll_send(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}

//! The two ends of a stream as a handler sees them.
//!
//! Both hide where the other end is: a client behind HTTP/2, or the JSON gateway in this process.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use types::{Code, Refusal};

use crate::reply::{self, PREFIX_BYTES, Reply};
use crate::{Method, Observer, Traced};

/// Nobody listens any more: the client reset the stream, or its connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl From<Gone> for Refusal {
    fn from(_: Gone) -> Refusal {
        Refusal::Other(Code::Canceled, "context canceled".into())
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("context canceled")
    }
}

impl std::error::Error for Gone {}

/// Where the answers of one call go.
pub(crate) trait Outlet {
    /// Ready when all that was pushed fits the receiver's window, so one more may come.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Takes one framed message, or several if [`Outlet::takes_several`].
    fn push(&mut self, frame: Bytes) -> Result<(), Gone>;

    /// Whether several messages may come in one piece.
    fn takes_several(&self) -> bool {
        false
    }
}

/// Messages sent together take about so many bytes at most: what one DATA frame carries.
const TOGETHER_BYTES: usize = 16 * 1024;

/// Where the requests of one call come from.
pub trait Source {
    /// The next whole message; `None` when the client closed its end, or after a refusal.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>>;
}

/// Sends the answers of a stream.
///
/// At most one message waits for the client's HTTP/2 window or for the socket; what the socket has not
/// taken of all streams of a connection is at most [`http2::OUT_BYTES_MAX`].
pub struct Sink {
    pub(crate) outlet: Rc<RefCell<dyn Outlet>>,
    pub(crate) method: Method,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) trace: Traced,
}

impl Sink {
    /// Sends one message, when all before it have passed the client's window.
    ///
    /// # Errors
    /// [`Gone`] when nobody listens any more.
    pub async fn send<R: Reply + ?Sized>(&mut self, reply: &R) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_room(cx)).await?;
        self.push(reply)
    }

    /// Sends messages in order, small ones together: on the wire a frame each would cost more than what
    /// is in it.
    ///
    /// # Errors
    /// [`Gone`] when nobody listens any more.
    pub async fn send_all<R: Reply>(&mut self, replies: &[R]) -> Result<(), Gone> {
        let several = self.outlet.borrow().takes_several();
        let mut rest = replies;
        while let [first, after @ ..] = rest {
            poll_fn(|cx| self.poll_room(cx)).await?;
            rest = after;
            if !several || rest.is_empty() {
                self.push(first)?;
                continue;
            }
            let mut together = BytesMut::new();
            let mut next = Some(first);
            while let Some(reply) = next {
                let len = reply::put_frame(&mut together, reply);
                self.observer.sent(&self.method, len);
                if let Some(trace) = &self.trace {
                    trace.sent(&together[together.len() - len..]);
                }
                next = rest.first().filter(|_| together.len() < TOGETHER_BYTES);
                rest = if next.is_some() { &rest[1..] } else { rest };
            }
            self.outlet.borrow_mut().push(together.freeze())?;
        }
        Ok(())
    }

    /// Ready when [`Sink::try_send`] would take a message.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.outlet.borrow_mut().poll_room(cx)
    }

    /// Sends one message if it need not wait for the client; `false` if it would.
    ///
    /// # Errors
    /// [`Gone`] when nobody listens any more.
    pub fn try_send<R: Reply + ?Sized>(&mut self, reply: &R) -> Result<bool, Gone> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_room(&mut cx)? {
            Poll::Ready(()) => self.push(reply).map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    fn push<R: Reply + ?Sized>(&mut self, reply: &R) -> Result<(), Gone> {
        let frame = reply::frame(reply);
        self.observer.sent(&self.method, frame.len() - PREFIX_BYTES);
        if let Some(trace) = &self.trace {
            trace.sent(&frame[PREFIX_BYTES..]);
        }
        self.outlet.borrow_mut().push(frame)
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("method", &self.method.path).finish_non_exhaustive()
    }
}

/// Receives the requests of a stream.
pub struct Inbound {
    pub(crate) source: Box<dyn Source>,
    pub(crate) method: Method,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) trace: Traced,
}

impl Inbound {
    /// The next message; `None` when the client has closed its end. May be dropped while it waits
    /// and asked again.
    ///
    /// # Errors
    /// The refusal with which the call must end: a message too long, cut short, or unreadable.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Like [`Inbound::next`], decoded.
    ///
    /// # Errors
    /// As [`Inbound::next`], and when the message is not an `M`.
    pub async fn next_of<M>(&mut self) -> Result<Option<M>, Refusal>
    where
        M: prost::Message + prost::Name + Default,
    {
        self.next().await?.map(reply::decode_streamed).transpose()
    }

    /// [`Inbound::next`] for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        let next = self.source.poll_next(cx);
        if let Poll::Ready(Ok(Some(message))) = &next {
            self.observer.received(&self.method, message.len());
            if let Some(trace) = &self.trace {
                trace.received(message);
            }
        }
        next
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("method", &self.method.path).finish_non_exhaustive()
    }
}

//! The server of the `h2` crate, running the little program without a socket or a clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::plan::{self, Plan, Request};
use super::{HEADER_LIST_BYTES_MAX, STREAMS_MAX, WINDOW_BYTES};

/// Both directions of a connection.
#[derive(Clone, Debug, Default)]
struct Pipe(Rc<RefCell<(VecDeque<u8>, Vec<u8>)>>);

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.0.borrow_mut().0;
        if input.is_empty() {
            return Poll::Pending;
        }
        let taken = input.len().min(buffer.remaining());
        let bytes: Vec<u8> = input.drain(..taken).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How far a connection is.
enum Phase {
    Greeting(Handshake<Pipe, Bytes>),
    Open(Connection<Pipe, Bytes>),
    Over,
}

/// A call whose request is not over.
struct Waiting {
    request: Request,
    body: RecvStream,
    body_is_over: bool,
    respond: SendResponse<Bytes>,
    started: Option<SendStream<Bytes>>,
}

pub(crate) struct Theirs {
    pipe: Pipe,
    phase: Phase,
    waiting: Vec<Waiting>,
    /// Answers that may not have left.
    answered: Vec<SendStream<Bytes>>,
}

impl Theirs {
    pub(crate) fn new() -> Theirs {
        let pipe = Pipe::default();
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        builder.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADER_LIST_BYTES_MAX);
        builder.max_pending_accept_reset_streams(500).max_concurrent_reset_streams(500);
        let phase = Phase::Greeting(builder.handshake(pipe.clone()));
        Theirs { pipe, phase, waiting: Vec::new(), answered: Vec::new() }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.pipe.0.borrow_mut().0.extend(bytes);
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.pipe.0.borrow().1.len();
            let progress = self.turn();
            let said = self.pipe.0.borrow().1.len() > before;
            quiet = if progress || said { 0 } else { quiet + 1 };
        }
    }

    pub(crate) fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pipe.0.borrow_mut().1)
    }

    fn turn(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match &mut self.phase {
            Phase::Greeting(handshake) => match pin!(handshake).poll(&mut context) {
                Poll::Ready(Ok(connection)) => {
                    self.phase = Phase::Open(connection);
                    return true;
                }
                Poll::Ready(Err(_)) => self.phase = Phase::Over,
                Poll::Pending => {}
            },
            Phase::Open(connection) => match connection.poll_accept(&mut context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(request, respond);
                    return true;
                }
                // It has said why, and says the same again to whoever asks.
                Poll::Ready(Some(Err(_)) | None) => self.phase = Phase::Over,
                Poll::Pending => {}
            },
            Phase::Over => return false,
        }
        let waiting = std::mem::take(&mut self.waiting);
        let before = waiting.len();
        for call in waiting {
            self.go_on(call, &mut context);
        }
        self.waiting.len() != before
    }

    fn begin(&mut self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        let text = |value: &HeaderValue| {
            String::from_utf8(value.as_bytes().to_vec()).expect("the client writes text")
        };
        let request = Request {
            method: head.method.to_string(),
            authority: head.uri.authority().map(ToString::to_string),
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            fields: head.headers.iter().map(|(n, value)| (n.to_string(), text(value))).collect(),
            body: Vec::new(),
        };
        let mut started = None;
        match request.plan() {
            Plan::Early => return drop(respond.send_response(answer(200, true), true)),
            Plan::Reset(code) => return respond.send_reset(Reason::from(code)),
            Plan::Echo => started = respond.send_response(answer(200, false), false).ok(),
            Plan::Bytes(_) | Plan::Bare => {}
        }
        self.waiting.push(Waiting { request, body, body_is_over: false, respond, started });
    }

    /// Takes what has come of a request's body, and answers at its end.
    fn go_on(&mut self, mut call: Waiting, context: &mut Context<'_>) {
        while !call.body_is_over {
            match call.body.poll_data(context) {
                Poll::Ready(Some(Ok(piece))) => {
                    call.request.body.extend_from_slice(&piece);
                    let released = call.body.flow_control().release_capacity(piece.len());
                    released.expect("it was just taken");
                }
                Poll::Ready(Some(Err(_))) => return,
                Poll::Ready(None) => call.body_is_over = true,
                Poll::Pending => return self.waiting.push(call),
            }
        }
        match call.body.poll_trailers(context) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return,
            Poll::Pending => return self.waiting.push(call),
        }
        let plan = call.request.plan();
        if plan == Plan::Bare {
            return drop(call.respond.send_response(answer(404, true), true));
        }
        let started = call.started.take();
        let begin = || call.respond.send_response(answer(200, false), false).ok();
        let Some(mut stream) = started.or_else(begin) else { return };
        let bytes = match plan {
            Plan::Bytes(count) => plan::bytes(count),
            _ => call.request.echo(),
        };
        // Of a stream that the client has reset nobody waits for the answer.
        let _ = stream.send_data(bytes, false);
        let trailers = [("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))];
        let _ = stream.send_trailers(HeaderMap::from_iter(trailers));
        self.answered.push(stream);
    }
}

fn answer(status: u16, ends: bool) -> Response<()> {
    let answer = Response::builder().status(status).header("content-type", "application/grpc");
    let answer = if ends { answer.header("grpc-status", "0") } else { answer };
    answer.body(()).expect("it is well-formed")
}

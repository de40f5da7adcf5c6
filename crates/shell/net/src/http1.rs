//! HTTP/1.1: hyper reads it, and a handler given from outside answers.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Limits, LocalFuture, Phase, Phases, Remote, Stream};

/// The body of a request or an answer, whatever it travels by.
pub type HttpBody = Pin<Box<dyn Body<Data = Bytes, Error = io::Error>>>;

/// Answers HTTP requests. Every `Fn(Request, Arc<Remote>) -> Future<Response>` is one.
///
/// For an upgrade (websocket) take `hyper::upgrade::on` the request, spawn what shall follow with
/// `tokio::task::spawn_local`, and answer 101. Over HTTP/2 there is none.
pub trait HttpHandler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        &self,
        request: Request<HttpBody>,
        remote: Arc<Remote>,
    ) -> LocalFuture<Response<HttpBody>>;
}

impl<F, Fut> HttpHandler for F
where
    F: Fn(Request<HttpBody>, Arc<Remote>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<HttpBody>> + 'static,
{
    fn handle(
        &self,
        request: Request<HttpBody>,
        remote: Arc<Remote>,
    ) -> LocalFuture<Response<HttpBody>> {
        Box::pin(self(request, remote))
    }
}

/// A body that is known as a whole.
pub fn whole(bytes: impl Into<Bytes>) -> HttpBody {
    Box::pin(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// Serves an HTTP/1.1 connection until it ends.
pub(crate) async fn serve_http1(
    stream: Rewound,
    http: &Arc<dyn HttpHandler>,
    limits: &Limits,
    remote: &Arc<Remote>,
    mut phases: Phases,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let request = request.map(|body| Box::pin(body.map_err(io::Error::other)) as HttpBody);
        let answer = http.handle(request, remote.clone());
        async move { Result::<_, Infallible>::Ok(answer.await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.http_header_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = phases.reached(Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = phases.reached(Phase::Closed) => {}
    }
}

/// A stream some of whose bytes have been read already.
pub(crate) struct Rewound {
    pub unread: Bytes,
    pub stream: Box<dyn Stream>,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let count = self.unread.len().min(out.remaining());
        out.put_slice(&self.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

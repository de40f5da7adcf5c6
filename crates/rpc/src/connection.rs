//! One connection, from its first bytes on: encryption, which protocol, and who serves it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::listen::{Protocols, Stream, Tls};
use crate::server::{Handed, HttpHandler, Phase, Shared, reached};
use crate::wire::Wire;
use crate::{Identity, Limits, Peer, PeerAddress, engine};

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection on its way from the acceptor to its worker.
pub(crate) struct Accepted {
    pub socket: Handed,
    pub address: PeerAddress,
    pub protocols: Protocols,
    pub tls: Option<Arc<dyn Tls>>,
}

/// Serves a connection until it ends. Why it ends concerns only the client.
pub(crate) async fn serve_connection(
    accepted: Accepted,
    shared: Shared,
    mut phase: watch::Receiver<Phase>,
) {
    let Accepted { socket, address, protocols, tls } = accepted;
    let opening = async {
        let (mut stream, identity) = secured(socket.adopt()?, tls).await?;
        let (protocol, unread) = recognize(&mut stream, protocols).await?;
        io::Result::Ok((stream, identity, protocol, unread))
    };
    let opened = tokio::select! {
        opened = timeout(shared.limits.handshake_timeout, opening) => opened,
        () = reached(&mut phase, Phase::Draining) => return,
    };
    let Ok(Ok((stream, identity, protocol, unread))) = opened else { return };
    let peer = Arc::new(Peer { address, identity });
    shared.observer.connected(&peer);
    match (protocol, &shared.http) {
        (Protocol::Http2, _) => {
            let wire = Wire::new(stream, unread, shared.limits.keepalive_min_time);
            engine::serve(wire, shared.clone(), peer.clone(), phase).await;
        }
        (Protocol::Http1, Some(http)) => {
            let stream = Rewound { unread, stream };
            serve_http1(stream, http, &shared.limits, &peer, phase).await;
        }
        (Protocol::Http1, None) => {}
    }
    shared.observer.disconnected(&peer);
}

async fn secured(
    stream: Box<dyn Stream>,
    tls: Option<Arc<dyn Tls>>,
) -> io::Result<(Box<dyn Stream>, Option<Identity>)> {
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => Ok((stream, None)),
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Reads as much as it takes to know what the client speaks, and returns that for whoever reads on.
async fn recognize(
    stream: &mut Box<dyn Stream>,
    protocols: Protocols,
) -> io::Result<(Protocol, Bytes)> {
    let mut seen = BytesMut::with_capacity(PREFACE.len());
    match protocols {
        Protocols::Http => return Ok((Protocol::Http1, seen.freeze())),
        Protocols::Grpc => return Ok((Protocol::Http2, seen.freeze())),
        Protocols::Both => {}
    }
    while seen.len() < PREFACE.len() {
        let missing = (PREFACE.len() - seen.len()) as u64;
        if (&mut *stream).take(missing).read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&seen) {
            return Ok((Protocol::Http1, seen.freeze()));
        }
    }
    Ok((Protocol::Http2, seen.freeze()))
}

async fn serve_http1(
    stream: Rewound,
    http: &Arc<dyn HttpHandler>,
    limits: &Limits,
    peer: &Arc<Peer>,
    mut phase: watch::Receiver<Phase>,
) {
    let service = service_fn(|request| {
        let answer = http.handle(request, peer.clone());
        async move { Result::<_, Infallible>::Ok(answer.await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.http_header_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = reached(&mut phase, Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = reached(&mut phase, Phase::Closed) => {}
    }
}

/// A stream some of whose bytes have been read already.
struct Rewound {
    unread: Bytes,
    stream: Box<dyn Stream>,
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

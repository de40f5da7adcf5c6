//! One connection, from its first plain bytes on: which protocol, and who serves it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use crate::http1::{Rewound, serve_http1};
use crate::listen::{Protocols, Stream};
use crate::server::{OfWorker, Shared};
use crate::socket::Taken;
use crate::{HttpHandler, Identity, LocalFuture, Phase, Phases, Remote, RemoteAddress, Transport};

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves whatever begins with HTTP/2's preface.
pub trait Http2: Send + Sync + 'static {
    /// Serves a connection until it ends, for whatever reason.
    fn serve(&self, connection: Connection) -> LocalFuture<()>;
}

/// A connection that speaks HTTP/2.
pub struct Connection {
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// What was read of them to find out what it speaks.
    pub unread: Bytes,
    /// Who is at its other end.
    pub remote: Arc<Remote>,
    /// How far the end of the server has come.
    pub phases: Phases,
    /// Who answers requests that are no gRPC, where they are served over HTTP/2 too.
    pub http: Option<Arc<dyn HttpHandler>>,
}

/// A connection on its way to the worker that serves it.
pub(crate) struct Accepted {
    pub arrival: Arrival,
    pub from: Origin,
}

/// What the acceptor knows of a connection.
pub(crate) struct Origin {
    pub address: RemoteAddress,
    /// Which of our own addresses it came to; `None` for a unix socket.
    pub reached: Option<SocketAddr>,
    pub protocols: Protocols,
    /// Until when it must be known what the connection speaks.
    pub deadline: Instant,
    pub counted: OfWorker,
}

/// What arrives at a worker.
pub(crate) enum Arrival {
    /// As the acceptor got it.
    Plain(Taken),
    /// After its handshake, detached from the thread that made it.
    Secured(Box<dyn Stream>, Option<Identity>),
}

impl Arrival {
    /// Joins the runtime of this thread.
    fn adopt(self) -> io::Result<(Box<dyn Stream>, Transport)> {
        match self {
            Arrival::Plain(socket) => Ok((Box::new(socket.adopt()?), Transport::Plain)),
            Arrival::Secured(mut stream, identity) => {
                stream.attach()?;
                Ok((stream, Transport::Tls(identity)))
            }
        }
    }
}

/// Serves a connection until it ends. Why it ends concerns only the client.
pub(crate) async fn serve_connection(accepted: Accepted, shared: Shared, mut phases: Phases) {
    let Accepted { arrival, from } = accepted;
    let Origin { address, reached, protocols, deadline, counted: _counted } = from;
    let (mut stream, transport) = match arrival.adopt() {
        Ok(adopted) => adopted,
        Err(why) => return shared.observer.rejected(&address, &why),
    };
    let recognized = tokio::select! {
        recognized = timeout_at(deadline, recognize(&mut stream, protocols)) => recognized,
        () = phases.reached(Phase::Draining) => return,
    };
    let Ok(Ok((protocol, unread))) = recognized else { return };
    let remote = Arc::new(Remote { address, transport, reached });
    shared.observer.connected(&remote);
    match (protocol, &shared.http2, &shared.http) {
        (Protocol::Http2, Some(http2), http) => {
            // In the clear etcd hands HTTP/2 to gRPC alone; encrypted it looks at each request.
            let serves_both = protocols == Protocols::Both && remote.is_encrypted();
            let http = http.clone().filter(|_| serves_both);
            let remote = remote.clone();
            http2.serve(Connection { stream, unread, remote, phases, http }).await;
        }
        (Protocol::Http1, _, Some(http)) => {
            let stream = Rewound { unread, stream };
            serve_http1(stream, http, &shared.limits, &remote, phases).await;
        }
        (Protocol::Http2, None, _) | (Protocol::Http1, _, None) => {}
    }
    shared.observer.disconnected(&remote);
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

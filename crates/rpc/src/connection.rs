//! One connection, from its first bytes on: encryption, which protocol, and who serves it.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http1::{Rewound, serve_http1};
use crate::listen::{Handshake, Protocols, Stream, Tls};
use crate::server::{Handed, Phase, Shared, reached};
use crate::{Peer, PeerAddress, engine};

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
        let Handshake { mut stream, identity } = secured(socket.adopt()?, tls).await?;
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
            engine::serve(stream, unread, shared.clone(), peer.clone(), phase).await;
        }
        (Protocol::Http1, Some(http)) => {
            let stream = Rewound { unread, stream };
            serve_http1(stream, http, &shared.limits, &peer, phase).await;
        }
        (Protocol::Http1, None) => {}
    }
    shared.observer.disconnected(&peer);
}

async fn secured(stream: Box<dyn Stream>, tls: Option<Arc<dyn Tls>>) -> io::Result<Handshake> {
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => Ok(Handshake { stream, identity: None }),
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

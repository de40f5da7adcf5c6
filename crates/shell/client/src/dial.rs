//! Opens a byte stream to an endpoint: TCP or a socket file, plain or in TLS.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use go::io_text;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address;
use crate::endpoint::{Address, Endpoint};
use crate::remark::Peer;

/// Any kind of stream.
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    TcpTls(Box<TlsStream<TcpStream>>),
    UnixTls(Box<TlsStream<UnixStream>>),
}

/// An open stream, and what was heard on it.
pub struct Wire {
    kind: Kind,
    heard: Arc<Heard>,
}

/// What was heard of the other side so far.
#[derive(Default)]
pub struct Heard {
    /// Whether a byte has come.
    pub anything: AtomicBool,
    /// Why no more can come, worded as Go words it. HTTP/2's errors only know that it is so.
    pub failure: OnceLock<String>,
}

impl From<Kind> for Wire {
    fn from(kind: Kind) -> Wire {
        Wire { kind, heard: Arc::default() }
    }
}

impl Wire {
    /// Knows what was heard, also when the wire is somebody else's.
    pub fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }
}

/// Connects. The error is worded as grpc-go words it.
pub async fn dial(
    endpoint: &Endpoint,
    tls: Option<&(Arc<ClientConfig>, String)>,
) -> Result<(Wire, Peer), String> {
    let dialing = |why: String| {
        format!("connection error: desc = \"transport: Error while dialing: dial {why}\"")
    };
    let peer = |remote: String, local: String| Peer { remote, local, encrypted: tls.is_some() };
    match &endpoint.address {
        Address::Tcp(authority) => {
            let lost = |error: io::Error| dialing(format!("tcp {authority}: {}", io_text(&error)));
            let tcp = address::connect(authority).await.map_err(dialing)?;
            tcp.set_nodelay(true).map_err(lost)?;
            let ends = (tcp.peer_addr().map_err(lost)?, tcp.local_addr().map_err(lost)?);
            let peer = peer(ends.0.to_string(), ends.1.to_string());
            match tls {
                None => Ok((Kind::Tcp(tcp).into(), peer)),
                Some(tls) => Ok((Kind::TcpTls(Box::new(encrypt(tls, tcp).await?)).into(), peer)),
            }
        }
        Address::Unix(path) => {
            let unix = UnixStream::connect(path)
                .await
                .map_err(|error| dialing(format!("unix {path}: connect: {}", io_text(&error))))?;
            let peer = peer(path.clone(), String::new());
            match tls {
                None => Ok((Kind::Unix(unix).into(), peer)),
                Some(tls) => Ok((Kind::UnixTls(Box::new(encrypt(tls, unix).await?)).into(), peer)),
            }
        }
    }
}

async fn encrypt<S: AsyncRead + AsyncWrite + Unpin>(
    (config, name): &(Arc<ClientConfig>, String),
    stream: S,
) -> Result<TlsStream<S>, String> {
    let failed = |why: String| {
        format!("connection error: desc = \"transport: authentication handshake failed: {why}\"")
    };
    // A name that ends in a dot is the same name.
    let name = name.strip_suffix('.').unwrap_or(name).to_owned();
    if name.is_empty() {
        let why =
            "tls: either ServerName or InsecureSkipVerify must be specified in the tls.Config";
        return Err(failed(why.to_owned()));
    }
    let name = ServerName::try_from(name).map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(config.clone());
    connector.connect(name, stream).await.map_err(|error| failed(handshake_text(&error)))
}

fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|cause| cause.downcast_ref())
}

fn handshake_text(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "EOF".to_owned()
    } else {
        tls::go_text(error)
    }
}

macro_rules! each {
    ($kind:expr, $stream:ident => $do:expr) => {
        match $kind {
            Kind::Tcp($stream) => $do,
            Kind::Unix($stream) => $do,
            Kind::TcpTls($stream) => $do,
            Kind::UnixTls($stream) => $do,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { kind, heard } = self.get_mut();
        let before = buffer.filled().len();
        let read = each!(kind, stream => Pin::new(stream).poll_read(context, buffer));
        if before < buffer.filled().len() {
            heard.anything.store(true, Ordering::Relaxed);
        }
        if let Poll::Ready(Err(error)) = &read {
            let of_tls = tls_cause(error).is_some();
            let text = if of_tls { handshake_text(error) } else { io_text(error) };
            // The first reason is the one.
            let _ = heard.failure.set(text);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().kind, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().kind, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().kind, stream => Pin::new(stream).poll_shutdown(context))
    }
}

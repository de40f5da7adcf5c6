//! Opens a byte stream to an endpoint: TCP or a socket file, plain or in TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Address, Endpoint};
use crate::remark::Peer;
use crate::tls::go_text;

/// Any kind of stream.
pub enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    TcpTls(Box<TlsStream<TcpStream>>),
    UnixTls(Box<TlsStream<UnixStream>>),
}

/// Connects. The error is worded as grpc-go words it.
pub async fn dial(
    endpoint: &Endpoint,
    tls: Option<&(Arc<ClientConfig>, String)>,
) -> Result<(Wire, Peer), String> {
    let dialing = |error: io::Error| {
        let (place, mut why) = (endpoint.go_address(), go_text(&error));
        if matches!(endpoint.address, Address::Unix(_)) && !why.starts_with("connect: ") {
            why = format!("connect: {why}");
        }
        format!("connection error: desc = \"transport: Error while dialing: dial {place}: {why}\"")
    };
    let peer = |remote: String, local: String| Peer { remote, local, encrypted: tls.is_some() };
    match &endpoint.address {
        Address::Tcp(authority) => {
            let tcp = TcpStream::connect(authority).await.map_err(dialing)?;
            tcp.set_nodelay(true).map_err(dialing)?;
            let ends = (tcp.peer_addr().map_err(dialing)?, tcp.local_addr().map_err(dialing)?);
            let peer = peer(ends.0.to_string(), ends.1.to_string());
            match tls {
                None => Ok((Wire::Tcp(tcp), peer)),
                Some(tls) => Ok((Wire::TcpTls(Box::new(encrypt(tls, tcp).await?)), peer)),
            }
        }
        Address::Unix(path) => {
            let unix = UnixStream::connect(path).await.map_err(dialing)?;
            let peer = peer(path.clone(), String::new());
            match tls {
                None => Ok((Wire::Unix(unix), peer)),
                Some(tls) => Ok((Wire::UnixTls(Box::new(encrypt(tls, unix).await?)), peer)),
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
    let name = ServerName::try_from(name.clone()).map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(config.clone());
    connector.connect(name, stream).await.map_err(|error| failed(handshake_text(&error)))
}

fn handshake_text(error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match (error.kind(), cause) {
        (io::ErrorKind::UnexpectedEof, _) => "EOF".to_owned(),
        (_, Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))) => {
            let why = "x509: certificate signed by unknown authority";
            format!("tls: failed to verify certificate: {why}")
        }
        _ => format!("tls: {error}"),
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            Wire::Tcp($stream) => $do,
            Wire::Unix($stream) => $do,
            Wire::TcpTls($stream) => $do,
            Wire::UnixTls($stream) => $do,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

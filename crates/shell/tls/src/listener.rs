//! A [`Server`] as the listeners of `net` want it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use net::{Handshake, LocalFuture, Protocols, RemoteAddress, Stream, Tls};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::server::Server;

/// Shakes hands for a listener.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<Server>);

impl Acceptor {
    /// Of what the files of one kind of listener say.
    pub fn new(server: Server) -> Acceptor {
        Acceptor(Arc::new(server))
    }
}

/// Where a connection comes from, as far as a certificate can name it.
fn source(from: &RemoteAddress) -> Option<IpAddr> {
    match from {
        RemoteAddress::Tcp(address) => Some(address.ip().to_canonical()),
        RemoteAddress::Unix => None,
    }
}

impl Tls for Acceptor {
    /// The error holds a [`crate::HandshakeError`], which says what etcd logs of it.
    fn accept(
        &self,
        stream: Box<dyn Stream>,
        from: &RemoteAddress,
        protocols: Protocols,
    ) -> LocalFuture<io::Result<Handshake>> {
        let (server, source) = (self.0.clone(), source(from));
        let only = match protocols {
            Protocols::Both => None,
            Protocols::Grpc => Some("h2"),
            Protocols::Http => Some("http/1.1"),
        };
        Box::pin(async move {
            let accepted = server.accept(stream, source, only).await.map_err(io::Error::other)?;
            let (stream, identity) = (accepted.stream, accepted.handshake.identity);
            Ok(Handshake { stream: Box::new(Encrypted(stream)), identity })
        })
    }
}

/// The plain side of an encrypted stream.
struct Encrypted(TlsStream<Box<dyn Stream>>);

impl Stream for Encrypted {
    fn detach(&mut self) -> io::Result<()> {
        self.0.get_mut().0.detach()
    }

    fn attach(&mut self) -> io::Result<()> {
        self.0.get_mut().0.attach()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

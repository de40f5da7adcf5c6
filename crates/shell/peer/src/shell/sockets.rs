//! Sockets: what is accepted and what is dialled, with a seam where TLS goes in on both sides: `net` has the one for
//! accepting.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use net::{RemoteAddress, Socket, Stream, Tls, Wire};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::LocalFuture;
use crate::rules::PeerUrl;

/// After this silence the kernel asks whether the other host still knows the connection.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection in either direction, encrypted or not. It stays on the thread of the peers.
pub trait Pipe: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Pipe for S {}

/// Encrypts a connection that was dialled for a URL of `https` or `unixs`.
pub trait Connector: Send + Sync + 'static {
    /// Shakes hands with the host of this name. Only `http/1.1`, or nothing, may be offered by ALPN.
    fn connect(&self, pipe: Box<dyn Pipe>, host: &str) -> LocalFuture<io::Result<Box<dyn Pipe>>>;
}

/// Where peers are accepted.
pub struct Listener {
    /// The socket, bound and listening.
    pub socket: Socket,
    /// What encrypts its connections; asked for HTTP/1.1 alone.
    pub tls: Option<Arc<dyn Tls>>,
}

/// A listening socket in the runtime.
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    pub fn new(socket: Socket) -> io::Result<Accepting> {
        match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?))
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Accepting::Unix(tokio::net::UnixListener::from_std(listener)?))
            }
        }
    }

    pub async fn accept(&self) -> io::Result<(Box<dyn Stream>, RemoteAddress)> {
        match self {
            Accepting::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                prepare(&stream)?;
                Ok((Box::new(Wire::from(stream)), RemoteAddress::Tcp(from)))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(Wire::from(stream)), RemoteAddress::Unix))
            }
        }
    }
}

/// Opens a connection to a peer, encrypted if its URL says so. No limit of time here: the caller has one.
pub(super) async fn dial(
    url: &PeerUrl,
    connector: Option<&Arc<dyn Connector>>,
) -> io::Result<Box<dyn Pipe>> {
    let pipe: Box<dyn Pipe> = if url.unix() {
        Box::new(UnixStream::connect(&url.address).await?)
    } else {
        // IPv4 first, where `localhost` is both.
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(&url.address).await?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        prepare(&stream)?;
        Box::new(stream)
    };
    match (url.tls(), connector) {
        (false, _) => Ok(pipe),
        (true, Some(connector)) => connector.connect(pipe, url.host()).await,
        (true, None) => Err(io::Error::new(io::ErrorKind::Unsupported, "no TLS is configured")),
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE)?;
    Ok(())
}

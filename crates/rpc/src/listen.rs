//! Sockets to accept on, and what is served there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Identity, LocalFuture};

/// Connections waiting to be accepted before the kernel drops new ones.
const BACKLOG: i32 = 4096;

/// What a listener answers. The first bytes of a connection say which of both it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// Only HTTP/2 with gRPC.
    Grpc,
    /// Only HTTP/1.1.
    Http,
    /// Both on one port.
    Both,
}

/// One place where connections are accepted.
pub struct Listener {
    pub(crate) socket: Socket,
    pub(crate) protocols: Protocols,
    pub(crate) tls: Option<Arc<dyn Tls>>,
}

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// `--socket-reuse-port` and `--socket-reuse-address`. Like Go we reuse the address in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// Whether several processes may listen on the port at once.
    pub reuse_port: bool,
}

/// A byte stream to a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// What a TLS handshake results in.
pub struct Handshake {
    /// The plain side of the encrypted stream.
    pub stream: Box<dyn Stream>,
    /// Who the client proved to be, if it showed a certificate.
    pub identity: Option<Identity>,
}

/// Turns an accepted stream into an encrypted one. A client that offers HTTP/1.1 by ALPN should
/// get it, because only gRPC is served over HTTP/2.
pub trait Tls: Send + Sync + 'static {
    /// Shakes hands.
    fn accept(&self, stream: Box<dyn Stream>) -> LocalFuture<io::Result<Handshake>>;
}

impl Socket {
    /// Binds and listens on a TCP address.
    ///
    /// # Errors
    /// Whatever the system says about the address.
    pub fn tcp(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &address)?;
        rustix::net::listen(&fd, BACKLOG)?;
        Ok(Socket::Tcp(TcpListener::from(fd)))
    }

    /// Binds and listens on a unix socket; one that a former process left behind is removed.
    ///
    /// # Errors
    /// Whatever the system says about the path.
    pub fn unix(path: &Path) -> io::Result<Socket> {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Socket::Unix(listener))
    }

    /// The TCP address really bound, for listeners on port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

impl Listener {
    /// Serves `protocols` in the clear.
    pub fn new(socket: Socket, protocols: Protocols) -> Listener {
        Listener { socket, protocols, tls: None }
    }

    /// Encrypts every connection.
    #[must_use]
    pub fn tls(mut self, tls: Arc<dyn Tls>) -> Listener {
        self.tls = Some(tls);
        self
    }
}

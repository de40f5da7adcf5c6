//! Sockets: how they are bound, and what is accepted on them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::{TcpStream, UnixStream};

use crate::RemoteAddress;
use crate::wire::Wire;

/// Connections waiting to be accepted before the kernel drops new ones.
const BACKLOG: i32 = 4096;

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
/// The file of a unix socket, removed when nobody accepts there any more.
pub(crate) struct SocketFile(Option<PathBuf>);

impl SocketFile {
    pub fn of(socket: &Socket) -> SocketFile {
        let Socket::Unix(listener) = socket else { return SocketFile(None) };
        let address = listener.local_addr().ok();
        SocketFile(address.and_then(|address| address.as_pathname().map(PathBuf::from)))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // If it is gone already, somebody else removed it.
            let _ = rustix::fs::unlink(path);
        }
    }
}

/// A listening socket in the acceptor's runtime.
pub(crate) enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// An accepted socket that belongs to no runtime yet.
pub(crate) enum Handed {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Acceptor {
    pub fn new(socket: &Socket) -> io::Result<Acceptor> {
        Ok(match socket {
            Socket::Tcp(listener) => {
                Acceptor::Tcp(tokio::net::TcpListener::from_std(listener.try_clone()?)?)
            }
            Socket::Unix(listener) => {
                Acceptor::Unix(tokio::net::UnixListener::from_std(listener.try_clone()?)?)
            }
        })
    }

    pub async fn accept(&self) -> io::Result<(Handed, RemoteAddress)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Handed::Tcp(stream.into_std()?), RemoteAddress::Tcp(address)))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Handed::Unix(stream.into_std()?), RemoteAddress::Unix))
            }
        }
    }
}

impl Handed {
    /// Joins the runtime of the thread it was handed to.
    pub fn adopt(self) -> io::Result<Wire> {
        Ok(match self {
            Handed::Tcp(stream) => TcpStream::from_std(stream)?.into(),
            Handed::Unix(stream) => UnixStream::from_std(stream)?.into(),
        })
    }
}

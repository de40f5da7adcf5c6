//! Sockets: how they are bound, and what is accepted on them.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::{TcpStream, UnixStream};

use crate::RemoteAddress;
use crate::connections::Counted;
use crate::wire::Wire;

/// Connections waiting to be accepted before the kernel drops new ones.
const BACKLOG: i32 = 4096;

/// Silence after which the system asks whether the other machine is still there, and between its questions:
/// etcd's.
const SILENCE: Duration = Duration::from_secs(30);

/// How long, in milliseconds, the other machine may leave unacknowledged what we sent it.
const UNACKNOWLEDGED_MS: u32 = 60_000;

/// What the system says where IPv6 is switched off.
const NO_IPV6: [i32; 2] = [Errno::AFNOSUPPORT.raw_os_error(), Errno::ADDRNOTAVAIL.raw_os_error()];

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
        if address.ip().is_unspecified() {
            // Every address of the machine, whichever family names them: Go listens on both.
            let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
            match Socket::bind(all, options) {
                // There is no IPv6 here.
                Err(error) if NO_IPV6.contains(&error.raw_os_error().unwrap_or(0)) => {}
                bound => return bound,
            }
        }
        Socket::bind(address, options)
    }

    fn bind(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
        }
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        // What is accepted here inherits these: a client whose machine is gone is noticed.
        sockopt::set_socket_keepalive(&fd, true)?;
        sockopt::set_tcp_keepidle(&fd, SILENCE)?;
        sockopt::set_tcp_keepintvl(&fd, SILENCE)?;
        sockopt::set_tcp_user_timeout(&fd, UNACKNOWLEDGED_MS)?;
        rustix::net::bind(&fd, &address)?;
        rustix::net::listen(&fd, BACKLOG)?;
        Ok(Socket::Tcp(TcpListener::from(fd)))
    }

    /// Binds and listens on a unix socket; one that a former process left behind is removed. Any other
    /// file stays, and the address is in use. (etcd removes it.)
    ///
    /// # Errors
    /// Whatever the system says about the path.
    pub fn unix(path: &Path) -> io::Result<Socket> {
        let there = std::fs::symlink_metadata(path);
        if there.is_ok_and(|file| file.file_type().is_socket()) {
            std::fs::remove_file(path)?;
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
                Ok((Handed::Tcp(stream.into_std()?), RemoteAddress::Tcp(plain(address))))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Handed::Unix(stream.into_std()?), RemoteAddress::Unix))
            }
        }
    }
}

/// A socket for both families writes IPv4 addresses as IPv6; nobody wants to read them so.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An accepted socket that counts as a connection.
pub(crate) struct Taken {
    pub handed: Handed,
    pub counted: Counted,
}

impl Taken {
    /// Joins the runtime of the thread it was handed to. It counts as long as it is open.
    pub fn adopt(self) -> io::Result<Wire> {
        Ok(self.handed.adopt()?.counting(self.counted))
    }
}

impl Handed {
    /// Which of our own addresses it came to; `None` for a unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Handed::Tcp(stream) => stream.local_addr().ok().map(plain),
            Handed::Unix(_) => None,
        }
    }

    /// Joins the runtime of the thread it was handed to.
    pub fn adopt(self) -> io::Result<Wire> {
        Ok(match self {
            Handed::Tcp(stream) => TcpStream::from_std(stream)?.into(),
            Handed::Unix(stream) => UnixStream::from_std(stream)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_on_every_address_is_found_by_both_families() {
        for unspecified in ["0.0.0.0:0", "[::]:0"] {
            let address = unspecified.parse().expect("an address");
            let socket = Socket::tcp(address, SocketOptions::default()).expect("a free port");
            let port = socket.address().expect("it is bound").port();
            for host in ["127.0.0.1", "::1"] {
                std::net::TcpStream::connect((host, port)).expect("somebody listens");
            }
        }
    }

    #[tokio::test]
    async fn a_client_of_the_older_family_is_shown_by_its_own_address() {
        let address = "0.0.0.0:0".parse().expect("an address");
        let socket = Socket::tcp(address, SocketOptions::default()).expect("a free port");
        let port = socket.address().expect("it is bound").port();
        let acceptor = Acceptor::new(&socket).expect("it joins the runtime");
        let client = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
        let (_, remote) = acceptor.accept().await.expect("a client");
        let RemoteAddress::Tcp(remote) = remote else { panic!("it came by TCP") };
        assert_eq!(Some(remote), client.local_addr().ok());
    }

    #[test]
    fn only_a_socket_is_removed_to_make_room_for_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        std::fs::write(&path, "precious").expect("it can be written");
        let refused = Socket::unix(&path).expect_err("something else is there");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
        std::fs::remove_file(&path).expect("it is ours");
        drop(Socket::unix(&path).expect("the path is free"));
        drop(Socket::unix(&path).expect("only a socket was left there"));
    }
}

//! What is served where, and the seam for encryption.
//!
//! Circle: a stream, which `listen` defines, is made of a wire, and a wire of a socket that `listen` is given.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use crate::{Identity, LocalFuture, RemoteAddress, Socket};

/// What a listener answers. The first bytes of a connection say which of both it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// Only HTTP/2 with gRPC.
    Grpc,
    /// Only HTTP/1.1.
    Http,
    /// Both on one port. Encrypted, HTTP/2 carries what is no gRPC as well, as etcd's port does.
    Both,
}

/// One place where connections are accepted.
pub struct Listener {
    pub(crate) socket: Socket,
    pub(crate) protocols: Protocols,
    pub(crate) tls: Option<Arc<dyn Tls>>,
}

/// A byte stream to whoever connected.
///
/// It may be carried from the runtime of one thread to that of another: handshakes are made on threads
/// of their own, and connections served on the workers'.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Leaves the runtime of this thread. Until [`Stream::attach`] nothing can be read or written.
    ///
    /// # Errors
    /// Whatever the system says.
    fn detach(&mut self) -> io::Result<()>;

    /// Joins the runtime of this thread.
    ///
    /// # Errors
    /// Whatever the system says.
    fn attach(&mut self) -> io::Result<()>;
}

/// A pipe in memory belongs to no runtime.
impl Stream for DuplexStream {
    fn detach(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn attach(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a TLS handshake results in.
pub struct Handshake {
    /// The plain side of the encrypted stream.
    pub stream: Box<dyn Stream>,
    /// Who the other end proved to be, if it showed a certificate.
    pub identity: Option<Identity>,
}

/// Turns an accepted stream into an encrypted one, on a thread that makes handshakes and nothing else: a
/// signature may take as long as ten puts.
///
/// By ALPN it offers what `protocols` says: `h2` and `http/1.1` for [`Protocols::Both`], one of them
/// for the others. What the connection really speaks is seen from its first bytes.
pub trait Tls: Send + Sync + 'static {
    /// Shakes hands. It may wait as long as it likes: [`crate::Limits::handshake_timeout`] ends it.
    fn accept(
        &self,
        stream: Box<dyn Stream>,
        from: &RemoteAddress,
        protocols: Protocols,
    ) -> LocalFuture<io::Result<Handshake>>;
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

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Listener");
        shown.field("socket", &self.socket).field("protocols", &self.protocols);
        shown.field("encrypted", &self.tls.is_some()).finish()
    }
}

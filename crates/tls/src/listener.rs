//! A [`Server`] as the listeners of `net` want it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use net::{Handshake, LocalFuture, Protocols, RemoteAddress, Stream, Tls};

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
        _protocols: Protocols,
    ) -> LocalFuture<io::Result<Handshake>> {
        let (server, source) = (self.0.clone(), source(from));
        Box::pin(async move {
            let accepted = server.accept(stream, source).await.map_err(io::Error::other)?;
            let (stream, identity) = (accepted.stream, accepted.handshake.identity);
            Ok(Handshake { stream: Box::new(stream), identity })
        })
    }
}

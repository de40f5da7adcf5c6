//! One connection, from its first bytes on.

use std::sync::Arc;

use tokio::sync::watch;

use crate::PeerAddress;
use crate::listen::{Protocols, Tls};
use crate::server::{Handed, Phase, Shared};

/// A connection on its way from the acceptor to its worker.
pub(crate) struct Accepted {
    pub socket: Handed,
    pub address: PeerAddress,
    pub protocols: Protocols,
    pub tls: Option<Arc<dyn Tls>>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve_connection(
    accepted: Accepted,
    _shared: Shared,
    _phase: watch::Receiver<Phase>,
) {
    let _ = (accepted.address, accepted.protocols, accepted.tls, accepted.socket.adopt());
}

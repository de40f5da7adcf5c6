//! Handshakes, on threads of their own: a signature takes as long as ten puts, and a thousand clients that
//! come back at once would otherwise stop whoever is served by the same thread.

use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::connection::{Accepted, Arrival, Origin};
use crate::listen::{Handshake, Tls};
use crate::server::Shared;
use crate::socket::Taken;
use crate::{Phase, Phases};

/// A socket on its way from the acceptor, over a handshake, to its worker.
pub(crate) struct Unsecured {
    pub socket: Taken,
    pub tls: Arc<dyn Tls>,
    pub from: Origin,
    pub worker: mpsc::UnboundedSender<Accepted>,
}

/// Makes handshakes until the acceptor has stopped and all of them are over.
pub(crate) fn run_handshakes(
    shared: Shared,
    mut inbox: mpsc::UnboundedReceiver<Unsecured>,
    phases: Phases,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        while let Some(unsecured) = inbox.recv().await {
            tokio::task::spawn_local(shake(unsecured, shared.clone(), phases.clone()));
        }
    });
    Ok(())
}

async fn shake(unsecured: Unsecured, shared: Shared, mut phases: Phases) {
    let Unsecured { socket, tls, from, worker } = unsecured;
    let secured = tokio::select! {
        secured = timeout_at(from.deadline, secure(socket, &*tls, &from)) => secured,
        () = phases.reached(Phase::Draining) => return,
    };
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    match secured.unwrap_or_else(late) {
        // A worker that has ended has no use for it.
        Ok(arrival) => drop(worker.send(Accepted { arrival, from })),
        Err(why) => shared.observer.rejected(&from.address, &why),
    }
}

async fn secure(socket: Taken, tls: &dyn Tls, from: &Origin) -> io::Result<Arrival> {
    let socket = Box::new(socket.adopt()?);
    let shaken = tls.accept(socket, &from.address, from.protocols).await?;
    let Handshake { mut stream, identity } = shaken;
    stream.detach()?;
    Ok(Arrival::Secured(stream, identity))
}

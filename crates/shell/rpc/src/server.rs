//! A server of gRPC: what its connections share, on the threads of `net`.

use std::fmt;
use std::io;
use std::sync::Arc;

use net::{Connection, Http2, HttpHandler, Listener, LocalFuture, Running};

use crate::budget::Total;
use crate::{Caller, Limits, Observer, Router, engine};

/// A server that is being put together.
pub struct Server {
    net: net::Server,
    shared: Shared,
}

/// What every connection knows.
#[derive(Clone)]
pub(crate) struct Shared {
    pub router: Arc<Router>,
    pub limits: Arc<Limits>,
    pub observer: Arc<dyn Observer>,
    /// What is held for all of them.
    pub total: Arc<Total>,
}

impl Http2 for Shared {
    fn serve(&self, connection: Connection) -> LocalFuture<()> {
        Box::pin(engine::serve(connection, self.clone()))
    }
}

impl Server {
    /// A server for these methods; the observer is told about every call. Without [`Server::http`],
    /// HTTP/1.1 connections are closed.
    pub fn new(router: Arc<Router>, limits: Limits, observer: Arc<dyn Observer>) -> Server {
        let net = net::Server::new(limits.connections.clone()).named("rpc");
        let net = net.observer(observer.clone());
        let shared =
            Shared { router, total: Total::new(&limits), limits: Arc::new(limits), observer };
        Server { net, shared }
    }

    /// Makes calls from inside the process, as the JSON gateway does.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.shared, self.net.phases())
    }

    /// Who answers what is no gRPC.
    #[must_use]
    pub fn http(mut self, handler: Arc<dyn HttpHandler>) -> Server {
        self.net = self.net.http(handler);
        self
    }

    /// Bounds its connections together with those of others.
    #[must_use]
    pub fn connections(mut self, connections: net::Connections) -> Server {
        self.net = self.net.connections(connections);
        self
    }

    /// How many threads serve connections. By default one per core.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Server {
        self.net = self.net.workers(workers);
        self
    }

    /// Starts the threads and returns at once.
    ///
    /// # Errors
    /// When the system gives no thread, or no event queue.
    pub fn serve(self, listeners: Vec<Listener>) -> io::Result<Running> {
        self.net.http2(Arc::new(self.shared)).serve(listeners)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("net", &self.net).finish_non_exhaustive()
    }
}

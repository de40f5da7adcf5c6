//! Eyes on connections, for metrics and logs.

use std::io;

use crate::{Remote, RemoteAddress};

/// Is told what happens to connections, on their own threads: it must be quick and never wait.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted, and whatever it takes to serve it was agreed on.
    fn connected(&self, _remote: &Remote) {}

    /// A connection that was accepted has ended.
    fn disconnected(&self, _remote: &Remote) {}

    /// A connection ended before it could be served: its handshake failed.
    fn rejected(&self, _address: &RemoteAddress, _why: &io::Error) {}
}

/// Looks away.
#[derive(Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}

//! Eyes on every call, for metrics and logs.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::Remote;
use types::{Code, Refusal};

use crate::{Metadata, Method};

/// A unary call that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What was called.
    pub method: &'a Method,
    /// Who called.
    pub remote: &'a Remote,
    /// The request, as it came.
    pub request: &'a Bytes,
    /// Length of the answer without its prefix; 0 for a refusal.
    pub response_bytes: usize,
    /// From the whole request to the answer.
    pub took: Duration,
}

/// Is told what happens. Called on the connections' own threads, so it must be quick and never
/// wait; [`Method::index`] serves as an index into a table of counters.
pub trait Observer: net::Observer {
    /// A call to a known method began.
    fn started(&self, _method: &Method) {}

    /// A whole message of this many bytes (without its prefix) arrived.
    fn received(&self, _method: &Method, _bytes: usize) {}

    /// A message of this many bytes (without its prefix) was handed down to be sent.
    fn sent(&self, _method: &Method, _bytes: usize) {}

    /// The call ended with `code`, so long after it began.
    fn handled(&self, _method: &Method, _code: Code, _took: Duration) {}

    /// A unary call ended, however it ended.
    fn ended(&self, _call: &Ended<'_>) {}

    /// Who follows a call that has just come, if it is followed; asked once for each call to a known method.
    fn trace(&self, _method: &Method, _metadata: &Metadata, _remote: &Remote) -> Traced {
        None
    }
}

/// Chooses which calls are followed, and by whom.
pub trait Follow: Send + Sync {
    /// Who follows the call, if it is followed.
    fn follow(&self, method: &Method, metadata: &Metadata, remote: &Remote) -> Traced;
}

/// Who follows a call: nobody, for most.
pub type Traced = Option<Rc<dyn Trace>>;

/// Follows one call from its headers to its end, on the thread of its connection. Must be quick and never wait.
pub trait Trace {
    /// A whole message arrived, without its prefix.
    fn received(&self, message: &[u8]);

    /// A message is about to be sent, without its prefix.
    fn sent(&self, message: &[u8]);

    /// The call ended. Said once, and nothing follows.
    fn ended(&self, outcome: Result<(), &Refusal>);
}

/// Looks away.
#[derive(Debug)]
pub struct NoObserver;

impl net::Observer for NoObserver {}
impl Observer for NoObserver {}

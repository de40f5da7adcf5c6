//! A collector that keeps what it is sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use net::{Listener, Protocols, Running, Socket, SocketOptions};
use prost::Message as _;
use rpc::{Limits, NoObserver, Router, Server};
use types::{Code, Refusal};

use holdfast_traces::otlp::{EXPORT_PATH, ExportRequest, ExportResponse, Span};

/// Listens on a port of loopback for as long as it lives.
#[derive(Debug)]
pub struct Collector {
    /// Where.
    pub address: SocketAddr,
    kept: Arc<Kept>,
    _running: Running,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    is_away: AtomicBool,
}

impl Collector {
    /// A collector that takes everything.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn start() -> Collector {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = Socket::tcp(any, SocketOptions::default()).expect("a free port");
        let address = socket.address().expect("it is bound");
        let kept = Arc::new(Kept::default());
        let mut router = Router::new();
        let keeping = kept.clone();
        router.unary(EXPORT_PATH, move |_call, message| {
            let answer = keeping.keep(&message);
            async move { answer }
        });
        let server = Server::new(Arc::new(router), Limits::default(), Arc::new(NoObserver));
        let listener = Listener::new(socket, Protocols::Grpc);
        let running = server.workers(1).serve(vec![listener]).expect("a thread");
        Collector { address, kept, _running: running }
    }

    /// Refuses everything for now, or takes it again.
    pub fn set_away(&self, is_away: bool) {
        self.kept.is_away.store(is_away, Ordering::Release);
    }

    /// All spans it has.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has so many spans, or until `patience` ends; those it has then.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Vec<Span> {
        let deadline = Instant::now() + patience;
        while self.spans().len() < count && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.spans()
    }
}

impl Kept {
    fn keep(&self, message: &[u8]) -> Result<ExportResponse, Refusal> {
        if self.is_away.load(Ordering::Acquire) {
            return Err(Refusal::Other(Code::Unavailable, "away".into()));
        }
        let request = ExportRequest::decode(message);
        let request = request.map_err(|error| Refusal::unknown(error.to_string()))?;
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
        spans.extend(parts.flat_map(|part| part.spans));
        Ok(ExportResponse::default())
    }
}

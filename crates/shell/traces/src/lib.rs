//! Traces: what became of single calls, told to a collector of OpenTelemetry by OTLP over gRPC.
//!
//! A call that is sampled makes the spans that etcd makes of it: one for the call, with the names and attributes of
//! `otelgrpc`, and one below it for what was asked, with keys and never values. Whether it is sampled is decided by
//! whoever called, where the call's `traceparent` says so, else by chance.
//!
//! Finished spans wait in a bounded queue for a thread of their own, which sends them in batches. A collector that is
//! slow or away costs spans, which are counted, and never a call.
//!
//! Always true: a call waits for nothing here; the queue is bounded in spans and bytes; after [`Traces::stop`] nothing
//! is sent.
//!
//! Not here: what a call is (see `rpc`), which flags switch this on (see `options`).

mod call;
mod context;
mod export;
mod inner;
pub mod otlp;
mod queue;
mod settings;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use metrics::Metrics;
use net::Remote;
use rpc::{Follow, Metadata, Method, Traced};
use tokio::sync::watch;

use call::Followed;
use context::Sampler;
use export::Exporter;
use queue::Queue;
pub use settings::{Event, Settings, Told};

/// Makes spans of calls and exports them.
pub struct Traces {
    follower: Follower,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Follows calls; clones share the queue of spans.
#[derive(Clone)]
pub struct Follower {
    sampler: Sampler,
    queue: Arc<Queue>,
}

impl Traces {
    /// Starts the thread that exports. Nothing is connected before the first span.
    ///
    /// # Errors
    /// When the system gives no thread, or no event queue.
    pub fn start(settings: &Settings, metrics: Arc<Metrics>, told: Told) -> io::Result<Traces> {
        let queue = Arc::new(Queue::new(metrics));
        let (stop, stopping) = watch::channel(false);
        let exporter = Exporter::new(settings, queue.clone(), told);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("traces".to_owned());
        let thread = thread.spawn(move || runtime.block_on(exporter.run(stopping)))?;
        let sampler = Sampler::new(settings.sampled_per_million);
        Ok(Traces { follower: Follower { sampler, queue }, stop, thread })
    }

    /// What calls are shown to.
    pub fn follower(&self) -> Follower {
        self.follower.clone()
    }

    /// Sends what waits, for three seconds at most, and ends the thread. What is left then
    /// is counted as dropped. Blocks.
    pub fn stop(self) {
        self.stop.send_replace(true);
        // A thread that ended early has nothing left to send.
        let _ = self.thread.join();
    }
}

impl Follow for Follower {
    /// Somebody who makes spans of the call, if it is sampled.
    fn follow(&self, method: &Method, metadata: &Metadata, remote: &Remote) -> Traced {
        let context = self.sampler.sampled(metadata)?;
        Some(Rc::new(Followed::new(context, method, remote, self.queue.clone())))
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

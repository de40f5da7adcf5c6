//! Threads and sockets: who accepts, who serves, and how it all ends.
//!
//! One thread accepts on every listener and hands each socket to the worker with the fewest
//! connections, by way of a thread that makes handshakes if it is to be encrypted. A worker is a thread
//! with its own runtime; nothing a connection does leaves it.
//!
//! Circle: a worker runs handshakes and connections, and both hand what they have taken to a worker.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::connection::{Accepted, Arrival, Origin, serve_connection};
use crate::connections::Connections;
use crate::handshake::{Unsecured, run_handshakes};
use crate::socket::{Acceptor, Handed, SocketFile, Taken};
use crate::{
    Http2, HttpHandler, Limits, Listener, NoObserver, Observer, Phase, Phases, RemoteAddress,
};

/// A server that is being put together.
pub struct Server {
    shared: Shared,
    phase: watch::Sender<Phase>,
    workers: usize,
    name: &'static str,
    connections: Connections,
}

/// Connections at once of a server that shares them with no other.
const CONNECTIONS_MAX: usize = 100_000;

/// Tasks run by a worker until it asks the system what has come: a task takes up to a millisecond (see
/// `rpc`), and whoever comes meanwhile should not wait for sixty of them.
const TASKS_PER_LOOK: u32 = 16;

/// Threads of a worker for what would keep it from its connections. Who may use them is bounded by turns
/// (`rpc::aside`) far below that.
const ASIDE_MAX: usize = 16;

/// How long the end of a worker waits for what is being done there: nobody is left to be answered.
const ASIDE_LEFT: Duration = Duration::from_secs(1);

/// What every worker and connection knows.
#[derive(Clone)]
pub(crate) struct Shared {
    pub limits: Arc<Limits>,
    pub observer: Arc<dyn Observer>,
    pub http: Option<Arc<dyn HttpHandler>>,
    pub http2: Option<Arc<dyn Http2>>,
}

impl Server {
    /// A server that answers nobody yet: whoever speaks what nobody was given for is hung up on.
    pub fn new(limits: Limits) -> Server {
        let shared = Shared {
            limits: Arc::new(limits),
            observer: Arc::new(NoObserver),
            http: None,
            http2: None,
        };
        let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let phase = watch::channel(Phase::Open).0;
        let connections = Connections::new(CONNECTIONS_MAX);
        Server { shared, phase, workers, name: "net", connections }
    }

    /// How far its end has come, for whoever works on its threads.
    pub fn phases(&self) -> Phases {
        Phases(self.phase.subscribe())
    }

    /// Who serves connections that speak HTTP/2.
    #[must_use]
    pub fn http2(mut self, http2: Arc<dyn Http2>) -> Server {
        self.shared.http2 = Some(http2);
        self
    }

    /// Who answers HTTP/1.1.
    #[must_use]
    pub fn http(mut self, handler: Arc<dyn HttpHandler>) -> Server {
        self.shared.http = Some(handler);
        self
    }

    /// Who is told about every connection.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Server {
        self.shared.observer = observer;
        self
    }

    /// Bounds its connections together with those of others.
    #[must_use]
    pub fn connections(mut self, connections: Connections) -> Server {
        self.connections = connections;
        self
    }

    /// What the threads' names begin with.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Server {
        self.name = name;
        self
    }

    /// How many threads serve connections. By default one per core.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Server {
        assert!(workers > 0);
        self.workers = workers;
        self
    }

    /// Starts the threads and returns at once.
    ///
    /// # Errors
    /// When the system gives no thread, or no event queue.
    pub fn serve(self, listeners: Vec<Listener>) -> io::Result<Running> {
        let phase = self.phase;
        let mut workers = Vec::with_capacity(self.workers);
        let mut threads = Vec::with_capacity(self.workers + 1);
        for number in 0..self.workers {
            let (worker, inbox) = Worker::new();
            workers.push(worker.clone());
            let shared = self.shared.clone();
            let phases = Phases(phase.subscribe());
            threads.push(spawn(format!("{}-{number}", self.name), move || {
                run_worker(shared, inbox, worker.connections, phases)
            })?);
        }
        let mut shakers = Vec::new();
        if listeners.iter().any(|listener| listener.tls.is_some()) {
            // Half of the cores may be busy with newcomers.
            for number in 0..workers.len().div_ceil(2) {
                let (sender, inbox) = mpsc::unbounded_channel();
                shakers.push(sender);
                let (shared, phases) = (self.shared.clone(), Phases(phase.subscribe()));
                threads.push(spawn(format!("{}-tls-{number}", self.name), move || {
                    run_handshakes(shared, inbox, phases)
                })?);
            }
        }
        let phases = Phases(phase.subscribe());
        let (turn, connections) = (Cell::new(0), self.connections);
        let takers = Takers { workers, shakers, turn, shared: self.shared, connections };
        threads.push(spawn(format!("{}-accept", self.name), move || {
            accept_all(listeners, takers, phases)
        })?);
        Ok(Running { phase, threads })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// A serving server. Dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Stops accepting and tells every client to go away; streams end with `etcdserver: server
    /// stopped`, unary calls may finish. Returns at once.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let earlier = *phase < Phase::Draining;
            *phase = Phase::Draining.max(*phase);
            earlier
        });
    }

    /// Drains, waits until every connection has ended but no longer than `grace`, cuts what is
    /// left and joins the threads. Blocks: not to be called from a runtime.
    ///
    /// # Errors
    /// The first reason for which a thread ended early.
    pub fn stop(mut self, grace: Duration) -> io::Result<()> {
        self.drain();
        let deadline = std::time::Instant::now() + grace;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.phase.send_replace(Phase::Closed);
        let mut outcome = Ok(());
        for thread in self.threads.drain(..) {
            let ended =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Closed);
    }
}

/// The acceptor's view of a worker.
#[derive(Clone)]
struct Worker {
    inbox: mpsc::UnboundedSender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl Worker {
    fn new() -> (Worker, mpsc::UnboundedReceiver<Accepted>) {
        let (inbox, receiver) = mpsc::unbounded_channel();
        (Worker { inbox, connections: Arc::new(AtomicUsize::new(0)) }, receiver)
    }
}

fn spawn(
    name: String,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(name).spawn(body)
}

fn run_worker(
    shared: Shared,
    mut inbox: mpsc::UnboundedReceiver<Accepted>,
    connections: Arc<AtomicUsize>,
    mut phases: Phases,
) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(TASKS_PER_LOOK).max_blocking_threads(ASIDE_MAX);
    let runtime = builder.build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        // The inbox ends when the acceptor has stopped.
        while let Some(accepted) = inbox.recv().await {
            let (shared, phases) = (shared.clone(), phases.clone());
            tokio::task::spawn_local(serve_connection(accepted, shared, phases));
        }
        loop {
            if connections.load(Ordering::Acquire) == 0 {
                break;
            }
            let cut = phases.reached(Phase::Closed);
            // Whoever counts down does not wake us; an end may take this long to be noticed.
            if tokio::time::timeout(Duration::from_millis(5), cut).await.is_ok() {
                break;
            }
        }
    });
    runtime.shutdown_timeout(ASIDE_LEFT);
    Ok(())
}

/// Counts a connection of a worker, from when it was accepted until it ends, however it ends.
pub(crate) struct OfWorker(Arc<AtomicUsize>);

impl OfWorker {
    fn new(connections: &Arc<AtomicUsize>) -> OfWorker {
        connections.fetch_add(1, Ordering::AcqRel);
        OfWorker(connections.clone())
    }
}

impl Drop for OfWorker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// To whom the acceptor gives what it accepts.
struct Takers {
    workers: Vec<Worker>,
    /// Threads that make handshakes; none where no listener encrypts.
    shakers: Vec<mpsc::UnboundedSender<Unsecured>>,
    /// Whose turn the next handshake is.
    turn: Cell<usize>,
    shared: Shared,
    /// All that are open, of all servers that share them.
    connections: Connections,
}

impl Takers {
    /// Gives a connection to the worker with the fewest, by way of a handshake if it is to be encrypted.
    /// `false` when whoever should take it has ended.
    fn give(&self, listener: &Listener, handed: Handed, address: RemoteAddress) -> bool {
        let reached = handed.local_address();
        let socket = Taken { handed, counted: self.connections.count() };
        let idlest = self.workers.iter().min_by_key(|w| w.connections.load(Ordering::Acquire));
        let worker = idlest.expect("a server has at least one worker");
        let from = Origin {
            address,
            reached,
            protocols: listener.protocols,
            deadline: Instant::now() + self.shared.limits.handshake_timeout,
            counted: OfWorker::new(&worker.connections),
        };
        let Some(tls) = listener.tls.clone() else {
            return worker.inbox.send(Accepted { arrival: Arrival::Plain(socket), from }).is_ok();
        };
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let shaker = &self.shakers[turn % self.shakers.len()];
        shaker.send(Unsecured { socket, tls, from, worker: worker.inbox.clone() }).is_ok()
    }
}

fn accept_all(listeners: Vec<Listener>, takers: Takers, mut phases: Phases) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let takers = Rc::new(takers);
        for listener in listeners {
            tokio::task::spawn_local(accept_on(listener, takers.clone()));
        }
        phases.reached(Phase::Draining).await;
    });
    Ok(())
}

/// Whether the system has no descriptor or no memory left for a connection.
fn is_scarcity(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|code| scarce.iter().any(|one| one.raw_os_error() == code))
}

async fn accept_on(listener: Listener, takers: Rc<Takers>) {
    let _left_behind = SocketFile::of(&listener.socket);
    let Ok(acceptor) = Acceptor::new(&listener.socket) else { return };
    loop {
        takers.connections.room().await;
        let (socket, address) = match acceptor.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if is_scarcity(&error) {
                    // Others must end before anybody can begin.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // Anything else is one client's own bad luck.
                continue;
            }
        };
        if !takers.give(&listener, socket, address) {
            return;
        }
    }
}

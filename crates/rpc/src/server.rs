//! Threads and sockets: who accepts, who serves, and how it all ends.
//!
//! One thread accepts on every listener and hands each socket to the worker with the fewest
//! connections. A worker is a thread with its own runtime; nothing a connection does leaves it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use crate::connection::{Accepted, serve_connection};
use crate::gate::Total;
use crate::listen::{Listener, Socket, Stream};
use crate::{Caller, HttpHandler, Limits, NoObserver, Observer, PeerAddress, Router};

/// A server that is being put together.
pub struct Server {
    shared: Shared,
    phase: watch::Sender<Phase>,
    workers: usize,
}

/// What every worker and connection knows.
#[derive(Clone)]
pub(crate) struct Shared {
    pub router: Arc<Router>,
    pub limits: Arc<Limits>,
    pub observer: Arc<dyn Observer>,
    pub http: Option<Arc<dyn HttpHandler>>,
    /// Answers that are made or wait for their clients.
    pub unsent: Arc<Total>,
    /// Requests that are not complete.
    pub partial: Arc<Total>,
}

/// How far the end has come. Later phases compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// No new connections and calls; streams end, unary calls may finish.
    Draining,
    /// Connections are cut.
    Closed,
}

/// Waits until the end has come so far. A server that was dropped has ended.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| wanted <= *phase).await;
}

impl Server {
    /// A server for these methods. Without [`Server::http`], HTTP/1.1 connections are closed.
    pub fn new(router: Arc<Router>, limits: Limits) -> Server {
        let shared = Shared {
            router,
            unsent: Total::new(limits.unsent_replies_total_bytes_max),
            partial: Total::new(limits.partial_messages_total_bytes_max),
            limits: Arc::new(limits),
            observer: Arc::new(NoObserver),
            http: None,
        };
        let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Server { shared, phase: watch::channel(Phase::Open).0, workers }
    }

    /// Makes calls from inside the process, as the JSON gateway does. Ask after
    /// [`Server::observer`], which it tells about its calls.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.shared, self.phase.subscribe())
    }

    /// Who answers HTTP/1.1.
    #[must_use]
    pub fn http(mut self, handler: Arc<dyn HttpHandler>) -> Server {
        self.shared.http = Some(handler);
        self
    }

    /// Who is told about every call.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Server {
        self.shared.observer = observer;
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
            let phase = phase.subscribe();
            threads.push(spawn(format!("rpc-{number}"), move || {
                run_worker(shared, inbox, worker.connections, phase)
            })?);
        }
        let phase_seen = phase.subscribe();
        let connections_max = self.shared.limits.connections_max;
        threads.push(spawn("rpc-accept".into(), move || {
            accept_all(listeners, workers, connections_max, phase_seen)
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
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let closing = phase.clone();
    runtime.block_on(async move {
        // The inbox ends when the acceptor has stopped.
        while let Some(accepted) = inbox.recv().await {
            let (shared, phase) = (shared.clone(), closing.clone());
            let counted = Counted(connections.clone());
            tokio::task::spawn_local(async move {
                serve_connection(accepted, shared, phase).await;
                drop(counted);
            });
        }
        loop {
            if connections.load(Ordering::Acquire) == 0 {
                break;
            }
            let cut = phase.wait_for(|phase| *phase == Phase::Closed);
            // Whoever counts down does not wake us; an end may take this long to be noticed.
            if tokio::time::timeout(Duration::from_millis(5), cut).await.is_ok() {
                break;
            }
        }
    });
    Ok(())
}

/// Counts a connection down when it ends, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn accept_all(
    listeners: Vec<Listener>,
    workers: Vec<Worker>,
    connections_max: usize,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let workers: Rc<[Worker]> = workers.into();
        for listener in listeners {
            let workers = workers.clone();
            tokio::task::spawn_local(accept_on(listener, workers, connections_max));
        }
        // An error means that the server was dropped, which is an end as well.
        let _ = phase.wait_for(|phase| *phase > Phase::Open).await;
    });
    Ok(())
}

async fn accept_on(listener: Listener, workers: Rc<[Worker]>, connections_max: usize) {
    let _left_behind = SocketFile::of(&listener.socket);
    let Ok(acceptor) = Acceptor::new(&listener.socket) else { return };
    loop {
        let total: usize = workers.iter().map(|w| w.connections.load(Ordering::Acquire)).sum();
        if total >= connections_max {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let Ok((socket, address)) = acceptor.accept().await else {
            // Out of descriptors, most likely: others must end before anybody can begin.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let idlest = workers.iter().min_by_key(|w| w.connections.load(Ordering::Acquire));
        let worker = idlest.expect("a server has at least one worker");
        worker.connections.fetch_add(1, Ordering::AcqRel);
        let accepted =
            Accepted { socket, address, protocols: listener.protocols, tls: listener.tls.clone() };
        if worker.inbox.send(accepted).is_err() {
            return;
        }
    }
}

/// The file of a unix socket, removed when nobody accepts there any more.
struct SocketFile(Option<PathBuf>);

impl SocketFile {
    fn of(socket: &Socket) -> SocketFile {
        let Socket::Unix(listener) = socket else { return SocketFile(None) };
        let address = listener.local_addr().ok();
        SocketFile(address.and_then(|address| address.as_pathname().map(PathBuf::from)))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // If it is gone already, somebody else removed it.
            let _ = rustix::fs::unlink(path);
        }
    }
}

/// A listening socket in the acceptor's runtime.
enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// An accepted socket that belongs to no runtime yet.
pub(crate) enum Handed {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Acceptor {
    fn new(socket: &Socket) -> io::Result<Acceptor> {
        Ok(match socket {
            Socket::Tcp(listener) => {
                Acceptor::Tcp(tokio::net::TcpListener::from_std(listener.try_clone()?)?)
            }
            Socket::Unix(listener) => {
                Acceptor::Unix(tokio::net::UnixListener::from_std(listener.try_clone()?)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<(Handed, PeerAddress)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Handed::Tcp(stream.into_std()?), PeerAddress::Tcp(address)))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Handed::Unix(stream.into_std()?), PeerAddress::Unix))
            }
        }
    }
}

impl Handed {
    /// Joins the runtime of the thread it was handed to.
    pub fn adopt(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Handed::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Handed::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

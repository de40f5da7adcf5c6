//! A member's side of all its peers: one thread, from its start to its end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics::Metrics;
use net::Tls;
use proto::raftpb::Message;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle as TaskHandle;

use super::event::Report;
use super::link::{Pool, SILENCE_MAX};
use super::peers::Peer;
use super::pipeline::{WORKERS, post_messages};
use super::probe::probe;
use super::reader::{Links, read_streams};
use super::serve::accept;
use super::shared::{Command, Core, Outer};
use super::snapshot_out::{self, SnapshotBody};
use super::sockets::{Accepting, Connector, Listener};
use super::spool::Spool;
use super::traits::{PeerFacts, Raft};
use crate::rules::{QueueLimits, StreamKind, Version};

/// Threads for names to be looked up, where a name server does not answer.
const LOOKUPS_MAX: usize = 4;

/// Who this member is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub member: u64,
    /// Its cluster's id.
    pub cluster: u64,
    /// The release it announces: one whose log entries it can apply, because the others go by it.
    pub version: Version,
    /// Where others reach it, as advertised.
    pub peer_urls: Vec<String>,
}

/// What is bounded.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What waits for one stream.
    pub stream_queue: QueueLimits,
    /// What waits to be posted to one peer.
    pub pipeline_queue: QueueLimits,
    /// Connections accepted at once.
    pub connections_max: usize,
    /// Bytes of messages that are not complete, of all streams and POSTs.
    pub partial_bytes_max: usize,
    /// Snapshots sent at once.
    pub snapshots_max: usize,
    /// How fast one snapshot's database is read.
    pub snapshot_bytes_per_second: u64,
    /// How long a connection may bring nothing.
    pub silence_read_max: Duration,
    /// How long a connection may take nothing.
    pub silence_write_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            stream_queue: QueueLimits { messages_max: 4096, bytes_max: 64 << 20 },
            pipeline_queue: QueueLimits { messages_max: 64, bytes_max: 16 << 20 },
            connections_max: 1024,
            partial_bytes_max: 1 << 30,
            snapshots_max: 2,
            snapshot_bytes_per_second: 128 << 20,
            silence_read_max: SILENCE_MAX,
            silence_write_max: SILENCE_MAX,
        }
    }
}

/// What a transport is made of.
pub struct Config {
    /// Who this member is.
    pub identity: Identity,
    /// How long the cluster waits for a leader; a second more is the limit of a dial.
    pub election_timeout: Duration,
    /// Where peers are accepted.
    pub listeners: Vec<Listener>,
    /// What encrypts dialled connections.
    pub connector: Option<Arc<dyn Connector>>,
    /// Where received snapshots go.
    pub spool: Arc<dyn Spool>,
    /// Who is told what an operator should read.
    pub report: Arc<dyn Report>,
    /// Who counts.
    pub metrics: Arc<Metrics>,
    /// Bounds.
    pub limits: Limits,
}

/// The peers of a running member. Dropped, it ends.
pub struct Transport {
    core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Transport {
    /// Starts the thread `peer`, which listens at once. There are no peers yet.
    ///
    /// # Errors
    /// When the system gives no thread or event queue, or a socket is none.
    pub fn start(
        config: Config,
        raft: Arc<dyn Raft>,
        facts: Arc<dyn PeerFacts>,
    ) -> io::Result<Transport> {
        let Config {
            identity,
            election_timeout,
            listeners,
            connector,
            spool,
            report,
            metrics,
            limits,
        } = config;
        let (commands, inbox) = mpsc::unbounded_channel();
        let outer = Outer { raft, facts, report, metrics, connector, spool };
        let core = Arc::new(Core::new(identity, limits, election_timeout, outer, commands));
        let addresses = listeners.iter().filter_map(|listener| listener.socket.address());
        let addresses = addresses.collect();
        let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
        let on_thread = core.clone();
        let thread = std::thread::Builder::new().name("peer".into());
        let thread = thread.spawn(move || run(on_thread, listeners, inbox, &begun))?;
        let begun = has_begun.recv();
        begun.map_err(|_| io::Error::other("the thread of the peers has ended"))??;
        Ok(Transport { core, addresses, thread: Some(thread) })
    }

    /// Sends messages, each to its `to`. Never waits: what finds no room is dropped, and raft told.
    pub fn send(&self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.core.send(message));
    }

    /// Sends a MsgSnap and the database behind it. Raft is told what became of it.
    pub fn send_snapshot(&self, message: Message, body: Box<dyn SnapshotBody>) {
        self.core.command(Command::Snapshot(Box::new(message), body));
    }

    /// Somebody became a peer.
    pub fn add_peer(&self, id: u64, urls: &[String]) {
        self.core.add(id, urls, false);
    }

    /// A peer is reached elsewhere from now on.
    pub fn update_peer(&self, id: u64, urls: &[String]) {
        if let Some(peer) = self.core.peer(id) {
            *peer.urls() = crate::rules::Urls::new(urls);
        }
    }

    /// Somebody is no peer any more: its streams end, and what waits for it is dropped.
    pub fn remove_peer(&self, id: u64) {
        self.core.remove(id);
    }

    /// Somebody may have to be answered before the log makes it a peer.
    pub fn add_remote(&self, id: u64, urls: &[String]) {
        self.core.add(id, urls, true);
    }

    /// Since when the peer has been heard of without a break.
    pub fn active_since(&self, id: u64) -> Option<Instant> {
        self.core.peer(id).and_then(|peer| peer.activity().since())
    }

    /// Where it listens, for listeners on port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends all connections and the thread. Blocks.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.core.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(
    core: Arc<Core>,
    listeners: Vec<Listener>,
    inbox: mpsc::UnboundedReceiver<Command>,
    begun: &std::sync::mpsc::SyncSender<io::Result<()>>,
) {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(LOOKUPS_MAX);
    let runtime = match builder.build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = begun.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let listening: io::Result<Vec<_>> = listeners.into_iter().map(listen).collect();
        match listening {
            Err(error) => {
                let _ = begun.send(Err(error));
                return;
            }
            Ok(listening) => {
                let open = Rc::new(());
                for (socket, tls) in listening {
                    tokio::task::spawn_local(accept(core.clone(), socket, tls, open.clone()));
                }
                let _ = begun.send(Ok(()));
            }
        }
        obey(core, inbox).await;
    });
    // A name server that does not answer holds up no end.
    runtime.shutdown_background();
}

type Accepts = (Accepting, Option<Arc<dyn Tls>>);

fn listen(listener: Listener) -> io::Result<Accepts> {
    Ok((Accepting::new(listener.socket)?, listener.tls))
}

/// The tasks of one peer.
type Tasks = Vec<TaskHandle<()>>;

async fn obey(core: Arc<Core>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let mut tasks: BTreeMap<u64, Tasks> = BTreeMap::new();
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Begin(peer) => {
                tasks.insert(peer.id, begin(&core, &peer));
            }
            Command::End(id) => {
                tasks.remove(&id).unwrap_or_default().iter().for_each(TaskHandle::abort);
            }
            Command::Lost(peer) => {
                peer.loss_reported();
                core.raft.unreachable(peer.id);
            }
            Command::Snapshot(message, body) => {
                snapshot(&core, &mut tasks, *message, body);
            }
            Command::Stop => return,
        }
    }
}

fn begin(core: &Arc<Core>, peer: &Arc<Peer>) -> Tasks {
    let pool = Pool::new(core, peer);
    let mut tasks = Tasks::new();
    for _ in 0..WORKERS {
        let posting = post_messages(core.clone(), peer.clone(), pool.clone());
        tasks.push(tokio::task::spawn_local(posting));
    }
    if peer.remote {
        return tasks;
    }
    let links = Rc::new(Links::default());
    for kind in [StreamKind::MsgApp, StreamKind::Message] {
        let reading = read_streams(core.clone(), peer.clone(), kind, links.clone());
        tasks.push(tokio::task::spawn_local(reading));
    }
    tasks.push(tokio::task::spawn_local(probe(core.clone(), peer.clone(), pool)));
    tasks
}

/// Begins to send a snapshot, unless enough are under way.
fn snapshot(
    core: &Arc<Core>,
    tasks: &mut BTreeMap<u64, Tasks>,
    message: Message,
    body: Box<dyn SnapshotBody>,
) {
    let to = message.to();
    let room = Arc::strong_count(&core.snapshots) <= core.limits.snapshots_max;
    match (core.peer(to), tasks.get_mut(&to)) {
        (Some(peer), Some(tasks)) if room => {
            tasks.retain(|task| !task.is_finished());
            let (place, core) = (core.snapshots.clone(), core.clone());
            let sending = async move {
                let _place = place;
                snapshot_out::send(core, peer, message, body).await;
            };
            tasks.push(tokio::task::spawn_local(sending));
        }
        _ => core.raft.snapshot_sent(to, false),
    }
}

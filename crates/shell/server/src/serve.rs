//! Opens the ports, starts the member, and takes both down again.
//!
//! Circle: `cluster::repair` is a way to begin to serve, and ends with the errors of serving.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gateway::Gateway;
use member::Begin;
use member::auto_compaction::Retention;
use metrics::Metrics;
use net::{Connections, Descriptors, HttpHandler, Listener, Protocols, Socket, SocketOptions, Tls};
use node::{BootError, Node, Opened, Report};
use options::{AutoCompaction, Config, Url};
use rpc::{Follow, Limits, Router};
use tokio::sync::watch;
use vfs::{Disk, OsDisk};

use crate::cluster::{
    self, BeginError, CompareError, Comparing, Facts, Network, Opening, RepairError,
};
use crate::desk::Desk;
use crate::duties::{self, Duties};
use crate::encryption::{Connector, Encryption, EncryptionError, Endpoint};
use crate::gatekeeper::Gatekeeper;
use crate::http::{Serves, Settings, Site, V2};
use crate::login::{Passwords, Provider, Told};
use crate::observer::{Counting, Refusals};
use crate::services;

/// The release whose behaviour this server shows.
pub const SERVER_VERSION: &str = "3.7.1";

/// The cluster version that release stands for.
const CLUSTER_VERSION: types::Version = types::Version::OURS;

/// Why a member could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address could not be listened on.
    #[error("listen on {url} failed")]
    Listen {
        /// The URL as configured.
        url: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What connections are to be encrypted with cannot be used.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The member cannot begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Its store cannot be read, and nobody gives it another.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// It stores something else than other members.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The data directory could not be served.
    #[error("starting the member failed")]
    Boot(#[from] BootError),
    /// Tokens cannot be made as configured (`--auth-token`).
    #[error("{0}")]
    Login(String),
    /// The system gave no thread.
    #[error("starting a thread failed")]
    Thread(#[source] io::Error),
}

/// A member that serves. Stop it with [`Serving::stop`]; dropped, it is cut off.
pub struct Serving {
    member: node::Running,
    desk: Desk,
    network: Arc<Network>,
    ports: Vec<net::Running>,
    /// What clients will be served by, once the member is ready.
    clients: Option<(rpc::Server, Vec<Listener>)>,
    duties: JoinHandle<()>,
    stop_duties: watch::Sender<bool>,
    published: watch::Receiver<bool>,
    grace: Duration,
    room: Room,
}

/// How much a member may have open.
#[derive(Clone, Debug)]
pub struct Room {
    /// Files and sockets.
    pub descriptors: Descriptors,
    /// Of these, connections over all ports.
    pub connections: Connections,
}

/// Connections at once over all ports, if the system has descriptors for so many.
const CONNECTIONS_MAX: usize = 100_000;

/// Opens the listeners, then the member in its directory. Metrics and health are served from then on,
/// clients after [`Serving::wait_until_ready`]: before that the log is still being replayed, and a read
/// could miss what was acknowledged. Calls are shown to `follow`, where somebody wants to follow some.
///
/// # Errors
/// [`ServeError`].
pub fn start(
    config: &Config,
    metrics: Arc<Metrics>,
    report: Arc<dyn Report>,
    follow: Option<Arc<dyn Follow>>,
) -> Result<Serving, ServeError> {
    let descriptors = Descriptors::raise();
    let connections = Connections::new(descriptors.for_connections(CONNECTIONS_MAX));
    let encryption = Encryption::new(config, &report)?;
    let mut listeners = Listeners::open(config, &encryption)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let connector = Arc::new(Connector(encryption.dialer.clone()));
    let network = Network::new(connector.clone(), config.raft.election);
    let begin = match has_log(&*disk, config) && !config.bootstrap.force_new {
        true => Begin::Restart,
        false => cluster::begin(config, &network.asker, CLUSTER_VERSION)?,
    };
    let node_config = node_config(config, begin);
    let restarts = matches!(node_config.begin, Begin::Restart);
    let opening = |listeners: &mut Listeners| Opening {
        listeners: listeners.peer.drain(..).map(Place::for_peers).collect(),
        connector: connector.clone(),
        snap_dir: config.data_dir.join("member").join("snap"),
        disk: disk.clone(),
        report: report.clone(),
        metrics: metrics.clone(),
        limits: peer_limits(config),
    };
    let open = || node::open(node_config.clone(), &disk, metrics.clone(), report.clone());
    let opened = match restarts && config.storage.repair_from_peers {
        false => open()?,
        true => repaired(open, |why| {
            let opening = opening(&mut listeners);
            cluster::repair(&node_config, &others(config), &network, opening, why)?;
            listeners.peer = Listeners::open_for_peers(config, &encryption)?;
            Ok(())
        })?,
    };
    if restarts && config.gates.is_on("InitialCorruptCheck") {
        cluster::check_first(&opened, &network.asker, &*report)?;
    }
    let member = opened.run(network.clone());
    let node = member.node().clone();
    describe(&node, config, &metrics);
    let desk = Desk::new(node.clone(), Arc::new(gatekeeper(config, &report)?), network.clone());
    let opening = opening(&mut listeners);
    network.open(&node, Facts::new(desk.clone()), opening).map_err(ServeError::Thread)?;
    let router = Arc::new(services::router(&desk));
    let counting = Counting::new(metrics.clone(), config.timers.warn_unary, report.clone(), follow);
    let (ports, clients) =
        listeners.serve(config, &desk, &router, &metrics, counting, &connections)?;
    let (stop_duties, stop) = watch::channel(false);
    let (published_sender, published) = watch::channel(false);
    let duties = duties_of(config, desk.clone(), report, published_sender);
    let duties = duties::start(duties, stop).map_err(ServeError::Thread)?;
    let grace = config.limits.request_timeout;
    let room = Room { descriptors, connections };
    Ok(Serving {
        member,
        desk,
        network,
        ports,
        clients,
        duties,
        stop_duties,
        published,
        grace,
        room,
    })
}

fn duties_of(
    config: &Config,
    desk: Desk,
    report: Arc<dyn Report>,
    published: watch::Sender<bool>,
) -> Duties {
    Duties {
        desk: desk.clone(),
        report: report.clone(),
        retention: retention(config),
        comparing: comparing(config, desk, report),
        downgrade_check: config.timers.downgrade_check,
        hastens: config.raft.initial_election_tick_advance,
        published,
    }
}

fn peer_limits(config: &Config) -> peer::Limits {
    peer::Limits {
        silence_read_max: config.timers.peer_read,
        silence_write_max: config.timers.peer_write,
        ..peer::Limits::default()
    }
}

/// Opens a member, and repairs it where its store cannot be read.
fn repaired(
    open: impl Fn() -> Result<Opened, BootError>,
    repair: impl FnOnce(&str) -> Result<(), ServeError>,
) -> Result<Opened, ServeError> {
    match unreadable(open())? {
        Ok(opened) => Ok(opened),
        Err(why) => {
            repair(&why)?;
            Ok(open()?)
        }
    }
}

/// What of a member's store cannot be read, if that is all that is wrong with it.
fn unreadable(opened: Result<Opened, BootError>) -> Result<Result<Opened, String>, BootError> {
    match opened {
        Ok(opened) => match cluster::read_all(&opened) {
            Ok(()) => Ok(Ok(opened)),
            Err(why) => Ok(Err(why)),
        },
        Err(error) if error.is_of_the_store() => {
            let mut why = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                why = format!("{why}: {deeper}");
                cause = deeper.source();
            }
            Ok(Err(why))
        }
        Err(error) => Err(error),
    }
}

/// The peer URLs of all others that `--initial-cluster` names.
fn others(config: &Config) -> Vec<String> {
    let members = config.initial_cluster().unwrap_or_default();
    let others = members.into_iter().filter(|(name, _)| *name != config.name);
    others.flat_map(|(_, urls)| urls).map(|url| url.to_string()).collect()
}

fn retention(config: &Config) -> Option<Retention> {
    match config.auto_compaction {
        AutoCompaction::Off => None,
        AutoCompaction::Periodic(period) => Some(Retention::Periodic { period_ms: millis(period) }),
        AutoCompaction::Revisions(count) => Some(Retention::Revisions { count }),
    }
}

fn comparing(config: &Config, desk: Desk, report: Arc<dyn Report>) -> Comparing {
    let compactions = config.gates.is_on("CompactHashCheck");
    Comparing {
        desk,
        report,
        newest_every: config.timers.corrupt_check,
        compactions_every: compactions.then_some(config.timers.compact_hash_check),
    }
}

/// Reads what logins need before anything is served.
fn gatekeeper(config: &Config, report: &Arc<dyn Report>) -> Result<Gatekeeper, ServeError> {
    let told = Told(report.clone());
    Ok(Gatekeeper {
        provider: Provider::of(&config.auth.tokens, &told).map_err(ServeError::Login)?,
        passwords: Passwords::start(config.auth.bcrypt_cost).map_err(ServeError::Thread)?,
        certificates_count: config.tls.client.client_cert_auth,
        told,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Threads that serve clients: one per core, and no more than the member has lanes for.
fn serving_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(node::SERVING_THREADS_MAX)
}

/// Whether the member has begun before.
fn has_log(disk: &dyn Disk, config: &Config) -> bool {
    let usual = || config.data_dir.join("member").join("wal");
    let files = disk.list(&config.wal_dir.clone().unwrap_or_else(usual)).unwrap_or_default();
    files.iter().any(|name| name.ends_with(".wal"))
}

fn node_config(config: &Config, begin: Begin) -> node::Config {
    let urls = |urls: &[Url]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
    node::Config {
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        wal_dir: config.wal_dir.clone(),
        takeover_refused: config.storage.takeover_refused,
        peer_urls: urls(&config.advertise_peer_urls),
        client_urls: urls(&config.advertise_client_urls),
        begin,
        serving_threads: serving_threads(),
        heartbeat: config.raft.heartbeat,
        election_ticks: config.raft.election_ticks(),
        pre_vote: config.raft.pre_vote,
        snapshot_count: config.raft.snapshot_count,
        catchup_entries: config.raft.snapshot_catchup_entries,
        wals_max: config.storage.wals_max.unwrap_or(0),
        learners_max: config.raft.learners_max,
        strict_reconfig_check: config.raft.strict_reconfig_check,
        lease_checkpoints: config.gates.is_on("LeaseCheckpoint"),
        persist_lease_checkpoints: config.gates.is_on("LeaseCheckpointPersist"),
        hashed_bytes_max: match config.gates.is_on("CompactHashCheck") {
            true => u64::MAX,
            false => node::HASHED_BYTES_MAX,
        },
        watch_progress: config.timers.watch_progress,
        token_ttl: config.auth.token_ttl,
        unsafe_no_fsync: config.storage.unsafe_no_fsync,
        server_version: SERVER_VERSION,
        cluster_version: CLUSTER_VERSION,
        limits: config.limits.clone(),
    }
}

/// Figures that never change while the member runs.
fn describe(node: &Node, config: &Config, metrics: &Metrics) {
    let server = &metrics.server;
    server.id.with(&[&format!("{:x}", node.member())]).set(1);
    server.version.with(&[SERVER_VERSION]).set(1);
    server.range_duration.with(&["true"]);
    let id = format!("{:x}", node.member());
    metrics.network.known_peers.with(&[&id, &id]).set(1);
    server.go_version.with(&["none (holdfast is written in Rust)"]).set(1);
    for gate in options::GATES {
        let on = i64::from(config.gates.is_on(gate.name));
        server.feature_enabled.with(&[gate.name, gate.stage.name()]).set(on);
    }
}

/// Everything listened on, opened before the member so that a taken port costs nothing.
struct Listeners {
    client: Vec<Place>,
    client_http: Vec<Place>,
    metrics: Vec<Place>,
    peer: Vec<Place>,
}

/// A socket, and what it is encrypted with: of the URLs of one flag some may ask for TLS and some not.
struct Place {
    tls: Option<Arc<dyn Tls>>,
    socket: Socket,
}

impl Place {
    fn for_peers(self) -> peer::Listener {
        peer::Listener { socket: self.socket, tls: self.tls }
    }

    fn listener(self, protocols: Protocols) -> Listener {
        let listener = Listener::new(self.socket, protocols);
        match self.tls {
            Some(tls) => listener.tls(tls),
            None => listener,
        }
    }
}

impl Listeners {
    fn open_for_peers(config: &Config, encryption: &Encryption) -> Result<Vec<Place>, ServeError> {
        let options = SocketOptions { reuse_port: config.listen.reuse_port };
        let place = |url: &Url| {
            let tls = encryption.of(Endpoint::Peer, url)?;
            match open(url, options) {
                Ok(socket) => Ok(Place { tls, socket }),
                Err(source) => Err(ServeError::Listen { url: url.to_string(), source }),
            }
        };
        config.listen.peer.iter().map(place).collect()
    }

    fn open(config: &Config, encryption: &Encryption) -> Result<Listeners, ServeError> {
        let of_metrics = |fault| match fault {
            ServeError::Encryption(EncryptionError::NoClientFiles(_)) => {
                EncryptionError::NoMetricsFiles.into()
            }
            other => other,
        };
        let options = SocketOptions { reuse_port: config.listen.reuse_port };
        let open = |endpoint: Endpoint, urls: &[Url]| -> Result<Vec<Place>, ServeError> {
            let place = |url: &Url| {
                let tls = encryption.of(endpoint, url)?;
                match open(url, options) {
                    Ok(socket) => Ok(Place { tls, socket }),
                    Err(source) => Err(ServeError::Listen { url: url.to_string(), source }),
                }
            };
            urls.iter().map(place).collect()
        };
        Ok(Listeners {
            peer: Listeners::open_for_peers(config, encryption)?,
            client: open(Endpoint::Client, &config.listen.client)?,
            client_http: open(Endpoint::Client, &config.listen.client_http)?,
            // As etcd: with the certificates that clients see.
            metrics: open(Endpoint::Client, &config.listen.metrics).map_err(of_metrics)?,
        })
    }

    fn serve(
        self,
        config: &Config,
        desk: &Desk,
        router: &Arc<Router>,
        metrics: &Arc<Metrics>,
        counting: Counting,
        connections: &Connections,
    ) -> Result<Ports, ServeError> {
        let (limits, node) = (rpc_limits(config), desk.node());
        let v2 = config.http.v2.then(|| Arc::new(V2::new(desk.clone())));
        let site = |serves: Serves, gateway: Option<Gateway>| -> Arc<dyn HttpHandler> {
            Arc::new(Site(Arc::new(Settings {
                node: node.clone(),
                metrics: metrics.clone(),
                connections: connections.clone(),
                serves,
                origins: config.http.origins.clone(),
                hosts: config.http.hosts.clone(),
                certificates_count: config.tls.client.client_cert_auth,
                gateway,
                v2: v2.clone().filter(|_| serves == Serves::Clients),
            })))
        };
        let both = if self.client_http.is_empty() { Protocols::Both } else { Protocols::Grpc };
        let http = |places: Vec<Place>| places.into_iter().map(|p| p.listener(Protocols::Http));
        let clients = self.client.into_iter().map(|place| place.listener(both));
        let clients: Vec<Listener> = clients.chain(http(self.client_http)).collect();
        let refusals = Arc::new(Refusals(counting.report.clone()));
        let server = rpc::Server::new(router.clone(), limits.clone(), Arc::new(counting))
            .workers(node.config().serving_threads)
            .connections(connections.clone());
        let bytes_max = limits.message_bytes_max;
        let gateway = config.http.gateway.then(|| Gateway::new(server.caller(), bytes_max));
        let server = server.http(site(Serves::Clients, gateway));
        let clients = Some((server, clients));
        let listeners: Vec<_> = http(self.metrics).collect();
        if listeners.is_empty() {
            return Ok((Vec::new(), clients));
        }
        let server = net::Server::new(limits.connections.clone())
            .named(Serves::Metrics.name())
            .connections(connections.clone())
            .workers(1)
            .observer(refusals)
            .http(site(Serves::Metrics, None));
        let running = server.serve(listeners).map_err(ServeError::Thread)?;
        Ok((vec![running], clients))
    }
}

/// Ports that serve already, and what clients will be served by.
type Ports = (Vec<net::Running>, Option<(rpc::Server, Vec<Listener>)>);

fn rpc_limits(config: &Config) -> Limits {
    let limits = Limits::for_member(&config.limits);
    let never = Duration::ZERO;
    Limits {
        keepalive_min_time: config.keepalive.min_time,
        keepalive_interval: match config.keepalive.timeout {
            Some(_) => config.keepalive.interval.unwrap_or(never),
            None => never,
        },
        keepalive_timeout: config.keepalive.timeout.unwrap_or(limits.keepalive_timeout),
        ..limits
    }
}

fn open(url: &Url, options: SocketOptions) -> io::Result<Socket> {
    if let Some(path) = url.socket_path() {
        return Socket::unix(&path);
    }
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in addresses(url)? {
        match Socket::tcp(address, options) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// IPv4 first, where `localhost` is both.
fn addresses(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = url.address().to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

impl Serving {
    /// The member's handle.
    pub fn node(&self) -> &Node {
        self.member.node()
    }

    /// How much it may have open.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Waits until the member has replayed its log and made itself known to its cluster, then serves
    /// clients; `false` if `gave_up` says so first, which is asked every few milliseconds.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn wait_until_ready(&mut self, gave_up: impl Fn() -> bool) -> Result<bool, ServeError> {
        while !*self.published.borrow() {
            if gave_up() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.node().forget_tokens();
        if let Some((server, listeners)) = self.clients.take() {
            self.ports.push(server.serve(listeners).map_err(ServeError::Thread)?);
        }
        Ok(true)
    }

    /// Ends in order: no new connections, calls may finish, then the member leaves its directory clean.
    /// Blocks.
    pub fn stop(self) {
        self.desk.stop_serving();
        for port in &self.ports {
            port.drain();
        }
        for port in self.ports {
            // A thread that ended early has no connections left to lose.
            let _ = port.stop(self.grace);
        }
        let _ = self.stop_duties.send(true);
        let _ = self.duties.join();
        self.member.stop();
        // Last: a leader hands its office over through them.
        self.network.close();
    }
}

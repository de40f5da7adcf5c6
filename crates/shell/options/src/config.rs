//! What the server is told: every setting checked, typed, with its default filled in.
//!
//! Made only by `parse`; past this point nobody reads a flag, a variable or a file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use types::Limits;

use crate::auth::Tokens;
use crate::environment::HIDDEN;
use crate::gates::Gates;
use crate::log::LogOptions;
use crate::url::Url;

/// The whole configuration of one member.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member's name (`--name`).
    pub name: String,
    /// Where its data is (`--data-dir`, or `<name>.etcd`).
    pub data_dir: PathBuf,
    /// Nobody named the directory, so it is called after the member.
    pub data_dir_is_usual: bool,
    /// Where its raft log is, if set apart (`--wal-dir`).
    pub wal_dir: Option<PathBuf>,
    /// Where to listen.
    pub listen: Listen,
    /// Where other members are told to reach this one (`--initial-advertise-peer-urls`).
    pub advertise_peer_urls: Vec<Url>,
    /// Where clients are told to reach this one (`--advertise-client-urls`).
    pub advertise_client_urls: Vec<Url>,
    /// How the cluster begins; without meaning once there is a raft log.
    pub bootstrap: Bootstrap,
    /// How raft is driven.
    pub raft: Raft,
    /// Every bound.
    pub limits: Limits,
    /// How the store writes.
    pub storage: Storage,
    /// How idle client connections are probed.
    pub keepalive: Keepalive,
    /// What history is compacted without being asked.
    pub auto_compaction: AutoCompaction,
    /// Certificates, and whose are asked for.
    pub tls: Tls,
    /// How passwords and logins are kept.
    pub auth: Auth,
    /// What is served over HTTP, and to whom.
    pub http: Http,
    /// How often and how long.
    pub timers: Timers,
    /// Where traces go; `None` for nowhere.
    pub tracing: Option<Tracing>,
    /// Which features are on.
    pub gates: Gates,
    /// Where the log goes.
    pub log: LogOptions,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// For members (`--listen-peer-urls`).
    pub peer: Vec<Url>,
    /// For clients (`--listen-client-urls`): gRPC, and HTTP too if `client_http` is empty.
    pub client: Vec<Url>,
    /// For HTTP clients only (`--listen-client-http-urls`).
    pub client_http: Vec<Url>,
    /// For metrics and health only (`--listen-metrics-urls`).
    pub metrics: Vec<Url>,
    /// Set SO_REUSEPORT.
    pub reuse_port: bool,
}

/// How the cluster begins.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// As typed, or made from the name: `name=url,name=url`.
    pub initial_cluster: String,
    /// Begin a cluster or join one.
    pub state: ClusterState,
    /// Sets clusters apart that begin alike.
    pub token: String,
    /// Who knows the other members, if not the initial cluster.
    pub discovery: Option<Discovery>,
    /// Leave all other members behind and go on alone with this data.
    pub force_new: bool,
}

/// Who knows the members of a cluster to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// DNS, by SRV records.
    Srv {
        /// The domain.
        domain: String,
        /// A suffix of the service's name (`--discovery-srv-name`).
        name: String,
    },
    /// A cluster that runs already.
    Service(Box<DiscoveryService>),
}

/// A cluster that knows the members of another (`--discovery-token` and what begins like it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryService {
    /// The new cluster's name there.
    pub token: String,
    /// Where it is.
    pub endpoints: Vec<String>,
    /// How long connecting may take.
    pub dial_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How often it is pinged.
    pub keepalive_time: Duration,
    /// How long it may take to answer a ping.
    pub keepalive_timeout: Duration,
    /// Speak without TLS.
    pub insecure_transport: bool,
    /// Do not check its certificate.
    pub insecure_skip_verify: bool,
    /// Our certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Whom we trust.
    pub ca_file: Option<PathBuf>,
    /// Who we are: the name.
    pub user: String,
    /// Who we are: the proof.
    pub password: Secret,
}

/// A text that no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(HIDDEN)
    }
}

/// Begin a cluster or join one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// This member and those named with it begin a cluster.
    New,
    /// The cluster runs already and has been told of this member.
    Existing,
}

impl ClusterState {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            ClusterState::New => "new",
            ClusterState::Existing => "existing",
        }
    }
}

/// How raft is driven.
#[derive(Clone, Debug)]
pub struct Raft {
    /// One tick (`--heartbeat-interval`).
    pub heartbeat: Duration,
    /// Silence after which to stand for election (`--election-timeout`).
    pub election: Duration,
    /// Shorten the first election timeout.
    pub initial_election_tick_advance: bool,
    /// Ask before standing.
    pub pre_vote: bool,
    /// Applied entries between snapshots.
    pub snapshot_count: u64,
    /// Entries kept behind a snapshot.
    pub snapshot_catchup_entries: u64,
    /// Refuse changes of membership that would lose the quorum.
    pub strict_reconfig_check: bool,
    /// Learners the cluster may have.
    pub learners_max: usize,
}

impl Raft {
    /// Ticks in an election timeout.
    pub fn election_ticks(&self) -> usize {
        // Validation holds the timeout to at least five heartbeats, each at least a millisecond.
        (self.election.as_millis() / self.heartbeat.as_millis()) as usize
    }
}

/// How the store writes.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Raft log files kept beyond those needed; `None` keeps all.
    pub wals_max: Option<usize>,
    /// Get the cluster's state from another member where the store cannot be read.
    pub repair_from_peers: bool,
    /// Never sync: data will be lost.
    pub unsafe_no_fsync: bool,
    /// Leave the data directory of a Go etcd alone, and refuse it.
    pub takeover_refused: bool,
}

/// How idle client connections are probed.
#[derive(Clone, Debug)]
pub struct Keepalive {
    /// A client that pings more often is cut off.
    pub min_time: Duration,
    /// How often to ping; `None` for never.
    pub interval: Option<Duration>,
    /// How long to wait for the answer; `None` for never pinging.
    pub timeout: Option<Duration>,
}

/// What history is compacted without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// None.
    Off,
    /// What is older than this.
    Periodic(Duration),
    /// All but so many revisions.
    Revisions(i64),
}

/// How passwords and logins are kept.
#[derive(Clone, Debug)]
pub struct Auth {
    /// What stands for a user between its login and its requests.
    pub tokens: Tokens,
    /// What hashing a password costs: 4 to 31.
    pub bcrypt_cost: u32,
    /// How long an unused login is remembered.
    pub token_ttl: Duration,
}

/// Certificates, and whose are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// To clients.
    pub client: TlsSide,
    /// Between members.
    pub peer: TlsSide,
    /// The oldest version to speak; `None` for the oldest there is.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak; `None` for the newest there is.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites to offer for TLS 1.2, by Go's names; empty for the usual ones.
    pub cipher_suites: Vec<&'static str>,
    /// How many years certificates are good for that this server makes itself.
    pub self_signed_years: u64,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

/// What one kind of listener shows and asks for. Files are named, not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSide {
    /// The certificate to show.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The certificate to show when dialling, if it is another one.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// The authority that signs the others' certificates.
    pub trusted_ca_file: Option<PathBuf>,
    /// The certificates that were revoked.
    pub crl_file: Option<PathBuf>,
    /// Ask for a certificate, and refuse who has none.
    pub client_cert_auth: bool,
    /// Make a certificate if none is given.
    pub auto: bool,
    /// Common names that certificates may carry; empty for all.
    pub allowed_cns: Vec<String>,
    /// Host names that certificates may carry; empty for all.
    pub allowed_hostnames: Vec<String>,
    /// Do not compare addresses with certificates.
    pub skip_client_san_verification: bool,
}

impl TlsSide {
    /// Whether a certificate or its key is named.
    pub fn has_files(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }

    /// Whether the certificate is made by this server: asked for, and no files are given.
    pub fn is_self_signed(&self) -> bool {
        self.auto && !self.has_files()
    }
}

/// What is served over HTTP, and to whom.
#[derive(Clone, Debug)]
pub struct Http {
    /// Serve the JSON gateway.
    pub gateway: bool,
    /// Origins that browsers may call from; empty for all.
    pub origins: Vec<String>,
    /// Host names this server may be called by; empty for all.
    pub hosts: Vec<String>,
    /// Serve the API v2 (`--enable-v2`).
    pub v2: bool,
    /// Measure how long each kind of call takes (`--metrics=extensive`).
    pub metrics_extensive: bool,
}

/// Where traces go, and which (`--enable-distributed-tracing`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// `host:port` of the collector.
    pub address: String,
    /// The service that they are filed under.
    pub service_name: String,
    /// The instance that they are filed under; empty for none.
    pub instance_id: String,
    /// How many of a million calls are traced whose callers do not say.
    pub sampled_per_million: u32,
}

/// How often and how long.
#[derive(Clone, Debug)]
pub struct Timers {
    /// How often members compare their data; `None` for never.
    pub corrupt_check: Option<Duration>,
    /// How often the leader compares hashes of compactions.
    pub compact_hash_check: Duration,
    /// How often a silent watch is told of its progress.
    pub watch_progress: Duration,
    /// How often a downgrade is looked after.
    pub downgrade_check: Duration,
    /// How long a connection from a member may bring nothing.
    pub peer_read: Duration,
    /// How long a connection to a member may take nothing.
    pub peer_write: Duration,
    /// Warn of entries that take longer to apply; `None` for never.
    pub warn_apply: Option<Duration>,
    /// Warn of requests that take longer; `None` for never.
    pub warn_unary: Option<Duration>,
}

//! From values to a configuration: defaults that depend on other values, and remarks on odd ones.
//!
//! What is not acceptable is decided in `check`.

use std::time::Duration;

use types::Limits;

use crate::auth::Tokens;
use crate::check::{check, refuse_what_is_not_built};
use crate::config::{
    Auth, AutoCompaction, Bootstrap, ClusterState, Config, Http, Keepalive, Listen, Raft, Storage,
    Timers,
};
use crate::flag::{Does, Kind};
use crate::gates::GATES;
use crate::log::{Format, Level, LogOptions, Output, Rotation};
use crate::note::Note;
use crate::table;
use crate::url::Url;
use crate::values::Values;
use go::{GoDuration, quote};

/// Where the values came from; etcd asks more of a command line than of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Flags and variables.
    CommandLine,
    /// The configuration file.
    File,
}

/// The store's size above which etcd warns, in bytes.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// The address that stands for all of a machine's own.
const ANY_ADDRESS: &str = "0.0.0.0";

/// What the flags about the log say.
pub fn log_options(values: &Values) -> Result<LogOptions, String> {
    let logger = values.text("logger");
    if logger != "zap" {
        return Err(format!("unknown logger option {}", quote(&logger)));
    }
    let outputs = values.words("log-outputs");
    let outputs = if outputs.is_empty() { vec!["default".to_owned()] } else { outputs };
    let parsed = Output::parse_list(&outputs)?;
    let rotation = if values.truth("enable-log-rotation") {
        if !matches!(parsed.as_slice(), [Output::File(_)]) {
            return Err("--log-outputs requires a single file path when \
                        --log-rotate-config-json is defined"
                .into());
        }
        Some(Rotation::parse(&values.text("log-rotation-config-json"))?)
    } else {
        None
    };
    let format = match values.text("log-format").as_str() {
        "json" | "" => Format::Json,
        "console" => Format::Console,
        other => {
            return Err(format!("unknown log format: {other}, supported values json, console"));
        }
    };
    let level = Level::parse(&values.text("log-level"))?;
    Ok(LogOptions { level, format, outputs: parsed, rotation })
}

/// Everything else. Remarks are added to `notes` also where the answer is a refusal.
pub fn build(
    values: &Values,
    origin: Origin,
    log: LogOptions,
    default_host: &dyn Fn() -> Option<String>,
    notes: &mut Vec<Note>,
) -> Result<Config, String> {
    remark_on_fading_flags(values, notes);
    let mut addresses = Addresses::new(values, origin);
    let name = values.text("name");
    addresses.fill_in_host(default_host, notes);
    let initial_cluster = initial_cluster(values, &name, &addresses.advertise_peer);
    check(values, origin, &addresses, notes)?;
    refuse_what_is_not_built(values, &addresses)?;
    let data_dir = values.text("data-dir");
    let data_dir_is_usual = data_dir.is_empty();
    let data_dir = if data_dir_is_usual { format!("{name}.etcd") } else { data_dir };
    let wal_dir = values.text("wal-dir");
    Ok(Config {
        data_dir: data_dir.into(),
        data_dir_is_usual,
        wal_dir: (!wal_dir.is_empty()).then(|| wal_dir.into()),
        listen: Listen {
            peer: addresses.listen_peer,
            client: addresses.listen_client,
            client_http: addresses.listen_client_http,
            metrics: addresses.listen_metrics,
            reuse_port: values.truth("socket-reuse-port"),
        },
        advertise_peer_urls: addresses.advertise_peer,
        advertise_client_urls: addresses.advertise_client,
        bootstrap: Bootstrap {
            initial_cluster,
            state: cluster_state(values)?,
            token: values.text("initial-cluster-token"),
        },
        raft: raft(values, notes),
        limits: limits(values, notes),
        storage: storage(values),
        keepalive: keepalive(values),
        // Read again, and refused there if malformed, by `Config::check_start`.
        auto_compaction: auto_compaction(values).unwrap_or(AutoCompaction::Off),
        auth: auth(values, notes),
        http: http(values),
        timers: timers(values),
        gates: values.gates("feature-gates"),
        log,
        name,
    })
}

/// What etcd checks only once it has said that it starts; the error ends the process.
pub fn check_start(values: &Values) -> Result<(), String> {
    auto_compaction(values)?;
    Tokens::read(&values.text("auth-token"))?;
    Ok(())
}

/// The lists of URLs, which depend on each other.
pub(crate) struct Addresses {
    pub listen_peer: Vec<Url>,
    pub listen_client: Vec<Url>,
    pub listen_client_http: Vec<Url>,
    pub listen_metrics: Vec<Url>,
    pub advertise_peer: Vec<Url>,
    pub advertise_client: Vec<Url>,
    /// Clients were given no way to be told where this member is.
    pub advertise_client_missing: bool,
}

impl Addresses {
    fn new(values: &Values, origin: Origin) -> Addresses {
        let unique = |name: &str| {
            let mut urls = values.urls(name);
            urls.dedup();
            urls
        };
        let missing = origin == Origin::CommandLine
            && values.is_said("listen-client-urls")
            && !values.is_said("advertise-client-urls");
        Addresses {
            listen_peer: unique("listen-peer-urls"),
            listen_client: unique("listen-client-urls"),
            listen_client_http: unique("listen-client-http-urls"),
            listen_metrics: unique("listen-metrics-urls"),
            advertise_peer: unique("initial-advertise-peer-urls"),
            advertise_client: unique("advertise-client-urls"),
            advertise_client_missing: missing,
        }
    }

    /// Who listens everywhere and says nothing advertises the machine's own address, if it has one.
    fn fill_in_host(&mut self, host: &dyn Fn() -> Option<String>, notes: &mut Vec<Note>) {
        let mut used = None;
        let lists = [
            (&self.listen_peer, &mut self.advertise_peer, "http://localhost:2380"),
            (&self.listen_client, &mut self.advertise_client, "http://localhost:2379"),
        ];
        for (listen, advertise, usual) in lists {
            let [only] = advertise.as_mut_slice() else { continue };
            let Some(first) = listen.first() else { continue };
            let Some((ANY_ADDRESS, port)) = first.host_and_port() else { continue };
            if only.to_string() != usual {
                continue;
            }
            let Some(host) = host() else { return };
            let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let typed = format!("{}://{shown}:{port}", first.scheme().name());
            if let Ok(url) = Url::parse(&typed) {
                *only = url;
                used = Some(host);
            }
        }
        if let Some(host) = used {
            notes.push(Note::info("detected default host for advertise").with("host", host));
        }
    }

    /// Every URL with the flag that named it.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        let lists = [
            ("listen-peer-urls", &self.listen_peer),
            ("listen-client-urls", &self.listen_client),
            ("listen-client-http-urls", &self.listen_client_http),
            ("listen-metrics-urls", &self.listen_metrics),
            ("initial-advertise-peer-urls", &self.advertise_peer),
            ("advertise-client-urls", &self.advertise_client),
        ];
        lists.into_iter().flat_map(|(name, urls)| urls.iter().map(move |url| (name, url)))
    }
}

/// A member with a name of its own and no word on the cluster begins one alone.
fn initial_cluster(values: &Values, name: &str, advertised: &[Url]) -> String {
    let flag = table::find("initial-cluster").expect("it is in the table");
    let typed = values.text("initial-cluster");
    if name == "default" || typed != flag.default {
        return typed;
    }
    let name = if name.is_empty() { "default" } else { name };
    advertised.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

fn remark_on_fading_flags(values: &Values, notes: &mut Vec<Note>) {
    let fading = [
        (
            "max-snapshots",
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        ),
        (
            "v2-deprecation",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input.",
        ),
    ];
    for (_, text) in fading.iter().filter(|(name, _)| values.is_said(name)) {
        notes.push(Note::warn(*text));
    }
    for flag in table::all().filter(|flag| values.differs(flag)) {
        match flag.does {
            Does::Nothing(why) if flag.kind == Kind::Ignored => {
                let note = Note::warn("flag is no longer supported - ignoring");
                notes.push(note.with("flag-name", flag.name).with("reason", why));
            }
            Does::Nothing(why) => {
                let note = Note::info("flag has no effect");
                notes.push(note.with("flag-name", flag.name).with("reason", why));
            }
            Does::Its | Does::Refused(_) | Does::RenamedTo(_) | Does::IsGate(_) => {}
        }
    }
    let gates = values.gates("feature-gates");
    for gate in
        GATES.iter().filter(|gate| gates.said(gate.name).is_some_and(|on| on != gate.default))
    {
        if let Some(why) = gate.idle {
            let note = Note::info("feature gate has no effect");
            notes.push(note.with("feature-gate", gate.name).with("reason", why));
        }
    }
    for name in ["raft-read-timeout", "raft-write-timeout"] {
        if values.duration(name) < GoDuration::from_millis(5000) {
            notes.push(Note::info(format!("{name} increased to minimum value: 5s")));
        }
    }
}

pub(crate) fn cluster_state(values: &Values) -> Result<ClusterState, String> {
    match values.text("initial-cluster-state").as_str() {
        "new" => Ok(ClusterState::New),
        "existing" => Ok(ClusterState::Existing),
        other => Err(format!("unexpected clusterState {}", quote(other))),
    }
}

fn raft(values: &Values, notes: &mut Vec<Note>) -> Raft {
    let mut snapshot_count = values.unsigned("snapshot-count");
    if snapshot_count == 0 {
        snapshot_count = 10_000;
        notes.push(
            Note::info("updating snapshot-count to default")
                .with("given-snapshot-count", "0")
                .with("updated-snapshot-count", snapshot_count.to_string()),
        );
    }
    let catchup = values.unsigned("snapshot-catchup-entries");
    Raft {
        heartbeat: Duration::from_millis(values.unsigned("heartbeat-interval")),
        election: Duration::from_millis(values.unsigned("election-timeout")),
        initial_election_tick_advance: values.truth("initial-election-tick-advance"),
        pre_vote: values.truth("pre-vote"),
        snapshot_count,
        snapshot_catchup_entries: if catchup == 0 { 5000 } else { catchup },
        strict_reconfig_check: values.truth("strict-reconfig-check"),
        learners_max: usize::try_from(values.signed("max-learners")).unwrap_or(0),
    }
}

fn limits(values: &Values, notes: &mut Vec<Note>) -> Limits {
    const REQUEST_BYTES_RECOMMENDED: usize = 10 << 20;
    let usual = Limits::default();
    let request_bytes_max = values.size("max-request-bytes");
    if request_bytes_max > REQUEST_BYTES_RECOMMENDED {
        notes.push(
            Note::warn("exceeded recommended request limit")
                .with("max-request-bytes", request_bytes_max.to_string())
                .with("recommended-request-bytes", REQUEST_BYTES_RECOMMENDED.to_string()),
        );
    }
    let quota_bytes = match values.signed("quota-backend-bytes") {
        0 => Some(QUOTA_BYTES_DEFAULT),
        bytes => u64::try_from(bytes).ok(),
    };
    let election = Duration::from_millis(values.unsigned("election-timeout"));
    Limits {
        request_bytes_max,
        txn_ops_max: values.size("max-txn-ops"),
        concurrent_streams_max: u32::try_from(values.unsigned("max-concurrent-streams"))
            .unwrap_or(u32::MAX),
        quota_bytes,
        // Five seconds for the disk and the network, and two elections.
        request_timeout: Duration::from_secs(5) + 2 * election,
        compaction_batch: match usize::try_from(values.signed("compaction-batch-limit")) {
            Ok(0) | Err(_) => usual.compaction_batch,
            Ok(limit) => limit,
        },
        ..usual
    }
}

fn storage(values: &Values) -> Storage {
    Storage {
        wals_max: Some(values.size("max-wals")).filter(|count| *count > 0),
        unsafe_no_fsync: values.truth("unsafe-no-fsync"),
    }
}

fn keepalive(values: &Values) -> Keepalive {
    Keepalive {
        min_time: values.duration("grpc-keepalive-min-time").at_least_zero(),
        interval: values.duration("grpc-keepalive-interval").positive(),
        timeout: values.duration("grpc-keepalive-timeout").positive(),
    }
}

fn auto_compaction(values: &Values) -> Result<AutoCompaction, String> {
    let typed = values.text("auto-compaction-retention");
    let revisions = values.text("auto-compaction-mode") == "revision";
    // A bare number counts hours or revisions; all else is a duration, even where it counts revisions.
    let nanos = match typed.parse::<i64>() {
        Ok(count) if count >= 0 && revisions => count,
        Ok(hours) if hours >= 0 => hours.saturating_mul(3_600_000_000_000),
        _ => {
            GoDuration::parse(&typed)
                .map_err(|why| format!("error parsing CompactionRetention: {why}"))?
                .0
        }
    };
    Ok(match nanos {
        ..=0 => AutoCompaction::Off,
        count if revisions => AutoCompaction::Revisions(count),
        nanos => AutoCompaction::Periodic(GoDuration(nanos).at_least_zero()),
    })
}

fn auth(values: &Values, notes: &mut Vec<Note>) -> Auth {
    const COST_DEFAULT: u32 = 10;
    let given = values.unsigned("bcrypt-cost");
    let bcrypt_cost = u32::try_from(given).ok().filter(|cost| (4..=31).contains(cost));
    if bcrypt_cost.is_none() {
        notes.push(
            Note::warn("use default bcrypt cost instead of the invalid given cost")
                .with("min-cost", "4")
                .with("max-cost", "31")
                .with("default-cost", COST_DEFAULT.to_string())
                .with("given-cost", given.to_string()),
        );
    }
    let ttl = match values.unsigned("auth-token-ttl") {
        0 => 300,
        seconds => seconds,
    };
    Auth {
        // Read again, and refused there if malformed, by `Config::check_start`.
        tokens: Tokens::read(&values.text("auth-token")).unwrap_or(Tokens::None),
        bcrypt_cost: bcrypt_cost.unwrap_or(COST_DEFAULT),
        token_ttl: Duration::from_secs(ttl),
    }
}

fn http(values: &Values) -> Http {
    Http {
        gateway: values.truth("enable-grpc-gateway"),
        origins: values.words_or_all("cors"),
        hosts: values.words_or_all("host-whitelist"),
        metrics_extensive: values.text("metrics") == "extensive",
    }
}

fn timers(values: &Values) -> Timers {
    Timers {
        corrupt_check: values.duration("corrupt-check-time").positive(),
        compact_hash_check: values.duration("compact-hash-check-time").at_least_zero(),
        watch_progress: values
            .duration_or("watch-progress-notify-interval", Duration::from_secs(600)),
        downgrade_check: values.duration_or("downgrade-check-time", Duration::from_secs(5)),
        warn_apply: values.duration("warning-apply-duration").positive(),
        warn_unary: values.duration("warning-unary-request-duration").positive(),
    }
}

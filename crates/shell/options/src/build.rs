//! From values to a configuration: defaults that depend on other values, and remarks on odd ones.
//!
//! What is not acceptable is decided in `check`.

use std::time::Duration;

use types::Limits;

use crate::addresses::{Addresses, Origin, cluster_state};
use crate::auth::{INVALID as INVALID_AUTH, Tokens};
use crate::check::{check, refuse_what_is_not_built};
use crate::config::{
    Auth, AutoCompaction, Bootstrap, Config, Discovery, DiscoveryService, Http, Keepalive, Listen,
    Raft, Secret, Storage, Timers, Tracing,
};
use crate::flag::{Does, Kind};
use crate::gates::GATES;
use crate::log::{Format, Level, LogOptions, Output, Rotation};
use crate::note::Note;
use crate::security;
use crate::table;
use crate::url::Url;
use crate::values::Values;
use go::{GoDuration, quote};

/// The store's size above which etcd warns, in bytes.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
const NANOS_PER_HOUR: i64 = 3_600_000_000_000;
/// Members that say nothing for less than this are not given up.
const PEER_SILENCE_MIN: Duration = Duration::from_secs(5);

/// What the flags about the log say.
pub fn log_options(values: &Values) -> Result<LogOptions, String> {
    let logger = values.text(table::LOGGER);
    if logger != "zap" {
        return Err(format!("unknown logger option {}", quote(&logger)));
    }
    let outputs = values.words(table::LOG_OUTPUTS);
    let outputs = if outputs.is_empty() { vec!["default".to_owned()] } else { outputs };
    let parsed = Output::parse_list(&outputs)?;
    let rotation = if values.truth(table::ENABLE_LOG_ROTATION) {
        if !matches!(parsed.as_slice(), [Output::File(_)]) {
            return Err("--log-outputs requires a single file path when \
                        --log-rotate-config-json is defined"
                .into());
        }
        Some(Rotation::parse(&values.text(table::LOG_ROTATION_CONFIG_JSON))?)
    } else {
        None
    };
    let level = Level::parse(&values.text(table::LOG_LEVEL))?;
    let format = match values.text(table::LOG_FORMAT).as_str() {
        "json" | "" => Format::Json,
        "console" => Format::Console,
        other => {
            return Err(format!("unknown log format: {other}, supported values json, console"));
        }
    };
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
    let name = values.text(table::NAME);
    addresses.fill_in_host(default_host, notes);
    let initial_cluster = initial_cluster(values, &name, &addresses.advertise_peer);
    check(values, origin, &addresses, notes)?;
    refuse_what_is_not_built(values)?;
    let data_dir = values.text(table::DATA_DIR);
    let data_dir_is_usual = data_dir.is_empty();
    let data_dir = if data_dir_is_usual { format!("{name}.etcd") } else { data_dir };
    let wal_dir = values.text(table::WAL_DIR);
    Ok(Config {
        data_dir: data_dir.into(),
        data_dir_is_usual,
        wal_dir: (!wal_dir.is_empty()).then(|| wal_dir.into()),
        listen: Listen {
            peer: addresses.listen_peer,
            client: addresses.listen_client,
            client_http: addresses.listen_client_http,
            metrics: addresses.listen_metrics,
            reuse_port: values.truth(table::SOCKET_REUSE_PORT),
        },
        advertise_peer_urls: addresses.advertise_peer,
        advertise_client_urls: addresses.advertise_client,
        bootstrap: Bootstrap {
            initial_cluster,
            state: cluster_state(values)?,
            token: values.text(table::INITIAL_CLUSTER_TOKEN),
            discovery: discovery(values),
            force_new: values.truth(table::FORCE_NEW_CLUSTER),
        },
        raft: raft(values, notes),
        limits: limits(values, notes),
        storage: storage(values),
        keepalive: keepalive(values),
        // Read again, and refused there if malformed, by `Config::check_start`.
        auto_compaction: auto_compaction(values).unwrap_or(AutoCompaction::Off),
        tls: security::tls(values),
        auth: auth(values, notes),
        http: http(values),
        timers: timers(values),
        tracing: tracing(values),
        gates: values.gates(table::FEATURE_GATES),
        log,
        name,
    })
}

fn tracing(values: &Values) -> Option<Tracing> {
    values.truth(table::ENABLE_DISTRIBUTED_TRACING).then(|| Tracing {
        address: values.text(table::DISTRIBUTED_TRACING_ADDRESS),
        service_name: values.text(table::DISTRIBUTED_TRACING_SERVICE_NAME),
        instance_id: values.text(table::DISTRIBUTED_TRACING_INSTANCE_ID),
        // `check` has looked at it.
        sampled_per_million: u32::try_from(values.signed(table::DISTRIBUTED_TRACING_SAMPLING_RATE))
            .unwrap_or(0),
    })
}

/// What etcd checks only once it has said that it starts; the error ends the process.
pub fn check_start(values: &Values, notes: &mut Vec<Note>) -> Result<(), String> {
    security::cipher_suites(values)?;
    auto_compaction(values)?;
    Tokens::read(&values.text(table::AUTH_TOKEN)).map(drop).map_err(|note| {
        notes.push(note);
        notes.push(Note::warn("failed to create token provider").with("error", INVALID_AUTH));
        INVALID_AUTH.to_owned()
    })
}

/// A member with a name of its own and no word on the cluster begins one alone.
fn initial_cluster(values: &Values, name: &str, advertised: &[Url]) -> String {
    let typed = values.text(table::INITIAL_CLUSTER);
    if name == "default" || typed != table::INITIAL_CLUSTER.default {
        return typed;
    }
    let name = if name.is_empty() { "default" } else { name };
    advertised.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

fn remark_on_fading_flags(values: &Values, notes: &mut Vec<Note>) {
    let fading = [
        (
            &*table::MAX_SNAPSHOTS,
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        ),
        (
            &*table::V2_DEPRECATION,
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input.",
        ),
    ];
    for (_, text) in fading.iter().filter(|(flag, _)| values.is_said(flag)) {
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
    let gates = values.gates(table::FEATURE_GATES);
    for gate in
        GATES.iter().filter(|gate| gates.said(gate.name).is_some_and(|on| on != gate.default))
    {
        if let Some(why) = gate.idle {
            let note = Note::info("feature gate has no effect");
            notes.push(note.with("feature-gate", gate.name).with("reason", why));
        }
    }
    for flag in [table::RAFT_READ_TIMEOUT, table::RAFT_WRITE_TIMEOUT] {
        if values.duration(flag) < GoDuration::from_millis(5000) {
            notes.push(Note::info(format!("{} increased to minimum value: 5s", flag.name)));
        }
    }
}

fn discovery(values: &Values) -> Option<Discovery> {
    let domain = values.text(table::DISCOVERY_SRV);
    if !domain.is_empty() {
        return Some(Discovery::Srv { domain, name: values.text(table::DISCOVERY_SRV_NAME) });
    }
    let token = values.text(table::DISCOVERY_TOKEN);
    if token.is_empty() {
        return None;
    }
    let file = |flag| security::file(values, flag);
    let span = |flag| values.duration(flag).at_least_zero();
    // The name may hold the password.
    let (user, password) =
        match (values.text(table::DISCOVERY_USER), values.text(table::DISCOVERY_PASSWORD)) {
            (user, password) if password.is_empty() => match user.split_once(':') {
                Some((user, password)) => (user.to_owned(), password.to_owned()),
                None => (user, password),
            },
            both => both,
        };
    Some(Discovery::Service(Box::new(DiscoveryService {
        token,
        endpoints: values.words(table::DISCOVERY_ENDPOINTS),
        dial_timeout: span(table::DISCOVERY_DIAL_TIMEOUT),
        request_timeout: span(table::DISCOVERY_REQUEST_TIMEOUT),
        keepalive_time: span(table::DISCOVERY_KEEPALIVE_TIME),
        keepalive_timeout: span(table::DISCOVERY_KEEPALIVE_TIMEOUT),
        insecure_transport: values.truth(table::DISCOVERY_INSECURE_TRANSPORT),
        insecure_skip_verify: values.truth(table::DISCOVERY_INSECURE_SKIP_TLS_VERIFY),
        cert_file: file(table::DISCOVERY_CERT),
        key_file: file(table::DISCOVERY_KEY),
        ca_file: file(table::DISCOVERY_CACERT),
        user,
        password: Secret(password),
    })))
}

fn raft(values: &Values, notes: &mut Vec<Note>) -> Raft {
    let mut snapshot_count = values.unsigned(table::SNAPSHOT_COUNT);
    if snapshot_count == 0 {
        snapshot_count = 10_000;
        notes.push(
            Note::info("updating snapshot-count to default")
                .with("given-snapshot-count", 0_u64)
                .with("updated-snapshot-count", snapshot_count),
        );
    }
    let catchup = values.unsigned(table::SNAPSHOT_CATCHUP_ENTRIES);
    Raft {
        heartbeat: Duration::from_millis(values.unsigned(table::HEARTBEAT_INTERVAL)),
        election: Duration::from_millis(values.unsigned(table::ELECTION_TIMEOUT)),
        initial_election_tick_advance: values.truth(table::INITIAL_ELECTION_TICK_ADVANCE),
        pre_vote: values.truth(table::PRE_VOTE),
        snapshot_count,
        snapshot_catchup_entries: if catchup == 0 { 5000 } else { catchup },
        strict_reconfig_check: values.truth(table::STRICT_RECONFIG_CHECK),
        learners_max: usize::try_from(values.signed(table::MAX_LEARNERS)).unwrap_or(0),
    }
}

fn limits(values: &Values, notes: &mut Vec<Note>) -> Limits {
    const REQUEST_BYTES_RECOMMENDED: usize = 10 << 20;
    let usual = Limits::default();
    let request_bytes_max = values.size(table::MAX_REQUEST_BYTES);
    if request_bytes_max > REQUEST_BYTES_RECOMMENDED {
        notes.push(
            Note::warn("exceeded recommended request limit")
                .with("max-request-bytes", request_bytes_max)
                .with("max-request-size", go::size(request_bytes_max as u64))
                .with("recommended-request-bytes", REQUEST_BYTES_RECOMMENDED)
                .with("recommended-request-size", go::size(REQUEST_BYTES_RECOMMENDED as u64)),
        );
    }
    let quota_bytes = match values.signed(table::QUOTA_BACKEND_BYTES) {
        0 => Some(QUOTA_BYTES_DEFAULT),
        bytes => u64::try_from(bytes).ok(),
    };
    let election = Duration::from_millis(values.unsigned(table::ELECTION_TIMEOUT));
    Limits {
        request_bytes_max,
        txn_ops_max: values.size(table::MAX_TXN_OPS),
        concurrent_streams_max: u32::try_from(values.unsigned(table::MAX_CONCURRENT_STREAMS))
            .unwrap_or(u32::MAX),
        quota_bytes,
        // Five seconds for the disk and the network, and two elections.
        request_timeout: Duration::from_secs(5) + 2 * election,
        compaction_batch: match usize::try_from(values.signed(table::COMPACTION_BATCH_LIMIT)) {
            Ok(0) | Err(_) => usual.compaction_batch,
            Ok(limit) => limit,
        },
        ..usual
    }
}

fn storage(values: &Values) -> Storage {
    Storage {
        wals_max: Some(values.size(table::MAX_WALS)).filter(|count| *count > 0),
        repair_from_peers: values.truth(table::REPAIR_FROM_PEERS),
        unsafe_no_fsync: values.truth(table::UNSAFE_NO_FSYNC),
        takeover_refused: values.text(table::TAKEOVER) == "refuse",
    }
}

fn keepalive(values: &Values) -> Keepalive {
    Keepalive {
        min_time: values.duration(table::GRPC_KEEPALIVE_MIN_TIME).at_least_zero(),
        interval: values.duration(table::GRPC_KEEPALIVE_INTERVAL).positive(),
        timeout: values.duration(table::GRPC_KEEPALIVE_TIMEOUT).positive(),
    }
}

fn auto_compaction(values: &Values) -> Result<AutoCompaction, String> {
    let typed = values.text(table::AUTO_COMPACTION_RETENTION);
    let revisions = values.text(table::AUTO_COMPACTION_MODE) == "revision";
    // A bare number counts hours or revisions; all else is a duration, even where it counts revisions.
    let nanos = match typed.parse::<i64>() {
        Ok(count) if count >= 0 && revisions => count,
        Ok(hours) if hours >= 0 => hours.saturating_mul(NANOS_PER_HOUR),
        // etcd takes `1h` for 3,600,000,000,000 revisions, and so compacts nothing.
        _ if revisions && (GoDuration::parse(&typed).is_ok() || days(&typed).is_some()) => {
            return Err(format!(
                "error parsing CompactionRetention: {} is no number of revisions; did you mean \
                 --auto-compaction-mode=periodic?",
                quote(&typed)
            ));
        }
        _ => match days(&typed) {
            Some(nanos) => nanos,
            None => {
                GoDuration::parse(&typed)
                    .map_err(|why| format!("error parsing CompactionRetention: {why}"))?
                    .0
            }
        },
    };
    Ok(match nanos {
        ..=0 => AutoCompaction::Off,
        count if revisions => AutoCompaction::Revisions(count),
        nanos => AutoCompaction::Periodic(GoDuration(nanos).at_least_zero()),
    })
}

/// `7d` in nanoseconds, which Go's durations cannot say.
fn days(typed: &str) -> Option<i64> {
    let days: u32 = typed.strip_suffix('d')?.parse().ok()?;
    i64::from(days).checked_mul(24 * NANOS_PER_HOUR)
}

fn auth(values: &Values, notes: &mut Vec<Note>) -> Auth {
    const COST_DEFAULT: u32 = 10;
    let given = values.unsigned(table::BCRYPT_COST);
    let bcrypt_cost = u32::try_from(given).ok().filter(|cost| (4..=31).contains(cost));
    if bcrypt_cost.is_none() {
        notes.push(
            Note::warn("use default bcrypt cost instead of the invalid given cost")
                .with("min-cost", 4)
                .with("max-cost", 31)
                .with("default-cost", COST_DEFAULT)
                .with("given-cost", given),
        );
    }
    let ttl = match values.unsigned(table::AUTH_TOKEN_TTL) {
        0 => 300,
        seconds => seconds,
    };
    Auth {
        // Read again, and refused there if malformed, by `Config::check_start`.
        tokens: Tokens::read(&values.text(table::AUTH_TOKEN)).unwrap_or(Tokens::None),
        bcrypt_cost: bcrypt_cost.unwrap_or(COST_DEFAULT),
        token_ttl: Duration::from_secs(ttl),
    }
}

fn http(values: &Values) -> Http {
    Http {
        gateway: values.truth(table::ENABLE_GRPC_GATEWAY),
        origins: values.words_or_all(table::CORS),
        hosts: values.words_or_all(table::HOST_WHITELIST),
        v2: values.truth(table::ENABLE_V2),
        metrics_extensive: values.text(table::METRICS) == "extensive",
    }
}

fn timers(values: &Values) -> Timers {
    Timers {
        corrupt_check: values.duration(table::CORRUPT_CHECK_TIME).positive(),
        compact_hash_check: values.duration(table::COMPACT_HASH_CHECK_TIME).at_least_zero(),
        watch_progress: values
            .duration_or(table::WATCH_PROGRESS_NOTIFY_INTERVAL, Duration::from_secs(600)),
        downgrade_check: values.duration_or(table::DOWNGRADE_CHECK_TIME, Duration::from_secs(5)),
        peer_read: values.duration(table::RAFT_READ_TIMEOUT).at_least_zero().max(PEER_SILENCE_MIN),
        peer_write: values
            .duration(table::RAFT_WRITE_TIMEOUT)
            .at_least_zero()
            .max(PEER_SILENCE_MIN),
        warn_apply: values.duration(table::WARNING_APPLY_DURATION).positive(),
        warn_unary: values.duration(table::WARNING_UNARY_REQUEST_DURATION).positive(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compaction(mode: &str, retention: &str) -> Result<AutoCompaction, String> {
        let mut values = Values::default();
        for (flag, typed) in
            [(table::AUTO_COMPACTION_MODE, mode), (table::AUTO_COMPACTION_RETENTION, retention)]
        {
            values.say(&flag, flag.kind.read(typed).expect("any text"));
        }
        auto_compaction(&values)
    }

    #[test]
    fn history_is_kept_by_time_or_by_number_and_nobody_mixes_them_up() {
        let hours = |hours: u64| Ok(AutoCompaction::Periodic(Duration::from_secs(hours * 3600)));
        assert_eq!(compaction("periodic", "5"), hours(5));
        assert_eq!(compaction("periodic", "30h"), hours(30));
        assert_eq!(compaction("periodic", "7d"), hours(168));
        assert_eq!(compaction("periodic", "0"), Ok(AutoCompaction::Off));
        assert_eq!(compaction("revision", "1000"), Ok(AutoCompaction::Revisions(1000)));
        let refused = compaction("revision", "1h").expect_err("a length of time is no number");
        assert!(refused.ends_with("did you mean --auto-compaction-mode=periodic?"), "{refused}");
        assert!(compaction("periodic", "1w").is_err());
    }
}

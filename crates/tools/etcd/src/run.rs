//! One member, from its first log line to its last.

use std::cell::OnceCell;
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;

use logging::{Logger, error, fatal, info, warn};
use metrics::Metrics;
use options::{AutoCompaction, Config, GoDuration, Note, Url, version};
use server::{ServeError, Serving};
use traces::Traces;

use crate::data_dir::{self, Kind};
use crate::refuse::{say_running, to_standard_error};
use crate::report::LogReport;
use crate::signals::{Door, Ending};
use crate::{discovery, host, notify, remarks, tracing};

/// The code Go's runtime ends a panicking process with.
const CODE_PANIC: i32 = 2;

/// Runs the member until a signal ends it or something fails.
pub fn run(config: &Config, notes: &[Note], words: &[String]) -> ExitCode {
    let log = match Logger::open(&config.log) {
        Ok(log) => log,
        Err(fault) => {
            let log = to_standard_error();
            say_running(&log, words);
            warn!(log, "failed to verify flags", "error" => logging::Fault(&fault));
            return ExitCode::FAILURE;
        }
    };
    end_at_a_panic(&log);
    notes.iter().for_each(|note| log.note(note));
    say_running(&log, words);
    let Err(fault) = serve(config.clone(), &log);
    if let Some(fault) = fault {
        fatal!(log, "discovery failed", "error" => fault);
    }
    ExitCode::FAILURE
}

/// Serves until a signal comes, and ends by it; the error is why it never came to that, if that is not said yet.
fn serve(mut config: Config, log: &Logger) -> Result<std::convert::Infallible, Option<String>> {
    let door = Door::open(log).map_err(|fault| format!("signals cannot be heard: {fault}"))?;
    look_at_data_dir(&config, log)?;
    info!(log, "configuring peer listeners", "listen-peer-urls" => &config.listen.peer);
    info!(log, "configuring client listeners", "listen-client-urls" => &config.listen.client);
    remarks::on_encryption(&config, log);
    let initialized = data_dir::has_log(&config);
    if !initialized {
        discovery::prepare(&mut config, log)?;
    }
    say_starting(&config, log, initialized);
    if !initialized {
        config.check_begin(&host::resolve).inspect_err(|fault| {
            error!(log, "bootstrap failed", "error" => fault);
        })?;
        discovery::join(&mut config, log).map_err(|_| None)?;
    }
    let config = &config;
    remarks::on_tokens(config, log);
    let metrics = Arc::new(Metrics::new(config.http.metrics_extensive));
    let report = Arc::new(LogReport::new(log, config, door.ender()));
    let traces = tracing::start(config, metrics.clone(), log)?;
    let follow = tracing::follower(traces.as_ref());
    let mut serving =
        server::start(config, metrics, report, follow).map_err(|fault| refused(log, &fault))?;
    say_serving(config, log, &serving);
    let asked = door.serve();
    let early = OnceCell::new();
    let gave_up = || match asked.try_recv() {
        Ok(signal) => early.set(signal).is_ok(),
        Err(_) => false,
    };
    let ready = serving.wait_until_ready(gave_up).map_err(|fault| in_gos_words(&fault))?;
    if ready {
        say_ready(config, log);
    }
    // As etcd: told also when the member is asked to end before it was ready, so that nobody waits on.
    notify::ready(log);
    let heard = || asked.recv().expect("the signals' thread never ends");
    let signal = early.into_inner().unwrap_or_else(heard);
    end(config, log, serving, traces, signal)
}

fn look_at_data_dir(config: &Config, log: &Logger) -> Result<(), String> {
    let dir = &config.data_dir;
    if config.data_dir_is_usual {
        warn!(log, "'data-dir' was empty; using default", "data-dir" => dir);
    }
    let kind = data_dir::look(dir, log)
        .map_err(|fault| format!("failed to list data directory: {fault}"))?;
    data_dir::remark_on_permissions(config, log);
    match kind {
        Kind::Empty => info!(
            log,
            "Initialize and start etcd server",
            "data-dir" => dir,
            "dir-type" => kind.name()
        ),
        Kind::Member => info!(
            log,
            "server has already been initialized",
            "data-dir" => dir,
            "dir-type" => kind.name()
        ),
        Kind::Proxy => return Err("v2 http proxy has already been deprecated in 3.6".into()),
        Kind::Both => {
            return Err("invalid datadir; both member and proxy directories exist".into());
        }
    }
    Ok(())
}

/// The line that tells what the server runs with.
fn say_starting(config: &Config, log: &Logger, initialized: bool) {
    let (system, processor) = version::platform();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let raft = &config.raft;
    let (mode, retention) = match config.auto_compaction {
        AutoCompaction::Off => ("periodic", GoDuration(0).to_string()),
        AutoCompaction::Periodic(period) => ("periodic", GoDuration::from(period).to_string()),
        AutoCompaction::Revisions(count) => ("revision", count.to_string()),
    };
    info!(
        log,
        "starting an etcd server",
        "etcd-version" => version::SERVER_VERSION,
        "holdfast-version" => version::OWN_VERSION,
        "git-sha" => version::COMMIT,
        "go-version" => version::BUILT_WITH,
        "go-os" => system,
        "go-arch" => processor,
        "max-cpu-available" => cores,
        "member-initialized" => initialized,
        "name" => &config.name,
        "data-dir" => &config.data_dir,
        "wal-dir" => config.wal_dir.clone().unwrap_or_default(),
        "member-dir" => config.data_dir.join("member"),
        "heartbeat-interval" => raft.heartbeat,
        "election-timeout" => raft.election,
        "initial-election-tick-advance" => raft.initial_election_tick_advance,
        "snapshot-count" => raft.snapshot_count,
        "snapshot-catchup-entries" => raft.snapshot_catchup_entries,
        "initial-advertise-peer-urls" => &config.advertise_peer_urls,
        "listen-peer-urls" => &config.listen.peer,
        "advertise-client-urls" => &config.advertise_client_urls,
        "listen-client-urls" => &config.listen.client,
        "listen-metrics-urls" => &config.listen.metrics,
        "initial-cluster" => &config.bootstrap.initial_cluster,
        "initial-cluster-state" => config.bootstrap.state.name(),
        "initial-cluster-token" => &config.bootstrap.token,
        "quota-backend-bytes" => config.limits.quota_shown(),
        "max-request-bytes" => config.limits.request_bytes_max,
        "max-concurrent-streams" => config.limits.concurrent_streams_max,
        "pre-vote" => raft.pre_vote,
        "auto-compaction-mode" => mode,
        "auto-compaction-retention" => retention
    );
}

fn say_serving(config: &Config, log: &Logger, serving: &Serving) {
    let room = serving.room();
    let limit = |limit: Option<u64>| limit.map_or("unlimited".into(), |files| files.to_string());
    let raised = room.descriptors.before != room.descriptors.now;
    info!(
        log,
        if raised { "raised the limit of open files" } else { "open files are limited" },
        "before" => limit(room.descriptors.before),
        "now" => limit(room.descriptors.now),
        "connections-max" => room.connections.max()
    );
    info!(
        log,
        "now serving peer/client/metrics",
        "local-member-id" => format!("{:x}", serving.node().member()),
        "initial-advertise-peer-urls" => &config.advertise_peer_urls,
        "listen-peer-urls" => &config.listen.peer,
        "advertise-client-urls" => &config.advertise_client_urls,
        "listen-client-urls" => &config.listen.client,
        "listen-metrics-urls" => &config.listen.metrics
    );
    for url in &config.listen.peer {
        info!(log, "serving peer traffic", "address" => url.address());
    }
}

fn say_ready(config: &Config, log: &Logger) {
    info!(log, "ready to serve client requests");
    let listen = &config.listen;
    let shared = if listen.client_http.is_empty() { "grpc+http" } else { "grpc" };
    let say = |urls: &[Url], traffic: &str| {
        for url in urls {
            let how = match url.scheme().is_secure() {
                true => "serving client traffic securely",
                false => "serving client traffic insecurely; this is strongly discouraged!",
            };
            info!(log, how, "traffic" => traffic, "address" => url.address());
        }
    };
    say(&listen.client, shared);
    say(&listen.client_http, "http");
    for url in &listen.metrics {
        info!(log, "serving metrics", "address" => url.address());
    }
}

/// Ends in order, then by the signal that asked for it.
fn end(
    config: &Config,
    log: &Logger,
    serving: Serving,
    traces: Option<Traces>,
    ending: Ending,
) -> ! {
    let say = |message: &str| {
        info!(
            log,
            message,
            "name" => &config.name,
            "data-dir" => &config.data_dir,
            "advertise-peer-urls" => &config.advertise_peer_urls,
            "advertise-client-urls" => &config.advertise_client_urls
        );
    };
    say("closing etcd server");
    if serving.node().cluster().members.conf_state().voters.len() == 1 {
        info!(
            log,
            "skipped leadership transfer for single voting member cluster",
            "local-member-id" => format!("{:x}", serving.node().member())
        );
    }
    serving.stop();
    if let Some(traces) = traces {
        traces.stop();
    }
    say("closed etcd server");
    match ending {
        Ending::Asked(signal) => signal.die(),
        Ending::Removed => std::process::exit(0),
    }
}

/// Why nothing is served, if that is not said yet.
fn refused(log: &Logger, fault: &ServeError) -> Option<String> {
    let ServeError::Encryption(server::EncryptionError::SelfSigned { source, .. }) = fault else {
        return Some(in_gos_words(fault));
    };
    fatal!(log, &fault.to_string(), "error" => source.to_string());
    None
}

/// A taken port in the words people look for; everything else with its causes.
fn in_gos_words(fault: &ServeError) -> String {
    if let ServeError::Listen { url, source } = fault {
        let why = match source.kind() {
            std::io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => {
                "bind: cannot assign requested address".to_owned()
            }
            std::io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
            _ => source.to_string(),
        };
        let address = url.split_once("://").map_or(url.as_str(), |(_, address)| address);
        if let Some((_, port)) = address.rsplit_once(':').filter(|(_, port)| is_too_large(port)) {
            return format!("listen tcp: address {port}: invalid port");
        }
        let network = if url.starts_with("unix") { "unix" } else { "tcp" };
        return format!("listen {network} {address}: {why}");
    }
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

fn is_too_large(port: &str) -> bool {
    port.parse::<u64>().is_ok_and(|port| port > u64::from(u16::MAX))
}

/// Whichever thread meets an impossibility, the process logs it and is gone.
pub fn end_at_a_panic(log: &Logger) {
    let log = log.clone();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("(not a text)");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        logging::log_at!(
            logging::Level::Panic,
            log,
            "an impossibility came true; ending at once",
            "panic" => text,
            "place" => place,
            "thread" => thread
        );
        std::process::exit(CODE_PANIC);
    }));
}

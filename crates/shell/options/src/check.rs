//! What a configuration must hold to: etcd's own checks, in etcd's order and words, then ours.
//!
//! The order matters, since of two faults the first one is reported.

use crate::addresses::{Addresses, Origin, cluster_state};
use crate::config::TlsVersion;
use crate::flag::{Does, Text};
use crate::note::Note;
use crate::table;
use crate::url::{Url, join};
use crate::values::Values;
use go::quote;

/// Longest election timeout, in milliseconds.
const ELECTION_MILLIS_MAX: u64 = 50_000;

/// etcd's own checks, in etcd's order and words.
pub(crate) fn check(
    values: &Values,
    origin: Origin,
    addresses: &Addresses,
    notes: &mut Vec<Note>,
) -> Result<(), String> {
    if origin == Origin::File {
        cluster_state(values)?;
    } else if values.text(table::DISCOVERY_FALLBACK) == "proxy" {
        return Err("v2 proxy is deprecated, and --discovery-fallback can't be configured as \
                    \"proxy\""
            .into());
    }
    check_urls(addresses, notes)?;
    check_discovery(values)?;
    check_times(values)?;
    if addresses.advertise_client_missing {
        return Err(ADVERTISE_MISSING.into());
    }
    match values.text(table::AUTO_COMPACTION_MODE).as_str() {
        "periodic" | "revision" => {}
        "" => return Err("undefined auto-compaction-mode".into()),
        other => return Err(format!("unknown auto-compaction-mode {}", quote(other))),
    }
    check_tracing(values)?;
    values.gates(table::FEATURE_GATES).check()?;
    let hash_check = values.duration(table::COMPACT_HASH_CHECK_TIME);
    if hash_check.positive().is_none() {
        return Err(format!("--compact-hash-check-time must be >0 (set to {hash_check})"));
    }
    if values.text(table::NAME) == "default" {
        notes.push(Note::warn(DEFAULT_NAME).with("name", "default"));
    }
    check_tls_versions(values)
}

/// The error that has a second log line of its own.
pub const ADVERTISE_MISSING: &str =
    "--advertise-client-urls is required when --listen-client-urls is set explicitly";

const DEFAULT_NAME: &str = "it isn't recommended to use default name, please set a value for \
    --name. Note that etcd might run into issue when multiple members have the same default name";

fn check_urls(addresses: &Addresses, notes: &mut Vec<Note>) -> Result<(), String> {
    let bindable = |urls: &[Url]| urls.iter().try_for_each(Url::check_bindable);
    let advertisable = |urls: &[Url]| urls.iter().try_for_each(Url::check_advertisable);
    bindable(&addresses.listen_peer)?;
    bindable(&addresses.listen_client)?;
    bindable(&addresses.listen_client_http)?;
    if addresses.listen_client_http.is_empty() {
        notes.push(Note::warn(
            "Running http and grpc server on single port. This is not recommended for production.",
        ));
    }
    bindable(&addresses.listen_metrics)?;
    advertisable(&addresses.advertise_peer).map_err(|why| {
        let urls = join(&addresses.advertise_peer);
        format!("--initial-advertise-peer-urls {} must be \"host:port\" ({why})", quote(&urls))
    })?;
    advertisable(&addresses.advertise_client).map_err(|why| {
        let urls = join(&addresses.advertise_client);
        format!(
            "--advertise-client-urls {} must be in the format \"host:port\", \
             \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({why})",
            quote(&urls)
        )
    })
}

fn check_discovery(values: &Values) -> Result<(), String> {
    let token = !values.text(table::DISCOVERY_TOKEN).is_empty();
    let endpoints = values.words(table::DISCOVERY_ENDPOINTS);
    let has_endpoints = endpoints.iter().any(|endpoint| !endpoint.is_empty());
    let srv = !values.text(table::DISCOVERY_SRV).is_empty();
    let cluster = values.is_said(&table::INITIAL_CLUSTER);
    if [cluster, token || has_endpoints, srv].into_iter().filter(|said| *said).count() > 1 {
        return Err("multiple discovery or bootstrap flags are set. Choose one of \
                    \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""
            .into());
    }
    if token != has_endpoints {
        return Err("both --discovery-token and --discovery-endpoints must be set".into());
    }
    if has_endpoints && endpoints.iter().any(String::is_empty) {
        return Err("--discovery-endpoints must not contain empty endpoints".into());
    }
    Ok(())
}

/// What etcd checks, in its words.
fn check_tracing(values: &Values) -> Result<(), String> {
    let why = match values.signed(table::DISTRIBUTED_TRACING_SAMPLING_RATE) {
        _ if !values.truth(table::ENABLE_DISTRIBUTED_TRACING) => return Ok(()),
        0..=1_000_000 => return Ok(()),
        ..0 => "positive",
        1_000_001.. => "less than 1000000",
    };
    Err(format!(
        "distributed tracing configurition is not valid: (tracing sampling rate must be {why})"
    ))
}

fn check_times(values: &Values) -> Result<(), String> {
    let heartbeat = values.unsigned(table::HEARTBEAT_INTERVAL);
    let election = values.unsigned(table::ELECTION_TIMEOUT);
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".into());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".into());
    }
    if election < heartbeat.saturating_mul(5) {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > ELECTION_MILLIS_MAX {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_MILLIS_MAX}ms"
        ));
    }
    Ok(())
}

/// A version of TLS; nothing leaves the choice open.
pub(crate) fn tls_version(typed: &str) -> Result<Option<TlsVersion>, String> {
    match typed {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(TlsVersion::V12)),
        "TLS1.3" => Ok(Some(TlsVersion::V13)),
        other => {
            Err(format!("unexpected TLS version {} (must be one of: TLS1.2, TLS1.3)", quote(other)))
        }
    }
}

fn check_tls_versions(values: &Values) -> Result<(), String> {
    let version = |flag: Text| tls_version(&values.text(flag));
    let (min, max) = (version(table::TLS_MIN_VERSION)?, version(table::TLS_MAX_VERSION)?);
    if max.is_some() && min > max {
        let (min, max) = (values.text(table::TLS_MIN_VERSION), values.text(table::TLS_MAX_VERSION));
        return Err(format!("min version ({min}) is greater than max version ({max})"));
    }
    let suites = values.words(table::CIPHER_SUITES).iter().any(|suite| !suite.is_empty());
    if suites && min == Some(TlsVersion::V13) {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".into());
    }
    Ok(())
}

/// Refuses by name whatever asks for something this server cannot do yet.
pub(crate) fn refuse_what_is_not_built(values: &Values) -> Result<(), String> {
    for flag in table::all_settings().filter(|flag| values.differs(flag)) {
        if let Does::Refused(why) = flag.does {
            return Err(format!("--{} cannot be set: {why}", flag.name));
        }
    }
    Ok(())
}

//! The flags of `etcd grpc-proxy start`.

use std::path::PathBuf;
use std::time::Duration;

use client::{Config, Credentials, Remarks, TlsOptions};
use go::quote;
use tls::{Version, Versions};

use super::common::{
    DISCOVERY_SRV, DISCOVERY_SRV_NAME, ENDPOINTS, INSECURE_DISCOVERY, LISTEN_ADDR, TRUSTED_CA_FILE,
    discovery, flag,
};
use crate::discovery::Discovery;
use crate::flags::{Kind, Program, Values};

/// What `etcd grpc-proxy start` was told.
#[derive(Clone, Debug)]
pub struct GrpcProxyOptions {
    /// Where it listens: `host:port`.
    pub listen: String,
    /// How endpoints are discovered.
    pub discovery: Discovery,
    /// The servers, and how they are called.
    pub config: Config,
    /// How often the list of members is read again; `None` for never.
    pub auto_sync: Option<Duration>,
    /// A URL for metrics and health; empty for none.
    pub metrics_addr: String,
    /// What `MemberList` says.
    pub advertised: Advertised,
    /// What all keys begin with.
    pub namespace: String,
    /// Where certificates are kept that it makes.
    pub data_dir: PathBuf,
    /// What its listeners encrypt with.
    pub tls: ListenTls,
    /// Streams that a client may have open at once.
    pub concurrent_streams_max: u32,
    /// A client that pings more often is sent away.
    pub keepalive_min_time: Duration,
    /// Silence after which a client is pinged; zero for never.
    pub keepalive_interval: Duration,
    /// How long its answer may take.
    pub keepalive_timeout: Duration,
    /// Whether reads never go back in time.
    pub ordering: bool,
    /// Whether each call is logged.
    pub logs_calls: bool,
    /// Whether the log tells what is for finding faults.
    pub debug: bool,
}

/// What `MemberList` says of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// `--advertise-client-url`; empty to answer with the cluster's members.
    pub address: String,
    /// `--resolver-prefix`; empty to register nothing.
    pub prefix: String,
    /// `--resolver-ttl`, in seconds.
    pub ttl: i64,
}

/// The flags of the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenTls {
    /// `--cert-file`.
    pub cert: String,
    /// `--key-file`.
    pub key: String,
    /// `--trusted-ca-file`.
    pub trusted_ca: String,
    /// `--auto-tls`.
    pub auto: bool,
    /// `--client-crl-file`.
    pub crl: String,
    /// `--listen-cipher-suites`.
    pub suites: Vec<String>,
    /// `--self-signed-cert-validity`, in years.
    pub years: u64,
    /// `--tls-min-version`.
    pub min: String,
    /// `--tls-max-version`.
    pub max: String,
}

/// How often servers are pinged where nothing is said: one that is cut off would never be noticed otherwise.
const PING_INTERVAL_USUAL: Duration = Duration::from_secs(60);

const LEASING_PREFIX: &str = "experimental-leasing-prefix";

/// `etcd grpc-proxy`.
pub const PROGRAM: Program = Program {
    name: "grpc-proxy",
    about: "grpc-proxy related command",
    start: "start the grpc proxy",
    flags: &[
        flag(
            "advertise-client-url",
            Kind::Text,
            "127.0.0.1:23790",
            "advertise address to register (must be reachable by client)",
        ),
        flag("auto-tls", Kind::Bool, "false", "proxy TLS using generated certificates"),
        flag(
            "cacert",
            Kind::Text,
            "",
            "verify certificates of TLS-enabled secure etcd servers using this CA bundle",
        ),
        flag(
            "cert",
            Kind::Text,
            "",
            "identify secure connections with etcd servers using this TLS certificate file",
        ),
        flag(
            "cert-file",
            Kind::Text,
            "",
            "identify secure connections to the proxy using this TLS certificate file",
        ),
        flag("client-crl-file", Kind::Text, "", "proxy client certificate revocation list file."),
        flag("data-dir", Kind::Text, "default.proxy", "Data directory for persistent data"),
        flag("debug", Kind::Bool, "false", "Enable debug-level logging for grpc-proxy."),
        flag(
            "dial-keepalive-time",
            Kind::Duration,
            "0s",
            "keepalive time for client(grpc-proxy) connections (default 0, disable).",
        ),
        flag(
            "dial-keepalive-timeout",
            Kind::Duration,
            "20s",
            "keepalive timeout for client(grpc-proxy) connections (default 20s).",
        ),
        flag(
            DISCOVERY_SRV,
            Kind::Text,
            "",
            "domain name to query for SRV records describing cluster endpoints",
        ),
        flag(DISCOVERY_SRV_NAME, Kind::Text, "", "service name to query when using DNS discovery"),
        flag(
            "enable-pprof",
            Kind::Bool,
            "false",
            "Enable runtime profiling data via HTTP server. Address is at client URL + \
             \"/debug/pprof/\"",
        ),
        flag(ENDPOINTS, Kind::Texts, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
        flag(
            "endpoints-auto-sync-interval",
            Kind::Duration,
            "0s",
            "etcd endpoints auto sync interval (disabled by default)",
        ),
        flag(
            "experimental-enable-grpc-logging",
            Kind::Bool,
            "false",
            "logging all grpc requests and responses",
        ),
        flag(
            LEASING_PREFIX,
            Kind::Text,
            "",
            "leasing metadata prefix for disconnected linearized reads.",
        ),
        flag(
            "experimental-serializable-ordering",
            Kind::Bool,
            "false",
            "Ensure serializable reads have monotonically increasing store revisions across endpoints.",
        ),
        flag(
            "grpc-keepalive-interval",
            Kind::Duration,
            "2h0m0s",
            "Frequency duration of server-to-client ping to check if a connection is alive (0 to disable).",
        ),
        flag(
            "grpc-keepalive-min-time",
            Kind::Duration,
            "5s",
            "Minimum interval duration that a client should wait before pinging proxy.",
        ),
        flag(
            "grpc-keepalive-timeout",
            Kind::Duration,
            "20s",
            "Additional duration of wait before closing a non-responsive connection (0 to disable).",
        ),
        flag(INSECURE_DISCOVERY, Kind::Bool, "false", "accept insecure SRV records"),
        flag(
            "insecure-skip-tls-verify",
            Kind::Bool,
            "false",
            "skip authentication of etcd server TLS certificates (CAUTION: this option should be \
             enabled only for testing purposes)",
        ),
        flag(
            "key",
            Kind::Text,
            "",
            "identify secure connections with etcd servers using this TLS key file",
        ),
        flag(
            "key-file",
            Kind::Text,
            "",
            "identify secure connections to the proxy using this TLS key file",
        ),
        flag(LISTEN_ADDR, Kind::Text, "127.0.0.1:23790", "listen address"),
        flag(
            "listen-cipher-suites",
            Kind::Texts,
            "",
            "Comma-separated list of supported TLS cipher suites between client/proxy (empty will be \
             auto-populated by Go).",
        ),
        flag(
            "max-concurrent-streams",
            Kind::Uint32,
            "4294967295",
            "Maximum concurrent streams that each client can open at a time.",
        ),
        flag(
            "max-recv-bytes",
            Kind::Int,
            "2147483647",
            "message receive limits in bytes (default value is math.MaxInt32)",
        ),
        flag(
            "max-send-bytes",
            Kind::Int,
            "1572864",
            "message send limits in bytes (default value is 1.5 MiB)",
        ),
        flag(
            "metrics-addr",
            Kind::Text,
            "",
            "listen for endpoint /metrics requests on an additional interface",
        ),
        flag("namespace", Kind::Text, "", "string to prefix to all keys for namespacing requests"),
        flag(
            "permit-without-stream",
            Kind::Bool,
            "false",
            "Enable client(grpc-proxy) to send keepalive pings even with no active RPCs.",
        ),
        flag(
            "resolver-prefix",
            Kind::Text,
            "",
            "prefix to use for registering proxy (must be shared with other grpc-proxy members)",
        ),
        flag(
            "resolver-ttl",
            Kind::Int,
            "0",
            "specify TTL, in seconds, when registering proxy endpoints",
        ),
        flag(
            "self-signed-cert-validity",
            Kind::Uint,
            "1",
            "The validity period of the proxy certificates, unit is year",
        ),
        flag(
            "tls-max-version",
            Kind::Text,
            "",
            "Maximum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3 (empty \
             defers to Go).",
        ),
        flag(
            "tls-min-version",
            Kind::Text,
            "TLS1.2",
            "Minimum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3.",
        ),
        flag(
            TRUSTED_CA_FILE,
            Kind::Text,
            "",
            "verify certificates of TLS-enabled secure proxy using this CA bundle",
        ),
    ],
};

/// What the flags come to.
///
/// # Errors
/// Flags that do not go together, in etcd's words.
pub fn options(values: &Values) -> Result<GrpcProxyOptions, String> {
    let advertised = advertised(values)?;
    let tls = ListenTls {
        cert: values.text("cert-file"),
        key: values.text("key-file"),
        trusted_ca: values.text(TRUSTED_CA_FILE),
        auto: values.truth("auto-tls"),
        crl: values.text("client-crl-file"),
        suites: values.texts("listen-cipher-suites"),
        years: values.uint("self-signed-cert-validity"),
        min: values.text("tls-min-version"),
        max: values.text("tls-max-version"),
    };
    tls.check()?;
    if !values.text(LEASING_PREFIX).is_empty() {
        return Err(format!("--{LEASING_PREFIX} is not supported by this proxy"));
    }
    Ok(GrpcProxyOptions {
        listen: values.text(LISTEN_ADDR),
        discovery: discovery(values),
        config: config(values),
        auto_sync: values.duration("endpoints-auto-sync-interval").positive(),
        metrics_addr: values.text("metrics-addr"),
        advertised,
        namespace: values.text("namespace"),
        data_dir: values.text("data-dir").into(),
        tls,
        concurrent_streams_max: u32::try_from(values.uint("max-concurrent-streams"))
            .unwrap_or(u32::MAX),
        keepalive_min_time: values.span("grpc-keepalive-min-time"),
        keepalive_interval: values.span("grpc-keepalive-interval"),
        keepalive_timeout: values.span("grpc-keepalive-timeout"),
        ordering: values.truth("experimental-serializable-ordering"),
        logs_calls: values.truth("experimental-enable-grpc-logging"),
        debug: values.truth("debug"),
    })
}

fn advertised(values: &Values) -> Result<Advertised, String> {
    let address = values.text("advertise-client-url");
    let (prefix, ttl) = (values.text("resolver-prefix"), values.int("resolver-ttl"));
    match (prefix.is_empty(), ttl) {
        (false, ..1) => Err(format!("invalid resolver-ttl {ttl}")),
        (true, 1..) => Err(format!("invalid resolver-prefix {}", quote(&prefix))),
        (false, 1..) if address.is_empty() => {
            Err(format!("invalid advertise-client-url {}", quote(&address)))
        }
        _ => Ok(Advertised { address, prefix, ttl }),
    }
}

fn config(values: &Values) -> Config {
    let bytes = |name| usize::try_from(values.int(name)).unwrap_or_default();
    let skip_verify = values.truth("insecure-skip-tls-verify");
    let span = |name, usual| values.duration(name).positive().unwrap_or(usual);
    Config {
        endpoints: values.texts(ENDPOINTS),
        keepalive_time: span("dial-keepalive-time", PING_INTERVAL_USUAL),
        keepalive_timeout: span("dial-keepalive-timeout", Duration::from_secs(20)),
        pings_without_calls: values.truth("permit-without-stream"),
        request_bytes_max: bytes("max-send-bytes"),
        receive_bytes_max: bytes("max-recv-bytes"),
        tls: TlsOptions {
            cert: values.text("cert"),
            key: values.text("key"),
            cacert: values.text("cacert"),
            server_name: String::new(),
            insecure_transport: true,
            skip_verify,
        },
        credentials: Credentials::None,
        remarks: Remarks::nowhere(),
        ..Config::default()
    }
}

fn version(typed: &str) -> Result<Option<Version>, String> {
    match typed {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(Version::Tls12)),
        "TLS1.3" => Ok(Some(Version::Tls13)),
        other => Err(format!(
            "unexpected TLS version {} (must be one of: TLS1.2, TLS1.3)",
            go::quote(other)
        )),
    }
}

impl ListenTls {
    /// What is wrong with the flags, in etcd's words.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<Versions, String> {
        if self.auto && self.years == 0 {
            return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
        }
        let usual = Versions::default();
        let min = version(&self.min).map_err(|why| format!("tls-min-version is invalid: {why}"))?;
        let max = version(&self.max).map_err(|why| format!("tls-max-version is invalid: {why}"))?;
        let versions = Versions { min: min.unwrap_or(usual.min), max: max.unwrap_or(usual.max) };
        if versions.max < versions.min {
            let (min, max) = (&self.min, &self.max);
            return Err(format!("min version ({min}) is greater than max version ({max})"));
        }
        if min == Some(Version::Tls13) && !self.suites.is_empty() {
            return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
        }
        Ok(versions)
    }
}

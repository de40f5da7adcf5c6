//! Flags about watching the server: metrics, traces, logs.

use crate::flag::Does::{Its, Nothing, Refused, RenamedTo};
use crate::flag::{Flag, Kind, Signed, Span, Text, Truth, Urls, Words};

flags! {
    /// Monitoring.
    MONITORING:
    ENABLE_PPROF: Truth = "enable-pprof", Kind::Bool, "false", "all", Nothing("There is no Go runtime to profile."), "Serves profiles at /debug/pprof/.";
    METRICS: Text = "metrics", Kind::Text, "basic", "all", Its, "basic, or extensive for how long each kind of call takes.";
    LISTEN_METRICS_URLS: Urls = "listen-metrics-urls", Kind::Urls, "", "all", Its, "Where else to serve /metrics, /health, /livez and /readyz.";
    ENABLE_DISTRIBUTED_TRACING: Truth = "enable-distributed-tracing", Kind::Bool, "false", "3.6+", Its, "Exports traces of calls, by OTLP over gRPC.";
    DISTRIBUTED_TRACING_ADDRESS: Text = "distributed-tracing-address", Kind::Text, "localhost:4317", "3.6+", Its, "Where traces are sent: host and port of a collector, spoken to in the clear.";
    DISTRIBUTED_TRACING_SERVICE_NAME: Text = "distributed-tracing-service-name", Kind::Text, "etcd", "3.6+", Its, "The service traces are filed under.";
    DISTRIBUTED_TRACING_INSTANCE_ID: Text = "distributed-tracing-instance-id", Kind::Text, "", "3.6+", Its, "The instance traces are filed under.";
    DISTRIBUTED_TRACING_SAMPLING_RATE: Signed = "distributed-tracing-sampling-rate", Kind::Signed("int"), "0", "3.6+", Its, "Calls traced, of a million whose caller does not say itself.";
}

flags! {
    /// Logging.
    LOGGING:
    LOGGER: Text = "logger", Kind::Text, "zap", "all", Its, "The kind of log: zap.";
    LOG_OUTPUTS: Words = "log-outputs", Kind::Words, "default", "all", Its, "Where the log goes: default, stderr, stdout, systemd/journal or files.";
    LOG_OUTPUT: Words = "log-output", Kind::Words, "default", "3.4", RenamedTo("log-outputs"), "Where the log goes.";
    LOG_LEVEL: Text = "log-level", Kind::Text, "info", "all", Its, "The least serious lines to log: debug, info, warn, error, panic or fatal.";
    LOG_FORMAT: Text = "log-format", Kind::Text, "json", "3.6+", Its, "How lines are written: json or console.";
    ENABLE_LOG_ROTATION: Truth = "enable-log-rotation", Kind::Bool, "false", "3.5+", Its, "Begins a new log file when the old one is full; needs a single file as output.";
    LOG_ROTATION_CONFIG_JSON: Text = "log-rotation-config-json", Kind::Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", "3.5+", Its, "When a log file is full and how many old ones are kept.";
    LOG_PACKAGE_LEVELS: Text = "log-package-levels", Kind::Text, "", "3.4", Refused("levels by package are gone since etcd 3.5; use --log-level"), "Levels by package.";
    DEBUG: Truth = "debug", Kind::Bool, "false", "3.4", Refused("it is gone since etcd 3.5; use --log-level=debug"), "Logs at level debug.";
    WARNING_APPLY_DURATION: Span = "warning-apply-duration", Kind::Duration, "100ms", "3.6+", Its, "Warns of entries that take longer to apply.";
    WARNING_UNARY_REQUEST_DURATION: Span = "warning-unary-request-duration", Kind::Duration, "300ms", "3.6+", Its, "Warns of requests that take longer to answer.";
}

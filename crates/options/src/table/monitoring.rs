//! Flags about watching the server: metrics, traces, logs.

use super::flag;
use crate::flag::Does::{Its, Nothing, Refused, RenamedTo};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Duration, Signed, Text, Urls, Words};

/// Monitoring.
#[rustfmt::skip] // One flag a line.
pub(super) const MONITORING: &[Flag] = &[
    flag("enable-pprof", Bool, "false", "all", Nothing("There is no Go runtime to profile."), "Serves profiles at /debug/pprof/."),
    flag("metrics", Text, "basic", "all", Its, "basic, or extensive for how long each kind of call takes."),
    flag("listen-metrics-urls", Urls, "", "all", Its, "Where else to serve /metrics, /health, /livez and /readyz."),
    flag("enable-distributed-tracing", Bool, "false", "3.6+", Refused("traces are not exported yet"), "Exports traces."),
    flag("distributed-tracing-address", Text, "localhost:4317", "3.6+", Nothing("Matters only with --enable-distributed-tracing, which is refused."), "Where traces are sent."),
    flag("distributed-tracing-service-name", Text, "etcd", "3.6+", Nothing("Matters only with --enable-distributed-tracing, which is refused."), "The service traces are filed under."),
    flag("distributed-tracing-instance-id", Text, "", "3.6+", Nothing("Matters only with --enable-distributed-tracing, which is refused."), "The instance traces are filed under."),
    flag("distributed-tracing-sampling-rate", Signed("int"), "0", "3.6+", Nothing("Matters only with --enable-distributed-tracing, which is refused."), "Requests traced, in a million."),
];

/// Logging.
#[rustfmt::skip] // One flag a line.
pub(super) const LOGGING: &[Flag] = &[
    flag("logger", Text, "zap", "all", Its, "The kind of log: zap."),
    flag("log-outputs", Words, "default", "all", Its, "Where the log goes: default, stderr, stdout, systemd/journal or files."),
    flag("log-output", Words, "default", "3.4", RenamedTo("log-outputs"), "Where the log goes."),
    flag("log-level", Text, "info", "all", Its, "The least serious lines to log: debug, info, warn, error, panic or fatal."),
    flag("log-format", Text, "json", "3.6+", Its, "How lines are written: json or console."),
    flag("enable-log-rotation", Bool, "false", "3.5+", Its, "Begins a new log file when the old one is full; needs a single file as output."),
    flag("log-rotation-config-json", Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", "3.5+", Its, "When a log file is full and how many old ones are kept."),
    flag("log-package-levels", Text, "", "3.4", Refused("levels by package are gone since etcd 3.5; use --log-level"), "Levels by package."),
    flag("debug", Bool, "false", "3.4", Refused("it is gone since etcd 3.5; use --log-level=debug"), "Logs at level debug."),
    flag("warning-apply-duration", Duration, "100ms", "3.6+", Its, "Warns of entries that take longer to apply."),
    flag("warning-unary-request-duration", Duration, "300ms", "3.6+", Its, "Warns of requests that take longer to answer."),
];

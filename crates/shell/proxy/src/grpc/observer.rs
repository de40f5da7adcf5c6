//! Counts calls, and tells the log of them where it was asked to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use logging::{Caller, Field, Level, Logger, info};
use metrics::ProxyMetrics;
use net::RemoteAddress;
use rpc::{Ended, Method, Observer};
use types::Code;

/// Feeds `grpc_server_*` and the log.
#[derive(Debug)]
pub struct Watching {
    /// What is counted.
    pub metrics: Arc<ProxyMetrics>,
    /// Where connections that failed are told.
    pub log: Logger,
    /// `--experimental-enable-grpc-logging`.
    pub logs_calls: bool,
}

impl net::Observer for Watching {
    fn rejected(&self, address: &RemoteAddress, why: &io::Error) {
        let tls::Rejected { went_away, fields } = tls::rejected(address, why);
        let level = if went_away { Level::Debug } else { Level::Warn };
        let fields: Vec<(&str, &dyn Field)> =
            fields.iter().map(|(name, value)| (*name, value as &dyn Field)).collect();
        self.log.write(level, Caller::here(), "rejected connection on client endpoint", &fields);
    }
}

impl Observer for Watching {
    fn started(&self, method: &Method) {
        if let Some(rpc) = method.rpc {
            self.metrics.grpc.of(rpc).started.inc();
        }
    }

    fn received(&self, method: &Method, _bytes: usize) {
        if let Some(rpc) = method.rpc {
            self.metrics.grpc.of(rpc).received.inc();
        }
    }

    fn sent(&self, method: &Method, _bytes: usize) {
        if let Some(rpc) = method.rpc {
            self.metrics.grpc.of(rpc).sent.inc();
        }
    }

    fn handled(&self, method: &Method, code: Code, took: Duration) {
        if let Some(rpc) = method.rpc {
            self.metrics.grpc.of(rpc).ended(code, took.as_secs_f64());
        }
        if self.logs_calls {
            info!(
                self.log,
                "finished call",
                "grpc.service" => method.service,
                "grpc.method" => method.name,
                "grpc.code" => code.name(),
                "grpc.duration" => took
            );
        }
    }

    fn ended(&self, call: &Ended<'_>) {
        if self.logs_calls {
            // Sizes only: a request may hold a password, and a value is nobody's business.
            info!(
                self.log,
                "finished unary call",
                "grpc.service" => call.method.service,
                "grpc.method" => call.method.name,
                "remote" => call.remote.address.to_string(),
                "request-bytes" => call.request.len(),
                "response-bytes" => call.response_bytes,
                "grpc.duration" => call.took
            );
        }
    }
}

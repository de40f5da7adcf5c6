//! Counts every call for the metrics.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{MethodMetrics, Metrics};
use rpc::{Method, Observer};
use types::Code;

/// Feeds `grpc_server_*` and the byte counters. The counters of a method are looked up once.
pub(crate) struct Counting {
    metrics: Arc<Metrics>,
    positions: Vec<OnceLock<Option<usize>>>,
}

impl Counting {
    /// For a router of so many methods.
    pub(crate) fn new(metrics: Arc<Metrics>, methods: usize) -> Counting {
        let positions = std::iter::repeat_with(OnceLock::new).take(methods).collect();
        Counting { metrics, positions }
    }

    fn of(&self, method: &Method) -> Option<&MethodMetrics> {
        let position = self.positions[method.index]
            .get_or_init(|| self.metrics.grpc.position(method.service, method.name));
        position.map(|position| self.metrics.grpc.at(position))
    }
}

impl Observer for Counting {
    fn started(&self, method: &Method) {
        if let Some(counters) = self.of(method) {
            counters.started.inc();
        }
    }

    fn received(&self, method: &Method, bytes: usize) {
        self.metrics.network.client_received_bytes.add(bytes as u64);
        if let Some(counters) = self.of(method) {
            counters.received.inc();
        }
    }

    fn sent(&self, method: &Method, bytes: usize) {
        self.metrics.network.client_sent_bytes.add(bytes as u64);
        if let Some(counters) = self.of(method) {
            counters.sent.inc();
        }
    }

    fn handled(&self, method: &Method, code: Code, took: Duration) {
        if let Some(counters) = self.of(method) {
            counters.ended(code, took.as_secs_f64());
        }
    }
}

//! Counts every call for the metrics, and tells of unary calls that took too long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{MethodMetrics, Metrics};
use net::{Remote, RemoteAddress};
use node::{Report, SlowCall};
use proto::etcdserverpb as pb;
use rpc::{Ended, Follow, Metadata, Method, Observer, Traced};
use types::Code;

use crate::encryption::rejected;

/// Feeds `grpc_server_*` and the byte counters.
pub(crate) struct Counting {
    metrics: Arc<Metrics>,
    /// What a call may take before an operator is told; `None` for as long as it likes.
    warn_unary: Option<Duration>,
    pub(crate) report: Arc<dyn Report>,
    /// Who follows calls; `None` where traces are off.
    follow: Option<Arc<dyn Follow>>,
}

impl Counting {
    /// Counts into `metrics`, and reports what is slow.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        warn_unary: Option<Duration>,
        report: Arc<dyn Report>,
        follow: Option<Arc<dyn Follow>>,
    ) -> Counting {
        Counting { metrics, warn_unary, report, follow }
    }

    fn of(&self, method: &Method) -> Option<&MethodMetrics> {
        method.rpc.map(|rpc| self.metrics.grpc.of(rpc))
    }
}

impl net::Observer for Counting {
    fn rejected(&self, address: &RemoteAddress, why: &io::Error) {
        self.report.line(&rejected("rejected connection on client endpoint", address, why));
    }
}

/// Tells of connections that failed their handshake, on ports that are not for calls.
pub(crate) struct Refusals(pub(crate) Arc<dyn Report>);

impl net::Observer for Refusals {
    fn rejected(&self, address: &RemoteAddress, why: &io::Error) {
        self.0.line(&rejected("rejected connection on client endpoint", address, why));
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

    fn trace(&self, method: &Method, metadata: &Metadata, remote: &Remote) -> Traced {
        self.follow.as_ref()?.follow(method, metadata, remote)
    }

    fn ended(&self, call: &Ended<'_>) {
        if self.warn_unary.is_none_or(|most| call.took <= most) {
            return;
        }
        self.report.slow_call(&SlowCall {
            method: call.method.path,
            remote: call.remote.address.to_string(),
            request: described(call.method.path, call.request),
            took: call.took,
            request_bytes: call.request.len(),
            response_bytes: call.response_bytes,
        });
    }
}

/// What was asked, for the log: keys, never values.
fn described(method: &str, request: &Bytes) -> String {
    fn read<M: prost::Message + Default>(request: &Bytes, show: impl Fn(M) -> String) -> String {
        M::decode(request.clone()).map(show).unwrap_or_default()
    }
    match method.rsplit('/').next() {
        Some("Put") => read(request, |put: pb::PutRequest| {
            let key = shown(&put.key);
            format!("key:{key} value_size:{} lease:{}", put.value.len(), put.lease)
        }),
        Some("Range") => read(request, |range: pb::RangeRequest| described_range(&range)),
        Some("DeleteRange") => read(request, |delete: pb::DeleteRangeRequest| {
            format!("key:{} range_end:{}", shown(&delete.key), shown(&delete.range_end))
        }),
        Some("Txn") => read(request, |txn: pb::TxnRequest| {
            let (success, failure) = (txn.success.len(), txn.failure.len());
            format!("compare:{} success:{success} failure:{failure}", txn.compare.len())
        }),
        _ => String::new(),
    }
}

/// The most of a key that stands in a line of the log, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// A key in a line of the log.
fn shown(key: &Bytes) -> String {
    let more = key.len().saturating_sub(SHOWN_BYTES_MAX);
    let begin = format!("{:?}", key.slice(..key.len() - more));
    if more == 0 { begin } else { format!("{begin} and {more} bytes more") }
}

/// A range in a line of the log.
pub(crate) fn described_range(range: &pb::RangeRequest) -> String {
    let (key, end, limit) = (shown(&range.key), shown(&range.range_end), range.limit);
    format!("key:{key} range_end:{end} limit:{limit} revision:{}", range.revision)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_slow_request_is_described_without_its_value() {
        let put = pb::PutRequest { key: "a".into(), value: "secret".into(), ..Default::default() };
        let said = described("/etcdserverpb.KV/Put", &put.encode_to_vec().into());
        assert_eq!(said, "key:b\"a\" value_size:6 lease:0");
        assert_eq!(described("/etcdserverpb.KV/Put", &Bytes::from_static(b"\xff")), "");
        let long = pb::PutRequest { key: vec![1; 1 << 20].into(), ..Default::default() };
        let said = described("/etcdserverpb.KV/Put", &long.encode_to_vec().into());
        assert!(said.len() < 2048 && said.contains("and 1048320 bytes more"), "{said}");
    }
}

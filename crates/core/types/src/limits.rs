//! Every bound that a flag can move, with its unit in its name.

use std::time::Duration;

/// The bounds one member keeps. Defaults are etcd 3.7's (`docs/etcd/server-flags.md`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest encoded request, in bytes (`--max-request-bytes`).
    pub request_bytes_max: usize,
    /// What a gRPC frame may hold beyond `request_bytes_max`, in bytes.
    pub request_bytes_overhead: usize,
    /// Operations per transaction branch (`--max-txn-ops`).
    pub txn_ops_max: usize,
    /// HTTP/2 streams per client connection (`--max-concurrent-streams`).
    pub concurrent_streams_max: u32,
    /// Entries committed but not applied above which requests are refused.
    pub committed_applied_gap_max: u64,
    /// Proposals waiting to enter the log, before requests are refused.
    pub proposals_pending_max: usize,
    /// Bytes of those proposals, before requests are refused. As many may be in the log and not committed yet.
    pub proposals_pending_bytes_max: usize,
    /// Size in bytes of the store at which writes are refused; `None` for no bound.
    pub quota_bytes: Option<u64>,
    /// How long a request that needs the log may take: 5 s and two election timeouts.
    pub request_timeout: Duration,
    /// Revisions a compaction step may handle before it yields (`--compaction-batch-limit`).
    pub compaction_batch: usize,
    /// Keys that one request may delete: each takes some 300 bytes of memory while the deletion is applied, on every
    /// member, and again at each replay.
    pub deleted_keys_max: u64,
    /// What files may take that were replaced and are still read by streams, in bytes; a store that is larger itself may
    /// have as much again. Above it the oldest stream ends.
    pub held_bytes_max: u64,
}

impl Limits {
    /// The store's bound in bytes as clients and metrics are told it: -1 for none, since 0 would be read as
    /// a store that is always full.
    pub fn quota_shown(&self) -> i64 {
        self.quota_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 1_572_864,
            request_bytes_overhead: 512 * 1024,
            txn_ops_max: 128,
            concurrent_streams_max: u32::MAX,
            committed_applied_gap_max: 5000,
            proposals_pending_max: 32_768,
            proposals_pending_bytes_max: 256 * 1024 * 1024,
            quota_bytes: Some(2 * 1024 * 1024 * 1024),
            request_timeout: Duration::from_secs(7),
            compaction_batch: 1000,
            deleted_keys_max: 10_000_000,
            held_bytes_max: 1024 * 1024 * 1024,
        }
    }
}

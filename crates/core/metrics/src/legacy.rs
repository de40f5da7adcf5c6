//! What etcd still shows though nothing moves it any more: the v2 store, the gRPC proxy.
//!
//! Dashboards that list these families find them, at 0.

use crate::family::{Vector, families};
use crate::value::{Counter, Gauge};

families! {
    /// Families that stay at 0.
    pub struct LegacyMetrics {
        /// Reads of the v2 store, which is no more.
        v2_reads: Vector<Counter> = Vector::new(&["action"], ()), "etcd_debugging_store_reads_total";
        /// Failed reads of the v2 store, which is no more.
        v2_reads_failed: Vector<Counter> = Vector::new(&["action"], ()), "etcd_debugging_store_reads_failed_total";
        /// Writes to the v2 store, which is no more.
        v2_writes: Vector<Counter> = Vector::new(&["action"], ()), "etcd_debugging_store_writes_total";
        /// Failed writes to the v2 store, which is no more.
        v2_writes_failed: Vector<Counter> = Vector::new(&["action"], ()), "etcd_debugging_store_writes_failed_total";
        /// Expired keys of the v2 store, which is no more.
        v2_expires: Counter = Counter::default(), "etcd_debugging_store_expires_total";
        /// Watches of the v2 store, which is no more.
        v2_watch_requests: Counter = Counter::default(), "etcd_debugging_store_watch_requests_total";
        /// Open watchers of the v2 store, which is no more.
        v2_watchers: Gauge = Gauge::default(), "etcd_debugging_store_watchers";
        /// Ranges the gRPC proxy answered from its cache; 0 on a member.
        proxy_cache_hits: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_hits_total";
        /// Ranges in the cache of the gRPC proxy; 0 on a member.
        proxy_cache_keys: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_keys_total";
        /// Ranges the gRPC proxy had to ask for; 0 on a member.
        proxy_cache_misses: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_misses_total";
        /// Events the gRPC proxy delivered for several watchers at once; 0 on a member.
        proxy_events_coalescing: Counter = Counter::default(), "etcd_grpc_proxy_events_coalescing_total";
        /// Watchers the gRPC proxy serves with one of its own; 0 on a member.
        proxy_watchers_coalescing: Gauge = Gauge::default(), "etcd_grpc_proxy_watchers_coalescing_total";
    }
}

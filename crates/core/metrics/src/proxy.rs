//! What `etcd grpc-proxy` counts, and the page it shows.

use std::collections::BTreeMap;

use crate::family::{About, Group, families};
use crate::text::Text;
use crate::value::{Counter, Gauge};
use crate::{GrpcMetrics, process};

families! {
    /// The proxy: cache and coalescing.
    pub struct ProxyFamilies {
        /// Answers from the cache.
        cache_hits: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_hits_total";
        /// Ranges that are cached.
        cache_keys: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_keys_total";
        /// Serializable ranges that were not cached.
        cache_misses: Gauge = Gauge::default(), "etcd_grpc_proxy_cache_misses_total";
        /// Events that were told to more than one watcher, counted for each but the first.
        events_coalescing: Counter = Counter::default(), "etcd_grpc_proxy_events_coalescing_total";
        /// Watchers that share a watch at the server.
        watchers_coalescing: Gauge = Gauge::default(), "etcd_grpc_proxy_watchers_coalescing_total";
        /// Watches at the server that are shared, or could be.
        watches_shared: Gauge = Gauge::default(), "holdfast_grpc_proxy_watches_shared";
        /// Watchers that read the past, or lag, by a watch of their own.
        watches_own: Gauge = Gauge::default(), "holdfast_grpc_proxy_watches_own";
        /// Keep-alives that were answered together with another of the same lease.
        keep_alives_coalesced: Counter = Counter::default(), "holdfast_grpc_proxy_keep_alives_coalesced_total";
    }
}

/// Everything a proxy counts.
#[derive(Debug)]
pub struct ProxyMetrics {
    /// Cache and coalescing.
    pub proxy: ProxyFamilies,
    /// Calls by method.
    pub grpc: GrpcMetrics,
}

impl Default for ProxyMetrics {
    fn default() -> ProxyMetrics {
        ProxyMetrics { proxy: ProxyFamilies::default(), grpc: GrpcMetrics::new(false) }
    }
}

impl ProxyMetrics {
    /// The page, as `/proxy/metrics` serves it.
    pub fn page(&self) -> String {
        let mut families: BTreeMap<&str, String> = BTreeMap::new();
        let mut add = |about: About, write: &dyn Fn(&mut Text)| {
            let mut out = Text::default();
            out.family(about.name, about.help, about.kind);
            write(&mut out);
            families.insert(about.name, out.finish());
        };
        self.proxy.visit(&mut |about, family| add(about, &|out| family.write(about.name, out)));
        self.grpc.visit(&mut |about, write| add(about, &|out| write(about.name, out)));
        for (about, value) in process::samples() {
            if let Some(value) = value {
                add(about, &|out| out.sample(about.name, "", value));
            }
        }
        families.into_values().collect()
    }
}

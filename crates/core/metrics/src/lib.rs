//! What a member tells Prometheus: etcd's families, under etcd's names, labels and buckets.
//!
//! [`Metrics`] is one struct with a typed handle for every figure, grouped by who moves it:
//! `metrics.disk.wal_fsync.observe_duration(took)`. Counting takes no lock; a family with labels is
//! looked up once and its member kept. [`Metrics::page`] writes the whole page, families in
//! alphabetical order, as etcd does.
//!
//! The list is that of a 3.7 member (`docs/etcd/metrics.md`); a test holds it against a real one.

mod disk;
mod docs;
mod family;
mod grpc;
mod lease;
mod legacy;
mod mvcc;
mod network;
mod process;
mod proxy;
mod requests;
mod server;
mod text;
mod value;

use std::collections::BTreeMap;

pub use disk::DiskMetrics;
pub use docs::documentation;
pub use family::{About, Group, Vector};
pub use grpc::{GrpcMetrics, MethodMetrics};
pub use lease::LeaseMetrics;
pub use legacy::LegacyMetrics;
pub use mvcc::MvccMetrics;
pub use network::NetworkMetrics;
pub use proxy::{ProxyFamilies, ProxyMetrics};
pub use server::ServerMetrics;
pub use text::CONTENT_TYPE;
pub use value::{Buckets, Counter, Gauge, Histogram, Metric};

use family::Family;
use text::Text;

/// Everything a member counts.
#[derive(Debug)]
pub struct Metrics {
    /// The disk: raft log, store, snapshot files.
    pub disk: DiskMetrics,
    /// The store: requests, sizes, revisions, compaction, watchers.
    pub mvcc: MvccMetrics,
    /// Leases.
    pub lease: LeaseMetrics,
    /// The member: identity, raft, requests, health.
    pub server: ServerMetrics,
    /// The network: clients and peers.
    pub network: NetworkMetrics,
    /// Calls by method.
    pub grpc: GrpcMetrics,
    /// Families that stay at 0.
    pub legacy: LegacyMetrics,
}

impl Metrics {
    /// All at 0. `extensive` is what `--metrics=extensive` asks for.
    pub fn new(extensive: bool) -> Metrics {
        let metrics = Metrics {
            disk: DiskMetrics::default(),
            mvcc: MvccMetrics::default(),
            lease: LeaseMetrics::default(),
            server: ServerMetrics::default(),
            network: NetworkMetrics::default(),
            grpc: GrpcMetrics::new(extensive),
            legacy: LegacyMetrics::default(),
        };
        metrics.mvcc.compact_revision.set(-1);
        metrics
    }

    /// The page, as `/metrics` serves it under [`CONTENT_TYPE`].
    pub fn page(&self) -> String {
        let mut families: BTreeMap<&str, String> = BTreeMap::new();
        let mut add = |about: About, write: &dyn Fn(&mut Text)| {
            let mut out = Text::default();
            out.family(about.name, about.help, about.kind);
            write(&mut out);
            families.insert(about.name, out.finish());
        };
        self.visit(&mut |about, family| {
            if !family.is_empty() {
                add(about, &|out| family.write(about.name, out));
            }
        });
        self.grpc.visit(&mut |about, write| add(about, &|out| write(about.name, out)));
        for (about, value) in process::samples() {
            if let Some(value) = value {
                add(about, &|out| out.sample(about.name, "", value));
            }
        }
        families.into_values().collect()
    }

    fn visit<'a>(&'a self, each: &mut dyn FnMut(About, &'a dyn Family)) {
        let groups: [&'a dyn Group; 6] =
            [&self.disk, &self.mvcc, &self.lease, &self.server, &self.network, &self.legacy];
        for group in groups {
            group.visit(each);
        }
    }

    /// Every family there can be, in alphabetical order.
    pub fn families(&self) -> Vec<About> {
        let mut all = process::FAMILIES.to_vec();
        self.visit(&mut |about, _| all.push(about));
        self.grpc.visit(&mut |about, _| all.push(about));
        all.sort_by_key(|about| about.name);
        all
    }
}

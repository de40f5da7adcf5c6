//! What the raft log, the store and snapshot files cost on disk.

use crate::family::families;
use crate::value::{Buckets, Gauge, Histogram, Metric};

families! {
    /// The disk: raft log, store, snapshot files.
    pub struct DiskMetrics {
        /// How long each sync of the raft log took.
        wal_fsync: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_disk_wal_fsync_duration_seconds";
        /// How long each write to the raft log took, without its sync.
        wal_write: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_disk_wal_write_duration_seconds";
        /// Bytes written to the raft log.
        wal_write_bytes: Gauge = Gauge::default(), "etcd_disk_wal_write_bytes_total";
        /// How long each commit of the store took.
        backend_commit: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_disk_backend_commit_duration_seconds";
        /// Always empty: the store has no pages to rebalance.
        backend_commit_rebalance: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_disk_backend_commit_rebalance_duration_seconds";
        /// Always empty: the store has no pages to spill.
        backend_commit_spill: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_disk_backend_commit_spill_duration_seconds";
        /// How long the write in each commit of the store took.
        backend_commit_write: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_disk_backend_commit_write_duration_seconds";
        /// How long each requested defragmentation took.
        backend_defrag: Histogram = Histogram::new(&Buckets::doubling(0.1, 13)), "etcd_disk_backend_defrag_duration_seconds";
        /// How long each snapshot of the store took.
        backend_snapshot: Histogram = Histogram::new(&Buckets::doubling(0.01, 17)), "etcd_disk_backend_snapshot_duration_seconds";
        /// 1 while a requested defragmentation runs.
        defrag_inflight: Gauge = Gauge::default(), "etcd_disk_defrag_inflight";
        /// How long each sync of a raft snapshot file took.
        snap_fsync: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_snap_fsync_duration_seconds";
        /// How long each sync of a received database snapshot took.
        snap_db_fsync: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_snap_db_fsync_duration_seconds";
        /// How long saving each received database snapshot took in all.
        snap_db_save: Histogram = Histogram::new(&Buckets::doubling(0.1, 10)), "etcd_snap_db_save_total_duration_seconds";
        /// How long saving each raft snapshot file took in all.
        snap_save: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_snap_save_total_duration_seconds";
        /// How long encoding each raft snapshot file took.
        snap_marshal: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_snap_save_marshalling_duration_seconds";
    }
}

//! What the store holds and does, compaction, and what watchers are sent.

use crate::family::families;
use crate::value::{Buckets, Counter, Gauge, Histogram, Metric};

families! {
    /// The store: requests, sizes, revisions, compaction, watchers.
    pub struct MvccMetrics {
        /// Ranges seen by this member.
        ranges: Counter = Counter::default(), "etcd_mvcc_range_total";
        /// Puts seen by this member.
        puts: Counter = Counter::default(), "etcd_mvcc_put_total";
        /// Deletes seen by this member.
        deletes: Counter = Counter::default(), "etcd_mvcc_delete_total";
        /// Transactions seen by this member.
        txns: Counter = Counter::default(), "etcd_mvcc_txn_total";
        /// Bytes the store occupies on disk.
        db_total_size: Gauge = Gauge::default(), "etcd_mvcc_db_total_size_in_bytes";
        /// Bytes of the store that are live.
        db_in_use_size: Gauge = Gauge::default(), "etcd_mvcc_db_total_size_in_use_in_bytes";
        /// Bytes of files that were replaced and are still read by streams, beside those the store occupies.
        db_held: Gauge = Gauge::default(), "holdfast_mvcc_db_held_bytes";
        /// Bytes of the store that were read again to find out whether they are what was written.
        scrubbed_bytes: Counter = Counter::default(), "holdfast_mvcc_scrubbed_bytes_total";
        /// Unix time at which all of the store could last be read; 0 if never.
        scrubbed_last: Gauge = Gauge::default(), "holdfast_mvcc_scrubbed_timestamp_seconds";
        /// Files of the store in which something cannot be read.
        damaged_files: Gauge = Gauge::default(), "holdfast_mvcc_damaged_files";
        /// Views of the store that are open.
        db_open_reads: Gauge = Gauge::default(), "etcd_mvcc_db_open_read_transactions";
        /// How long each hash of the whole store took.
        hash: Histogram = Histogram::new(&Buckets::doubling(0.01, 15)), "etcd_mvcc_hash_duration_seconds";
        /// How long each hash of the store at a revision took.
        hash_revision: Histogram = Histogram::new(&Buckets::doubling(0.01, 15)), "etcd_mvcc_hash_rev_duration_seconds";
        /// Keys that live.
        keys: Gauge = Gauge::default(), "etcd_debugging_mvcc_keys_total";
        /// Watch streams that are open.
        watch_streams: Gauge = Gauge::default(), "etcd_debugging_mvcc_watch_stream_total";
        /// Watchers that are open.
        watchers: Gauge = Gauge::default(), "etcd_debugging_mvcc_watcher_total";
        /// Watchers that lag behind the store and are caught up in the background.
        slow_watchers: Gauge = Gauge::default(), "etcd_debugging_mvcc_slow_watcher_total";
        /// Events sent to watchers by this member.
        events: Counter = Counter::default(), "etcd_debugging_mvcc_events_total";
        /// Events that wait to be sent.
        pending_events: Gauge = Gauge::default(), "etcd_debugging_mvcc_pending_events_total";
        /// Bytes of keys and values put.
        put_bytes: Gauge = Gauge::default(), "etcd_debugging_mvcc_total_put_size_in_bytes";
        /// The revision of the store.
        current_revision: Gauge = Gauge::default(), "etcd_debugging_mvcc_current_revision";
        /// The revision the store was last compacted to; -1 if never.
        compact_revision: Gauge = Gauge::default(), "etcd_debugging_mvcc_compact_revision";
        /// Revisions removed by compaction.
        compaction_keys: Counter = Counter::default(), "etcd_debugging_mvcc_db_compaction_keys_total";
        /// Unix time at which the last compaction ended; 0 if none has since the start.
        compaction_last: Gauge = Gauge::default(), "etcd_debugging_mvcc_db_compaction_last";
        /// How long each step of a compaction of the store took.
        compaction_pause: Histogram = Histogram::new(&Buckets::doubling(1.0, 13)), "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds";
        /// How long each compaction of the store took in all.
        compaction_total: Histogram = Histogram::new(&Buckets::doubling(100.0, 14)), "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
        /// How long each step of a compaction of the index took.
        index_compaction_pause: Histogram = Histogram::new(&Buckets::doubling(0.5, 14)), "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds";
        /// How long sending each response with events took.
        watch_send: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds";
        /// The same, for each event in the response.
        watch_send_per_event: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds";
        /// How long sending each created or canceled response took.
        watch_send_control: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds";
        /// How long sending each progress notification took.
        watch_send_progress: Histogram = Histogram::new(&Buckets::doubling(0.001, 14)), "etcd_debugging_server_watch_send_loop_progress_duration_seconds";
    }
}

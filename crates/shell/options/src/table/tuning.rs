//! Flags about housekeeping, and the dangerous ones.

use crate::flag::Does::{Its, Nothing};
use crate::flag::{Count, Flag, Kind, Signed, Span, Text, Truth};

flags! {
    /// Features / tuning.
    TUNING:
    CORRUPT_CHECK_TIME: Span = "corrupt-check-time", Kind::Duration, "0s", "3.6+", Its, "How often the members compare their data; 0 means never.";
    COMPACT_HASH_CHECK_TIME: Span = "compact-hash-check-time", Kind::Duration, "1m", "3.6+", Its, "How often the leader compares the hashes of compactions.";
    COMPACTION_BATCH_LIMIT: Signed = "compaction-batch-limit", Kind::Signed("int"), "0", "3.6+", Its, "Revisions a step of a compaction removes; 0 means 1000.";
    COMPACTION_SLEEP_INTERVAL: Span = "compaction-sleep-interval", Kind::Duration, "0s", "3.6+", Nothing("A compaction forgets between requests and when there are none; it need not sleep to let others work."), "Pause between two steps of a compaction; 0 means 10ms.";
    WATCH_PROGRESS_NOTIFY_INTERVAL: Span = "watch-progress-notify-interval", Kind::Duration, "0s", "3.6+", Its, "How often a silent watch is told of its progress; 0 means 10m.";
    BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES: Count = "bootstrap-defrag-threshold-megabytes", Kind::Unsigned("uint"), "0", "3.6+", Nothing("The store never needs defragmentation."), "Defragments at the start if that frees so much; 0 means never.";
    DOWNGRADE_CHECK_TIME: Span = "downgrade-check-time", Kind::Duration, "5s", "3.6+", Its, "How often a downgrade is looked after.";
    SNAPSHOT_CATCHUP_ENTRIES: Count = "snapshot-catchup-entries", Kind::Unsigned("uint64"), "5000", "3.6+", Its, "Entries kept after a snapshot for members that lag; 0 means 5000.";
}

flags! {
    /// Unsafe, misc.
    UNSAFE:
    FORCE_NEW_CLUSTER: Truth = "force-new-cluster", Kind::Bool, "false", "all", Its, "Leaves all other members behind and goes on alone with this data.";
    UNSAFE_NO_FSYNC: Truth = "unsafe-no-fsync", Kind::Bool, "false", "all", Its, "Does not sync to disk: data will be lost.";
    REPAIR_FROM_PEERS: Truth = "repair-from-peers", Kind::Bool, "false", "none", Its, "Ours: reads the whole store at the start; if it cannot be read, keeps it aside and gets the cluster's state from another member of ours.";
    CONFIG_FILE: Text = "config-file", Kind::Text, "", "all", Its, "Reads the configuration from this file and from nowhere else.";
    VERSION: Truth = "version", Kind::Bool, "false", "all", Its, "Prints the version.";
    NEXT_CLUSTER_VERSION_COMPATIBLE: Truth = "next-cluster-version-compatible", Kind::Bool, "false", "3.4", Nothing("Any cluster version this server knows is compatible."), "Joins a cluster of the next version.";
}

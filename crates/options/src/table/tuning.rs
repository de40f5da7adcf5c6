//! Flags about housekeeping, and the dangerous ones.

use super::flag;
use crate::flag::Does::{Its, Nothing, Refused};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Duration, Signed, Text, Unsigned};

/// Features / tuning.
#[rustfmt::skip] // One flag a line.
pub(super) const TUNING: &[Flag] = &[
    flag("corrupt-check-time", Duration, "0s", "3.6+", Nothing("Matters only with other members, which are not built yet."), "How often the members compare their data; 0 means never."),
    flag("compact-hash-check-time", Duration, "1m", "3.6+", Nothing("Matters only with other members, which are not built yet."), "How often the leader compares the hashes of compactions."),
    flag("compaction-batch-limit", Signed("int"), "0", "3.6+", Its, "Revisions a step of a compaction removes; 0 means 1000."),
    flag("compaction-sleep-interval", Duration, "0s", "3.6+", Nothing("A compaction forgets between requests and when there are none; it need not sleep to let others work."), "Pause between two steps of a compaction; 0 means 10ms."),
    flag("watch-progress-notify-interval", Duration, "0s", "3.6+", Its, "How often a silent watch is told of its progress; 0 means 10m."),
    flag("bootstrap-defrag-threshold-megabytes", Unsigned("uint"), "0", "3.6+", Nothing("The store never needs defragmentation."), "Defragments at the start if that frees so much; 0 means never."),
    flag("downgrade-check-time", Duration, "5s", "3.6+", Nothing("Matters only with other members, which are not built yet."), "How often a downgrade is looked after."),
    flag("snapshot-catchup-entries", Unsigned("uint64"), "5000", "3.6+", Its, "Entries kept after a snapshot for members that lag; 0 means 5000."),
];

/// Unsafe, misc.
#[rustfmt::skip] // One flag a line.
pub(super) const UNSAFE: &[Flag] = &[
    flag("force-new-cluster", Bool, "false", "all", Refused("a cluster of several members is not built yet, so there is none to leave"), "Leaves all other members behind and goes on alone with this data."),
    flag("unsafe-no-fsync", Bool, "false", "all", Its, "Does not sync to disk: data will be lost."),
    flag("config-file", Text, "", "all", Its, "Reads the configuration from this file and from nowhere else."),
    flag("version", Bool, "false", "all", Its, "Prints the version."),
    flag("next-cluster-version-compatible", Bool, "false", "3.4", Nothing("Any cluster version this server knows is compatible."), "Joins a cluster of the next version."),
];

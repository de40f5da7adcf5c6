//! Flags that carry another name today, or none: what 3.4 to 3.6 knew, and switches of older times.

use super::flag;
use crate::flag::Does::{IsGate, Nothing, Refused, RenamedTo};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Duration, Ignored, Signed, Text, Unsigned};

/// Experimental names.
#[rustfmt::skip] // One flag a line.
pub(super) const FORMER: &[Flag] = &[
    flag("experimental-initial-corrupt-check", Bool, "false", "3.4 - 3.6", IsGate("InitialCorruptCheck"), "Former name of the feature gate InitialCorruptCheck."),
    flag("experimental-corrupt-check-time", Duration, "0s", "3.4 - 3.6", RenamedTo("corrupt-check-time"), "Former name of --corrupt-check-time."),
    flag("experimental-compact-hash-check-enabled", Bool, "false", "3.5 - 3.6", IsGate("CompactHashCheck"), "Former name of the feature gate CompactHashCheck."),
    flag("experimental-compact-hash-check-time", Duration, "1m", "3.5 - 3.6", RenamedTo("compact-hash-check-time"), "Former name of --compact-hash-check-time."),
    flag("experimental-enable-v2v3", Text, "", "3.4 - 3.5", Refused("the v2 API has a store of its own here; use --enable-v2"), "Serves the v2 API from the v3 store under this prefix."),
    flag("experimental-enable-lease-checkpoint", Bool, "false", "3.4 - 3.6", IsGate("LeaseCheckpoint"), "Former name of the feature gate LeaseCheckpoint."),
    flag("experimental-enable-lease-checkpoint-persist", Bool, "false", "3.4 - 3.6", IsGate("LeaseCheckpointPersist"), "Former name of the feature gate LeaseCheckpointPersist."),
    flag("experimental-compaction-batch-limit", Signed("int"), "1000", "3.4 - 3.6", RenamedTo("compaction-batch-limit"), "Former name of --compaction-batch-limit."),
    flag("experimental-compaction-sleep-interval", Duration, "10ms", "3.5 - 3.6", RenamedTo("compaction-sleep-interval"), "Former name of --compaction-sleep-interval."),
    flag("experimental-peer-skip-client-san-verification", Bool, "false", "3.4 - 3.6", RenamedTo("peer-skip-client-san-verification"), "Former name of --peer-skip-client-san-verification."),
    flag("experimental-watch-progress-notify-interval", Duration, "10m", "3.4 - 3.6", RenamedTo("watch-progress-notify-interval"), "Former name of --watch-progress-notify-interval."),
    flag("experimental-downgrade-check-time", Duration, "5s", "3.5 - 3.6", RenamedTo("downgrade-check-time"), "Former name of --downgrade-check-time."),
    flag("experimental-memory-mlock", Bool, "false", "3.5 - 3.6", RenamedTo("memory-mlock"), "Former name of --memory-mlock."),
    flag("experimental-warning-apply-duration", Duration, "100ms", "3.4 - 3.6", RenamedTo("warning-apply-duration"), "Former name of --warning-apply-duration."),
    flag("experimental-warning-unary-request-duration", Duration, "300ms", "3.6", RenamedTo("warning-unary-request-duration"), "Former name of --warning-unary-request-duration."),
    flag("experimental-txn-mode-write-with-shared-buffer", Bool, "true", "3.5 - 3.6", IsGate("TxnModeWriteWithSharedBuffer"), "Former name of the feature gate TxnModeWriteWithSharedBuffer."),
    flag("experimental-bootstrap-defrag-threshold-megabytes", Unsigned("uint"), "0", "3.5 - 3.6", RenamedTo("bootstrap-defrag-threshold-megabytes"), "Former name of --bootstrap-defrag-threshold-megabytes."),
    flag("experimental-stop-grpc-service-on-defrag", Bool, "false", "3.5 - 3.6", IsGate("StopGRPCServiceOnDefrag"), "Former name of the feature gate StopGRPCServiceOnDefrag."),
    flag("experimental-snapshot-catchup-entries", Unsigned("uint64"), "5000", "3.5 - 3.6", RenamedTo("snapshot-catchup-entries"), "Former name of --snapshot-catchup-entries."),
    flag("experimental-backend-bbolt-freelist-type", Text, "map", "3.4", RenamedTo("backend-bbolt-freelist-type"), "Former name of --backend-bbolt-freelist-type."),
    flag("experimental-enable-distributed-tracing", Bool, "false", "3.5 - 3.6", RenamedTo("enable-distributed-tracing"), "Former name of --enable-distributed-tracing."),
    flag("experimental-distributed-tracing-address", Text, "localhost:4317", "3.5 - 3.6", RenamedTo("distributed-tracing-address"), "Former name of --distributed-tracing-address."),
    flag("experimental-distributed-tracing-service-name", Text, "etcd", "3.5 - 3.6", RenamedTo("distributed-tracing-service-name"), "Former name of --distributed-tracing-service-name."),
    flag("experimental-distributed-tracing-instance-id", Text, "", "3.5 - 3.6", RenamedTo("distributed-tracing-instance-id"), "Former name of --distributed-tracing-instance-id."),
    flag("experimental-distributed-tracing-sampling-rate", Signed("int"), "0", "3.5 - 3.6", RenamedTo("distributed-tracing-sampling-rate"), "Former name of --distributed-tracing-sampling-rate."),
];

/// Switches that did something once, long ago; a warning is logged when one is set.
#[rustfmt::skip] // One flag a line.
pub(super) const LONG_GONE: &[Flag] = &[
    flag("cluster-active-size", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("cluster-remove-delay", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("cluster-sync-interval", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("config", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("force", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("max-result-buffer", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("max-retry-attempts", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("peer-election-timeout", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("peer-heartbeat-interval", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("retry-interval", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("snapshot", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("v", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
    flag("vv", Ignored, "false", "all", Nothing("It has done nothing since etcd 2."), "A switch of former times."),
];

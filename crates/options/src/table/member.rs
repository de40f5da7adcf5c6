//! Flags about the member itself: its name, data, listeners and limits.

use super::flag;
use crate::flag::Does::{Its, Nothing};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Duration, Gates, Signed, Text, Unsigned, Unsigned32, Urls};

/// Member.
#[rustfmt::skip] // One flag a line.
pub(super) const MEMBER: &[Flag] = &[
    flag("name", Text, "default", "all", Its, "Name of this member, for people and for --initial-cluster."),
    flag("data-dir", Text, "", "all", Its, "Where this member keeps its data; <name>.etcd if empty."),
    flag("wal-dir", Text, "", "all", Its, "Where the raft log is kept, if not in the data directory."),
    flag("snapshot-count", Unsigned("uint64"), "10000", "all", Its, "Applied entries between two raft snapshots; 0 means the default."),
    flag("heartbeat-interval", Unsigned("uint"), "100", "all", Its, "Milliseconds between heartbeats."),
    flag("election-timeout", Unsigned("uint"), "1000", "all", Its, "Milliseconds without a heartbeat after which a member stands for election."),
    flag("initial-election-tick-advance", Bool, "true", "all", Nothing("Matters only with other members; a single one never waits."), "Whether a member that starts shortens its first election timeout."),
    flag("listen-peer-urls", Urls, "http://localhost:2380", "all", Its, "Where to listen for other members."),
    flag("listen-client-urls", Urls, "http://localhost:2379", "all", Its, "Where to listen for clients: gRPC, and HTTP unless --listen-client-http-urls is set."),
    flag("listen-client-http-urls", Urls, "", "all", Its, "Where to listen for HTTP clients only; takes HTTP away from --listen-client-urls."),
    flag("max-snapshots", Unsigned("uint"), "5", "3.4 - 3.7", Nothing("Snapshot files are kept as long as they are needed."), "Snapshot files to keep; 0 keeps all."),
    flag("max-wals", Unsigned("uint"), "5", "all", Its, "Raft log files to keep beyond those still needed; 0 keeps all."),
    flag("memory-mlock", Bool, "false", "3.6+", Nothing("No file is mapped, so there is no mapping to lock."), "Locks the database in memory."),
    flag("quota-backend-bytes", Signed("int64"), "0", "all", Its, "Size at which the store refuses writes; 0 means 2 GiB, below 0 means never."),
    flag("backend-bbolt-freelist-type", Text, "map", "3.5+", Nothing("The store has no pages, hence no list of free ones."), "How free pages are listed: map or array."),
    flag("backend-batch-interval", Duration, "0s", "all", Nothing("Whatever is applied together is written together at once; the raft log vouches for it until it is synced."), "Longest time between two flushes of the store; 0 means 100ms."),
    flag("backend-batch-limit", Signed("int"), "0", "all", Nothing("Whatever is applied together is written together at once; the raft log vouches for it until it is synced."), "Most changes between two flushes of the store; 0 means 10000."),
    flag("max-txn-ops", Unsigned("uint"), "128", "all", Its, "Operations a transaction may hold."),
    flag("max-request-bytes", Unsigned("uint"), "1572864", "all", Its, "Bytes a request may hold."),
    flag("max-concurrent-streams", Unsigned32, "4294967295", "all", Its, "Calls a client connection may have open."),
    flag("grpc-keepalive-min-time", Duration, "5s", "all", Its, "A client that pings more often than this is cut off."),
    flag("grpc-keepalive-interval", Duration, "2h", "all", Its, "How often the server pings a silent client; 0 means never."),
    flag("grpc-keepalive-timeout", Duration, "20s", "all", Its, "How long the server waits for the answer to a ping; 0 means it does not ping."),
    flag("socket-reuse-port", Bool, "false", "3.5+", Its, "Listens with SO_REUSEPORT: several processes may share the port."),
    flag("socket-reuse-address", Bool, "false", "3.5+", Its, "Listens with SO_REUSEADDR, which is set in any case, as by Go."),
    flag("enable-grpc-gateway", Bool, "true", "all", Its, "Serves the JSON gateway."),
    flag("raft-read-timeout", Duration, "5s", "3.5+", Nothing("Matters only between members."), "Longest silence on a connection from a member; at least 5s."),
    flag("raft-write-timeout", Duration, "5s", "3.5+", Nothing("Matters only between members."), "Longest wait to send to a member; at least 5s."),
    flag("feature-gates", Gates, "", "3.6+", Its, "Switches behaviour on or off by name: A=true,B=false."),
];

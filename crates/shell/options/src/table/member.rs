//! Flags about the member itself: its name, data, listeners and limits.

use crate::flag::Does::{Its, Nothing};
use crate::flag::{Count, Flag, GatesFlag, Kind, Signed, Span, Text, Truth, Urls};

flags! {
    /// Member.
    MEMBER:
    NAME: Text = "name", Kind::Text, "default", "all", Its, "Name of this member, for people and for --initial-cluster.";
    DATA_DIR: Text = "data-dir", Kind::Text, "", "all", Its, "Where this member keeps its data; <name>.etcd if empty.";
    WAL_DIR: Text = "wal-dir", Kind::Text, "", "all", Its, "Where the raft log is kept, if not in the data directory.";
    TAKEOVER: Text = "takeover", Kind::Choice(&["accept", "refuse"]), "accept", "none, ours", Its, "Whether the data directory of a stopped Go etcd is taken over (docs/migration.md) or refused.";
    SNAPSHOT_COUNT: Count = "snapshot-count", Kind::Unsigned("uint64"), "10000", "all", Its, "Applied entries between two raft snapshots; 0 means the default.";
    HEARTBEAT_INTERVAL: Count = "heartbeat-interval", Kind::Unsigned("uint"), "100", "all", Its, "Milliseconds between heartbeats.";
    ELECTION_TIMEOUT: Count = "election-timeout", Kind::Unsigned("uint"), "1000", "all", Its, "Milliseconds without a heartbeat after which a member stands for election.";
    INITIAL_ELECTION_TICK_ADVANCE: Truth = "initial-election-tick-advance", Kind::Bool, "true", "all", Its, "Whether a member that starts shortens its first election timeout.";
    LISTEN_PEER_URLS: Urls = "listen-peer-urls", Kind::Urls, "http://localhost:2380", "all", Its, "Where to listen for other members.";
    LISTEN_CLIENT_URLS: Urls = "listen-client-urls", Kind::Urls, "http://localhost:2379", "all", Its, "Where to listen for clients: gRPC, and HTTP unless --listen-client-http-urls is set.";
    LISTEN_CLIENT_HTTP_URLS: Urls = "listen-client-http-urls", Kind::Urls, "", "all", Its, "Where to listen for HTTP clients only; takes HTTP away from --listen-client-urls.";
    MAX_SNAPSHOTS: Count = "max-snapshots", Kind::Unsigned("uint"), "5", "3.4 - 3.7", Nothing("Snapshot files are kept as long as they are needed."), "Snapshot files to keep; 0 keeps all.";
    MAX_WALS: Count = "max-wals", Kind::Unsigned("uint"), "5", "all", Its, "Raft log files to keep beyond those still needed; 0 keeps all.";
    MEMORY_MLOCK: Truth = "memory-mlock", Kind::Bool, "false", "3.6+", Nothing("No file is mapped, so there is no mapping to lock."), "Locks the database in memory.";
    QUOTA_BACKEND_BYTES: Signed = "quota-backend-bytes", Kind::Signed("int64"), "0", "all", Its, "Size at which the store refuses writes; 0 means 2 GiB, below 0 means never.";
    BACKEND_BBOLT_FREELIST_TYPE: Text = "backend-bbolt-freelist-type", Kind::Text, "map", "3.5+", Nothing("The store has no pages, hence no list of free ones."), "How free pages are listed: map or array.";
    BACKEND_BATCH_INTERVAL: Span = "backend-batch-interval", Kind::Duration, "0s", "all", Nothing("Whatever is applied together is written together at once; the raft log vouches for it until it is synced."), "Longest time between two flushes of the store; 0 means 100ms.";
    BACKEND_BATCH_LIMIT: Signed = "backend-batch-limit", Kind::Signed("int"), "0", "all", Nothing("Whatever is applied together is written together at once; the raft log vouches for it until it is synced."), "Most changes between two flushes of the store; 0 means 10000.";
    MAX_TXN_OPS: Count = "max-txn-ops", Kind::Unsigned("uint"), "128", "all", Its, "Operations a transaction may hold.";
    MAX_REQUEST_BYTES: Count = "max-request-bytes", Kind::Unsigned("uint"), "1572864", "all", Its, "Bytes a request may hold.";
    MAX_CONCURRENT_STREAMS: Count = "max-concurrent-streams", Kind::Unsigned32, "4294967295", "all", Its, "Calls a client connection may have open.";
    GRPC_KEEPALIVE_MIN_TIME: Span = "grpc-keepalive-min-time", Kind::Duration, "5s", "all", Its, "A client that pings more often than this is cut off.";
    GRPC_KEEPALIVE_INTERVAL: Span = "grpc-keepalive-interval", Kind::Duration, "2h", "all", Its, "How often the server pings a silent client; 0 means never.";
    GRPC_KEEPALIVE_TIMEOUT: Span = "grpc-keepalive-timeout", Kind::Duration, "20s", "all", Its, "How long the server waits for the answer to a ping; 0 means it does not ping.";
    SOCKET_REUSE_PORT: Truth = "socket-reuse-port", Kind::Bool, "false", "3.5+", Its, "Listens with SO_REUSEPORT: several processes may share the port.";
    SOCKET_REUSE_ADDRESS: Truth = "socket-reuse-address", Kind::Bool, "false", "3.5+", Its, "Listens with SO_REUSEADDR, which is set in any case, as by Go.";
    ENABLE_GRPC_GATEWAY: Truth = "enable-grpc-gateway", Kind::Bool, "true", "all", Its, "Serves the JSON gateway.";
    RAFT_READ_TIMEOUT: Span = "raft-read-timeout", Kind::Duration, "5s", "3.5+", Its, "Longest silence on a connection from a member; at least 5s.";
    RAFT_WRITE_TIMEOUT: Span = "raft-write-timeout", Kind::Duration, "5s", "3.5+", Its, "Longest wait to send to a member; at least 5s.";
    FEATURE_GATES: GatesFlag = "feature-gates", Kind::Gates, "", "3.6+", Its, "Switches behaviour on or off by name: A=true,B=false.";
}

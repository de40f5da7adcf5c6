//! Every bound of the gRPC port.

use std::time::Duration;

/// What one client may take of us. Defaults are etcd's where it has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message accepted, in bytes, before and after decompression.
    pub message_bytes_max: usize,
    /// Streams a connection may have open, as told to the client; `u32::MAX` tells nothing.
    pub concurrent_streams_max: u32,
    /// Streams a connection may really have open: above it, new ones are refused.
    pub streams_per_connection_max: usize,
    /// All that is held for clients together, in bytes, for whatever purpose: answers, requests and streams have
    /// bounds of their own below it, of each of which a connection has a fourth at most.
    pub held_bytes_max: usize,
    /// Memory for the streams of all connections together, in bytes; above it new streams are refused.
    pub streams_total_bytes_max: usize,
    /// All headers of one request, in bytes.
    pub header_list_bytes_max: u32,
    /// Bytes a client may send on one stream before we take them.
    pub stream_window_bytes: u32,
    /// Bytes a client may send on one connection before we take them.
    pub connection_window_bytes: u32,
    /// Messages inside one request message, those inside them too. A transaction has one for each operation and
    /// comparison, and no other request has many.
    pub message_parts_max: usize,
    /// Parts of unfinished request messages held per connection, in bytes.
    pub partial_messages_bytes_max: usize,
    /// The same of all connections together, in bytes; above it such calls are refused.
    pub partial_messages_total_bytes_max: usize,
    /// Answers per connection that are made or wait for the client, in bytes; above it, calls wait
    /// before they begin.
    pub unsent_replies_bytes_max: usize,
    /// The same of all connections together, in bytes; above it all but small answers are refused.
    pub unsent_replies_total_bytes_max: usize,
    /// Streams a client may open and reset before we even looked at them.
    pub early_resets_max: usize,
    /// A client that pings more often than this is sent away (`--grpc-keepalive-min-time`).
    pub keepalive_min_time: Duration,
    /// Silence after which we ping (`--grpc-keepalive-interval`); zero for never.
    pub keepalive_interval: Duration,
    /// How long the answer to our ping may take (`--grpc-keepalive-timeout`).
    pub keepalive_timeout: Duration,
    /// What connections may take, whatever they speak.
    pub connections: net::Limits,
}

impl Limits {
    /// The defaults for a member that accepts requests up to these limits.
    pub fn for_member(limits: &types::Limits) -> Limits {
        Limits {
            message_bytes_max: limits.request_bytes_max + limits.request_bytes_overhead,
            concurrent_streams_max: limits.concurrent_streams_max,
            message_parts_max: parts_max(limits.txn_ops_max),
            ..Limits::default()
        }
    }
}

/// Parts of the largest transaction that is taken, and some: it may be nested, and each operation holds a request.
fn parts_max(txn_ops_max: usize) -> usize {
    txn_ops_max.saturating_mul(16).saturating_add(1024)
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes_max: 1_572_864 + 512 * 1024,
            concurrent_streams_max: u32::MAX,
            streams_per_connection_max: 16_384,
            held_bytes_max: 1024 * 1024 * 1024,
            streams_total_bytes_max: 384 * 1024 * 1024,
            header_list_bytes_max: 64 * 1024,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            message_parts_max: parts_max(128),
            partial_messages_bytes_max: 32 * 1024 * 1024,
            partial_messages_total_bytes_max: 256 * 1024 * 1024,
            unsent_replies_bytes_max: 16 * 1024 * 1024,
            unsent_replies_total_bytes_max: 512 * 1024 * 1024,
            early_resets_max: 500,
            keepalive_min_time: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            connections: net::Limits::default(),
        }
    }
}

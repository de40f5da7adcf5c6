//! Bytes, failures and snapshots between this member, its clients and its peers.

use crate::family::{Vector, families};
use crate::value::{Buckets, Counter, Gauge, Histogram};

families! {
    /// The network: clients and peers.
    pub struct NetworkMetrics {
        /// Bytes received from gRPC clients.
        client_received_bytes: Counter = Counter::default(), "etcd_network_client_grpc_received_bytes_total";
        /// Bytes sent to gRPC clients.
        client_sent_bytes: Counter = Counter::default(), "etcd_network_client_grpc_sent_bytes_total";
        /// Connections that are open, over all ports.
        connections: Gauge = Gauge::default(), "holdfast_connections";
        /// Connections that may be open at once: above it new ones wait in the kernel's queue.
        connections_max: Gauge = Gauge::default(), "holdfast_connections_max";
        /// Failures of client streams on this side.
        stream_failures: Vector<Counter> = Vector::new(&["API", "Type"], ()), "etcd_network_server_stream_failures_total";
        /// Connections to peers that are open.
        active_peers: Vector<Gauge> = Vector::new(&["Local", "Remote"], ()), "etcd_network_active_peers";
        /// Connections to peers that were lost.
        disconnected_peers: Vector<Counter> = Vector::new(&["Local", "Remote"], ()), "etcd_network_disconnected_peers_total";
        /// 1 for each member this one knows, 0 once it has been removed.
        known_peers: Vector<Gauge> = Vector::new(&["Local", "Remote"], ()), "etcd_network_known_peers";
        /// Bytes received from the peer.
        peer_received_bytes: Vector<Counter> = Vector::new(&["From"], ()), "etcd_network_peer_received_bytes_total";
        /// Messages from the peer that could not be received.
        peer_received_failures: Vector<Counter> = Vector::new(&["From"], ()), "etcd_network_peer_received_failures_total";
        /// Bytes sent to the peer.
        peer_sent_bytes: Vector<Counter> = Vector::new(&["To"], ()), "etcd_network_peer_sent_bytes_total";
        /// Messages to the peer that could not be sent.
        peer_sent_failures: Vector<Counter> = Vector::new(&["To"], ()), "etcd_network_peer_sent_failures_total";
        /// Time to the peer and back.
        peer_round_trip: Vector<Histogram> = Vector::new(&["To"], Buckets::doubling(0.0001, 16)), "etcd_network_peer_round_trip_time_seconds";
        /// Snapshots sent to the peer.
        snapshot_send_successes: Vector<Counter> = Vector::new(&["To"], ()), "etcd_network_snapshot_send_success";
        /// Snapshots that could not be sent to the peer.
        snapshot_send_failures: Vector<Counter> = Vector::new(&["To"], ()), "etcd_network_snapshot_send_failures";
        /// Snapshots being sent to the peer.
        snapshot_send_inflights: Vector<Gauge> = Vector::new(&["To"], ()), "etcd_network_snapshot_send_inflights_total";
        /// How long sending each snapshot to the peer took in all.
        snapshot_send_duration: Vector<Histogram> = Vector::new(&["To"], Buckets::doubling(0.1, 10)), "etcd_network_snapshot_send_total_duration_seconds";
        /// Snapshots received from the peer.
        snapshot_receive_successes: Vector<Counter> = Vector::new(&["From"], ()), "etcd_network_snapshot_receive_success";
        /// Snapshots that could not be received from the peer.
        snapshot_receive_failures: Vector<Counter> = Vector::new(&["From"], ()), "etcd_network_snapshot_receive_failures";
        /// Snapshots being received from the peer.
        snapshot_receive_inflights: Vector<Gauge> = Vector::new(&["From"], ()), "etcd_network_snapshot_receive_inflights_total";
        /// How long receiving each snapshot from the peer took in all.
        snapshot_receive_duration: Vector<Histogram> = Vector::new(&["From"], Buckets::doubling(0.1, 10)), "etcd_network_snapshot_receive_total_duration_seconds";
    }
}

//! Who this member is, what raft does, how requests fare, and its health.

use crate::family::{Vector, families};
use crate::requests::ClientRequests;
use crate::value::{Buckets, Counter, Gauge, Histogram};

families! {
    /// The member: identity, raft, requests, health.
    pub struct ServerMetrics {
        /// 1, with the id of this member as label.
        id: Vector<Gauge> = Vector::new(&["server_id"], ()), "etcd_server_id";
        /// 1, with the version this server behaves as as label.
        version: Vector<Gauge> = Vector::new(&["server_version"], ()), "etcd_server_version";
        /// 1, with what this server was built with as label.
        go_version: Vector<Gauge> = Vector::new(&["server_go_version"], ()), "etcd_server_go_version";
        /// 1, with the version of the cluster as label.
        cluster_version: Vector<Gauge> = Vector::new(&["cluster_version"], ()), "etcd_cluster_version";
        /// 1 if the feature gate is on, 0 if it is off.
        feature_enabled: Vector<Gauge> = Vector::new(&["name", "stage"], ()), "etcd_server_feature_enabled";
        /// 1 if this member knows a leader.
        has_leader: Gauge = Gauge::default(), "etcd_server_has_leader";
        /// 1 if this member leads.
        is_leader: Gauge = Gauge::default(), "etcd_server_is_leader";
        /// 1 if this member is a learner.
        is_learner: Gauge = Gauge::default(), "etcd_server_is_learner";
        /// Changes of leader this member has seen.
        leader_changes: Counter = Counter::default(), "etcd_server_leader_changes_seen_total";
        /// Learners promoted while this member led.
        learner_promote_successes: Counter = Counter::default(), "etcd_server_learner_promote_successes";
        /// Promotions that failed while this member led.
        learner_promote_failures: Vector<Counter> = Vector::new(&["Reason"], ()), "etcd_server_learner_promote_failures";
        /// Heartbeats this leader sent late, as when its disk is slow.
        heartbeat_send_failures: Counter = Counter::default(), "etcd_server_heartbeat_send_failures_total";
        /// Entries that took longer to apply than --warning-apply-duration.
        slow_applies: Counter = Counter::default(), "etcd_server_slow_apply_total";
        /// 1 while this member takes over a snapshot it was sent.
        snapshot_apply_in_progress: Gauge = Gauge::default(), "etcd_server_snapshot_apply_in_progress_total";
        /// The index of the last committed entry.
        proposals_committed: Gauge = Gauge::default(), "etcd_server_proposals_committed_total";
        /// The index of the last applied entry.
        proposals_applied: Gauge = Gauge::default(), "etcd_server_proposals_applied_total";
        /// Proposals that wait to be committed.
        proposals_pending: Gauge = Gauge::default(), "etcd_server_proposals_pending";
        /// Bytes of proposals that wait to be committed.
        proposal_bytes_pending: Gauge = Gauge::default(), "holdfast_server_proposals_pending_bytes";
        /// Proposals that failed.
        proposals_failed: Counter = Counter::default(), "etcd_server_proposals_failed_total";
        /// Read index requests that timed out or were answered out of step.
        slow_read_indexes: Counter = Counter::default(), "etcd_server_slow_read_indexes_total";
        /// Read index requests that failed.
        read_indexes_failed: Counter = Counter::default(), "etcd_server_read_indexes_failed_total";
        /// Bytes the store may occupy.
        quota_bytes: Gauge = Gauge::default(), "etcd_server_quota_backend_bytes";
        /// Requests by type and by the API version the client names.
        client_requests: ClientRequests = ClientRequests::default(), "etcd_server_client_requests_total";
        /// How long applying each entry took.
        apply_duration: Vector<Histogram> = Vector::new(&["op", "success", "version"], Buckets::doubling(0.0001, 20)), "etcd_server_apply_duration_seconds";
        /// How long each range took.
        range_duration: Vector<Histogram> = Vector::new(&["success"], Buckets::doubling(0.0001, 20)), "etcd_server_range_duration_seconds";
        /// How long each request took from its proposal to its answer.
        request_duration: Vector<Histogram> = Vector::new(&["success", "type"], Buckets::doubling(0.001, 14)), "etcd_server_request_duration_seconds";
        /// Answers of /health that were healthy.
        health_successes: Counter = Counter::default(), "etcd_server_health_success";
        /// Answers of /health that were not healthy.
        health_failures: Counter = Counter::default(), "etcd_server_health_failures";
        /// 1 if the check passed when it last ran, else 0.
        healthcheck: Vector<Gauge> = Vector::new(&["name", "type"], ()), "etcd_server_healthcheck";
        /// Runs of the checks by outcome.
        healthchecks: Vector<Counter> = Vector::new(&["name", "status", "type"], ()), "etcd_server_healthchecks_total";
        /// 1 while the alarm is raised for the member.
        alarms: Vector<Gauge> = Vector::new(&["alarm_type", "server_id"], ()), "etcd_debugging_server_alarms";
        /// Spans of traced calls that the collector took.
        spans_exported: Counter = Counter::default(), "holdfast_server_spans_exported_total";
        /// Spans that were dropped: the collector was slow or away, or refused them.
        spans_dropped: Counter = Counter::default(), "holdfast_server_spans_dropped_total";
        /// The revision of users, roles and permissions.
        auth_revision: Gauge = Gauge::default(), "etcd_debugging_auth_revision";
    }
}

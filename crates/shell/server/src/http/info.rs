//! `/version`, `/metrics`, `/debug/vars`, and what members ask each other.

use std::sync::atomic::Ordering;

use apply::{CORRUPT, NOSPACE};
use consensus::Role;
use http::{Method, Request, Response};
use metrics::Metrics;
use net::HttpBody;
use node::Node;
use serde_json::json;

use super::Settings;
use super::answer::{json, only_get, page};

pub(super) fn version(node: &Node, request: &Request<HttpBody>) -> Response<HttpBody> {
    if request.method() != Method::GET {
        return only_get();
    }
    json(version_json(node))
}

/// In etcd's order of fields.
fn version_json(node: &Node) -> String {
    let [server, cluster, storage] = version_texts(node).map(serde_json::Value::from);
    format!("{{\"etcdserver\":{server},\"etcdcluster\":{cluster},\"storage\":{storage}}}")
}

/// The versions of server, cluster and storage, as `/version` says them.
pub(crate) fn version_texts(node: &Node) -> [String; 3] {
    let cluster = node.cluster();
    let agreed = cluster.members.version().map(|version| version.to_string());
    [
        node.config().server_version.to_owned(),
        agreed.unwrap_or_else(|| "not_decided".to_owned()),
        cluster.storage_version.clone().unwrap_or_else(|| "3.5.0".to_owned()),
    ]
}

/// The page, with the figures that nobody counts brought up to date.
pub(super) fn metrics(site: &Settings) -> Response<HttpBody> {
    let metrics = &site.metrics;
    refresh(&site.node, metrics);
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.network.connections.set(number(site.connections.open()));
    metrics.network.connections_max.set(number(site.connections.max()));
    page(metrics::CONTENT_TYPE, metrics.page())
}

fn refresh(node: &Node, metrics: &Metrics) {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let standing = node.standing();
    let figures = node.figures();
    let server = &metrics.server;
    server.has_leader.set(i64::from(standing.leader != 0));
    server.is_leader.set(i64::from(standing.role == Role::Leader));
    server.is_learner.set(i64::from(node.is_learner()));
    server.proposals_committed.set(number(standing.committed));
    server.proposals_applied.set(number(node.applied()));
    server.proposals_pending.set(node.proposals_pending());
    server.proposal_bytes_pending.set(node.proposal_bytes_pending());
    server.quota_bytes.set(node.limits().quota_shown());
    let mvcc = &metrics.mvcc;
    let view = node.view();
    server.auth_revision.set(number(view.users.revision()));
    mvcc.db_total_size.set(number(figures.file_bytes.load(Ordering::Acquire)));
    mvcc.db_in_use_size.set(number(figures.live_bytes.load(Ordering::Acquire)));
    mvcc.db_held.set(number(figures.held_bytes.load(Ordering::Acquire)));
    mvcc.scrubbed_last.set(number(figures.scrubbed_s.load(Ordering::Acquire)));
    mvcc.damaged_files.set(number(figures.damages.load().len() as u64));
    mvcc.db_open_reads.set(number(figures.readers.count() as u64));
    mvcc.keys.set(number(view.index.live_keys()));
    mvcc.current_revision.set(view.index.current_revision());
    mvcc.compact_revision.set(view.index.compact_revision());
    let cluster = node.cluster();
    server.cluster_version.clear();
    if let Some(version) = cluster.members.version() {
        server.cluster_version.with(&[&version.short()]).set(1);
    }
    server.alarms.clear();
    for alarm in &cluster.alarms {
        let kind = match alarm.alarm {
            NOSPACE => "NOSPACE",
            CORRUPT => "CORRUPT",
            _ => "UNKNOWN",
        };
        server.alarms.with(&[kind, &format!("{:x}", alarm.member_id)]).set(1);
    }
}

/// Go's expvar page, as far as it says something here.
pub(super) fn vars(node: &Node, request: &Request<HttpBody>) -> Response<HttpBody> {
    if request.method() != Method::GET {
        return only_get();
    }
    let standing = node.standing();
    let id = format!("{:x}", node.member());
    let role = match standing.role {
        Role::Follower => "StateFollower",
        Role::PreCandidate => "StatePreCandidate",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
    };
    let words: Vec<String> = std::env::args().collect();
    let cmdline = options::without_secrets(&words);
    let page = json!({
        "cmdline": cmdline,
        "raft.status": {
            "id": id,
            "term": standing.term,
            "vote": format!("{:x}", standing.leader),
            "commit": standing.committed,
            "lead": format!("{:x}", standing.leader),
            "raftState": role,
            "applied": node.applied(),
            "progress": {},
            "leadtransferee": "0",
        },
    });
    super::answer::page("application/json; charset=utf-8", page.to_string())
}

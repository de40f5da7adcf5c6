//! Durations by kind of request and success, with each histogram looked up once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::Histogram;
use prost::Message as _;
use proto::etcdserverpb as pb;
use types::Entry;

/// Histograms already found. Belongs to one thread.
#[derive(Default)]
pub(crate) struct Timed {
    found: HashMap<(&'static str, bool), Arc<Histogram>>,
}

impl Timed {
    /// Takes a duration; `find` is asked the first time.
    pub(crate) fn observe(
        &mut self,
        kind: &'static str,
        success: bool,
        took: Duration,
        find: impl FnOnce(&'static str) -> Arc<Histogram>,
    ) {
        let told = if success { "true" } else { "false" };
        self.found.entry((kind, success)).or_insert_with(|| find(told)).observe_duration(took);
    }
}

/// The kind of a request, as etcd's metrics spell it.
pub(crate) fn kind(request: &pb::InternalRaftRequest) -> &'static str {
    let kinds = [
        (request.put.is_some(), "Put"),
        (request.txn.is_some(), "Txn"),
        (request.delete_range.is_some(), "DeleteRange"),
        (request.range.is_some(), "Range"),
        (request.compaction.is_some(), "Compaction"),
        (request.lease_grant.is_some(), "LeaseGrant"),
        (request.lease_revoke.is_some(), "LeaseRevoke"),
        (request.lease_checkpoint.is_some(), "LeaseCheckpoint"),
        (request.alarm.is_some(), "Alarm"),
        (request.cluster_version_set.is_some(), "ClusterVersionSet"),
        (request.cluster_member_attr_set.is_some(), "ClusterMemberAttrSet"),
    ];
    kinds.iter().find(|(is, _)| *is).map_or("unknown", |(_, kind)| kind)
}

/// A group of entries in a few words: the kinds of requests in it, and how many bytes.
pub(crate) fn describe(entries: &[Entry]) -> String {
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for entry in entries {
        let request = pb::InternalRaftRequest::decode(entry.data.clone());
        *kinds.entry(request.as_ref().map_or("unknown", kind)).or_default() += 1;
    }
    let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind}:{count}")).collect();
    format!("entries:{} {} size:{bytes}", entries.len(), kinds.join(" "))
}

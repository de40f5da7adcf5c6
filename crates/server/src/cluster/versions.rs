//! The cluster's version: the leader asks everybody for theirs and proposes the oldest, as etcd does
//! (`docs/etcd/peer-protocol.md` 7.2).

use std::sync::Arc;
use std::time::Duration;

use auth::{Principal, Why};
use node::Node;
use proto::etcdserverpb as pb;
use proto::membershippb;
use types::Version;

use super::Network;

/// How often the leader looks.
const LOOKS_EVERY: Duration = Duration::from_secs(4);
/// How often it is looked whether this member leads now and nothing is decided: a cluster that has just begun
/// should not wait.
const WAKES_EVERY: Duration = Duration::from_millis(50);

/// Keeps the cluster's version what the oldest member allows, as long as this member lives.
pub(crate) async fn watch_versions(node: &Node, network: &Arc<Network>) {
    let mut since = LOOKS_EVERY;
    let mut term = 0;
    loop {
        let standing = node.standing();
        let newly_leads = node.is_leader() && standing.term != term;
        let undecided = node.cluster().members.version().is_none();
        if node.is_leader() && (newly_leads || undecided || LOOKS_EVERY <= since) {
            (since, term) = (Duration::ZERO, standing.term);
            look(node, network).await;
        }
        tokio::time::sleep(WAKES_EVERY).await;
        since += WAKES_EVERY;
    }
}

async fn look(node: &Node, network: &Arc<Network>) {
    let cluster = node.cluster();
    let mut all = vec![own_version(node)];
    for member in cluster.members.members().filter(|member| member.id != node.member()) {
        let mut found = None;
        for url in &member.peer_urls {
            let asked = tokio::time::timeout(Duration::from_secs(1), network.asker.versions(url));
            if let Ok(Ok(versions)) = asked.await {
                found = versions.server.parse().ok();
                break;
            }
        }
        // Whoever cannot be asked might be old: nothing is decided without it.
        let Some(version) = found else { return };
        all.push(version);
    }
    let downgrade = cluster.members.downgrade();
    let target = downgrade.enabled.then(|| downgrade.target.parse().ok()).flatten();
    let Some(version) = decide(cluster.members.version(), &all, target) else { return };
    let set = membershippb::ClusterVersionSetRequest { ver: version.to_string() };
    let request = pb::InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
    // Whoever leads next looks again.
    let _ = node.propose(request, &Principal::Internal(Why::Membership)).await;
}

fn own_version(node: &Node) -> Version {
    node.config().server_version.parse().unwrap_or(Version::OURS)
}

/// What to propose, of what is decided and what the members are; `None` to leave it.
fn decide(now: Option<Version>, all: &[Version], downgrade: Option<Version>) -> Option<Version> {
    let oldest = all.iter().min().copied()?;
    let Some(now) = now else { return Some(oldest) };
    if let Some(target) = downgrade {
        // One step down, and never below what was asked for.
        let one_below = target.major == now.major && target.minor.checked_add(1) == Some(now.minor);
        return one_below.then_some(target);
    }
    (now < oldest && now.major == oldest.major).then_some(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v(minor: u64) -> Version {
        Version::new(3, minor)
    }

    #[test]
    fn the_oldest_member_holds_the_version_back_and_it_only_rises() {
        assert_eq!(decide(None, &[v(7), v(5), v(6)], None), Some(v(5)));
        assert_eq!(decide(Some(v(5)), &[v(7), v(6)], None), Some(v(6)));
        assert_eq!(decide(Some(v(6)), &[v(7), v(6)], None), None);
        assert_eq!(decide(Some(v(6)), &[v(7), v(5)], None), None);
    }

    #[test]
    fn a_downgrade_lowers_it_by_one_and_holds_it_there() {
        assert_eq!(decide(Some(v(7)), &[v(7), v(7)], Some(v(6))), Some(v(6)));
        assert_eq!(decide(Some(v(6)), &[v(7), v(7)], Some(v(6))), None);
        assert_eq!(decide(Some(v(7)), &[v(7), v(7)], Some(v(5))), None);
    }
}

//! The cluster's version, and which members have which: the leader asks everybody for theirs and proposes the
//! oldest, as etcd does (`docs/etcd/peer-protocol.md` 7.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth::{Principal, Why};
use node::{Level, Line, Node, Report};
use proto::etcdserverpb as pb;
use proto::membershippb;
use types::Version;

use super::Network;

/// How often the leader looks.
const LOOKS_EVERY: Duration = Duration::from_secs(4);
/// How often it is looked whether this member leads now and nothing is decided: a cluster that has just begun
/// should not wait.
const WAKES_EVERY: Duration = Duration::from_millis(50);
/// How long a leader of a cluster without a version waits for members that cannot be asked, before it decides for
/// the oldest version there is.
const STRAGGLERS_DURATION_MAX: Duration = Duration::from_secs(3);
/// How long a member may take to say its version.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(1);

/// What a cluster has until its members are known: as etcd decides when it cannot ask them all.
const UNKNOWN: Version = Version::new(3, 0);
/// The first release that reads names and versions as requests of v3.
const READS_V3: Version = Version::new(3, 5);

/// Keeps the cluster's version what the oldest member allows, as long as this member lives.
pub(crate) async fn watch_versions(node: &Node, network: &Arc<Network>) {
    let mut looked_at = None;
    let mut led_since = (0, Instant::now());
    loop {
        let standing = node.standing();
        if node.is_leader() {
            if led_since.0 != standing.term {
                led_since = (standing.term, Instant::now());
                looked_at = None;
            }
            let undecided = node.cluster().members.version().is_none();
            let due = looked_at.is_none_or(|at: Instant| LOOKS_EVERY <= at.elapsed());
            if undecided || due {
                looked_at = Some(Instant::now());
                look(node, network, STRAGGLERS_DURATION_MAX <= led_since.1.elapsed()).await;
            }
        }
        tokio::time::sleep(WAKES_EVERY).await;
    }
}

async fn look(node: &Node, network: &Arc<Network>, waited: bool) {
    let found = survey(node, network).await;
    let cluster = node.cluster();
    let now = cluster.members.version();
    let version = match found.is_complete {
        true => {
            let downgrade = cluster.members.downgrade();
            let target = downgrade.enabled.then(|| downgrade.target.parse().ok()).flatten();
            decide(now, &found.versions, target)
        }
        // Whoever cannot be asked might be old.
        false => (now.is_none() && waited).then_some(UNKNOWN),
    };
    let Some(version) = version else { return };
    // Whoever leads next looks again.
    if found.has_v2_members(now) {
        let _ = node.propose_v2_put("/0/version".to_owned(), version.to_string()).await;
        return;
    }
    let set = membershippb::ClusterVersionSetRequest { ver: version.to_string() };
    let request = pb::InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
    let _ = node.propose(request, &Principal::Internal(Why::Membership)).await;
}

/// Ends a downgrade that has reached its end, as long as this member lives: looked at so often, as the leader.
pub(crate) async fn watch_downgrade(
    node: &Node,
    network: &Arc<Network>,
    report: &Arc<dyn Report>,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        let downgrade = node.cluster().members.downgrade().clone();
        let Some(target) = Some(&downgrade.target).filter(|_| downgrade.enabled) else { continue };
        if !node.is_leader() || !is_downgraded(&survey(node, network).await, target.parse().ok()) {
            continue;
        }
        let fields = vec![("cluster-version", target.clone().into())];
        report.line(&Line { level: Level::Info, text: "the cluster has been downgraded", fields });
        let set = membershippb::DowngradeInfoSetRequest { enabled: false, ver: String::new() };
        let request =
            pb::InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() };
        // If it does not get through, it is looked at again.
        let _ = node.propose(request, &Principal::Internal(Why::Membership)).await;
    }
}

/// Whether everybody runs the release that a downgrade leads to.
fn is_downgraded(found: &Survey, target: Option<Version>) -> bool {
    let there = |version: &Version| {
        target.is_some_and(|target| (version.major, version.minor) == (target.major, target.minor))
    };
    found.is_complete && found.versions.iter().all(there)
}

/// Makes this member's name and client URLs known, in the form that all members read.
pub(crate) async fn tell_name(node: &Node, network: &Arc<Network>) -> bool {
    let config = node.config();
    let found = survey(node, network).await;
    if found.has_v2_members(node.cluster().members.version()) {
        let path = format!("/0/members/{:x}/attributes", node.member());
        let told = serde_json::json!({ "name": config.name, "clientURLs": config.client_urls });
        return node.propose_v2_put(path, told.to_string()).await.is_ok();
    }
    let set = membershippb::ClusterMemberAttrSetRequest {
        member_id: node.member(),
        member_attributes: Some(membershippb::Attributes {
            name: config.name.clone(),
            client_urls: config.client_urls.clone(),
        }),
    };
    let request =
        pb::InternalRaftRequest { cluster_member_attr_set: Some(set), ..Default::default() };
    node.propose(request, &Principal::Internal(Why::Membership)).await.is_ok()
}

/// What members say their releases are.
struct Survey {
    versions: Vec<Version>,
    /// Everybody answered.
    is_complete: bool,
}

impl Survey {
    /// Whether a member would end at a request of v3 about members or versions. A member that does not answer
    /// is judged by what the cluster has decided.
    fn has_v2_members(&self, decided: Option<Version>) -> bool {
        let old = |version: &Version| *version < READS_V3;
        let hidden = !self.is_complete && decided.is_some_and(|v| UNKNOWN < v && v < READS_V3);
        self.versions.iter().any(old) || hidden
    }
}

/// Asks all other members at once.
async fn survey(node: &Node, network: &Arc<Network>) -> Survey {
    let cluster = node.cluster();
    let others = cluster.members.members().filter(|member| member.id != node.member());
    let asked = others.map(|member| async {
        for url in &member.peer_urls {
            let asked = tokio::time::timeout(ANSWER_DURATION_MAX, network.asker.versions(url));
            if let Ok(Ok(versions)) = asked.await {
                return versions.server.parse().ok();
            }
        }
        None
    });
    let answers: Vec<Option<Version>> = futures_util::future::join_all(asked).await;
    let is_complete = answers.iter().all(Option::is_some);
    let own = node.config().server_version.parse().unwrap_or(Version::OURS);
    Survey { versions: answers.into_iter().flatten().chain([own]).collect(), is_complete }
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
    fn a_member_of_3_4_is_spoken_to_in_its_own_form() {
        let survey =
            |versions: &[Version], is_complete| Survey { versions: versions.to_vec(), is_complete };
        assert!(survey(&[v(7), v(4)], true).has_v2_members(None));
        assert!(!survey(&[v(7), v(5)], true).has_v2_members(Some(v(4))));
        assert!(survey(&[v(7)], false).has_v2_members(Some(v(4))));
        assert!(!survey(&[v(7)], false).has_v2_members(Some(v(0))));
        assert!(!survey(&[v(7)], false).has_v2_members(None));
    }

    #[test]
    fn a_downgrade_has_ended_when_everybody_runs_its_target() {
        let survey =
            |versions: &[Version], is_complete| Survey { versions: versions.to_vec(), is_complete };
        assert!(is_downgraded(&survey(&[v(6), v(6)], true), Some(v(6))));
        assert!(!is_downgraded(&survey(&[v(6), v(7)], true), Some(v(6))));
        assert!(!is_downgraded(&survey(&[v(6), v(6)], false), Some(v(6))));
        assert!(!is_downgraded(&survey(&[v(6)], true), None));
    }

    #[test]
    fn a_downgrade_lowers_it_by_one_and_holds_it_there() {
        assert_eq!(decide(Some(v(7)), &[v(7), v(7)], Some(v(6))), Some(v(6)));
        assert_eq!(decide(Some(v(6)), &[v(7), v(7)], Some(v(6))), None);
        assert_eq!(decide(Some(v(7)), &[v(7), v(7)], Some(v(5))), None);
    }
}

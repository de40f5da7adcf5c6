//! What other members may ask beside raft.

use lease::KeepAlive;
use node::Node;
use peer::{HashKv, LeaseRefusal, LocalFuture, MemberJson, PeerFacts, PromoteRefusal, Versions};
use proto::etcdserverpb as pb;
use types::Refusal;

use crate::desk::Desk;
use crate::http::version_texts;
use crate::leader;
use crate::services::{hash_at, promote_for};

/// A member's answers.
pub(crate) struct Facts(Desk);

impl Facts {
    /// Of this member.
    pub fn new(desk: Desk) -> Facts {
        Facts(desk)
    }

    fn node(&self) -> Node {
        self.0.node().clone()
    }
}

fn lease_refusal(refusal: Refusal) -> LeaseRefusal {
    match refusal {
        Refusal::LeaseNotFound => LeaseRefusal::NotFound,
        Refusal::TimeoutWaitAppliedIndex => LeaseRefusal::TimedOut,
        other => LeaseRefusal::Other(other.message().to_owned()),
    }
}

impl PeerFacts for Facts {
    fn members(&self) -> Vec<MemberJson> {
        let cluster = self.0.cluster();
        let members = cluster.members.members().map(|member| MemberJson {
            id: member.id,
            peer_urls: Some(member.peer_urls.clone()),
            is_learner: member.is_learner,
            name: member.name.clone(),
            client_urls: member.client_urls.clone(),
        });
        members.collect()
    }

    fn versions(&self) -> Versions {
        let [server, cluster, storage] = version_texts(self.0.node());
        Versions { server, cluster, storage }
    }

    fn promote(
        &self,
        member: u64,
        token: Option<String>,
    ) -> LocalFuture<Result<Vec<MemberJson>, PromoteRefusal>> {
        let desk = self.0.clone();
        Box::pin(async move {
            let members =
                promote_for(&desk, member, token).await.map_err(|refusal| match refusal {
                    Refusal::MemberNotFound => PromoteRefusal::NotFound,
                    Refusal::MemberNotLearner => PromoteRefusal::NotLearner,
                    Refusal::LearnerNotReady => PromoteRefusal::NotReady,
                    other => PromoteRefusal::Other(other.message().to_owned()),
                })?;
            let json = |member: pb::Member| MemberJson {
                id: member.id,
                peer_urls: Some(member.peer_ur_ls),
                is_learner: member.is_learner,
                name: member.name,
                client_urls: member.client_ur_ls,
            };
            Ok(members.into_iter().map(json).collect())
        })
    }

    fn hash_kv(&self, revision: i64) -> LocalFuture<Result<HashKv, String>> {
        let desk = self.0.clone();
        Box::pin(async move {
            let (now, triple) =
                hash_at(&desk, revision).await.map_err(|refusal| refusal.message().to_owned())?;
            Ok(HashKv {
                revision: now,
                hash: triple.hash,
                compact_revision: triple.compact_revision,
                hash_revision: triple.revision,
            })
        })
    }

    fn keep_alive(&self, lease: i64) -> LocalFuture<Result<i64, LeaseRefusal>> {
        let node = self.node();
        Box::pin(async move {
            leader::caught_up(&node).await.map_err(lease_refusal)?;
            match node.keep_alive(lease).await.map_err(lease_refusal)? {
                KeepAlive::Renewed { ttl_seconds, .. } => Ok(ttl_seconds),
                KeepAlive::Expired | KeepAlive::NotFound => Err(LeaseRefusal::NotFound),
                KeepAlive::NotPrimary => Err(LeaseRefusal::NotPrimary),
            }
        })
    }

    fn time_to_live(
        &self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> LocalFuture<Result<pb::LeaseTimeToLiveResponse, LeaseRefusal>> {
        let node = self.node();
        Box::pin(async move {
            leader::caught_up(&node).await.map_err(lease_refusal)?;
            if !node.is_leader() {
                return Err(LeaseRefusal::NotPrimary);
            }
            let left = node.time_to_live(request.id, request.keys).await.map_err(lease_refusal)?;
            let left = left.ok_or(LeaseRefusal::NotFound)?;
            Ok(pb::LeaseTimeToLiveResponse {
                header: Some(node.header(node.revision())),
                id: request.id,
                ttl: left.time.remaining_seconds,
                granted_ttl: left.time.granted_seconds,
                keys: left.keys,
            })
        })
    }

    /// The member's own URL must say that it has no state: whoever asked may have been somebody else.
    fn send_snapshot(&self, member: u64) -> LocalFuture<Result<(), String>> {
        let desk = self.0.clone();
        Box::pin(async move {
            let cluster = desk.cluster();
            let urls = cluster.members.get(member).map(|member| member.peer_urls.clone());
            for url in urls.unwrap_or_default() {
                if desk.network().asker.is_repairing(&url).await == Ok(true) {
                    desk.node().offer_snapshot(member);
                    return Ok(());
                }
            }
            Err("the member's URLs do not say that it is being repaired".to_owned())
        })
    }

    fn downgrade_enabled(&self) -> LocalFuture<Result<bool, String>> {
        let node = self.node();
        Box::pin(async move {
            let settled = node.barrier().await;
            let failed =
                |refusal: Refusal| format!("failed linearized read: {}", refusal.message());
            settled.map_err(failed)?;
            Ok(node.cluster().members.downgrade().enabled)
        })
    }
}

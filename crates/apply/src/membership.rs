//! Who belongs to the cluster, as the log says.
//!
//! Rows look as etcd's do (`reference/bbolt-and-backend.md` 2), so that a snapshot of ours is a
//! snapshot of etcd's. A change that membership refuses still ends in raft as "nothing"
//! (`reference/apply-semantics.md` 10).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::raftpb::{ConfChange, ConfChangeType};
use serde::{Deserialize, Serialize};
use store::{Bucket, StateChange};
use types::{ConfState, MemberId, Refusal, Version};

/// One member, spelled as in etcd's `members` bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs", default, deserialize_with = "null_is_empty")]
    pub peer_urls: Vec<String>,
    /// Whether it only listens.
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    pub is_learner: bool,
    /// Its name; empty until it has started.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it; empty until it has started.
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
}

impl Member {
    /// As the Cluster service shows it.
    pub fn to_wire(&self) -> pb::Member {
        pb::Member {
            id: self.id,
            name: self.name.clone(),
            peer_ur_ls: self.peer_urls.clone(),
            client_ur_ls: self.client_urls.clone(),
            is_learner: self.is_learner,
        }
    }
}

/// What travels in a configuration change's context: a member, and whether it is being promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeContext {
    /// The member as it is to be.
    #[serde(flatten)]
    pub member: Member,
    /// Whether a learner becomes a voter.
    #[serde(rename = "isPromote", default, skip_serializing_if = "is_false")]
    pub is_promote: bool,
}

/// Rows of the store that no member of ours wrote.
#[derive(Debug, thiserror::Error)]
#[error("the row of member {key} cannot be read")]
pub struct BadMemberRow {
    key: String,
    #[source]
    source: serde_json::Error,
}

/// The cluster's members and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    version: Option<Version>,
    downgrade: Downgrade,
    learners_max: usize,
}

/// Whether the cluster is on its way down to an older version, spelled as in etcd's `cluster` bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downgrade {
    /// The version to go to, as `3.6.0`.
    #[serde(rename = "target-version", default)]
    pub target: String,
    /// Whether a downgrade is under way.
    #[serde(default)]
    pub enabled: bool,
}

impl Membership {
    /// An empty cluster that takes up to `learners_max` learners (`--max-learners`).
    pub fn new(learners_max: usize) -> Membership {
        Membership { learners_max, ..Membership::default() }
    }

    /// Reads the rows of the store's buckets.
    ///
    /// # Errors
    /// [`BadMemberRow`].
    pub fn restore(learners_max: usize, state: &store::State) -> Result<Membership, BadMemberRow> {
        let mut membership = Membership::new(learners_max);
        for (key, value) in state.iter(Bucket::Members) {
            let member: Member = serde_json::from_slice(value).map_err(|source| BadMemberRow {
                key: String::from_utf8_lossy(key).into_owned(),
                source,
            })?;
            membership.members.insert(member.id, member);
        }
        for (key, _) in state.iter(Bucket::MembersRemoved) {
            let id = std::str::from_utf8(key).ok().and_then(|k| u64::from_str_radix(k, 16).ok());
            membership.removed.extend(id);
        }
        membership.version = state
            .get(Bucket::Cluster, b"clusterVersion")
            .and_then(|version| std::str::from_utf8(version).ok()?.parse().ok());
        membership.downgrade = state
            .get(Bucket::Cluster, b"downgrade")
            .and_then(|row| serde_json::from_slice(row).ok())
            .unwrap_or_default();
        Ok(membership)
    }

    /// All members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// All members as the Cluster service shows them.
    pub fn to_wire(&self) -> Vec<pb::Member> {
        self.members.values().map(Member::to_wire).collect()
    }

    /// One member.
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Ids that were members once.
    pub fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// Whether this id was a member once; it never will be again.
    pub fn was_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// The version all members agreed on; `None` before they have.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether the cluster is on its way down to an older version.
    pub fn downgrade(&self) -> &Downgrade {
        &self.downgrade
    }

    /// A downgrade was begun or called off.
    pub fn set_downgrade(&mut self, enabled: bool, target: &str) -> StateChange {
        let target = if enabled { target.to_owned() } else { String::new() };
        self.downgrade = Downgrade { target, enabled };
        let value = serde_json::to_vec(&self.downgrade).expect("strings always serialize");
        StateChange::Set {
            bucket: Bucket::Cluster,
            key: Bytes::from_static(b"downgrade"),
            value: value.into(),
        }
    }

    /// Who votes and who listens.
    pub fn conf_state(&self) -> ConfState {
        let ids = |learner: bool| {
            self.members.values().filter(|m| m.is_learner == learner).map(|m| m.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true) }
    }

    /// Applies a configuration change and returns what to store.
    ///
    /// # Errors
    /// A refusal; then raft must be told that nothing changed.
    pub fn change(&mut self, change: &ConfChange) -> Result<Vec<StateChange>, Refusal> {
        let id = change.node_id();
        if self.was_removed(id) {
            return Err(Refusal::MemberNotFound);
        }
        match change.r#type() {
            ConfChangeType::ConfChangeRemoveNode => self.remove(id),
            ConfChangeType::ConfChangeUpdateNode => self.update(id, &context(change)?.member),
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                let context = context(change)?;
                if context.is_promote { self.promote(id) } else { self.add(id, context.member) }
            }
        }
    }

    fn remove(&mut self, id: MemberId) -> Result<Vec<StateChange>, Refusal> {
        let mut others = self.members.values().filter(|member| member.id != id);
        if self.members.contains_key(&id) && !others.any(|member| !member.is_learner) {
            // Nobody would be left to vote, and raft could not follow.
            return Err(Refusal::MemberNotEnoughStarted);
        }
        self.members.remove(&id).ok_or(Refusal::MemberNotFound)?;
        self.removed.insert(id);
        Ok(vec![
            StateChange::Delete { bucket: Bucket::Members, key: row_key(id) },
            StateChange::Set {
                bucket: Bucket::MembersRemoved,
                key: row_key(id),
                value: Bytes::from_static(b"removed"),
            },
        ])
    }

    fn update(&mut self, id: MemberId, to: &Member) -> Result<Vec<StateChange>, Refusal> {
        if !self.members.contains_key(&id) {
            return Err(Refusal::MemberNotFound);
        }
        self.check_urls_free(id, &to.peer_urls)?;
        let member = self.members.get_mut(&id).expect("looked up above");
        member.peer_urls.clone_from(&to.peer_urls);
        Ok(vec![row(member)])
    }

    fn promote(&mut self, id: MemberId) -> Result<Vec<StateChange>, Refusal> {
        let member = self.members.get_mut(&id).ok_or(Refusal::MemberNotFound)?;
        if !member.is_learner {
            return Err(Refusal::MemberNotLearner);
        }
        member.is_learner = false;
        Ok(vec![row(member)])
    }

    fn add(&mut self, id: MemberId, mut member: Member) -> Result<Vec<StateChange>, Refusal> {
        if self.members.contains_key(&id) {
            return Err(Refusal::MemberExist);
        }
        self.check_urls_free(id, &member.peer_urls)?;
        let learners = self.members.values().filter(|m| m.is_learner).count();
        if member.is_learner && self.learners_max <= learners {
            return Err(Refusal::TooManyLearners);
        }
        member.id = id;
        let stored = row(&member);
        self.members.insert(id, member);
        Ok(vec![stored])
    }

    /// Whether `urls` may become the peer URLs of member `id`.
    ///
    /// # Errors
    /// `PeerURLExist` when another member has one of them.
    pub fn check_urls_free(&self, id: MemberId, urls: &[String]) -> Result<(), Refusal> {
        let taken = self
            .members
            .values()
            .filter(|member| member.id != id)
            .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(Refusal::PeerURLExist) } else { Ok(()) }
    }

    /// A member told its name and client URLs. One that was removed is not listened to, and neither is
    /// one nobody knows (Go etcd stops there; `reference/apply-semantics.md` 10).
    pub fn set_attributes(
        &mut self,
        id: MemberId,
        name: String,
        client_urls: Vec<String>,
    ) -> Vec<StateChange> {
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        member.name = name;
        member.client_urls = client_urls;
        vec![row(member)]
    }

    /// The members agreed on a version. The storage version follows it from 3.6 on.
    pub fn set_version(&mut self, version: Version) -> Vec<StateChange> {
        self.version = Some(version);
        let text = Bytes::from(version.to_string());
        let set = |bucket, key: &'static str| StateChange::Set {
            bucket,
            key: Bytes::from_static(key.as_bytes()),
            value: text.clone(),
        };
        let mut changes = vec![set(Bucket::Cluster, "clusterVersion")];
        if Version::new(3, 6) <= version {
            changes.push(set(Bucket::Meta, "storageVersion"));
        }
        changes
    }
}

fn context(change: &ConfChange) -> Result<ChangeContext, Refusal> {
    serde_json::from_slice(change.context()).map_err(|_| Refusal::MemberBadURLs)
}

/// The key of a member's row: its id in hexadecimal, without padding.
fn row_key(id: MemberId) -> Bytes {
    Bytes::from(format!("{id:x}"))
}

fn row(member: &Member) -> StateChange {
    let value = serde_json::to_vec(member).expect("strings and numbers always serialize");
    StateChange::Set { bucket: Bucket::Members, key: row_key(member.id), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ConfChangeType, id: MemberId, context: &str) -> ConfChange {
        ConfChange {
            id: Some(1),
            r#type: Some(kind as i32),
            node_id: Some(id),
            context: Some(Bytes::copy_from_slice(context.as_bytes())),
        }
    }

    #[test]
    fn a_member_is_stored_as_etcd_stores_it() {
        let mut membership = Membership::new(1);
        let add = change(
            ConfChangeType::ConfChangeAddNode,
            10,
            r#"{"id":10,"peerURLs":["http://127.0.0.1:2380"],"name":"a"}"#,
        );
        let stored = membership.change(&add).expect("the cluster is empty");
        let value = br#"{"id":10,"peerURLs":["http://127.0.0.1:2380"],"name":"a"}"#;
        let expected = StateChange::Set {
            bucket: Bucket::Members,
            key: "a".into(),
            value: Bytes::from_static(value),
        };
        assert_eq!(stored, [expected]);
        assert_eq!(membership.change(&add), Err(Refusal::MemberExist));
    }

    #[test]
    fn an_id_that_was_removed_never_comes_back() {
        let mut membership = Membership::new(1);
        let add =
            change(ConfChangeType::ConfChangeAddNode, 7, r#"{"id":7,"peerURLs":["http://a:1"]}"#);
        membership.change(&add).expect("the cluster is empty");
        let other =
            change(ConfChangeType::ConfChangeAddNode, 8, r#"{"id":8,"peerURLs":["http://b:1"]}"#);
        membership.change(&other).expect("nobody has that id");
        membership
            .change(&change(ConfChangeType::ConfChangeRemoveNode, 7, ""))
            .expect("it is a member");
        assert_eq!(membership.change(&add), Err(Refusal::MemberNotFound));
        assert!(membership.removed().contains(&7));
    }

    #[test]
    fn the_last_member_with_a_vote_is_not_removed() {
        let mut membership = Membership::new(1);
        let json = |id, learner| {
            format!(r#"{{"id":{id},"peerURLs":["http://{id}:1"],"isLearner":{learner}}}"#)
        };
        let voter = change(ConfChangeType::ConfChangeAddNode, 7, &json(7, false));
        let learner = change(ConfChangeType::ConfChangeAddLearnerNode, 8, &json(8, true));
        membership.change(&voter).expect("the cluster is empty");
        membership.change(&learner).expect("nobody has that id");
        let remove = |id| change(ConfChangeType::ConfChangeRemoveNode, id, "");
        assert_eq!(membership.change(&remove(7)), Err(Refusal::MemberNotEnoughStarted));
        assert_eq!(membership.conf_state().voters, [7]);
        membership.change(&remove(8)).expect("a learner may always go");
    }

    #[test]
    fn peer_urls_belong_to_one_member() {
        let mut membership = Membership::new(1);
        let json = |id| format!(r#"{{"id":{id},"peerURLs":["http://a:1"]}}"#);
        membership
            .change(&change(ConfChangeType::ConfChangeAddNode, 7, &json(7)))
            .expect("the cluster is empty");
        let second = membership.change(&change(ConfChangeType::ConfChangeAddNode, 8, &json(8)));
        assert_eq!(second, Err(Refusal::PeerURLExist));
    }
}

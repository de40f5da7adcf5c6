//! What applied entries make of the cluster's members, and which changes they refuse.
//!
//! Rows look as etcd's do (`docs/etcd/bbolt-and-backend.md` 2), so that a snapshot of ours is a
//! snapshot of etcd's. A change that membership refuses still ends in raft as "nothing"
//! (`docs/etcd/apply-semantics.md` 10).
//!
//! Always true: an id that was removed never comes back; a peer URL belongs to one member; somebody is left to vote.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use proto::raftpb::{ConfChange, ConfChangeType};
use store::{Bucket, StateChange};
use types::{MemberId, Refusal, Version};

use crate::members::{ChangeContext, Downgrade, Member, Members};

/// Rows of the store that no member of ours wrote.
#[derive(Debug, thiserror::Error)]
pub enum BadMemberRow {
    /// A member's row.
    #[error("the row of member {key} cannot be read")]
    Member {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The cluster's version.
    #[error("the cluster's version in the store, {text:?}, is none")]
    Version {
        /// What stands there.
        text: String,
    },
}

/// The cluster's members and version, and the one place where they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    now: Arc<Members>,
    learners_max: usize,
}

impl Deref for Membership {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.now
    }
}

impl Membership {
    /// An empty cluster, as `own` knows it, that takes up to `learners_max` learners (`--max-learners`).
    pub fn new(own: MemberId, learners_max: usize) -> Membership {
        Membership { now: Arc::new(Members { own, ..Members::default() }), learners_max }
    }

    /// Reads the rows of the store's buckets.
    ///
    /// # Errors
    /// [`BadMemberRow`].
    pub fn restore(
        own: MemberId,
        learners_max: usize,
        state: &store::State,
    ) -> Result<Membership, BadMemberRow> {
        let mut now = Members { own, ..Members::default() };
        for (key, value) in state.iter(Bucket::Members) {
            let key = || String::from_utf8_lossy(key).into_owned();
            let member: Member = serde_json::from_slice(value)
                .map_err(|source| BadMemberRow::Member { key: key(), source })?;
            now.members.insert(member.id, member);
        }
        for (key, _) in state.iter(Bucket::MembersRemoved) {
            let id = std::str::from_utf8(key).ok().and_then(|k| u64::from_str_radix(k, 16).ok());
            now.removed.extend(id);
        }
        if let Some(row) = state.get(Bucket::Cluster, b"clusterVersion") {
            let text = String::from_utf8_lossy(row).into_owned();
            let version = text.parse().map_err(|_| BadMemberRow::Version { text })?;
            now.version = Some(version);
        }
        now.downgrade = state
            .get(Bucket::Cluster, b"downgrade")
            .and_then(|row| serde_json::from_slice(row).ok())
            .unwrap_or_default();
        Ok(Membership { now: Arc::new(now), learners_max })
    }

    /// The members as of the last entry, to keep and to hand on.
    pub fn now(&self) -> &Arc<Members> {
        &self.now
    }

    /// For a change. Whoever holds the value from before keeps it.
    fn edit(&mut self) -> &mut Members {
        Arc::make_mut(&mut self.now)
    }

    /// A downgrade was begun or called off.
    pub fn set_downgrade(&mut self, enabled: bool, target: &str) -> StateChange {
        let target = if enabled { target.to_owned() } else { String::new() };
        let downgrade = Downgrade { target, enabled };
        let value = serde_json::to_vec(&downgrade).expect("strings always serialize");
        self.edit().downgrade = downgrade;
        StateChange::Set {
            bucket: Bucket::Cluster,
            key: Bytes::from_static(b"downgrade"),
            value: value.into(),
        }
    }

    /// Applies a configuration change and returns what to store.
    ///
    /// # Errors
    /// A refusal; then raft must be told that nothing changed.
    pub fn change(&mut self, change: &ConfChange) -> Result<Vec<StateChange>, Refusal> {
        let id = change.node_id();
        if id == 0 || self.was_removed(id) {
            return Err(Refusal::MemberNotFound);
        }
        match change.r#type() {
            ConfChangeType::ConfChangeRemoveNode => self.remove(id),
            ConfChangeType::ConfChangeUpdateNode => self.update(id, &context(change)?.member),
            ConfChangeType::ConfChangeAddNode => {
                let ChangeContext { member, is_promote } = context(change)?;
                if is_promote { self.promote(id) } else { self.add(id, member, false) }
            }
            ConfChangeType::ConfChangeAddLearnerNode => {
                let ChangeContext { member, is_promote } = context(change)?;
                // Raft would make a learner of it.
                if is_promote {
                    return Err(Refusal::MemberNotLearner);
                }
                self.add(id, member, true)
            }
        }
    }

    /// Guarantee (membership): the last voter stays. Raft has no configuration without one, and none could be agreed
    /// upon any more.
    fn remove(&mut self, id: MemberId) -> Result<Vec<StateChange>, Refusal> {
        let member = self.get(id).ok_or(Refusal::MemberNotFound)?;
        let voters = self.members().filter(|other| !other.is_learner).count();
        if !member.is_learner && voters == 1 {
            return Err(Refusal::MemberNotEnoughStarted);
        }
        let now = self.edit();
        now.members.remove(&id);
        now.removed.insert(id);
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
        if self.get(id).is_none() {
            return Err(Refusal::MemberNotFound);
        }
        self.check_urls_free(id, &to.peer_urls)?;
        self.edit_member(id, |member| member.peer_urls.clone_from(&to.peer_urls))
    }

    fn promote(&mut self, id: MemberId) -> Result<Vec<StateChange>, Refusal> {
        if !self.get(id).ok_or(Refusal::MemberNotFound)?.is_learner {
            return Err(Refusal::MemberNotLearner);
        }
        self.edit_member(id, |member| member.is_learner = false)
    }

    /// Whether it is a learner is for the change's type to say, which raft goes by.
    fn add(
        &mut self,
        id: MemberId,
        member: Member,
        is_learner: bool,
    ) -> Result<Vec<StateChange>, Refusal> {
        if self.get(id).is_some() {
            return Err(Refusal::MemberExist);
        }
        self.check_urls_free(id, &member.peer_urls)?;
        let learners = self.members().filter(|m| m.is_learner).count();
        if is_learner && self.learners_max <= learners {
            return Err(Refusal::TooManyLearners);
        }
        if is_learner && self.members().count() == learners {
            // Nobody votes yet.
            return Err(Refusal::MemberNotEnoughStarted);
        }
        let member = Member { id, is_learner, ..member };
        let stored = row(&member);
        self.edit().members.insert(id, member);
        Ok(vec![stored])
    }

    fn edit_member(
        &mut self,
        id: MemberId,
        edit: impl FnOnce(&mut Member),
    ) -> Result<Vec<StateChange>, Refusal> {
        let member = self.edit().members.get_mut(&id).ok_or(Refusal::MemberNotFound)?;
        edit(member);
        Ok(vec![row(member)])
    }

    /// Whether `urls` may become the peer URLs of member `id`.
    ///
    /// # Errors
    /// `PeerURLExist` when another member has one of them.
    pub fn check_urls_free(&self, id: MemberId, urls: &[String]) -> Result<(), Refusal> {
        let taken = self
            .members()
            .filter(|member| member.id != id)
            .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(Refusal::PeerURLExist) } else { Ok(()) }
    }

    /// A member told its name and client URLs. One that was removed is not listened to, and neither is
    /// one nobody knows (Go etcd stops there; `docs/etcd/apply-semantics.md` 10).
    pub fn set_attributes(
        &mut self,
        id: MemberId,
        name: String,
        client_urls: Vec<String>,
    ) -> Vec<StateChange> {
        let told = self.edit_member(id, |member| {
            member.name = name;
            member.client_urls = client_urls;
        });
        told.unwrap_or_default()
    }

    /// The members agreed on a version. The storage version follows it from 3.6 on; a store of 3.5 has none.
    pub fn set_version(&mut self, version: Version) -> Vec<StateChange> {
        self.edit().version = Some(version);
        let text = Bytes::from(version.to_string());
        let key = Bytes::from_static(b"clusterVersion");
        let agreed = StateChange::Set { bucket: Bucket::Cluster, key, value: text.clone() };
        let (bucket, key) = (Bucket::Meta, Bytes::from_static(b"storageVersion"));
        let stored = if Version::new(3, 6) <= version {
            StateChange::Set { bucket, key, value: text }
        } else {
            StateChange::Delete { bucket, key }
        };
        vec![agreed, stored]
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
        let mut membership = Membership::new(7, 1);
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
        let mut membership = Membership::new(7, 1);
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
        let mut membership = Membership::new(7, 1);
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
        let mut membership = Membership::new(7, 1);
        let json = |id| format!(r#"{{"id":{id},"peerURLs":["http://a:1"]}}"#);
        membership
            .change(&change(ConfChangeType::ConfChangeAddNode, 7, &json(7)))
            .expect("the cluster is empty");
        let second = membership.change(&change(ConfChangeType::ConfChangeAddNode, 8, &json(8)));
        assert_eq!(second, Err(Refusal::PeerURLExist));
    }

    fn of_two() -> Membership {
        let mut membership = Membership::new(7, 1);
        for (id, url) in [(7, "http://a:1"), (8, "http://b:1")] {
            let context = format!(r#"{{"id":{id},"peerURLs":["{url}"],"name":"m{id}"}}"#);
            let add = change(ConfChangeType::ConfChangeAddNode, id, &context);
            membership.change(&add).expect("it is new");
        }
        membership
    }

    const LEARNER: &str = r#"{"id":9,"peerURLs":["http://c:1"],"isLearner":true}"#;

    #[test]
    fn the_last_voter_stays() {
        let mut membership = of_two();
        let learner = change(ConfChangeType::ConfChangeAddLearnerNode, 9, LEARNER);
        membership.change(&learner).expect("there is room for one");
        let remove = |id| change(ConfChangeType::ConfChangeRemoveNode, id, "");
        membership.change(&remove(7)).expect("another votes");
        assert_eq!(membership.change(&remove(8)), Err(Refusal::MemberNotEnoughStarted));
        membership.change(&remove(9)).expect("a learner may always go");
        assert_eq!(membership.conf_state().voters, [8]);
        // A cluster does not begin with a learner either.
        let mut empty = Membership::new(9, 1);
        assert_eq!(empty.change(&learner), Err(Refusal::MemberNotEnoughStarted));
    }

    #[test]
    fn a_learner_is_added_promoted_once_and_counted() {
        let mut membership = of_two();
        let learner = change(ConfChangeType::ConfChangeAddLearnerNode, 9, LEARNER);
        membership.change(&learner).expect("there is room for one");
        assert_eq!(membership.conf_state().learners, [9]);
        let second = r#"{"id":10,"peerURLs":["http://d:1"],"isLearner":true}"#;
        let second = change(ConfChangeType::ConfChangeAddLearnerNode, 10, second);
        assert_eq!(membership.change(&second), Err(Refusal::TooManyLearners));
        let promote = r#"{"id":9,"peerURLs":null,"isPromote":true}"#;
        let promote = |id| change(ConfChangeType::ConfChangeAddNode, id, promote);
        let stored = membership.change(&promote(9)).expect("it is a learner");
        assert_eq!(stored.len(), 1);
        assert_eq!(membership.conf_state().voters, [7, 8, 9]);
        assert_eq!(membership.get(9).expect("it is there").peer_urls, ["http://c:1"]);
        assert_eq!(membership.change(&promote(9)), Err(Refusal::MemberNotLearner));
        assert_eq!(membership.change(&promote(11)), Err(Refusal::MemberNotFound));
    }

    #[test]
    fn an_update_changes_peer_urls_and_nothing_else() {
        let mut membership = of_two();
        membership.set_attributes(8, "b".into(), vec!["http://b:2".into()]);
        let to = r#"{"id":8,"peerURLs":["http://b:9"]}"#;
        let update = |id, to: &str| change(ConfChangeType::ConfChangeUpdateNode, id, to);
        membership.change(&update(8, to)).expect("it is a member");
        let member = membership.get(8).expect("it is there");
        assert_eq!(member.peer_urls, ["http://b:9"]);
        assert_eq!((member.name.as_str(), member.client_urls.len()), ("b", 1));
        let taken = r#"{"id":8,"peerURLs":["http://a:1"]}"#;
        assert_eq!(membership.change(&update(8, taken)), Err(Refusal::PeerURLExist));
        assert_eq!(membership.change(&update(9, to)), Err(Refusal::MemberNotFound));
    }

    #[test]
    fn the_row_of_a_member_says_what_raft_goes_by() {
        let mut membership = of_two();
        // The type says voter, the context learner: raft has a voter.
        let add = change(ConfChangeType::ConfChangeAddNode, 9, LEARNER);
        membership.change(&add).expect("it is new");
        assert_eq!(membership.conf_state().voters, [7, 8, 9]);
        let promote = r#"{"id":9,"isPromote":true}"#;
        let promote = change(ConfChangeType::ConfChangeAddLearnerNode, 9, promote);
        assert_eq!(membership.change(&promote), Err(Refusal::MemberNotLearner));
        let nobody = change(ConfChangeType::ConfChangeAddNode, 0, LEARNER);
        assert_eq!(membership.change(&nobody), Err(Refusal::MemberNotFound));
    }

    #[test]
    fn who_holds_the_members_of_an_entry_keeps_them() {
        let mut membership = of_two();
        let before = membership.now().clone();
        let remove = change(ConfChangeType::ConfChangeRemoveNode, 8, "");
        membership.change(&remove).expect("another votes");
        assert!(before.get(8).is_some() && !before.was_removed(8));
        let now = membership.now();
        assert!(now.get(8).is_none() && now.was_removed(8));
        assert_eq!(now.own_member().map(|member| member.id), Some(7));
    }
}

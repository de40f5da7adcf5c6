//! The cluster as of one entry: who belongs to it, who did once, and which version all agreed on.
//!
//! [`Members`] is made by applied entries alone ([`crate::Membership`]) and then shared with whoever asks: the front,
//! peers, the doors of clients, duties. One value is true at one place of the log as a whole.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb as pb;
use serde::{Deserialize, Serialize};
use types::{ConfState, MemberId, Version};

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

/// A cluster's members and version, as one of them knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub(crate) own: MemberId,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) removed: BTreeSet<MemberId>,
    pub(crate) version: Option<Version>,
    pub(crate) downgrade: Downgrade,
}

impl Members {
    /// Who knows this.
    pub fn own(&self) -> MemberId {
        self.own
    }

    /// Who knows this, as a member; `None` before it is one, and when it is none any more.
    pub fn own_member(&self) -> Option<&Member> {
        self.get(self.own)
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

    /// Whether this id was a member once; it never will be again.
    pub fn was_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// Everybody who was a member once.
    pub fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// The version all members agreed on; `None` before they have.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether the cluster is on its way down to an older version.
    pub fn downgrade(&self) -> &Downgrade {
        &self.downgrade
    }

    /// Who votes and who listens.
    pub fn conf_state(&self) -> ConfState {
        let ids = |learner: bool| {
            self.members.values().filter(|m| m.is_learner == learner).map(|m| m.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true) }
    }
}

//! Who stands behind a peer URL: raft, and what the member knows.

use std::path::PathBuf;

use proto::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};
use proto::raftpb::Message;
use serde::{Deserialize, Serialize};

use super::LocalFuture;

/// Whether a message found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbox {
    /// It will be looked at.
    Taken,
    /// There is no room; it was dropped.
    Full,
}

/// The member's raft. Called on the thread of the peers, where nobody may wait: hand over and return.
pub trait Raft: Send + Sync + 'static {
    /// A message for this member, from somebody who was not removed.
    fn receive(&self, message: Message) -> Inbox;

    /// A snapshot's message, its database synced in a file of this name. Called on a thread of its own and may
    /// wait. After an error the sender is told that it failed.
    ///
    /// # Errors
    /// What the sender is told.
    fn receive_snapshot(&self, message: Message, database: PathBuf) -> Result<(), String>;

    /// Whether this id was a member and is not any more. Such a sender gets 410 on streams, which stops it for good.
    fn is_removed(&self, member: u64) -> bool;

    /// A message to this peer was lost.
    fn unreachable(&self, peer: u64);

    /// A snapshot to this peer arrived, or did not.
    fn snapshot_sent(&self, peer: u64, arrived: bool);

    /// A peer says that this member was removed. As in etcd, it must stop.
    fn removed_here(&self);

    /// Both streams from this peer were closed or refused by its host: its process is probably gone. If it leads, an
    /// election need not wait for its time to be up.
    fn host_gone(&self, peer: u64);
}

/// A member as `/members` writes it. The id is a JSON number up to 2^64 - 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberJson {
    /// Its id.
    pub id: u64,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Option<Vec<String>>,
    /// Whether it has no vote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Its name, once it has made itself known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it.
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

/// What `/version` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The release.
    #[serde(rename = "etcdserver")]
    pub server: String,
    /// The cluster's version, or `not_decided`.
    #[serde(rename = "etcdcluster")]
    pub cluster: String,
    /// The storage's version; members before 3.6 do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage: String,
}

/// The hash of all keys at a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKv {
    /// The store's revision when it was asked.
    pub revision: i64,
    /// The hash.
    pub hash: u32,
    /// Up to where revisions were compacted.
    pub compact_revision: i64,
    /// Of what revision the hash is.
    pub hash_revision: i64,
}

/// Why a learner was not promoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromoteRefusal {
    /// There is no such member.
    #[error("membership: ID not found")]
    NotFound,
    /// It votes already.
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// It is too far behind.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    NotReady,
    /// Anything else, which is for our log: etcd tells the asker nothing of it.
    #[error("{0}")]
    Other(String),
}

/// Why a lease's fate is not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefusal {
    /// There is no such lease.
    #[error("lease not found")]
    NotFound,
    /// This member does not lead.
    #[error("not a primary lessor")]
    NotPrimary,
    /// What was committed is not applied yet, a second later.
    #[error("waiting for node to catch up its applied index has timed out")]
    TimedOut,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What a member knows, for the endpoints beside raft. Futures run on the thread of the peers: they wait for
/// channels, never for a lock or a disk.
pub trait PeerFacts: Send + Sync + 'static {
    /// All members, as applied.
    fn members(&self) -> Vec<MemberJson>;
    /// Versions.
    fn versions(&self) -> Versions;
    /// Makes a learner a voter, in the name of whoever holds this token.
    fn promote(
        &self,
        member: u64,
        token: Option<String>,
    ) -> LocalFuture<Result<Vec<MemberJson>, PromoteRefusal>>;
    /// The hash at a revision, 0 for the newest; the error is the refusal's text.
    fn hash_kv(&self, revision: i64) -> LocalFuture<Result<HashKv, String>>;
    /// Keeps a lease alive, once all that is committed is applied; the answer is its new time to live.
    fn keep_alive(&self, lease: i64) -> LocalFuture<Result<i64, LeaseRefusal>>;
    /// How long a lease lives, once all that is committed is applied.
    fn time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> LocalFuture<Result<LeaseTimeToLiveResponse, LeaseRefusal>>;
    /// Whether the cluster is being downgraded, linearizably; the error says why that is not known.
    fn downgrade_enabled(&self) -> LocalFuture<Result<bool, String>>;
    /// Sends the applied state to a member that has none; the error says why not.
    fn send_snapshot(&self, _member: u64) -> LocalFuture<Result<(), String>> {
        Box::pin(std::future::ready(Err("this member gives no state".to_owned())))
    }
    /// Whether this member has no state and waits for that of another.
    fn is_repairing(&self) -> bool {
        false
    }
}

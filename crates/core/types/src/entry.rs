//! The raft log's words, in our own types: the wire's spelling ends in `consensus` and `wal`.

use bytes::Bytes;

use crate::MemberId;

/// What an entry's data holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An `InternalRaftRequest`, or nothing: the leader's first entry of a term.
    Normal,
    /// A `raftpb.ConfChange` exactly as Go etcd writes it.
    ConfChange,
    /// A `raftpb.ConfChangeV2`. Never proposed in a cluster of etcd.
    ConfChangeV2,
}

/// One entry of the raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: u64,
    /// Its place in the log, from 1.
    pub index: u64,
    /// How to read `data`.
    pub kind: EntryKind,
    /// The payload, shared with whoever proposed it.
    pub data: Bytes,
}

/// What a raft member must never forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom this member voted for in `term`; 0 for nobody.
    pub vote: MemberId,
    /// The highest index known to be committed. May lag behind what was applied.
    pub commit: u64,
}

/// Who votes and who only listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Members with a vote, ascending.
    pub voters: Vec<MemberId>,
    /// Members without one, ascending.
    pub learners: Vec<MemberId>,
}

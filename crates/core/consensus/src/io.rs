//! What goes into the machine and what comes out of it.

use std::collections::BTreeSet;

use proto::raftpb::Message;
use types::{ConfState, Entry, HardState, MemberId};

use crate::configuration::ImpossibleChange;

/// How one member takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub id: MemberId,
    /// Ticks without a leader before an election.
    pub election_ticks: u64,
    /// The jitter adds fewer ticks than this; etcd's adds up to as many as `election_ticks`.
    pub jitter_ticks: u64,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u64,
    /// Ask around before raising the term (`--pre-vote`).
    pub pre_vote: bool,
    /// A leader that does not hear from a quorum gives up, and who hears from a leader votes for nobody else.
    pub check_quorum: bool,
    /// Where the election jitter comes from, together with id, term and attempt.
    pub seed: u64,
    /// Bytes of entries in one append, at most; one entry always fits.
    pub append_bytes_max: u64,
    /// Appends on their way to one follower, at most.
    pub inflight_messages_max: usize,
    /// Bytes of entries on their way to one follower, at which no more are sent.
    pub inflight_bytes_max: u64,
    /// Bytes of proposals a leader takes before it has applied them; one proposal always fits.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries handed out and not applied, at which no more are handed out.
    pub applying_bytes_max: u64,
}

impl Config {
    /// Etcd's habits, for this member.
    pub fn new(id: MemberId, seed: u64) -> Config {
        Config {
            id,
            election_ticks: 10,
            jitter_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            seed,
            append_bytes_max: 1 << 20,
            inflight_messages_max: 512,
            inflight_bytes_max: 64 << 20,
            uncommitted_bytes_max: 1 << 30,
            applying_bytes_max: 16 << 20,
        }
    }
}

/// What a member knows when it starts.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The newest hard state found in the log.
    pub hard_state: HardState,
    /// Who votes at `applied`.
    pub conf_state: ConfState,
    /// Who was a member once, and is none for ever.
    pub removed: BTreeSet<MemberId>,
    /// Index and term of the entry before the first of `entries`.
    pub start: (u64, u64),
    /// What the log holds after `start`.
    pub entries: Vec<Entry>,
    /// The highest index already applied; entries after it are handed out again once committed.
    pub applied: u64,
}

/// A log that no member can start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// Data of a configuration change that is none.
    #[error("entry {index} does not hold a configuration change that can be read")]
    MalformedChange {
        /// The entry.
        index: u64,
    },
    /// A change of the second kind, which etcd never proposes.
    #[error("entry {index} changes the configuration in the joint form, which is not supported")]
    JointChange {
        /// The entry.
        index: u64,
    },
    /// The entries do not follow one another.
    #[error(
        "entry {found} (term {term}) stands where entry {expected} of a term not lower than the one before belongs"
    )]
    OutOfOrder {
        /// The index that belongs there.
        expected: u64,
        /// The index found.
        found: u64,
        /// Its term.
        term: u64,
    },
    /// What was applied is not in the log.
    #[error("entry {applied} was applied, but the log holds entries {first} to {last}")]
    AppliedOutside {
        /// The last entry applied.
        applied: u64,
        /// The first the log holds.
        first: u64,
        /// The last the log holds.
        last: u64,
    },
    /// Terms beyond `guard::TERM_MAX` come from damage, not from elections.
    #[error("term {term} is beyond any that elections reach")]
    TermTooHigh {
        /// The term found.
        term: u64,
    },
}

/// Something for the log writer. Whatever depends on it waits for
/// [`Consensus::persisted`](crate::Consensus::persisted).
#[derive(Clone, Debug, PartialEq)]
pub struct Persist {
    /// Names this group in [`Consensus::persisted`](crate::Consensus::persisted); rising.
    pub number: u64,
    /// A snapshot another member sent begins the log anew: to be marked before anything else of the group.
    pub snapshot: Option<SnapshotPoint>,
    /// Present when it changed.
    pub hard_state: Option<HardState>,
    /// To append, in order.
    pub entries: Vec<Entry>,
    /// Whether the log must be synced before the group counts as persisted.
    pub must_sync: bool,
}

/// The point in the log at which a snapshot was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last entry it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who votes there.
    pub conf_state: ConfState,
}

/// A linearizable read may be served once everything up to `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// As given to [`Consensus::read_index`](crate::Consensus::read_index).
    pub context: u64,
    /// The commit index when a quorum confirmed the leader.
    pub index: u64,
}

/// Entries that are in the log's files and not in memory any more, asked for by a leader whose follower lags.
/// To be answered by [`Consensus::log_read`](crate::Consensus::log_read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// Names the question.
    pub ticket: u64,
    /// The first entry wanted.
    pub first: u64,
    /// The last entry of use.
    pub last: u64,
    /// Bytes that are enough; at least one entry is wanted whatever its size.
    pub bytes_max: u64,
}

/// A member's part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether an election would be won.
    PreCandidate,
    /// Runs an election.
    Candidate,
    /// Orders the log.
    Leader,
}

/// Where the member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The present term.
    pub term: u64,
    /// The leader of the term; 0 while unknown.
    pub leader: MemberId,
    /// This member's part.
    pub role: Role,
    /// The highest committed index known here.
    pub committed: u64,
}

/// How a leader feeds one follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replication {
    /// One append at a time, until one fits.
    #[default]
    Probe,
    /// Appends follow one another without waiting for answers.
    Replicate,
    /// A snapshot is on its way; nothing else is sent.
    Snapshot,
}

/// What a leader knows of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whom this is about.
    pub member: MemberId,
    /// The last entry it has confirmed.
    pub matched: u64,
    /// The next entry to send.
    pub next: u64,
    /// How it is fed.
    pub replication: Replication,
    /// Whether it has answered since the last check of the quorum.
    pub recently_active: bool,
    /// Whether it has no vote.
    pub learner: bool,
}

/// Whose proposal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Any leader may take it.
    Anyone,
    /// Only this member may take it, and only while it leads in this term: what a leader decides dies with its
    /// term. Never forwarded.
    LeaderOf(u64),
}

/// A proposal was not taken. Then none of its group was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProposed {
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
    /// An earlier configuration change is not applied yet.
    #[error("another configuration change is under way")]
    ChangePending,
    /// The proposal was for the leader of another term.
    #[error("this member does not lead in that term; the present one is {0}")]
    NotLeaderOf(u64),
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// The leader holds too many bytes that are not applied yet.
    #[error("too many bytes of proposals wait to be committed and applied")]
    TooMuchUncommitted,
    /// The configuration change cannot be read, or is in the joint form.
    #[error("the configuration change cannot be read")]
    Malformed,
    /// The configuration change can be read, and not be made.
    #[error(transparent)]
    Impossible(#[from] ImpossibleChange),
}

/// Everything the machine asks of the outside world after a step.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written to the log.
    pub persist: Option<Persist>,
    /// To be sent now, in order. A snapshot's message holds index, term and configuration only: whoever sends it
    /// puts a snapshot of the applied state in its place.
    pub messages: Vec<Message>,
    /// Committed, in order, each exactly once.
    pub committed: Vec<Entry>,
    /// Reads whose index is known now.
    pub reads: Vec<Read>,
    /// Entries to be read from the log's files.
    pub log_reads: Vec<LogRead>,
}

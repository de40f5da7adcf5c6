//! The raft member as a machine.

use std::collections::VecDeque;

use bytes::Bytes;
use proto::raftpb;
use raft::eraftpb::{self, Message, MessageType};
use raft::{RawNode, ReadOnlyOption, StateRole};
use types::{ConfState, Entry, EntryKind, HardState, MemberId};

use crate::envelope::{self, MalformedChange};
use crate::guard::{self, RefusedMessage};
use crate::log::LogStorage;

/// How one member takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub id: MemberId,
    /// Ticks without a leader before an election; the jitter adds up to as many again.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ask around before raising the term (`--pre-vote`).
    pub pre_vote: bool,
    /// Where the election jitter comes from.
    pub seed: u64,
}

/// What a member knows when it starts.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The newest hard state found in the log.
    pub hard_state: HardState,
    /// Who votes at `start`.
    pub conf_state: ConfState,
    /// Index and term of the entry before the first of `entries`.
    pub start: (u64, u64),
    /// What the log holds after `start`.
    pub entries: Vec<Entry>,
    /// The highest index already applied; entries after it are handed out again once committed.
    pub applied: u64,
}

/// Something for the log writer. Whatever depends on it waits for [`Consensus::persisted`].
#[derive(Clone, Debug, PartialEq)]
pub struct Persist {
    /// Names this group in [`Consensus::persisted`]; rising.
    pub number: u64,
    /// Present when it changed.
    pub hard_state: Option<HardState>,
    /// To append, in order.
    pub entries: Vec<Entry>,
    /// Whether the log must be synced before the group counts as persisted.
    pub must_sync: bool,
    /// Messages that may only leave once the group is persisted.
    pub messages: Vec<Message>,
}

/// A linearizable read may be served once everything up to `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// As given to [`Consensus::read_index`].
    pub ticket: u64,
    /// The commit index when a quorum confirmed the leader.
    pub index: u64,
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

/// Everything the machine asks of the outside world after a step.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written to the log.
    pub persist: Option<Persist>,
    /// To be sent at once.
    pub messages: Vec<Message>,
    /// Committed, in order, each exactly once.
    pub committed: Vec<Entry>,
    /// Reads whose index is known now.
    pub reads: Vec<Read>,
}

/// The proposal was not taken: there is no leader to give it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProposed {
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
    /// The configuration change cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedChange),
}

/// One raft member.
pub struct Consensus {
    node: RawNode<LogStorage>,
    seed: u64,
    /// Groups handed to the log writer and not yet reported as persisted, ascending.
    writing: VecDeque<u64>,
    /// The number of the newest group, written or not.
    newest: u64,
}

impl Consensus {
    /// Starts a member from what its log holds.
    ///
    /// # Errors
    /// [`MalformedChange`] when the log holds a configuration change that cannot be read.
    pub fn new(config: &Config, boot: Boot) -> Result<Consensus, MalformedChange> {
        let wrapped = boot.entries.iter().map(envelope::wrap).collect::<Result<Vec<_>, _>>()?;
        let last = boot.start.0 + wrapped.len() as u64;
        let mut hard_state = boot.hard_state;
        // The log's commit is written lazily and may lag behind what was applied
        // (`reference/wal-and-snap.md` 4); raft refuses to start that way round.
        hard_state.commit = hard_state.commit.max(boot.applied).min(last);
        let mut storage = LogStorage::new(
            to_raft_hard_state(&hard_state),
            to_raft_conf_state(&boot.conf_state),
            boot.start,
        );
        storage.append(&wrapped);
        let raft_config = raft::Config {
            id: config.id,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: boot.applied,
            max_size_per_msg: 1024 * 1024,
            max_inflight_msgs: 512,
            check_quorum: true,
            pre_vote: config.pre_vote,
            read_only_option: ReadOnlyOption::Safe,
            max_committed_size_per_ready: 16 * 1024 * 1024,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config, storage, &logger)
            .expect("the configuration was validated with the flags");
        let mut consensus =
            Consensus { node, seed: config.seed, writing: VecDeque::new(), newest: 0 };
        consensus.overwrite_jitter();
        Ok(consensus)
    }

    /// One tick of time has passed.
    pub fn tick(&mut self) {
        self.node.tick();
        self.overwrite_jitter();
    }

    /// Starts an election now, if this member alone decides it. A lone voter need not wait.
    pub fn campaign_if_alone(&mut self) {
        let voters = self.conf_state().voters;
        if voters == [self.node.raft.id] {
            // It can only fail for a member that may not vote.
            let _ = self.node.campaign();
            self.overwrite_jitter();
        }
    }

    /// Proposes entries in order, as one group.
    ///
    /// # Errors
    /// [`NotProposed`]; then none of them was proposed.
    pub fn propose(
        &mut self,
        proposals: impl IntoIterator<Item = (EntryKind, Bytes)>,
    ) -> Result<(), NotProposed> {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        for (kind, data) in proposals {
            message.entries.push(envelope::wrap(&Entry { term: 0, index: 0, kind, data })?);
        }
        let proposed = self.node.raft.step(message).map_err(|_| NotProposed::NoLeader);
        self.overwrite_jitter();
        proposed
    }

    /// Asks which index a linearizable read must wait for. Answered in [`Output::reads`], or never if
    /// leadership moves: the caller asks again.
    pub fn read_index(&mut self, ticket: u64) {
        self.node.read_index(ticket.to_be_bytes().to_vec());
    }

    /// Whether a question would be answered: a leader must first have committed an entry of its own
    /// term, and raft drops what comes earlier.
    pub fn may_read(&self) -> bool {
        let raft = &self.node.raft;
        raft.leader_id != 0 && (raft.state != StateRole::Leader || raft.commit_to_current_term())
    }

    /// Takes a message of another member.
    ///
    /// # Errors
    /// [`RefusedMessage`] when it was not handed to raft.
    pub fn step(&mut self, message: Message) -> Result<(), RefusedMessage> {
        guard::check(&message, self.node.raft.id)?;
        let stepped = self.node.step(message).map_err(|_| RefusedMessage::ByRaft);
        self.overwrite_jitter();
        stepped
    }

    /// The group with this number, and all before it, are in the log and synced where asked.
    pub fn persisted(&mut self, number: u64) {
        while self.writing.front().is_some_and(|oldest| *oldest <= number) {
            self.writing.pop_front();
        }
        self.settle();
    }

    /// Everything up to `index` is applied.
    pub fn applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
    }

    /// Takes a committed configuration change into account and returns the new configuration. A change
    /// that membership refused is given as `None`: raft must still see that it is over.
    pub fn apply_change(&mut self, change: Option<&raftpb::ConfChange>) -> ConfState {
        let mapped = change.map(envelope::to_raft).unwrap_or_default();
        let raft_state =
            self.node.apply_conf_change(&mapped).expect("a simple change is always possible");
        self.node.mut_store().set_conf_state(raft_state.clone());
        from_raft_conf_state(&raft_state)
    }

    /// Lets entries up to `index` go from memory. They must be applied.
    pub fn release_to(&mut self, index: u64) {
        self.node.mut_store().release_to(index);
    }

    /// Bytes of entries held in memory for members that lag.
    pub fn log_bytes(&self) -> usize {
        self.node.store().bytes()
    }

    /// The first index still held in memory.
    pub fn first_index(&self) -> u64 {
        self.node.store().first()
    }

    /// Term, leader, role and commit index.
    pub fn standing(&self) -> Standing {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        let committed = raft.raft_log.committed;
        Standing { term: raft.term, leader: raft.leader_id, role, committed }
    }

    /// Who votes now.
    pub fn conf_state(&self) -> ConfState {
        from_raft_conf_state(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Collects what the steps since the last call ask for. Call it until it returns `None`.
    pub fn output(&mut self) -> Option<Output> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        let hard_state = ready.hs().map(from_raft_hard_state);
        let waiting = ready.take_persisted_messages();
        let needed = hard_state.is_some() || !entries.is_empty() || !waiting.is_empty();
        let persist = Persist {
            number: ready.number(),
            hard_state,
            entries: entries.iter().map(envelope::unwrap).collect(),
            must_sync: ready.must_sync(),
            messages: waiting,
        };
        let output = Output {
            messages: ready.take_messages(),
            committed: ready.take_committed_entries().iter().map(envelope::unwrap).collect(),
            reads: ready.take_read_states().iter().filter_map(read).collect(),
            persist: needed.then_some(persist),
        };
        self.newest = ready.number();
        if needed {
            self.writing.push_back(self.newest);
        }
        self.node.advance_append_async(ready);
        self.settle();
        Some(output)
    }

    /// Tells raft how far the log reaches. A group with nothing to write counts as persisted only when
    /// all groups before it are: raft takes a number to cover every smaller one.
    fn settle(&mut self) {
        let reached = self.writing.front().map_or(self.newest, |oldest| oldest - 1);
        if 0 < reached {
            self.node.on_persist_ready(reached);
        }
    }

    /// raft-rs draws its jitter from the thread's dice. The number put in its place follows from the
    /// seed, the term and the role, so it changes when raft would draw anew, and a run can be replayed.
    fn overwrite_jitter(&mut self) {
        let raft = &mut self.node.raft;
        let base = raft.election_timeout();
        let role = raft.state as u64;
        let mixed = mix(self.seed ^ mix(raft.id) ^ mix(raft.term.wrapping_mul(4) + role));
        raft.set_randomized_election_timeout(base + (mixed % base as u64) as usize);
    }
}

/// The finalizer of SplitMix64: every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn read(state: &raft::ReadState) -> Option<Read> {
    let ticket = state.request_ctx.as_slice().try_into().ok()?;
    Some(Read { ticket: u64::from_be_bytes(ticket), index: state.index })
}

fn to_raft_hard_state(state: &HardState) -> eraftpb::HardState {
    let mut out = eraftpb::HardState::default();
    out.set_term(state.term);
    out.set_vote(state.vote);
    out.set_commit(state.commit);
    out
}

fn from_raft_hard_state(state: &eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

fn to_raft_conf_state(state: &ConfState) -> eraftpb::ConfState {
    let mut out = eraftpb::ConfState::default();
    out.set_voters(state.voters.clone());
    out.set_learners(state.learners.clone());
    out
}

fn from_raft_conf_state(state: &eraftpb::ConfState) -> ConfState {
    let mut voters = state.voters.clone();
    let mut learners = state.learners.clone();
    voters.sort_unstable();
    learners.sort_unstable();
    ConfState { voters, learners }
}

#[cfg(test)]
mod tests;

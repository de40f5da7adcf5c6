//! The raft member as a machine: its state, its door for messages, and what it hands out.
//!
//! Circle: `durability` and `reads` are blocks of the machine's methods.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use planted::planted;
use proto::raftpb::{Message, MessageType};
use types::{ConfState, EntryKind, HardState, MemberId};

use crate::configuration::Configuration;
use crate::durability::{Ack, Group};
use crate::guard::{self, Checked, RefusedMessage, TERM_MAX};
use crate::io::{self, Boot, BootError, Config, LogRead, Read, Role, Standing};
use crate::log::Log;
use crate::progress::Progress;
use crate::reads::Reads;
use crate::wire::change_from_wire;

/// One raft member.
pub struct Consensus {
    pub(crate) id: MemberId,
    pub(crate) config: Config,
    pub(crate) term: u64,
    pub(crate) vote: MemberId,
    pub(crate) leader: MemberId,
    pub(crate) role: Role,
    pub(crate) log: Log,
    pub(crate) configuration: Configuration,
    /// All members of the configuration, this one among them.
    pub(crate) progress: BTreeMap<MemberId, Progress>,
    pub(crate) removed: BTreeSet<MemberId>,

    /// Ticks since the start.
    pub(crate) ticks: u64,
    /// Ticks since the leader was heard of, an election begun, or the quorum checked.
    pub(crate) election_elapsed: u64,
    pub(crate) heartbeat_elapsed: u64,
    /// The election timeout with its jitter.
    pub(crate) election_timeout: u64,
    /// How often the jitter was drawn.
    pub(crate) attempt: u64,
    /// Ticks until this member runs for office, because its leader is gone.
    pub(crate) takeover_in: Option<u64>,
    pub(crate) votes: BTreeMap<MemberId, bool>,

    /// The member that leadership is being handed to; 0 for none.
    pub(crate) transferee: MemberId,
    /// No change is taken before this entry is applied.
    pub(crate) pending_change: u64,
    /// Bytes of proposals taken and not applied.
    pub(crate) uncommitted_bytes: u64,
    pub(crate) reads: Reads,

    /// To be sent now.
    pub(crate) messages: Vec<Message>,
    /// To be sent once what they vouch for is durable.
    pub(crate) after: Vec<Message>,
    /// What this member tells itself, then.
    pub(crate) acks: Vec<Ack>,
    pub(crate) reads_ready: Vec<Read>,
    pub(crate) log_reads: Vec<LogRead>,
    pub(crate) tickets: u64,
    /// The hard state as the log writer has it.
    pub(crate) written: HardState,
    /// Groups handed to the log writer and not yet reported as persisted, ascending.
    pub(crate) writing: VecDeque<Group>,
    /// The number of the newest group.
    pub(crate) newest: u64,
}

impl Consensus {
    /// Starts a member from what its log holds.
    ///
    /// # Errors
    /// [`BootError`] when no member can start from that.
    pub fn new(config: &Config, boot: Boot) -> Result<Consensus, BootError> {
        check_entries(&boot)?;
        let Boot { hard_state, conf_state, removed, start, entries, applied } = boot;
        let (first, last) = (start.0 + 1, start.0 + entries.len() as u64);
        if applied < start.0 || last < applied {
            return Err(BootError::AppliedOutside { applied, first, last });
        }
        // The log's commit is written lazily and may lag behind what was applied.
        let committed = hard_state.commit.max(applied).min(last);
        let log = Log::new(start, entries, committed, applied);
        // Entries are written before the hard state of their term: after a torn end there may be some of a term
        // that the state does not know. Nobody may be voted for twice in it.
        let newest_term = log.last_term();
        let lifted = hard_state.term < newest_term;
        let configuration = Configuration::new(&conf_state);
        let next = log.last().max(1);
        let progress = |id| (id, Progress::new(next, configuration.is_learner(id)));
        let mut consensus = Consensus {
            id: config.id,
            config: config.clone(),
            term: hard_state.term.max(newest_term),
            vote: if lifted || planted!("a vote forgotten at a restart") {
                0
            } else {
                hard_state.vote
            },
            leader: 0,
            role: Role::Follower,
            progress: configuration.members().map(progress).collect(),
            log,
            configuration,
            removed,
            ticks: 0,
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            election_timeout: 0,
            attempt: 0,
            takeover_in: None,
            votes: BTreeMap::new(),
            transferee: 0,
            pending_change: 0,
            uncommitted_bytes: 0,
            reads: Reads::default(),
            messages: Vec::new(),
            after: Vec::new(),
            acks: Vec::new(),
            reads_ready: Vec::new(),
            log_reads: Vec::new(),
            tickets: 0,
            written: HardState { commit: committed, ..hard_state },
            writing: VecDeque::new(),
            newest: 0,
        };
        consensus.become_follower(consensus.term, 0);
        Ok(consensus)
    }

    /// One tick of time has passed.
    pub fn tick(&mut self) {
        self.ticks += 1;
        if self.role != Role::Leader {
            self.tick_election();
            return;
        }
        self.heartbeat_elapsed += 1;
        self.tick_office();
        if self.role == Role::Leader && self.config.heartbeat_ticks <= self.heartbeat_elapsed {
            self.heartbeat_elapsed = 0;
            self.broadcast_heartbeats();
        }
    }

    /// Takes a message of another member.
    ///
    /// # Errors
    /// [`RefusedMessage`] when it was not taken; then it changed nothing but, perhaps, the term.
    pub fn step(&mut self, message: Message) -> Result<(), RefusedMessage> {
        use MessageType as M;
        let Checked { kind, message, entries, snapshot } = guard::check(message, self.id)?;
        let from = message.from();
        if self.removed.contains(&from) {
            return Err(RefusedMessage::Removed { from });
        }
        let answers = matches!(
            kind,
            M::MsgAppResp | M::MsgVoteResp | M::MsgHeartbeatResp | M::MsgPreVoteResp
        );
        if answers && !self.progress.contains_key(&from) {
            return Err(RefusedMessage::Unknown { from });
        }
        if !self.settle_term(kind, &message) {
            return Ok(());
        }
        let leads = self.role == Role::Leader;
        match kind {
            M::MsgVote | M::MsgPreVote => self.step_vote(kind, &message),
            M::MsgVoteResp => self.step_voted(from, false, !message.reject()),
            M::MsgPreVoteResp => self.step_voted(from, true, !message.reject()),
            M::MsgProp => return self.step_proposal(message, entries),
            M::MsgReadIndex => return self.step_read_index(message),
            M::MsgReadIndexResp => return self.step_read_index_answer(&message),
            M::MsgApp if self.heard_from_leader(&message) => {
                return self.step_append(&message, entries);
            }
            M::MsgHeartbeat if self.heard_from_leader(&message) => {
                return self.step_heartbeat(message);
            }
            M::MsgSnap if self.heard_from_leader(&message) => {
                let point = snapshot.expect("the guard has seen it");
                self.step_snapshot(from, point);
            }
            M::MsgAppResp if leads => return self.step_appended(from, &message),
            M::MsgHeartbeatResp if leads => self.step_heartbeat_answer(from, &message),
            M::MsgTimeoutNow => return self.step_timeout_now(from),
            // Meant for a part that this member does not play any more.
            _ => {}
        }
        Ok(())
    }

    /// Everything up to `index` is applied. Configuration changes among it are told first, by
    /// [`Consensus::apply_change`].
    pub fn applied(&mut self, index: u64) {
        let bytes = self.log.applied_to(index);
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
    }

    /// Lets entries up to `index` go from memory: the log's files hold them still, and they are asked for there
    /// ([`LogRead`]). What is not yet applied and persisted stays.
    pub fn release_to(&mut self, index: u64) {
        self.log.release_to(index);
    }

    /// Forgets entries up to `index`: the log's files will not hold them any more, and whoever needs them gets a
    /// snapshot. What is not yet applied and persisted stays.
    pub fn forget_to(&mut self, index: u64) {
        self.log.forget_to(index);
    }

    /// Bytes that the entries in memory take, roughly.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The term of an entry; nothing if the log does not know it, or not any more.
    pub fn entry_term(&self, index: u64) -> Option<u64> {
        self.log.term(index)
    }

    /// The last entry of the log, durable or not.
    pub fn last_index(&self) -> u64 {
        self.log.last()
    }

    /// Term, leader, role and commit index.
    pub fn standing(&self) -> Standing {
        let (term, leader, role) = (self.term, self.leader, self.role);
        Standing { term, leader, role, committed: self.log.committed }
    }

    /// Who votes now.
    pub fn conf_state(&self) -> ConfState {
        self.configuration.conf_state()
    }

    /// What a leader knows of each member, itself among them; nothing if this member does not lead.
    pub fn progress(&self) -> Vec<io::Progress> {
        if self.role != Role::Leader {
            return Vec::new();
        }
        self.progress.iter().map(|(id, progress)| progress.shown(*id)).collect()
    }

    /// Ticks since a majority of voters was last heard of by this leader; nothing if this member does not lead.
    /// An answer counts at the tick it was taken in: whoever was stopped meanwhile must look at a real clock too.
    pub fn quorum_silence(&self) -> Option<u64> {
        let heard = |id| match self.progress.get(&id) {
            _ if id == self.id => self.ticks,
            Some(progress) => progress.heard_at,
            None => 0,
        };
        (self.role == Role::Leader)
            .then(|| self.ticks.saturating_sub(self.configuration.majority_reached(heard)))
    }
}

/// Whether a log can be started from.
fn check_entries(boot: &Boot) -> Result<(), BootError> {
    let (mut expected, mut term) = boot.start;
    for entry in &boot.entries {
        let index = entry.index;
        expected += 1;
        if index != expected || entry.term < term {
            return Err(BootError::OutOfOrder { expected, found: index, term: entry.term });
        }
        term = entry.term;
        match entry.kind {
            EntryKind::Normal => {}
            EntryKind::ConfChange if change_from_wire(&entry.data).is_some() => {}
            EntryKind::ConfChange => return Err(BootError::MalformedChange { index }),
            EntryKind::ConfChangeV2 => return Err(BootError::JointChange { index }),
        }
    }
    let term = term.max(boot.hard_state.term);
    if TERM_MAX < term { Err(BootError::TermTooHigh { term }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

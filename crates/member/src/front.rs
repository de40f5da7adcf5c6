//! The half of a member that faces the log: proposals in, committed entries out, reads confirmed.
//!
//! A machine: it is told what happened ([`Input`]) and asks for what must be done ([`Effect`]). The log
//! writer and the applying half run beside it and report back, so nothing here ever waits for a disk.
//!
//! Always true: an entry is handed to [`Effect::Apply`] once, in order, and only when a majority has
//! it in its synced log; a read is released at an index that was committed after the read arrived.
//!
//! Not here: what entries do (see `engine`), who may propose what (see `server`).

use std::collections::VecDeque;

use consensus::{Consensus, Message, NotProposed, Persist, Role, Scope, Standing};
use planted::planted;
use proto::raftpb::ConfChange;
use types::{Code, ConfState, Entry, EntryKind, Refusal};

use crate::proposal::Proposal;

/// Bounds and habits of the log-facing half.
#[derive(Clone, Debug)]
pub struct Options {
    /// Proposals that may wait for a leader or for the log, before more are refused.
    pub proposals_pending_max: usize,
    /// Entries committed and not applied, above which proposals are refused.
    pub committed_applied_gap_max: u64,
    /// Ticks after which an unanswered read round is asked again.
    pub read_retry_ticks: u64,
    /// Ticks a proposal waits for a leader before it is refused.
    pub leader_wait_ticks: u64,
    /// Applied entries between two marks in the log (`--snapshot-count`).
    pub snapshot_count: u64,
    /// Entries kept in memory behind a mark for members that lag (`--snapshot-catchup-entries`).
    pub catchup_entries: u64,
    /// Bytes of entries kept in memory for them, at most.
    pub log_bytes_max: usize,
}

/// Bytes of waiting proposals that are proposed as one group; one always fits.
const RETRY_BYTES_MAX: usize = 1 << 20;

/// Everything that can happen to the front.
#[derive(Debug)]
pub enum Input {
    /// A tick of the raft clock (`--heartbeat-interval`).
    Ticked,
    /// Requests to be proposed, in order.
    Propose(Vec<Proposal>),
    /// A linearizable read wants to know what to wait for.
    Read {
        /// By which it is told.
        ticket: u64,
    },
    /// The log writer has written, and synced if asked, everything up to this group.
    Persisted {
        /// The group's number.
        number: u64,
    },
    /// The engine has applied everything up to here.
    Applied {
        /// The last entry applied.
        index: u64,
        /// Configuration changes among them, in order; `None` for one that was refused.
        changes: Vec<Option<ConfChange>>,
    },
    /// The store holds, synced, everything up to here: the log before it is not needed any more.
    Stored {
        /// The last entry in the store.
        index: u64,
        /// Its term.
        term: u64,
        /// Who votes at that index.
        conf_state: ConfState,
    },
    /// Another member sent a message.
    Received(Box<Message>),
}

/// Everything the front can ask for.
#[derive(Debug)]
pub enum Effect {
    /// For the log writer. Groups are written in the order they are asked for.
    Persist(Persist),
    /// For the peers, at once.
    Send(Vec<Message>),
    /// For the engine.
    Apply(Vec<Entry>),
    /// These reads may be served once everything up to `index` is applied.
    ReadReady {
        /// The reads.
        tickets: Vec<u64>,
        /// What to wait for.
        index: u64,
    },
    /// A proposal will not be made.
    Refuse {
        /// The proposal.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// For the engine: sync the store and report [`Input::Stored`].
    SyncStore,
    /// For the log writer: mark the log here, then forget what lies before.
    Mark {
        /// The last entry that the store holds.
        index: u64,
        /// Its term.
        term: u64,
        /// Who votes at that index.
        conf_state: ConfState,
    },
    /// Term, leader, role or commit index changed.
    Standing(Standing),
}

/// A proposal that waits for a leader.
#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    since: u64,
}

/// A question to the quorum that answers all reads that came before it.
#[derive(Debug)]
struct Round {
    ticket: u64,
    reads: Vec<u64>,
    asked_at: u64,
}

/// The front of one member.
pub struct Front {
    consensus: Consensus,
    options: Options,
    ticks: u64,
    waiting: VecDeque<Waiting>,
    reads: Vec<u64>,
    round: Option<Round>,
    rounds: u64,
    applied: u64,
    marked: u64,
    syncing: bool,
    standing: Standing,
}

impl Front {
    /// A front over a raft member that starts at `applied`, with the log marked at `marked`.
    pub fn new(consensus: Consensus, options: Options, applied: u64, marked: u64) -> Front {
        let standing = Standing::default();
        Front {
            consensus,
            options,
            ticks: 0,
            waiting: VecDeque::new(),
            reads: Vec::new(),
            round: None,
            rounds: 0,
            applied,
            marked,
            syncing: false,
            standing,
        }
    }

    /// A lone voter elects itself now instead of waiting for its clock.
    pub fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.consensus.campaign_if_alone();
        self.collect(&mut effects);
        effects
    }

    /// Takes one input and returns what must be done about it.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Ticked => self.ticked(&mut effects),
            Input::Propose(proposals) => self.propose(proposals, &mut effects),
            Input::Read { ticket } => self.reads.push(ticket),
            Input::Persisted { number } => self.consensus.persisted(number),
            Input::Applied { index, changes } => self.applied(index, &changes, &mut effects),
            Input::Stored { index, term, conf_state } => {
                self.stored(index, term, conf_state, &mut effects);
            }
            // What raft refuses is another member's mistake; there is nobody to tell.
            Input::Received(message) => drop(self.consensus.step(*message)),
        }
        self.ask_round();
        self.collect(&mut effects);
        effects
    }

    /// Term, leader, role and commit index.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Bytes of entries held in memory.
    pub fn log_bytes(&self) -> usize {
        self.consensus.log_bytes()
    }

    fn ticked(&mut self, effects: &mut Vec<Effect>) {
        self.ticks += 1;
        self.consensus.tick();
        if self
            .round
            .as_ref()
            .is_some_and(|round| round.asked_at + self.options.read_retry_ticks <= self.ticks)
        {
            // Raft forgets a question when leadership moves; the reads join the next one.
            let round = self.round.take().expect("checked just above");
            self.reads.extend(round.reads);
        }
        let patience = self.options.leader_wait_ticks;
        while self.waiting.front().is_some_and(|oldest| oldest.since + patience <= self.ticks) {
            let late = self.waiting.pop_front().expect("checked just above");
            effects.push(Effect::Refuse { id: late.proposal.id, refusal: Refusal::Timeout });
        }
        self.retry_waiting(effects);
    }

    fn propose(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        let gap = self.standing.committed.saturating_sub(self.applied);
        if self.options.committed_applied_gap_max < gap {
            let refuse = |proposal: Proposal| Effect::Refuse {
                id: proposal.id,
                refusal: Refusal::RequestTooManyRequests,
            };
            effects.extend(proposals.into_iter().map(refuse));
            return;
        }
        let is_anyones = |proposal: &Proposal| proposal.scope == Scope::Anyone;
        let anyones = if proposals.iter().all(is_anyones) {
            proposals
        } else {
            let (anyones, ours) = proposals.into_iter().partition(is_anyones);
            self.propose_as_leader(ours, effects);
            anyones
        };
        if !self.waiting.is_empty() || self.standing.leader == 0 {
            self.wait_for_leader(anyones, effects);
            return;
        }
        let late = self.try_propose(anyones, effects);
        self.wait_for_leader(late, effects);
    }

    /// Proposes what was decided as the leader of a term: now, or never. It waits for nobody and is forwarded to
    /// nobody, or a deposed leader would end leases that the present one keeps alive.
    fn propose_as_leader(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        for Proposal { id, scope, kind, data } in proposals {
            if self.consensus.propose([(kind, data)], scope).is_err() {
                effects.push(Effect::Refuse { id, refusal: Refusal::LeaderChanged });
            }
        }
    }

    /// Proposes in groups with at most one configuration change each, their last. Returns what must wait.
    fn try_propose(
        &mut self,
        mut proposals: Vec<Proposal>,
        effects: &mut Vec<Effect>,
    ) -> Vec<Proposal> {
        while !proposals.is_empty() {
            let change = proposals.iter().position(|p| p.kind != EntryKind::Normal);
            let mut rest = match change {
                Some(at) => proposals.split_off(at + 1),
                None => Vec::new(),
            };
            let late = self.propose_group(proposals, effects);
            if !late.is_empty() {
                return late.into_iter().chain(rest.drain(..)).collect();
            }
            proposals = rest;
        }
        proposals
    }

    /// Proposes a group. Where only its change is refused, the rest is proposed without it.
    fn propose_group(
        &mut self,
        mut group: Vec<Proposal>,
        effects: &mut Vec<Effect>,
    ) -> Vec<Proposal> {
        while !group.is_empty() {
            let entries = group.iter().map(|p| (p.kind, p.data.clone()));
            let refused = match self.consensus.propose(entries, Scope::Anyone) {
                Ok(()) => break,
                Err(NotProposed::NoLeader | NotProposed::Transferring) => return group,
                Err(refused) => refused,
            };
            let (count, refusal) = match refused {
                NotProposed::TooMuchUncommitted => (group.len(), Refusal::RequestTooManyRequests),
                NotProposed::ChangePending => {
                    let text = "etcdserver: another configuration change is under way";
                    (1, Refusal::Other(Code::Unavailable, text.into()))
                }
                NotProposed::Impossible(_) => (1, Refusal::MemberNotEnoughStarted),
                _ => (1, Refusal::invalid("etcdserver: malformed configuration change")),
            };
            for proposal in group.drain(group.len() - count..) {
                effects.push(Effect::Refuse { id: proposal.id, refusal: refusal.clone() });
            }
        }
        Vec::new()
    }

    fn wait_for_leader(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        for proposal in proposals {
            if self.waiting.len() < self.options.proposals_pending_max {
                self.waiting.push_back(Waiting { proposal, since: self.ticks });
            } else {
                let refusal = Refusal::RequestTooManyRequests;
                effects.push(Effect::Refuse { id: proposal.id, refusal });
            }
        }
    }

    /// What waited is proposed in pieces, so that no message to the leader holds all of it.
    fn retry_waiting(&mut self, effects: &mut Vec<Effect>) {
        while !self.waiting.is_empty() && self.standing.leader != 0 {
            let mut bytes = 0;
            let fits = |waiting: &&Waiting| {
                let first = bytes == 0;
                bytes += waiting.proposal.data.len();
                first || bytes <= RETRY_BYTES_MAX
            };
            let count = self.waiting.iter().take_while(fits).count();
            let (ages, group): (Vec<u64>, Vec<Proposal>) =
                self.waiting.drain(..count).map(|w| (w.since, w.proposal)).unzip();
            let late = self.try_propose(group, effects);
            if !late.is_empty() {
                for (since, proposal) in ages.into_iter().zip(late).rev() {
                    self.waiting.push_front(Waiting { proposal, since });
                }
                return;
            }
        }
    }

    /// One question is under way at a time: all reads that come meanwhile share the next one.
    fn ask_round(&mut self) {
        if self.round.is_some() || self.reads.is_empty() || !self.consensus.may_read() {
            return;
        }
        self.rounds += 1;
        let reads = std::mem::take(&mut self.reads);
        self.round = Some(Round { ticket: self.rounds, reads, asked_at: self.ticks });
        self.consensus.read_index(self.rounds);
    }

    fn applied(&mut self, index: u64, changes: &[Option<ConfChange>], effects: &mut Vec<Effect>) {
        for change in changes {
            self.consensus
                .apply_change(change.as_ref())
                .expect("membership has refused what leaves nobody to vote");
        }
        self.applied = index;
        self.consensus.applied(index);
        if !changes.is_empty() {
            // The configuration may make this member the only voter: at the very first start it does.
            self.collect(effects);
            if self.standing.role == Role::Follower && self.standing.leader == 0 {
                self.consensus.campaign_if_alone();
            }
        }
        let due = self.marked + self.options.snapshot_count <= index
            || self.options.log_bytes_max < self.consensus.log_bytes();
        if due && !self.syncing && self.marked < index {
            self.syncing = true;
            effects.push(Effect::SyncStore);
        }
    }

    fn stored(&mut self, index: u64, term: u64, conf_state: ConfState, effects: &mut Vec<Effect>) {
        self.syncing = false;
        if self.marked < index {
            self.marked = index;
            effects.push(Effect::Mark { index, term, conf_state });
        }
        let lone = self.consensus.conf_state().voters.len() == 1
            && self.consensus.conf_state().learners.is_empty();
        let full = self.options.log_bytes_max < self.consensus.log_bytes();
        let behind = if lone || full { 0 } else { self.options.catchup_entries };
        self.consensus.forget_to(index.saturating_sub(behind));
    }

    fn collect(&mut self, effects: &mut Vec<Effect>) {
        while let Some(output) = self.consensus.output() {
            if let Some(persist) = output.persist {
                effects.push(Effect::Persist(persist));
            }
            if !output.messages.is_empty() {
                effects.push(Effect::Send(output.messages));
            }
            if !output.committed.is_empty() {
                effects.push(Effect::Apply(output.committed));
            }
            for read in output.reads {
                if let Some(round) = self.round.take_if(|round| round.ticket == read.context) {
                    let index = if planted!("read before it is applied") { 0 } else { read.index };
                    effects.push(Effect::ReadReady { tickets: round.reads, index });
                }
            }
        }
        let standing = self.consensus.standing();
        if standing != self.standing {
            let moved =
                (standing.term, standing.leader) != (self.standing.term, self.standing.leader);
            self.standing = standing;
            effects.push(Effect::Standing(standing));
            if moved && let Some(round) = self.round.take() {
                // Raft has forgotten the question; the reads join the next one.
                self.reads.extend(round.reads);
            }
            if moved && standing.leader != 0 {
                self.retry_waiting(effects);
                self.ask_round();
                self.collect(effects);
            }
        }
    }
}

//! Elections: when one begins, who is voted for, and what a member becomes.
//!
//! A follower that hears nothing for its election timeout asks around first (pre-vote), and only raises the term
//! when a majority would vote for it. Who hears from a leader votes for nobody else (the lease rule of check
//! quorum), unless the leader itself hands over.
//!
//! Guarantee (election safety): one vote per term, and it is durable before anybody hears of it.

use bytes::Bytes;
use planted::planted;
use proto::raftpb::{Message, MessageType};
use types::{EntryKind, MemberId};

use crate::configuration::Tally;
use crate::durability::Ack;
use crate::guard::{RefusedMessage, TERM_MAX};
use crate::io::Role;
use crate::machine::Consensus;
use crate::progress::Progress;
use crate::reads::Reads;
use crate::wire::{message, number};

/// In the context of a vote request: the leader itself asked for this election.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// How an election is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Campaign {
    /// Asks around, changes nothing.
    PreVote,
    Vote,
    /// Because the leader asked for it.
    Transfer,
}

impl Consensus {
    /// Starts an election by hand.
    pub fn campaign(&mut self) {
        let kind = if self.config.pre_vote { Campaign::PreVote } else { Campaign::Vote };
        self.run(kind);
    }

    /// Starts an election now, if this member alone decides it. A lone voter need not wait.
    pub fn campaign_if_alone(&mut self) {
        if self.configuration.is_alone(self.id) {
            self.campaign();
        }
    }

    /// The host of this leader has closed its streams: it is probably gone. A follower asks for pre-votes after a
    /// heartbeat instead of a whole election timeout, members one after the other so that they do not split the
    /// votes, and grants them to others at once. Wrong news do no harm: who still hears from the leader refuses.
    pub fn leader_gone(&mut self, leader: MemberId) {
        let follows = self.role == Role::Follower && self.leader == leader && leader != 0;
        if !follows || self.takeover_in.is_some() {
            return;
        }
        let rank = self.configuration.voters().filter(|id| *id != leader && *id < self.id).count();
        self.takeover_in = Some(self.config.heartbeat_ticks * (1 + rank as u64));
    }

    /// A tick of somebody who does not lead.
    pub(crate) fn tick_election(&mut self) {
        self.election_elapsed += 1;
        if let Some(left) = &mut self.takeover_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.takeover_in = None;
                self.election_elapsed = 0;
                self.run(Campaign::PreVote);
                return;
            }
        }
        if self.is_promotable() && self.election_timeout <= self.election_elapsed {
            self.election_elapsed = 0;
            self.campaign();
        }
    }

    /// A tick of a leader, as far as its office is concerned.
    pub(crate) fn tick_office(&mut self) {
        self.election_elapsed += 1;
        if self.election_elapsed < self.config.election_ticks {
            return;
        }
        self.election_elapsed = 0;
        if self.config.check_quorum {
            let active = |id| self.progress.get(&id).map(|p| id == self.id || p.recently_active);
            if self.configuration.tally(active) != Tally::Won {
                self.become_follower(self.term, 0);
            }
            let own = self.id;
            for progress in self.progress.iter_mut().filter(|(id, _)| **id != own) {
                progress.1.recently_active = false;
            }
        }
        self.transferee = 0;
    }

    fn is_promotable(&self) -> bool {
        self.configuration.is_voter(self.id) && !self.log.awaits_snapshot()
    }

    /// Runs for office, unless something forbids it.
    pub(crate) fn run(&mut self, kind: Campaign) {
        let unapplied_change = self.log.unapplied().any(|entry| entry.kind != EntryKind::Normal);
        if self.role == Role::Leader
            || !self.is_promotable()
            || unapplied_change
            || TERM_MAX <= self.term
        {
            return;
        }
        self.ask_for_votes(kind);
    }

    fn ask_for_votes(&mut self, kind: Campaign) {
        let (request, term) = if kind == Campaign::PreVote {
            self.become_pre_candidate();
            (MessageType::MsgPreVote, self.term + 1)
        } else {
            self.become_candidate();
            (MessageType::MsgVote, self.term)
        };
        let voters: Vec<MemberId> = self.configuration.voters().collect();
        for id in voters {
            if id == self.id {
                self.acks.push(Ack::Vote { term, pre: kind == Campaign::PreVote });
                continue;
            }
            let mut asked = message(request, id);
            asked.from = Some(self.id);
            asked.term = Some(term);
            asked.index = number(self.log.last());
            asked.log_term = number(self.log.last_term());
            asked.context = (kind == Campaign::Transfer).then(|| Bytes::from_static(TRANSFER));
            self.after.push(asked);
        }
    }

    /// Whether a request for votes comes from a leader that hands over.
    fn is_forced(message: &Message) -> bool {
        message.context.as_deref() == Some(TRANSFER)
    }

    /// Whether this member hears from a leader, and so has no vote to give.
    fn hears_a_leader(&self) -> bool {
        self.config.check_quorum
            && self.leader != 0
            && self.takeover_in.is_none()
            && self.election_elapsed < self.config.election_ticks
    }

    /// What a message's term does to this member's. False if there is nothing more to do about the message.
    pub(crate) fn settle_term(&mut self, kind: MessageType, message: &Message) -> bool {
        use MessageType as M;
        let term = message.term();
        if term == 0 || term == self.term {
            return true;
        }
        if self.term < term {
            let asks = matches!(kind, M::MsgVote | M::MsgPreVote);
            if asks && self.hears_a_leader() && !Self::is_forced(message) {
                return false;
            }
            let hypothetical =
                kind == M::MsgPreVote || (kind == M::MsgPreVoteResp && !message.reject());
            if !hypothetical {
                let leads = matches!(kind, M::MsgApp | M::MsgHeartbeat | M::MsgSnap);
                self.become_follower(term, if leads { message.from() } else { 0 });
            }
            return true;
        }
        self.answer_the_past(kind, message);
        false
    }

    /// A message of a term that is over. Whoever still believes in it, or is stuck behind it, is told the present
    /// one; without that a member cut off for long could neither follow nor win.
    fn answer_the_past(&mut self, kind: MessageType, message: &Message) {
        use MessageType as M;
        let tells = self.config.check_quorum || self.config.pre_vote;
        if tells && matches!(kind, M::MsgHeartbeat | M::MsgApp) {
            self.send_after(crate::wire::message(M::MsgAppResp, message.from()));
        } else if kind == M::MsgPreVote {
            self.answer_vote(M::MsgPreVoteResp, message.from(), self.term, false);
        }
    }

    /// A request for a vote in a term not below this member's.
    pub(crate) fn step_vote(&mut self, kind: MessageType, message: &Message) {
        let pre = kind == MessageType::MsgPreVote;
        let free = planted!("two votes in a term")
            || self.vote == message.from()
            || (self.vote == 0 && self.leader == 0)
            || (pre && self.term < message.term());
        let answer = if pre { MessageType::MsgPreVoteResp } else { MessageType::MsgVoteResp };
        let level = self.log.is_up_to_date(message.index(), message.log_term())
            || planted!("a vote for a log that is behind");
        if free && level {
            if !pre {
                self.election_elapsed = 0;
                if !planted!("a vote that is not kept") {
                    self.vote = message.from();
                }
            }
            self.answer_vote(answer, message.from(), message.term(), true);
        } else {
            self.answer_vote(answer, message.from(), self.term, false);
        }
    }

    fn answer_vote(&mut self, kind: MessageType, to: MemberId, term: u64, granted: bool) {
        let mut answer = message(kind, to);
        answer.from = Some(self.id);
        answer.term = Some(term);
        answer.reject = (!granted).then_some(true);
        if planted!("vote answered before its sync") {
            self.messages.push(answer);
        } else {
            self.after.push(answer);
        }
    }

    /// A vote, or a refusal of one.
    pub(crate) fn step_voted(&mut self, from: MemberId, pre: bool, granted: bool) {
        let expected = if pre { Role::PreCandidate } else { Role::Candidate };
        if self.role != expected {
            return;
        }
        self.votes.entry(from).or_insert(granted);
        match self.configuration.tally(|id| self.votes.get(&id).copied()) {
            Tally::Open => {}
            Tally::Lost => self.become_follower(self.term, 0),
            Tally::Won if pre => self.ask_for_votes(Campaign::Vote),
            Tally::Won => {
                self.become_leader();
                self.broadcast_appends();
            }
        }
    }

    /// The leader wants this member to take over, at once.
    pub(crate) fn step_timeout_now(&mut self, from: MemberId) -> Result<(), RefusedMessage> {
        if self.leader != 0 && self.leader != from {
            return Err(RefusedMessage::NotTheLeader { from });
        }
        if self.role == Role::Follower {
            self.run(Campaign::Transfer);
        }
        Ok(())
    }

    /// What every change of term or role begins with.
    fn reset(&mut self, term: u64) {
        if self.term != term {
            assert!(self.term < term, "a term never goes back");
            self.term = term;
            self.vote = 0;
        }
        self.leader = 0;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.takeover_in = None;
        self.draw_timeout();
        self.transferee = 0;
        self.votes.clear();
        let next = self.log.last() + 1;
        for (id, progress) in &mut self.progress {
            *progress = Progress::new(next, progress.learner);
            if *id == self.id {
                progress.matched = next - 1;
            }
        }
        self.pending_change = 0;
        self.uncommitted_bytes = 0;
        self.reads = Reads::default();
    }

    pub(crate) fn become_follower(&mut self, term: u64, leader: MemberId) {
        self.reset(term);
        self.leader = leader;
        self.role = Role::Follower;
    }

    fn become_pre_candidate(&mut self) {
        assert!(self.role != Role::Leader, "a leader does not run for office");
        self.votes.clear();
        self.leader = 0;
        self.takeover_in = None;
        self.role = Role::PreCandidate;
    }

    fn become_candidate(&mut self) {
        assert!(self.role != Role::Leader, "a leader does not run for office");
        self.reset(self.term + 1);
        self.vote = self.id;
        self.role = Role::Candidate;
    }

    fn become_leader(&mut self) {
        assert!(self.role == Role::Candidate, "a leader was a candidate");
        self.reset(self.term);
        self.leader = self.id;
        self.role = Role::Leader;
        let own = self.progress.get_mut(&self.id).expect("a candidate has a vote");
        own.replicate();
        own.recently_active = true;
        // There may be a change among the entries of earlier terms, so none is taken before all of them are applied.
        self.pending_change = self.log.last();
        self.append_own(vec![(EntryKind::Normal, Bytes::new())]);
    }

    /// The jitter is a function of seed, member, term and attempt, so a run can be replayed.
    fn draw_timeout(&mut self) {
        self.attempt += 1;
        let mixed =
            mix(self.config.seed
                ^ mix(self.id ^ mix(self.term.wrapping_mul(1 << 20) ^ self.attempt)));
        let jitter = mixed.checked_rem(self.config.jitter_ticks).unwrap_or(0);
        self.election_timeout = self.config.election_ticks + jitter;
    }
}

/// The finalizer of SplitMix64: every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

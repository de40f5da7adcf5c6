//! Following: what a member does with a leader's appends, heartbeats and snapshots.
//!
//! Guarantee (log matching): an append is taken only if the entry before it is here with the same term, and what
//! differs from the leader's log is replaced, but never below the commit index.

use planted::planted;
use proto::raftpb::{Message, MessageType};
use types::Entry;

use crate::configuration::Configuration;
use crate::guard::RefusedMessage;
use crate::io::{Role, SnapshotPoint};
use crate::machine::Consensus;
use crate::progress::Progress;
use crate::wire::{message, number};

impl Consensus {
    /// A message that only the leader of this term sends. False if this member leads itself, so that it cannot be.
    pub(crate) fn heard_from_leader(&mut self, message: &Message) -> bool {
        match self.role {
            Role::Leader => false,
            Role::PreCandidate | Role::Candidate => {
                self.become_follower(self.term, message.from());
                true
            }
            Role::Follower => {
                self.election_elapsed = 0;
                self.takeover_in = None;
                self.leader = message.from();
                true
            }
        }
    }

    pub(crate) fn step_append(
        &mut self,
        asked: &Message,
        mut entries: Vec<Entry>,
    ) -> Result<(), RefusedMessage> {
        let (index, term) = (asked.index(), asked.log_term());
        let committed = self.log.committed;
        let mut answer = message(MessageType::MsgAppResp, asked.from());
        if index < committed {
            let differs = |entry: &&Entry| {
                entry.index <= committed
                    && self.log.term(entry.index).is_some_and(|term| term != entry.term)
            };
            if let Some(&Entry { index, term, .. }) = entries.iter().find(differs) {
                return Err(RefusedMessage::CommittedDiffers { index, term, committed });
            }
            answer.index = number(committed);
        } else if self.log.matches(index, term)
            || (planted!("an append taken without the entry before it") && index <= self.log.last())
        {
            let last = index + entries.len() as u64;
            if let Some(at) = self.log.first_new(&entries) {
                self.log.append(entries.split_off(at));
            }
            self.log.commit_to(asked.commit().min(last));
            answer.index = number(last);
        } else {
            // The last entry that may be common: the leader need not try those after it one by one.
            let (hint, hint_term) = self.log.conflict_by_term(index.min(self.log.last()), term);
            answer.index = number(index);
            answer.reject = Some(true);
            answer.reject_hint = number(hint);
            answer.log_term = number(hint_term);
        }
        self.send_after(answer);
        Ok(())
    }

    pub(crate) fn step_heartbeat(&mut self, asked: Message) -> Result<(), RefusedMessage> {
        let (commit, last) = (asked.commit(), self.log.last());
        if last < commit {
            return Err(RefusedMessage::LogLost { commit, last });
        }
        self.log.commit_to(commit);
        let mut answer = message(MessageType::MsgHeartbeatResp, asked.from());
        answer.context = asked.context.filter(|context| !context.is_empty());
        self.send(answer);
        Ok(())
    }

    pub(crate) fn step_snapshot(&mut self, from: u64, point: SnapshotPoint) {
        let restored = self.restore(point);
        let mut answer = message(MessageType::MsgAppResp, from);
        answer.index = number(if restored { self.log.last() } else { self.log.committed });
        self.send_after(answer);
    }

    /// Whether the log begins anew behind the snapshot.
    fn restore(&mut self, point: SnapshotPoint) -> bool {
        let state = &point.conf_state;
        let included = state.voters.contains(&self.id) || state.learners.contains(&self.id);
        if point.index <= self.log.committed || !included {
            return false;
        }
        if self.log.matches(point.index, point.term) {
            // Everything it holds is here already, only not known to be committed.
            self.log.commit_to(point.index);
            return false;
        }
        self.configuration = Configuration::new(state);
        self.log.restore(point);
        let next = self.log.last().max(1);
        let configuration = &self.configuration;
        let progress = |id| (id, Progress::new(next, configuration.is_learner(id)));
        self.progress = configuration.members().map(progress).collect();
        true
    }
}

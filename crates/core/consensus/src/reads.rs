//! Linearizable reads: a leader learns from a quorum that it still leads, and only then says how far to wait.
//!
//! Each question is remembered with the commit index of its moment, in order. A heartbeat carries how many
//! questions were asked so far, whoever answers it confirms all of them at once, and a position that a majority of
//! voters has confirmed answers everything before it. So questions are told apart by their order, never by a
//! context that two members might choose alike.
//!
//! A leader that has not committed an entry of its own term does not know the commit index yet. Questions that
//! come so early are kept until it does.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use planted::planted;
use proto::raftpb::{self, Message, MessageType};
use types::MemberId;

use crate::guard::{RefusedMessage, read_context};
use crate::io::{Read, Role};
use crate::machine::Consensus;
use crate::wire::{message, number};

/// Questions that may wait, for the leader's first entry and for a quorum together.
pub(crate) const READS_WAITING_MAX: usize = 65_536;

/// One question.
#[derive(Debug)]
pub(crate) struct Question {
    /// Who asked; this member itself or another.
    from: MemberId,
    /// Holds the asker's context, which goes back as it came.
    entry: raftpb::Entry,
}

/// Questions of one term.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Came before the leader had committed in its term.
    early: Vec<Question>,
    /// Waiting for a quorum, each with the commit index of its moment.
    open: VecDeque<(Question, u64)>,
    /// How many questions were answered: `open` begins with the one after.
    answered: u64,
    /// Up to which question each member has confirmed.
    confirmed: BTreeMap<MemberId, u64>,
}

impl Reads {
    pub(crate) fn waiting(&self) -> usize {
        self.early.len() + self.open.len()
    }

    fn asked(&self) -> u64 {
        self.answered + self.open.len() as u64
    }

    /// What a heartbeat carries: nothing while nobody waits.
    pub(crate) fn position(&self) -> Option<Bytes> {
        (!self.open.is_empty()).then(|| Bytes::copy_from_slice(&self.asked().to_le_bytes()))
    }
}

impl Consensus {
    /// Asks which index a linearizable read must wait for. The context is a request id that nobody else uses, on
    /// no member and in no run. Answered in [`Output::reads`](crate::Output::reads), or never: a question is dropped
    /// when term or leader changes, and when a message is lost. Then the caller asks again, under another id.
    pub fn read_index(&mut self, context: u64) {
        let data = Bytes::copy_from_slice(&context.to_be_bytes());
        let entry = raftpb::Entry { data: Some(data), ..raftpb::Entry::default() };
        // Whoever has too many questions under way asks again later.
        let _ = self.ask(Question { from: self.id, entry });
    }

    /// Whether a question has somebody to go to.
    pub fn may_read(&self) -> bool {
        self.leader != 0
    }

    /// A question of this member or of another.
    fn ask(&mut self, question: Question) -> Result<(), RefusedMessage> {
        match self.role {
            Role::Leader => {
                if READS_WAITING_MAX <= self.reads.waiting() {
                    return Err(RefusedMessage::TooManyReads);
                }
                if !self.has_committed_in_term()
                    && !planted!("a read before the term's first commit")
                {
                    self.reads.early.push(question);
                } else if self.configuration.is_alone(self.id) {
                    self.answer(question, self.log.committed);
                } else {
                    self.open_question(question);
                }
            }
            Role::Follower if planted!("a follower answers reads itself") => {
                self.answer(question, self.log.committed);
            }
            Role::Follower if self.leader != 0 => {
                let mut forwarded = message(MessageType::MsgReadIndex, self.leader);
                forwarded.from = Some(question.from);
                forwarded.entries = vec![question.entry];
                self.messages.push(forwarded);
            }
            // There is nobody to ask.
            Role::Follower | Role::PreCandidate | Role::Candidate => {}
        }
        Ok(())
    }

    fn open_question(&mut self, question: Question) {
        if planted!("a read answered without a quorum") {
            return self.answer(question, self.log.committed);
        }
        self.reads.open.push_back((question, self.log.committed));
        self.reads.confirmed.insert(self.id, self.reads.asked());
        self.broadcast_heartbeats();
    }

    pub(crate) fn step_read_index(&mut self, mut message: Message) -> Result<(), RefusedMessage> {
        let from = message.from();
        let entry = message.entries.pop().ok_or(RefusedMessage::Empty)?;
        self.ask(Question { from, entry })
    }

    /// The leader has committed in its term: what came before that can be asked now.
    pub(crate) fn ask_early_reads(&mut self) {
        for question in std::mem::take(&mut self.reads.early) {
            if self.configuration.is_alone(self.id) {
                self.answer(question, self.log.committed);
            } else {
                self.open_question(question);
            }
        }
    }

    /// A member answered a heartbeat that carried this.
    pub(crate) fn confirm_reads(&mut self, from: MemberId, context: &[u8]) {
        let Ok(position) = context.try_into().map(u64::from_le_bytes) else { return };
        // Nobody confirms what was not asked.
        let position = position.min(self.reads.asked());
        let confirmed = self.reads.confirmed.entry(from).or_default();
        *confirmed = position.max(*confirmed);
        self.answer_confirmed();
    }

    /// Answers what a majority has confirmed.
    pub(crate) fn answer_confirmed(&mut self) {
        let confirmed = &self.reads.confirmed;
        let reached = self
            .configuration
            .majority_reached(|id| confirmed.get(&id).copied().unwrap_or_default());
        while self.reads.answered < reached
            && let Some((question, index)) = self.reads.open.pop_front()
        {
            self.reads.answered += 1;
            self.answer(question, index);
        }
    }

    fn answer(&mut self, question: Question, index: u64) {
        if question.from == self.id {
            if let Ok(context) = read_context(&question.entry) {
                self.reads_ready.push(Read { context, index });
            }
            return;
        }
        let mut answer = message(MessageType::MsgReadIndexResp, question.from);
        answer.index = number(index);
        answer.entries = vec![question.entry];
        self.send(answer);
    }

    pub(crate) fn step_read_index_answer(
        &mut self,
        message: &Message,
    ) -> Result<(), RefusedMessage> {
        if self.role != Role::Follower {
            return Ok(());
        }
        if self.leader != 0 && self.leader != message.from() {
            return Err(RefusedMessage::NotTheLeader { from: message.from() });
        }
        let [entry] = message.entries.as_slice() else { return Err(RefusedMessage::Empty) };
        let context = read_context(entry)?;
        self.reads_ready.push(Read { context, index: message.index() });
        Ok(())
    }
}

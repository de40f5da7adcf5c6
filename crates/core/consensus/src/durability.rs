//! Durability: what is written in which group, and what waits for it.
//!
//! Guarantee (nothing leaves before it is durable): answers to appends and votes, and requests for votes, vouch for
//! something on this member's disk. They are kept with the group of writes that they depend on, and leave when it is
//! persisted, with all groups before it; so does what the member tells itself: its own vote, its own copy of an entry.
//! No race between a disk and a network can turn them round, whoever drives this machine. Everything else leaves at
//! once.

use planted::planted;
use proto::raftpb::Message;
use types::HardState;

use crate::io::{Output, Persist, Role, SnapshotPoint};
use crate::machine::Consensus;

/// What a member may tell itself only when it is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ack {
    /// The leader of this term has its own entries up to here.
    Appended { term: u64, index: u64 },
    /// The candidate votes for itself.
    Vote { term: u64, pre: bool },
}

/// Writes under way, and what waits for them.
pub(crate) struct Group {
    number: u64,
    /// The tick at which it was handed out.
    since: u64,
    /// The term it was made in.
    term: u64,
    /// The last entry that is durable with it, and its term.
    last: Option<(u64, u64)>,
    snapshot: Option<u64>,
    messages: Vec<Message>,
    acks: Vec<Ack>,
}

impl Consensus {
    /// The group with this number, and all before it, are in the log and synced where asked.
    pub fn persisted(&mut self, number: u64) {
        while self.writing.front().is_some_and(|oldest| oldest.number <= number) {
            let group = self.writing.pop_front().expect("checked just above");
            self.release(group.messages, group.acks);
            if let Some(index) = group.snapshot {
                self.log.snapshot_persisted(index);
            }
            // In a later term the entry may be another one that merely looks like it. The group that made the new
            // term durable, and was written after this one, vouches for all there is.
            if let Some((index, term)) = group.last
                && group.term == self.term
            {
                self.log.persisted_to(index, term);
            }
        }
    }

    /// Lets go what waited until now.
    fn release(&mut self, messages: Vec<Message>, acks: Vec<Ack>) {
        self.messages.extend(messages);
        for ack in acks {
            match ack {
                Ack::Appended { term, index } => {
                    if term == self.term && self.role == Role::Leader {
                        self.confirmed(self.id, index);
                    }
                }
                Ack::Vote { term, pre } => {
                    let counts = term == self.term || (pre && term == self.term + 1);
                    if counts {
                        self.step_voted(self.id, pre, true);
                    }
                }
            }
        }
    }

    /// The oldest group that is not persisted, and for how many ticks it has been waiting. A leader whose disk is
    /// silent for longer than an election timeout should not lead.
    pub fn oldest_unpersisted(&self) -> Option<(u64, u64)> {
        self.writing.front().map(|group| (group.number, self.ticks - group.since))
    }

    /// Queues a message of this term that may leave at once.
    pub(crate) fn send(&mut self, message: Message) {
        let (from, term) = (Some(self.id), Some(self.term));
        self.messages.push(Message { from, term, ..message });
    }

    /// Queues a message of this term that vouches for durable state.
    pub(crate) fn send_after(&mut self, message: Message) {
        if planted!("append answered before its sync") {
            return self.send(message);
        }
        let (from, term) = (Some(self.id), Some(self.term));
        self.after.push(Message { from, term, ..message });
    }

    fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed }
    }

    fn has_writes(&self) -> bool {
        self.hard_state() != self.written || self.log.has_unhanded()
    }

    /// Collects what the steps since the last call ask for. Call it until it returns `None`.
    pub fn output(&mut self) -> Option<Output> {
        self.let_go_what_need_not_wait();
        let persist = self.has_writes().then(|| self.group());
        let committed = self.log.take_appliable(self.config.applying_bytes_max);
        let output = Output {
            persist,
            messages: std::mem::take(&mut self.messages),
            committed,
            reads: std::mem::take(&mut self.reads_ready),
            log_reads: std::mem::take(&mut self.log_reads),
        };
        let empty = output.persist.is_none()
            && output.messages.is_empty()
            && output.committed.is_empty()
            && output.reads.is_empty()
            && output.log_reads.is_empty();
        (!empty).then_some(output)
    }

    /// What vouches for durable state waits for the newest write. With nothing to write it leaves with the last one
    /// under way, or at once.
    fn let_go_what_need_not_wait(&mut self) {
        while (!self.after.is_empty() || !self.acks.is_empty()) && !self.has_writes() {
            let messages = std::mem::take(&mut self.after);
            let acks = std::mem::take(&mut self.acks);
            match self.writing.back_mut() {
                Some(group) => {
                    group.messages.extend(messages);
                    group.acks.extend(acks);
                }
                None => self.release(messages, acks),
            }
        }
    }

    /// Everything there is to write, as one group.
    fn group(&mut self) -> Persist {
        let (snapshot, entries) = self.log.hand();
        let hard_state = self.hard_state();
        let changed = hard_state != self.written;
        let voted = (hard_state.term, hard_state.vote) != (self.written.term, self.written.vote);
        let must_sync = voted || !entries.is_empty() || snapshot.is_some();
        self.written = hard_state;
        self.newest += 1;
        self.writing.push_back(Group {
            number: self.newest,
            since: self.ticks,
            term: self.term,
            last: self.log.unpersisted(),
            snapshot: snapshot.as_ref().map(|point: &SnapshotPoint| point.index),
            messages: std::mem::take(&mut self.after),
            acks: std::mem::take(&mut self.acks),
        });
        let hard_state = changed.then_some(hard_state);
        Persist { number: self.newest, snapshot, hard_state, entries, must_sync }
    }
}

//! Linearizable reads: many share one question to the quorum.

use std::collections::VecDeque;

use consensus::Read;
use planted::planted;

use super::{Effect, Front};
use crate::identity::RequestIds;

/// Reads that wait for a question, and the one under way.
#[derive(Debug)]
pub(super) struct Reads {
    /// Tickets, and the tick each came at.
    waiting: VecDeque<(u64, u64)>,
    round: Option<Round>,
    /// What questions are called. No other member uses such a name, and no other run of this one: an answer that
    /// was on its way while the member restarted would otherwise release a read at an index of before.
    contexts: RequestIds,
}

/// A question to the quorum that answers all reads that came before it.
#[derive(Debug)]
struct Round {
    context: u64,
    reads: Vec<(u64, u64)>,
    asked_at: u64,
}

impl Reads {
    pub(super) fn new(contexts: RequestIds) -> Reads {
        Reads { waiting: VecDeque::new(), round: None, contexts }
    }

    /// A question was answered, if it is the one that was asked last.
    pub(super) fn confirmed(&mut self, read: Read) -> Option<Effect> {
        let round = self.round.take_if(|round| round.context == read.context)?;
        let index = if planted!("read before it is applied") { 0 } else { read.index };
        let tickets = round.reads.into_iter().map(|(ticket, _)| ticket).collect();
        Some(Effect::ReadReady { tickets, index })
    }

    /// The question under way will not be answered: its reads join the next one, ahead of those that came later.
    pub(super) fn ask_again(&mut self) {
        for read in self.round.take().into_iter().flat_map(|round| round.reads).rev() {
            self.waiting.push_front(read);
        }
    }
}

impl Front {
    pub(super) fn read(&mut self, ticket: u64) {
        if self.options.reads_waiting_max <= self.reads.waiting.len() {
            self.reads.waiting.pop_front();
        }
        self.reads.waiting.push_back((ticket, self.ticks));
    }

    /// Time has passed: whoever asked has given up by now, or asks once more.
    pub(super) fn retry_reads(&mut self) {
        let (retry, patience) = (self.options.read_retry_ticks, self.options.leader_wait_ticks);
        let reads = &mut self.reads;
        if reads.round.as_ref().is_some_and(|round| round.asked_at + retry <= self.ticks) {
            reads.ask_again();
        }
        while reads.waiting.front().is_some_and(|(_, since)| since + patience < self.ticks) {
            reads.waiting.pop_front();
        }
    }

    /// One question is under way at a time: all reads that come meanwhile share the next one.
    pub(super) fn ask_round(&mut self) {
        let reads = &mut self.reads;
        let idle = reads.round.is_some() || reads.waiting.is_empty();
        if idle || self.office.is_silent() || !self.consensus.may_read() {
            return;
        }
        let context = if planted!("all questions of reads named alike") {
            7
        } else {
            reads.contexts.next_id()
        };
        let gathered = reads.waiting.drain(..).collect();
        reads.round = Some(Round { context, reads: gathered, asked_at: self.ticks });
        self.consensus.read_index(context);
    }
}

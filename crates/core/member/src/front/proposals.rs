//! Proposals on their way to whoever leads: tried at once, kept for a leader to come, refused when it is time.

use consensus::{NotProposed, Scope};
use planted::planted;
use types::{Code, EntryKind, Refusal};

use super::{Effect, Front};
use crate::proposal::Proposal;

/// Bytes of waiting proposals that are proposed as one group; one always fits.
const RETRY_BYTES_MAX: usize = 1 << 20;

/// A proposal that waits for a leader.
#[derive(Debug)]
pub(super) struct Waiting {
    proposal: Proposal,
    since: u64,
}

impl Front {
    pub(super) fn propose(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        let gap = self.standing.committed.saturating_sub(self.applied);
        if self.options.committed_applied_gap_max < gap {
            refuse(proposals, &Refusal::RequestTooManyRequests, effects);
            return;
        }
        let late = if proposals.iter().all(|proposal| proposal.scope == Scope::Anyone) {
            proposals
        } else {
            self.propose_a_leaders_own(proposals, effects)
        };
        if late.is_empty() {
            return;
        }
        if !self.waiting.is_empty() || !self.may_propose() {
            self.wait_for_leader(late, effects);
            return;
        }
        let late = self.try_propose(late, effects);
        self.wait_for_leader(late, effects);
    }

    /// What a leader decided in its term is proposed in that term, here and now, or never: it waits for nobody and
    /// is given to nobody. Returns everybody else's.
    fn propose_a_leaders_own(
        &mut self,
        proposals: Vec<Proposal>,
        effects: &mut Vec<Effect>,
    ) -> Vec<Proposal> {
        let (anyone, own): (Vec<_>, Vec<_>) =
            proposals.into_iter().partition(|proposal| proposal.scope == Scope::Anyone);
        for proposal in own {
            let entry = [(proposal.kind, proposal.data.clone())];
            let proposed = if self.office.is_silent() {
                Err(NotProposed::NoLeader)
            } else {
                self.consensus.propose(entry, proposal.scope)
            };
            if proposed.is_err() {
                refuse(vec![proposal], &Refusal::LeaderChanged, effects);
            }
        }
        anyone
    }

    /// Whether a leader is known that takes proposals.
    fn may_propose(&self) -> bool {
        self.standing.leader != 0 && !self.office.is_silent()
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
                Ok(())
                    if planted!("a proposal made again") && self.standing.leader != self.member =>
                {
                    let again = group.iter().map(|p| (p.kind, p.data.clone()));
                    let _ = self.consensus.propose(again, Scope::Anyone);
                    break;
                }
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
            refuse(group.split_off(group.len() - count), &refusal, effects);
        }
        Vec::new()
    }

    fn wait_for_leader(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        for proposal in proposals {
            if self.waiting.len() < self.options.proposals_pending_max {
                self.waiting.push_back(Waiting { proposal, since: self.ticks });
            } else {
                refuse(vec![proposal], &Refusal::RequestTooManyRequests, effects);
            }
        }
    }

    /// Refuses what has waited too long, and proposes the rest if there is somebody to give it to: in pieces, so
    /// that no message to the leader holds all of it.
    pub(super) fn retry_waiting(&mut self, effects: &mut Vec<Effect>) {
        let patience = self.options.leader_wait_ticks;
        while self.waiting.front().is_some_and(|oldest| oldest.since + patience <= self.ticks) {
            let late = self.waiting.pop_front().expect("checked just above");
            refuse(vec![late.proposal], &Refusal::Timeout, effects);
        }
        while !self.waiting.is_empty() && self.may_propose() {
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
                let ages = &ages[count - late.len()..];
                for (since, proposal) in ages.iter().zip(late).rev() {
                    self.waiting.push_front(Waiting { proposal, since: *since });
                }
                return;
            }
        }
    }
}

fn refuse(proposals: Vec<Proposal>, refusal: &Refusal, effects: &mut Vec<Effect>) {
    let refuse = |p: Proposal| Effect::Refuse { id: p.id, refusal: refusal.clone() };
    effects.extend(proposals.into_iter().map(refuse));
}

//! When a leader gives its office up: its disk is silent, or it is told to.
//!
//! A leader whose disk does not answer commits with the others' disks, and answers nobody: what it has not written
//! itself it does not apply. So after an election timeout it hands its office over; and if nobody takes it, it
//! falls silent after another one, and the others elect somebody.

use consensus::{Replication, Role};
use types::MemberId;

use super::Front;

/// What a leader does about a silent disk.
#[derive(Debug, Default)]
pub(super) struct Office {
    /// The tick at which it was last offered to somebody.
    offered_at: Option<u64>,
    silent: bool,
}

impl Office {
    /// Whether this leader says nothing any more, so that somebody else is elected.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }
}

/// Whether a leader may act as such without asking the others: it heard of a majority within half an election
/// timeout, all by its own clock. One that was stopped for a while may have been replaced without knowing.
pub fn is_sure_to_lead(heard_ms: u64, now_ms: u64, election_ms: u64) -> bool {
    now_ms.saturating_sub(heard_ms) <= election_ms / 2
}

impl Front {
    pub(super) fn look_after_the_disk(&mut self) {
        let patience = self.options.election_ticks;
        let oldest = self.consensus.oldest_unpersisted();
        let leads = self.standing.role == Role::Leader && !self.is_alone();
        let stalled = oldest.filter(|(_, waited)| leads && patience < *waited);
        let Some((_, waited)) = stalled else {
            self.office = Office::default();
            return;
        };
        if self.office.offered_at.is_none() {
            self.office.offered_at = Some(self.ticks);
            self.transfer(0);
        }
        self.office.silent = 2 * patience < waited;
    }

    /// Hands leadership to this member, or to the one that is furthest.
    pub(super) fn transfer(&mut self, to: MemberId) {
        let to = if to == 0 { self.successor() } else { Some(to) };
        if let Some(to) = to {
            self.consensus.transfer(to);
        }
    }

    /// The voter that lacks least of the log, among those that answer.
    fn successor(&self) -> Option<MemberId> {
        let progress = self.consensus.progress();
        let fit = progress.iter().filter(|other| {
            let answers = other.recently_active && other.replication != Replication::Snapshot;
            other.member != self.member && !other.learner && answers
        });
        fit.max_by_key(|other| other.matched).map(|other| other.member)
    }
}

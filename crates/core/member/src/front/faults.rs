//! When a member must not go on: its leader counts on entries that it does not have, or has others in their place.
//!
//! One such message may be a leader's mistake and is dropped, as a bad network drops it. When a leader of one term
//! says so again and again for an election timeout, either its log or this member's has lost what was acknowledged.
//! Waiting would look like health, and voting would make the loss everybody's.

use consensus::RefusedMessage;

use super::{Effect, Front};

/// So many messages of one term that cannot be, at least.
const FAULTS_MIN: u64 = 3;

/// What a leader keeps saying that cannot be.
#[derive(Debug, Default)]
pub(super) struct Faults {
    term: u64,
    first_tick: u64,
    count: u64,
}

impl Front {
    pub(super) fn refused(&mut self, refused: RefusedMessage) -> Option<Effect> {
        if !refused.is_fault() {
            return None;
        }
        let term = self.consensus.standing().term;
        if self.faults.count == 0 || self.faults.term != term {
            self.faults = Faults { term, first_tick: self.ticks, count: 0 };
        }
        self.faults.count += 1;
        let lasting = self.faults.first_tick + self.options.election_ticks <= self.ticks;
        (FAULTS_MIN <= self.faults.count && lasting).then_some(Effect::LogLost(refused))
    }
}

//! How much of the log is kept, and for whom: the store must have it first; then members that lag.

use consensus::Role;
use types::MemberId;

use super::{Effect, Front};
use crate::applying_input::Input as ApplyingInput;
use crate::engine::Stored;
use crate::log_writer::{Input as LogInput, LogWork, Mark};

/// A snapshot on its way to a member: what comes after it must be there when it has arrived.
#[derive(Debug)]
pub(super) struct Hold {
    /// The last entry in the snapshot, or before it.
    index: u64,
    /// When the hold ends; nothing while the snapshot is under way.
    until: Option<u64>,
}

impl Front {
    /// Asks for a sync of the store when enough has been applied since the last, so that the log can be marked.
    pub(super) fn sync_store_if_due(&mut self, effects: &mut Vec<Effect>) {
        let gathered = self.consensus.log_bytes().saturating_sub(self.kept_bytes);
        let due = self.marked + self.options.snapshot_count <= self.applied
            || self.options.log_bytes_max < gathered;
        if due && !self.syncing && self.marked < self.applied {
            self.syncing = true;
            effects.push(Effect::Applying(ApplyingInput::SyncStore));
        }
    }

    pub(super) fn stored(&mut self, stored: Stored, effects: &mut Vec<Effect>) {
        self.syncing = false;
        let index = stored.index;
        let keep_from = self.needed_by_others(index).max(self.bound_in_files(index));
        if self.marked < index {
            self.marked = index;
            let mark = LogWork::Mark(Mark { stored, keep_from });
            effects.push(Effect::Log(LogInput::Work(mark)));
        }
        self.consensus.forget_to(keep_from);
        if self.options.lagging_bytes_max < self.consensus.log_bytes() {
            // The files have it still.
            self.consensus.release_to(index);
        }
        self.kept_bytes = self.consensus.log_bytes();
    }

    /// Up to where the log is let go whoever lags: behind that its files hold as many bytes as they may. Whoever
    /// lags further is served by a snapshot.
    fn bound_in_files(&mut self, index: u64) -> u64 {
        self.written.push_back((index, self.written_bytes));
        let (now, most) = (self.written_bytes, self.options.log_file_bytes_max);
        while self.written.front().is_some_and(|(_, then)| then + most < now) {
            (self.let_go, _) = self.written.pop_front().expect("checked just above");
        }
        self.let_go
    }

    /// Up to where nobody needs the log: a little is kept for whoever stumbles, and everything for a member that
    /// answers and has not got it yet, or that a snapshot is on its way to.
    fn needed_by_others(&self, index: u64) -> u64 {
        if self.is_alone() {
            return index;
        }
        let stumbling = index.saturating_sub(self.options.catchup_entries);
        let progress = self.consensus.progress();
        let lagging = progress.iter().filter(|other| other.recently_active).map(|p| p.matched);
        let arriving = self.holds.values().map(|hold| hold.index);
        lagging.chain(arriving).fold(stumbling, u64::min)
    }

    pub(super) fn hold_for(&mut self, peer: MemberId) {
        self.holds.insert(peer, Hold { index: self.applied, until: None });
    }

    pub(super) fn snapshot_sent(&mut self, peer: MemberId, arrived: bool) {
        self.consensus.snapshot_sent(peer, arrived);
        let until = Some(self.ticks + self.options.snapshot_hold_ticks);
        match self.holds.get_mut(&peer) {
            Some(hold) if arrived => hold.until = until,
            _ => drop(self.holds.remove(&peer)),
        }
    }

    pub(super) fn let_go_of_holds(&mut self) {
        let (now, leads) = (self.ticks, self.standing.role == Role::Leader);
        self.holds.retain(|_, hold| leads && hold.until.is_none_or(|until| now < until));
    }
}

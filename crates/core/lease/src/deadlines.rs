//! When leases end: the primary's own book, made anew with each leadership.
//!
//! Each lease has two alarms: one to propose its revoke, which rings again until the revoke is
//! applied, and, if it is long, one to propose a checkpoint of it.

use std::collections::{BTreeMap, BTreeSet};

use types::LeaseId;

/// The deadlines of all leases, ordered by what is due first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    times: BTreeMap<LeaseId, Times>,
    revokes: BTreeSet<(u64, LeaseId)>,
    checkpoints: BTreeSet<(u64, LeaseId)>,
    /// Since when the revokes in `window_revokes` were proposed.
    window_since_ms: u64,
    window_revokes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    ends_at_ms: u64,
    revoke_at_ms: u64,
    checkpoint_at_ms: Option<u64>,
}

/// The rate of revokes is counted over half seconds.
const WINDOW_MS: u64 = 500;

impl Deadlines {
    /// When a lease ends.
    pub fn of(&self, id: LeaseId) -> Option<u64> {
        self.times.get(&id).map(|times| times.ends_at_ms)
    }

    /// Sets a lease's end, and with it the time to propose its revoke.
    pub fn set(&mut self, id: LeaseId, ends_at_ms: u64) {
        let fresh = Times { ends_at_ms, revoke_at_ms: ends_at_ms, checkpoint_at_ms: None };
        let times = self.times.entry(id).or_insert(fresh);
        self.revokes.remove(&(times.revoke_at_ms, id));
        (times.ends_at_ms, times.revoke_at_ms) = (ends_at_ms, ends_at_ms);
        self.revokes.insert((ends_at_ms, id));
    }

    /// Sets when to checkpoint a lease next; `None` for never.
    pub fn set_checkpoint(&mut self, id: LeaseId, at_ms: Option<u64>) {
        let Some(times) = self.times.get_mut(&id) else {
            return;
        };
        if let Some(before) = times.checkpoint_at_ms {
            self.checkpoints.remove(&(before, id));
        }
        times.checkpoint_at_ms = at_ms;
        if let Some(at_ms) = at_ms {
            self.checkpoints.insert((at_ms, id));
        }
    }

    /// A lease is gone.
    pub fn forget(&mut self, id: LeaseId) {
        if let Some(times) = self.times.remove(&id) {
            self.revokes.remove(&(times.revoke_at_ms, id));
            if let Some(at_ms) = times.checkpoint_at_ms {
                self.checkpoints.remove(&(at_ms, id));
            }
        }
    }

    /// Leases whose revoke is to be proposed now, the longest overdue first, as many as the rate
    /// allows. Each comes again after `retry_ms` unless it is forgotten by then.
    pub fn due_revokes(&mut self, now_ms: u64, per_second: usize, retry_ms: u64) -> Vec<LeaseId> {
        if self.window_since_ms + WINDOW_MS <= now_ms {
            (self.window_since_ms, self.window_revokes) = (now_ms, 0);
        }
        let per_window = (per_second / 2).max(1);
        let mut due = Vec::new();
        while self.window_revokes < per_window {
            let Some(&(at_ms, id)) = self.revokes.first().filter(|(at, _)| *at <= now_ms) else {
                break;
            };
            self.revokes.remove(&(at_ms, id));
            self.revokes.insert((now_ms + retry_ms, id));
            let times = self.times.get_mut(&id).expect("an alarm belongs to a lease");
            times.revoke_at_ms = now_ms + retry_ms;
            self.window_revokes += 1;
            due.push(id);
        }
        due
    }

    /// A lease whose checkpoint is due now. Set or unset its next one before asking again.
    pub fn due_checkpoint(&self, now_ms: u64) -> Option<LeaseId> {
        self.checkpoints.first().filter(|(at, _)| *at <= now_ms).map(|(_, id)| *id)
    }
}

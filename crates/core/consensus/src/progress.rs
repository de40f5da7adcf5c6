//! What a leader knows of one member, and what it may send it next.

use std::collections::VecDeque;

use types::MemberId;

use crate::io::{self, Replication};

/// One member, as its leader sees it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The last entry it has confirmed. Always below `next`.
    pub(crate) matched: u64,
    /// The next entry to send.
    pub(crate) next: u64,
    /// The highest commit index it was told.
    pub(crate) sent_commit: u64,
    pub(crate) replication: Replication,
    /// The snapshot on its way, or lately sent.
    pending_snapshot: u64,
    /// Whether it has answered since the last check of the quorum.
    pub(crate) recently_active: bool,
    /// The tick at which it last answered.
    pub(crate) heard_at: u64,
    /// Nothing more is sent before it answers.
    pub(crate) paused: bool,
    pub(crate) inflight: Inflight,
    pub(crate) learner: bool,
    /// Entries for it are being read from the log's files.
    pub(crate) reading: Option<u64>,
}

impl Progress {
    /// Of somebody of whom nothing is known.
    pub(crate) fn new(next: u64, learner: bool) -> Progress {
        Progress {
            matched: 0,
            next,
            sent_commit: 0,
            replication: Replication::Probe,
            pending_snapshot: 0,
            recently_active: false,
            heard_at: 0,
            paused: false,
            inflight: Inflight::default(),
            learner,
            reading: None,
        }
    }

    fn change(&mut self, replication: Replication) {
        self.paused = false;
        self.pending_snapshot = 0;
        self.replication = replication;
        self.inflight.clear();
        self.reading = None;
    }

    pub(crate) fn probe(&mut self) {
        let sent = match self.replication {
            Replication::Snapshot => self.pending_snapshot,
            Replication::Probe | Replication::Replicate => 0,
        };
        self.change(Replication::Probe);
        self.next = self.matched.max(sent) + 1;
        self.sent_commit = self.sent_commit.min(self.next - 1);
    }

    pub(crate) fn replicate(&mut self) {
        self.change(Replication::Replicate);
        self.next = self.matched + 1;
    }

    pub(crate) fn snapshot(&mut self, index: u64) {
        self.change(Replication::Snapshot);
        self.pending_snapshot = index;
        self.next = index + 1;
        self.sent_commit = index;
    }

    /// A snapshot failed: what it would have brought is missing still.
    pub(crate) fn snapshot_failed(&mut self) {
        self.pending_snapshot = 0;
        self.probe();
    }

    /// Whether nothing may be sent to it now.
    pub(crate) fn is_paused(&self) -> bool {
        match self.replication {
            Replication::Probe | Replication::Replicate => self.paused,
            Replication::Snapshot => true,
        }
    }

    /// An append with so many entries was sent.
    pub(crate) fn sent(&mut self, entries: u64, bytes: u64, limits: InflightLimits) {
        match self.replication {
            Replication::Replicate => {
                if 0 < entries {
                    self.next += entries;
                    self.inflight.add(self.next - 1, bytes);
                }
                self.paused = self.inflight.is_full(limits);
            }
            Replication::Probe => self.paused |= 0 < entries,
            Replication::Snapshot => unreachable!("nothing is sent beside a snapshot"),
        }
    }

    /// Whether an empty append would tell it of a higher commit index.
    pub(crate) fn can_learn_commit(&self, committed: u64) -> bool {
        self.sent_commit < committed && self.sent_commit < self.next - 1
    }

    /// It holds everything up to `index`. False if that is no news.
    pub(crate) fn confirmed(&mut self, index: u64) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index + 1);
        self.paused = false;
        true
    }

    /// It refused the append behind `rejected`, and may match at `hint`. False if the answer is to an old
    /// question. Whatever it says, what it has confirmed stays confirmed.
    pub(crate) fn refused(&mut self, rejected: u64, hint: u64) -> bool {
        match self.replication {
            Replication::Replicate => {
                if rejected <= self.matched {
                    return false;
                }
                self.next = self.matched + 1;
            }
            Replication::Probe | Replication::Snapshot => {
                if self.next - 1 != rejected {
                    return false;
                }
                self.next = rejected.min(hint.saturating_add(1)).max(self.matched + 1);
                self.paused = false;
            }
        }
        self.sent_commit = self.sent_commit.min(self.next - 1);
        true
    }

    pub(crate) fn shown(&self, member: MemberId) -> io::Progress {
        io::Progress {
            member,
            matched: self.matched,
            next: self.next,
            replication: self.replication,
            recently_active: self.recently_active,
            learner: self.learner,
        }
    }
}

/// How much may be on its way to one member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InflightLimits {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: u64,
}

/// Appends on their way to one member.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    /// The last entry of each, and its bytes.
    appends: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Inflight {
    fn add(&mut self, index: u64, bytes: u64) {
        self.appends.push_back((index, bytes));
        self.bytes += bytes;
    }

    /// Those up to `index` have arrived.
    pub(crate) fn arrived(&mut self, index: u64) {
        while self.appends.front().is_some_and(|(last, _)| *last <= index) {
            let (_, bytes) = self.appends.pop_front().expect("checked just above");
            self.bytes -= bytes;
        }
    }

    pub(crate) fn is_full(&self, limits: InflightLimits) -> bool {
        limits.messages_max <= self.appends.len() || limits.bytes_max <= self.bytes
    }

    fn clear(&mut self) {
        self.appends.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_falls_below_what_was_confirmed() {
        // raft-rs #555 and #557: a late refusal brought `next` down to, or below, what was confirmed.
        let mut progress = Progress::new(11, false);
        assert!(progress.confirmed(10));
        assert!(progress.refused(10, 3));
        assert_eq!((progress.matched, progress.next), (10, 11));
        progress.replicate();
        assert!(!progress.refused(7, 2), "an answer to an old question");
        assert!(progress.refused(12, u64::MAX));
        assert_eq!(progress.next, 11);
    }

    #[test]
    fn bytes_on_their_way_are_bounded_as_messages_are() {
        let limits = InflightLimits { messages_max: 3, bytes_max: 100 };
        let mut progress = Progress::new(1, false);
        progress.replicate();
        progress.sent(1, 99, limits);
        assert!(!progress.is_paused());
        progress.sent(1, 1, limits);
        assert!(progress.is_paused(), "100 bytes");
        progress.inflight.arrived(1);
        progress.sent(0, 0, limits);
        assert!(!progress.is_paused());
        progress.sent(1, 0, limits);
        progress.sent(1, 0, limits);
        assert!(progress.is_paused(), "three messages");
    }
}

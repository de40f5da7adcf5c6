//! The raft log as the machine sees it: which entry has which term, what is written, committed and applied.
//!
//! The newest entries are held in memory as shared buffers. Older ones are let go ([`Log::release_to`]) while
//! their terms are still known, run by run, so a leader can ask for them in the log's files; what the files do not
//! hold any more ([`Log::forget_to`]) is remembered as one (index, term), and who needs it gets a snapshot.
//!
//! Always true: `start <= applied <= handed_out <= committed <= last`, `persisted <= handed <= last`, terms never
//! fall from one entry to the next, and nothing that is committed is ever replaced.

use std::collections::VecDeque;

use types::Entry;

use crate::io::SnapshotPoint;
use crate::wire::entry_bytes;

/// What an entry takes in memory besides its payload, roughly: itself, and its share of a buffer.
const ENTRY_BYTES: usize = 128;

/// Entries with consecutive indexes behind a starting point.
pub(crate) struct Log {
    /// Index and term of the entry before the first one known.
    start: (u64, u64),
    /// Where each term begins, ascending; together they cover all entries known.
    runs: VecDeque<Run>,
    /// The newest entries, up to the last.
    held: VecDeque<Entry>,
    last: u64,
    bytes: usize,
    /// The last entry given to the log writer.
    handed: u64,
    /// The last entry that is durable here.
    persisted: u64,
    pub(crate) committed: u64,
    /// The last entry handed out to be applied.
    handed_out: u64,
    pub(crate) applied: u64,
    /// Payload bytes handed out and not yet applied.
    applying_bytes: u64,
    /// A snapshot from another member that is not durable yet, and whether the log writer has it.
    snapshot: Option<(SnapshotPoint, bool)>,
}

#[derive(Clone, Copy)]
struct Run {
    first: u64,
    term: u64,
}

/// Entries for a follower.
pub(crate) enum Found {
    Here(Vec<Entry>),
    /// In the log's files, up to this index.
    InFiles {
        last: u64,
    },
    /// Only a snapshot helps.
    Gone,
}

impl Log {
    /// A log whose entries are all durable.
    pub(crate) fn new(start: (u64, u64), entries: Vec<Entry>, committed: u64, applied: u64) -> Log {
        let mut log = Log {
            start,
            runs: VecDeque::new(),
            held: VecDeque::new(),
            last: start.0,
            bytes: 0,
            handed: start.0,
            persisted: start.0,
            committed: start.0,
            handed_out: applied,
            applied,
            applying_bytes: 0,
            snapshot: None,
        };
        log.append(entries);
        log.handed = log.last;
        log.persisted = log.last;
        log.committed = committed;
        log
    }

    pub(crate) fn first(&self) -> u64 {
        self.start.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn last_term(&self) -> u64 {
        self.runs.back().map_or(self.start.1, |run| run.term)
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The term of an entry, if it is known.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.start.0 {
            return Some(self.start.1);
        }
        if index < self.start.0 || self.last < index {
            return None;
        }
        if let Some(run) = self.runs.back()
            && run.first <= index
        {
            return Some(run.term);
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        Some(self.runs[after - 1].term)
    }

    pub(crate) fn matches(&self, index: u64, term: u64) -> bool {
        self.term(index) == Some(term)
    }

    /// Whether a log that ends there holds at least what this one holds.
    pub(crate) fn is_up_to_date(&self, index: u64, term: u64) -> bool {
        (self.last_term(), self.last) <= (term, index)
    }

    /// The first of these entries that is not in the log already, as a position among them.
    pub(crate) fn first_new(&self, entries: &[Entry]) -> Option<usize> {
        entries.iter().position(|entry| !self.matches(entry.index, entry.term))
    }

    /// The last entry up to `index` whose term is not above `term`, with its term; (index, 0) where the log knows
    /// nothing any more. Everything after it can be left out of a search for the last common entry.
    pub(crate) fn conflict_by_term(&self, mut index: u64, term: u64) -> (u64, u64) {
        loop {
            match self.term(index) {
                _ if index == 0 => return (0, 0),
                None => return (index, 0),
                Some(ours) if ours <= term => return (index, ours),
                // The whole run is above the term.
                Some(_) => {
                    let after = self.runs.partition_point(|run| run.first <= index);
                    index = after.checked_sub(1).map_or(index, |at| self.runs[at].first) - 1;
                }
            }
        }
    }

    /// Adds entries; one whose index exists already replaces it and all that follow.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        assert!(self.committed < first, "what is committed is never replaced");
        assert!(first <= self.last + 1, "entries leave no gap");
        if first <= self.last {
            self.truncate(first);
        }
        for entry in entries {
            if self.runs.back().is_none_or(|run| run.term != entry.term) {
                self.runs.push_back(Run { first: entry.index, term: entry.term });
            }
            self.last = entry.index;
            self.bytes += entry.data.len() + ENTRY_BYTES;
            self.held.push_back(entry);
        }
    }

    /// Drops the entries from `first` on.
    fn truncate(&mut self, first: u64) {
        while self.held.back().is_some_and(|entry| first <= entry.index) {
            let dropped = self.held.pop_back().expect("checked just above");
            self.bytes -= dropped.data.len() + ENTRY_BYTES;
        }
        while self.runs.back().is_some_and(|run| first <= run.first) {
            self.runs.pop_back();
        }
        self.last = first - 1;
        self.handed = self.handed.min(self.last);
        self.persisted = self.persisted.min(self.last);
    }

    fn held_from(&self) -> u64 {
        self.last + 1 - self.held.len() as u64
    }

    fn range(&self, first: u64, last: u64) -> impl Iterator<Item = &Entry> {
        let from = self.held_from();
        assert!(from <= first, "only what is held is looked at");
        let low = (first - from) as usize;
        let high = (last + 1).saturating_sub(from) as usize;
        self.held.range(low.min(self.held.len())..high.max(low).min(self.held.len()))
    }

    /// Entries from `first` on, up to a bound of bytes that one entry may break.
    pub(crate) fn entries(&self, first: u64, bytes_max: u64) -> Found {
        if first <= self.start.0 {
            return Found::Gone;
        }
        let held_from = self.held_from();
        if first < held_from {
            return Found::InFiles { last: held_from - 1 };
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.range(first, self.last) {
            bytes += entry_bytes(entry);
            if bytes_max < bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Found::Here(found)
    }

    /// Entries the log writer does not have yet, and a snapshot that comes before them.
    pub(crate) fn hand(&mut self) -> (Option<SnapshotPoint>, Vec<Entry>) {
        let snapshot = match &mut self.snapshot {
            Some((point, handed @ false)) => {
                *handed = true;
                Some(point.clone())
            }
            _ => None,
        };
        let entries = if self.handed < self.last {
            self.range(self.handed + 1, self.last).cloned().collect()
        } else {
            Vec::new()
        };
        self.handed = self.last;
        (snapshot, entries)
    }

    pub(crate) fn has_unhanded(&self) -> bool {
        self.handed < self.last || matches!(self.snapshot, Some((_, false)))
    }

    /// The last entry, if it is not durable yet: what a group of writes vouches for.
    pub(crate) fn unpersisted(&self) -> Option<(u64, u64)> {
        (self.persisted < self.last).then(|| (self.last, self.last_term()))
    }

    /// Entries up to this one are durable, if it is still the one that was written.
    pub(crate) fn persisted_to(&mut self, index: u64, term: u64) {
        if self.persisted < index && self.matches(index, term) {
            self.persisted = index;
        }
    }

    /// The snapshot at `index` is durable, so everything up to it counts as applied.
    pub(crate) fn snapshot_persisted(&mut self, index: u64) {
        if self.snapshot.as_ref().is_some_and(|(point, _)| point.index == index) {
            self.snapshot = None;
        }
        self.applied = self.applied.max(index);
        self.handed_out = self.handed_out.max(index);
    }

    pub(crate) fn awaits_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    pub(crate) fn commit_to(&mut self, index: u64) {
        if self.committed < index {
            assert!(index <= self.last, "only what the log holds is committed");
            self.committed = index;
        }
    }

    /// The last entry that may be handed out now.
    fn appliable(&self) -> u64 {
        if self.snapshot.is_some() { 0 } else { self.committed.min(self.persisted) }
    }

    pub(crate) fn has_appliable(&self, bytes_max: u64) -> bool {
        self.handed_out < self.appliable() && self.applying_bytes < bytes_max
    }

    /// Hands out committed entries, until as many bytes wait to be applied as may.
    pub(crate) fn take_appliable(&mut self, bytes_max: u64) -> Vec<Entry> {
        if !self.has_appliable(bytes_max) {
            return Vec::new();
        }
        let mut bytes = self.applying_bytes;
        let mut found = Vec::new();
        for entry in self.range(self.handed_out + 1, self.appliable()) {
            if bytes_max <= bytes {
                break;
            }
            bytes += entry.data.len() as u64;
            found.push(entry.clone());
        }
        self.handed_out += found.len() as u64;
        self.applying_bytes = bytes;
        found
    }

    /// Everything up to `index` is applied; returns the payload bytes this adds.
    pub(crate) fn applied_to(&mut self, index: u64) -> u64 {
        assert!(index <= self.handed_out, "only what was handed out is applied");
        if index <= self.applied {
            return 0;
        }
        let first = (self.applied + 1).max(self.held_from());
        let bytes = self.range(first, index).map(|entry| entry.data.len() as u64).sum();
        self.applied = index;
        self.applying_bytes = self.applying_bytes.saturating_sub(bytes);
        bytes
    }

    /// Entries that are committed and not applied.
    pub(crate) fn unapplied(&self) -> impl Iterator<Item = &Entry> {
        self.range((self.applied + 1).max(self.held_from()), self.committed)
    }

    /// Lets go from memory what is durable and applied, up to `index`.
    pub(crate) fn release_to(&mut self, index: u64) {
        let index = index.min(self.applied).min(self.persisted);
        while self.held.front().is_some_and(|entry| entry.index <= index) {
            let dropped = self.held.pop_front().expect("checked just above");
            self.bytes -= dropped.data.len() + ENTRY_BYTES;
        }
    }

    /// Forgets what is durable and applied, up to `index`: the files do not hold it any more.
    pub(crate) fn forget_to(&mut self, index: u64) {
        let index = index.min(self.applied).min(self.persisted);
        let Some(term) = self.term(index).filter(|_| self.start.0 < index) else { return };
        self.release_to(index);
        self.start = (index, term);
        while self.runs.get(1).is_some_and(|second| second.first <= index + 1) {
            self.runs.pop_front();
        }
        if index == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(index + 1);
        }
    }

    /// Begins anew behind a snapshot that another member made.
    pub(crate) fn restore(&mut self, point: SnapshotPoint) {
        assert!(self.committed < point.index, "a snapshot only leads forward");
        let index = point.index;
        *self = Log {
            applied: self.applied,
            handed_out: self.handed_out,
            applying_bytes: self.applying_bytes,
            snapshot: Some((point.clone(), false)),
            ..Log::new((index, point.term), Vec::new(), index, index)
        };
    }
}

#[cfg(test)]
mod tests;

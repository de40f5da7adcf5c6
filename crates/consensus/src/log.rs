//! The part of the raft log that raft-rs may still ask for, in memory.
//!
//! Entries are shared buffers, so holding them costs what their payload costs, once. What lies before
//! the log's start is remembered as (index, term) only; a follower that needs older entries gets a
//! snapshot instead.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, StorageError};

/// Entries with consecutive indexes behind a starting point.
pub(crate) struct LogStorage {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first one held.
    start: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl LogStorage {
    pub(crate) fn new(hard_state: HardState, conf_state: ConfState, start: (u64, u64)) -> Self {
        LogStorage { hard_state, conf_state, start, entries: VecDeque::new(), bytes: 0 }
    }

    /// Adds entries; one whose index exists already replaces it and all that follow.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(self.start.0 < first.index, "raft never rewrites what was released");
        let keep = (first.index - self.start.0 - 1) as usize;
        assert!(keep <= self.entries.len(), "entries leave no gap");
        for dropped in self.entries.drain(keep..) {
            self.bytes -= dropped.data.len();
        }
        self.bytes += entries.iter().map(|e| e.data.len()).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets entries up to and including `index`, which must be held or already forgotten.
    pub(crate) fn release_to(&mut self, index: u64) {
        while let Some(first) = self.entries.front()
            && first.index <= index
        {
            self.bytes -= first.data.len();
            self.start = (first.index, first.term);
            self.entries.pop_front();
        }
    }

    pub(crate) fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// Bytes of payload held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn first(&self) -> u64 {
        self.start.0 + 1
    }

    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }
}

impl raft::Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "raft asks for what was appended");
        let range = (low - self.first()) as usize..(high - self.first()) as usize;
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut found = Vec::with_capacity(range.len());
        for entry in self.entries.range(range) {
            bytes += entry.data.len() as u64 + 24;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.0 {
            return Ok(self.start.1);
        }
        if index < self.start.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        match self.entries.get((index - self.first()) as usize) {
            Some(entry) => Ok(entry.term),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        // A member makes its snapshots from the applied state (`reference/peer-protocol.md` 5.4), not
        // from here; raft asks again later.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

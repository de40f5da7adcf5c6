//! One stream: its watches, and how much is under way to its client.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::Limits;
use crate::{StreamId, WatchId};

/// A client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub id: StreamId,
    /// Slots of its watches.
    pub watches: BTreeMap<WatchId, u32>,
    /// The next id to try when the client leaves the choice to us. Only rises.
    next_id: WatchId,
    /// How many watches are not synced, those cancelled by compaction included.
    pub behind: usize,
    /// The starts its watches asked for, and how many asked for each.
    starts: BTreeMap<i64, u32>,
    /// Slots of watches that wait for room.
    pub parked: BTreeSet<u32>,
    /// Whose turn it is among them: the first from this slot on.
    pub unpark_from: u32,
    pub pending_bytes: usize,
    pub pending_responses: usize,
    pub progress_interval_ms: u64,
    pub progress_due_ms: u64,
}

impl Stream {
    pub fn new(id: StreamId, progress_interval_ms: u64, now_ms: u64) -> Stream {
        Stream {
            id,
            watches: BTreeMap::new(),
            next_id: 0,
            behind: 0,
            starts: BTreeMap::new(),
            parked: BTreeSet::new(),
            unpark_from: 0,
            pending_bytes: 0,
            pending_responses: 0,
            progress_interval_ms,
            progress_due_ms: now_ms.saturating_add(progress_interval_ms),
        }
    }

    /// A watch asked for this start; 0 for from now on.
    pub fn starts_at(&mut self, start: i64) {
        if 0 < start {
            *self.starts.entry(start).or_default() += 1;
        }
    }

    /// A watch that asked for this start is gone.
    pub fn no_longer_starts_at(&mut self, start: i64) {
        if let Some(count) = self.starts.get_mut(&start) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&start);
            }
        }
    }

    /// The id for a new watch, or `None` if the client chose one in use.
    pub fn choose_id(&mut self, wanted: WatchId) -> Option<WatchId> {
        if wanted != 0 {
            return (!self.watches.contains_key(&wanted)).then_some(wanted);
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    /// Whether events may be sent, if `all_pending_bytes` are under way on all streams.
    pub fn has_room(&self, limits: &Limits, all_pending_bytes: usize) -> bool {
        self.pending_responses == 0
            || (self.pending_bytes < limits.stream_bytes_max
                && self.pending_responses < limits.stream_responses_max
                && all_pending_bytes < limits.pending_bytes_max)
    }

    /// Whether enough was taken to make catching up worth while again: half of the bound, so that a
    /// slow stream is served in gulps and not one response at a time.
    pub fn has_drained(&self, limits: &Limits, all_pending_bytes: usize) -> bool {
        self.pending_responses == 0
            || (self.pending_bytes <= limits.stream_bytes_max / 2
                && self.pending_responses <= limits.stream_responses_max / 2
                && all_pending_bytes < limits.pending_bytes_max)
    }

    /// Whether all watches have been sent everything up to `revision` and none waits for a start
    /// beyond it: what a progress notification for the whole stream claims.
    pub fn is_settled(&self, revision: i64) -> bool {
        let last = self.starts.last_key_value().map_or(0, |(start, _)| *start);
        self.behind == 0 && last <= revision
    }
}

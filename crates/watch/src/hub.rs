//! The hub itself.

use types::Row;

use crate::interface::{Effect, Input};
use crate::limits::Limits;

/// Which watcher gets which events next.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    revision: i64,
    compacted: i64,
}

/// What the metrics show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Open streams.
    pub streams: usize,
    /// Watches on them.
    pub watches: usize,
    /// Those that lag behind.
    pub unsynced: usize,
    /// Events sent so far.
    pub events_sent: u64,
    /// Bytes sent to streams and not taken yet.
    pub pending_bytes: usize,
}

impl Hub {
    /// A hub over a store at `revision`, compacted at `compacted` (−1 if never).
    pub fn new(limits: Limits, revision: i64, compacted: i64) -> Hub {
        Hub { limits, revision, compacted }
    }

    /// Takes one input and returns what must be done about it, in order.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let _ = (input, &self.limits, self.revision, self.compacted);
        Vec::new()
    }

    /// Whether some watcher wants to be told what this row's key was before. Then the driver loads
    /// it into [`crate::Event::previous`] before [`Input::Applied`]; otherwise it need not. Skipping
    /// that is never wrong, only slow: such watchers are then served from history.
    pub fn wants_previous(&self, row: &Row) -> bool {
        let _ = row;
        false
    }

    /// The revision up to which changes have been handed in.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Figures for the metrics.
    pub fn sizes(&self) -> Sizes {
        Sizes::default()
    }
}

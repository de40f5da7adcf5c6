//! The last few changes, kept in memory: a watcher that is only a little late (it started from the
//! revision of a list a moment ago, or its stream was full for a moment) needs no read from the store.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Changes, Event};
use crate::limits::Limits;

/// Changes of consecutive revisions, the last one the current.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    changes: VecDeque<Arc<Changes>>,
    bytes: usize,
}

impl Recent {
    pub fn push(&mut self, changes: Arc<Changes>, limits: &Limits) {
        self.bytes += bytes(&changes);
        self.changes.push_back(changes);
        while limits.recent_bytes_max < self.bytes
            || limits.recent_revisions_max < self.changes.len()
        {
            let dropped = self.changes.pop_front().expect("an empty one has no bytes");
            self.bytes -= bytes(&dropped);
        }
    }

    pub fn clear(&mut self) {
        *self = Recent::default();
    }

    /// Everything from `revision` on, or `None` if it does not reach back so far.
    pub fn since(&self, revision: i64) -> Option<impl Iterator<Item = &Event>> {
        let first = self.changes.front()?.revision;
        let skip = usize::try_from(revision.checked_sub(first)?).ok()?;
        Some(self.changes.iter().skip(skip).flat_map(|changes| &changes.events))
    }
}

fn bytes(changes: &Changes) -> usize {
    size_of::<Changes>() + changes.events.iter().map(Event::bytes).sum::<usize>()
}

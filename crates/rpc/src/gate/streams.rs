//! How many streams all connections have open: each costs memory though nothing is said on it.

use std::cell::Cell;
use std::sync::Arc;

use super::{Gate, Total};

/// What a stream takes while it is open, with a call that waits: an average, in bytes.
const STREAM_BYTES: usize = 8 * 1024;

/// Streams that are counted at once: asking for each would cost what a call costs.
const STREAMS_STEP: usize = 64;

/// Counts the open streams of a connection, a few at a time. The first few of each are free.
#[derive(Debug)]
pub(crate) struct Streams {
    gate: Arc<Gate>,
    counted: Cell<usize>,
}

impl Streams {
    pub fn new(total: Arc<Total>) -> Streams {
        Streams { gate: Gate::new(usize::MAX, total), counted: Cell::new(STREAMS_STEP) }
    }

    /// Counts so many. `false` if there is no room for them.
    pub fn count(&self, open: usize) -> bool {
        let counted = self.counted.get();
        if open <= counted && counted <= open.max(STREAMS_STEP).saturating_mul(4) {
            return true;
        }
        let wanted = open.next_multiple_of(STREAMS_STEP).max(STREAMS_STEP);
        let bytes = |streams: usize| (streams - STREAMS_STEP) * STREAM_BYTES;
        let fits = self.gate.try_set(bytes(counted), bytes(wanted));
        if fits {
            self.counted.set(wanted);
        }
        fits
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.gate.try_set((self.counted.get() - STREAMS_STEP) * STREAM_BYTES, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[test]
    fn open_streams_are_counted_together_and_given_back() {
        let total = Total::new(4 * 100 * STREAM_BYTES);
        let (one, other) = (Streams::new(total.clone()), Streams::new(total.clone()));
        assert!((0..=64).all(|open| one.count(open)), "the first are free");
        assert_eq!(total.held.load(SeqCst), 0);
        assert!(one.count(128));
        assert_eq!(total.held.load(SeqCst), 64 * STREAM_BYTES);
        assert!(!one.count(200), "more than a fourth");
        assert!(one.count(128) && other.count(100));
        assert_eq!(total.held.load(SeqCst), 2 * 64 * STREAM_BYTES);
        drop(one);
        assert_eq!(total.held.load(SeqCst), 64 * STREAM_BYTES, "the other's");
        drop(other);
        assert_eq!(total.held.load(SeqCst), 0);
    }
}

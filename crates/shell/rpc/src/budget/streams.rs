//! How many streams all connections have open: each costs memory though nothing is said on it.

use std::cell::RefCell;
use std::sync::Arc;

use super::gate::Held;
use super::{Gate, Purpose, Total};

/// What a stream takes while it is open, with a call that waits or a watch: more than an average, in bytes.
const STREAM_BYTES: usize = 6 * 1024;

/// Streams that are counted at once: asking for each would cost what a call costs.
const STREAMS_STEP: usize = 64;

/// Counts the open streams of a connection, a few at a time. The first few of each are free.
#[derive(Debug)]
pub(crate) struct Streams(RefCell<Held>);

impl Streams {
    pub fn new(total: &Arc<Total>) -> Streams {
        Streams(RefCell::new(Gate::new(usize::MAX, total.clone(), Purpose::Streams).hold(0)))
    }

    /// Counts so many. `false` if there is no room for them.
    pub fn count(&self, open: usize) -> bool {
        let mut held = self.0.borrow_mut();
        let counted = held.bytes() / STREAM_BYTES + STREAMS_STEP;
        if open <= counted && counted <= open.max(STREAMS_STEP).saturating_mul(4) {
            return true;
        }
        let wanted = open.next_multiple_of(STREAMS_STEP).max(STREAMS_STEP);
        held.try_set((wanted - STREAMS_STEP) * STREAM_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_streams_are_counted_together_and_given_back() {
        let total = Total::bounded(usize::MAX, [4 * 100 * STREAM_BYTES; 3]);
        let (one, other) = (Streams::new(&total), Streams::new(&total));
        assert!((0..=64).all(|open| one.count(open)), "the first are free");
        assert_eq!(total.held(Purpose::Streams), 0);
        assert!(one.count(128));
        assert_eq!(total.held(Purpose::Streams), 64 * STREAM_BYTES);
        assert!(!one.count(200), "more than a fourth");
        assert!(one.count(128) && other.count(100));
        assert_eq!(total.held(Purpose::Streams), 2 * 64 * STREAM_BYTES);
        drop(one);
        assert_eq!(total.held(Purpose::Streams), 64 * STREAM_BYTES, "the other's");
        drop(other);
        assert_eq!(total.held(Purpose::Streams), 0);
    }
}

//! Who holds a view of the store for as long as a client likes: snapshots and lists that are sent piece by piece.
//!
//! A view holds the files it shows. What cleaning replaced stays on the disk as long, and no compaction gives it back,
//! so there is a bound on it. Above the bound the reader that began first has to go: it holds the most.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long the next reader may stay after one had to go, in milliseconds: what that one held is given back meanwhile.
const PAUSE_MS: u64 = 2000;

/// All readers of a member.
#[derive(Debug, Default)]
pub struct Readers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Rising with the time at which they began.
    here: BTreeSet<u64>,
    /// When the last one was told to go.
    gone_ms: Option<u64>,
}

/// One of them; gone when dropped.
#[derive(Debug)]
pub struct Reader {
    readers: Arc<Readers>,
    number: u64,
}

/// What readers hold, and what they may.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Files that were replaced and are still read, in bytes.
    pub bytes: u64,
    /// The bound.
    pub bytes_max: u64,
}

impl Readers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader begins: it is about to take a view.
    pub fn enter(self: &Arc<Readers>) -> Reader {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.here.insert(number);
        Reader { readers: self.clone(), number }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.state().here.len()
    }
}

impl Reader {
    /// Whether this reader has to go, by a clock that only moves forward. Asked of all of them now and then.
    pub fn must_go(&self, held: Held, now_ms: u64) -> bool {
        if held.bytes <= held.bytes_max {
            return false;
        }
        let mut state = self.readers.state();
        let rests = state.gone_ms.is_some_and(|gone| now_ms < gone.saturating_add(PAUSE_MS));
        let goes = !rests && state.here.first() == Some(&self.number);
        if goes {
            state.gone_ms = Some(now_ms);
        }
        goes
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.state().here.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_bound_the_oldest_reader_goes_and_the_next_only_if_that_did_not_help() {
        let readers = Arc::new(Readers::default());
        let held = |bytes| Held { bytes, bytes_max: 100 };
        let (old, young) = (readers.enter(), readers.enter());
        assert_eq!(readers.count(), 2);
        assert!(!old.must_go(held(100), 0));
        assert!(!young.must_go(held(101), 0));
        assert!(old.must_go(held(101), 0));
        drop(old);
        assert!(!young.must_go(held(101), PAUSE_MS - 1), "the files are being given back");
        assert!(!young.must_go(held(50), PAUSE_MS));
        assert!(young.must_go(held(101), PAUSE_MS));
        drop(young);
        assert_eq!(readers.count(), 0);
    }
}

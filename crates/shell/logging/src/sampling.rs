//! What is said over and over is said less: the first hundred equal messages a second are written, then
//! every hundredth.
//!
//! A message's counter is found by hash, so two messages may share one; that loses lines only when both
//! are said too often. Errors that end the process are always written (see `Logger`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use options::Level;

const COUNTERS: usize = 1024;
const FIRST: u64 = 100;
const THEREAFTER: u64 = 100;

/// How often each message was said in the present second.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// The second in the upper half, the count in the lower.
    counters: Vec<AtomicU64>,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Sampler {
    /// Whether a message said now should be written.
    pub fn admits(&self, level: Level, message: &str, now: SystemTime) -> bool {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let second = second & u64::from(u32::MAX);
        let mut hasher = DefaultHasher::new();
        (level as u8, message).hash(&mut hasher);
        let counter = &self.counters[(hasher.finish() % COUNTERS as u64) as usize];
        let next = |state: u64| {
            let same_second = state >> 32 == second;
            let count = if same_second { state & u64::from(u32::MAX) } else { 0 };
            second << 32 | (count + 1).min(u64::from(u32::MAX))
        };
        let before = counter.fetch_update(Relaxed, Relaxed, |state| Some(next(state)));
        let count = next(before.unwrap_or_else(|state| state)) & u64::from(u32::MAX);
        count <= FIRST || (count - FIRST).is_multiple_of(THEREAFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_in_a_second_then_every_hundredth() {
        let sampler = Sampler::default();
        let said = |second: u64, times: usize| {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            (0..times).filter(|_| sampler.admits(Level::Warn, "slow", now)).count()
        };
        assert_eq!(said(7, 100), 100);
        assert_eq!(said(7, 99), 0);
        assert_eq!(said(7, 101), 2);
        assert_eq!(said(8, 101), 100);
        assert!(sampler.admits(Level::Warn, "other", UNIX_EPOCH + Duration::from_secs(8)));
    }
}

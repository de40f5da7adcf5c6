//! How soon to dial again.

use std::time::{Duration, Instant};

/// The shortest time between two dials of one stream.
pub const REDIAL_MIN: Duration = Duration::from_millis(100);
/// The longest, after failures in a row: a forwarder's queue of refusals is short.
pub const REDIAL_MAX: Duration = Duration::from_millis(800);

/// When a stream may be dialled. The first dial after a long life is at once; failures in a row wait twice as long
/// each.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
    failures: u32,
}

impl Pace {
    /// How long to wait before dialling.
    pub fn wait(&self, now: Instant) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let doubled = REDIAL_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(8));
        (last + doubled.min(REDIAL_MAX)).saturating_duration_since(now)
    }

    /// Whether the last dial failed.
    pub fn failing(&self) -> bool {
        self.failures > 0
    }

    /// A dial begins.
    pub fn dialled(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// It failed.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// It succeeded, or the peer was heard of by another way: it is there.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_are_at_least_100_ms_apart_and_failures_in_a_row_wait_longer() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(start), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..6 {
            pace.dialled(start);
            pace.failed();
            waits.push(pace.wait(start).as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 800, 800]);
        pace.succeeded();
        assert_eq!(pace.wait(start), REDIAL_MIN);
        assert_eq!(pace.wait(start + Duration::from_secs(1)), Duration::ZERO);
    }
}

//! Who pings too often is sent away, as grpc-go does it.

use std::time::{Duration, Instant};

/// Early pings that are forgiven.
const STRIKES_MAX: u32 = 2;

/// The pause we ask for between pings while no call is open.
const IDLE_MIN_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Judges the pings of one connection.
#[derive(Debug)]
pub(crate) struct PingPolicy {
    min_time: Duration,
    last: Option<Instant>,
    strikes: u32,
    forgiven: bool,
}

impl PingPolicy {
    pub fn new(min_time: Duration) -> PingPolicy {
        PingPolicy { min_time, last: None, strikes: 0, forgiven: false }
    }

    /// We sent headers or data: a client may ping to learn how fast they arrive.
    pub fn forgive(&mut self) {
        self.forgiven = true;
    }

    /// Judges a ping. `false` when there were too many.
    #[must_use]
    pub fn allows(&mut self, now: Instant, calls_open: bool) -> bool {
        let pause = if calls_open { self.min_time } else { IDLE_MIN_TIME };
        let early = self.last.is_some_and(|last| now < last + pause);
        self.last = Some(now);
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
        } else if early {
            self.strikes += 1;
        }
        self.strikes <= STRIKES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_fourth_early_ping_is_one_too_many() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let start = Instant::now();
        for second in 0..3 {
            assert!(policy.allows(start + second * SECOND, true));
        }
        assert!(!policy.allows(start + 3 * SECOND, true));
    }

    #[test]
    fn patient_pings_are_welcome_while_a_call_is_open() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let start = Instant::now();
        for ping in 0..100 {
            assert!(policy.allows(start + ping * 5 * SECOND, true));
        }
        let later = start + 500 * SECOND;
        let allowed = (0..10).filter(|n| policy.allows(later + n * 5 * SECOND, false)).count();
        assert_eq!(allowed, 2, "without a call they are early");
    }

    #[test]
    fn what_we_send_forgives_the_pings_before() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let now = Instant::now();
        for _ in 0..100 {
            assert!(policy.allows(now, true));
            policy.forgive();
        }
    }
}

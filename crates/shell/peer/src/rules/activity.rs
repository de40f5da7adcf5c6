//! Whether a peer is heard of, and since when.

use std::time::Instant;

/// Something that did not work with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `dial`, `read`, `write`, `heartbeat`.
    pub action: &'static str,
    /// By which way, as etcd names it: `stream MsgApp v2`, `stream Message`, `pipeline`, `snapshot`.
    pub way: &'static str,
    /// What came of it.
    pub reason: String,
}

/// What changed, to be said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is heard of again, or for the first time.
    BecameActive,
    /// It is not heard of any more.
    BecameInactive,
}

/// A peer is active while anything works with it.
#[derive(Debug, Default)]
pub struct Activity {
    since: Option<Instant>,
}

impl Activity {
    /// Something worked.
    pub fn worked(&mut self, now: Instant) -> Option<Change> {
        if self.since.is_some() {
            return None;
        }
        self.since = Some(now);
        Some(Change::BecameActive)
    }

    /// Something did not.
    pub fn failed(&mut self) -> Option<Change> {
        self.since.take().map(|_| Change::BecameInactive)
    }

    /// Since when it is active, if it is.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let mut activity = Activity::default();
        assert_eq!(activity.failed(), None);
        let now = Instant::now();
        assert_eq!(activity.worked(now), Some(Change::BecameActive));
        assert_eq!(activity.worked(Instant::now()), None);
        assert_eq!(activity.since(), Some(now));
        assert_eq!(activity.failed(), Some(Change::BecameInactive));
        assert_eq!(activity.failed(), None);
        assert_eq!(activity.since(), None);
    }
}

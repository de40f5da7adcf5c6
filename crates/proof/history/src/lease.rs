//! Leases: none ends before its time, and what has ended stays so.

use std::collections::BTreeMap;

use crate::{Violation, ensure};

/// Milliseconds on the clock of the world.
pub type Millis = u64;

/// What happened to leases, in the order it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// A client asked for a lease and got it.
    Granted {
        /// The lease.
        lease: i64,
        /// When it was asked for: its time starts then at the earliest.
        asked: Millis,
        /// How long it lives without a keep-alive.
        ttl: Millis,
    },
    /// A client kept a lease alive and was told so.
    KeptAlive {
        /// The lease.
        lease: i64,
        /// When it was asked for.
        asked: Millis,
        /// How long it lives from then on.
        ttl: Millis,
    },
    /// A client asked to end a lease. From here on it may be gone.
    RevokeAsked {
        /// The lease.
        lease: i64,
    },
    /// The end of a lease was applied.
    Ended {
        /// The lease.
        lease: i64,
        /// When.
        at: Millis,
    },
    /// The server was asked about a lease after everything before had been answered.
    Seen {
        /// The lease.
        lease: i64,
        /// Whether it was there.
        there: bool,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    granted: bool,
    ends_not_before: Millis,
    may_be_revoked: bool,
    ended: bool,
}

/// Judges what happened.
///
/// # Errors
/// The first [`Violation`].
pub fn judge(events: &[LeaseEvent]) -> Result<(), Violation> {
    let mut leases: BTreeMap<i64, Known> = BTreeMap::new();
    for event in events {
        match *event {
            LeaseEvent::Granted { lease, asked, ttl } => {
                let known = leases.entry(lease).or_default();
                (known.granted, known.ends_not_before) = (true, asked + ttl);
            }
            LeaseEvent::KeptAlive { lease, asked, ttl } => {
                let known = leases.entry(lease).or_default();
                let gone = known.ended && !known.may_be_revoked;
                ensure(!gone, || format!("lease {lease:x} was kept alive after its end"))?;
                known.ends_not_before = known.ends_not_before.max(asked + ttl);
            }
            LeaseEvent::RevokeAsked { lease } => {
                leases.entry(lease).or_default().may_be_revoked = true;
            }
            LeaseEvent::Ended { lease, at } => {
                let known = leases.entry(lease).or_default();
                let early = at < known.ends_not_before && !known.may_be_revoked;
                ensure(!early, || {
                    let due = known.ends_not_before;
                    format!("lease {lease:x} ended at {at} ms, but may not end before {due} ms")
                })?;
                known.ended = true;
            }
            LeaseEvent::Seen { lease, there } => {
                let known = leases.get(&lease).copied().unwrap_or_default();
                ensure(!(there && known.ended), || format!("lease {lease:x} came back"))?;
                let expected = known.granted && !known.ended && !known.may_be_revoked;
                ensure(there || !expected, || format!("lease {lease:x} is gone without an end"))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LeaseEvent::*;
    use super::*;

    #[test]
    fn a_lease_may_end_in_time_but_not_early_and_stays_ended() {
        let granted = Granted { lease: 7, asked: 100, ttl: 1000 };
        assert!(judge(&[granted, Ended { lease: 7, at: 1100 }]).is_ok());
        assert!(judge(&[granted, Ended { lease: 7, at: 1099 }]).is_err());
        let kept = KeptAlive { lease: 7, asked: 600, ttl: 1000 };
        assert!(judge(&[granted, kept, Ended { lease: 7, at: 1599 }]).is_err());
        assert!(judge(&[granted, RevokeAsked { lease: 7 }, Ended { lease: 7, at: 101 }]).is_ok());
        let ended = Ended { lease: 7, at: 1100 };
        assert!(judge(&[granted, ended, Seen { lease: 7, there: false }]).is_ok());
        assert!(judge(&[granted, ended, Seen { lease: 7, there: true }]).is_err());
        assert!(judge(&[granted, Seen { lease: 7, there: false }]).is_err());
    }
}

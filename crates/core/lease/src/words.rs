//! The words of this crate: a lease, what the primary wants, what a client is told.

use types::LeaseId;

/// The longest time to live a client may ask for.
pub const TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// How this member treats leases.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shorter times to live are raised to this ([`Options::ttl_seconds_min`]).
    pub ttl_seconds_min: i64,
    /// Whether the primary proposes checkpoints (feature gate LeaseCheckpoint).
    pub checkpoints: bool,
    /// How often a long lease is checkpointed.
    pub checkpoint_interval_ms: u64,
    /// Checkpoints in one proposal.
    pub checkpoints_per_batch_max: usize,
    /// Revokes proposed per second.
    pub revokes_per_second_max: usize,
    /// After which time a proposed revoke that was not applied is proposed again.
    pub revoke_retry_ms: u64,
}

/// A lease as it is stored: `leasepb.Lease`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id; never 0.
    pub id: LeaseId,
    /// The granted time to live.
    pub ttl_seconds: i64,
    /// What was left of it at the last checkpoint; 0 for none.
    pub remaining_seconds: i64,
}

/// What is left of a lease, for the other members to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The lease.
    pub id: LeaseId,
    /// What is left; 0 means all of it.
    pub remaining_seconds: i64,
}

/// What the primary wants proposed to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A lease has expired: propose its revoke, as user root when auth is on.
    ProposeRevoke {
        /// The lease.
        lease: LeaseId,
    },
    /// Long leases have run for a while: propose one `LeaseCheckpoint` of them all.
    ProposeCheckpoints(Vec<Checkpoint>),
}

/// What became of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It runs for its whole time to live again.
    Renewed {
        /// The granted time to live.
        ttl_seconds: i64,
        /// To be proposed, so that the others forget the checkpoint that is now too early.
        clear: Option<Checkpoint>,
    },
    /// Its time is over and its revoke not yet applied: too late. Answered like an unknown one.
    Expired,
    /// There is none, or there is no more. Answered with a time to live of 0.
    NotFound,
    /// This member does not lead in the term it was asked as the leader of: ask the leader.
    NotPrimary,
}

/// The answer to LeaseTimeToLive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// Whole seconds left; 0 or negative when expired and not yet revoked.
    pub remaining_seconds: i64,
    /// The granted time to live.
    pub granted_seconds: i64,
}

impl TimeToLive {
    /// What a member tells that does not know when leases end.
    pub fn whole(lease: &Lease) -> TimeToLive {
        let granted_seconds = lease.ttl_seconds;
        TimeToLive { remaining_seconds: granted_seconds, granted_seconds }
    }
}

impl Lease {
    /// What a new primary starts it with.
    pub(crate) fn left_seconds(&self) -> i64 {
        if 0 < self.remaining_seconds { self.remaining_seconds } else { self.ttl_seconds }
    }
}

impl Options {
    /// The shortest time to live that outlasts an election: one and a half election timeouts in
    /// whole ticks, in seconds rounded up. All members need the same flags to agree on it.
    pub fn ttl_seconds_min(election_ticks: u64, heartbeat_ms: u64) -> i64 {
        let ms = (3 * election_ticks / 2) * heartbeat_ms;
        i64::try_from(ms.div_ceil(1000)).unwrap_or(TTL_SECONDS_MAX)
    }

    /// Fully decided defaults around the one figure that depends on flags.
    pub fn new(ttl_seconds_min: i64) -> Options {
        Options {
            ttl_seconds_min,
            checkpoints: false,
            checkpoint_interval_ms: 5 * 60 * 1000,
            checkpoints_per_batch_max: 1000,
            revokes_per_second_max: 1000,
            revoke_retry_ms: 3000,
        }
    }
}

/// A time to live may come from a store written by others: any number is possible.
pub(crate) fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_outlasts_an_election() {
        assert_eq!(Options::ttl_seconds_min(10, 100), 2);
        assert_eq!(Options::ttl_seconds_min(5, 1000), 7);
        assert_eq!(Options::ttl_seconds_min(11, 100), 2);
    }
}

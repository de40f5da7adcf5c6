//! The lessor itself.

use bytes::Bytes;
use types::{LeaseId, Refusal};

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
    /// This member is not the primary: ask the leader.
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

/// What the metrics show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Leases there are.
    pub leases: usize,
    /// Keys that hang on one.
    pub keys: usize,
    /// Leases that this member, as primary, found expired.
    pub expired: u64,
    /// Keep-alives that this member, as primary, granted.
    pub renewed: u64,
}

/// Which leases exist and when each one ends.
#[derive(Debug)]
pub struct Lessor {
    options: Options,
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

/// The replicated half: called for applied entries only.
impl Lessor {
    /// A lessor with the leases found in the store, not primary. Times to live below the minimum
    /// are raised. Attach the keys afterwards with [`Lessor::attach`].
    pub fn new(options: Options, leases: impl IntoIterator<Item = Lease>) -> Lessor {
        let _ = leases;
        Lessor { options }
    }

    /// Grants a lease and returns it as it is to be stored, its time to live raised if too short.
    ///
    /// # Errors
    /// LeaseNotFound for id 0, LeaseTTLTooLarge, LeaseExist.
    pub fn grant(&mut self, id: LeaseId, ttl_seconds: i64, now_ms: u64) -> Result<Lease, Refusal> {
        unreachable!("being written")
    }

    /// Ends a lease and returns the keys that hung on it, in byte order: delete them in one revision.
    ///
    /// # Errors
    /// LeaseNotFound.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Bytes>, Refusal> {
        unreachable!("being written")
    }

    /// Hangs a key on a lease, taking it from the one it hung on.
    ///
    /// # Errors
    /// LeaseNotFound; the key then hangs where it hung.
    pub fn attach(&mut self, id: LeaseId, key: &Bytes) -> Result<(), Refusal> {
        unreachable!("being written")
    }

    /// Takes a key from whatever lease it hangs on.
    pub fn detach(&mut self, key: &[u8]) {
        unreachable!("being written")
    }

    /// Notes what is left of a lease and returns its new row, for the caller to store if the
    /// cluster's version says so; `None` if there is no such lease.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint, now_ms: u64) -> Option<Lease> {
        unreachable!("being written")
    }
}

/// Questions, on any member.
impl Lessor {
    /// The lease as it is stored.
    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        unreachable!("being written")
    }

    /// The lease a key hangs on.
    pub fn lease_of(&self, key: &[u8]) -> Option<LeaseId> {
        unreachable!("being written")
    }

    /// The keys that hang on a lease, in byte order; none for an unknown lease.
    pub fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        std::iter::empty()
    }

    /// Every lease as it is stored, by id.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        std::iter::empty()
    }

    /// Figures for the metrics.
    pub fn sizes(&self) -> Sizes {
        unreachable!("being written")
    }
}

/// The timing half: the primary only.
impl Lessor {
    /// Whether this member decides when leases end.
    pub fn is_primary(&self) -> bool {
        unreachable!("being written")
    }

    /// This member became leader. Every lease gets what was left of it at its last checkpoint (or
    /// all of it) and `extend_ms`, the election timeout, because keep-alives could not arrive while
    /// there was no leader. More than 1,000 leases that would end together are spread out.
    pub fn promote(&mut self, extend_ms: u64, now_ms: u64) {
        unreachable!("being written")
    }

    /// This member is no longer leader: nothing expires here any more.
    pub fn demote(&mut self) {
        unreachable!("being written")
    }

    /// Starts a lease's time over.
    pub fn keep_alive(&mut self, id: LeaseId, now_ms: u64) -> KeepAlive {
        unreachable!("being written")
    }

    /// What is left of a lease; `None` if there is none. Only the primary knows (a follower
    /// forwards): elsewhere the whole time to live is reported.
    pub fn time_to_live(&self, id: LeaseId, now_ms: u64) -> Option<TimeToLive> {
        unreachable!("being written")
    }

    /// All leases, the one that ends first before the others; by id where no deadlines are known.
    pub fn by_remaining_time(&self) -> Vec<LeaseId> {
        unreachable!("being written")
    }

    /// Lets time pass and returns what is due; every 100 to 500 ms is fine.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        unreachable!("being written")
    }
}

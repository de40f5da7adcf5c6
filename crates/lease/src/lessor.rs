//! The lessor's replicated half: what applied entries do to leases.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::{LeaseId, Refusal};

use crate::deadlines::Deadlines;

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
    pub(crate) options: Options,
    pub(crate) leases: BTreeMap<LeaseId, Held>,
    keys: BTreeMap<Bytes, LeaseId>,
    /// When leases end; on the primary only.
    pub(crate) deadlines: Option<Deadlines>,
    pub(crate) expired: u64,
    pub(crate) renewed: u64,
}

/// A lease and what hangs on it.
#[derive(Debug)]
pub(crate) struct Held {
    pub lease: Lease,
    keys: BTreeSet<Bytes>,
    /// Whether a checkpoint was proposed and not applied yet: it may be applied after a renewal, which then
    /// has to clear it.
    pub checkpoint_proposed: bool,
}

impl Held {
    fn new(lease: Lease) -> Held {
        Held { lease, keys: BTreeSet::new(), checkpoint_proposed: false }
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

/// The replicated half: called for applied entries only.
impl Lessor {
    /// A lessor with the leases found in the store, not primary. Times to live below the minimum
    /// are raised. Attach the keys afterwards with [`Lessor::attach`].
    pub fn new(options: Options, leases: impl IntoIterator<Item = Lease>) -> Lessor {
        let mut lessor = Lessor {
            options,
            leases: BTreeMap::new(),
            keys: BTreeMap::new(),
            deadlines: None,
            expired: 0,
            renewed: 0,
        };
        for mut lease in leases {
            lease.ttl_seconds = lease.ttl_seconds.max(lessor.options.ttl_seconds_min);
            lessor.leases.insert(lease.id, Held::new(lease));
        }
        lessor
    }

    /// Grants a lease and returns it as it is to be stored, its time to live raised if too short.
    ///
    /// # Errors
    /// LeaseNotFound for id 0, LeaseTTLTooLarge, LeaseExist.
    pub fn grant(&mut self, id: LeaseId, ttl_seconds: i64, now_ms: u64) -> Result<Lease, Refusal> {
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        if TTL_SECONDS_MAX < ttl_seconds {
            return Err(Refusal::LeaseTTLTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExist);
        }
        let ttl_seconds = ttl_seconds.max(self.options.ttl_seconds_min);
        let lease = Lease { id, ttl_seconds, remaining_seconds: 0 };
        self.leases.insert(id, Held::new(lease));
        self.start(lease, now_ms);
        Ok(lease)
    }

    /// Ends a lease and returns the keys that hung on it, in byte order: delete them in one revision.
    ///
    /// # Errors
    /// LeaseNotFound.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Bytes>, Refusal> {
        let held = self.leases.remove(&id).ok_or(Refusal::LeaseNotFound)?;
        for key in &held.keys {
            let lease = self.keys.remove(key);
            assert_eq!(lease, Some(id), "both directions of the attachment agree");
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.forget(id);
        }
        Ok(held.keys.into_iter().collect())
    }

    /// Hangs a key on a lease, taking it from the one it hung on.
    ///
    /// # Errors
    /// LeaseNotFound; the key then hangs where it hung.
    pub fn attach(&mut self, id: LeaseId, key: &Bytes) -> Result<(), Refusal> {
        if !self.leases.contains_key(&id) {
            return Err(Refusal::LeaseNotFound);
        }
        if self.lease_of(key) == Some(id) {
            return Ok(());
        }
        self.detach(key);
        // A copy of its own: the key is usually a slice of a whole request's buffer.
        let key = Bytes::copy_from_slice(key);
        self.held(id).keys.insert(key.clone());
        self.keys.insert(key, id);
        Ok(())
    }

    /// Takes a key from whatever lease it hangs on.
    pub fn detach(&mut self, key: &[u8]) {
        if let Some(id) = self.keys.remove(key) {
            let was_there = self.held(id).keys.remove(key);
            assert!(was_there, "both directions of the attachment agree");
        }
    }

    /// Notes what is left of a lease and returns its new row, for the caller to store if the
    /// cluster's version says so; `None` if there is no such lease.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint, now_ms: u64) -> Option<Lease> {
        let held = self.leases.get_mut(&checkpoint.id)?;
        held.lease.remaining_seconds = checkpoint.remaining_seconds;
        held.checkpoint_proposed = false;
        let lease = held.lease;
        self.plan_checkpoint(lease.id, lease.left_seconds(), now_ms);
        Some(lease)
    }

    fn held(&mut self, id: LeaseId) -> &mut Held {
        self.leases.get_mut(&id).expect("keys hang on leases that exist")
    }
}

/// Questions, on any member.
impl Lessor {
    /// The lease as it is stored.
    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.leases.get(&id).map(|held| held.lease)
    }

    /// The lease a key hangs on.
    pub fn lease_of(&self, key: &[u8]) -> Option<LeaseId> {
        self.keys.get(key).copied()
    }

    /// The keys that hang on a lease, in byte order; none for an unknown lease.
    pub fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|held| &held.keys)
    }

    /// Every lease as it is stored, by id.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        self.leases.values().map(|held| held.lease)
    }

    /// Figures for the metrics.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            leases: self.leases.len(),
            keys: self.keys.len(),
            expired: self.expired,
            renewed: self.renewed,
        }
    }
}

impl Lease {
    /// What a new primary starts it with.
    pub(crate) fn left_seconds(&self) -> i64 {
        if 0 < self.remaining_seconds { self.remaining_seconds } else { self.ttl_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lessor() -> Lessor {
        Lessor::new(Options::new(2), [])
    }

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn the_minimum_outlasts_an_election() {
        assert_eq!(Options::ttl_seconds_min(10, 100), 2);
        assert_eq!(Options::ttl_seconds_min(5, 1000), 7);
        assert_eq!(Options::ttl_seconds_min(11, 100), 2);
    }

    #[test]
    fn grants_are_refused_in_etcds_words() {
        let mut lessor = lessor();
        assert_eq!(lessor.grant(0, 10, 0), Err(Refusal::LeaseNotFound));
        assert_eq!(lessor.grant(1, TTL_SECONDS_MAX + 1, 0), Err(Refusal::LeaseTTLTooLarge));
        assert!(lessor.grant(1, TTL_SECONDS_MAX, 0).is_ok());
        assert_eq!(lessor.grant(1, 10, 0), Err(Refusal::LeaseExist));
        assert!(lessor.grant(-1, 10, 0).is_ok(), "a client may choose a negative id");
    }

    #[test]
    fn a_short_time_to_live_is_raised_at_the_grant_and_when_it_is_loaded() {
        let mut granted = lessor();
        for (id, ttl_seconds) in [(1, i64::MIN), (2, 0), (3, 1)] {
            let lease = Lease { id, ttl_seconds: 2, remaining_seconds: 0 };
            assert_eq!(granted.grant(id, ttl_seconds, 0), Ok(lease));
        }
        let row = Lease { id: 1, ttl_seconds: 1, remaining_seconds: 0 };
        let loaded = Lessor::new(Options::new(5), [row]);
        assert_eq!(loaded.lease(1).map(|lease| lease.ttl_seconds), Some(5));
    }

    #[test]
    fn a_revoke_returns_the_keys_in_byte_order_and_forgets_them() {
        let mut lessor = lessor();
        lessor.grant(1, 10, 0).expect("new");
        for text in ["b", "a", "c"] {
            lessor.attach(1, &key(text)).expect("the lease is there");
        }
        assert_eq!(lessor.revoke(1), Ok(vec![key("a"), key("b"), key("c")]));
        assert_eq!(lessor.lease_of(b"a"), None);
        assert_eq!(lessor.revoke(1), Err(Refusal::LeaseNotFound));
    }

    #[test]
    fn a_key_hangs_on_one_lease_at_most() {
        let mut lessor = lessor();
        lessor.grant(1, 10, 0).expect("new");
        lessor.grant(2, 10, 0).expect("new");
        lessor.attach(1, &key("a")).expect("there");
        lessor.attach(2, &key("a")).expect("there");
        assert_eq!(lessor.attach(3, &key("a")), Err(Refusal::LeaseNotFound));
        assert_eq!(lessor.lease_of(b"a"), Some(2));
        assert_eq!(lessor.revoke(1), Ok(vec![]));
        lessor.detach(b"a");
        assert_eq!(lessor.keys(2).count(), 0);
        assert_eq!(lessor.sizes().keys, 0);
    }
}

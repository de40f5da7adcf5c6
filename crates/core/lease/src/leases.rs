//! Which leases exist and which keys hang on them: what applied entries make of them, on every member alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use types::{LeaseId, Refusal};

use crate::words::{Checkpoint, Lease, TTL_SECONDS_MAX};

/// The leases of a cluster. Only applied entries change them.
#[derive(Debug)]
pub struct Leases {
    ttl_seconds_min: i64,
    leases: BTreeMap<LeaseId, Held>,
    keys: BTreeMap<Bytes, LeaseId>,
}

/// A lease and what hangs on it.
#[derive(Debug)]
struct Held {
    lease: Lease,
    keys: BTreeSet<Bytes>,
}

/// What metrics show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Leases there are.
    pub leases: usize,
    /// Keys that hang on one.
    pub keys: usize,
}

/// What applied entries do.
impl Leases {
    /// The leases found in the store. Times to live below the minimum are raised. Attach the keys afterwards
    /// with [`Leases::attach`].
    pub fn new(ttl_seconds_min: i64, leases: impl IntoIterator<Item = Lease>) -> Leases {
        let raised = leases.into_iter().map(|lease| {
            let ttl_seconds = lease.ttl_seconds.max(ttl_seconds_min);
            (lease.id, Held { lease: Lease { ttl_seconds, ..lease }, keys: BTreeSet::new() })
        });
        Leases { ttl_seconds_min, leases: raised.collect(), keys: BTreeMap::new() }
    }

    /// Grants a lease and returns it as it is to be stored, its time to live raised if too short.
    ///
    /// # Errors
    /// LeaseNotFound for id 0, LeaseTTLTooLarge, LeaseExist.
    pub fn grant(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<Lease, Refusal> {
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        if TTL_SECONDS_MAX < ttl_seconds {
            return Err(Refusal::LeaseTTLTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExist);
        }
        let ttl_seconds = ttl_seconds.max(self.ttl_seconds_min);
        let lease = Lease { id, ttl_seconds, remaining_seconds: 0 };
        self.leases.insert(id, Held { lease, keys: BTreeSet::new() });
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
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Option<Lease> {
        let held = self.leases.get_mut(&checkpoint.id)?;
        held.lease.remaining_seconds = checkpoint.remaining_seconds;
        Some(held.lease)
    }

    fn held(&mut self, id: LeaseId) -> &mut Held {
        self.leases.get_mut(&id).expect("keys hang on leases that exist")
    }
}

/// Questions, on any member.
impl Leases {
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

    /// The same from the first key behind one (from the first of all for `None`).
    pub fn keys_after(&self, id: LeaseId, key: Option<&[u8]>) -> impl Iterator<Item = &Bytes> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let held = self.leases.get(&id).into_iter();
        held.flat_map(move |held| held.keys.range::<[u8], _>((from, Bound::Unbounded)))
    }

    /// Every lease as it is stored, by id.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        self.leases.values().map(|held| held.lease)
    }

    /// The leases behind an id (all of them for `None`), by id.
    pub fn after(&self, id: Option<LeaseId>) -> impl Iterator<Item = Lease> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.leases.range((from, Bound::Unbounded)).map(|(_, held)| held.lease)
    }

    /// Figures for the metrics.
    pub fn sizes(&self) -> Sizes {
        Sizes { leases: self.leases.len(), keys: self.keys.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Leases {
        Leases::new(2, [])
    }

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn grants_are_refused_in_etcds_words() {
        let mut leases = none();
        assert_eq!(leases.grant(0, 10), Err(Refusal::LeaseNotFound));
        assert_eq!(leases.grant(1, TTL_SECONDS_MAX + 1), Err(Refusal::LeaseTTLTooLarge));
        assert!(leases.grant(1, TTL_SECONDS_MAX).is_ok());
        assert_eq!(leases.grant(1, 10), Err(Refusal::LeaseExist));
        assert!(leases.grant(-1, 10).is_ok(), "a client may choose a negative id");
    }

    #[test]
    fn a_short_time_to_live_is_raised_at_the_grant_and_when_it_is_loaded() {
        let mut granted = none();
        for (id, ttl_seconds) in [(1, i64::MIN), (2, 0), (3, 1)] {
            let lease = Lease { id, ttl_seconds: 2, remaining_seconds: 0 };
            assert_eq!(granted.grant(id, ttl_seconds), Ok(lease));
        }
        let row = Lease { id: 1, ttl_seconds: 1, remaining_seconds: 0 };
        let loaded = Leases::new(5, [row]);
        assert_eq!(loaded.lease(1).map(|lease| lease.ttl_seconds), Some(5));
    }

    #[test]
    fn a_revoke_returns_the_keys_in_byte_order_and_forgets_them() {
        let mut leases = none();
        leases.grant(1, 10).expect("new");
        for text in ["b", "a", "c"] {
            leases.attach(1, &key(text)).expect("the lease is there");
        }
        assert_eq!(leases.revoke(1), Ok(vec![key("a"), key("b"), key("c")]));
        assert_eq!(leases.lease_of(b"a"), None);
        assert_eq!(leases.revoke(1), Err(Refusal::LeaseNotFound));
    }

    #[test]
    fn a_key_hangs_on_one_lease_at_most() {
        let mut leases = none();
        leases.grant(1, 10).expect("new");
        leases.grant(2, 10).expect("new");
        leases.attach(1, &key("a")).expect("there");
        leases.attach(2, &key("a")).expect("there");
        assert_eq!(leases.attach(3, &key("a")), Err(Refusal::LeaseNotFound));
        assert_eq!(leases.lease_of(b"a"), Some(2));
        assert_eq!(leases.revoke(1), Ok(vec![]));
        leases.detach(b"a");
        assert_eq!(leases.keys(2).count(), 0);
        assert_eq!(leases.sizes().keys, 0);
    }
}

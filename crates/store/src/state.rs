//! The small state in memory: leases, users, roles, members, alarms, meta.

use bytes::Bytes;

use crate::{Bucket, StateChange};

/// An ordered map from bucket and key to value. A clone is cheap: it shares everything until one of
/// the two changes.
#[derive(Clone, Debug, Default)]
pub struct State {}

impl State {
    /// The value of `key`.
    pub fn get(&self, _bucket: Bucket, _key: &[u8]) -> Option<&Bytes> {
        todo!()
    }

    /// All keys of a bucket with their values, in key order.
    pub fn iter(&self, _bucket: Bucket) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        std::iter::from_fn(|| todo!())
    }

    /// How many keys there are, in all buckets.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it would take as a file, in bytes.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    #[allow(dead_code)]
    pub(crate) fn apply(&mut self, _change: &StateChange) {
        todo!()
    }
}

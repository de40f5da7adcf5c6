//! Making the log durable, on a thread that may wait for the disk.

use crate::StoreError;

/// A promise to sync everything flushed so far. May be carried to any thread.
#[derive(Debug)]
pub struct SyncHandle {}

/// What became durable. Goes back to [`crate::Store::synced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "hand it to Store::synced"]
pub struct Synced {
    /// Every entry up to this one is durable.
    pub index: u64,
}

impl SyncHandle {
    /// Syncs, then records durably how far the log is durable, so that a restart can tell a torn tail from
    /// damage.
    ///
    /// # Errors
    /// When a sync fails. That is final: the process stops.
    pub fn sync(self) -> Result<Synced, StoreError> {
        todo!()
    }
}

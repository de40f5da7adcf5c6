//! Cleaning: sparse segments are rewritten without their dead rows, small neighbours merged.

use crate::StoreError;

/// One round of cleaning, begun by [`crate::Store::begin_clean`]: reads old segments, writes one new one.
/// May run on any thread while the store goes on. Hand it to [`crate::Store::finish_clean`] when it is done,
/// or to [`crate::Store::abandon_clean`] when it failed.
#[derive(Debug)]
pub struct Cleaning {}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanProgress {
    /// Call again.
    More,
    /// Nothing left: this round is complete, or the store is clean.
    Done,
}

impl Cleaning {
    /// Works through about `budget_bytes` of rows. The first step syncs the log, the last one syncs the
    /// new segment and exchanges the files.
    ///
    /// # Errors
    /// When the disk refuses or a row is damaged. Nothing is lost then: the old segments stay.
    pub fn step(&mut self, _budget_bytes: usize) -> Result<CleanProgress, StoreError> {
        todo!()
    }
}

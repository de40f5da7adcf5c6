//! The index checkpoint: an image made by `mvcc`, opaque to us, so that a restart need not read every key.

use bytes::Bytes;

use crate::StoreError;

/// An intact image found at start.
#[derive(Debug)]
pub struct Checkpoint {
    /// The revision it covers: rows after it are to be restored on top.
    pub revision: i64,
    /// The applied index at the time it was begun.
    pub index: u64,
}

impl Checkpoint {
    /// The image, in pieces as it was written. The file was verified as a whole when the store was opened.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Bytes, StoreError>> + '_ {
        std::iter::from_fn(|| todo!())
    }
}

/// Writes an image on any thread. Dropped without [`CheckpointWriter::commit`], it leaves the former
/// checkpoint in place.
#[derive(Debug)]
pub struct CheckpointWriter {}

/// A checkpoint that is in place, to be handed to [`crate::Store::finish_checkpoint`].
#[derive(Debug)]
#[must_use = "hand it to Store::finish_checkpoint"]
pub struct CheckpointDone {}

impl CheckpointWriter {
    /// Writes the next piece.
    ///
    /// # Errors
    /// When the disk refuses; then drop the writer.
    pub fn write(&mut self, _chunk: &[u8]) -> Result<(), StoreError> {
        todo!()
    }

    /// Syncs the log up to where the image was taken, then the image, and puts it in the place of the
    /// former one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn commit(self) -> Result<CheckpointDone, StoreError> {
        todo!()
    }
}

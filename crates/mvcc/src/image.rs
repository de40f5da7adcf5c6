//! The index as bytes: a checkpoint that a restart loads instead of reading every row.

use bytes::Bytes;

use crate::Restore;

/// Writes a view as chunks. An iterator, so the store can write one chunk at a time.
#[derive(Debug)]
pub struct ImageWriter {}

impl ImageWriter {
    /// The revision the image covers: rows after it are to be restored on top.
    pub fn revision(&self) -> i64 {
        todo!()
    }
}

impl Iterator for ImageWriter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        todo!()
    }
}

/// Reads an image back, fed with bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct ImageReader {}

/// Bytes that are not an image, or not an undamaged one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("index image is damaged at byte {offset}: {what}")]
pub struct ImageError {
    /// Where in the image.
    pub offset: u64,
    /// What was found there.
    pub what: &'static str,
}

impl ImageReader {
    /// Nothing read yet.
    pub fn new() -> ImageReader {
        todo!()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ImageError`] as soon as the image cannot be right.
    pub fn feed(&mut self, _bytes: &[u8]) -> Result<(), ImageError> {
        todo!()
    }

    /// The image is complete; rows after [`Restore::revision`] may follow.
    ///
    /// # Errors
    /// [`ImageError`] when something is missing.
    pub fn finish(self) -> Result<Restore, ImageError> {
        todo!()
    }
}

//! How the reader gets at bytes: anything with a length that can be read from any place.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// A file, or what stands for one. Cheap to clone, so that each cursor can own its handle.
pub trait ReadAt: Clone {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// The file's own; `UnexpectedEof` when it ends earlier.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// How long the file is, in bytes.
    ///
    /// # Errors
    /// The file's own.
    fn file_bytes(&self) -> io::Result<u64>;
}

impl ReadAt for Arc<dyn vfs::File> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        vfs::File::read_exact_at(&**self, buffer, offset)
    }

    fn file_bytes(&self) -> io::Result<u64> {
        vfs::File::len(&**self)
    }
}

impl ReadAt for Bytes {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let found = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

//! The disk, as everybody below the shells sees it: the only door to files, and the only crate that
//! names `std::fs`.
//!
//! Two disks stand behind the door. [`OsDisk`] is the operating system's. [`MemoryDisk`] lives in
//! memory, counts what changes it, fails where a test says so and can show what a machine would find
//! after a power cut: writes that were not synced lost, torn or reordered, names that were not synced
//! missing.
//!
//! What the door promises, and nothing more: bytes are durable after [`File::sync_data`], names are
//! durable after [`Disk::sync_dir`]. Every caller must be right on a disk that forgets all else.
//!
//! An error of `sync_data` is final for its file: the kernel may have dropped the pages, so trying
//! again can succeed without the bytes being there. Callers stop the process.

mod bulk;
mod memory;
mod os;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use bulk::BulkDisk;
pub use memory::{CrashPolicy, FaultKind, Faults, MemoryDisk};
pub use os::OsDisk;

/// The unit a disk writes as a whole: what a torn write is torn at.
pub const SECTOR_BYTES: u64 = 512;

/// A place with directories and files.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Makes `dir` and its missing parents, mode 0700, durably. No error if it exists.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes a new file, mode 0600, open for reading and writing. Its name is not durable yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file or directory another name, replacing a file of that name atomically. Not durable
    /// yet: see [`replace_durably`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Not durable yet.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the creates, renames and removes in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Locks the file at `path` against other processes, making it if absent, until the answer is
    /// dropped. `None` if somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// How much room the file system that holds `dir` has.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// An open file. Clones of the `Arc` may be used from several threads.
pub trait File: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes from `offset`; 0 only at or past the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`, growing the file if needed. After an error any part of them
    /// may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, with the length. Any error is final (see the crate's story).
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Says that nothing is going to be written any more. What was held for the sake of writing (a thread, a second
    /// descriptor) is let go; a later write is still taken.
    fn finished(&self) -> io::Result<()> {
        Ok(())
    }

    /// How many names the file has: 0 once it is removed, more than 1 where somebody linked it elsewhere. Whoever is
    /// about to destroy what an open file holds asks first. 1 where nobody knows better.
    fn links(&self) -> io::Result<u64> {
        Ok(1)
    }

    /// Cuts the file, or extends it with zeros that need not be allocated.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Writes zeros over `from..to`, growing the file if needed, so that a later write there neither
    /// allocates nor changes the length and its sync has only data to write.
    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()>;
}

/// A lock on a file, held until dropped.
pub trait Lock: Send + Sync + Debug {}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use, in bytes.
    pub available_bytes: u64,
    /// All there is, in bytes.
    pub total_bytes: u64,
}

/// Gives `from` the name `to`, replacing what was there, and returns when that is durable.
///
/// Everyone who renames uses this: a rename whose directory was not synced can be undone by a power
/// cut long after the caller went on.
pub fn replace_durably(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    if planted::planted!("rename not made durable") {
        return Ok(());
    }
    disk.sync_dir(parent(to))?;
    if parent(from) == parent(to) { Ok(()) } else { disk.sync_dir(parent(from)) }
}

/// The directory that holds `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// The whole content of a file that is known to be small.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open_read(path)?;
    let bytes = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut content = vec![0; bytes];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

//! Where the database of a received snapshot goes until raft has it: a file, synced, that gets its name last.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vfs::{Disk, File};

/// Makes files for snapshots. Called on threads of their own, which may wait for a disk.
pub trait Spool: Send + Sync + 'static {
    /// Begins a file for the snapshot at this index.
    ///
    /// # Errors
    /// What the disk says.
    fn begin(&self, index: u64) -> io::Result<Box<dyn Spooling>>;
}

/// A file being written. Dropped before [`Spooling::finish`], it leaves nothing behind.
pub trait Spooling: Send {
    /// Appends.
    ///
    /// # Errors
    /// What the disk says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file durable, then gives it its name.
    ///
    /// # Errors
    /// What the disk says.
    fn finish(self: Box<Self>) -> io::Result<PathBuf>;
}

/// Files `<index, 16 hex digits>.snap.db` in a directory, as etcd names them.
#[derive(Debug)]
pub struct DiskSpool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    begun: AtomicU64,
}

impl DiskSpool {
    /// Files in this directory, which is made with the first.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> DiskSpool {
        DiskSpool { disk, dir, begun: AtomicU64::new(0) }
    }
}

impl Spool for DiskSpool {
    fn begin(&self, index: u64) -> io::Result<Box<dyn Spooling>> {
        self.disk.create_dir_all(&self.dir)?;
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            let temporary = self.dir.join(format!("tmp{number:016x}.snap.db"));
            match self.disk.create(&temporary) {
                // Left behind by a process that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.disk.remove(&temporary)?;
                }
                Err(error) => return Err(error),
                Ok(file) => {
                    return Ok(Box::new(DiskSpooling {
                        disk: self.disk.clone(),
                        file,
                        name: self.dir.join(format!("{index:016x}.snap.db")),
                        temporary,
                        written: 0,
                        synced: 0,
                        named: false,
                    }));
                }
            }
        }
    }
}

/// Written in the background so often that the sync at the end is short: the sender waits for it.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;

struct DiskSpooling {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    name: PathBuf,
    temporary: PathBuf,
    written: u64,
    synced: u64,
    named: bool,
}

impl Spooling for DiskSpooling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<PathBuf> {
        self.file.sync_data()?;
        vfs::replace_durably(&*self.disk, &self.temporary, &self.name)?;
        self.named = true;
        Ok(self.name.clone())
    }
}

impl Drop for DiskSpooling {
    fn drop(&mut self) {
        if !self.named {
            // If it cannot be removed now, the next one of its number will be tried.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vfs::MemoryDisk;

    use super::*;

    #[test]
    fn a_file_gets_its_name_when_it_is_whole_and_leaves_nothing_otherwise() {
        let disk = Arc::new(MemoryDisk::new());
        let dir = Path::new("/snap");
        let spool = DiskSpool::new(disk.clone(), dir.to_path_buf());
        let mut broken = spool.begin(0xab).unwrap();
        broken.write(b"half").unwrap();
        drop(broken);
        assert_eq!(disk.list(dir).unwrap(), Vec::<String>::new());
        let mut whole = spool.begin(0xab).unwrap();
        whole.write(b"a data").unwrap();
        whole.write(b"base").unwrap();
        let path = whole.finish().unwrap();
        assert_eq!(path, dir.join("00000000000000ab.snap.db"));
        assert_eq!(vfs::read_all(&*disk, &path).unwrap(), b"a database");
        assert_eq!(disk.list(dir).unwrap().len(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_no_obstacle() {
        let disk = Arc::new(MemoryDisk::new());
        let dir = Path::new("/snap");
        disk.create_dir_all(dir).unwrap();
        disk.create(&dir.join("tmp0000000000000000.snap.db")).unwrap();
        let spool = DiskSpool::new(disk.clone(), dir.to_path_buf());
        spool.begin(1).unwrap().finish().unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["0000000000000001.snap.db"]);
    }
}

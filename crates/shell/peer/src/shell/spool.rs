//! Where the database of a received snapshot goes until raft has it: a file, synced, that gets its name last.
//!
//! Always true: a file with its name has one owner, the message that came with it. Where the name is taken nothing else
//! gets it, so whoever decides that the message is of no use may remove the file.
//!
//! Bounds: four files at once, begun and whole ones together; and none grows into the last of the disk's room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vfs::{Disk, File};

/// Makes files for snapshots. Called on threads of their own, which may wait for a disk.
pub trait Spool: Send + Sync + 'static {
    /// Begins a file for the snapshot at this index.
    ///
    /// # Errors
    /// What the disk says.
    fn begin(&self, index: u64) -> io::Result<Box<dyn Spooling>>;

    /// Removes a whole file whose message found nobody.
    fn forget(&self, path: &Path);
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
    /// What the disk says, and `AlreadyExists` where another file has the name.
    fn finish(self: Box<Self>) -> io::Result<PathBuf>;
}

/// Files `<index, 16 hex digits>.snap.db` in a directory, as etcd names them.
#[derive(Debug)]
pub struct DiskSpool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    begun: AtomicU64,
    /// Held by whoever gives a file its name.
    naming: Arc<Mutex<()>>,
}

/// Files at once, begun and whole ones together. Each waits for little: the whole ones for raft and for being taken
/// over, one at a time.
const FILES_MAX: usize = 4;
/// Of the disk's room so much is left for everything else: a share, and that much at most.
const ROOM_SHARE: u64 = 16;
const ROOM_BYTES_MAX: u64 = 256 << 20;

impl DiskSpool {
    /// Files in this directory, which is made with the first.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> DiskSpool {
        DiskSpool { disk, dir, begun: AtomicU64::new(0), naming: Arc::default() }
    }
}

impl Spool for DiskSpool {
    fn begin(&self, index: u64) -> io::Result<Box<dyn Spooling>> {
        self.disk.create_dir_all(&self.dir)?;
        let there = self.disk.list(&self.dir)?;
        if FILES_MAX <= there.iter().filter(|name| name.ends_with(ENDING)).count() {
            return Err(io::Error::other("enough snapshots are there already"));
        }
        look_for_room(&*self.disk, &self.dir)?;
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            let temporary = self.dir.join(format!("tmp{number:016x}{ENDING}"));
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
                        name: self.dir.join(format!("{index:016x}{ENDING}")),
                        naming: self.naming.clone(),
                        temporary,
                        written: 0,
                        synced: 0,
                        named: false,
                    }));
                }
            }
        }
    }

    fn forget(&self, path: &Path) {
        // If it cannot be removed now, the next start does so.
        let _ = self.disk.remove(path);
    }
}

const ENDING: &str = ".snap.db";

/// What is left of the disk's room belongs to others.
fn look_for_room(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    // A disk that does not say has as much as it takes.
    let Ok(space) = disk.space(dir) else { return Ok(()) };
    if space.available_bytes < (space.total_bytes / ROOM_SHARE).min(ROOM_BYTES_MAX) {
        let full = "the disk has too little room left for a snapshot";
        return Err(io::Error::new(io::ErrorKind::StorageFull, full));
    }
    Ok(())
}

/// Written in the background so often that the sync at the end is short: the sender waits for it.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;
/// After so many it is seen whether there is room for more.
const ROOM_EVERY_BYTES: u64 = 16 * 1024 * 1024;

struct DiskSpooling {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    name: PathBuf,
    naming: Arc<Mutex<()>>,
    temporary: PathBuf,
    written: u64,
    synced: u64,
    named: bool,
}

impl Spooling for DiskSpooling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        let before = self.written;
        self.written += bytes.len() as u64;
        if before / ROOM_EVERY_BYTES < self.written / ROOM_EVERY_BYTES {
            look_for_room(&*self.disk, self.name.parent().unwrap_or(Path::new(".")))?;
        }
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<PathBuf> {
        self.file.sync_data()?;
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if self.disk.exists(&self.name)? {
            let there = "this snapshot is there already";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, there));
        }
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
    fn a_name_that_is_taken_is_given_to_no_other_file() {
        let disk = Arc::new(MemoryDisk::new());
        let spool = DiskSpool::new(disk.clone(), "/snap".into());
        let (first, mut second) = (spool.begin(1).unwrap(), spool.begin(1).unwrap());
        second.write(b"other").unwrap();
        let path = first.finish().unwrap();
        let refused = second.finish().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(vfs::read_all(&*disk, &path).unwrap(), b"", "the first has the name");
        assert_eq!(disk.list(Path::new("/snap")).unwrap().len(), 1);
        spool.forget(&path);
        spool.begin(1).unwrap().finish().unwrap();
    }

    #[test]
    fn files_are_bounded_in_number_and_by_the_disks_room() {
        let disk = Arc::new(MemoryDisk::new());
        let spool = DiskSpool::new(disk.clone(), "/snap".into());
        let begun: Vec<_> =
            (0..FILES_MAX as u64).map(|index| spool.begin(index).unwrap()).collect();
        assert!(spool.begin(9).is_err(), "enough are there");
        drop(begun);
        let mut growing = spool.begin(9).unwrap();
        let room = 2 * ROOM_EVERY_BYTES + (1 << 20);
        disk.set_faults(vfs::Faults { capacity_bytes: Some(room), ..Default::default() });
        let mebibyte = vec![0; 1 << 20];
        let mut written = 0;
        let refused = loop {
            match growing.write(&mebibyte) {
                Ok(()) => written += mebibyte.len() as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(written < room, "some is left: {written}");
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

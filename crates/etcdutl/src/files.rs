//! Opening what the command line names, and keeping a running server out meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolt::Backend;
use vfs::{BulkDisk, Disk, Lock, OsDisk};

use crate::cli::Failure;

/// A database with the lock that keeps others from writing it.
pub struct Locked {
    pub backend: Backend<Arc<dyn vfs::File>>,
    /// `None` where this process may not lock: a file it can only read.
    _lock: Option<Box<dyn Lock>>,
}

/// A disk for large files: what waits for it does so on a thread of its own.
pub const BULK: BulkDisk = BulkDisk::beside(on_a_thread);

fn on_a_thread(work: Box<dyn FnOnce() + Send>) -> bool {
    std::thread::Builder::new().name("writer".into()).spawn(work).is_ok()
}

/// The database within a data directory of Go etcd.
pub fn database(data_dir: &str) -> PathBuf {
    Path::new(data_dir).join("member").join("snap").join("db")
}

/// The log within a data directory, of any etcd.
pub fn log_dir(data_dir: impl AsRef<Path>) -> PathBuf {
    data_dir.as_ref().join("member").join("wal")
}

/// The store within a data directory of our own server.
pub fn store_dir(data_dir: &str) -> PathBuf {
    Path::new(data_dir).join("member").join("store")
}

/// Opens a file for reading in the words of `stat`.
pub fn open(path: &Path) -> Result<Arc<dyn vfs::File>, Failure> {
    let opened = OsDisk.open_read(path);
    let file = opened.map_err(|error| {
        Failure::new(format!("stat {}: {}", path.display(), go::io_text(&error)))
    })?;
    // A directory can be opened, and then not be read.
    let first = file.read_at(&mut [0], 0);
    first.map_err(|error| {
        Failure::new(format!("read {}: {}", path.display(), go::io_text(&error)))
    })?;
    Ok(file)
}

/// Opens a database and waits until no server has it. Zero waits for ever.
pub fn open_locked(path: &Path, timeout: Duration) -> Result<Locked, Failure> {
    let file = open(path)?;
    let lock = lock(path, timeout)?;
    let backend = Backend::open(file);
    let named = |error| Failure::new(format!("{}: {}", path.display(), go::chain(&error)));
    Ok(Locked { backend: backend.map_err(named)?, _lock: lock })
}

/// A lock on a file that exists.
pub fn lock(path: &Path, timeout: Duration) -> Result<Option<Box<dyn Lock>>, Failure> {
    const TRY_EVERY: Duration = Duration::from_millis(50);
    let started = Instant::now();
    loop {
        match OsDisk.lock(path) {
            Ok(Some(lock)) => return Ok(Some(lock)),
            // Whoever may not write the file may not lock it either. Reading does it no harm.
            Err(_) => return Ok(None),
            Ok(None) if timeout.is_zero() || started.elapsed() < timeout => {
                std::thread::sleep(TRY_EVERY);
            }
            Ok(None) => {
                let path = path.display();
                return Err(Failure::new(format!("timeout: {path} is in use by another process")));
            }
        }
    }
}

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
    if let Some(what) = told_apart(&file) {
        return Err(Failure::new(format!("{} is {what}", path.display())));
    }
    Ok(file)
}

/// What a file is that is no whole database, where its beginning tells. Of `snapshot.db.gz` people are told
/// "missing hash" by etcdutl.
fn told_apart(file: &Arc<dyn vfs::File>) -> Option<String> {
    const MAGIC: u32 = 0xed0c_daed;
    let mut head = [0; 512];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    let starts = |bytes: &[u8]| head.starts_with(bytes);
    let packed = |what: &str| Some(format!("{what}, not a database: unpack it first"));
    if starts(&[0x1f, 0x8b]) {
        return packed("a gzip file");
    } else if starts(b"PK\x03\x04") {
        return packed("a zip file");
    } else if starts(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return packed("a zstd file");
    } else if starts(b"\xfd7zXZ\0") {
        return packed("an xz file");
    } else if starts(b"BZh") {
        return packed("a bzip2 file");
    } else if head.get(257..262) == Some(b"ustar") {
        return packed("a tar file");
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if head.len() >= 16 && head.iter().all(printable) {
        return Some("a text, not a database".to_owned());
    }
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    if word(16)? != MAGIC {
        return None;
    }
    // The first of the two roots; the other one may speak of a page or two more.
    let (page_bytes, pages) = (word(24)?, long(56)?);
    let wanted = pages.checked_mul(page_bytes.into())?;
    let found = file.len().ok()?;
    (found < wanted / 2)
        .then(|| format!("cut short: it has {found} bytes and its own account speaks of {wanted}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, bytes).expect("it can be written");
        let file = OsDisk.open_read(&path).expect("it is there");
        assert_eq!(told_apart(&file).as_deref(), expected);
    }

    #[test]
    fn what_is_no_database_is_told_by_its_beginning() {
        check(b"\x1f\x8b\x08\0", Some("a gzip file, not a database: unpack it first"));
        check(b"PK\x03\x04....", Some("a zip file, not a database: unpack it first"));
        check(b"<html>\n<body>404</body>\n", Some("a text, not a database"));
        check(b"", None);
        check(&[0; 600], None);
        let mut database = vec![0; 4096];
        database[16..20].copy_from_slice(&0xed0c_daedu32.to_le_bytes());
        database[24..28].copy_from_slice(&4096u32.to_le_bytes());
        database[56..64].copy_from_slice(&5u64.to_le_bytes());
        let cut = "cut short: it has 4096 bytes and its own account speaks of 20480";
        check(&database, Some(cut));
        database.resize(5 * 4096, 0);
        check(&database, None);
    }
}

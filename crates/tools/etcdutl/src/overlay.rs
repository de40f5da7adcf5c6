//! A disk that is only read: what is written to it stays in memory and is gone afterwards.
//!
//! Opening a store mends what a crash left. Whoever only wants to look opens it on this disk: the store
//! believes that everything was mended, and the directory stays as it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfs::{Disk, File, Lock, OsDisk, Space};

/// The operating system's disk under a sheet of glass.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Files that were opened, made or renamed; `None` where one was removed.
    files: Mutex<BTreeMap<PathBuf, Option<Arc<Sheet>>>>,
}

/// One file, and what was written on it.
#[derive(Debug)]
struct Sheet {
    below: Option<Arc<dyn File>>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: u64,
    /// How much of the file below still shows.
    below_bytes: u64,
    /// In the order they were written: later ones cover earlier ones.
    pieces: Vec<(u64, Vec<u8>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Overlay {
    fn sheet(&self, path: &Path) -> io::Result<Arc<Sheet>> {
        let mut files = locked(&self.files);
        if let Some(known) = files.get(path) {
            return known.clone().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let below = OsDisk.open_read(path)?;
        let bytes = below.len()?;
        let written = Mutex::new(Written { bytes, below_bytes: bytes, pieces: Vec::new() });
        let sheet = Arc::new(Sheet { below: Some(below), written });
        files.insert(path.to_owned(), Some(sheet.clone()));
        Ok(sheet)
    }
}

impl Disk for Overlay {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if self.exists(path)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let sheet = Arc::new(Sheet { below: None, written: Mutex::default() });
        locked(&self.files).insert(path.to_owned(), Some(sheet.clone()));
        Ok(sheet)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.sheet(path)?)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.sheet(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let sheet = self.sheet(from)?;
        let mut files = locked(&self.files);
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(sheet));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.files).insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = OsDisk.list(dir)?;
        for (path, sheet) in locked(&self.files).iter() {
            let Some(name) = path.strip_prefix(dir).ok().and_then(Path::to_str) else { continue };
            names.retain(|known| known != name);
            if sheet.is_some() && !name.contains('/') {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match locked(&self.files).get(path) {
            Some(known) => Ok(known.is_some()),
            None => OsDisk.exists(path),
        }
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        OsDisk.space(dir)
    }
}

impl File for Sheet {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let written = locked(&self.written);
        let count = (buffer.len() as u64).min(written.bytes.saturating_sub(offset)) as usize;
        let buffer = &mut buffer[..count];
        buffer.fill(0);
        let shown = (count as u64).min(written.below_bytes.saturating_sub(offset)) as usize;
        if let Some(below) = self.below.as_ref().filter(|_| shown > 0) {
            below.read_exact_at(&mut buffer[..shown], offset)?;
        }
        let end = offset + count as u64;
        for (at, bytes) in &written.pieces {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                let piece = &bytes[(from - at) as usize..(to - at) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = locked(&self.written);
        written.bytes = written.bytes.max(offset + bytes.len() as u64);
        written.pieces.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.written).bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut written = locked(&self.written);
        written.bytes = bytes;
        written.below_bytes = written.below_bytes.min(bytes);
        for (at, piece) in &mut written.pieces {
            piece.truncate(bytes.saturating_sub(*at) as usize);
        }
        Ok(())
    }

    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        self.write_all_at(&vec![0; to.saturating_sub(from) as usize], from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_never_reaches_the_directory() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, b"0123456789").expect("room");
        let disk = Overlay::default();
        let file = disk.open(&one).expect("it is there");
        file.write_all_at(b"ab", 4).expect("memory");
        file.set_len(7).expect("memory");
        file.write_all_at(b"z", 9).expect("memory");
        let mut found = [9; 20];
        let count = disk.open_read(&one).expect("the same").read_at(&mut found, 1).expect("memory");
        assert_eq!(&found[..count], b"123ab6\0\0z");
        disk.rename(&one, &two).expect("memory");
        disk.create(&one.with_extension("new")).expect("memory");
        assert_eq!(disk.list(folder.path()).expect("a folder"), ["one.new", "two"]);
        assert!(disk.open(&one).is_err());
        assert_eq!(OsDisk.list(folder.path()).expect("a folder"), ["one"]);
        assert_eq!(std::fs::read(&one).expect("it is there"), b"0123456789");
    }
}

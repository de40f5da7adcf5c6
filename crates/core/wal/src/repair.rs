//! Making the last segment end where its last whole record ends.
//!
//! Behind that place stands nothing that was ever synced: the torn record, or sectors of a write of
//! which the first was lost. It must be gone, durably, before anything is appended: new records over
//! old remains would look like damage after the next power cut. The file is cut, not overwritten, which
//! takes no time however long it is; space ahead is zeroed again step by step.
//!
//! And what was read is synced before anybody builds on it: after a process was killed its last writes
//! are read back from the cache, though no disk has them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfs::{Disk, File};

use crate::Repair;
use crate::error::OpenError;
use crate::replay::Replay;

const COPY_BYTES: usize = 1 << 20;

/// Opens the last segment for appending at `replay.end`. A torn record is kept in a copy first, as
/// etcd does, for whoever wants to know what it was.
pub(crate) fn open_tail(
    disk: &dyn Disk,
    path: &Path,
    replay: &Replay,
) -> Result<(Arc<dyn File>, Option<Repair>), OpenError> {
    let fault = |attempt, path: &Path, source| OpenError::Io {
        attempt,
        path: path.to_owned(),
        offset: replay.end,
        source,
    };
    let repaired = if replay.torn {
        let copy = broken_name(path);
        copy_durably(disk, path, &copy).map_err(|source| fault("copying to", &copy, source))?;
        Some(Repair { file: path.to_owned(), offset: replay.end, copy })
    } else {
        None
    };
    let file = disk.open(path).map_err(|source| fault("opening", path, source))?;
    settle(&*file, replay.end).map_err(|source| fault("cutting", path, source))?;
    let dir = vfs::parent(path);
    disk.sync_dir(dir).map_err(|source| fault("syncing", dir, source))?;
    Ok((file, repaired))
}

fn settle(file: &dyn File, end: u64) -> io::Result<()> {
    if end < file.len()? {
        file.set_len(end)?;
    }
    file.sync_data()
}

fn broken_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".broken");
    name.into()
}

/// Replaces an older copy: a power cut may have ended the last attempt.
fn copy_durably(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    if disk.exists(to)? {
        disk.remove(to)?;
    }
    let (source, target) = (disk.open_read(from)?, disk.create(to)?);
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let count = source.read_at(&mut buffer, at)?;
        if count == 0 {
            break;
        }
        target.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    target.sync_data()?;
    disk.sync_dir(vfs::parent(to))
}

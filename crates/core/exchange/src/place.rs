//! The place of a store: where one is built beside the one there is, and how it gets that one's name.
//!
//! | name | what it is | a start |
//! |---|---|---|
//! | `store.tmp` | half built | throws it away |
//! | `store.new` | complete and synced | puts it in the store's place ([`exchange_stores`]) |
//! | `store.old` | what it replaced | throws it away |

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfs::{Disk, replace_durably};

/// The system refused something.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path} failed")]
pub struct PlaceError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Builds a store beside `store_dir` with what `write` does. It is complete and synced when it is called `store.new`;
/// one of that name, from an earlier attempt, must have been exchanged before.
///
/// # Errors
/// `write`'s and the disk's; what is left is thrown away by the next attempt.
pub fn build_beside<T, E: From<PlaceError>>(
    disk: &Arc<dyn Disk>,
    store_dir: &Path,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let (half, whole) = (beside(store_dir, ".tmp"), beside(store_dir, ".new"));
    empty(disk, &half)?;
    let written = write(&half)?;
    io("renaming to", &whole, replace_durably(&**disk, &half, &whole))?;
    Ok(written)
}

/// Whether there is a `store.new`: complete, and waiting to take the store's place.
///
/// # Errors
/// The disk's.
pub fn is_built(disk: &Arc<dyn Disk>, store_dir: &Path) -> Result<bool, PlaceError> {
    let whole = beside(store_dir, ".new");
    io("looking at", &whole, disk.exists(&whole))
}

/// Puts `store.new`, if there is one, in the place of the store. Whether there was one.
///
/// # Errors
/// The disk's.
pub fn exchange_stores(disk: &Arc<dyn Disk>, store_dir: &Path) -> Result<bool, PlaceError> {
    let (whole, old) = (beside(store_dir, ".new"), beside(store_dir, ".old"));
    if !is_built(disk, store_dir)? {
        return Ok(false);
    }
    if io("looking at", store_dir, disk.exists(store_dir))? {
        empty(disk, &old)?;
        io("renaming to", &old, replace_durably(&**disk, store_dir, &old))?;
    }
    io("renaming to", store_dir, replace_durably(&**disk, &whole, store_dir))?;
    Ok(true)
}

/// Throws away what is half built, and what was replaced.
///
/// # Errors
/// The disk's.
pub fn discard_stores(disk: &Arc<dyn Disk>, store_dir: &Path) -> Result<(), PlaceError> {
    empty(disk, &beside(store_dir, ".tmp"))?;
    empty(disk, &beside(store_dir, ".old"))
}

/// The name beside `store_dir` that ends so.
fn beside(store_dir: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(store_dir.as_os_str());
    name.push(ending);
    name.into()
}

/// Removes all files of a directory that may be there. The directory stays: it takes no room, and its name is used
/// again.
fn empty(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), PlaceError> {
    if !io("looking at", dir, disk.exists(dir))? {
        return Ok(());
    }
    for name in io("listing", dir, disk.list(dir))? {
        let path = dir.join(name);
        io("removing", &path, disk.remove(&path))?;
    }
    io("syncing", dir, disk.sync_dir(dir))
}

fn io<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, PlaceError> {
    result.map_err(|source| PlaceError { action, path: path.to_owned(), source })
}

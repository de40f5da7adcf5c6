//! Takes over a snapshot that another member sent: from its file to the store this member goes on with.
//!
//! Four steps, each of which a crash leaves so that the next start finishes it or throws it away:
//!
//! | done so far | what a start finds | it |
//! |---|---|---|
//! | the file is synced and named | `snap/INDEX.snap.db`, and no marker at INDEX | throws the file away |
//! | the log's marker is synced | the file and the marker | builds the store from the file ([`build`]) |
//! | the new store is synced, beside | `store.new` | exchanges the stores ([`exchange_stores`]) |
//! | the stores are exchanged | `store`, perhaps `store.old` and the file | throws the rest away |
//!
//! A store that is only half built is called `store.tmp`, and thrown away.
//!
//! Not here: who sends snapshots (see `peer`), whether raft takes one (see `consensus`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::Applier;
use bytes::Bytes;
use exchange::ImportError;
use exchange::place::{PlaceError, build_beside, discard_stores, exchange_stores};
use planted::planted;
use store::Store;
use types::ConfState;
use vfs::Disk;

use crate::{BootError, Stored};

/// Why a snapshot could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The system refused something.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its file is none that can be served.
    #[error("the snapshot at entry {index} cannot be taken over")]
    Import {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: ImportError,
    },
    /// Its message and its file name other members.
    #[error(
        "the snapshot at entry {index} names voters {said:x?} in its message and {held:x?} in its file"
    )]
    OtherMembers {
        /// The entry.
        index: u64,
        /// Voters, then learners.
        said: Vec<u64>,
        /// Voters, then learners.
        held: Vec<u64>,
    },
}

impl From<PlaceError> for InstallError {
    fn from(error: PlaceError) -> InstallError {
        let PlaceError { action, path, source } = error;
        InstallError::Io { action, path, source }
    }
}

/// The file of the snapshot at this entry.
pub fn spooled(snap_dir: &Path, index: u64) -> PathBuf {
    snap_dir.join(format!("{index:016x}.snap.db"))
}

/// Builds the store that a spooled file is, beside the one there is. It is complete and synced when it is called
/// `store.new`.
///
/// # Errors
/// [`InstallError`].
pub fn build(
    disk: &Arc<dyn Disk>,
    store_dir: &Path,
    snap_dir: &Path,
    at: &Stored,
    identity: Bytes,
) -> Result<(), InstallError> {
    build_beside(disk, store_dir, |half| {
        let file = spooled(snap_dir, at.index);
        let arrived = exchange::import(disk, &file, half, (at.index, at.term), Some(identity))
            .map_err(|source| InstallError::Import { index: at.index, source })?;
        if arrived.conf_state == at.conf_state {
            return Ok(());
        }
        let ids = |state: &ConfState| [&state.voters[..], &state.learners[..]].concat();
        let (said, held) = (ids(&at.conf_state), ids(&arrived.conf_state));
        Err(InstallError::OtherMembers { index: at.index, said, held })
    })
}

/// Throws away what no take-over needs any more: half a store, the old one, and spooled files, up to that of `through`
/// where one is named. Others may be on their way then: of a later snapshot, or of one that is being received.
///
/// # Errors
/// [`InstallError::Io`].
pub fn discard(
    disk: &Arc<dyn Disk>,
    store_dir: &Path,
    snap_dir: &Path,
    through: Option<u64>,
) -> Result<(), InstallError> {
    discard_stores(disk, store_dir)?;
    if !io("looking at", snap_dir, disk.exists(snap_dir))? {
        return Ok(());
    }
    for name in io("listing", snap_dir, disk.list(snap_dir))? {
        let Some(index) = name.strip_suffix(".snap.db") else { continue };
        let over = match (through, u64::from_str_radix(index, 16)) {
            (None, _) => true,
            (Some(through), Ok(index)) => index <= through,
            (Some(_), Err(_)) => false,
        };
        if over {
            let path = snap_dir.join(&name);
            io("removing", &path, disk.remove(&path))?;
        }
    }
    Ok(())
}

fn io<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, InstallError> {
    result.map_err(|source| InstallError::Io { action, path: path.to_owned(), source })
}

/// What it takes to go on with a snapshot in the place of a store.
#[derive(Clone, Debug)]
pub struct Installer {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The directory of the store.
    pub store_dir: PathBuf,
    /// Where snapshots arrive.
    pub snap_dir: PathBuf,
    /// Sizes of the store.
    pub store: store::Options,
    /// What entries are applied with.
    pub apply: apply::Config,
    /// The row that says whose the store is.
    pub identity: Bytes,
}

impl Installer {
    /// Takes over the snapshot at this entry, whose marker is synced. Nobody may write to the old store any more.
    ///
    /// # Errors
    /// [`BootError`]; the member must stop, and its next start tries again.
    pub fn install(&self, at: &Stored) -> Result<Applier, BootError> {
        let Installer { disk, store_dir, snap_dir, identity, .. } = self;
        build(disk, store_dir, snap_dir, at, identity.clone())?;
        exchange_stores(disk, store_dir).map_err(InstallError::from)?;
        let (store, restored) = Store::open(disk.clone(), store_dir, self.store.clone())?;
        let applier = Applier::open(self.apply.clone(), store, &restored)?;
        let through =
            if planted!("all snapshots thrown away with one") { None } else { Some(at.index) };
        discard(disk, store_dir, snap_dir, through)?;
        Ok(applier)
    }
}

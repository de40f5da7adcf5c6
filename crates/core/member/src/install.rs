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
//! Of a large state each step takes its time, so a member that runs has them done elsewhere, as [`InstallJob`]s: the
//! second while it goes on with its old store in every respect but new entries, the last two once nothing else works
//! on that. Readers keep the old files open, whatever they are called.
//!
//! Not here: when they are done (see `applying`), who sends snapshots (see `peer`), whether raft takes one (see `consensus`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::Applier;
use bytes::Bytes;
use exchange::place::{build_beside, discard_stores, exchange_stores};
use planted::planted;
use store::Store;
use types::ConfState;
use vfs::Disk;

use crate::boot_error::BootError;
use crate::engine::Stored;
use crate::install_error::InstallError;

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
    build_while(disk, store_dir, snap_dir, at, identity, &mut || true)
}

fn build_while(
    disk: &Arc<dyn Disk>,
    store_dir: &Path,
    snap_dir: &Path,
    at: &Stored,
    identity: Bytes,
    wanted: &mut dyn FnMut() -> bool,
) -> Result<(), InstallError> {
    build_beside(disk, store_dir, |half| {
        let (file, entry) = (spooled(snap_dir, at.index), (at.index, at.term));
        let arrived = exchange::import_while(disk, &file, half, entry, Some(identity), wanted)
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
    /// Builds the store of the snapshot at this entry, whose marker is synced, beside the one there is.
    fn build(&self, at: &Stored, wanted: &mut dyn FnMut() -> bool) -> Result<(), BootError> {
        let Installer { disk, store_dir, snap_dir, identity, .. } = self;
        Ok(build_while(disk, store_dir, snap_dir, at, identity.clone(), wanted)?)
    }

    /// Puts what was built in the place of the store and opens it. Nobody may write to the old one any more.
    fn exchange(&self, at: &Stored) -> Result<Applier, BootError> {
        let Installer { disk, store_dir, snap_dir, .. } = self;
        exchange_stores(disk, store_dir).map_err(InstallError::from)?;
        let (store, restored) = Store::open(disk.clone(), store_dir, self.store.clone())?;
        let applier = Applier::open(self.apply.clone(), store, &restored)?;
        let through =
            if planted!("all snapshots thrown away with one") { None } else { Some(at.index) };
        discard(disk, store_dir, snap_dir, through)?;
        Ok(applier)
    }
}

/// A long step of a take-over, for a thread that may wait for a disk.
#[derive(Debug)]
pub struct InstallJob {
    installer: Installer,
    at: Stored,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Build,
    Exchange,
}

/// What a long step of a take-over came to.
pub enum InstallDone {
    /// The store of the snapshot is complete and synced, beside the old one.
    Built,
    /// It is in the old one's place, and open.
    Exchanged(Box<Applier>),
}

impl std::fmt::Debug for InstallDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            InstallDone::Built => "Built",
            InstallDone::Exchanged(_) => "Exchanged",
        })
    }
}

impl InstallJob {
    /// Builds the store of the snapshot at this entry, whose marker is synced. The old one may be worked on meanwhile.
    pub(crate) fn build(installer: Installer, at: Stored) -> InstallJob {
        InstallJob { installer, at, step: Step::Build }
    }

    /// Exchanges the stores. Nobody may write to the old one any more.
    pub(crate) fn exchange(installer: Installer, at: Stored) -> InstallJob {
        InstallJob { installer, at, step: Step::Exchange }
    }

    /// Does it, as long as it is `wanted`, which is asked again and again while the store is built.
    ///
    /// # Errors
    /// [`BootError`]; the member must stop, and its next start tries again. Also when it was not wanted.
    pub fn run(self, wanted: &mut dyn FnMut() -> bool) -> Result<InstallDone, BootError> {
        let InstallJob { installer, at, step } = self;
        match step {
            Step::Build => installer.build(&at, wanted).map(|()| InstallDone::Built),
            Step::Exchange => {
                let applier = installer.exchange(&at)?;
                Ok(InstallDone::Exchanged(Box::new(applier)))
            }
        }
    }
}

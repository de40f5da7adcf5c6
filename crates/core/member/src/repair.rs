//! Another member's state in the place of a store that cannot be read. The raft log, which says what this member has
//! promised, must be whole.
//!
//! Not here: how the snapshot comes (see `server`), what is done with the damaged files (see `node`).

use std::sync::Arc;

use exchange::identity_row;
use exchange::place::exchange_stores;
use types::{HardState, MemberId};
use vfs::Disk;
use wal::{Marker, Wal};

use crate::boot_error::BootError;
use crate::install;
use crate::recover::{identity, io};
use crate::{InstallError, RecoverOptions, Stored};

/// Whose log it is: member and cluster.
///
/// # Errors
/// [`BootError`] when the log cannot be read.
pub fn log_identity(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
) -> Result<(MemberId, u64), BootError> {
    let (_, recovered) = open(disk, options)?;
    identity(&recovered.metadata)
        .ok_or_else(|| BootError::NoIdentity { dir: options.wal_dir.clone() })
}

fn open(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
) -> Result<(Wal, wal::Recovered), BootError> {
    let dir = &options.wal_dir;
    if !io("looking at", dir, Wal::exists(&**disk, dir))? {
        return Err(BootError::NoLog { dir: dir.clone() });
    }
    let markers = Wal::valid_markers(&**disk, dir)?;
    let newest = markers.into_iter().max_by_key(|marker| marker.index).unwrap_or_default();
    Ok(Wal::open_with(disk.clone(), dir, &newest, options.wal)?)
}

/// Makes the store of the snapshot at this entry, whose file has arrived, and marks the log there. There must be no
/// store.
///
/// The marker comes first: if the process ends in between, the next start sees a log without its store, and is refused
/// or repaired as before.
///
/// # Errors
/// [`BootError`]: nothing is served then. [`BootError::OtherHistory`] when the log has another entry there that was
/// never committed; the cluster's state at a later entry will do.
pub fn replace_store(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    at: &Stored,
) -> Result<(), BootError> {
    let (mut wal, recovered) = open(disk, options)?;
    let of = identity(&recovered.metadata)
        .ok_or_else(|| BootError::NoIdentity { dir: options.wal_dir.clone() })?;
    if let Some(entry) = recovered.entries.iter().find(|entry| entry.index == at.index)
        && entry.term != at.term
    {
        return Err(BootError::OtherHistory {
            index: at.index,
            store_term: at.term,
            log_term: entry.term,
            log: options.wal_dir.clone(),
            store: install::spooled(&options.snap_dir, at.index),
        });
    }
    let HardState { term, vote, commit } = recovered.hard_state;
    let hard_state = match term < at.term {
        true => HardState { term: at.term, vote: 0, commit: at.index },
        false => HardState { term, vote, commit: commit.max(at.index) },
    };
    let (index, term) = (at.index, at.term);
    wal.append_marker(&Marker { index, term, conf_state: Some(at.conf_state.clone()) })?;
    wal.append(Some(&hard_state), &[])?;
    wal.sync()?;
    drop(wal);
    // Its number of runs begins anew, which only request ids are made of, and those hold the time too.
    let row = identity_row(of, 0);
    install::build(disk, &options.store_dir, &options.snap_dir, at, row)?;
    exchange_stores(disk, &options.store_dir).map_err(InstallError::from)?;
    Ok(install::discard(disk, &options.store_dir, &options.snap_dir, None)?)
}

//! From Go's files to our store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bolt::{Rewrite, Source};
use exchange::place::{build_beside, exchange_stores};
use exchange::{STORE_IDENTITY, identity_row, write_store};
use store::{Bucket, Store};
use types::MemberId;
use vfs::{Disk, replace_durably};

use crate::found::{Database, Found, examine, io, markers, newest};
use crate::watched::{Told, Watched};
use crate::{Dirs, TakeoverError, found, members};

/// What is free on the disk after a takeover, at least: log and store want to go on.
const SPARE_BYTES: u64 = 64 << 20;

/// What is wanted of a takeover.
#[derive(Clone, Debug)]
pub struct TakeOptions {
    /// Leave a Go member's directory alone, and say so (`--takeover=refuse`).
    pub refuse: bool,
    /// Sizes of the store.
    pub store: store::Options,
    /// Who is told how many bytes of rows have passed.
    pub told: Told,
}

/// A directory that has been taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose it is.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: u64,
    /// The entry whose state was taken over.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The newest revision.
    pub revision: i64,
    /// Where the database is now.
    pub kept: PathBuf,
    /// Whether there was a store, which Go had left behind.
    pub anew: bool,
}

/// What became of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No Go member has left anything.
    NothingThere,
    /// There was a database, and the store is as far or further: it was removed.
    StoreIsCurrent {
        /// The entry the database was at.
        database: u64,
        /// The one the store is at.
        store: u64,
    },
    /// It was taken over.
    Taken(Taken),
}

/// Takes over what a Go member has left in a directory, if it is further than the store there. `begun` hears of the
/// database, its entry and its size before the long work begins. Whoever calls holds the member's lock and that of the
/// database.
///
/// # Errors
/// [`TakeoverError`]; Go's files are as they were.
pub fn take_over(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    options: &TakeOptions,
    begun: &mut dyn FnMut(&Path, u64, u64),
) -> Result<Outcome, TakeoverError> {
    let path = dirs.database();
    if !io("looking at", &path, disk.exists(&path))? {
        return Ok(Outcome::NothingThere);
    }
    let ours = match has_store(disk, dirs)? {
        true => Some(Ours::open(disk, dirs, &options.store)?),
        false => None,
    };
    if ours.is_none() && options.refuse {
        return Err(TakeoverError::Refused { path });
    }
    let markers = markers(&**disk, dirs, &path)?;
    let database = Database::open(&**disk, path.clone())?;
    let found = match ours {
        None => newest(&**disk, dirs, database, &markers)?,
        Some(Ours { index, of }) => {
            same_member(disk, dirs, &markers, of)?;
            let at = database.index;
            match newest(&**disk, dirs, database, &markers) {
                Ok(found) if index < found.index => found,
                Err(error) if index < at => return Err(error),
                _ => {
                    remove(&**disk, dirs)?;
                    return Ok(Outcome::StoreIsCurrent { database: at, store: index });
                }
            }
        }
    };
    if options.refuse {
        return Err(TakeoverError::Refused { path });
    }
    let found = examine(&**disk, dirs, found, &markers)?;
    let bytes = found.database.backend.bolt().image_bytes();
    has_room(&**disk, dirs, bytes)?;
    begun(&found.database.file, found.database.index, bytes);
    let source = found.database.file.clone();
    let taken = build(disk, dirs, found, options, ours.is_some())?;
    put_aside(&**disk, dirs, &source)?;
    Ok(Outcome::Taken(taken))
}

/// The store there is, as far as the choice needs it.
#[derive(Clone, Copy)]
struct Ours {
    index: u64,
    of: Option<(MemberId, u64)>,
}

impl Ours {
    fn open(
        disk: &Arc<dyn Disk>,
        dirs: &Dirs,
        options: &store::Options,
    ) -> Result<Ours, TakeoverError> {
        let opened = Store::open(disk.clone(), &dirs.store, options.clone());
        let (store, restored) = opened
            .map_err(|source| TakeoverError::OpenStore { store: dirs.store.clone(), source })?;
        let row = store.state().get(Bucket::Meta, STORE_IDENTITY);
        let number = |at: usize| Some(u64::from_be_bytes(row?.get(at..at + 8)?.try_into().ok()?));
        let of = number(0).zip(number(8));
        Ok(Ours { index: restored.applied_index, of })
    }
}

/// Whether there is a store, once one that was complete when the last run ended has its place.
pub(crate) fn has_store(disk: &Arc<dyn Disk>, dirs: &Dirs) -> Result<bool, TakeoverError> {
    exchange_stores(disk, &dirs.store)?;
    let there = io("looking at", &dirs.store, disk.exists(&dirs.store))?;
    Ok(there && !io("listing", &dirs.store, disk.list(&dirs.store))?.is_empty())
}

/// A store of another member would only be found out after the database has gone.
fn same_member(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    markers: &[wal::Marker],
    store_of: Option<(MemberId, u64)>,
) -> Result<(), TakeoverError> {
    let Some(newest) = markers.iter().max_by_key(|marker| marker.index) else { return Ok(()) };
    let log = wal::Wal::read(&**disk, &dirs.wal, newest)?;
    let log_of = found::identity(dirs, &log.metadata)?;
    match store_of {
        Some(store_of) if store_of != log_of => Err(TakeoverError::OtherMember {
            store: dirs.store.clone(),
            store_of,
            wal: dirs.wal.clone(),
            log_of,
        }),
        _ => Ok(()),
    }
}

/// Rows of ours take a little more than bbolt's where values are small, and less where its pages are half empty.
fn has_room(disk: &dyn Disk, dirs: &Dirs, bytes: u64) -> Result<(), TakeoverError> {
    let needed_bytes = bytes + bytes / 2 + SPARE_BYTES;
    let at = vfs::parent(&dirs.store).to_owned();
    let available_bytes = io("measuring", &at, disk.space(&at))?.available_bytes;
    if needed_bytes <= available_bytes {
        return Ok(());
    }
    Err(TakeoverError::NoRoom { what: "store", at, needed_bytes, available_bytes })
}

fn build(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    found: Found,
    options: &TakeOptions,
    anew: bool,
) -> Result<Taken, TakeoverError> {
    let Found { database, term, of: (member, cluster), members } = found;
    if database.index == 0 {
        // Nothing was ever applied for good: the log has everything, and a new store is made for it.
        return Ok(Taken {
            member,
            cluster,
            index: 0,
            term: 0,
            revision: 1,
            kept: dirs.kept(),
            anew,
        });
    }
    let mut rewrite = Rewrite::new(database.backend.bolt().clone());
    if let Some(members) = &members {
        members::put(members, &mut rewrite);
    }
    let source: Box<dyn Source> = Box::new(Watched { source: rewrite, told: options.told.clone() });
    let (index, identity) = (database.index, identity_row((member, cluster), 0));
    let arrived = build_beside(disk, &dirs.store, |half| {
        let written = write_store(disk, half, &*source, (index, term), Some(identity))?;
        Ok::<_, TakeoverError>(written)
    })?;
    exchange_stores(disk, &dirs.store)?;
    let (revision, kept) = (arrived.revision, dirs.kept());
    Ok(Taken { member, cluster, index, term, revision, kept, anew })
}

/// From here on a Go etcd finds no database, and ours nothing to decide. What was taken over is kept; a database that
/// a received snapshot had not replaced yet is not.
fn put_aside(disk: &dyn Disk, dirs: &Dirs, source: &Path) -> Result<(), TakeoverError> {
    io("making", &dirs.aside, disk.create_dir_all(&dirs.aside))?;
    let (path, kept) = (dirs.database(), dirs.kept());
    io("renaming to", &kept, replace_durably(disk, source, &kept))?;
    if source == path { Ok(()) } else { remove(disk, dirs) }
}

fn remove(disk: &dyn Disk, dirs: &Dirs) -> Result<(), TakeoverError> {
    let path = dirs.database();
    io("removing", &path, disk.remove(&path))?;
    io("syncing", &dirs.snap, disk.sync_dir(&dirs.snap))
}

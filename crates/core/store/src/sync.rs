//! Making the log durable, on a thread that may wait for the disk.
//!
//! How far the log is durable is written down, durably too, after each sync: that is what lets a restart
//! tell a torn tail, which is cut, from damage, which is refused. Two places take turns in one small file, so a
//! crash while one is written leaves the other.

use std::sync::{Arc, Mutex, PoisonError};

use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind, Named};
use crate::{OpenError, StoreError};

/// The file's name.
pub(crate) const SYNCED: &str = "synced";
/// How far the two places are apart, so that no torn write reaches both.
const PLACE_BYTES: u64 = 4096;

/// A position in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Which log file.
    pub(crate) log: u64,
    /// Where in it a frame ends.
    pub(crate) offset: u64,
}

/// What became durable. Goes back to [`crate::Store::synced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "hand it to Store::synced"]
pub struct Synced {
    /// Every entry up to this one is durable.
    pub index: u64,
    pub(crate) position: Position,
    /// Of which opened store.
    pub(crate) life: u64,
}

/// A log file to be made durable.
#[derive(Clone, Debug)]
pub(crate) struct Unsynced {
    pub(crate) log: u64,
    pub(crate) file: Named,
    /// Where a sealed one's footer goes, and the footer: writing it can wait until now.
    pub(crate) footer: Option<(u64, Arc<Vec<u8>>)>,
}

/// The file that says how far the log is durable.
#[derive(Debug)]
pub(crate) struct SyncRecord {
    file: Named,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
struct Newest {
    /// Counts the writes; its parity is the place of the last.
    count: u64,
    synced: Synced,
}

impl SyncRecord {
    /// Makes the file of a new store. Its name is not durable yet.
    pub(crate) fn create(dir: &Dir, synced: Synced) -> Result<SyncRecord, StoreError> {
        let file = dir.create(SYNCED)?;
        file.write(&encode(0, synced), 0)?;
        file.write(&encode(1, synced), PLACE_BYTES)?;
        file.sync()?;
        Ok(SyncRecord { file, newest: Mutex::new(Newest { count: 1, synced }) })
    }

    /// Reads the newest intact place.
    pub(crate) fn open(dir: &Dir) -> Result<SyncRecord, OpenError> {
        let file = dir.open(SYNCED)?;
        let mut newest: Option<Newest> = None;
        let mut failed = None;
        for offset in [0, PLACE_BYTES] {
            match decode(&file, offset) {
                Ok(found) if newest.as_ref().is_none_or(|best| best.count < found.count) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(error @ OpenError::NewerFormat { .. }) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        match (newest, failed) {
            (Some(newest), _) => Ok(SyncRecord { file, newest: Mutex::new(newest) }),
            (None, Some(error)) => Err(error),
            (None, None) => unreachable!("a place is either read or not"),
        }
    }

    /// What is known to be durable.
    pub(crate) fn newest(&self) -> Synced {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).synced
    }

    /// Records a position, unless a later one is recorded already: two handles may finish in any order.
    pub(crate) fn write(&self, dir: &Dir, synced: Synced) -> Result<(), StoreError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.position <= newest.synced.position {
            return Ok(());
        }
        let count = newest.count + 1;
        self.file.write(&encode(count, synced), count % 2 * PLACE_BYTES)?;
        dir.sync_file(&self.file)?;
        *newest = Newest { count, synced };
        Ok(())
    }
}

fn encode(count: u64, synced: Synced) -> [u8; HEADER_BYTES] {
    let id = FileId::new(Kind::Synced, count);
    let numbers = [synced.index, synced.position.log, synced.position.offset];
    Header { id, numbers, chain: 0 }.encode()
}

fn decode(file: &Named, offset: u64) -> Result<Newest, OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    file.read(&mut bytes, offset)?;
    let header = Header::decode(&bytes, Kind::Synced, file.name())?;
    let [index, log, offset] = header.numbers;
    let synced = Synced { index, position: Position { log, offset }, life: 0 };
    Ok(Newest { count: header.id.number, synced })
}

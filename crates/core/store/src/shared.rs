//! What the writer and its slow objects on other threads have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::Dir;
use crate::manifest::ManifestFile;
use crate::sync::SyncRecord;

/// The store's directory and the files that more than one thread writes, each under its own lock.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: Dir,
    pub(crate) manifest: ManifestFile,
    pub(crate) record: SyncRecord,
    /// Tells this opened store from every other of this process: what comes back late from another thread may
    /// have been begun for one that was exchanged since.
    pub(crate) life: u64,
    images: Mutex<Images>,
    round: Mutex<Round>,
}

/// How far the round of cleaning is that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Round {
    /// It may exchange its files.
    #[default]
    Allowed,
    /// It has.
    Exchanged,
    /// It must not any more.
    GivenUp,
}

/// The index images: which revisions they cover, the one in place and those being written.
#[derive(Debug, Default)]
struct Images {
    in_place: Option<i64>,
    being_written: BTreeMap<u64, i64>,
    waiting: bool,
}

impl Shared {
    pub(crate) fn new(dir: Dir, manifest: ManifestFile, record: SyncRecord) -> Shared {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let (images, round) = (Mutex::default(), Mutex::default());
        Shared { dir, manifest, record, life, images, round }
    }

    /// The state of the round, held while files are exchanged.
    pub(crate) fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn image_begun(&self, number: u64, revision: i64) {
        self.images().being_written.insert(number, revision);
    }

    pub(crate) fn image_ended(&self, number: u64) {
        self.images().being_written.remove(&number);
    }

    pub(crate) fn image_in_place(&self, revision: i64) {
        self.images().in_place = Some(revision);
    }

    /// Notes whether the image in place can only be used once the dead were buried.
    pub(crate) fn image_waits(&self, waiting: bool) {
        self.images().waiting = waiting;
    }

    pub(crate) fn is_image_waiting(&self) -> bool {
        self.images().waiting
    }

    /// Tombstones after this revision must stay visible. An index restored from an image learns from them
    /// that a key which the image knows was deleted since. `instead` is an image that is about to take the
    /// place of the one there is.
    pub(crate) fn tombstones_stay_after(&self, instead: Option<i64>) -> i64 {
        let images = self.images();
        let in_place = instead.or(images.in_place);
        images.being_written.values().copied().chain(in_place).min().unwrap_or(i64::MAX)
    }
}

//! The next segment, made ready while the last one fills.
//!
//! A spare is a file of zeros: appending to a segment that began as one changes neither length nor
//! allocation, and its sync has only data to write. It is either new or a released segment, which is
//! worth more, because its blocks are already written; its old content is zeroed and synced, step by
//! step, and only what is zeroed is ever used.
//!
//! Its name is none that Go etcd uses for the same purpose: that would take over what is in it unread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfs::{Disk, File};

use crate::error::WriteError;

/// The spare's name in the log's directory.
pub(crate) const SPARE_NAME: &str = "spare.tmp";

/// The name of a segment that is begun when there is no spare at hand.
pub(crate) const NEXT_NAME: &str = "next.tmp";

/// A file whose first `zeroed_to` bytes are durably zero. What follows may be anything.
#[derive(Debug)]
pub(crate) struct SpareFile {
    pub file: Arc<dyn File>,
    pub zeroed_to: u64,
}

/// Where the spare is.
#[derive(Debug)]
pub(crate) enum Spare {
    /// There is no file of its name.
    None,
    /// Here, ready or not.
    Here(SpareFile),
    /// In a [`Preparation`].
    Away,
}

impl Spare {
    /// Takes what an earlier run or a released segment left. Nothing is known about its bytes.
    pub fn adopt(disk: &dyn Disk, dir: &Path) -> io::Result<Spare> {
        let file = disk.open(&dir.join(SPARE_NAME))?;
        Ok(Spare::Here(SpareFile { file, zeroed_to: 0 }))
    }

    /// The file to begin a segment in, with what of it is zero. Cuts off what is not.
    pub fn take(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<(PathBuf, SpareFile)> {
        match std::mem::replace(self, Spare::None) {
            Spare::Here(spare) => {
                if spare.zeroed_to < spare.file.len()? {
                    spare.file.set_len(spare.zeroed_to)?;
                }
                Ok((dir.join(SPARE_NAME), spare))
            }
            other => {
                *self = other;
                let path = dir.join(NEXT_NAME);
                let file = disk.create(&path)?;
                Ok((path, SpareFile { file, zeroed_to: 0 }))
            }
        }
    }
}

/// A step of work on the spare that may be done on any thread, then handed back to
/// [`Wal::prepared`](crate::Wal::prepared).
#[derive(Debug)]
pub struct Preparation {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<SpareFile>,
    step_bytes: u64,
    segment_bytes: u64,
}

/// A [`Preparation`] that is done.
#[derive(Debug)]
pub struct Prepared(pub(crate) Result<SpareFile, WriteError>);

impl Preparation {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        file: Option<SpareFile>,
        options: &crate::Options,
    ) -> Preparation {
        Preparation {
            disk,
            path: dir.join(SPARE_NAME),
            file,
            step_bytes: options.spare_step_bytes,
            segment_bytes: options.segment_bytes,
        }
    }

    /// Zeroes and syncs a few mebibytes.
    pub fn run(mut self) -> Prepared {
        let offset = self.file.as_ref().map_or(0, |spare| spare.zeroed_to);
        let stepped = self.step();
        Prepared(stepped.map_err(|source| {
            // The file may hold anything now. If it cannot be removed either, the next step says so.
            let _ = self.disk.remove(&self.path);
            WriteError::Prepare { file: self.path, offset, source }
        }))
    }

    fn step(&mut self) -> io::Result<SpareFile> {
        let mut spare = match self.file.take() {
            Some(spare) => spare,
            None => SpareFile { file: self.disk.create(&self.path)?, zeroed_to: 0 },
        };
        if self.segment_bytes < spare.file.len()? {
            spare.file.set_len(self.segment_bytes)?;
        }
        let end = (spare.zeroed_to + self.step_bytes).min(self.segment_bytes);
        spare.file.zero_fill(spare.zeroed_to, end)?;
        spare.file.sync_data()?;
        spare.zeroed_to = end;
        Ok(spare)
    }
}

//! What is made durable beside the writer, on any thread.

use std::sync::Arc;

use planted::planted;

use crate::StoreError;
use crate::files::Named;
use crate::shared::Shared;
use crate::sync::{Synced, Unsynced};

/// A promise to sync everything flushed so far. May be carried to any thread.
#[derive(Debug)]
pub struct SyncHandle {
    pub(crate) files: Vec<Unsynced>,
    /// Whether a file was made since the directory was last synced.
    pub(crate) dir_changed: bool,
    pub(crate) target: Synced,
    pub(crate) shared: Arc<Shared>,
}

impl SyncHandle {
    /// Syncs, then records durably how far the log is durable, so that a restart can tell a torn tail from
    /// damage.
    ///
    /// # Errors
    /// When a sync fails. That is final: the store syncs and takes nothing more, whoever it failed for (a
    /// cleaning and an index image sync the log too), and the process stops.
    pub fn sync(self) -> Result<Synced, StoreError> {
        let dir = &self.shared.dir;
        dir.check_going_on()?;
        for unsynced in &self.files {
            if let Some((offset, footer)) = &unsynced.footer {
                let sync = |file: &Named| dir.sync_file(file);
                unsynced.file.write_in_pieces(footer, *offset, sync)?;
            }
            if !planted!("store synced in word only") {
                dir.sync_file(&unsynced.file)?;
            }
            if unsynced.footer.is_some() {
                unsynced.file.finished()?;
            }
        }
        if self.dir_changed {
            dir.sync()?;
        }
        self.shared.record.write(dir, self.target)?;
        Ok(self.target)
    }
}

/// Bytes of the log that are handed to the disk together.
pub(crate) const WRITE_OUT_BYTES: u64 = 1 << 20;

/// A piece of the log on its way to the disk before anybody asks for its sync, so that a sync never finds
/// much to write: the raft log's syncs would wait behind it. May be carried to any thread.
#[derive(Debug)]
pub struct WriteOut {
    pub(crate) file: Named,
    pub(crate) shared: Arc<Shared>,
}

impl WriteOut {
    /// Writes it out and waits for that. Nothing is told by it: what is durable [`SyncHandle::sync`] says.
    ///
    /// # Errors
    /// As [`SyncHandle::sync`].
    pub fn run(self) -> Result<(), StoreError> {
        self.shared.dir.check_going_on()?;
        self.shared.dir.sync_file(&self.file)
    }
}

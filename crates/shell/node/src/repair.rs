//! A store that cannot be read is put aside, and another member's state takes its place.
//!
//! The raft log stays as it is: what this member promised stands there. So it may do afterwards what it might have done
//! before, and no acknowledged write depends on the repair.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use member::{BootError, Stored};
use proto::raftpb::Message;
use types::{ConfState, MemberId};
use vfs::{Disk, Lock};

use crate::boot::{lock, options};
use crate::{Config, Report};

/// The right to repair a member's directory.
pub struct Repairing<'a> {
    config: &'a Config,
    disk: &'a Arc<dyn Disk>,
    dir: PathBuf,
    _lock: Box<dyn Lock>,
}

impl<'a> Repairing<'a> {
    /// Keeps other processes out, and waits for one that is there.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn begin(
        config: &'a Config,
        disk: &'a Arc<dyn Disk>,
        report: &dyn Report,
    ) -> Result<Repairing<'a>, BootError> {
        let dir = config.data_dir.join("member");
        let lock = lock(disk, &dir.join("lock"), report)?;
        Ok(Repairing { config, disk, dir, _lock: lock })
    }

    /// Whose directory it is, as its raft log says: member and cluster.
    ///
    /// # Errors
    /// [`BootError`]; a log that cannot be read is not repaired.
    pub fn identity(&self) -> Result<(MemberId, u64), BootError> {
        member::log_identity(self.disk, &options(self.config, &self.dir))
    }

    /// Where snapshots of others arrive.
    pub fn snap_dir(&self) -> PathBuf {
        self.dir.join("snap")
    }

    /// Renames the store, so that nothing of it is lost. Its name then, if there was one; no two have the same.
    ///
    /// # Errors
    /// [`BootError::Io`].
    pub fn set_aside(&self, unix_ms: u128) -> Result<Option<PathBuf>, BootError> {
        let store = self.dir.join("store");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| BootError::Io { action, path, source }
        };
        if !self.disk.exists(&store).map_err(io("looking at", &store))? {
            return Ok(None);
        }
        let aside = self.dir.join(format!("store.damaged-{unix_ms}"));
        vfs::replace_durably(&**self.disk, &store, &aside).map_err(io("renaming to", &aside))?;
        Ok(Some(aside))
    }

    /// Makes the store of a snapshot that has arrived. Its entry.
    ///
    /// # Errors
    /// [`BootError`]; it may be tried again with another snapshot.
    pub fn take_over(&self, snapshot: &Message) -> Result<u64, BootError> {
        let metadata = snapshot.snapshot.as_ref().and_then(|it| it.metadata.as_ref());
        let metadata = metadata.cloned().unwrap_or_default();
        let (index, term) = (metadata.index(), metadata.term());
        let conf_state = metadata.conf_state.unwrap_or_default();
        let conf_state = ConfState { voters: conf_state.voters, learners: conf_state.learners };
        let at = Stored { index, term, conf_state };
        member::replace_store(self.disk, &options(self.config, &self.dir), &at)?;
        Ok(index)
    }
}

//! A member's directory under construction. It lies beside its place, as `member.restoring`, and gets its
//! name when it is whole and on the disk; what a failed or killed attempt leaves is never taken for a
//! member, and the next attempt clears it away.

use std::path::{Path, PathBuf};

use vfs::{Disk, Lock, OsDisk, replace_durably};

use crate::cli::Failure;

const UNFINISHED: &str = "member.restoring";
const LOCK: &str = "lock";

/// A directory that disappears again unless it is finished.
pub struct Staging {
    data_dir: PathBuf,
    made_data_dir: bool,
    /// Another restore to the same place has to wait for its own turn.
    lock: Option<Box<dyn Lock>>,
}

impl Staging {
    /// Whether a data directory can be restored to: it is absent, or holds nothing.
    pub fn is_free(data_dir: &Path) -> bool {
        match OsDisk.list(data_dir) {
            Ok(names) => names.iter().all(|name| name == UNFINISHED),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Begins a member in `data_dir`, which is made if need be.
    pub fn begin(data_dir: &Path) -> Result<Staging, Failure> {
        let failure = |error: &std::io::Error| {
            Failure::new(format!("mkdir {}: {}", data_dir.display(), go::io_text(error)))
        };
        let made_data_dir = !OsDisk.exists(data_dir).map_err(|error| failure(&error))?;
        let mut staging = Staging { data_dir: data_dir.to_owned(), made_data_dir, lock: None };
        let begun = OsDisk.create_dir_all(&staging.dir());
        begun.map_err(|error| failure(&error))?;
        let lock = OsDisk.lock(&staging.dir().join(LOCK)).map_err(|error| failure(&error))?;
        let Some(lock) = lock else {
            // It is somebody else's, so it is not for us to remove.
            std::mem::forget(staging);
            let data_dir = go::quote(data_dir.display().to_string());
            return Err(Failure::new(format!(
                "another restore to data-dir {data_dir} is under way"
            )));
        };
        staging.lock = Some(lock);
        staging.clear().map_err(|error| failure(&error))?;
        Ok(staging)
    }

    /// Where the member is built.
    pub fn dir(&self) -> PathBuf {
        self.data_dir.join(UNFINISHED)
    }

    /// Removes what an earlier attempt left.
    fn clear(&self) -> std::io::Result<()> {
        for name in OsDisk.list(&self.dir())?.into_iter().filter(|name| name != LOCK) {
            let path = self.dir().join(name);
            match OsDisk.list(&path) {
                Ok(_) => std::fs::remove_dir_all(&path)?,
                Err(_) => OsDisk.remove(&path)?,
            }
        }
        Ok(())
    }

    /// Gives the member its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let member = self.data_dir.join("member");
        let finished = OsDisk
            .remove(&self.dir().join(LOCK))
            .and_then(|()| replace_durably(&OsDisk, &self.dir(), &member));
        finished.map_err(|error| {
            Failure::new(format!("rename {}: {}", member.display(), go::io_text(&error)))
        })?;
        self.made_data_dir = false;
        Ok(())
    }
}

impl Drop for Staging {
    /// After [`Staging::finish`] there is nothing of that name any more. What cannot be removed stays for
    /// the next attempt.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.dir());
        if self.made_data_dir {
            let _ = std::fs::remove_dir(&self.data_dir);
        }
    }
}

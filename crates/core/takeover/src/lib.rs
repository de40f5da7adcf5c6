//! A Go member's directory becomes ours, and ours a Go member's.
//!
//! Both keep the same raft log, in the same files. What differs is where the state at an entry of that log is kept:
//! Go etcd has a bbolt file, `snap/db`, and says in it which entry it is at; we have `store/`, which says the same.
//! So a directory may hold both, and there is one rule for it: **the one that is at the later entry is current; when
//! they are at the same, the store is.** [`take_over`] builds the store from the file when the file is further,
//! [`hand_back`] writes the file from the store. Neither changes what it reads from before what it writes is complete
//! and synced, so a crash at any point leaves one of the two whole.
//!
//! | done so far | what a start of ours finds | it |
//! |---|---|---|
//! | the new store is half built | `snap/db`, `store.tmp` | begins anew |
//! | it is complete and synced | `snap/db`, `store.new` | puts it in its place |
//! | it has its place | `snap/db`, `store` at the same entry | puts the file aside |
//! | the file is put aside, as `taken-over/db` | `store` | goes on |
//!
//! Not here: the locks that keep another process out, and what an operator is told (see `node` and `etcdutl`).

mod back;
mod backup;
mod backup_own;
mod copied_log;
mod error;
mod found;
mod members;
mod take;
mod watched;

use std::path::{Path, PathBuf};

pub use back::{Back, BackOptions, hand_back, stored_image};
pub use backup::back_up;
pub use backup_own::{Form, form};
pub use copied_log::{BackupOptions, LeftOut};
pub use error::TakeoverError;
pub use found::v2_content;
pub use take::{Outcome, TakeOptions, Taken, take_over};
pub use watched::Told;

/// Where the files of one member are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Our store.
    pub store: PathBuf,
    /// Go's database and `.snap` files.
    pub snap: PathBuf,
    /// The raft log, which both have.
    pub wal: PathBuf,
    /// Where the database goes once it is taken over.
    pub aside: PathBuf,
}

impl Dirs {
    /// Those below `member_dir`, but for a log that is elsewhere (`--wal-dir`).
    pub fn of(member_dir: &Path, wal_dir: Option<&Path>) -> Dirs {
        Dirs {
            store: member_dir.join("store"),
            snap: member_dir.join("snap"),
            wal: wal_dir.map_or_else(|| member_dir.join("wal"), Path::to_path_buf),
            aside: member_dir.join("taken-over"),
        }
    }

    /// What our server holds a lock on while it runs.
    pub fn lock(&self) -> PathBuf {
        vfs::parent(&self.store).join("lock")
    }

    /// Go's database.
    pub fn database(&self) -> PathBuf {
        self.snap.join("db")
    }

    /// Where it is kept after it was taken over.
    pub fn kept(&self) -> PathBuf {
        self.aside.join("db")
    }
}

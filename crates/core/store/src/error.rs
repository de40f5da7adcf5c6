//! What can go wrong with the store's files, always with the name of the file.

use std::io;

use types::Revision;

/// A place in a file that does not hold what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: {what}")]
pub struct Damage {
    /// The file's name within the store's directory.
    pub file: String,
    /// Where the damaged part begins.
    pub offset: u64,
    /// What was found, or missed, there.
    pub what: &'static str,
}

/// Why the store could not do something while it was open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("cannot {action} {file}")]
    Io {
        /// The file's name within the store's directory.
        file: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The disk gave back something else than was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// There is no such row: never appended, or cleaned away after it was marked dead.
    #[error("the store has no row {revision}")]
    Missing {
        /// The row asked for.
        revision: Revision,
    },
    /// A write failed before, so the store takes nothing more until it is opened again.
    #[error("the store stopped after it could not {action} {file}")]
    Stopped {
        /// The file that could not be written.
        file: String,
        /// What was tried on it.
        action: &'static str,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, file: &str, source: io::Error) -> StoreError {
        StoreError::Io { file: file.to_owned(), action, source }
    }

    /// Whether something that was written cannot be read any more: it rotted, or the disk refuses to give it. All
    /// else is as it was, so whoever asked is refused, and the store goes on.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged(_) | StoreError::Io { action: "read", .. })
    }

    /// Whether the disk is full. Harmless for [`crate::Cleaning`], which can be given up; fatal for
    /// appends.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused, or a file is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that must be there is not.
    #[error("{file} is missing")]
    MissingFile {
        /// The file's name within the store's directory.
        file: String,
    },
    /// A later release wrote this file.
    #[error("{file} has format version {found}; this release reads up to version {supported}")]
    NewerFormat {
        /// The file's name within the store's directory.
        file: String,
        /// The version it names.
        found: u32,
        /// The newest version we know.
        supported: u32,
    },
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> OpenError {
        OpenError::Store(StoreError::Damaged(damage))
    }
}

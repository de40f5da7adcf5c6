//! Why a snapshot is not taken over.

use std::io;
use std::path::PathBuf;

use exchange::ImportError;
use exchange::place::PlaceError;

/// Why a snapshot could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The system refused something.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its file is none that can be served.
    #[error("the snapshot at entry {index} cannot be taken over")]
    Import {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: ImportError,
    },
    /// Its message and its file name other members.
    #[error(
        "the snapshot at entry {index} names voters {said:x?} in its message and {held:x?} in its file"
    )]
    OtherMembers {
        /// The entry.
        index: u64,
        /// Voters, then learners.
        said: Vec<u64>,
        /// Voters, then learners.
        held: Vec<u64>,
    },
}

impl From<PlaceError> for InstallError {
    fn from(error: PlaceError) -> InstallError {
        let PlaceError { action, path, source } = error;
        InstallError::Io { action, path, source }
    }
}

//! Why a directory does not change hands.

use std::io;
use std::path::PathBuf;

use exchange::place::PlaceError;
use types::{MemberId, Version};

/// Why a directory does not change hands. It is as it was, whatever the reason.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
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
    /// Taking over was not wanted.
    #[error(
        "{path} is the database of a Go etcd, and --takeover=refuse was given; without that flag its data is taken over"
    )]
    Refused {
        /// The database.
        path: PathBuf,
    },
    /// There is no raft log that goes with the database.
    #[error(
        "{path} is the database of a Go etcd, but there is no raft log in {wal}: if the log is elsewhere, give --wal-dir"
    )]
    NoLog {
        /// The database.
        path: PathBuf,
        /// Where the log should be.
        wal: PathBuf,
    },
    /// The raft log cannot be read.
    #[error("the raft log cannot be read")]
    Log(#[from] wal::OpenError),
    /// The raft log cannot be written.
    #[error("the raft log cannot be written")]
    WriteLog(#[from] wal::WriteError),
    /// A raft log cannot be made.
    #[error("a raft log cannot be made")]
    CreateLog(#[from] wal::CreateError),
    /// The raft log does not say whose it is.
    #[error("the raft log in {wal} does not say which member wrote it")]
    NoIdentity {
        /// Its directory.
        wal: PathBuf,
    },
    /// The database is damaged.
    #[error("{file} cannot be read")]
    Bolt {
        /// The database.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: bolt::BoltError,
    },
    /// It holds what no etcd puts there.
    #[error("{file} holds no etcd's data")]
    Rows {
        /// The database.
        file: PathBuf,
        /// What.
        #[source]
        source: bolt::RowsError,
    },
    /// The log begins behind the database, and what lies between has gone.
    #[error(
        "{file} holds the state at entry {index}, but the raft log in {wal} goes on after entry {first}: the database \
         has lost its end, or is an old copy"
    )]
    DatabaseTooShort {
        /// The database.
        file: PathBuf,
        /// The entry it is at.
        index: u64,
        /// The log's directory.
        wal: PathBuf,
        /// The entry the log can be read from.
        first: u64,
    },
    /// The log ends before the database.
    #[error(
        "the raft log in {wal} ends at entry {log_last}, but {file} holds the state at entry {index}: the log has lost \
         its end"
    )]
    LogTooShort {
        /// The log's directory.
        wal: PathBuf,
        /// Its last entry.
        log_last: u64,
        /// The database.
        file: PathBuf,
        /// The entry it is at.
        index: u64,
    },
    /// Database and log are of two histories.
    #[error(
        "{file} holds the state at entry {index} of term {term}, but in the raft log in {wal} that entry is of term \
         {log_term}: they do not belong together"
    )]
    OtherHistory {
        /// The database.
        file: PathBuf,
        /// The entry it is at.
        index: u64,
        /// Its term there.
        term: u64,
        /// The log's directory.
        wal: PathBuf,
        /// Its term in the log.
        log_term: u64,
    },
    /// The store beside the database is another member's.
    #[error(
        "the store in {store} is that of member {:x} of cluster {:x}, but the raft log in {wal} is that of member {:x} of \
         cluster {:x}",
        .store_of.0, .store_of.1, .log_of.0, .log_of.1
    )]
    OtherMember {
        /// The store's directory.
        store: PathBuf,
        /// Member and cluster it names.
        store_of: (MemberId, u64),
        /// The log's directory.
        wal: PathBuf,
        /// Member and cluster it names.
        log_of: (MemberId, u64),
    },
    /// Up to 3.5 the members stand in a `.snap` file, and none that fits is there.
    #[error(
        "the database is of etcd 3.5 or older, which keeps its members in a .snap file, and {snap} has none that \
         belongs to the raft log{}",
        .damaged.as_ref().map(|file| format!(" ({} is damaged)", file.display())).unwrap_or_default()
    )]
    NoMembers {
        /// Where it should be.
        snap: PathBuf,
        /// The newest that would have been the one.
        damaged: Option<PathBuf>,
    },
    /// Clients of the v2 API have stored something.
    #[error(
        "clients of the v2 API have stored {path:?} in this cluster, and this release has no v2 store: remove it, as \
         before an upgrade to etcd 3.6"
    )]
    V2Content {
        /// What.
        path: String,
    },
    /// An entry of the log that this release cannot apply.
    #[error("entry {index} of the raft log holds {what}")]
    Entry {
        /// The entry.
        index: u64,
        /// What it is.
        what: String,
    },
    /// The members agreed on a version that this release is too old for.
    #[error("the cluster's version is {}, and this release is {}", .cluster.short(), Version::OURS.short())]
    TooNew {
        /// What they agreed on.
        cluster: Version,
    },
    /// The disk has no room for both.
    #[error(
        "there is no room for both: the new {what} takes up to {needed_bytes} bytes, and {available_bytes} are free at {at}"
    )]
    NoRoom {
        /// Store or database.
        what: &'static str,
        /// Where.
        at: PathBuf,
        /// At most so many.
        needed_bytes: u64,
        /// So many are free.
        available_bytes: u64,
    },
    /// The new store could not be written.
    #[error("the store cannot be built")]
    Build(#[from] exchange::ImportError),
    /// Our store cannot be opened.
    #[error("the store in {store} cannot be opened")]
    OpenStore {
        /// Its directory.
        store: PathBuf,
        /// Why.
        #[source]
        source: store::OpenError,
    },
    /// What it holds is no member's state.
    #[error("the store cannot be read")]
    Recover(#[from] apply::RecoverError),
    /// There is no store to hand back.
    #[error("there is no holdfast store in {store}")]
    NoStore {
        /// Where it should be.
        store: PathBuf,
    },
    /// A snapshot of another member is being taken over.
    #[error(
        "the raft log in {wal} is ahead of the store in {store}: start the server once, so that it takes over the \
         snapshot it received"
    )]
    StoreBehind {
        /// The log's directory.
        wal: PathBuf,
        /// The store's.
        store: PathBuf,
    },
    /// The database could not be written.
    #[error("{file} cannot be written")]
    Write {
        /// The database.
        file: PathBuf,
        /// Why.
        #[source]
        source: bolt::WriteError,
    },
    /// The cluster's version is above the release that is to go on.
    #[error(
        "the cluster's version is {}, and etcd {} does not start in such a cluster: {}",
        .cluster.short(), .target.short(), .remedy
    )]
    VersionTooHigh {
        /// What the members agreed on.
        cluster: Version,
        /// Who is to go on.
        target: Version,
        /// What to do.
        remedy: &'static str,
    },
    /// Clients of the API v2 have stored something, which is not handed back.
    #[error(
        "clients of the API v2 have stored something, which is not written for etcd {}: remove it (/v2/keys), and stop the \
         member in order",
        .target.short()
    )]
    V2Stored {
        /// Who is to go on.
        target: Version,
    },
    /// An entry behind the state that the release that is to go on cannot read.
    #[error(
        "entry {index} of the raft log, {what}, has no form in etcd {}: start the server, and stop it in order, so that \
         its state covers the log",
        .target.short()
    )]
    NoForm {
        /// The entry.
        index: u64,
        /// What it is.
        what: String,
        /// Who is to go on.
        target: Version,
    },
}

impl From<PlaceError> for TakeoverError {
    fn from(error: PlaceError) -> TakeoverError {
        let PlaceError { action, path, source } = error;
        TakeoverError::Io { action, path, source }
    }
}

//! Why a member's directory cannot be served.

use std::io;
use std::path::PathBuf;

use apply::RecoverError;
use store::StoreError;
use takeover::TakeoverError;
use types::MemberId;

use crate::install_error::InstallError;

/// Why a directory cannot be served. Each names what is wrong and where.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
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
    /// The raft log could not be begun.
    #[error("the raft log cannot be begun")]
    CreateLog(#[from] wal::CreateError),
    /// The raft log could not be read.
    #[error("the raft log cannot be opened")]
    OpenLog(#[from] wal::OpenError),
    /// The raft log could not be written.
    #[error("the raft log cannot be written")]
    WriteLog(#[from] wal::WriteError),
    /// The store could not be opened.
    #[error("the store cannot be opened")]
    OpenStore(#[from] store::OpenError),
    /// The store's content is not a member's.
    #[error("the store cannot be read")]
    Recover(#[from] RecoverError),
    /// The log holds what no member can start from.
    #[error("the raft log cannot be replayed")]
    Replay(#[from] consensus::BootError),
    /// The log's first record does not say whose log it is.
    #[error("the raft log in {dir} does not say which member wrote it")]
    NoIdentity {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A snapshot that was being taken over cannot be.
    #[error("the snapshot that the log names cannot be taken over")]
    Install(#[from] InstallError),
    /// The store could not be written.
    #[error("the store cannot be written")]
    WriteStore(#[from] StoreError),
    /// A member that has begun before has a log.
    #[error("there is no raft log in {dir}")]
    NoLog {
        /// Where it should be.
        dir: PathBuf,
    },
    /// The founder of a cluster is none of its members.
    #[error("member {name:?} is none of the members that the initial cluster names")]
    NotAmong {
        /// The member's name.
        name: String,
    },
    /// Two members would have the same id.
    #[error("members {one:?} and {other:?} have the same peer URLs")]
    SameUrls {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// The member was removed from its cluster, for ever.
    #[error("member {member:x} was removed from its cluster")]
    Removed {
        /// The member.
        member: MemberId,
    },
    /// Log and store are of two members.
    #[error(
        "the raft log in {log} is that of member {:x} of cluster {:x}, but the store in {store} is that of \
         member {:x} of cluster {:x}",
        .log_of.0, .log_of.1, .store_of.0, .store_of.1
    )]
    OtherMember {
        /// The log's directory.
        log: PathBuf,
        /// Member and cluster it names.
        log_of: (MemberId, u64),
        /// The store's directory.
        store: PathBuf,
        /// Member and cluster it names.
        store_of: (MemberId, u64),
    },
    /// Log and store are of two histories.
    #[error(
        "the store in {store} ends with entry {index} of term {store_term}, but in the raft log in {log} that \
         entry is of term {log_term}: they do not belong together"
    )]
    OtherHistory {
        /// The last entry the store holds.
        index: u64,
        /// Its term there.
        store_term: u64,
        /// Its term in the log.
        log_term: u64,
        /// The log's directory.
        log: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
    /// A Go etcd's directory cannot be taken over, or is not to be.
    #[error("the data directory of a Go etcd is not taken over")]
    Takeover(#[from] TakeoverError),
    /// Log and store do not belong together, or one of them lost its end.
    #[error(
        "the raft log ends at entry {log_last}, but the store in {store} holds entries up to {applied}: \
         the log in {log} has lost its end"
    )]
    LogTooShort {
        /// The last entry of the log.
        log_last: u64,
        /// The last entry the store holds.
        applied: u64,
        /// The log's directory.
        log: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
    /// The log begins behind what the store holds.
    #[error(
        "the raft log in {log} begins after entry {first}, but the store in {store} ends at entry \
         {applied}: the store has lost its end"
    )]
    StoreTooShort {
        /// The entry before the log's first.
        first: u64,
        /// The last entry the store holds.
        applied: u64,
        /// The log's directory.
        log: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
}

impl BootError {
    /// Whether only the store is at fault: it is damaged, or gone, and what this member has promised stands in its log
    /// all the same.
    pub fn is_of_the_store(&self) -> bool {
        match self {
            BootError::OpenStore(store::OpenError::Store(why)) => why.is_damage(),
            BootError::OpenStore(store::OpenError::MissingFile { .. }) => true,
            BootError::Recover(RecoverError::Store(why)) => why.is_damage(),
            BootError::Recover(
                RecoverError::Rows(_) | RecoverError::Member(_) | RecoverError::Lease { .. },
            ) => true,
            BootError::StoreTooShort { .. } => true,
            _ => false,
        }
    }
}

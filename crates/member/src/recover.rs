//! From a directory to the parts of a member: a new one is begun, an old one is read and checked.
//!
//! The raft log and the store are two logs of one history. The store may lag behind, because the raft log
//! keeps everything the store has not synced; it may never be ahead, because what it holds was committed, and
//! so was in the synced log first. A directory where that does not hold has lost something, and is refused.
//!
//! Not here: the lock against a second process, and what an operator is told (see `node`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{Applier, ChangeContext, Member, RecoverError};
use bytes::Bytes;
use consensus::{Boot, Consensus};
use prost::Message as _;
use proto::{raftpb, v2pb};
use store::{Restored, Store};
use types::{Entry, EntryKind, HardState, MemberId};
use vfs::Disk;
use wal::{Marker, Wal};

use crate::{bootstrap_member_id, cluster_id};

/// Where a member is kept and what it is to be.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The directory of the raft log.
    pub wal_dir: PathBuf,
    /// The directory of the store.
    pub store_dir: PathBuf,
    /// Sizes of the raft log.
    pub wal: wal::Options,
    /// Sizes of the store.
    pub store: store::Options,
    /// The member's name.
    pub name: String,
    /// Where peers reach it. With the token they make its id.
    pub peer_urls: Vec<String>,
    /// Enters the ids of a new cluster.
    pub cluster_token: String,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ask around before raising the term.
    pub pre_vote: bool,
    /// Bytes the store may take before writes are answered with no-space.
    pub quota_bytes: Option<u64>,
    /// Learners the cluster takes.
    pub learners_max: usize,
    /// How leases are treated.
    pub leases: lease::Options,
    /// Whether checkpoints of leases are stored whatever the cluster's version.
    pub persist_checkpoints: bool,
    /// Enters raft's jitter.
    pub seed: u64,
}

/// What was noticed on the way, for the operator.
#[derive(Debug)]
pub enum Notice {
    /// Damage that cost nothing but time.
    Ignored {
        /// What was found where.
        what: String,
    },
    /// A torn end of a file, never confirmed as synced, was cut off.
    Repaired {
        /// The file.
        file: PathBuf,
        /// Its length now.
        offset: u64,
    },
    /// A new member was begun.
    Bootstrapped {
        /// The member's id.
        member: MemberId,
        /// The cluster's id.
        cluster: u64,
    },
    /// An existing one was opened.
    Recovered {
        /// The member's id.
        member: MemberId,
        /// The cluster's id.
        cluster: u64,
        /// The last entry in the log.
        log_index: u64,
        /// The last entry whose changes the store holds.
        applied_index: u64,
        /// The store's revision.
        revision: i64,
    },
}

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
    /// The directory is Go etcd's own.
    #[error("{path} is the database of a Go etcd; taking over such a directory is not supported")]
    Foreign {
        /// Its database.
        path: PathBuf,
    },
    /// The directory is that of a member among others, and nobody here speaks to peers yet.
    #[error(
        "{dir} belongs to one of {members} members of a cluster; a cluster of more than one member is not \
         supported yet"
    )]
    SeveralMembers {
        /// The member's directory.
        dir: PathBuf,
        /// How many the cluster has.
        members: usize,
    },
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

/// The parts of a member, ready to be given threads.
pub struct Recovered {
    /// Its id.
    pub member: MemberId,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// The raft log, ready for appending.
    pub wal: Wal,
    /// The raft member.
    pub consensus: Consensus,
    /// The replicated state.
    pub applier: Applier,
    /// The entry the log is marked at.
    pub marked: u64,
    /// The newest term in the log.
    pub term: u64,
}

/// The raft log as found or begun.
struct Log {
    wal: Wal,
    recovered: wal::Recovered,
    marker: Marker,
}

/// Opens the member kept in these directories, or begins one where there is none.
///
/// # Errors
/// [`BootError`] names what cannot be served.
pub fn recover(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    notice: &mut dyn FnMut(Notice),
) -> Result<Recovered, BootError> {
    let wal_dir = &options.wal_dir;
    let existed = io("looking at", wal_dir, Wal::exists(&**disk, wal_dir))?;
    let (store, restored) = Store::open(disk.clone(), &options.store_dir, options.store.clone())?;
    notices_of_store(&restored, options, notice);
    let mut log = if existed {
        open_log(disk, options, restored.applied_index)?
    } else {
        let id = bootstrap_member_id(&options.peer_urls, &options.cluster_token);
        begin_log(disk, options, id)?
    };
    let (member, cluster) = identity(&log.recovered.metadata)
        .ok_or_else(|| BootError::NoIdentity { dir: wal_dir.clone() })?;
    let applier = Applier::open(applier_config(options, member), store, &restored)?;
    if log.recovered.entries.is_empty() && log.recovered.hard_state == HardState::default() {
        // A new log, or one whose first entry a crash kept from being written.
        bootstrap(&mut log, options, member)?;
        notice(Notice::Bootstrapped { member, cluster });
    }
    if let Some(repair) = &log.recovered.repaired {
        notice(Notice::Repaired { file: repair.file.clone(), offset: repair.offset });
    }
    let log_index = log.marker.index + log.recovered.entries.len() as u64;
    let (applied_index, revision) = (restored.applied_index, applier.revision());
    if log_index < applied_index {
        let (log, store) = (wal_dir.clone(), options.store_dir.clone());
        return Err(BootError::LogTooShort {
            log_last: log_index,
            applied: applied_index,
            log,
            store,
        });
    }
    if existed {
        notice(Notice::Recovered { member, cluster, log_index, applied_index, revision });
    }
    let Log { wal, recovered, marker } = log;
    let (term, marked) = (recovered.hard_state.term, marker.index);
    let consensus = consensus(options, member, &applier, recovered, &marker)?;
    Ok(Recovered { member, cluster_id: cluster, wal, consensus, applier, marked, term })
}

fn notices_of_store(restored: &Restored, options: &RecoverOptions, notice: &mut dyn FnMut(Notice)) {
    for damage in &restored.ignored {
        let what = format!("{} at byte {}: {}", damage.file, damage.offset, damage.what);
        notice(Notice::Ignored { what });
    }
    if let Some(repair) = &restored.repaired {
        let file = options.store_dir.join(&repair.file);
        notice(Notice::Repaired { file, offset: repair.offset });
    }
}

fn applier_config(options: &RecoverOptions, member: MemberId) -> apply::Config {
    apply::Config {
        member,
        quota_bytes: options.quota_bytes,
        learners_max: options.learners_max,
        leases: options.leases.clone(),
        persist_checkpoints: options.persist_checkpoints,
    }
}

fn consensus(
    options: &RecoverOptions,
    member: MemberId,
    applier: &Applier,
    recovered: wal::Recovered,
    marker: &Marker,
) -> Result<Consensus, BootError> {
    let election_ticks = options.election_ticks as u64;
    let config = consensus::Config {
        election_ticks,
        jitter_ticks: election_ticks,
        pre_vote: options.pre_vote,
        ..consensus::Config::new(member, options.seed)
    };
    let boot = Boot {
        hard_state: recovered.hard_state,
        conf_state: applier.conf_state(),
        removed: applier.membership().removed().clone(),
        start: (marker.index, marker.term),
        entries: recovered.entries,
        applied: applier.applied().0,
    };
    Ok(Consensus::new(&config, boot)?)
}

fn io<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, BootError> {
    result.map_err(|source| BootError::Io { action, path: path.to_owned(), source })
}

fn begin_log(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    member: MemberId,
) -> Result<Log, BootError> {
    let metadata =
        v2pb::Metadata { node_id: Some(member), cluster_id: Some(cluster_id(&[member])) };
    let metadata = Bytes::from(metadata.encode_to_vec());
    let wal = Wal::create_with(disk.clone(), &options.wal_dir, &metadata, options.wal)?;
    let recovered = wal::Recovered { metadata, ..Default::default() };
    Ok(Log { wal, recovered, marker: Marker::default() })
}

/// Opens the log behind the newest marker that the store has reached.
fn open_log(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    applied: u64,
) -> Result<Log, BootError> {
    let wal_dir = &options.wal_dir;
    let markers = Wal::valid_markers(&**disk, wal_dir)?;
    let Some(marker) = markers.iter().rev().find(|marker| marker.index <= applied) else {
        let first = markers.first().map_or(0, |marker| marker.index);
        let (log, store) = (wal_dir.clone(), options.store_dir.clone());
        return Err(BootError::StoreTooShort { first, applied, log, store });
    };
    let (wal, recovered) = Wal::open_with(disk.clone(), wal_dir, marker, options.wal)?;
    Ok(Log { wal, recovered, marker: marker.clone() })
}

/// Writes the entry every cluster begins with: its one member, committed at term 1.
fn bootstrap(log: &mut Log, options: &RecoverOptions, member: MemberId) -> Result<(), BootError> {
    let context = ChangeContext {
        member: Member {
            id: member,
            peer_urls: options.peer_urls.clone(),
            name: options.name.clone(),
            ..Default::default()
        },
        is_promote: false,
    };
    let change = raftpb::ConfChange {
        id: Some(0),
        r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode as i32),
        node_id: Some(member),
        context: Some(
            serde_json::to_vec(&context).expect("strings and numbers always serialize").into(),
        ),
    };
    let data = change.encode_to_vec().into();
    let entry = Entry { term: 1, index: 1, kind: EntryKind::ConfChange, data };
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    log.wal.append(Some(&hard_state), std::slice::from_ref(&entry))?;
    log.wal.sync()?;
    log.recovered.entries = vec![entry];
    log.recovered.hard_state = hard_state;
    Ok(())
}

fn identity(metadata: &Bytes) -> Option<(MemberId, u64)> {
    let metadata = v2pb::Metadata::decode(metadata.clone()).ok()?;
    Some((metadata.node_id?, metadata.cluster_id?))
}

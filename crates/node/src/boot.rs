//! From a directory to the parts of a member: a new one is begun, an old one is read and checked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apply::{Applier, ChangeContext, Member, RecoverError};
use bytes::Bytes;
use consensus::{Boot, Consensus};
use member::{bootstrap_member_id, cluster_id};
use metrics::Metrics;
use prost::Message as _;
use proto::{raftpb, v2pb};
use store::Store;
use types::{Entry, EntryKind, HardState, MemberId};
use vfs::{Disk, Lock};
use wal::{Marker, Wal};

use crate::{Config, Event, Report};

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
    /// A configuration change in the log is none.
    #[error("the raft log cannot be replayed")]
    Replay(#[from] consensus::envelope::MalformedChange),
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
pub(crate) struct Booted {
    pub(crate) member: MemberId,
    pub(crate) cluster_id: u64,
    pub(crate) wal: Wal,
    pub(crate) consensus: Consensus,
    pub(crate) applier: Applier,
    /// The entry the log is marked at.
    pub(crate) marked: u64,
    /// The newest term in the log.
    pub(crate) term: u64,
    /// Held as long as the member runs.
    pub(crate) lock: Box<dyn Lock>,
}

struct Dirs {
    member: PathBuf,
    wal: PathBuf,
    store: PathBuf,
}

pub(crate) fn boot(
    config: &Config,
    disk: &Arc<dyn Disk>,
    report: &dyn Report,
    metrics: &Metrics,
) -> Result<Booted, BootError> {
    let member_dir = config.data_dir.join("member");
    let dirs = Dirs {
        wal: config.wal_dir.clone().unwrap_or_else(|| member_dir.join("wal")),
        store: member_dir.join("store"),
        member: member_dir,
    };
    io("creating", &dirs.member, disk.create_dir_all(&dirs.member))?;
    let foreign = dirs.member.join("snap").join("db");
    if io("looking at", &foreign, disk.exists(&foreign))? {
        return Err(BootError::Foreign { path: foreign });
    }
    let lock = lock(disk, &dirs.member, report)?;
    let existed = io("looking at", &dirs.wal, Wal::exists(&**disk, &dirs.wal))?;
    let (store, restored) = Store::open(disk.clone(), &dirs.store, store::Options::default())?;
    for damage in &restored.ignored {
        let what = format!("{} at byte {}: {}", damage.file, damage.offset, damage.what);
        report.report(Event::Ignored { what });
    }
    if let Some(repair) = &restored.repaired {
        let file = dirs.store.join(&repair.file);
        report.report(Event::Repaired { file, offset: repair.offset });
    }
    let options = lease::Options {
        checkpoints: config.lease_checkpoints,
        ..lease::Options::new(lease::Options::ttl_seconds_min(
            config.election_ticks as u64,
            u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX),
        ))
    };
    let id = bootstrap_member_id(&config.peer_urls, &config.cluster_token);
    let (wal, recovered, marker) = if existed {
        open_log(disk, &dirs, restored.applied_index)?
    } else {
        begin_log(disk, &dirs, id)?
    };
    let (member, cluster) = identity(&recovered.metadata)
        .ok_or_else(|| BootError::NoIdentity { dir: dirs.wal.clone() })?;
    let applier_config = apply::Config {
        member,
        quota_bytes: config.limits.quota_bytes,
        learners_max: config.learners_max,
        leases: options,
        persist_checkpoints: config.persist_lease_checkpoints,
    };
    let applier = Applier::open(applier_config, store, &restored)?;
    let mut wal = wal;
    let mut recovered = recovered;
    if recovered.entries.is_empty() && recovered.hard_state == HardState::default() {
        // A new log, or one whose first entry a crash kept from being written.
        bootstrap(&mut wal, &mut recovered, config, member)?;
        report.report(Event::Bootstrapped { member, cluster });
    }
    if let Some(repair) = &recovered.repaired {
        let (file, offset) = (repair.file.clone(), repair.offset);
        report.report(Event::Repaired { file, offset });
    }
    let log_last = marker.index + recovered.entries.len() as u64;
    let applied = restored.applied_index;
    if log_last < applied {
        return Err(BootError::LogTooShort { log_last, applied, log: dirs.wal, store: dirs.store });
    }
    if existed {
        report.report(Event::Recovered {
            member,
            cluster,
            log_index: log_last,
            applied_index: applied,
            revision: applier.revision(),
        });
    }
    metrics.mvcc.compact_revision.set(applier.compact_revision());
    let term = recovered.hard_state.term;
    let consensus = Consensus::new(
        &consensus::Config {
            id: member,
            election_ticks: config.election_ticks,
            heartbeat_ticks: 1,
            pre_vote: config.pre_vote,
            seed: member ^ u64::from(std::process::id()),
        },
        Boot {
            hard_state: recovered.hard_state,
            conf_state: applier.conf_state(),
            start: (marker.index, marker.term),
            entries: recovered.entries,
            applied,
        },
    )?;
    let marked = marker.index;
    Ok(Booted { member, cluster_id: cluster, wal, consensus, applier, marked, term, lock })
}

fn io<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, BootError> {
    result.map_err(|source| BootError::Io { action, path: path.to_owned(), source })
}

/// As etcd does, a second process on the same directory waits, and says so after a while
/// (`reference/server-flags.md` 6.3).
fn lock(disk: &Arc<dyn Disk>, dir: &Path, report: &dyn Report) -> Result<Box<dyn Lock>, BootError> {
    const SAY_SO_AFTER: Duration = Duration::from_secs(10);
    let path = dir.join("lock");
    let began = Instant::now();
    let mut said = false;
    loop {
        if let Some(lock) = io("locking", &path, disk.lock(&path))? {
            return Ok(lock);
        }
        if !said && SAY_SO_AFTER <= began.elapsed() {
            said = true;
            report.report(Event::Locked { file: path.clone() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn begin_log(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    member: MemberId,
) -> Result<(Wal, wal::Recovered, Marker), BootError> {
    let metadata =
        v2pb::Metadata { node_id: Some(member), cluster_id: Some(cluster_id(&[member])) };
    let metadata = Bytes::from(metadata.encode_to_vec());
    let wal = Wal::create(disk.clone(), &dirs.wal, &metadata)?;
    let recovered = wal::Recovered { metadata, ..Default::default() };
    Ok((wal, recovered, Marker::default()))
}

/// Opens the log behind the newest marker that the store has reached.
fn open_log(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    applied: u64,
) -> Result<(Wal, wal::Recovered, Marker), BootError> {
    let markers = Wal::valid_markers(&**disk, &dirs.wal)?;
    let Some(marker) = markers.iter().rev().find(|marker| marker.index <= applied) else {
        let first = markers.first().map_or(0, |marker| marker.index);
        return Err(BootError::StoreTooShort {
            first,
            applied,
            log: dirs.wal.clone(),
            store: dirs.store.clone(),
        });
    };
    let (wal, recovered) = Wal::open(disk.clone(), &dirs.wal, marker)?;
    Ok((wal, recovered, marker.clone()))
}

/// Writes the entry every cluster begins with: its one member, committed at term 1.
fn bootstrap(
    wal: &mut Wal,
    recovered: &mut wal::Recovered,
    config: &Config,
    member: MemberId,
) -> Result<(), BootError> {
    let context = ChangeContext {
        member: Member {
            id: member,
            peer_urls: config.peer_urls.clone(),
            name: config.name.clone(),
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
    wal.append(Some(&hard_state), std::slice::from_ref(&entry))?;
    wal.sync()?;
    recovered.entries = vec![entry];
    recovered.hard_state = hard_state;
    Ok(())
}

fn identity(metadata: &Bytes) -> Option<(MemberId, u64)> {
    let metadata = v2pb::Metadata::decode(metadata.clone()).ok()?;
    Some((metadata.node_id?, metadata.cluster_id?))
}

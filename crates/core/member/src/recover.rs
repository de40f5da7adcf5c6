//! From a directory to the parts of a member: a new one is begun, an old one is read and checked.
//!
//! The raft log and the store are two logs of one history. The store may lag behind, because the raft log
//! keeps everything the store has not synced; it may never be ahead, because what it holds was committed, and
//! so was in the synced log first. A directory where that does not hold has lost something, and is refused. So is
//! one where the two are not of one member, or not of one history. A start that is refused writes nothing.
//!
//! Not here: the lock against a second process, and what an operator is told (see `node`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::Applier;
use bytes::Bytes;
use consensus::{Boot, Consensus};
use exchange::place::{exchange_stores, is_built};
use exchange::{STORE_IDENTITY, identity_row};
use prost::Message as _;
use proto::v2pb;
use store::{Batch, Bucket, Restored, StateChange, Store, StoreError};
use types::MemberId;
use vfs::Disk;
use wal::{Marker, Wal};

use crate::Run;
use crate::Stored;
use crate::begin::{self, Begin, Beginning};
use crate::boot_error::BootError;
use crate::install::{self, Installer};
use crate::install_error::InstallError;

/// Where a member is kept and what it is to be.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The directory of the raft log.
    pub wal_dir: PathBuf,
    /// The directory of the store.
    pub store_dir: PathBuf,
    /// Where snapshots of other members arrive.
    pub snap_dir: PathBuf,
    /// Sizes of the raft log.
    pub wal: wal::Options,
    /// Sizes of the store.
    pub store: store::Options,
    /// The member's name.
    pub name: String,
    /// How it begins.
    pub begin: Begin,
    /// The calendar, in milliseconds since 1970. Enters the ids of requests.
    pub unix_ms: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ask around before raising the term.
    pub pre_vote: bool,
    /// Bytes of proposals that may be in the log and not applied.
    pub uncommitted_bytes_max: u64,
    /// Bytes the store may take before writes are answered with no-space.
    pub quota_bytes: Option<u64>,
    /// Learners the cluster takes.
    pub learners_max: usize,
    /// How leases are treated.
    pub leases: lease::Options,
    /// Whether checkpoints of leases are stored whatever the cluster's version.
    pub persist_checkpoints: bool,
    /// The largest store, in bytes, of which a compaction hashes the rows.
    pub hashed_bytes_max: u64,
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
    /// The last entry in the log.
    pub log_index: u64,
    /// Everything up to here was committed before this run began, so nobody of this run waits for it.
    pub committed: u64,
    /// Which run this is, for the ids of its requests.
    pub run: Run,
    /// Takes over snapshots of other members.
    pub installer: Installer,
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
    // What can be refused without a store is, before there is one.
    let found = if existed {
        Found::Log(Wal::valid_markers(&**disk, wal_dir)?)
    } else {
        Found::Nothing(begin::beginning(&options.begin, &options.name, wal_dir)?)
    };
    refuse_to_make_a_store(disk, options, &found)?;
    let (mut store, restored) = open_store(disk, options, &found)?;
    notices_of_store(&restored, options, notice);
    let mut log = match found {
        Found::Log(markers) => {
            // Where the store is ours, the end of the log is too: nobody else goes on with both.
            let is_ours = stored_identity(&store).is_some();
            open_log(disk, options, &markers, restored.applied_index, is_ours)?
        }
        Found::Nothing(_) if 0 < restored.applied_index => {
            return Err(too_short(options, 0, restored.applied_index));
        }
        Found::Nothing(beginning) => begin_log(disk, options, beginning)?,
    };
    let (member, cluster) = identity(&log.recovered.metadata)
        .ok_or_else(|| BootError::NoIdentity { dir: wal_dir.clone() })?;
    belong_together(options, &log, &store, &restored, (member, cluster))?;
    let run = remember(&mut store, &restored, (member, cluster), options.unix_ms)?;
    let installer = installer(disk, options, (member, cluster), run);
    let applier = Applier::open(installer.apply.clone(), store, &restored)?;
    match options.begin {
        Begin::ForceNew => go_on_alone(&mut log, &applier, member)?,
        _ if applier.membership().was_removed(member) => return Err(BootError::Removed { member }),
        _ => {}
    }
    if !existed {
        notice(Notice::Bootstrapped { member, cluster });
    }
    if let Some(repair) = &log.recovered.repaired {
        notice(Notice::Repaired { file: repair.file.clone(), offset: repair.offset });
    }
    let (log_index, applied_index) = (log.last_index(), restored.applied_index);
    let revision = applier.revision();
    if existed {
        notice(Notice::Recovered { member, cluster, log_index, applied_index, revision });
    }
    let Log { wal, recovered, marker } = log;
    let (term, marked) = (recovered.hard_state.term, marker.index);
    let committed = recovered.hard_state.commit.max(applied_index).min(log_index);
    let consensus = consensus(options, member, &applier, recovered, &marker)?;
    Ok(Recovered {
        member,
        cluster_id: cluster,
        wal,
        consensus,
        applier,
        marked,
        term,
        log_index,
        committed,
        run,
        installer,
    })
}

fn installer(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    (member, cluster): (MemberId, u64),
    run: Run,
) -> Installer {
    Installer {
        disk: disk.clone(),
        store_dir: options.store_dir.clone(),
        snap_dir: options.snap_dir.clone(),
        store: options.store.clone(),
        apply: applier_config(options, member),
        identity: identity_row((member, cluster), run.number),
    }
}

/// Opens the store, once a snapshot that was being taken over when the last run ended is in its place. Where the log
/// begins anew at a snapshot that the store has not reached, the snapshot's file is there.
fn open_store(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    found: &Found,
) -> Result<(Store, Restored), BootError> {
    let RecoverOptions { store_dir, snap_dir, .. } = options;
    let bounds = || store::Options { quota_bytes: options.quota_bytes, ..options.store.clone() };
    let open = || Store::open(disk.clone(), store_dir, bounds());
    exchange_stores(disk, store_dir).map_err(InstallError::from)?;
    let mut opened = open()?;
    let Found::Log(markers) = found else { return Ok(opened) };
    let newest = markers.iter().max_by_key(|marker| marker.index);
    if let Some(Marker { index, term, conf_state: Some(conf_state) }) = newest
        && opened.1.applied_index < *index
        && io("looking at", snap_dir, disk.exists(&install::spooled(snap_dir, *index)))?
    {
        let at = Stored { index: *index, term: *term, conf_state: conf_state.clone() };
        let row = opened.0.state().get(Bucket::Meta, STORE_IDENTITY).cloned();
        drop(opened);
        install::build(disk, store_dir, snap_dir, &at, row.unwrap_or_default())?;
        exchange_stores(disk, store_dir).map_err(InstallError::from)?;
        opened = open()?;
    }
    install::discard(disk, store_dir, snap_dir, None)?;
    Ok(opened)
}

/// What there is of a log before anything is written.
enum Found {
    /// One that may be read from behind these markers.
    Log(Vec<Marker>),
    /// None; it would begin so.
    Nothing(Beginning),
}

/// A log whose beginning was let go cannot be served without its store, so none is made for it.
fn refuse_to_make_a_store(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    found: &Found,
) -> Result<(), BootError> {
    let Found::Log(markers) = found else { return Ok(()) };
    let dir = &options.store_dir;
    // Between two renames the store of a snapshot is there under its first name only.
    let there = is_built(disk, dir).map_err(InstallError::from)?
        || io("looking at", dir, disk.exists(dir))?
            && io("listing", dir, disk.list(dir)).is_ok_and(|names| !names.is_empty());
    match markers.first() {
        Some(first) if !there && 0 < first.index => Err(BootError::StoreTooShort {
            first: first.index,
            applied: 0,
            log: options.wal_dir.clone(),
            store: dir.clone(),
        }),
        _ => Ok(()),
    }
}

fn too_short(options: &RecoverOptions, log_last: u64, applied: u64) -> BootError {
    let (log, store) = (options.wal_dir.clone(), options.store_dir.clone());
    BootError::LogTooShort { log_last, applied, log, store }
}

/// Log and store are two halves of one member: it says so in both, the log reaches as far as the store, and at the
/// entry where the store ends both mean the same one.
fn belong_together(
    options: &RecoverOptions,
    log: &Log,
    store: &Store,
    restored: &Restored,
    log_of: (MemberId, u64),
) -> Result<(), BootError> {
    if let Some((store_of, _)) = stored_identity(store)
        && store_of != log_of
    {
        return Err(BootError::OtherMember {
            log: options.wal_dir.clone(),
            log_of,
            store: options.store_dir.clone(),
            store_of,
        });
    }
    let index = restored.applied_index;
    // A log that begins anew at a snapshot has nothing before that. With neither the snapshot nor its store, what this
    // member has acknowledged is lost.
    let last = log.last_index();
    if let Some(ahead) = log.recovered.markers.iter().find(|marker| last < marker.index) {
        return Err(BootError::StoreTooShort {
            first: ahead.index,
            applied: index,
            log: options.wal_dir.clone(),
            store: options.store_dir.clone(),
        });
    }
    if log.last_index() < index {
        return Err(too_short(options, log.last_index(), index));
    }
    let log_term = log.term_at(index);
    if log_term != restored.applied_term {
        return Err(BootError::OtherHistory {
            index,
            store_term: restored.applied_term,
            log_term,
            log: options.wal_dir.clone(),
            store: options.store_dir.clone(),
        });
    }
    Ok(())
}

impl Log {
    fn last_index(&self) -> u64 {
        self.marker.index + self.recovered.entries.len() as u64
    }

    /// The term of an entry at or behind the marker.
    fn term_at(&self, index: u64) -> u64 {
        match index - self.marker.index {
            0 => self.marker.term,
            behind => self.recovered.entries[behind as usize - 1].term,
        }
    }
}

/// Whose store this is, and the number of its last run; nothing if nobody said so yet.
fn stored_identity(store: &Store) -> Option<((MemberId, u64), u64)> {
    let row = store.state().get(Bucket::Meta, STORE_IDENTITY)?;
    let number = |at: usize| Some(u64::from_be_bytes(row.get(at..at + 8)?.try_into().ok()?));
    Some(((number(0)?, number(8)?), number(16)?))
}

/// Writes into the store whose it is and which run this is, before anything depends on either.
fn remember(
    store: &mut Store,
    restored: &Restored,
    (member, cluster): (MemberId, u64),
    unix_ms: u64,
) -> Result<Run, StoreError> {
    let number = stored_identity(store).map_or(0, |(_, last)| last.wrapping_add(1));
    let value = identity_row((member, cluster), number);
    let key = Bytes::from_static(STORE_IDENTITY);
    let state = vec![StateChange::Set { bucket: Bucket::Meta, key, value }];
    let (index, term) = (restored.applied_index, restored.applied_term);
    store.append(&Batch { index, term, rows: Vec::new(), state });
    store.flush()?;
    let synced = store.sync_handle().and_then(store::SyncHandle::sync)?;
    store.synced(synced);
    Ok(Run { number, unix_ms })
}

/// Ends the log at its last committed entry and removes everybody else behind that.
fn go_on_alone(log: &mut Log, applier: &Applier, member: MemberId) -> Result<(), BootError> {
    let recovered = &mut log.recovered;
    let (start, hard_state) = (log.marker.index, recovered.hard_state);
    let alone = begin::alone(applier, member, start, &recovered.entries, hard_state)?;
    recovered.entries.truncate((alone.commit - start) as usize);
    recovered.entries.extend(alone.entries.iter().cloned());
    recovered.hard_state = alone.hard_state;
    let commit = hard_state.commit.min(alone.hard_state.commit);
    log.wal.append(Some(&types::HardState { commit, ..alone.hard_state }), &alone.entries)?;
    log.wal.sync()?;
    log.wal.append(Some(&alone.hard_state), &[])?;
    Ok(log.wal.sync()?)
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
        hashed_bytes_max: options.hashed_bytes_max,
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
        uncommitted_bytes_max: options.uncommitted_bytes_max,
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

pub(crate) fn io<T>(
    action: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, BootError> {
    result.map_err(|source| BootError::Io { action, path: path.to_owned(), source })
}

fn begin_log(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    beginning: Beginning,
) -> Result<Log, BootError> {
    let Beginning { member, cluster, hard_state, entries } = beginning;
    let metadata = v2pb::Metadata { node_id: Some(member), cluster_id: Some(cluster) };
    let metadata = Bytes::from(metadata.encode_to_vec());
    let (disk, dir) = (disk.clone(), &options.wal_dir);
    let wal = Wal::create_begun(disk, dir, &metadata, options.wal, &hard_state, &entries)?;
    let recovered = wal::Recovered { metadata, hard_state, entries, ..Default::default() };
    Ok(Log { wal, recovered, marker: Marker::default() })
}

/// Opens the log behind the newest marker that the store has reached.
fn open_log(
    disk: &Arc<dyn Disk>,
    options: &RecoverOptions,
    markers: &[Marker],
    applied: u64,
    is_ours: bool,
) -> Result<Log, BootError> {
    let wal_dir = &options.wal_dir;
    if markers.is_empty() {
        // Every log begins at a marker, so what proved it to be committed has gone.
        return Err(too_short(options, 0, applied));
    }
    let reached = markers.iter().filter(|marker| marker.index <= applied);
    let Some(marker) = reached.max_by_key(|marker| marker.index) else {
        let first = markers.first().map_or(0, |marker| marker.index);
        let (log, store) = (wal_dir.clone(), options.store_dir.clone());
        return Err(BootError::StoreTooShort { first, applied, log, store });
    };
    let wal_options = wal::Options { commits_are_durable: is_ours, ..options.wal };
    let (wal, recovered) = Wal::open_with(disk.clone(), wal_dir, marker, wal_options)?;
    Ok(Log { wal, recovered, marker: marker.clone() })
}

pub(crate) fn identity(metadata: &Bytes) -> Option<(MemberId, u64)> {
    let metadata = v2pb::Metadata::decode(metadata.clone()).ok()?;
    Some((metadata.node_id?, metadata.cluster_id?))
}

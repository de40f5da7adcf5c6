//! A member in one thread: the machines of `member`, driven one small step after the other.
//!
//! What production gives to threads stands here between calls, each for a step or more: a sync of the store, a
//! round of cleaning, an index image, a hash, the next segment of the log. So every order in which a power
//! cut can find them comes up by itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use apply::{Applier, Asker, Fault};
use consensus::Scope;
use member::{
    Begin, BootError, CheckpointJob, Chore, Engine, EngineEffect, EngineOptions, Front,
    FrontEffect, FrontInput, FrontOptions, HashRead, House, LogWork, LogWriter, Mark, Proposal,
    RecoverOptions, RequestIds, Syncing, recover,
};
use proto::etcdserverpb as pb;
use store::{CleanProgress, Cleaning};
use types::{Entry, Version};
use vfs::MemoryDisk;
use wal::{Preparation, WriteError};

use crate::Picture;
use crate::picture::told;

/// Why a member ended, as its last line in the log would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped(pub String);

impl From<WriteError> for Stopped {
    fn from(error: WriteError) -> Stopped {
        Stopped(told(&error))
    }
}

impl From<Fault> for Stopped {
    fn from(error: Fault) -> Stopped {
        Stopped(told(&error))
    }
}

/// A lone member over a disk.
pub struct Lone {
    front: Front,
    engine: Engine,
    log: LogWriter,
    house: House,
    now_ms: u64,
    ids: u64,
    steps: u64,
    to_front: VecDeque<FrontInput>,
    to_log: VecDeque<LogWork>,
    to_engine: VecDeque<Entry>,
    syncing: Option<Syncing>,
    preparing: Option<Preparation>,
    cleaning: Option<Box<Cleaning>>,
    checkpoint: Option<Box<CheckpointJob>>,
    hashing: Option<HashRead>,
    defragmenting: bool,
    /// The last entry in the log when it was opened.
    log_index: u64,
    /// The state of the last run, before this run's first entry, and its index.
    found: Option<(u64, Result<Picture, String>)>,
    /// A picture after each entry, if wanted.
    album: Option<Vec<(u64, Picture)>>,
    /// Upkeep that failed; the member goes on without.
    pub given_up: Vec<String>,
}

/// Where everything lies.
const DIR: &str = "/data/member";

/// Bounds so small that a short run fills, seals, cleans, recycles and releases.
pub fn options() -> RecoverOptions {
    RecoverOptions {
        wal_dir: PathBuf::from(DIR).join("wal"),
        store_dir: PathBuf::from(DIR).join("store"),
        snap_dir: PathBuf::from(DIR).join("snap"),
        wal: wal::Options {
            segment_bytes: 4096,
            tail_step_bytes: 1024,
            tail_ahead_bytes: 1024,
            spare_step_bytes: 2048,
            commits_are_durable: false,
        },
        store: store::Options {
            segment_bytes: 3000,
            clean_live_percent: 60,
            clean_garbage_bytes_min: 400,
            frame_bytes_max: 300,
            clean_spare_bytes: 0,
            quota_bytes: None,
            tail_bytes_max: 1500,
            recent_bytes_max: 600,
        },
        name: "lone".into(),
        begin: Begin::alone("lone", &["http://127.0.0.1:2380".into()], "proof"),
        unix_ms: 1,
        election_ticks: 10,
        pre_vote: true,
        uncommitted_bytes_max: 64 << 20,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options { checkpoints: true, ..lease::Options::new(2) },
        persist_checkpoints: true,
        hashed_bytes_max: u64::MAX,
        seed: 1,
    }
}

fn front_options() -> FrontOptions {
    FrontOptions {
        proposals_pending_max: 1000,
        committed_applied_gap_max: 5000,
        read_retry_ticks: 5,
        leader_wait_ticks: 70,
        snapshot_count: 12,
        catchup_entries: 5,
        reads_waiting_max: 1000,
        election_ticks: 10,
        lagging_bytes_max: 64 << 20,
        log_file_bytes_max: 1 << 28,
        snapshot_hold_ticks: 300,
        log_bytes_max: 64 << 20,
    }
}

impl Lone {
    /// Opens what is on the disk, or begins a new member, elects itself and applies what its log holds.
    ///
    /// # Errors
    /// Why the directory cannot be served, or why the member ended at once.
    pub fn boot(disk: &MemoryDisk, now_ms: u64) -> Result<Lone, BootError> {
        let shared: Arc<dyn vfs::Disk> = Arc::new(disk.clone());
        let parts = recover(&shared, &options(), &mut |_| {})?;
        let applied = parts.applier.applied().0;
        let engine_options = EngineOptions {
            member: parts.member,
            election_ms: 1000,
            cluster_version: Version::new(3, 7),
            committed_before: parts.committed,
        };
        let own = (parts.member, RequestIds::new(parts.member, parts.run, 0, 1));
        Ok(Lone {
            front: Front::new(parts.consensus, front_options(), own, applied, parts.marked),
            engine: Engine::new(parts.applier, watch::Limits::default(), engine_options),
            log: LogWriter::new(parts.wal, 2, true),
            house: House::new(25),
            now_ms,
            ids: now_ms << 20,
            steps: 0,
            to_front: VecDeque::new(),
            to_log: VecDeque::new(),
            to_engine: VecDeque::new(),
            syncing: None,
            preparing: None,
            cleaning: None,
            checkpoint: None,
            hashing: None,
            defragmenting: false,
            log_index: parts.log_index,
            found: None,
            album: None,
            given_up: Vec::new(),
        })
    }

    /// Keeps a picture of the state after each entry from now on.
    pub fn keep_pictures(&mut self) {
        self.album = Some(Vec::new());
    }

    /// The pictures kept.
    pub fn pictures(&mut self) -> Vec<(u64, Picture)> {
        self.album.take().unwrap_or_default()
    }

    /// Elects itself, which commits and applies all its log holds.
    ///
    /// # Errors
    /// Why the member ended.
    pub fn start(&mut self) -> Result<(), Stopped> {
        let effects = self.front.start();
        self.front_effects(effects);
        self.pump()
    }

    /// What the last run left: the last entry in its log, and the state after it. There once [`Lone::start`]
    /// has returned.
    pub fn take_found(&mut self) -> Option<(u64, Result<Picture, String>)> {
        self.found.take()
    }

    /// The replicated state.
    pub fn applier(&self) -> &Applier {
        self.engine.applier()
    }

    /// Every entry up to this one was committed, so it was in the synced log: it may never be lost.
    pub fn committed(&self) -> u64 {
        self.engine.applier().applied().0
    }

    /// The time by this member's clock.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Proposes requests as one group.
    pub fn propose(&mut self, requests: impl IntoIterator<Item = pb::InternalRaftRequest>) {
        self.propose_as(requests, &Asker::default(), Scope::Anyone);
    }

    fn propose_as(
        &mut self,
        requests: impl IntoIterator<Item = pb::InternalRaftRequest>,
        asker: &Asker,
        scope: Scope,
    ) {
        let proposals = requests.into_iter().map(|request| {
            self.ids += 1;
            Proposal::of(request, self.ids, scope, asker.clone())
        });
        let proposals = proposals.collect();
        self.to_front.push_back(FrontInput::Propose(proposals));
    }

    /// Asks for everything to be cleaned.
    ///
    /// # Errors
    /// Why the member ended.
    pub fn defragment(&mut self) -> Result<(), Stopped> {
        self.defragmenting = true;
        let chores = self.house.defragment(&mut self.engine)?;
        self.chores(chores);
        Ok(())
    }

    /// Whether a cleaning of everything is still under way.
    pub fn is_defragmenting(&self) -> bool {
        self.defragmenting
    }

    /// Lets time pass, does all that is waiting, then one step of everything that takes longer.
    ///
    /// # Errors
    /// Why the member ended.
    pub fn step(&mut self, ms: u64) -> Result<(), Stopped> {
        self.steps += 1;
        self.now_ms += ms;
        self.to_front.push_back(FrontInput::Ticked);
        let effects = self.engine.ticked(self.now_ms);
        self.engine_effects(effects);
        self.pump()?;
        self.upkeep()?;
        self.pump()
    }

    /// Ends as after a signal: a store that needs no replay, a mark in the log.
    ///
    /// # Errors
    /// Why the member ended before it was through.
    pub fn leave(mut self) -> Result<(), Stopped> {
        let stored = self.house.leave(&mut self.engine)?;
        self.log.take(LogWork::Mark(Mark { keep_from: stored.index, stored }))?;
        self.log.sync_all()?;
        self.log.finish()?;
        Ok(())
    }

    fn pump(&mut self) -> Result<(), Stopped> {
        loop {
            if let Some(input) = self.to_front.pop_front() {
                let effects = self.front.step(input);
                self.front_effects(effects);
            } else if !self.to_log.is_empty() {
                self.write_log()?;
            } else if !self.to_engine.is_empty() {
                self.apply()?;
            } else {
                return Ok(());
            }
        }
    }

    fn front_effects(&mut self, effects: Vec<FrontEffect>) {
        for effect in effects {
            match effect {
                FrontEffect::Persist(persist) => self.to_log.push_back(LogWork::Persist(persist)),
                FrontEffect::Mark(mark) => self.to_log.push_back(LogWork::Mark(mark)),
                FrontEffect::Apply(entries) => self.to_engine.extend(entries),
                FrontEffect::SyncStore => self.begin_sync(),
                FrontEffect::Standing(standing) => self.engine.stands(standing),
                FrontEffect::Send(_) | FrontEffect::ReadReady { .. } => {}
                FrontEffect::SendSnapshot(_)
                | FrontEffect::Install(_)
                | FrontEffect::SnapshotUnused { .. }
                | FrontEffect::ReadLog(_)
                | FrontEffect::LogLost(_) => unreachable!("nobody is there to lag"),
                FrontEffect::Refuse { refusal, .. } => panic!("refused: {refusal:?}"),
            }
        }
    }

    fn begin_sync(&mut self) {
        // An error shows with the next flush.
        self.syncing = self.engine.begin_sync().ok();
    }

    /// One round of the log writer, as its thread does it.
    fn write_log(&mut self) -> Result<(), Stopped> {
        while let Some(work) = self.to_log.pop_front() {
            self.log.take(work)?;
        }
        self.log.sync()?;
        let done = self.log.finish()?;
        if let Some(number) = done.persisted {
            self.to_front.push_back(FrontInput::Persisted { number });
        }
        if let Some(preparation) = done.preparation {
            self.preparing = Some(preparation);
        }
        Ok(())
    }

    /// Applies what is committed: as one group, or one by one where pictures are wanted.
    fn apply(&mut self) -> Result<(), Stopped> {
        let entries: Vec<Entry> = self.to_engine.drain(..).collect();
        let alone = self.album.is_some() || self.found.is_none();
        for group in entries.chunks(if alone { 1 } else { entries.len() }) {
            if self.found.is_none() && self.log_index < group[0].index {
                let index = group[0].index - 1;
                self.found = Some((index, Picture::take(self.engine.applier())));
            }
            let effects = self.engine.apply(group, self.now_ms)?;
            self.engine_effects(effects);
            if let Some(album) = &mut self.album {
                let picture = Picture::take(self.engine.applier());
                album.push((group[0].index, picture.expect("the disk works")));
            }
        }
        Ok(())
    }

    fn engine_effects(&mut self, effects: Vec<EngineEffect>) {
        for effect in effects {
            match effect {
                EngineEffect::Applied { index, changes } => {
                    self.to_front.push_back(FrontInput::Applied { index, changes });
                }
                EngineEffect::SyncStore => self.begin_sync(),
                EngineEffect::Hash(job) => self.hashing = Some(job.into()),
                EngineEffect::Propose { request, asker, scope } => {
                    self.propose_as([*request], &asker, scope);
                }
                EngineEffect::Publish(_)
                | EngineEffect::Reply { .. }
                | EngineEffect::Send { .. }
                | EngineEffect::ReadHistory(_)
                | EngineEffect::Removed
                | EngineEffect::Cluster
                | EngineEffect::Tokens(_)
                | EngineEffect::V2Told(_)
                | EngineEffect::V2Ended
                | EngineEffect::V2Ends { .. } => {}
            }
        }
    }

    fn chores(&mut self, chores: Vec<Chore>) {
        for chore in chores {
            match chore {
                Chore::Clean(cleaning) => self.cleaning = Some(cleaning),
                Chore::Checkpoint(job) => self.checkpoint = Some(job),
                Chore::Publish(_) => {}
                Chore::Defragmented | Chore::NotDefragmented => self.defragmenting = false,
            }
        }
    }

    /// A step of whatever is under way. The order turns, so that each is at times before and after each.
    fn upkeep(&mut self) -> Result<(), Stopped> {
        for place in 0..6 {
            match (place + self.steps) % 6 {
                0 => self.sync_store()?,
                1 => self.clean()?,
                2 => self.write_checkpoint()?,
                3 => self.prepare_log(),
                4 => self.prune(),
                _ => {
                    let chores = self.house.tick(&mut self.engine)?;
                    self.chores(chores);
                }
            }
        }
        Ok(())
    }

    fn sync_store(&mut self) -> Result<(), Stopped> {
        let Some(Syncing { handle, stored }) = self.syncing.take() else { return Ok(()) };
        let done = handle.sync().map_err(|error| Stopped(told(&error)))?;
        self.engine.synced(done);
        self.to_front.push_back(FrontInput::Stored(stored));
        Ok(())
    }

    fn clean(&mut self) -> Result<(), Stopped> {
        let Some(mut cleaning) = self.cleaning.take() else { return Ok(()) };
        let succeeded = match cleaning.step(500) {
            Ok(CleanProgress::More) => {
                self.cleaning = Some(cleaning);
                return Ok(());
            }
            Ok(CleanProgress::Done) => true,
            Err(error) => {
                self.given_up.push(told(&error));
                false
            }
        };
        let chores = self.house.cleaned(&mut self.engine, *cleaning, succeeded)?;
        self.chores(chores);
        Ok(())
    }

    fn write_checkpoint(&mut self) -> Result<(), Stopped> {
        let Some(mut job) = self.checkpoint.take() else { return Ok(()) };
        let done = match job.step() {
            Ok(None) => {
                self.checkpoint = Some(job);
                return Ok(());
            }
            Ok(Some(done)) => Ok(done),
            Err(error) => Err(error),
        };
        if let Err(error) = self.house.checkpointed(&mut self.engine, done) {
            self.given_up.push(told(&error));
        }
        Ok(())
    }

    fn prepare_log(&mut self) {
        let Some(preparation) = self.preparing.take() else { return };
        if let Err(error) = self.log.prepared(preparation.run()) {
            self.given_up.push(told(&error));
        }
    }

    fn prune(&mut self) {
        if let Some(mut hashing) = self.hashing.take() {
            match hashing.step(700) {
                Ok(None) => self.hashing = Some(hashing),
                Ok(Some(triple)) => self.engine.hashed(Some(triple)),
                Err(error) => {
                    self.given_up.push(told(&error));
                    self.engine.hashed(None);
                }
            }
        }
        self.engine.prune(4);
    }
}

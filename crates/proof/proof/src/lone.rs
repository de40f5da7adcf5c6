//! A member in one thread: the machines of `member`, driven one small step after the other.
//!
//! What production gives to threads stands here between calls, each for a step or more: a sync of the store, a
//! round of cleaning, an index image, a hash, the next segment of the log. So every order in which a power
//! cut can find them comes up by itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use apply::{Applier, Asker};
use consensus::Scope;
use member::{
    Applying, ApplyingEffect, ApplyingInput, Asked, Begin, BootError, CheckpointJob, Chore, Ended,
    Engine, EngineEffect, EngineOptions, Front, FrontEffect, FrontInput, FrontOptions, HashRead,
    LogEffect, LogInput, LogWork, LogWriter, Machines, Mark, Proposal, RecoverOptions, RequestIds,
    Syncing, recover,
};
use proto::etcdserverpb as pb;
use store::{CleanProgress, Cleaning};
use types::Version;
use vfs::MemoryDisk;
use wal::Preparation;

use crate::Picture;
use crate::picture::told;

/// Why a member ended, as its last line in the log would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped(pub String);

impl From<Ended> for Stopped {
    fn from(error: Ended) -> Stopped {
        Stopped(told(&error))
    }
}

/// A lone member over a disk.
pub struct Lone {
    machines: Machines,
    now_ms: u64,
    ids: u64,
    steps: u64,
    syncing: VecDeque<Syncing>,
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
        let front = Front::new(parts.consensus, front_options(), own, applied, parts.marked);
        let engine = Engine::new(parts.applier, watch::Limits::default(), engine_options);
        let applying = Applying::new(engine, 25, parts.installer);
        let log = LogWriter::new(parts.wal, 2, true);
        Ok(Lone {
            machines: Machines::new(front, applying, log),
            now_ms,
            ids: now_ms << 20,
            steps: 0,
            syncing: VecDeque::new(),
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
        let asked = self.machines.start();
        self.asked(asked);
        self.pump()
    }

    /// What the last run left: the last entry in its log, and the state after it. There once [`Lone::start`]
    /// has returned.
    pub fn take_found(&mut self) -> Option<(u64, Result<Picture, String>)> {
        self.found.take()
    }

    /// The replicated state.
    pub fn applier(&self) -> &Applier {
        self.machines.applying.engine().applier()
    }

    /// Every entry up to this one was committed, so it was in the synced log: it may never be lost.
    pub fn committed(&self) -> u64 {
        self.applier().applied().0
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
        self.machines.tell_front(FrontInput::Propose(proposals));
    }

    /// Asks for everything to be cleaned.
    ///
    /// # Errors
    /// Why the member ended.
    pub fn defragment(&mut self) -> Result<(), Stopped> {
        self.defragmenting = true;
        self.machines.tell_applying(ApplyingInput::Defragment);
        self.pump()
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
        self.machines.tell_front(FrontInput::Ticked);
        self.pump()?;
        self.upkeep()?;
        self.pump()
    }

    /// Ends as after a signal: a store that needs no replay, a mark in the log.
    ///
    /// # Errors
    /// Why the member ended before it was through.
    pub fn leave(mut self) -> Result<(), Stopped> {
        let stored = self.machines.applying.leave().map_err(Ended::from)?;
        let stored = stored.expect("nobody sends it a snapshot");
        let log = &mut self.machines.log;
        let marked = log.take(LogWork::Mark(Mark { keep_from: stored.index, stored }));
        let left = marked.and_then(|()| log.sync_all()).and_then(|()| log.finish());
        left.map(drop).map_err(|error| Ended::from(error).into())
    }

    fn pump(&mut self) -> Result<(), Stopped> {
        self.machines.one_by_one = self.album.is_some() || self.found.is_none();
        loop {
            let applies = self.machines.applies_next();
            if let Some(index) = applies.filter(|index| self.log_index < *index)
                && self.found.is_none()
            {
                self.found = Some((index - 1, Picture::take(self.applier())));
            }
            let Some(asked) = self.machines.turn(self.now_ms)? else { return Ok(()) };
            self.asked(asked);
            if let (Some(index), Some(_)) = (applies, &self.album) {
                let picture = Picture::take(self.applier()).expect("the disk works");
                self.album.get_or_insert_default().push((index, picture));
            }
        }
    }

    fn asked(&mut self, asked: Vec<Asked>) {
        for asked in asked {
            match asked {
                Asked::Front(effect) => of_the_front(&effect),
                Asked::Log(LogEffect::NotPrepared(error)) => self.given_up.push(told(&error)),
                Asked::Log(LogEffect::Read { .. }) => unreachable!("nobody is there to lag"),
                Asked::Prepare(preparation) => self.preparing = Some(preparation),
                Asked::Applying(effect) => self.of_the_applying_half(*effect),
                Asked::Engine(effects) => {
                    effects.into_iter().for_each(|effect| self.of_the_engine(effect));
                }
            }
        }
    }

    fn of_the_engine(&mut self, effect: EngineEffect) {
        match effect {
            EngineEffect::Hash(job) => self.hashing = Some(job.into()),
            EngineEffect::Propose { request, asker, scope } => {
                self.propose_as([*request], &asker, scope);
            }
            // Nobody reads, watches or is told.
            _ => {}
        }
    }

    fn of_the_applying_half(&mut self, effect: ApplyingEffect) {
        match effect {
            ApplyingEffect::Sync(syncing) => self.syncing.push_back(syncing),
            ApplyingEffect::Chore(Chore::Clean(cleaning)) => self.cleaning = Some(cleaning),
            ApplyingEffect::Chore(Chore::Checkpoint(job)) => self.checkpoint = Some(job),
            ApplyingEffect::Chore(Chore::Defragmented | Chore::NotDefragmented) => {
                self.defragmenting = false;
            }
            ApplyingEffect::CheckpointFailed(error) => self.given_up.push(told(&error)),
            // Of snapshots, which nobody sends; and of readers, who are not there.
            _ => {}
        }
    }

    /// A step of whatever is under way. The order turns, so that each is at times before and after each.
    fn upkeep(&mut self) -> Result<(), Stopped> {
        for place in 0..6 {
            match (place + self.steps) % 6 {
                0 => self.sync_store(),
                1 => self.clean(),
                2 => self.write_checkpoint(),
                3 => self.prepare_log(),
                4 => self.prune(),
                _ => self.machines.tell_applying(ApplyingInput::Ticked),
            }
            self.pump()?;
        }
        Ok(())
    }

    fn sync_store(&mut self) {
        let Some(Syncing { handle, stored }) = self.syncing.pop_front() else { return };
        let done = handle.sync();
        self.machines.tell_applying(ApplyingInput::Synced { done, stored });
    }

    fn clean(&mut self) {
        let Some(mut cleaning) = self.cleaning.take() else { return };
        let succeeded = match cleaning.step(500) {
            Ok(CleanProgress::More) => {
                self.cleaning = Some(cleaning);
                return;
            }
            Ok(CleanProgress::Done) => true,
            Err(error) => {
                self.given_up.push(told(&error));
                false
            }
        };
        self.machines.tell_applying(ApplyingInput::Cleaned { cleaning, succeeded });
    }

    fn write_checkpoint(&mut self) {
        let Some(mut job) = self.checkpoint.take() else { return };
        match job.step().transpose() {
            None => self.checkpoint = Some(job),
            Some(done) => self.machines.tell_applying(ApplyingInput::Checkpointed(done)),
        }
    }

    fn prepare_log(&mut self) {
        let Some(preparation) = self.preparing.take() else { return };
        self.machines.tell_log(LogInput::Prepared(preparation.run()));
    }

    fn prune(&mut self) {
        if let Some(mut hashing) = self.hashing.take() {
            match hashing.step(700).transpose() {
                None => self.hashing = Some(hashing),
                Some(hashed) => {
                    self.given_up.extend(hashed.as_ref().err().map(|error| told(error)));
                    self.machines.tell_applying(ApplyingInput::Hashed(hashed.ok()));
                }
            }
        }
        if self.machines.applying.is_pruning() {
            self.machines.applying.engine_mut().prune(4);
        }
    }
}

fn of_the_front(effect: &FrontEffect) {
    match effect {
        FrontEffect::Send(_) | FrontEffect::ReadReady { .. } | FrontEffect::Standing(_) => {}
        FrontEffect::Refuse { refusal, .. } => panic!("refused: {refusal:?}"),
        FrontEffect::Log(_) | FrontEffect::Applying(_) => unreachable!("the machines keep these"),
        FrontEffect::SnapshotUnused { .. } | FrontEffect::LogLost(_) => {
            unreachable!("nobody is there to lag")
        }
    }
}

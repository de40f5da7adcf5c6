//! One member's computer: its disk, its clocks, and the process on it when there is one.

use std::path::Path;
use std::sync::Arc;

use member::{
    Applying, Begin, BootError, Engine, EngineOptions, Front, LogWriter, Notice, Recovered,
    RequestIds,
};
use types::{MemberId, Version};
use vfs::{CrashPolicy, Disk, FaultKind, Faults, Lock, MemoryDisk};

use crate::chance::Chance;
use crate::plan::{FAST_CLOCK, HEARTBEAT_MS, Plan};
use crate::running::{Actor, Pace, Parts, Running, ToEngine};

/// What was done to the disk, so that what follows from it is no surprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// Power goes at some operation.
    Power,
    /// Some operation fails.
    Fails,
    /// There is no room.
    Full,
}

/// How a process ended, as far as its disk is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole machine lost power.
    Power(CrashPolicy),
    /// The process alone: what it wrote is still in the kernel's hands, and not synced.
    Killed,
}

/// A member's computer.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) member: MemberId,
    begin: Begin,
    /// Whether it has a Go member's habits.
    pub(crate) go: bool,
    /// It belongs to no cluster any more, or its disk is lost: it never starts again.
    pub(crate) retired: bool,
    /// Nothing on it gets a turn before.
    pub(crate) paused_until: u64,
    /// One of its threads gets none before.
    pub(crate) stalled: Option<(Actor, u64)>,
    pub(crate) disk: MemoryDisk,
    pub(crate) running: Option<Running>,
    lock: Option<Box<dyn Lock>>,
    pub(crate) armed: Option<Armed>,
    /// Whether anything was done to the disk since the boot: what failed then may be told later.
    pub(crate) suspect: bool,
    /// Whether a sync may have failed since the boot. The kernel then shows pages that the disk does not
    /// have; only a restart of the machine clears that up.
    lied: bool,
    /// When the next boot is tried.
    pub(crate) boot_at: u64,
    pub(crate) boots: u64,
    booted_at: u64,
    /// How much of the world's time its clock counts, in thousandths: a clock may be slow.
    drift: u64,
    /// The same for raft's ticks: of a lone member they never mattered.
    drift_of_ticks: u64,
    front_due: u64,
    engine_due: u64,
    /// The calendar, which may be set back.
    calendar_ms: u64,
    /// The newest term known to be durable.
    pub(crate) term_durable: u64,
}

impl Machine {
    pub(crate) fn new(name: &str, member: MemberId, begin: Begin) -> Machine {
        Machine {
            name: name.to_owned(),
            member,
            begin,
            go: false,
            retired: false,
            paused_until: 0,
            stalled: None,
            disk: MemoryDisk::new(),
            running: None,
            lock: None,
            armed: None,
            suspect: false,
            lied: false,
            boot_at: 0,
            boots: 0,
            booted_at: 0,
            drift: 1000,
            drift_of_ticks: 1000,
            front_due: 0,
            engine_due: 0,
            calendar_ms: 1_700_000_000_000,
            term_durable: 0,
        }
    }

    pub(crate) fn pace(&self, plan: &Plan, now_ms: u64) -> Pace {
        Pace {
            now_ms,
            own_ms: (now_ms - self.booted_at) * self.drift / 1000,
            batch_max: plan.batch_max,
            cluster: 1 < plan.members,
            compaction_batch: plan.compaction_batch,
            sync_ms_max: plan.sync_ms_max,
        }
    }

    /// Starts the process: recovery, then the machines. Fails as production would refuse to start.
    pub(crate) fn boot(
        &mut self,
        plan: &Plan,
        seed: u64,
        clients: usize,
        now_ms: u64,
        chance: &mut Chance,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<u64, BootError> {
        self.boots += 1;
        // The calendar jumps both ways, or stands still.
        self.calendar_ms = match chance.below(4) {
            0 => self.calendar_ms,
            1 => self.calendar_ms - chance.between(0, 20_000),
            _ => self.calendar_ms + chance.between(0, 20_000),
        };
        self.drift = if plan.members == 1 {
            chance.pick(&[1000, 1000, 900, 990])
        } else {
            chance.pick(&[1000, 1000, 950, FAST_CLOCK])
        };
        self.drift_of_ticks = if plan.members == 1 { 1000 } else { self.drift };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let dir = Path::new("data/member");
        let io = |action, source| BootError::Io { action, path: dir.to_owned(), source };
        disk.create_dir_all(dir).map_err(|source| io("creating", source))?;
        let lock = disk.lock(&dir.join("lock")).map_err(|source| io("locking", source))?;
        assert!(lock.is_some(), "the last process is gone, and its lock with it");
        let begin = self.begin.clone();
        let options = plan.recover_options(&self.name, begin, seed, self.calendar_ms);
        let parts = member::recover(&disk, &options, notice)?;
        let Recovered {
            member,
            wal,
            consensus,
            applier,
            marked,
            term,
            committed,
            run,
            installer,
            ..
        } = parts;
        self.member = member;
        let applied = applier.applied().0;
        let engine_options = EngineOptions {
            member,
            election_ms: plan.election_ms(),
            cluster_version: Version::new(3, 7),
            committed_before: committed,
        };
        let engine = Engine::new(applier, plan.watch.clone(), engine_options);
        let mut applying = Applying::new(engine, plan.checkpoint_rows_min, installer);
        applying.make_up_for([1, 2, 256][(seed % 3) as usize]);
        let log = LogWriter::new(wal, chance.pick(&[1, 2, 5]), true);
        let ids = |lane| RequestIds::new(member, run, lane, 16);
        let own = (member, ids(15));
        let front = Front::new(consensus, plan.front_options(), own, applied, marked);
        let client_ids = (1..=clients).map(ids).collect();
        let parts = Parts { front, applying, log, ids: ids(0), client_ids };
        let mut running = Running::new(parts, self.go, disk.clone());
        running.start();
        self.running = Some(running);
        self.lock = lock;
        (self.booted_at, self.front_due, self.engine_due) = (now_ms, now_ms, now_ms);
        Ok(term)
    }

    pub(crate) fn is_paused(&self, now_ms: u64) -> bool {
        now_ms < self.paused_until
    }

    /// Who could have a turn.
    pub(crate) fn ready(&self, now_ms: u64) -> Vec<Actor> {
        let Some(running) = self.running.as_ref().filter(|_| !self.is_paused(now_ms)) else {
            return Vec::new();
        };
        let stalled = self.stalled.filter(|(_, until)| now_ms < *until).map(|(actor, _)| actor);
        let mut ready = running.ready(now_ms);
        ready.retain(|actor| Some(*actor) != stalled);
        ready
    }

    /// As production's ticker: a process that was stopped for long does not make up for what it missed.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        if self.is_paused(now_ms) {
            return;
        }
        let Some(running) = &mut self.running else { return };
        if self.front_due <= now_ms {
            let interval = HEARTBEAT_MS * 1000 / self.drift_of_ticks;
            self.front_due = (self.front_due + interval).max(now_ms);
            running.to_front.push_back(member::FrontInput::Ticked);
        }
        if self.engine_due <= now_ms {
            self.engine_due = now_ms + 100;
            running.to_engine.push_back(ToEngine::Do(member::ApplyingInput::Ticked));
        }
    }

    /// The process is gone; what is left is the disk.
    pub(crate) fn end(&mut self, end: End) {
        (self.paused_until, self.stalled) = (0, None);
        self.running = None;
        self.lock = None;
        (self.armed, self.suspect) = (None, false);
        // Power may have gone at an operation whose failure mattered to nobody.
        let dark = self.is_dark();
        self.disk.set_faults(Faults::default());
        let lied = std::mem::take(&mut self.lied);
        match end {
            End::Power(policy) => self.disk = self.disk.crash(policy),
            End::Killed if dark || lied => self.disk = self.disk.crash(CrashPolicy::LoseUnsynced),
            End::Killed => {}
        }
    }

    /// Power will go at an operation soon.
    pub(crate) fn arm_power(&mut self, operations: u64) {
        let stop_after = Some(self.disk.operations() + operations);
        self.disk.set_faults(Faults { stop_after, ..Faults::default() });
        (self.armed, self.suspect) = (Some(Armed::Power), true);
    }

    /// An operation soon will fail.
    pub(crate) fn arm_failure(&mut self, operations: u64, kind: FaultKind) {
        let fail_at = Some((self.disk.operations() + operations, kind));
        self.disk.set_faults(Faults { fail_at, ..Faults::default() });
        (self.armed, self.suspect, self.lied) = (Some(Armed::Fails), true, true);
    }

    /// The disk has this much room and no more.
    pub(crate) fn arm_full(&mut self, bytes: u64) {
        let space = self.disk.space(Path::new("data"));
        let Ok(space) = space else { return };
        let capacity_bytes = Some(space.total_bytes - space.available_bytes + bytes);
        self.disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
        (self.armed, self.suspect) = (Some(Armed::Full), true);
    }

    /// Whether power has gone, which the process may not have noticed yet.
    pub(crate) fn is_dark(&self) -> bool {
        self.disk.exists(Path::new("data")).is_err()
    }

    /// The disk is well again.
    pub(crate) fn disarm(&mut self) {
        if self.is_dark() {
            return;
        }
        self.disk.set_faults(Faults::default());
        self.armed = None;
    }
}

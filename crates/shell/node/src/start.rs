//! Gives a booted member its threads, and takes them away again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apply::{Members, ReadView};
use arc_swap::ArcSwap;
use auth::Tokens;
use member::{
    Applying, ApplyingInput as Do, CHECKPOINT_ROWS_MIN, Engine, EngineOptions, Front, FrontInput,
    FrontOptions, LogInput, LogWork, LogWriter, Mark, Recovered, RequestIds, Stored,
};
use metrics::Metrics;
use mvcc::CompactionHashes;
use store::{SyncHandle, WriteOut};
use types::MemberId;
use vfs::{Disk, Lock};
use wal::Wal;

use crate::boot::{Booted, boot};
use crate::door::{EngineDoor, EngineRef, EngineSender};
use crate::engine::{EngineMessage, EngineThread, Left};
use crate::front::{FrontMessage, FrontRef, FrontSender};
use crate::handle::millis;
use crate::lane::Lanes;
use crate::log::LogMessage;
use crate::peers::{Peers, Received};
use crate::report::chain;
use crate::shared::{ClusterView, Figures, PublishedStanding, Shared};
use crate::timed::Timed;
use crate::{
    BootError, Config, Event, Node, Report, engine, go_dir, history, install, log, upkeep,
};

/// A sync of the store, for the thread that waits for it.
#[derive(Debug)]
pub(crate) enum SyncJob {
    Sync { handle: SyncHandle, stored: Stored },
    WriteOut(WriteOut),
}

/// Bytes of entries in memory and in the raft log before the store is synced and the log marked, so that both
/// may forget. About a segment of the log; a sync of the store every 16 MiB is nothing beside the log's own.
const LOG_BYTES_MAX: usize = 16 << 20;

/// Bytes of entries kept in memory for members that lag. What goes beyond is read back from the log's files.
const LAGGING_BYTES_MAX: usize = 32 << 20;

/// Bytes of entries kept in the log's files for them. Whoever lags further is served by a snapshot.
const LOG_FILE_BYTES_MAX: u64 = 256 << 20;

/// How long the log is kept behind a snapshot that was sent.
const SNAPSHOT_HOLD: Duration = Duration::from_secs(30);

/// Groups of reads that may wait for a leader.
const READS_WAITING_MAX: usize = 65_536;

/// How often the engine looks at its leases and its house.
const ENGINE_TICK: Duration = Duration::from_millis(100);

/// A member that runs. Stop it with [`Running::stop`].
pub struct Running {
    node: Node,
    log: Sender<LogMessage>,
    threads: Vec<JoinHandle<()>>,
    ticker: Sender<()>,
    disk: Arc<dyn Disk>,
    /// Keeps other processes out for as long as the threads may write.
    _lock: Box<dyn Lock>,
}

/// Opens or begins the member in its directory and starts its threads.
///
/// # Errors
/// [`BootError`] names what cannot be served.
pub fn start(
    config: Config,
    disk: &Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    report: Arc<dyn Report>,
    peers: Arc<dyn Peers>,
) -> Result<Running, BootError> {
    Ok(open(config, disk, metrics, report)?.run(peers))
}

/// Opens or begins the member in its directory. It does nothing yet, and keeps other processes out.
///
/// # Errors
/// [`BootError`] names what cannot be served.
pub fn open(
    config: Config,
    disk: &Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    report: Arc<dyn Report>,
) -> Result<Opened, BootError> {
    let booted = boot(&config, disk, &report, &metrics)?;
    Ok(Opened { booted, config, metrics, report })
}

/// A member that is open and has no threads yet: neither does it hear of others, nor they of it.
pub struct Opened {
    booted: Booted,
    config: Config,
    metrics: Arc<Metrics>,
    report: Arc<dyn Report>,
}

impl Opened {
    /// The member's id.
    pub fn member(&self) -> MemberId {
        self.booted.parts.member
    }

    /// Its cluster's id.
    pub fn cluster_id(&self) -> u64 {
        self.booted.parts.cluster_id
    }

    /// Who belongs to the cluster, as far as it knows.
    pub fn members(&self) -> Arc<Members> {
        self.booted.parts.applier.members()
    }

    /// What it stores.
    pub fn view(&self) -> ReadView {
        self.booted.parts.applier.view()
    }

    /// Starts its threads.
    pub fn run(self, peers: Arc<dyn Peers>) -> Running {
        let Opened { booted, config, metrics, report } = self;
        let (front_sender, front_inbox) = channel();
        let (engine_sender, engine_inbox) = channel();
        let shared = Arc::new(Shared {
            member: booted.parts.member,
            cluster_id: booted.parts.cluster_id,
            front: FrontSender::new(front_sender),
            front_here: OnceLock::new(),
            engine: EngineSender::new(engine_sender),
            engine_here: OnceLock::new(),
            lanes: Lanes::new(config.serving_threads),
            peers,
            received: Received::default(),
            snap_dir: booted.parts.installer.snap_dir.clone(),
            progress: ArcSwap::default(),
            quorum_heard_ms: AtomicU64::new(0),
            led_since_ms: AtomicU64::new(0),
            view: ArcSwap::from_pointee(booted.parts.applier.view()),
            applied: AtomicU64::new(booted.parts.applier.applied().0),
            standing: PublishedStanding::default(),
            cluster: ArcSwap::from_pointee(ClusterView::default()),
            figures: Figures::default(),
            hashes: RwLock::new(CompactionHashes::new()),
            tokens: Mutex::new(Tokens::new(millis(config.token_ttl))),
            proposals: AtomicUsize::new(0),
            proposal_bytes: AtomicUsize::new(0),
            run: booted.parts.run,
            stopping: AtomicBool::new(false),
            metrics,
            report,
            started: Instant::now(),
            config,
        });
        threads(booted, shared, front_inbox, engine_inbox)
    }
}

fn threads(
    booted: Booted,
    shared: Arc<Shared>,
    front_inbox: Receiver<FrontMessage>,
    engine_inbox: Receiver<EngineMessage>,
) -> Running {
    let (log_sender, log_inbox) = channel();
    let (sync_sender, sync_inbox) = channel();
    let (history_sender, history_inbox) = channel();
    let (upkeep_sender, upkeep_inbox) = channel();
    let (reads_sender, reads_inbox) = channel();
    let (install_sender, install_inbox) = channel();
    let (ticker, ticker_inbox) = channel();
    let Booted { parts, lock } = booted;
    let Recovered { wal, consensus, applier, marked, committed, installer, .. } = parts;
    let (lanes, disk) = (shared.lanes.max(), installer.disk.clone());
    let own_disk = disk.clone();
    let applied = applier.applied().0;
    let log_writer = log_writer(wal, &shared.config);
    let ids = |from_end| RequestIds::new(shared.member, shared.run, lanes - from_end, lanes);
    let own = (shared.member, ids(2));
    let front = Front::new(consensus, front_options(&shared.config), own, applied, marked);
    let engine = Engine::new(applier, watch::Limits::default(), engine_options(&shared, committed));
    let engine = EngineThread {
        applying: Applying::new(engine, CHECKPOINT_ROWS_MIN, installer),
        shared: shared.clone(),
        sync: sync_sender,
        history: history_sender,
        upkeep: upkeep_sender.clone(),
        install: Some(install_sender),
        streams: HashMap::new(),
        v2_queues: HashMap::new(),
        ids: ids(1),
        snapshots: (HashMap::new(), 0),
        defragmenting: Vec::new(),
        timed: Timed::default(),
        per_entry: Duration::ZERO,
        stopped: false,
    };
    engine.publish_first();
    let engine = EngineRef::new(engine);
    let _ = shared.engine_here.set(Arc::downgrade(&engine));
    let engine_door = EngineDoor { engine: engine.clone(), shared: shared.clone() };
    let helpers = (upkeep_sender.clone(), reads_sender);
    let (log_door, log_thread) = log::open(log_writer, log_sender.clone(), helpers, shared.clone());
    let front = FrontRef::new(front, log_door, engine_door, upkeep_sender, shared.clone());
    let _ = shared.front_here.set(Arc::downgrade(&front));

    let mut threads = Vec::new();
    let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        threads.push(thread.spawn(body).expect("a process may have a dozen threads"));
    };
    spawn("front", Box::new(move || front.run(&front_inbox)));
    spawn("log", Box::new(move || log_thread.run(&log_inbox)));
    spawn("engine", Box::new(move || engine.run(&engine_inbox)));
    let s = shared.clone();
    spawn("store-sync", Box::new(move || run_syncs(&sync_inbox, &s)));
    let s = shared.clone();
    spawn("log-read", Box::new(move || log::run_reads(&reads_inbox, &s)));
    let s = shared.clone();
    spawn("install", Box::new(move || install::run(&install_inbox, &s)));
    let s = shared.clone();
    spawn("history", Box::new(move || history::run(&history_inbox, &s)));
    let (s, l) = (shared.clone(), log_sender.clone());
    spawn("upkeep", Box::new(move || upkeep::run(&upkeep_inbox, &l, &disk, &s)));
    let s = shared.clone();
    spawn("ticker", Box::new(move || run_ticker(&ticker_inbox, &s)));
    Running { node: Node { shared }, log: log_sender, threads, ticker, disk: own_disk, _lock: lock }
}

/// `--max-wals` is how many segments are kept; those that a lagging member may need are kept whatever it says. With 0
/// none is let go.
fn log_writer(wal: Wal, config: &Config) -> LogWriter {
    let files_kept = if config.wals_max == 0 { usize::MAX } else { 1 };
    LogWriter::new(wal, files_kept, !config.unsafe_no_fsync)
}

fn front_options(config: &Config) -> FrontOptions {
    let heartbeat_ms = config.heartbeat.as_millis().max(1);
    let ticks = |time: Duration| u64::try_from(time.as_millis() / heartbeat_ms).unwrap_or(u64::MAX);
    FrontOptions {
        proposals_pending_max: config.limits.proposals_pending_max,
        committed_applied_gap_max: config.limits.committed_applied_gap_max,
        reads_waiting_max: READS_WAITING_MAX,
        election_ticks: config.election_ticks as u64,
        lagging_bytes_max: LAGGING_BYTES_MAX,
        log_file_bytes_max: LOG_FILE_BYTES_MAX,
        snapshot_hold_ticks: ticks(SNAPSHOT_HOLD),
        read_retry_ticks: ticks(Duration::from_millis(500)).max(1),
        leader_wait_ticks: ticks(config.limits.request_timeout).max(1),
        snapshot_count: config.snapshot_count,
        catchup_entries: config.catchup_entries,
        log_bytes_max: LOG_BYTES_MAX,
    }
}

fn engine_options(shared: &Shared, committed_before: u64) -> EngineOptions {
    EngineOptions {
        member: shared.member,
        election_ms: u64::try_from(shared.config.election_timeout().as_millis())
            .unwrap_or(u64::MAX),
        cluster_version: shared.config.cluster_version,
        committed_before,
    }
}

fn run_syncs(inbox: &Receiver<SyncJob>, shared: &Arc<Shared>) {
    while let Ok(job) = inbox.recv() {
        match job {
            SyncJob::Sync { handle, stored } => {
                let done = handle.sync();
                let _ = shared.engine.send(EngineMessage::Do(Do::Synced { done, stored }));
            }
            SyncJob::WriteOut(piece) => {
                if let Err(error) = piece.run() {
                    let error = chain(&error);
                    shared.report.report(Event::Fatal { what: "syncing the store", error });
                    return;
                }
            }
        }
    }
}

/// One clock for all: raft's ticks for the front, a slower beat for the engine.
fn run_ticker(stop: &Receiver<()>, shared: &Arc<Shared>) {
    let mut engine_due = Instant::now();
    let mut front_due = Instant::now() + shared.config.heartbeat;
    loop {
        let now = Instant::now();
        if front_due <= now {
            // A process that was stopped for long does not make up for every tick it missed.
            front_due = (front_due + shared.config.heartbeat).max(now);
            let _ = shared.front.send(FrontMessage::Do(FrontInput::Ticked));
        }
        if engine_due <= now {
            engine_due = now + ENGINE_TICK;
            let _ = shared.engine.send(EngineMessage::Do(Do::Ticked));
        }
        let wait = front_due.min(engine_due).saturating_duration_since(Instant::now());
        match stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Running {
    /// The member's handle.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Stops the threads in the order in which they feed each other, and leaves a directory that needs
    /// no replay. Blocks.
    pub fn stop(self) {
        let shared = &self.node.shared;
        shared.stopping.store(true, Ordering::Release);
        self.hand_over();
        let _ = self.ticker.send(());
        let _ = shared.front.send(FrontMessage::Stop);
        let (done, left) = channel();
        let _ = shared.engine.send(EngineMessage::Stop { done });
        let mut left_for_go = None;
        if let Ok(Some(Left { stored, image })) = left.recv() {
            left_for_go = image;
            // Alone, nobody needs what lies before; others may, as soon as they have elected somebody.
            let keep_from = if shared.is_alone() { stored.index } else { 0 };
            let _ = self
                .log
                .send(LogMessage::Do(LogInput::Work(LogWork::Mark(Mark { stored, keep_from }))));
        }
        let _ = self.log.send(LogMessage::Stop);
        let names = ["front", "log", "engine", "install", "ticker"];
        for thread in self.threads {
            // The others end when the last of their askers is gone, which is after us.
            if thread.thread().name().is_some_and(|name| names.contains(&name)) {
                let _ = thread.join();
            }
        }
        if let Some(image) = left_for_go {
            go_dir::hand_back(shared, &self.disk, image);
        }
    }
}

impl Running {
    /// A leader among others gives its office to one of them first, so that nobody has to notice that it is gone.
    fn hand_over(&self) {
        let shared = &self.node.shared;
        if shared.is_alone() || !self.node.is_leader() {
            return;
        }
        let _ = shared.front.send(FrontMessage::Do(FrontInput::Transfer { to: 0 }));
        let (began, patience) = (Instant::now(), shared.config.election_timeout());
        while self.node.is_leader() && began.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl engine::EngineThread {
    /// Shows what the store held before anything is applied.
    fn publish_first(&self) {
        self.publish_cluster();
        let applier = self.engine().applier();
        let sizes = applier.stored().sizes();
        let figures = &self.shared.figures;
        figures.revision.store(applier.revision(), Ordering::Release);
        figures.pruned.store(-1, Ordering::Release);
        figures.file_bytes.store(sizes.own_bytes(), Ordering::Release);
        figures.live_bytes.store(sizes.live_bytes, Ordering::Release);
    }
}

//! The engine's thread: applies what is committed, answers, feeds watch streams, keeps house.
//!
//! Others may use the engine without its thread when it is idle, which saves waking it: the front applies a
//! lone put ([`EngineDoor::apply`]), a connection's thread keeps a lease alive ([`EngineRef::now`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use apply::{Fault, ReadView};
use consensus::{Role, Standing};
use lease::KeepAlive;
use member::{Chore, Engine, EngineEffect, House, Proposal, RequestIds, Stored};
use mvcc::HashTriple;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::raftpb::ConfChange;
use store::{Bucket, CheckpointDone, Cleaning, StoreError, Synced};
use tokio::sync::{mpsc, oneshot};
use types::{Entry, EntryKind, LeaseId};

use crate::front::FrontMessage;
use crate::history::HistoryJob;
use crate::lane::{LaneMessage, Outcome};
use crate::report::chain;
use crate::shared::{ClusterView, Shared};
use crate::start::SyncJob;
use crate::timed::{self, Timed};
use crate::upkeep::UpkeepJob;
use crate::{Event, LeaseLeft};

/// What reaches the engine's thread.
#[derive(Debug)]
pub(crate) enum EngineMessage {
    Apply(Vec<Entry>),
    Standing(Standing),
    StreamOpened {
        stream: watch::StreamId,
        progress_interval_ms: u64,
        responses: mpsc::UnboundedSender<Vec<watch::Response>>,
    },
    Watch(watch::Input),
    KeepAlive {
        lease: LeaseId,
        answer: oneshot::Sender<KeepAlive>,
    },
    TimeToLive {
        lease: LeaseId,
        keys: bool,
        answer: oneshot::Sender<Option<LeaseLeft>>,
    },
    Leases {
        answer: oneshot::Sender<Vec<LeaseId>>,
    },
    SyncStore,
    Synced {
        done: Result<Synced, StoreError>,
        stored: Stored,
    },
    Hashed(Option<HashTriple>),
    Cleaned {
        cleaning: Box<Cleaning>,
        failed: Option<StoreError>,
    },
    Checkpointed(Result<CheckpointDone, StoreError>),
    Defragment {
        answer: oneshot::Sender<()>,
    },
    Snapshot {
        answer: oneshot::Sender<(ReadView, store::State)>,
    },
    Tick,
    Stop {
        done: std::sync::mpsc::Sender<Option<Stored>>,
    },
}

/// Entries applied as one group: one flush, one published view.
const ENTRIES_PER_GROUP_MAX: usize = 8192;

/// Keys looked at for pruning before each message while there is one.
const KEYS_PRUNED_BETWEEN: usize = 64;

/// The engine's thread and what it remembers between messages.
pub(crate) struct EngineThread {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sync: Sender<SyncJob>,
    pub(crate) history: Sender<HistoryJob>,
    pub(crate) upkeep: Sender<UpkeepJob>,
    pub(crate) streams: HashMap<watch::StreamId, mpsc::UnboundedSender<Vec<watch::Response>>>,
    pub(crate) ids: RequestIds,
    pub(crate) house: House,
    pub(crate) defragmenting: Vec<oneshot::Sender<()>>,
    pub(crate) timed: Timed,
    /// What an entry of the last group took, on average.
    pub(crate) per_entry: Duration,
    /// It was told to stop: nobody may use it any more.
    pub(crate) stopped: bool,
}

/// An engine that several threads may use, one at a time.
pub(crate) struct EngineRef {
    engine: Mutex<EngineThread>,
    /// Messages on their way to its thread: nobody may overtake them.
    waiting: Arc<AtomicUsize>,
}

/// The way to the engine's thread.
pub(crate) struct EngineSender {
    sender: Sender<EngineMessage>,
    waiting: Arc<AtomicUsize>,
}

/// The engine's thread has ended, and the member with it.
#[derive(Debug)]
pub(crate) struct EngineGone;

impl EngineSender {
    pub(crate) fn new(sender: Sender<EngineMessage>) -> EngineSender {
        EngineSender { sender, waiting: Arc::default() }
    }

    pub(crate) fn send(&self, message: EngineMessage) -> Result<(), EngineGone> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.sender.send(message).map_err(|_| EngineGone)
    }
}

impl EngineRef {
    pub(crate) fn new(engine: EngineThread) -> Arc<EngineRef> {
        let waiting = engine.shared.engine.waiting.clone();
        Arc::new(EngineRef { engine: Mutex::new(engine), waiting })
    }

    /// The engine, if nobody has it at this moment and it has not stopped.
    pub(crate) fn now(&self) -> Option<MutexGuard<'_, EngineThread>> {
        self.engine.try_lock().ok().filter(|engine| !engine.stopped)
    }

    /// Runs until told to stop. A fault ends the process.
    pub(crate) fn run(&self, inbox: &Receiver<EngineMessage>) {
        let mut put_back = None;
        while let Some(message) = put_back.take().or_else(|| self.next(inbox)) {
            let mut entries = Vec::new();
            let mut groups = 0;
            let mut message = Some(message);
            while let Some(EngineMessage::Apply(more)) = message {
                entries.extend(more);
                groups += 1;
                let full = ENTRIES_PER_GROUP_MAX <= entries.len();
                message = if full { None } else { inbox.try_recv().ok() };
            }
            // A poisoned lock means that another thread has panicked, and the process is ending.
            let Ok(mut engine) = self.engine.lock() else { return };
            let handled = if groups == 0 {
                match message.expect("there is one, and it is no group") {
                    EngineMessage::Stop { done } => {
                        engine.stopped = true;
                        let _ = done.send(engine.stop());
                        return;
                    }
                    message => engine.handle(message),
                }
            } else {
                put_back = message;
                engine.apply(&entries).map(|applied| engine.tell_front(applied))
            };
            self.waiting.fetch_sub(groups.max(1), Ordering::AcqRel);
            if let Err(fault) = handled {
                engine.fatal(&fault);
                return;
            }
        }
    }

    /// The next message. While there is none, a little of what was compacted is forgotten.
    fn next(&self, inbox: &Receiver<EngineMessage>) -> Option<EngineMessage> {
        loop {
            let message = inbox.try_recv().ok();
            let mut engine = self.engine.lock().ok()?;
            if !engine.engine.applier().is_pruning() {
                drop(engine);
                return message.or_else(|| inbox.recv().ok());
            }
            if message.is_some() {
                // However busy the member is, what was compacted is forgotten in the end.
                engine.prune(KEYS_PRUNED_BETWEEN);
                return message;
            }
            let budget = engine.shared.config.limits.compaction_batch;
            if !engine.prune(budget) {
                drop(engine);
                return inbox.recv().ok();
            }
        }
    }
}

/// Entries that are applied where they were committed, at most.
const ENTRIES_QUICK_MAX: usize = 4;

/// The front's way to the engine.
pub(crate) struct EngineDoor {
    pub(crate) engine: Arc<EngineRef>,
    pub(crate) shared: Arc<Shared>,
}

/// The last entry applied, and the configuration changes among those that were.
pub(crate) type Applied = (u64, Vec<Option<ConfChange>>);

impl EngineDoor {
    /// Has entries applied, in the order they are handed in: here if there are few, each is a put, and the
    /// engine is idle with nothing ahead of them; else by its thread. So a put does not overtake a watch that
    /// was asked for before it.
    ///
    /// What the front is to be told of it now; nothing if the thread will tell it.
    pub(crate) fn apply(&self, entries: Vec<Entry>) -> Option<Applied> {
        let quick = entries.len() <= ENTRIES_QUICK_MAX && entries.iter().all(is_put);
        if quick
            && self.engine.waiting.load(Ordering::Acquire) == 0
            && let Some(mut engine) = self.engine.now()
        {
            let applied = engine.apply(&entries);
            return applied.unwrap_or_else(|fault| {
                engine.fatal(&fault);
                None
            });
        }
        let _ = self.shared.engine.send(EngineMessage::Apply(entries));
        None
    }
}

/// Whether an entry is a put: quickly done, whatever is in it. Others may walk through all keys, and the
/// front has a heart to beat. Puts begin with their tag (field 4, a message), because requests proposed
/// today name their id in the header, which comes last; any other spelling only takes the longer way.
fn is_put(entry: &Entry) -> bool {
    const PUT: u8 = 4 << 3 | 2;
    entry.kind == EntryKind::Normal && entry.data.first() == Some(&PUT)
}

/// What others may hold of an engine without keeping it.
pub(crate) type WeakEngine = Weak<EngineRef>;

impl EngineThread {
    fn fatal(&self, fault: &dyn std::error::Error) {
        let error = chain(fault);
        self.shared.report.report(Event::Fatal { what: "applying to the store", error });
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Option<Applied>, Fault> {
        let began = Instant::now();
        let effects = self.engine.apply(entries, self.shared.now_ms())?;
        let took = began.elapsed();
        self.per_entry = took / u32::try_from(entries.len().max(1)).unwrap_or(1);
        if self.shared.report.took("", took, &|| timed::describe(entries)) {
            self.shared.metrics.server.slow_applies.inc();
        }
        let applied = self.effects(effects);
        if let Some(piece) = self.engine.applier_mut().store().write_out() {
            let _ = self.sync.send(SyncJob::WriteOut(piece));
        }
        self.shared.metrics.disk.backend_commit.observe_duration(began.elapsed());
        Ok(applied)
    }

    fn tell_front(&self, applied: Option<Applied>) {
        if let Some((index, changes)) = applied {
            let _ = self.shared.front.send(FrontMessage::Applied { index, changes });
        }
    }

    fn handle(&mut self, message: EngineMessage) -> Result<(), Fault> {
        match message {
            EngineMessage::Apply(entries) => {
                let applied = self.apply(&entries)?;
                self.tell_front(applied);
            }
            EngineMessage::Standing(standing) => self.stands(standing),
            EngineMessage::StreamOpened { stream, progress_interval_ms, responses } => {
                self.streams.insert(stream, responses);
                self.watch(watch::Input::StreamOpened { stream, progress_interval_ms });
            }
            EngineMessage::Watch(input) => {
                if let watch::Input::StreamClosed { stream } = &input {
                    self.streams.remove(stream);
                }
                self.watch(input);
            }
            EngineMessage::KeepAlive { lease, answer } => {
                let _ = answer.send(self.keep_alive(lease));
            }
            EngineMessage::TimeToLive { lease, keys, answer } => {
                let left = self.engine.time_to_live(lease, keys, self.shared.now_ms());
                let _ = answer.send(left.map(|(time, keys)| LeaseLeft { time, keys }));
            }
            EngineMessage::Leases { answer } => drop(answer.send(self.engine.leases())),
            EngineMessage::SyncStore => {
                let syncing = self.engine.begin_sync()?;
                let _ = self
                    .sync
                    .send(SyncJob::Sync { handle: syncing.handle, stored: syncing.stored });
            }
            EngineMessage::Synced { done, stored } => {
                self.engine.synced(done?);
                let _ = self.shared.front.send(FrontMessage::Stored(stored));
            }
            EngineMessage::Hashed(triple) => {
                self.engine.hashed(triple);
                self.publish_hashes();
            }
            EngineMessage::Cleaned { cleaning, failed } => self.cleaned(*cleaning, failed)?,
            EngineMessage::Checkpointed(done) => self.checkpointed(done),
            EngineMessage::Defragment { answer } => {
                self.defragmenting.push(answer);
                let chores = self.house.defragment(&mut self.engine)?;
                self.chores(chores);
            }
            EngineMessage::Snapshot { answer } => {
                self.engine.applier_mut().flush()?;
                let applier = self.engine.applier();
                let _ = answer.send((applier.view(), applier.stored().state().clone()));
            }
            EngineMessage::Tick => self.tick()?,
            EngineMessage::Stop { .. } => unreachable!("taken care of by the loop"),
        }
        Ok(())
    }

    pub(crate) fn keep_alive(&mut self, lease: LeaseId) -> KeepAlive {
        self.engine.keep_alive(lease, self.shared.now_ms())
    }

    fn watch(&mut self, input: watch::Input) {
        let effects = self.engine.watch(input);
        let applied = self.effects(effects);
        self.tell_front(applied);
    }

    fn stands(&mut self, standing: Standing) {
        let server = &self.shared.metrics.server;
        if standing.leader != 0 && self.engine.standing().leader != standing.leader {
            server.leader_changes.inc();
        }
        server.has_leader.set(i64::from(standing.leader != 0));
        server.is_leader.set(i64::from(standing.role == Role::Leader));
        self.engine.stands(standing);
    }

    /// Acts on effects in their order; answers and watch responses for one receiver travel together. What
    /// the front is to be told is left to the caller, who may have it in hand.
    fn effects(&mut self, effects: Vec<EngineEffect>) -> Option<Applied> {
        let mut decided: HashMap<usize, Vec<(u64, Outcome)>> = HashMap::new();
        let mut responses: HashMap<watch::StreamId, Vec<watch::Response>> = HashMap::new();
        let mut applied = None;
        for effect in effects {
            match effect {
                EngineEffect::Publish(view) => self.publish(*view),
                EngineEffect::Reply { id, operation, result } => {
                    self.count(operation, &result);
                    if let Some(lane) =
                        RequestIds::lane(self.shared.member, id, self.shared.lanes.max())
                    {
                        decided.entry(lane).or_default().push((id, result));
                    }
                }
                EngineEffect::Send { stream, response } => {
                    responses.entry(stream).or_default().push(response);
                }
                EngineEffect::ReadHistory(request) => {
                    let _ = self.history.send(HistoryJob(request));
                }
                EngineEffect::Hash(job) => drop(self.upkeep.send(UpkeepJob::Hash(Box::new(job)))),
                EngineEffect::Propose(request) => self.propose(*request),
                EngineEffect::Applied { index, changes } => applied = Some((index, changes)),
                EngineEffect::Cluster => self.publish_cluster(),
            }
        }
        for (lane, outcomes) in decided {
            self.shared.lanes.send(lane, LaneMessage::Decided(outcomes));
        }
        for (stream, batch) in responses {
            if let Some(sender) = self.streams.get(&stream) {
                let _ = sender.send(batch);
            }
        }
        if let Some((index, _)) = &applied {
            self.shared.lanes.wake_reads(*index);
        }
        applied
    }

    fn count(&mut self, operation: &'static str, outcome: &Outcome) {
        let metrics = &self.shared.metrics;
        let find =
            |told: &'static str| metrics.server.apply_duration.with(&[operation, told, "v3"]);
        self.timed.observe(operation, outcome.is_ok(), self.per_entry, find);
        match (operation, outcome) {
            ("Put", Ok(_)) => metrics.mvcc.puts.inc(),
            ("DeleteRange", Ok(_)) => metrics.mvcc.deletes.inc(),
            ("Txn", Ok(_)) => metrics.mvcc.txns.inc(),
            ("LeaseGrant", Ok(_)) => metrics.lease.granted.inc(),
            ("LeaseRevoke", Ok(_)) => metrics.lease.revoked.inc(),
            _ => {}
        }
    }

    /// Guarantee (visible before answered): the view is in place before any answer of its group leaves.
    fn publish(&mut self, view: ReadView) {
        let applied = view.applied_index;
        self.shared.figures.revision.store(view.index.current_revision(), Ordering::Release);
        self.shared.view.store(Arc::new(view));
        self.shared.applied.store(applied, Ordering::SeqCst);
        self.publish_sizes();
    }

    fn publish_sizes(&self) {
        let sizes = self.engine.applier().stored().sizes();
        self.shared.figures.file_bytes.store(sizes.file_bytes, Ordering::Release);
        self.shared.figures.live_bytes.store(sizes.live_bytes, Ordering::Release);
    }

    pub(crate) fn publish_cluster(&self) {
        let applier = self.engine.applier();
        let membership = applier.membership();
        let storage = applier.stored().state().get(Bucket::Meta, b"storageVersion");
        let view = ClusterView {
            members: membership.members().cloned().collect(),
            version: membership.version().map(str::to_owned),
            storage_version: storage.map(|text| String::from_utf8_lossy(text).into_owned()),
            downgrade: membership.downgrade().clone(),
            alarms: applier.alarms().list(0),
        };
        let before = self.shared.cluster.swap(Arc::new(view));
        let now = self.shared.cluster.load();
        if let Some(version) = now.version.as_ref().filter(|v| before.version.as_ref() != Some(*v))
        {
            self.shared.report.report(Event::ClusterVersion(version.clone()));
        }
        if before.alarms != now.alarms {
            self.shared.report.report(Event::Alarms(now.alarms.len()));
        }
    }

    fn publish_hashes(&self) {
        let mut hashes = self.shared.hashes.write().expect("no holder of the lock panics");
        *hashes = self.engine.applier().hashes().clone();
    }

    /// Proposes on the member's own behalf; nobody waits.
    fn propose(&mut self, mut request: pb::InternalRaftRequest) {
        let id = self.ids.next_id();
        request.header = Some(pb::RequestHeader { id, ..Default::default() });
        let data = request.encode_to_vec().into();
        let proposal = Proposal { id, kind: EntryKind::Normal, data };
        let _ = self.shared.front.send(FrontMessage::Propose(vec![proposal]));
    }

    fn tick(&mut self) -> Result<(), Fault> {
        let effects = self.engine.ticked(self.shared.now_ms());
        let applied = self.effects(effects);
        self.tell_front(applied);
        let chores = self.house.tick(&mut self.engine)?;
        self.chores(chores);
        self.figures();
        Ok(())
    }

    fn figures(&self) {
        let metrics = &self.shared.metrics;
        let sizes = self.engine.watch_sizes();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.mvcc.watch_streams.set(count(sizes.streams));
        metrics.mvcc.watchers.set(count(sizes.watches));
        metrics.mvcc.slow_watchers.set(count(sizes.unsynced));
        self.publish_sizes();
    }

    fn prune(&mut self, budget: usize) -> bool {
        let more = self.engine.prune(budget);
        if !self.engine.applier().is_pruning() {
            let revision = self.engine.applier().compact_revision();
            self.shared.figures.pruned.store(revision, Ordering::Release);
            self.shared.report.report(Event::Compacted { revision });
        }
        more
    }

    fn chores(&mut self, chores: Vec<Chore>) {
        for chore in chores {
            match chore {
                Chore::Clean(cleaning) => drop(self.upkeep.send(UpkeepJob::Clean(cleaning))),
                Chore::Checkpoint(job) => drop(self.upkeep.send(UpkeepJob::Checkpoint(job))),
                Chore::Publish(view) => self.publish(*view),
                Chore::Defragmented => {
                    self.publish_sizes();
                    for answer in self.defragmenting.drain(..) {
                        let _ = answer.send(());
                    }
                }
            }
        }
    }

    fn cleaned(&mut self, cleaning: Cleaning, failed: Option<StoreError>) -> Result<(), Fault> {
        let chores = self.house.cleaned(&mut self.engine, cleaning, failed.is_none())?;
        self.chores(chores);
        self.upkeep_failed("cleaning the store", failed);
        Ok(())
    }

    fn checkpointed(&mut self, done: Result<CheckpointDone, StoreError>) {
        let failed = self.house.checkpointed(&mut self.engine, done).err();
        self.upkeep_failed("writing the index checkpoint", failed);
    }

    fn upkeep_failed(&self, what: &'static str, failed: Option<StoreError>) {
        if let Some(error) = failed {
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
        }
    }

    /// Leaves a store that needs no replay. What fails here costs the next start some time.
    fn stop(&mut self) -> Option<Stored> {
        match self.house.leave(&mut self.engine) {
            Ok(stored) => Some(stored),
            Err(fault) => {
                let what = "leaving the store";
                self.shared.report.report(Event::UpkeepFailed { what, error: chain(&fault) });
                None
            }
        }
    }
}

//! The engine at work: applies what is committed, answers, feeds watch streams, keeps house. Whose thread it
//! does so on is said in `door`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use apply::{Asker, Fault, ReadView};
use consensus::{Message, Role, Scope, Standing};
use exchange::Image;
use lease::KeepAlive;
use member::{Chore, Engine, EngineEffect, House, Proposal, RequestIds, Stored};
use mvcc::HashTriple;
use proto::etcdserverpb as pb;
use store::{Bucket, CheckpointDone, Cleaning, StoreError, Synced};
use tokio::sync::{mpsc, oneshot};
use types::{Entry, LeaseId};

use crate::door::Applied;
use crate::front::FrontMessage;
use crate::history::HistoryJob;
use crate::install::Installing;
use crate::lane::{LaneMessage, Outcome};
use crate::peers::snapshot;
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
        led_in: u64,
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
    /// Goes on with this snapshot.
    Install(Stored),
    /// Sends the applied state to whom raft wants to send a snapshot.
    SendSnapshot(Box<Message>),
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
    pub(crate) installing: Installing,
    pub(crate) defragmenting: Vec<oneshot::Sender<()>>,
    pub(crate) timed: Timed,
    /// What an entry of the last group took, on average.
    pub(crate) per_entry: Duration,
    /// It was told to stop: nobody may use it any more.
    pub(crate) stopped: bool,
}

impl EngineThread {
    pub(crate) fn fatal(&self, fault: &dyn std::error::Error) {
        self.fatal_at("applying to the store", fault);
    }

    pub(crate) fn fatal_at(&self, what: &'static str, fault: &dyn std::error::Error) {
        let error = chain(fault);
        self.shared.report.report(Event::Fatal { what, error });
    }

    pub(crate) fn apply(&mut self, entries: &[Entry]) -> Result<Option<Applied>, Fault> {
        let began = Instant::now();
        let effects = self.engine.apply(entries, self.shared.now_ms())?;
        let took = began.elapsed();
        self.per_entry = took / u32::try_from(entries.len().max(1)).unwrap_or(1);
        if self.shared.report.took("", took, &|| timed::describe(entries)) {
            self.shared.metrics.server.slow_applies.inc();
        }
        let applied = self.effects(effects);
        if let Some(piece) = self.engine.upkeep().write_out() {
            let _ = self.sync.send(SyncJob::WriteOut(piece));
        }
        self.shared.metrics.disk.backend_commit.observe_duration(began.elapsed());
        Ok(applied)
    }

    pub(crate) fn tell_front(&self, applied: Option<Applied>) {
        if let Some((index, changes)) = applied {
            let _ = self.shared.front.send(FrontMessage::Applied { index, changes });
        }
    }

    pub(crate) fn handle(&mut self, message: EngineMessage) -> Result<(), Fault> {
        let Some(message) = self.installing.keep_back(message) else { return Ok(()) };
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
            EngineMessage::KeepAlive { lease, led_in, answer } => {
                let _ = answer.send(self.keep_alive(lease, led_in));
            }
            EngineMessage::TimeToLive { lease, keys, answer } => {
                let left = self.engine.time_to_live(lease, keys, self.shared.now_ms());
                let _ = answer.send(left.map(|(time, keys)| LeaseLeft { time, keys }));
            }
            EngineMessage::Leases { answer } => drop(answer.send(self.engine.leases())),
            EngineMessage::Install(stored) => self.install(stored)?,
            EngineMessage::SendSnapshot(message) => self.send_snapshot(*message)?,
            EngineMessage::SyncStore => {
                self.installing.syncs += 1;
                let syncing = self.engine.begin_sync()?;
                let _ = self
                    .sync
                    .send(SyncJob::Sync { handle: syncing.handle, stored: syncing.stored });
            }
            EngineMessage::Synced { done, stored } => {
                self.engine.synced(done?);
                self.installing.syncs -= 1;
                if !self.installing.is_under_way() {
                    let _ = self.shared.front.send(FrontMessage::Stored(stored));
                }
                self.install_if_quiet()?;
            }
            EngineMessage::Hashed(triple) => {
                self.engine.hashed(triple);
                self.publish_hashes();
                self.install_if_quiet()?;
            }
            EngineMessage::Cleaned { cleaning, failed } => self.cleaned(*cleaning, failed)?,
            EngineMessage::Checkpointed(done) => self.checkpointed(done)?,
            EngineMessage::Defragment { answer } => {
                self.defragmenting.push(answer);
                let chores = self.house.defragment(&mut self.engine)?;
                self.chores(chores);
            }
            EngineMessage::Snapshot { answer } => {
                self.engine.flush()?;
                let applier = self.engine.applier();
                let _ = answer.send((applier.view(), applier.stored().state().clone()));
            }
            EngineMessage::Tick => self.tick()?,
            EngineMessage::Stop { .. } => unreachable!("taken care of by the loop"),
        }
        Ok(())
    }

    pub(crate) fn keep_alive(&mut self, lease: LeaseId, led_in: u64) -> KeepAlive {
        self.engine.keep_alive(lease, led_in, self.shared.now_ms())
    }

    /// Sends the applied state, whatever entry raft had in mind: it is at none before that.
    fn send_snapshot(&mut self, message: Message) -> Result<(), Fault> {
        self.engine.flush()?;
        let applier = self.engine.applier();
        let image = Image::new(applier.view(), applier.stored().state().clone());
        let (message, body) = snapshot(message, image);
        self.shared.peers.send_snapshot(message, body);
        Ok(())
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
    pub(crate) fn effects(&mut self, effects: Vec<EngineEffect>) -> Option<Applied> {
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
                EngineEffect::Propose { request, asker, scope } => {
                    self.propose(*request, asker, scope);
                }
                EngineEffect::Applied { index, changes } => applied = Some((index, changes)),
                EngineEffect::Cluster => self.publish_cluster(),
                EngineEffect::SyncStore => {
                    let _ = self.shared.engine.send(EngineMessage::SyncStore);
                }
                EngineEffect::Removed => self.shared.report.report(Event::Removed),
                EngineEffect::Tokens(change) => self.shared.tokens(|tokens, now_ms| {
                    tokens.change(&change, now_ms);
                }),
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
        let auth_revision = i64::try_from(view.users.revision()).unwrap_or(i64::MAX);
        self.shared.metrics.server.auth_revision.set(auth_revision);
        self.shared.view.store(Arc::new(view));
        self.shared.applied.store(applied, Ordering::SeqCst);
        self.publish_sizes();
    }

    fn publish_sizes(&self) {
        let sizes = self.engine.applier().stored().sizes();
        self.shared.figures.file_bytes.store(sizes.own_bytes(), Ordering::Release);
        self.shared.figures.live_bytes.store(sizes.live_bytes, Ordering::Release);
        self.shared.figures.held_bytes.store(sizes.held_bytes, Ordering::Release);
    }

    pub(crate) fn publish_cluster(&self) {
        let applier = self.engine.applier();
        let storage = applier.stored().state().get(Bucket::Meta, b"storageVersion");
        let view = ClusterView {
            members: applier.members(),
            storage_version: storage.map(|text| String::from_utf8_lossy(text).into_owned()),
            alarms: applier.alarms().list(0),
        };
        let before = self.shared.cluster.swap(Arc::new(view));
        let now = self.shared.cluster.load();
        let agreed = |view: &ClusterView| view.members.version();
        if let Some(version) = agreed(&now).filter(|_| agreed(&before) != agreed(&now)) {
            self.shared.report.report(Event::ClusterVersion(version));
        }
        self.shared.peers.members(&now);
        if before.alarms != now.alarms {
            self.shared.report.report(Event::Alarms(now.alarms.len()));
        }
    }

    pub(crate) fn publish_hashes(&self) {
        let mut hashes = self.shared.hashes.write().expect("no holder of the lock panics");
        *hashes = self.engine.applier().hashes().clone();
    }

    /// Proposes on the member's own behalf; nobody waits.
    fn propose(&mut self, request: pb::InternalRaftRequest, asker: Asker, scope: Scope) {
        let id = self.ids.next_id();
        let proposal = Proposal::of(request, id, scope, asker);
        let _ = self.shared.front.send(FrontMessage::Propose(vec![proposal]));
    }

    fn tick(&mut self) -> Result<(), Fault> {
        let effects = self.engine.ticked(self.shared.now_ms());
        let applied = self.effects(effects);
        self.tell_front(applied);
        if !self.installing.is_under_way() {
            let chores = self.house.tick(&mut self.engine)?;
            self.chores(chores);
        }
        self.figures();
        self.tell_damage();
        Ok(())
    }

    /// Says of each file once that something in it cannot be read. Whoever found it was refused.
    fn tell_damage(&self) {
        let store = self.engine.applier().stored();
        let figures = &self.shared.figures;
        figures.lacks_room.store(store.lacks_room(), Ordering::Release);
        let damages = store.damages();
        if damages.is_empty() && figures.damages.load().is_empty() {
            return;
        }
        let told =
            figures.damages.swap(Arc::new(damages.iter().map(ToString::to_string).collect()));
        for damage in damages.iter().map(ToString::to_string) {
            if !told.contains(&damage) {
                self.shared.report.report(Event::Damaged { what: damage });
            }
        }
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

    pub(crate) fn prune(&mut self, budget: usize) -> bool {
        let more = self.engine.prune(budget);
        // What was forgotten is let go of piece by piece, here. Kept by the view that was published before, all
        // of it would be freed at once by whoever writes next, who would wait for that.
        self.publish(self.engine.applier().view());
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
                // Dropped: whoever waits hears that there will be no answer.
                Chore::NotDefragmented => self.defragmenting.clear(),
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
        self.install_if_quiet()
    }

    fn checkpointed(&mut self, done: Result<CheckpointDone, StoreError>) -> Result<(), Fault> {
        let failed = self.house.checkpointed(&mut self.engine, done).err();
        self.upkeep_failed("writing the index checkpoint", failed);
        self.install_if_quiet()
    }

    fn upkeep_failed(&self, what: &'static str, failed: Option<StoreError>) {
        if let Some(error) = failed {
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
        }
    }

    /// Leaves a store that needs no replay. What fails here costs the next start some time.
    pub(crate) fn stop(&mut self) -> Option<Stored> {
        if self.installing.is_under_way() {
            // The next start finishes that; the old store is of no use to it.
            return None;
        }
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

//! The engine at work: applies what is committed, answers, feeds watch streams, keeps house. Whose thread it
//! does so on is said in `door`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use apply::{Asker, Fault, ReadView};
use bytes::Bytes;
use consensus::{Role, Scope, Standing};
use exchange::Image;
use lease::{KeepAlive, TimeToLive};
use member::{
    Applying, ApplyingEffect, ApplyingInput as Do, Chore, Engine, EngineEffect,
    FrontInput as Front, Proposal, RequestIds, Stored, Syncing,
};
use proto::etcdserverpb as pb;
use store::{Bucket, Scrub, StoreError};
use tokio::sync::{mpsc, oneshot};
use types::{Entry, LeaseId};

use crate::Event;
use crate::door::Applied;
use crate::front::FrontMessage;
use crate::history::HistoryJob;
use crate::install::InstallWork;
use crate::lane::{LaneMessage, Outcome};
use crate::peers::snapshot_body;
use crate::report::chain;
use crate::shared::{ClusterView, Shared};
use crate::start::SyncJob;
use crate::timed::{self, Timed};
use crate::upkeep::UpkeepJob;
use crate::v2::{V2Message, V2Queue};

/// What reaches the engine's thread.
#[derive(Debug)]
pub(crate) enum EngineMessage {
    /// For the applying half, which says what is to be done.
    Do(Do),
    StreamOpened {
        stream: watch::StreamId,
        progress_interval_ms: u64,
        responses: mpsc::UnboundedSender<Vec<watch::Response>>,
    },
    KeepAlive {
        lease: LeaseId,
        led_in: u64,
        answer: oneshot::Sender<KeepAlive>,
    },
    TimeToLive {
        lease: LeaseId,
        answer: oneshot::Sender<Option<TimeToLive>>,
    },
    /// The next keys of a lease. Lists are made a page at a time: nothing is applied meanwhile.
    LeaseKeys {
        lease: LeaseId,
        after: Option<Bytes>,
        answer: oneshot::Sender<Vec<Bytes>>,
    },
    /// The next leases.
    Leases {
        after: Option<LeaseId>,
        answer: oneshot::Sender<Vec<(u64, LeaseId)>>,
    },
    /// About the tree of the API v2.
    V2(V2Message),
    /// A piece of a pass of scrubbing is through, or has failed.
    Scrubbed {
        scrub: Box<Scrub>,
        failed: Option<StoreError>,
    },
    Defragment {
        answer: oneshot::Sender<()>,
    },
    Snapshot {
        answer: oneshot::Sender<(ReadView, store::State)>,
    },
    Stop {
        done: std::sync::mpsc::Sender<Option<Left>>,
    },
}

/// Leases, or keys of one, that the engine lists at once.
pub(crate) const LEASE_PAGE: usize = 1000;

/// What an engine leaves that was told to stop.
pub(crate) struct Left {
    /// Where its store ends, synced.
    pub(crate) stored: Stored,
    /// The state there, if a Go etcd could go on with it: the cluster's version is below ours.
    pub(crate) image: Option<Image>,
}

/// Behind a group of entries of so many bytes the room on the disk is looked at.
const GROUP_BYTES_LARGE: usize = 128 << 10;

/// The engine's thread and what it remembers between messages.
pub(crate) struct EngineThread {
    pub(crate) applying: Applying,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sync: Sender<SyncJob>,
    pub(crate) history: Sender<HistoryJob>,
    pub(crate) upkeep: Sender<UpkeepJob>,
    /// Nobody after it was told to stop.
    pub(crate) install: Option<Sender<InstallWork>>,
    pub(crate) streams: HashMap<watch::StreamId, mpsc::UnboundedSender<Vec<watch::Response>>>,
    /// Who watches the API v2's tree.
    pub(crate) v2_queues: HashMap<v2::WatchId, V2Queue>,
    pub(crate) ids: RequestIds,
    pub(crate) defragmenting: Vec<oneshot::Sender<()>>,
    /// Who waits for the applied state, by ticket, and the last ticket.
    pub(crate) snapshots: (HashMap<u64, oneshot::Sender<(ReadView, store::State)>>, u64),
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

    pub(crate) fn engine(&self) -> &Engine {
        self.applying.engine()
    }

    pub(crate) fn apply(&mut self, entries: &[Entry]) -> Result<Option<Applied>, Fault> {
        let began = Instant::now();
        let effects = self.applying.apply(entries, self.shared.now_ms())?;
        let took = began.elapsed();
        self.per_entry = took / u32::try_from(entries.len().max(1)).unwrap_or(1);
        if self.shared.report.took("", took, &|| timed::describe(entries)) {
            self.shared.metrics.server.slow_applies.inc();
        }
        let applied = self.effects(effects);
        if GROUP_BYTES_LARGE <= entries.iter().map(|entry| entry.data.len()).sum::<usize>() {
            self.look_for_room();
        }
        if let Some(piece) = self.applying.engine_mut().upkeep().write_out() {
            let _ = self.sync.send(SyncJob::WriteOut(piece));
        }
        self.shared.metrics.disk.backend_commit.observe_duration(began.elapsed());
        Ok(applied)
    }

    pub(crate) fn tell_front(&self, applied: Option<Applied>) {
        if let Some((index, changes)) = applied {
            let _ = self.shared.front.send(FrontMessage::Do(Front::Applied { index, changes }));
        }
    }

    pub(crate) fn handle(&mut self, message: EngineMessage) -> Result<(), Fault> {
        match message {
            EngineMessage::Do(Do::Apply(entries)) if !self.applying.is_installing() => {
                let applied = self.apply(&entries)?;
                self.tell_front(applied);
            }
            EngineMessage::Do(input) => self.step(input)?,
            EngineMessage::StreamOpened { stream, progress_interval_ms, responses } => {
                self.streams.insert(stream, responses);
                let opened = watch::Input::StreamOpened { stream, progress_interval_ms };
                self.step(Do::Watch(opened))?;
            }
            EngineMessage::KeepAlive { lease, led_in, answer } => {
                let _ = answer.send(self.keep_alive(lease, led_in));
            }
            EngineMessage::TimeToLive { lease, answer } => {
                let left = self.engine().time_to_live(lease, self.shared.now_ms());
                let _ = answer.send(left);
            }
            // Whoever asked may have gone.
            EngineMessage::LeaseKeys { answer, .. } if answer.is_closed() => {}
            EngineMessage::LeaseKeys { lease, after, answer } => {
                let page = self.engine().lease_keys(lease, after.as_deref(), LEASE_PAGE);
                let _ = answer.send(page);
            }
            EngineMessage::Leases { answer, .. } if answer.is_closed() => {}
            EngineMessage::Leases { after, answer } => {
                let _ = answer.send(self.engine().leases_after(after, LEASE_PAGE));
            }
            EngineMessage::V2(message) => self.handle_v2(message),
            EngineMessage::Scrubbed { scrub, failed } => self.scrubbed(*scrub, failed),
            EngineMessage::Defragment { answer } => {
                self.defragmenting.push(answer);
                self.step(Do::Defragment)?;
            }
            EngineMessage::Snapshot { answer } => {
                let (waiting, last) = &mut self.snapshots;
                *last += 1;
                waiting.insert(*last, answer);
                let ticket = *last;
                self.step(Do::Snapshot { ticket })?;
            }
            EngineMessage::Stop { .. } => unreachable!("taken care of by the loop"),
        }
        Ok(())
    }

    /// Has the applying half take an input, and does what it asks for.
    fn step(&mut self, input: Do) -> Result<(), Fault> {
        match &input {
            Do::Standing(standing) => self.stands(*standing),
            Do::Watch(watch::Input::StreamClosed { stream }) => drop(self.streams.remove(stream)),
            Do::Install(_) => self.shared.metrics.server.snapshot_apply_in_progress.set(1),
            _ => {}
        }
        let ticked = matches!(input, Do::Ticked);
        for effect in self.applying.step(input, self.shared.now_ms())? {
            self.effect(effect);
        }
        if ticked {
            self.scrub();
            self.figures();
            self.look_for_room();
            self.tell_damage();
        }
        Ok(())
    }

    fn effect(&mut self, effect: ApplyingEffect) {
        match effect {
            ApplyingEffect::Engine(effects) => {
                let applied = self.effects(effects);
                self.tell_front(applied);
            }
            ApplyingEffect::Front(input) => {
                let _ = self.shared.front.send(FrontMessage::Do(input));
            }
            ApplyingEffect::Sync(Syncing { handle, stored }) => {
                let _ = self.sync.send(SyncJob::Sync { handle, stored });
            }
            ApplyingEffect::Chore(chore) => self.chore(chore),
            ApplyingEffect::SendSnapshot { message, image } => {
                self.shared.peers.send_snapshot(message, snapshot_body(*image));
            }
            ApplyingEffect::Snapshot { ticket, view, state } => {
                if let Some(answer) = self.snapshots.0.remove(&ticket) {
                    let _ = answer.send((view, state));
                }
            }
            ApplyingEffect::Install(job) => self.install(InstallWork::Step(job)),
            ApplyingEffect::Replaced(applier) => self.install(InstallWork::LetGo(applier)),
            ApplyingEffect::GoOn => {
                let _ = self.shared.engine.send(EngineMessage::Do(Do::GoOn));
            }
            ApplyingEffect::Hashes => self.publish_hashes(),
            ApplyingEffect::CheckpointFailed(error) => {
                let what = "writing the index checkpoint";
                self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
            }
            ApplyingEffect::Installed { index } => {
                self.shared.lanes.wake_reads(index);
                self.shared.metrics.server.snapshot_apply_in_progress.set(0);
                self.shared.report.report(Event::Installed { index });
            }
            ApplyingEffect::CannotInstall(error) => {
                self.stopped = true;
                self.fatal_at("taking a snapshot over", &error);
            }
        }
    }

    fn install(&self, work: InstallWork) {
        if let Some(install) = &self.install {
            let _ = install.send(work);
        }
    }

    pub(crate) fn keep_alive(&mut self, lease: LeaseId, led_in: u64) -> KeepAlive {
        let now_ms = self.shared.now_ms();
        self.applying.engine_mut().keep_alive(lease, led_in, now_ms)
    }

    fn stands(&self, standing: Standing) {
        let server = &self.shared.metrics.server;
        if standing.leader != 0 && self.engine().standing().leader != standing.leader {
            server.leader_changes.inc();
        }
        server.has_leader.set(i64::from(standing.leader != 0));
        server.is_leader.set(i64::from(standing.role == Role::Leader));
    }

    /// Acts on effects in their order; answers and watch responses for one receiver travel together. What
    /// the front is to be told is left to the caller, who may have it in hand, unless the members are others.
    pub(crate) fn effects(&mut self, effects: Vec<EngineEffect>) -> Option<Applied> {
        let mut decided: HashMap<usize, Vec<(u64, Outcome)>> = HashMap::new();
        let mut responses: HashMap<watch::StreamId, Vec<watch::Response>> = HashMap::new();
        let (mut applied, mut index) = (None, None);
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
                EngineEffect::V2Told(told) => self.tell_v2(told),
                EngineEffect::V2Ended => self.v2_queues.clear(),
                EngineEffect::V2Ends { first, scope } => self.end_v2(first, scope),
                EngineEffect::Applied { index: at, changes } => {
                    index = Some(at);
                    applied = Some((at, changes));
                }
                EngineEffect::Cluster => self.publish_cluster(),
                EngineEffect::SyncStore => {
                    let _ = self.shared.engine.send(EngineMessage::Do(Do::SyncStore));
                }
                EngineEffect::Removed => self.shared.report.report(Event::Removed),
                EngineEffect::Tokens(change) => self.shared.tokens(|tokens, now_ms| {
                    tokens.change(&change, now_ms);
                }),
            }
        }
        // Whoever hears that the members are others may ask for the next change at once: the front hears of it first.
        if let Some(change) = applied.take_if(|(_, changes)| !changes.is_empty()) {
            self.tell_front(Some(change));
        }
        for (lane, outcomes) in decided {
            self.shared.lanes.send(lane, LaneMessage::Decided(outcomes));
        }
        for (stream, batch) in responses {
            if let Some(sender) = self.streams.get(&stream) {
                let _ = sender.send(batch);
            }
        }
        if let Some(index) = index {
            self.shared.lanes.wake_reads(index);
        }
        applied
    }

    fn count(&mut self, operation: &'static str, outcome: &Outcome) {
        let metrics = &self.shared.metrics;
        let find = |told: &'static str| {
            let version = if v2::Method::from_name(operation).is_some() { "v2" } else { "v3" };
            metrics.server.apply_duration.with(&[operation, told, version])
        };
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
        let sizes = self.engine().applier().stored().sizes();
        self.shared.figures.file_bytes.store(sizes.own_bytes(), Ordering::Release);
        self.shared.figures.live_bytes.store(sizes.live_bytes, Ordering::Release);
        self.shared.figures.held_bytes.store(sizes.held_bytes, Ordering::Release);
    }

    pub(crate) fn publish_cluster(&self) {
        let applier = self.engine().applier();
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
        *hashes = self.engine().applier().hashes().clone();
    }

    /// Proposes on the member's own behalf; nobody waits.
    fn propose(&mut self, request: pb::InternalRaftRequest, asker: Asker, scope: Scope) {
        let id = self.ids.next_id();
        self.propose_now(Proposal::of(request, id, scope, asker));
    }

    pub(crate) fn propose_now(&self, proposal: Proposal) {
        let _ = self.shared.front.send(FrontMessage::Do(Front::Propose(vec![proposal])));
    }

    /// Whether the disk has room for more: looked at with each tick, and after a large group, because a quick writer
    /// fills the reserve of a small disk between two ticks.
    fn look_for_room(&self) {
        let lacks_room = self.engine().applier().stored().lacks_room();
        self.shared.figures.lacks_room.store(lacks_room, Ordering::Release);
    }

    /// Says of each file once that something in it cannot be read. Whoever found it was refused.
    fn tell_damage(&self) {
        let store = self.engine().applier().stored();
        let figures = &self.shared.figures;
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
        let sizes = self.engine().watch_sizes();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.mvcc.watch_streams.set(count(sizes.streams));
        metrics.mvcc.watchers.set(count(sizes.watches));
        metrics.mvcc.slow_watchers.set(count(sizes.unsynced));
        self.publish_sizes();
    }

    pub(crate) fn prune(&mut self, budget: usize) -> bool {
        let more = self.applying.engine_mut().prune(budget);
        // What was forgotten is let go of piece by piece, here. Kept by the view that was published before, all
        // of it would be freed at once by whoever writes next, who would wait for that.
        self.publish(self.engine().applier().view());
        if !self.engine().applier().is_pruning() {
            let revision = self.engine().applier().compact_revision();
            self.shared.figures.pruned.store(revision, Ordering::Release);
            self.shared.report.report(Event::Compacted { revision });
        }
        more
    }

    fn chore(&mut self, chore: Chore) {
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

    /// The state that was left, while the cluster's version is one that an older etcd could go on with.
    fn image_for_go(&self, stored: &Stored) -> Option<Image> {
        let applier = self.engine().applier();
        let version = applier.membership().version()?;
        let below = version < self.shared.config.cluster_version;
        let image = below
            .then(|| Image::new(applier.view(), applier.stored().state().clone()))
            .filter(|image| image.applied() == (stored.index, stored.term));
        image.filter(|image| image.members().iter().any(|it| it.id == self.shared.member))
    }

    /// Leaves a store that needs no replay. What fails here costs the next start some time.
    pub(crate) fn stop(&mut self) -> Option<Left> {
        // Its thread ends with what it has in hand.
        self.install = None;
        let left = self.applying.leave().unwrap_or_else(|fault| {
            let what = "leaving the store";
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&fault) });
            None
        });
        left.map(|stored| Left { image: self.image_for_go(&stored), stored })
    }
}

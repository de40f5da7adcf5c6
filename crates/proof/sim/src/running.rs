//! A member that runs: the machines production gives threads to, here as actors with inboxes.
//!
//! Each actor does in one turn what its thread does between two waits (see `node`), and the world decides
//! whose turn it is. Whatever crosses from one thread to another in production crosses an inbox here, so every
//! order that threads can show can be shown by a seed. What the applying half does with an input is decided by
//! [`member::Applying`], which production runs too.
//!
//! Circle: `jobs` is a block of a running member's methods.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use apply::{Asker, ReadView};
use consensus::{Message, Persist, Role, Scope};
use lease::KeepAlive;
use member::{
    Applying, ApplyingEffect, ApplyingInput as Do, Chore, Engine, EngineEffect, Front, FrontEffect,
    FrontInput, Gathered, HashRead, HistoryRead, InstallJob, LogEffect, LogInput, LogWork,
    LogWriter, Mark, Proposal, RequestIds, Stored,
};
use proto::etcdserverpb as pb;
use store::SyncHandle;
use types::{Entry, LeaseId};
use vfs::Disk;
use wal::LogReading;

use crate::chance::Chance;
use crate::jobs::Job;
use crate::out::{Death, Group, Out, death};

/// One thread of production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Front,
    Log,
    Engine,
    StoreSync,
    History,
    Upkeep,
    LogRead,
    Install,
}

/// What reaches the engine.
#[derive(Debug)]
pub(crate) enum ToEngine {
    /// For the applying half.
    Do(Do),
    KeepAlive {
        client: usize,
        /// The request's id.
        asked: u64,
        lease: LeaseId,
        led_in: u64,
    },
}

/// How large the turns are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The world's clock.
    pub(crate) now_ms: u64,
    /// The member's own.
    pub(crate) own_ms: u64,
    pub(crate) batch_max: usize,
    /// Whether there is more than one member.
    pub(crate) cluster: bool,
    pub(crate) compaction_batch: usize,
    pub(crate) sync_ms_max: u64,
}

/// Groups of entries end at such indexes, so that members can be compared there.
pub(crate) const COMPARED_EVERY: u64 = 8;

/// What a process begins with.
pub(crate) struct Parts {
    pub(crate) front: Front,
    pub(crate) applying: Applying,
    pub(crate) log: LogWriter,
    pub(crate) ids: RequestIds,
    /// For the requests of each client.
    pub(crate) client_ids: Vec<RequestIds>,
}

/// A member's process.
pub(crate) struct Running {
    pub(crate) front: Front,
    pub(crate) applying: Applying,
    pub(crate) log: LogWriter,
    pub(crate) view: ReadView,
    pub(crate) ids: RequestIds,
    pub(crate) client_ids: Vec<RequestIds>,
    pub(crate) to_front: VecDeque<FrontInput>,
    pub(crate) to_engine: VecDeque<ToEngine>,
    pub(crate) to_log: VecDeque<LogInput>,
    /// The terms of the entries handed to the log since the start: the front's own log may have gone on, to
    /// other entries in their places, before a group of its effects is looked at.
    handed: BTreeMap<u64, u64>,
    /// A round is written and waits for its sync until then.
    log_writes_until: Option<u64>,
    /// Whether whoever has the front writes the round, and takes the front's next step itself.
    claimed: bool,
    /// What that round holds.
    groups: Vec<Group>,
    syncs: VecDeque<(u64, SyncHandle, Stored)>,
    histories: VecDeque<watch::HistoryRequest>,
    reading: Option<HistoryRead>,
    pub(crate) jobs: VecDeque<Job>,
    /// A long step of a take-over.
    install: Option<Box<InstallJob>>,
    log_reads: VecDeque<(u64, Option<LogReading>)>,
    /// A Go follower's messages wait for its log, whatever they say.
    go: bool,
    waiting_for_log: Vec<Message>,
    /// When a majority was last heard of, by the member's own clock.
    pub(crate) quorum_heard_ms: u64,
    death: Option<Death>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) out: Vec<Out>,
}

impl Running {
    pub(crate) fn new(parts: Parts, go: bool, disk: Arc<dyn Disk>) -> Running {
        let Parts { front, applying, log, ids, client_ids } = parts;
        let view = applying.engine().applier().view();
        Running {
            front,
            applying,
            log,
            view,
            ids,
            client_ids,
            to_front: VecDeque::new(),
            to_engine: VecDeque::new(),
            to_log: VecDeque::new(),
            handed: BTreeMap::new(),
            log_writes_until: None,
            claimed: false,
            groups: Vec::new(),
            syncs: VecDeque::new(),
            histories: VecDeque::new(),
            reading: None,
            jobs: VecDeque::new(),
            install: None,
            log_reads: VecDeque::new(),
            go,
            waiting_for_log: Vec::new(),
            quorum_heard_ms: 0,
            death: None,
            disk,
            out: Vec::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.applying.engine()
    }

    /// What has come out since the last call.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Who could have a turn.
    pub(crate) fn ready(&self, now_ms: u64) -> Vec<Actor> {
        let log = match self.log_writes_until {
            Some(until) => until <= now_ms,
            None => !self.to_log.is_empty(),
        };
        let pruning = self.applying.is_pruning();
        let all = [
            (Actor::Front, !self.to_front.is_empty()),
            (Actor::Log, log),
            (Actor::Engine, !self.to_engine.is_empty() || pruning),
            (Actor::StoreSync, self.syncs.front().is_some_and(|(until, ..)| *until <= now_ms)),
            (Actor::History, self.reading.is_some() || !self.histories.is_empty()),
            (Actor::Upkeep, !self.jobs.is_empty()),
            (Actor::LogRead, !self.log_reads.is_empty()),
            (Actor::Install, self.install.is_some()),
        ];
        all.into_iter().filter(|(_, ready)| *ready).map(|(actor, _)| actor).collect()
    }

    /// Whether nothing is left to do but to wait for clients and clocks.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready(u64::MAX).is_empty()
    }

    /// Whether everything that was begun beside the front is done, and the front knows what was applied.
    pub(crate) fn is_quiet(&self) -> bool {
        let log = self.log_writes_until.is_some() || !self.to_log.is_empty();
        let applied = |input: &FrontInput| matches!(input, FrontInput::Applied { .. });
        let told = !self.to_front.iter().any(applied);
        let store = self.syncs.is_empty() && self.jobs.is_empty() && self.install.is_none();
        !log && told && self.to_engine.is_empty() && store
    }

    pub(crate) fn start(&mut self) {
        let effects = self.front.start();
        self.front_effects(effects);
    }

    /// One turn of one actor.
    pub(crate) fn turn(
        &mut self,
        actor: Actor,
        pace: Pace,
        chance: &mut Chance,
    ) -> Result<(), Death> {
        match actor {
            Actor::Front => self.front_turn(pace, chance)?,
            Actor::Log => self.log_turn(pace, chance)?,
            Actor::Engine => self.engine_turn(pace, chance)?,
            Actor::StoreSync => {
                if let Some((_, handle, stored)) = self.syncs.pop_front() {
                    let done = handle.sync();
                    self.to_engine.push_back(ToEngine::Do(Do::Synced { done, stored }));
                }
            }
            Actor::History => self.history_turn()?,
            Actor::Upkeep => self.upkeep_turn(chance),
            Actor::Install => {
                if let Some(job) = self.install.take() {
                    self.engine_does(Do::InstallStep(job.run(&mut || true)));
                }
            }
            Actor::LogRead => {
                if let Some((ticket, reading)) = self.log_reads.pop_front() {
                    let entries = reading.and_then(|reading| reading.run().ok());
                    let entries = entries.unwrap_or_default();
                    self.to_front.push_back(FrontInput::LogRead { ticket, entries });
                }
            }
        }
        self.death.take().map_or(Ok(()), Err)
    }

    /// As the front's thread: one step for all that gathered, proposals last. In a cluster the group that comes of it
    /// may be claimed, as by a connection's thread: it is written ahead of whatever else reaches the front.
    fn front_turn(&mut self, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        let count = chance.between(1, pace.batch_max as u64) as usize;
        let inputs = self.to_front.drain(..count.min(self.to_front.len()));
        let Gathered { effects, ticked } = self.front.step_all(inputs);
        if ticked && let Some(ticks) = self.front.quorum_silence() {
            let silence = ticks * crate::plan::HEARTBEAT_MS;
            self.quorum_heard_ms = pace.own_ms.saturating_sub(silence);
        }
        let idle = self.to_log.is_empty() && self.log_writes_until.is_none();
        self.front_effects(effects);
        let small = |input: &LogInput| matches!(input, LogInput::Work(LogWork::Persist(_)));
        if pace.cluster && idle && self.to_log.front().is_some_and(small) && chance.one_in(3) {
            self.claimed = true;
            self.log_turn(pace, chance)?;
        }
        Ok(())
    }

    /// The term of the entry these follow; `None` when that was not handed to the log since the start.
    fn term_before(&mut self, entries: &[Entry]) -> Option<u64> {
        let first = entries.first()?;
        let before = self.handed.get(&first.index.checked_sub(1)?).copied();
        drop(self.handed.split_off(&first.index));
        self.handed.extend(entries.iter().map(|entry| (entry.index, entry.term)));
        before
    }

    fn front_effects(&mut self, effects: Vec<FrontEffect>) {
        for effect in effects {
            match effect {
                FrontEffect::Log(input) => {
                    if let LogInput::Work(LogWork::Persist(persist)) = &input {
                        self.handed_to_the_log(persist);
                    }
                    self.to_log.push_back(input);
                }
                FrontEffect::Applying(input) => {
                    if let Do::Apply(entries) = &input {
                        self.out.push(Out::Committed(entries.clone()));
                    }
                    self.engine_does(input);
                }
                FrontEffect::Send(messages) => self.send(messages),
                FrontEffect::SnapshotUnused { index } => {
                    self.jobs.push_back(Job::RemoveSnapshot(index));
                }
                FrontEffect::ReadReady { tickets, index } => {
                    self.out.push(Out::ReadReady { tickets, index });
                }
                FrontEffect::Refuse { id, refusal } => {
                    self.out.push(Out::Decided { id, result: Err(refusal) });
                }
                FrontEffect::Standing(standing) => self.out.push(Out::Standing(standing)),
                FrontEffect::LogLost(refused) => {
                    self.death = Some(death("following the leader", &refused));
                }
            }
        }
    }

    fn handed_to_the_log(&mut self, persist: &Persist) {
        let entries = persist.entries.clone();
        if let Some(point) = &persist.snapshot {
            self.handed = BTreeMap::from([(point.index, point.term)]);
        }
        let before = self.term_before(&entries);
        self.out.push(Out::Written { before, entries });
    }

    fn engine_does(&mut self, input: Do) {
        self.to_engine.push_back(ToEngine::Do(input));
    }

    fn send(&mut self, messages: Vec<Message>) {
        let busy = self.log_writes_until.is_some() || !self.to_log.is_empty();
        if self.go && busy && self.front.standing().role != Role::Leader {
            self.waiting_for_log.extend(messages);
            return;
        }
        self.out.push(Out::Send(messages));
    }

    /// A round is written in one turn and synced in another, some time later.
    fn log_turn(&mut self, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        let fatal = |error: wal::WriteError| death("writing the raft log", &error);
        if self.log_writes_until.take().is_none() {
            let most = chance.between(1, pace.batch_max as u64) as usize;
            let count = if self.claimed { self.to_log.len() } else { most };
            for input in self.to_log.drain(..count.min(self.to_log.len())) {
                if let LogInput::Work(work) = &input {
                    self.groups.extend(Group::of(work));
                }
                match self.log.step(input).map_err(fatal)? {
                    Some(LogEffect::Read { ticket, reading }) => {
                        self.log_reads.push_back((ticket, reading));
                    }
                    Some(LogEffect::NotPrepared(error)) => {
                        self.out.push(Out::UpkeepFailed(error.to_string()));
                    }
                    None => {}
                }
            }
            self.log_writes_until = Some(pace.now_ms + chance.between(0, pace.sync_ms_max));
            return Ok(());
        }
        self.log.sync().map_err(fatal)?;
        let done = self.log.finish().map_err(fatal)?;
        self.out.push(Out::Durable(std::mem::take(&mut self.groups)));
        let claimed = std::mem::take(&mut self.claimed);
        if let Some(number) = done.persisted {
            let persisted = FrontInput::Persisted { number };
            if claimed {
                let effects = self.front.step(persisted);
                self.front_effects(effects);
            } else {
                self.to_front.push_back(persisted);
            }
        }
        if let Some(preparation) = done.preparation {
            self.jobs.push_back(Job::Prepare(preparation));
        }
        let waited = std::mem::take(&mut self.waiting_for_log);
        if !waited.is_empty() {
            self.out.push(Out::Send(waited));
        }
        Ok(())
    }

    fn engine_turn(&mut self, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        if self.applying.is_pruning() {
            let idle = self.to_engine.is_empty();
            self.applying.engine_mut().prune(if idle { pace.compaction_batch } else { 2 });
        }
        let Some(message) = self.to_engine.pop_front() else { return Ok(()) };
        match message {
            ToEngine::Do(Do::Apply(entries)) => {
                let entries = self.gather(entries, pace, chance);
                self.step(Do::Apply(entries), pace, chance)
            }
            ToEngine::Do(input) => self.step(input, pace, chance),
            ToEngine::KeepAlive { client, asked, lease, led_in } => {
                let kept: KeepAlive =
                    self.applying.engine_mut().keep_alive(lease, led_in, pace.own_ms);
                self.out.push(Out::Kept { client, asked, kept });
                Ok(())
            }
        }
    }

    /// Entries that become one group. In a cluster each ends where members are compared.
    fn gather(&mut self, mut entries: Vec<Entry>, pace: Pace, chance: &mut Chance) -> Vec<Entry> {
        let more = chance.between(0, pace.batch_max as u64);
        for _ in 0..more {
            match self.to_engine.pop_front() {
                Some(ToEngine::Do(Do::Apply(more))) => entries.extend(more),
                Some(other) => {
                    self.to_engine.push_front(other);
                    break;
                }
                None => break,
            }
        }
        let end = entries.iter().position(|entry| entry.index % COMPARED_EVERY == 0);
        if let Some(end) = end.filter(|end| pace.cluster && end + 1 < entries.len()) {
            let rest = entries.split_off(end + 1);
            self.to_engine.push_front(ToEngine::Do(Do::Apply(rest)));
        }
        entries
    }

    fn step(&mut self, input: Do, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        let effects = self.applying.step(input, pace.own_ms);
        for effect in effects.map_err(|error| death("applying to the store", &error))? {
            match effect {
                ApplyingEffect::Engine(effects) => self.engine_effects(effects),
                ApplyingEffect::Front(input) => self.to_front.push_back(input),
                ApplyingEffect::Sync(syncing) => {
                    let until = pace.now_ms + chance.between(0, pace.sync_ms_max);
                    self.syncs.push_back((until, syncing.handle, syncing.stored));
                }
                ApplyingEffect::Chore(chore) => self.chore(chore),
                ApplyingEffect::SendSnapshot { message, image } => {
                    let message = Box::new(message);
                    self.out.push(Out::SendSnapshot { message, image });
                }
                ApplyingEffect::Install(job) => self.install = Some(job),
                ApplyingEffect::GoOn => self.engine_does(Do::GoOn),
                ApplyingEffect::Replaced(_)
                | ApplyingEffect::Snapshot { .. }
                | ApplyingEffect::Hashes => {}
                ApplyingEffect::CheckpointFailed(error) => {
                    self.out.push(Out::UpkeepFailed(format!("checkpoint: {error}")));
                }
                ApplyingEffect::Installed { index } => self.out.push(Out::Installed(index)),
                ApplyingEffect::CannotInstall(error) => {
                    self.death = Some(death("taking a snapshot over", &error));
                }
            }
        }
        Ok(())
    }

    fn engine_effects(&mut self, effects: Vec<EngineEffect>) {
        for effect in effects {
            match effect {
                EngineEffect::Publish(view) => self.publish(*view),
                EngineEffect::Reply { id, result, .. } => {
                    self.out.push(Out::Decided { id, result })
                }
                EngineEffect::Send { stream, response } => {
                    self.out.push(Out::Response { stream, response });
                }
                EngineEffect::ReadHistory(request) => self.histories.push_back(request),
                EngineEffect::Hash(job) => {
                    self.jobs.push_back(Job::Hash(Box::new(HashRead::from(job))));
                }
                EngineEffect::Propose { request, asker, scope } => {
                    self.propose(*request, asker, scope);
                }
                EngineEffect::Applied { index, changes } => {
                    self.out.push(Out::Applied(index));
                    self.to_front.push_back(FrontInput::Applied { index, changes });
                }
                EngineEffect::SyncStore => self.engine_does(Do::SyncStore),
                EngineEffect::Removed => self.out.push(Out::Removed),
                // Nobody here speaks the API v2.
                EngineEffect::Cluster
                | EngineEffect::Tokens(_)
                | EngineEffect::V2Told(_)
                | EngineEffect::V2Ended
                | EngineEffect::V2Ends { .. } => {}
            }
        }
    }

    fn publish(&mut self, view: ReadView) {
        self.view = view;
        self.out.push(Out::Published);
    }

    fn propose(&mut self, request: pb::InternalRaftRequest, asker: Asker, scope: Scope) {
        let proposal = Proposal::of(request, self.ids.next_id(), scope, asker);
        self.to_front.push_back(FrontInput::Propose(vec![proposal]));
    }

    fn chore(&mut self, chore: Chore) {
        match chore {
            Chore::Clean(cleaning) => self.jobs.push_back(Job::Clean(cleaning)),
            Chore::Checkpoint(job) => self.jobs.push_back(Job::Checkpoint(job)),
            Chore::Publish(view) => self.publish(*view),
            Chore::Defragmented => self.out.push(Out::Defragmented),
            Chore::NotDefragmented => {}
        }
    }

    /// An orderly end, as production's: the engine does what is in its inbox and leaves, the log is marked.
    pub(crate) fn stop(&mut self) -> Result<(), Death> {
        if self.log_writes_until.take().is_some() {
            self.log.sync_all().map_err(|error| death("writing the raft log", &error))?;
            self.log.finish().map_err(|error| death("writing the raft log", &error))?;
        }
        // What cannot be left in order costs the next start some time, nothing else.
        let Ok(Some(stored)) = self.applying.leave() else { return Ok(()) };
        let keep_from = if self.front.is_alone() { stored.index } else { 0 };
        let marked = self
            .log
            .take(LogWork::Mark(Mark { keep_from, stored }))
            .and_then(|()| self.log.sync_all());
        let marked = marked.and_then(|()| self.log.finish().map(|_| ()));
        marked.map_err(|error| death("writing the raft log", &error))
    }

    fn history_turn(&mut self) -> Result<(), Death> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => match self.histories.pop_front() {
                Some(request) => HistoryRead::new(request, self.view.clone()),
                None => return Ok(()),
            },
        };
        let compacted = || self.view.index.compact_revision();
        let read = reading.step(compacted);
        match read.map_err(|error| death("reading history from the store", &error))? {
            Some(history) => self.engine_does(Do::Watch(watch::Input::HistoryRead(history))),
            None => self.reading = Some(reading),
        }
        Ok(())
    }
}

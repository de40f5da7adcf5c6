//! A member that runs: the machines production gives threads to, here as actors with inboxes.
//!
//! Each actor does in one turn what its thread does between two waits (see `node`), and the world decides
//! whose turn it is. Whatever crosses from one thread to another in production crosses an inbox here, so every
//! order that threads can show can be shown by a seed.

use std::collections::VecDeque;

use apply::{Answer, Asker, ReadView};
use consensus::{Message, Scope, Standing};
use lease::KeepAlive;
use member::{
    CheckpointJob, Chore, Engine, EngineEffect, Front, FrontEffect, FrontInput, HashRead,
    HistoryRead, House, LogWork, LogWriter, Mark, Proposal, RequestIds, Stored,
};
use proto::etcdserverpb as pb;
use store::{CheckpointDone, CleanProgress, Cleaning, StoreError, SyncHandle, Synced};
use types::{Entry, LeaseId, Refusal};
use wal::{Preparation, Prepared};

use crate::chance::Chance;

/// One thread of production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Front,
    Log,
    Engine,
    StoreSync,
    History,
    Upkeep,
}

/// What reaches the engine.
#[derive(Debug)]
pub(crate) enum ToEngine {
    Apply(Vec<Entry>),
    Standing(Standing),
    Watch(watch::Input),
    KeepAlive { client: usize, lease: LeaseId },
    SyncStore,
    Synced { done: Result<Synced, StoreError>, stored: Stored },
    Hashed(Option<mvcc::HashTriple>),
    Cleaned { cleaning: Box<Cleaning>, succeeded: bool },
    Checkpointed(Result<CheckpointDone, StoreError>),
    Defragment,
    Tick,
}

#[derive(Debug)]
enum ToLog {
    Work(LogWork),
    Prepared(Prepared),
}

/// Long work under way.
enum Job {
    Clean(Box<Cleaning>),
    Checkpoint(Box<CheckpointJob>),
    Hash(Box<HashRead>),
    Prepare(Preparation),
}

/// What the world must know of.
#[derive(Debug)]
pub(crate) enum Out {
    /// A proposal was decided.
    Decided { id: u64, result: Result<Answer, Refusal> },
    /// Reads may be served once this index is applied.
    ReadReady { tickets: Vec<u64>, index: u64 },
    /// Readers see another state now.
    Published,
    /// These entries are committed.
    Committed(Vec<Entry>),
    /// Everything up to this entry was applied and published.
    Applied(u64),
    /// For a watch stream.
    Response { stream: watch::StreamId, response: watch::Response },
    /// For other members.
    Send(Vec<Message>),
    /// A keep-alive was answered.
    Kept { client: usize, kept: KeepAlive },
    /// The log holds, synced, this term.
    TermDurable(u64),
    /// Where the member stands.
    Standing(Standing),
    /// Housekeeping failed, and production would go on.
    UpkeepFailed(String),
    /// The store is clean.
    Defragmented,
}

/// The process must end, for this reason.
#[derive(Debug)]
pub(crate) struct Death(pub(crate) String);

fn death(what: &str, error: &dyn std::error::Error) -> Death {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Death(text)
}

/// How large the turns are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The world's clock.
    pub(crate) now_ms: u64,
    /// The member's own.
    pub(crate) own_ms: u64,
    pub(crate) batch_max: usize,
    pub(crate) compaction_batch: usize,
    pub(crate) sync_ms_max: u64,
}

/// A member's process.
pub(crate) struct Running {
    pub(crate) front: Front,
    pub(crate) engine: Engine,
    pub(crate) house: House,
    pub(crate) log: LogWriter,
    pub(crate) view: ReadView,
    pub(crate) ids: RequestIds,
    /// For the requests of each client.
    pub(crate) client_ids: Vec<RequestIds>,
    pub(crate) to_front: VecDeque<FrontInput>,
    pub(crate) to_engine: VecDeque<ToEngine>,
    to_log: VecDeque<ToLog>,
    /// A round is written and waits for its sync until then.
    log_writes_until: Option<u64>,
    /// The newest term in that round.
    log_term: Option<u64>,
    syncs: VecDeque<(u64, SyncHandle, Stored)>,
    histories: VecDeque<watch::HistoryRequest>,
    reading: Option<HistoryRead>,
    jobs: VecDeque<Job>,
    out: Vec<Out>,
}

impl Running {
    pub(crate) fn new(
        front: Front,
        engine: Engine,
        house: House,
        log: LogWriter,
        ids: RequestIds,
        client_ids: Vec<RequestIds>,
    ) -> Running {
        let view = engine.applier().view();
        Running {
            front,
            engine,
            house,
            log,
            view,
            ids,
            client_ids,
            to_front: VecDeque::new(),
            to_engine: VecDeque::new(),
            to_log: VecDeque::new(),
            log_writes_until: None,
            log_term: None,
            syncs: VecDeque::new(),
            histories: VecDeque::new(),
            reading: None,
            jobs: VecDeque::new(),
            out: Vec::new(),
        }
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
        let pruning = self.engine.applier().is_pruning();
        let all = [
            (Actor::Front, !self.to_front.is_empty()),
            (Actor::Log, log),
            (Actor::Engine, !self.to_engine.is_empty() || pruning),
            (Actor::StoreSync, self.syncs.front().is_some_and(|(until, ..)| *until <= now_ms)),
            (Actor::History, self.reading.is_some() || !self.histories.is_empty()),
            (Actor::Upkeep, !self.jobs.is_empty()),
        ];
        all.into_iter().filter(|(_, ready)| *ready).map(|(actor, _)| actor).collect()
    }

    /// Whether nothing is left to do but to wait for clients and clocks.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready(u64::MAX).is_empty()
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
            Actor::Front => self.front_turn(pace, chance),
            Actor::Log => return self.log_turn(pace, chance),
            Actor::Engine => return self.engine_turn(pace, chance),
            Actor::StoreSync => {
                if let Some((_, handle, stored)) = self.syncs.pop_front() {
                    self.to_engine.push_back(ToEngine::Synced { done: handle.sync(), stored });
                }
            }
            Actor::History => return self.history_turn(),
            Actor::Upkeep => self.upkeep_turn(chance),
        }
        Ok(())
    }

    /// As the front's thread: one step for all that gathered, proposals last.
    fn front_turn(&mut self, pace: Pace, chance: &mut Chance) {
        let count = chance.between(1, pace.batch_max as u64) as usize;
        let mut proposals = Vec::new();
        let mut effects = Vec::new();
        for _ in 0..count {
            match self.to_front.pop_front() {
                None => break,
                Some(FrontInput::Propose(more)) => proposals.extend(more),
                Some(input) => effects.extend(self.front.step(input)),
            }
        }
        if !proposals.is_empty() {
            effects.extend(self.front.step(FrontInput::Propose(proposals)));
        }
        self.front_effects(effects);
    }

    fn front_effects(&mut self, effects: Vec<FrontEffect>) {
        for effect in effects {
            match effect {
                FrontEffect::Persist(persist) => {
                    self.to_log.push_back(ToLog::Work(LogWork::Persist(persist)));
                }
                FrontEffect::Mark(mark) => {
                    self.to_log.push_back(ToLog::Work(LogWork::Mark(mark)));
                }
                FrontEffect::SendSnapshot(_)
                | FrontEffect::Install(_)
                | FrontEffect::SnapshotUnused { .. }
                | FrontEffect::ReadLog(_) => unreachable!("nobody is there to lag"),
                FrontEffect::Send(messages) => self.out.push(Out::Send(messages)),
                FrontEffect::Apply(entries) => {
                    self.out.push(Out::Committed(entries.clone()));
                    self.to_engine.push_back(ToEngine::Apply(entries));
                }
                FrontEffect::SyncStore => self.to_engine.push_back(ToEngine::SyncStore),
                FrontEffect::ReadReady { tickets, index } => {
                    self.out.push(Out::ReadReady { tickets, index });
                }
                FrontEffect::Refuse { id, refusal } => {
                    self.out.push(Out::Decided { id, result: Err(refusal) });
                }
                FrontEffect::Standing(standing) => {
                    self.to_engine.push_back(ToEngine::Standing(standing));
                    self.out.push(Out::Standing(standing));
                }
            }
        }
    }

    /// A round is written in one turn and synced in another, some time later.
    fn log_turn(&mut self, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        let fatal = |error: wal::WriteError| death("writing the raft log", &error);
        if self.log_writes_until.take().is_none() {
            let count = chance.between(1, pace.batch_max as u64) as usize;
            for message in self.to_log.drain(..count.min(self.to_log.len())) {
                match message {
                    ToLog::Work(work) => {
                        if let LogWork::Persist(persist) = &work {
                            let term = persist.hard_state.map(|state| state.term);
                            self.log_term = term.or(self.log_term);
                        }
                        self.log.take(work).map_err(fatal)?;
                    }
                    ToLog::Prepared(prepared) => {
                        if let Err(error) = self.log.prepared(prepared) {
                            self.out.push(Out::UpkeepFailed(error.to_string()));
                        }
                    }
                }
            }
            self.log_writes_until = Some(pace.now_ms + chance.between(0, pace.sync_ms_max));
            return Ok(());
        }
        let synced = self.log.sync().map_err(fatal)?;
        let done = self.log.finish().map_err(fatal)?;
        if let Some(term) = self.log_term.take().filter(|_| synced) {
            self.out.push(Out::TermDurable(term));
        }
        if let Some(number) = done.persisted {
            self.to_front.push_back(FrontInput::Persisted { number });
        }
        if let Some(preparation) = done.preparation {
            self.jobs.push_back(Job::Prepare(preparation));
        }
        Ok(())
    }

    fn engine_turn(&mut self, pace: Pace, chance: &mut Chance) -> Result<(), Death> {
        let fatal = |error: apply::Fault| death("applying to the store", &error);
        if self.engine.applier().is_pruning() {
            let idle = self.to_engine.is_empty();
            self.engine.prune(if idle { pace.compaction_batch } else { 2 });
        }
        let Some(message) = self.to_engine.pop_front() else { return Ok(()) };
        let ToEngine::Apply(mut entries) = message else {
            return self.engine_message(message, pace, chance).map_err(fatal);
        };
        let more = chance.between(0, pace.batch_max as u64);
        for _ in 0..more {
            match self.to_engine.pop_front() {
                Some(ToEngine::Apply(more)) => entries.extend(more),
                Some(other) => {
                    self.to_engine.push_front(other);
                    break;
                }
                None => break,
            }
        }
        let effects = self.engine.apply(&entries, pace.own_ms).map_err(fatal)?;
        self.engine_effects(effects);
        Ok(())
    }

    fn engine_message(
        &mut self,
        message: ToEngine,
        pace: Pace,
        chance: &mut Chance,
    ) -> Result<(), apply::Fault> {
        match message {
            ToEngine::Apply(_) => unreachable!("taken care of by the turn"),
            ToEngine::Standing(standing) => self.engine.stands(standing),
            ToEngine::Watch(input) => {
                let effects = self.engine.watch(input);
                self.engine_effects(effects);
            }
            ToEngine::KeepAlive { client, lease } => {
                let led_in = self.engine.standing().term;
                let kept = self.engine.keep_alive(lease, led_in, pace.own_ms);
                self.out.push(Out::Kept { client, kept });
            }
            ToEngine::SyncStore => {
                let syncing = self.engine.begin_sync()?;
                let until = pace.now_ms + chance.between(0, pace.sync_ms_max);
                self.syncs.push_back((until, syncing.handle, syncing.stored));
            }
            ToEngine::Synced { done, stored } => {
                self.engine.synced(done?);
                self.to_front.push_back(FrontInput::Stored(stored));
            }
            ToEngine::Hashed(triple) => self.engine.hashed(triple),
            ToEngine::Cleaned { cleaning, succeeded } => {
                let chores = self.house.cleaned(&mut self.engine, *cleaning, succeeded)?;
                self.chores(chores);
            }
            ToEngine::Checkpointed(done) => {
                if let Err(error) = self.house.checkpointed(&mut self.engine, done) {
                    self.out.push(Out::UpkeepFailed(format!("checkpoint: {error}")));
                }
            }
            ToEngine::Defragment => {
                let chores = self.house.defragment(&mut self.engine)?;
                self.chores(chores);
            }
            ToEngine::Tick => {
                let effects = self.engine.ticked(pace.own_ms);
                self.engine_effects(effects);
                let chores = self.house.tick(&mut self.engine)?;
                self.chores(chores);
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
                EngineEffect::SyncStore => self.to_engine.push_back(ToEngine::SyncStore),
                EngineEffect::Removed | EngineEffect::Cluster | EngineEffect::Tokens(_) => {}
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

    fn chores(&mut self, chores: Vec<Chore>) {
        for chore in chores {
            match chore {
                Chore::Clean(cleaning) => self.jobs.push_back(Job::Clean(cleaning)),
                Chore::Checkpoint(job) => self.jobs.push_back(Job::Checkpoint(job)),
                Chore::Publish(view) => self.publish(*view),
                Chore::Defragmented => self.out.push(Out::Defragmented),
                Chore::NotDefragmented => {}
            }
        }
    }

    /// An orderly end, as production's: the engine does what is in its inbox and leaves, the log is marked.
    pub(crate) fn stop(&mut self) -> Result<(), Death> {
        if self.log_writes_until.take().is_some() {
            self.log.sync_all().map_err(|error| death("writing the raft log", &error))?;
            self.log.finish().map_err(|error| death("writing the raft log", &error))?;
        }
        // What cannot be left in order costs the next start some time, nothing else.
        let Ok(stored) = self.house.leave(&mut self.engine) else { return Ok(()) };
        let marked = self
            .log
            .take(LogWork::Mark(Mark { keep_from: stored.index, stored }))
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
            Some(history) => {
                self.to_engine.push_back(ToEngine::Watch(watch::Input::HistoryRead(history)));
            }
            None => self.reading = Some(reading),
        }
        Ok(())
    }

    /// A step of the job at the head; production ends one before it begins the next.
    fn upkeep_turn(&mut self, chance: &mut Chance) {
        let bytes = chance.pick(&[1, 300, 1 << 20]);
        match self.jobs.pop_front() {
            None => {}
            Some(Job::Clean(mut cleaning)) => match cleaning.step(bytes) {
                Ok(CleanProgress::More) => self.jobs.push_front(Job::Clean(cleaning)),
                Ok(CleanProgress::Done) => {
                    self.to_engine.push_back(ToEngine::Cleaned { cleaning, succeeded: true });
                }
                Err(error) => {
                    self.out.push(Out::UpkeepFailed(format!("cleaning: {error}")));
                    self.to_engine.push_back(ToEngine::Cleaned { cleaning, succeeded: false });
                }
            },
            Some(Job::Checkpoint(mut job)) => match job.step() {
                Ok(None) => self.jobs.push_front(Job::Checkpoint(job)),
                Ok(Some(done)) => self.to_engine.push_back(ToEngine::Checkpointed(Ok(done))),
                Err(error) => self.to_engine.push_back(ToEngine::Checkpointed(Err(error))),
            },
            Some(Job::Hash(mut read)) => match read.step(bytes) {
                Ok(None) => self.jobs.push_front(Job::Hash(read)),
                Ok(Some(triple)) => self.to_engine.push_back(ToEngine::Hashed(Some(triple))),
                Err(error) => {
                    self.out.push(Out::UpkeepFailed(format!("hashing: {error}")));
                    self.to_engine.push_back(ToEngine::Hashed(None));
                }
            },
            Some(Job::Prepare(preparation)) => {
                self.to_log.push_back(ToLog::Prepared(preparation.run()));
            }
        }
    }
}

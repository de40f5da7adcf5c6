//! The applying half as a whole: the engine, its housekeeping, and the exchange of its store for a snapshot.
//!
//! One driver core for everybody who runs a member: whatever reaches the applying half is an [`Input`], whatever it
//! asks for an [`Effect`], and in between stands no thread. `node` gives it one, the simulation gives it turns.
//!
//! While a snapshot is to be installed, long work on the old store (a sync, cleaning, a checkpoint, a hash) may be
//! under way elsewhere and names files of its directory. So nothing new is begun, what is under way is waited for,
//! and whatever needs the store to be the new one is kept back, in order. Watchers and leases go on.

use std::collections::VecDeque;

use apply::{Fault, ReadView};
use consensus::{Message, Standing};
use exchange::Image;
use mvcc::HashTriple;
use proto::raftpb::{self, MessageType};
use store::{CheckpointDone, Cleaning, StoreError, Synced};
use types::{ConfState, Entry};

use crate::boot_error::BootError;
use crate::engine::{Effect as EngineEffect, Engine, Stored, Syncing};
use crate::front::Input as FrontInput;
use crate::house::{Chore, House};
use crate::install::Installer;

/// Everything that can happen to the applying half.
#[derive(Debug)]
pub enum Input {
    /// Entries are committed.
    Apply(Vec<Entry>),
    /// Term, leader or role changed.
    Standing(Standing),
    /// Something happened to a watch stream.
    Watch(watch::Input),
    /// Goes on with this snapshot, whose file is there and whose marker is synced.
    Install(Stored),
    /// Raft wants to send a snapshot: the applied state, whatever entry raft had in mind.
    SendSnapshot(Box<Message>),
    /// Somebody wants the applied state.
    Snapshot {
        /// By which it is told.
        ticket: u64,
    },
    /// The store is to be synced.
    SyncStore,
    /// A sync has run.
    Synced {
        /// What came of it.
        done: Result<Synced, StoreError>,
        /// What it has made durable.
        stored: Stored,
    },
    /// A compaction's hash is known, or could not be computed.
    Hashed(Option<HashTriple>),
    /// A round of cleaning has ended.
    Cleaned {
        /// The round.
        cleaning: Box<Cleaning>,
        /// Whether it ended well.
        succeeded: bool,
    },
    /// A checkpoint has ended.
    Checkpointed(Result<CheckpointDone, StoreError>),
    /// The store is to be cleaned completely.
    Defragment,
    /// Time passed; every 100 ms or so.
    Ticked,
}

/// Everything the applying half can ask for.
pub enum Effect {
    /// Of one step of the engine, in order.
    Engine(Vec<EngineEffect>),
    /// To be told to the front.
    Front(FrontInput),
    /// A sync of the store, to be run elsewhere; [`Input::Synced`] is due.
    Sync(Syncing),
    /// Something to be done about the store.
    Chore(Chore),
    /// To be sent to its receiver, with the image's database behind it.
    SendSnapshot {
        /// The message, complete.
        message: Message,
        /// The state it speaks of.
        image: Box<Image>,
    },
    /// The applied state, for whoever asked.
    Snapshot {
        /// Who asked.
        ticket: u64,
        /// What readers see.
        view: ReadView,
        /// Small state.
        state: store::State,
    },
    /// The hashes of compactions changed.
    Hashes,
    /// The index checkpoint could not be written; the next one is tried in time.
    CheckpointFailed(StoreError),
    /// The store is the snapshot's now, up to this entry.
    Installed {
        /// The snapshot's entry.
        index: u64,
    },
    /// The snapshot cannot be taken over: the member must stop, and its next start tries again.
    CannotInstall(BootError),
}

/// The applying half of one member.
pub struct Applying {
    engine: Engine,
    house: House,
    installer: Installer,
    checkpoint_rows_min: u64,
    /// The snapshot to go on with.
    wanted: Option<Stored>,
    held: VecDeque<Input>,
    /// Syncs of the store under way.
    syncs: usize,
}

impl Applying {
    /// An engine with its house. `checkpoint_rows_min` is how many rows lie between two index checkpoints at least.
    pub fn new(engine: Engine, checkpoint_rows_min: u64, installer: Installer) -> Applying {
        Applying {
            engine,
            house: House::new(checkpoint_rows_min),
            installer,
            checkpoint_rows_min,
            wanted: None,
            held: VecDeque::new(),
            syncs: 0,
        }
    }

    /// The engine, for questions.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for what touches neither its store nor the order of entries: leases, pruning, its upkeep.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Whether the store is about to be another one.
    pub fn is_installing(&self) -> bool {
        self.wanted.is_some()
    }

    /// Applies committed entries as one group. Not while a snapshot is being installed: then they are an
    /// [`Input::Apply`], which waits.
    ///
    /// # Errors
    /// [`Fault`]: the member must stop, and none of the effects may be acted on.
    pub fn apply(&mut self, entries: &[Entry], now_ms: u64) -> Result<Vec<EngineEffect>, Fault> {
        assert!(self.wanted.is_none(), "entries behind a snapshot wait for it");
        self.engine.apply(entries, now_ms)
    }

    /// Takes one input and returns what must be done about it, in order. `now_ms` is any clock that only moves
    /// forward.
    ///
    /// # Errors
    /// [`Fault`]: the member must stop, and none of the effects may be acted on.
    pub fn step(&mut self, input: Input, now_ms: u64) -> Result<Vec<Effect>, Fault> {
        let mut effects = Vec::new();
        self.take(input, now_ms, &mut effects)?;
        Ok(effects)
    }

    fn take(&mut self, input: Input, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        if self.is_installing() && waits_for_the_store(&input) {
            self.held.push_back(input);
            return Ok(());
        }
        match input {
            Input::Apply(entries) => {
                effects.push(Effect::Engine(self.engine.apply(&entries, now_ms)?));
            }
            Input::Standing(standing) => self.engine.stands(standing),
            Input::Watch(input) => effects.push(Effect::Engine(self.engine.watch(input))),
            Input::Install(stored) => {
                self.wanted = Some(stored);
                self.install_if_quiet(now_ms, effects)?;
            }
            Input::SendSnapshot(message) => {
                self.engine.flush()?;
                let applier = self.engine.applier();
                let image = Image::new(applier.view(), applier.stored().state().clone());
                let message = filled(*message, &image);
                effects.push(Effect::SendSnapshot { message, image: Box::new(image) });
            }
            Input::Snapshot { ticket } => {
                self.engine.flush()?;
                let applier = self.engine.applier();
                let (view, state) = (applier.view(), applier.stored().state().clone());
                effects.push(Effect::Snapshot { ticket, view, state });
            }
            Input::SyncStore => {
                self.syncs += 1;
                effects.push(Effect::Sync(self.engine.begin_sync()?));
            }
            Input::Synced { done, stored } => {
                self.engine.synced(done?);
                self.syncs -= 1;
                if !self.is_installing() {
                    effects.push(Effect::Front(FrontInput::Stored(stored)));
                }
                self.install_if_quiet(now_ms, effects)?;
            }
            Input::Hashed(triple) => {
                self.engine.hashed(triple);
                effects.push(Effect::Hashes);
                self.install_if_quiet(now_ms, effects)?;
            }
            Input::Cleaned { cleaning, succeeded } => {
                let chores = self.house.cleaned(&mut self.engine, *cleaning, succeeded)?;
                effects.extend(chores.into_iter().map(Effect::Chore));
                self.install_if_quiet(now_ms, effects)?;
            }
            Input::Checkpointed(done) => {
                let failed = self.house.checkpointed(&mut self.engine, done).err();
                effects.extend(failed.map(Effect::CheckpointFailed));
                self.install_if_quiet(now_ms, effects)?;
            }
            Input::Defragment => {
                let chores = self.house.defragment(&mut self.engine)?;
                effects.extend(chores.into_iter().map(Effect::Chore));
            }
            Input::Ticked => {
                effects.push(Effect::Engine(self.engine.ticked(now_ms)));
                if !self.is_installing() {
                    let chores = self.house.tick(&mut self.engine)?;
                    effects.extend(chores.into_iter().map(Effect::Chore));
                }
            }
        }
        Ok(())
    }

    /// Exchanges the stores, if nothing is under way on the old one, and takes what waited for that.
    fn install_if_quiet(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        let hashing = self.engine.applier().is_hashing();
        let busy = 0 < self.syncs || self.house.is_busy() || hashing;
        let Some(stored) = self.wanted.take_if(|_| !busy) else { return Ok(()) };
        let applier = match self.installer.install(&stored) {
            Ok(applier) => applier,
            Err(error) => {
                effects.push(Effect::CannotInstall(error));
                return Ok(());
            }
        };
        self.house = House::new(self.checkpoint_rows_min);
        effects.push(Effect::Engine(self.engine.replace(applier)));
        effects.push(Effect::Hashes);
        effects.push(Effect::Installed { index: stored.index });
        effects.push(Effect::Front(FrontInput::Installed(stored)));
        for input in std::mem::take(&mut self.held) {
            self.take(input, now_ms, effects)?;
        }
        Ok(())
    }

    /// Leaves a store that needs no replay, and says how far it reaches; nothing while a snapshot is being
    /// installed, since the next start finishes that and has no use for the old store.
    ///
    /// # Errors
    /// [`Fault`]: that costs the next start some time, nothing else.
    pub fn leave(&mut self) -> Result<Option<Stored>, Fault> {
        if self.is_installing() {
            return Ok(None);
        }
        self.house.leave(&mut self.engine).map(Some)
    }
}

fn waits_for_the_store(input: &Input) -> bool {
    match input {
        Input::Apply(_)
        | Input::SyncStore
        | Input::Defragment
        | Input::Snapshot { .. }
        | Input::SendSnapshot(_)
        | Input::Install(_) => true,
        Input::Standing(_)
        | Input::Watch(_)
        | Input::Synced { .. }
        | Input::Hashed(_)
        | Input::Cleaned { .. }
        | Input::Checkpointed(_)
        | Input::Ticked => false,
    }
}

/// A snapshot's message that speaks of the applied state.
fn filled(message: Message, image: &Image) -> Message {
    debug_assert_eq!(message.r#type(), MessageType::MsgSnap);
    let (index, term) = image.applied();
    let ConfState { voters, learners } = image.conf_state();
    let conf_state =
        raftpb::ConfState { voters, learners, auto_leave: Some(false), ..Default::default() };
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: Some(index),
        term: Some(term),
    };
    let data = Some(image.members_json().into());
    let snapshot = Some(raftpb::Snapshot { data, metadata: Some(metadata) });
    Message { snapshot, ..message }
}

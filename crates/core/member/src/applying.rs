//! The applying half as a whole: the engine, its housekeeping, and the exchange of its store for a snapshot.
//!
//! One driver core for everybody who runs a member: whatever reaches the applying half is an [`Input`], whatever it
//! asks for an [`Effect`], and in between stands no thread. `node` gives it one, the simulation gives it turns.
//!
//! While a snapshot is installed, the old store stays what readers see, watchers and leases go on, and whatever needs
//! the store to be the new one is kept back, in order. The snapshot's store is built elsewhere, beside the old one.
//! Long work on that (a sync, cleaning, a checkpoint, a hash) may be under way too and names files of its directory, so
//! nothing new is begun and what is under way is waited for. Then the stores are exchanged, elsewhere again; what is
//! left for here is to go on with the new one, and to make up for what was kept back a little at a time.
//!
//! ```text
//! Install -> Effect::Install(build) -> Installed(Built), and nothing else under way
//!         -> Effect::Install(exchange) -> Installed(Exchanged) -> the switch -> GoOn, until nothing is kept back
//! ```

use std::collections::VecDeque;

use apply::{Applier, Fault, ReadView};
use consensus::Message;
use exchange::Image;
use planted::planted;
use proto::raftpb::{self, MessageType};
use store::StoreError;
use types::{ConfState, Entry};

use crate::applying_input::Input;
use crate::boot_error::BootError;
use crate::engine::{Effect as EngineEffect, Engine, Stored, Syncing};
use crate::front::Input as FrontInput;
use crate::house::{Chore, House};
use crate::install::{InstallDone, InstallJob, Installer};

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
    /// A long step of a take-over, to be run elsewhere; [`Input::InstallStep`] is due.
    Install(Box<InstallJob>),
    /// The state that was replaced, to be let go of elsewhere: that takes a while when it is large.
    Replaced(Box<Applier>),
    /// [`Input::GoOn`] is due, behind whatever has come already.
    GoOn,
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

/// How far a snapshot is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its store is being built.
    Builds,
    /// That is complete, and waits for what is under way on the old one.
    Built,
    /// The stores are being exchanged: nothing touches the old one's files.
    Exchanges,
}

/// Bytes of entries, and groups of them, that are made up for in one step.
const MADE_UP_BYTES: usize = 256 << 10;
const MADE_UP_GROUPS: usize = 256;

/// The applying half of one member.
pub struct Applying {
    engine: Engine,
    house: House,
    installer: Installer,
    checkpoint_rows_min: u64,
    /// The snapshot to go on with, and how far that is.
    arriving: Option<(Stored, Stage)>,
    /// What waits for its store, in order.
    held: VecDeque<Input>,
    /// Syncs of the store under way.
    syncs: usize,
    /// Groups that are made up for in one step.
    made_up_groups: usize,
}

impl Applying {
    /// An engine with its house. `checkpoint_rows_min` is how many rows lie between two index checkpoints at least.
    pub fn new(engine: Engine, checkpoint_rows_min: u64, installer: Installer) -> Applying {
        Applying {
            engine,
            house: House::new(checkpoint_rows_min),
            installer,
            checkpoint_rows_min,
            arriving: None,
            held: VecDeque::new(),
            syncs: 0,
            made_up_groups: MADE_UP_GROUPS,
        }
    }

    /// Sets how many groups of entries, of those that waited for a snapshot, are made up for in one step. It is a few
    /// hundred; small numbers are for proofs, where few entries wait.
    pub fn make_up_for(&mut self, groups: usize) {
        self.made_up_groups = groups.max(1);
    }

    /// The engine, for questions.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for what touches neither its store nor the order of entries: leases, pruning, its upkeep.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Whether the store is about to be another one, or what waited for that is not made up for yet.
    pub fn is_installing(&self) -> bool {
        self.arriving.is_some() || !self.held.is_empty()
    }

    /// Whether a compaction still has rows to forget. Not of a store that is about to be replaced.
    pub fn is_pruning(&self) -> bool {
        self.arriving.is_none() && self.engine.applier().is_pruning()
    }

    /// Applies committed entries as one group. Not while a snapshot is being installed: then they are an
    /// [`Input::Apply`], which waits.
    ///
    /// # Errors
    /// [`Fault`]: the member must stop, and none of the effects may be acted on.
    pub fn apply(&mut self, entries: &[Entry], now_ms: u64) -> Result<Vec<EngineEffect>, Fault> {
        assert!(!self.is_installing(), "entries behind a snapshot wait for it");
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
        let overtakes = planted!("what has waited for a snapshot is overtaken");
        let waits = self.arriving.is_some() || (!self.held.is_empty() && !overtakes);
        if waits && waits_for_the_store(&input) {
            self.held.push_back(input);
            return Ok(());
        }
        self.do_now(input, now_ms, effects)?;
        self.exchange_if_quiet(effects);
        Ok(())
    }

    fn do_now(
        &mut self,
        input: Input,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Fault> {
        match input {
            Input::Apply(entries) => {
                effects.push(Effect::Engine(self.engine.apply(&entries, now_ms)?));
            }
            Input::Standing(standing) => self.engine.stands(standing),
            Input::Watch(input) => effects.push(Effect::Engine(self.engine.watch(input))),
            Input::Install(stored) => {
                let job = InstallJob::build(self.installer.clone(), stored.clone());
                self.arriving = Some((stored, Stage::Builds));
                effects.push(Effect::Install(Box::new(job)));
            }
            Input::InstallStep(done) => self.install_step(done, effects),
            Input::GoOn => self.go_on(now_ms, effects)?,
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
                if self.arriving.is_none() {
                    effects.push(Effect::Front(FrontInput::Stored(stored)));
                }
            }
            Input::Hashed(triple) => {
                self.engine.hashed(triple);
                effects.push(Effect::Hashes);
            }
            Input::Cleaned { cleaning, succeeded } => {
                let chores = self.house.cleaned(&mut self.engine, *cleaning, succeeded)?;
                effects.extend(chores.into_iter().map(Effect::Chore));
            }
            Input::Checkpointed(done) => {
                let failed = self.house.checkpointed(&mut self.engine, done).err();
                effects.extend(failed.map(Effect::CheckpointFailed));
            }
            Input::Defragment => {
                let chores = self.house.defragment(&mut self.engine)?;
                effects.extend(chores.into_iter().map(Effect::Chore));
            }
            Input::Ticked => {
                effects.push(Effect::Engine(self.engine.ticked(now_ms)));
                if self.arriving.is_none() {
                    let chores = self.house.tick(&mut self.engine)?;
                    effects.extend(chores.into_iter().map(Effect::Chore));
                }
            }
        }
        Ok(())
    }

    /// Has the stores exchanged, once the new one is there and nothing is under way on the old one.
    fn exchange_if_quiet(&mut self, effects: &mut Vec<Effect>) {
        let hashing = self.engine.applier().is_hashing();
        let busy = 0 < self.syncs || self.house.is_busy() || hashing;
        let Some((stored, stage @ Stage::Built)) = &mut self.arriving else { return };
        if !busy {
            *stage = Stage::Exchanges;
            let job = InstallJob::exchange(self.installer.clone(), stored.clone());
            effects.push(Effect::Install(Box::new(job)));
        }
    }

    fn install_step(&mut self, done: Result<InstallDone, BootError>, effects: &mut Vec<Effect>) {
        let (stored, stage) = self.arriving.take().expect("a step is of a take-over");
        match done {
            Err(error) => {
                self.arriving = Some((stored, stage));
                effects.push(Effect::CannotInstall(error));
            }
            Ok(InstallDone::Built) => {
                assert_eq!(stage, Stage::Builds);
                self.arriving = Some((stored, Stage::Built));
            }
            Ok(InstallDone::Exchanged(applier)) => {
                assert_eq!(stage, Stage::Exchanges);
                self.switch(stored, *applier, effects);
            }
        }
    }

    /// Goes on with the new store. Quick, however large it is.
    fn switch(&mut self, stored: Stored, applier: Applier, effects: &mut Vec<Effect>) {
        self.house = House::new(self.checkpoint_rows_min);
        let (told, replaced) = self.engine.replace(applier);
        effects.push(Effect::Engine(told));
        effects.push(Effect::Hashes);
        effects.push(Effect::Installed { index: stored.index });
        effects.push(Effect::Front(FrontInput::Installed(stored)));
        effects.push(Effect::Replaced(Box::new(replaced)));
        if !self.held.is_empty() {
            effects.push(Effect::GoOn);
        }
    }

    /// Makes up for some of what was kept back, so that whoever waits behind it does not wait for all of it. What has
    /// come meanwhile is behind it.
    fn go_on(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        let mut bytes = 0;
        for _ in 0..self.made_up_groups {
            if self.arriving.is_some() || MADE_UP_BYTES <= bytes {
                break;
            }
            let Some(input) = self.held.pop_front() else { return Ok(()) };
            if let Input::Apply(entries) = &input {
                bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
            }
            self.do_now(input, now_ms, effects)?;
        }
        // Another snapshot may be among it: then the rest waits for that.
        if self.arriving.is_none() && !self.held.is_empty() {
            effects.push(Effect::GoOn);
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
        | Input::InstallStep(_)
        | Input::GoOn
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

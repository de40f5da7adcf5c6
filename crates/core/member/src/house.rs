//! The engine's housekeeping: when the store is cleaned, when its index is checkpointed, what becomes of it.
//!
//! Decided here, done elsewhere: a [`Chore`] may take minutes and is driven by whoever has the time, in steps;
//! what came of it is handed back. One of each kind is under way at most.
//!
//! Not here: how cleaning works (see `store`), what is garbage (see `mvcc`).

use apply::{Fault, ReadView};
use store::{CheckpointDone, Cleaning, StoreError};

use crate::engine::{Engine, Stored};
use crate::jobs::CheckpointJob;

/// Something to be done about the house.
#[derive(Debug)]
pub enum Chore {
    /// Step it to its end and hand it to [`House::cleaned`].
    Clean(Box<Cleaning>),
    /// Step it to its end and hand the result to [`House::checkpointed`].
    Checkpoint(Box<CheckpointJob>),
    /// Show readers this view: the one they have holds files that were replaced.
    Publish(Box<ReadView>),
    /// The store is as clean as it gets: whoever asked for it may be told.
    Defragmented,
    /// It could not be cleaned: whoever asked for it may be told that.
    NotDefragmented,
}

/// What is under way.
#[derive(Debug)]
pub struct House {
    cleaning: bool,
    /// Ticks until the next round, and between the last failure and the next try.
    rest_ticks: u32,
    back_off_ticks: u32,
    defragmenting: bool,
    checkpointing: bool,
    /// How many rows had been appended at the newest checkpoint, or at the start.
    checkpoint_rows: u64,
    /// Rows between two checkpoints, at least.
    checkpoint_rows_min: u64,
}

/// Ticks until cleaning is tried again after a failure; twice as many after each further one, up to the second.
const BACK_OFF_TICKS_MIN: u32 = 10;
const BACK_OFF_TICKS_MAX: u32 = 600;

/// Rows between two index checkpoints, at least: below that a restart reads all keys quickly enough.
pub const CHECKPOINT_ROWS_MIN: u64 = 100_000;

impl House {
    /// The house of a member that has just started.
    pub fn new(checkpoint_rows_min: u64) -> House {
        House {
            cleaning: false,
            rest_ticks: 0,
            back_off_ticks: BACK_OFF_TICKS_MIN,
            defragmenting: false,
            checkpointing: false,
            checkpoint_rows: 0,
            checkpoint_rows_min,
        }
    }

    /// Whether long work on the store is under way.
    pub fn is_busy(&self) -> bool {
        self.cleaning || self.checkpointing
    }

    /// Time passed.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn tick(&mut self, engine: &mut Engine) -> Result<Vec<Chore>, Fault> {
        let rests = self.rest_ticks > 0;
        self.rest_ticks = self.rest_ticks.saturating_sub(1);
        let mut chores = if rests { Vec::new() } else { self.clean(engine)? };
        chores.extend(self.checkpoint(engine)?);
        Ok(chores)
    }

    /// Somebody wants the store to be cleaned completely.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn defragment(&mut self, engine: &mut Engine) -> Result<Vec<Chore>, Fault> {
        self.defragmenting = true;
        self.clean(engine)
    }

    /// Begins a round of cleaning if one is worth while and none is under way.
    fn clean(&mut self, engine: &mut Engine) -> Result<Vec<Chore>, Fault> {
        if self.cleaning {
            return Ok(Vec::new());
        }
        // Defragment waits for the pruning of the last compaction: what is not forgotten yet cannot be
        // cleaned.
        let all = self.defragmenting && !engine.applier().is_pruning();
        let mut store = engine.upkeep();
        let begun = if all { store.begin_clean_all()? } else { store.begin_clean()? };
        match begun {
            Some(cleaning) => {
                self.cleaning = true;
                Ok(vec![Chore::Clean(Box::new(cleaning))])
            }
            None if all => {
                self.defragmenting = false;
                Ok(vec![Chore::Defragmented])
            }
            None => Ok(Vec::new()),
        }
    }

    /// A round of cleaning has ended, well or not.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn cleaned(
        &mut self,
        engine: &mut Engine,
        cleaning: Cleaning,
        succeeded: bool,
    ) -> Result<Vec<Chore>, Fault> {
        self.cleaning = false;
        if !succeeded {
            engine.upkeep().abandon_clean(cleaning);
            self.rest_ticks = self.back_off_ticks;
            self.back_off_ticks = (2 * self.back_off_ticks).min(BACK_OFF_TICKS_MAX);
            let given_up = std::mem::take(&mut self.defragmenting);
            return Ok(given_up.then_some(Chore::NotDefragmented).into_iter().collect());
        }
        self.back_off_ticks = BACK_OFF_TICKS_MIN;
        engine.upkeep().finish_clean(cleaning);
        engine.flush()?;
        let mut chores = vec![Chore::Publish(Box::new(engine.applier().view()))];
        chores.extend(self.clean(engine)?);
        Ok(chores)
    }

    /// A checkpoint when about as much has changed as there is, so its cost stays in proportion.
    fn checkpoint(&mut self, engine: &mut Engine) -> Result<Option<Chore>, Fault> {
        let rows = engine.applier().stored().rows_appended();
        let worth = self.checkpoint_rows_min.max(engine.applier().live_keys() / 2);
        if self.checkpointing || rows < self.checkpoint_rows + worth {
            return Ok(None);
        }
        let (image, writer) = engine.upkeep().begin_checkpoint()?;
        self.checkpointing = true;
        self.checkpoint_rows = rows;
        Ok(Some(Chore::Checkpoint(Box::new(CheckpointJob::new(image, writer)))))
    }

    /// A checkpoint has ended, well or not.
    pub fn checkpointed(
        &mut self,
        engine: &mut Engine,
        done: Result<CheckpointDone, StoreError>,
    ) -> Result<(), StoreError> {
        self.checkpointing = false;
        engine.upkeep().finish_checkpoint(done?);
        Ok(())
    }

    /// Leaves a store that needs no replay. What fails here costs the next start some time.
    ///
    /// # Errors
    /// [`Fault`]; everything acknowledged is in the raft log all the same.
    pub fn leave(&mut self, engine: &mut Engine) -> Result<Stored, Fault> {
        // A round that goes on while the image is written would make it useless.
        engine.upkeep().give_up_clean();
        if !self.checkpointing {
            let (image, writer) = engine.upkeep().begin_checkpoint()?;
            let mut job = CheckpointJob::new(image, writer);
            let done = loop {
                if let Some(done) = job.step()? {
                    break done;
                }
            };
            engine.upkeep().finish_checkpoint(done);
        }
        let syncing = engine.begin_sync()?;
        let done = syncing.handle.sync()?;
        engine.synced(done);
        Ok(syncing.stored)
    }
}

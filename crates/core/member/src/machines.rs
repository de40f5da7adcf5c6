//! All machines of a member in one thread, with an inbox for each: the driver of whoever needs no threads.
//!
//! A turn is one input for the front, or all that gathered for the log as one round, or one input for the applying
//! half, the first of these that has something to do. What one machine asks of another is put into that one's inbox;
//! everything else is handed out, and whoever drives this does it and tells what came of it.

use std::collections::VecDeque;

use apply::Fault;
use types::Entry;
use wal::{Preparation, WriteError};

use crate::applying::{Applying, Effect as ApplyingEffect};
use crate::applying_input::Input as ApplyingInput;
use crate::engine::Effect as EngineEffect;
use crate::front::{Effect as FrontEffect, Front, Input as FrontInput};
use crate::log_writer::{Effect as LogEffect, Input as LogInput, LogWriter};

/// What a turn asks of the world.
pub enum Asked {
    /// By the front; neither [`FrontEffect::Log`] nor [`FrontEffect::Applying`].
    Front(FrontEffect),
    /// By the log writer.
    Log(LogEffect),
    /// To be run and handed back as [`LogInput::Prepared`].
    Prepare(Preparation),
    /// By the applying half; neither [`ApplyingEffect::Engine`] nor what the front or the half itself is told.
    Applying(Box<ApplyingEffect>),
    /// By the engine, in order; of [`EngineEffect::Applied`] and [`EngineEffect::SyncStore`] among them is taken care.
    Engine(Vec<EngineEffect>),
}

/// Why a member ends.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The raft log could not be written.
    #[error(transparent)]
    Log(#[from] WriteError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] Fault),
}

/// A member's machines and what waits for each.
pub struct Machines {
    /// Faces the log.
    pub front: Front,
    /// Faces the store.
    pub applying: Applying,
    /// The log.
    pub log: LogWriter,
    /// Whether each committed entry becomes a group of its own.
    pub one_by_one: bool,
    to_front: VecDeque<FrontInput>,
    to_log: VecDeque<LogInput>,
    to_applying: VecDeque<ApplyingInput>,
}

impl Machines {
    /// Nothing is asked yet.
    pub fn new(front: Front, applying: Applying, log: LogWriter) -> Machines {
        Machines {
            front,
            applying,
            log,
            one_by_one: false,
            to_front: VecDeque::new(),
            to_log: VecDeque::new(),
            to_applying: VecDeque::new(),
        }
    }

    /// Has a lone voter elect itself.
    pub fn start(&mut self) -> Vec<Asked> {
        let effects = self.front.start();
        let mut asked = Vec::new();
        self.route_front(effects, &mut asked);
        asked
    }

    /// Something for the front.
    pub fn tell_front(&mut self, input: FrontInput) {
        self.to_front.push_back(input);
    }

    /// Something for the log.
    pub fn tell_log(&mut self, input: LogInput) {
        self.to_log.push_back(input);
    }

    /// Something for the applying half.
    pub fn tell_applying(&mut self, input: ApplyingInput) {
        self.to_applying.push_back(input);
    }

    /// The entry that the next turn applies first, if it applies any.
    pub fn applies_next(&self) -> Option<u64> {
        if !self.to_front.is_empty() || !self.to_log.is_empty() {
            return None;
        }
        match self.to_applying.front() {
            Some(ApplyingInput::Apply(entries)) => entries.first().map(|entry| entry.index),
            _ => None,
        }
    }

    /// One turn; nothing when there is nothing to do. `now_ms` is any clock that only moves forward.
    ///
    /// # Errors
    /// The member must end, and nothing it asked for in this turn may be done.
    pub fn turn(&mut self, now_ms: u64) -> Result<Option<Vec<Asked>>, Ended> {
        let mut asked = Vec::new();
        if let Some(input) = self.to_front.pop_front() {
            let effects = self.front.step(input);
            self.route_front(effects, &mut asked);
        } else if !self.to_log.is_empty() {
            self.write(&mut asked)?;
        } else if let Some(input) = self.next_for_applying() {
            for effect in self.applying.step(input, now_ms)? {
                self.route_applying(effect, &mut asked);
            }
        } else {
            return Ok(None);
        }
        Ok(Some(asked))
    }

    fn next_for_applying(&mut self) -> Option<ApplyingInput> {
        let mut input = self.to_applying.pop_front()?;
        if let ApplyingInput::Apply(entries) = &mut input
            && self.one_by_one
            && 1 < entries.len()
        {
            let rest: Vec<Entry> = entries.split_off(1);
            self.to_applying.push_front(ApplyingInput::Apply(rest));
        }
        Some(input)
    }

    /// One round of the log: all that gathered, one sync, and only then the word of it.
    fn write(&mut self, asked: &mut Vec<Asked>) -> Result<(), Ended> {
        for input in std::mem::take(&mut self.to_log) {
            asked.extend(self.log.step(input)?.map(Asked::Log));
        }
        self.log.sync()?;
        let done = self.log.finish()?;
        let persisted = done.persisted.map(|number| FrontInput::Persisted { number });
        self.to_front.extend(persisted);
        asked.extend(done.preparation.map(Asked::Prepare));
        Ok(())
    }

    fn route_front(&mut self, effects: Vec<FrontEffect>, asked: &mut Vec<Asked>) {
        for effect in effects {
            match effect {
                FrontEffect::Log(input) => self.to_log.push_back(input),
                FrontEffect::Applying(input) => self.to_applying.push_back(input),
                other => asked.push(Asked::Front(other)),
            }
        }
    }

    fn route_applying(&mut self, effect: ApplyingEffect, asked: &mut Vec<Asked>) {
        match effect {
            ApplyingEffect::Engine(effects) => self.route_engine(effects, asked),
            ApplyingEffect::Front(input) => self.to_front.push_back(input),
            ApplyingEffect::GoOn => self.to_applying.push_back(ApplyingInput::GoOn),
            other => asked.push(Asked::Applying(Box::new(other))),
        }
    }

    fn route_engine(&mut self, effects: Vec<EngineEffect>, asked: &mut Vec<Asked>) {
        for effect in &effects {
            match effect {
                EngineEffect::Applied { index, changes } => {
                    let (index, changes) = (*index, changes.clone());
                    self.to_front.push_back(FrontInput::Applied { index, changes });
                }
                EngineEffect::SyncStore => self.to_applying.push_back(ApplyingInput::SyncStore),
                _ => {}
            }
        }
        asked.push(Asked::Engine(effects));
    }
}

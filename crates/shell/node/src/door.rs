//! The ways to the engine: its own thread, and those who use it while that is idle.
//!
//! Using the engine without its thread saves waking it: the front applies a lone put ([`EngineDoor::apply`]),
//! a connection's thread keeps a lease alive ([`EngineRef::now`]).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use member::ApplyingInput as Do;
use proto::raftpb::ConfChange;
use types::{Entry, EntryKind};

use crate::engine::{EngineMessage, EngineThread};
use crate::shared::Shared;

/// Entries applied as one group: one flush, one published view.
const ENTRIES_PER_GROUP_MAX: usize = 8192;

/// Keys looked at for pruning before each message while there is one; as many as the message has entries, if those are
/// more, so that forgetting never falls behind writing.
const KEYS_PRUNED_BETWEEN: usize = 64;

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

    /// The engine, if nobody has it at this moment, it has not stopped, and its store stays what it is.
    pub(crate) fn now(&self) -> Option<MutexGuard<'_, EngineThread>> {
        self.engine
            .try_lock()
            .ok()
            .filter(|engine| !engine.stopped && !engine.applying.is_installing())
    }

    /// Runs until told to stop. A fault ends the process.
    pub(crate) fn run(&self, inbox: &Receiver<EngineMessage>) {
        let mut put_back = None;
        while let Some(message) = put_back.take().or_else(|| self.next(inbox)) {
            let mut entries = Vec::new();
            let mut groups = 0;
            let mut message = Some(message);
            while let Some(EngineMessage::Do(Do::Apply(more))) = message {
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
                engine.handle(EngineMessage::Do(Do::Apply(entries)))
            };
            self.waiting.fetch_sub(groups.max(1), Ordering::AcqRel);
            if let Err(fault) = handled {
                engine.fatal(&fault);
                return;
            }
            if engine.stopped {
                return;
            }
        }
    }

    /// The next message. While there is none, a little of what was compacted is forgotten.
    fn next(&self, inbox: &Receiver<EngineMessage>) -> Option<EngineMessage> {
        loop {
            let message = inbox.try_recv().ok();
            let mut engine = self.engine.lock().ok()?;
            if !engine.applying.is_pruning() {
                drop(engine);
                return message.or_else(|| inbox.recv().ok());
            }
            if let Some(next) = &message {
                // However busy the member is, what was compacted is forgotten in the end.
                let entries = match next {
                    EngineMessage::Do(member::ApplyingInput::Apply(entries)) => entries.len(),
                    _ => 0,
                };
                engine.prune(KEYS_PRUNED_BETWEEN.max(entries));
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
        let _ = self.shared.engine.send(EngineMessage::Do(Do::Apply(entries)));
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

//! What the log writer does with what gathered: append it all, sync once, and only then tell.
//!
//! Guarantee (acknowledge after the sync): [`LogWriter::finish`] tells of a group only when it is in the
//! log, and synced if it asked for that. After any error nothing is told and the process ends: what the disk
//! holds after a failed write or sync is anybody's guess, so none is ever tried again.
//!
//! Three calls for one round, so that whoever drives it can measure them, or cut the power in between.

use consensus::{LogRead, Persist};
use planted::planted;
use types::HardState;
use wal::{LogReading, Marker, Preparation, Prepared, Wal, WriteError};

use crate::engine::Stored;

/// The store holds, synced, everything up to an entry; the log is let go before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where the store ends.
    pub stored: Stored,
    /// Entries behind this one are kept for members that lag; not behind `stored`.
    pub keep_from: u64,
}

/// Something for the log.
#[derive(Debug)]
pub enum LogWork {
    /// A group of raft's.
    Persist(Persist),
    /// To be marked.
    Mark(Mark),
}

/// Everything that can reach the log writer.
#[derive(Debug)]
pub enum Input {
    /// To be written with this round.
    Work(LogWork),
    /// A preparation has run.
    Prepared(Prepared),
    /// Entries are wanted that are in the log's files only.
    Read(LogRead),
}

/// What the log writer asks for before its round is over.
#[derive(Debug)]
pub enum Effect {
    /// To be read elsewhere and told to the front under this ticket; nothing if the entries are gone.
    Read {
        /// Names the question.
        ticket: u64,
        /// The files to be read.
        reading: Option<LogReading>,
    },
    /// The next segment could not be prepared: that costs a wait at the next cut, nothing else.
    NotPrepared(WriteError),
}

/// What may be told, and done, now that a round is durable.
#[derive(Debug, Default)]
pub struct LogDone {
    /// For the front: the newest group that is in the log.
    pub persisted: Option<u64>,
    /// The log is marked here and has let go of what lies before.
    pub marked: Option<u64>,
    /// To be run on another thread and handed back as [`Input::Prepared`].
    pub preparation: Option<Preparation>,
}

/// The raft log and the round that is being written to it.
#[derive(Debug)]
pub struct LogWriter {
    wal: Wal,
    files_kept: usize,
    syncs: bool,
    must_sync: bool,
    /// Whether to go on preparing the next segment: not after a failure, until there is something to write
    /// again. On a full disk the next try would fail at once, and the one after it.
    prepares: bool,
    round: LogDone,
    /// What the newest mark lets go.
    keep_from: u64,
    /// The newest marker written here.
    newest_marker: u64,
    /// A commit index that goes with the next group: on its own it is not worth a write. A log that ends
    /// without it only makes the next start commit those entries again, which are all there.
    unwritten: Option<HardState>,
}

impl LogWriter {
    /// A writer that keeps at least `files_kept` segments. With `syncs` off (`--unsafe-no-fsync`) nothing
    /// is ever synced, and a power cut takes what it likes.
    pub fn new(wal: Wal, files_kept: usize, syncs: bool) -> LogWriter {
        LogWriter {
            wal,
            files_kept,
            syncs,
            must_sync: false,
            prepares: true,
            round: LogDone::default(),
            keep_from: 0,
            newest_marker: 0,
            unwritten: None,
        }
    }

    /// Takes one input into the round.
    ///
    /// # Errors
    /// The log's; it is final.
    pub fn step(&mut self, input: Input) -> Result<Option<Effect>, WriteError> {
        match input {
            Input::Work(work) => self.take(work).map(|()| None),
            Input::Prepared(prepared) => Ok(self.prepared(prepared).err().map(Effect::NotPrepared)),
            Input::Read(LogRead { ticket, first, last, bytes_max }) => {
                let reading = self.wal.reading(first, last, bytes_max);
                Ok(Some(Effect::Read { ticket, reading }))
            }
        }
    }

    /// Appends one piece of work to the round.
    ///
    /// # Errors
    /// The log's; it is final.
    pub fn take(&mut self, work: LogWork) -> Result<(), WriteError> {
        self.prepares = true;
        match work {
            LogWork::Persist(mut persist) => {
                if planted!("hard state not written") {
                    persist.hard_state = None;
                }
                let waited = self.unwritten.take();
                let mut hard_state = persist.hard_state.or(waited);
                if let Some(point) = &persist.snapshot {
                    // The marker counts once the commit index behind it has reached it, and is durable before that is
                    // written. The other way round a torn end would leave a commit index that reaches entries which
                    // the snapshot replaces. The group's own entries go behind both: without the snapshot they
                    // follow nothing.
                    let conf_state = Some(point.conf_state.clone());
                    let (index, term) = (point.index, point.term);
                    self.wal.append_marker(&Marker { index, term, conf_state })?;
                    self.newest_marker = index;
                    self.sync_now()?;
                    self.wal.append(hard_state.take().as_ref(), &[])?;
                }
                if persist.must_sync || !persist.entries.is_empty() {
                    let replaced = persist.entries.first().map(|entry| entry.index);
                    let hard_state = hard_state.map(|state| self.provable(state, replaced));
                    self.wal.append(hard_state.as_ref(), &persist.entries)?;
                } else {
                    self.unwritten = hard_state;
                }
                self.must_sync |= persist.must_sync;
                self.round.persisted = Some(persist.number);
            }
            LogWork::Mark(Mark { stored, keep_from }) => {
                let Stored { index, term, conf_state } = stored;
                if index < self.newest_marker {
                    // Of a store that a snapshot is about to replace, or has replaced: the log begins at that.
                    return Ok(());
                }
                self.newest_marker = index;
                let conf_state = Some(conf_state);
                self.write_hard_state()?;
                self.wal.append_marker(&Marker { index, term, conf_state })?;
                self.must_sync = true;
                self.round.marked = Some(index);
                self.keep_from = keep_from.min(index);
            }
        }
        Ok(())
    }

    /// Makes the round durable, if anything in it asked for that. Says whether it did.
    ///
    /// # Errors
    /// The log's; it is final.
    pub fn sync(&mut self) -> Result<bool, WriteError> {
        let wanted = std::mem::take(&mut self.must_sync) && self.syncs;
        if wanted && !planted!("acknowledged before the sync") {
            self.wal.sync()?;
        }
        Ok(wanted)
    }

    /// Makes everything durable, at the end.
    ///
    /// # Errors
    /// The log's; it is final.
    pub fn sync_all(&mut self) -> Result<(), WriteError> {
        self.write_hard_state()?;
        self.must_sync = true;
        self.sync().map(|_| ())
    }

    /// A marker is read from only when the commit index has reached it, so that goes first.
    fn write_hard_state(&mut self) -> Result<(), WriteError> {
        match self.unwritten.take() {
            Some(state) => {
                let state = self.provable(state, None);
                self.wal.append(Some(&state), &[])
            }
            None => Ok(()),
        }
    }

    /// The hard state as it may be written with entries from `first` on: it commits only what is durable already.
    /// What else it commits goes with the next group.
    ///
    /// Guarantee (rot is told from a torn write): where a log states a commit index, everything up to that entry had
    /// been synced, so whatever cannot be read there has rotted. A follower hears of entries and of their commitment
    /// in one message.
    fn provable(&mut self, state: HardState, first: Option<u64>) -> HardState {
        let kept = first.map_or(u64::MAX, |first| first.saturating_sub(1));
        let commit = state.commit.min(self.wal.durable_index()).min(kept);
        if commit < state.commit {
            self.unwritten = Some(state);
        }
        HardState { commit, ..state }
    }

    fn sync_now(&mut self) -> Result<(), WriteError> {
        if self.syncs { self.wal.sync() } else { Ok(()) }
    }

    /// Ends the round: lets go of segments that nobody needs any more, and says what may be told.
    ///
    /// # Errors
    /// The log's; it is final.
    pub fn finish(&mut self) -> Result<LogDone, WriteError> {
        assert!(!self.must_sync || !self.syncs, "a round is synced before it is told");
        if let Some(index) = self.round.marked {
            self.wal.release_to(self.keep_from.min(index), self.files_kept)?;
        }
        let preparation = if self.prepares { self.wal.preparation() } else { None };
        Ok(LogDone { preparation, ..std::mem::take(&mut self.round) })
    }

    /// Takes back a preparation. After one that failed, nothing is prepared until there is something to write.
    fn prepared(&mut self, prepared: Prepared) -> Result<(), WriteError> {
        self.wal.prepared(prepared).inspect_err(|_| self.prepares = false)
    }

    /// Bytes written since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.wal.bytes_written()
    }

    /// The log, for its figures.
    pub fn log(&self) -> &Wal {
        &self.wal
    }
}

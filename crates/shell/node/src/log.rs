//! The log writer's thread: one write and one sync for everything that gathered during the last sync.
//!
//! Guarantee (acknowledge after the sync): the front hears of a group only when [`LogWriter`] says so. A
//! failed write or sync ends the process and is never tried again: what the disk holds after one is anybody's
//! guess.
//!
//! A group that is alone and small is not worth waking a thread for: whoever took the front's step may
//! [claim](LogDoor::claim) the log and write it there. The claim is made while the front is held, so groups are
//! written in the order in which raft made them; the write happens when the front was let go. On a slow disk,
//! or under load, this thread does it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use member::{FrontInput, LogEffect, LogInput, LogWork, LogWriter};
use wal::{LogReading, WriteError};

use crate::Event;
use crate::front::FrontMessage;
use crate::report::chain;
use crate::shared::Shared;
use crate::upkeep::UpkeepJob;

/// What reaches the log writer.
#[derive(Debug)]
pub(crate) enum LogMessage {
    Do(LogInput),
    Stop,
}

/// Groups that share one sync.
const GROUPS_PER_SYNC_MAX: usize = 1024;

/// How long the thread that took the front's step may be expected to wait for a sync, before the log's own
/// thread waits for it instead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Others on this thread wait too.
    None,
    /// The front's thread has a heart to beat.
    Short,
    /// Nobody else seems to need this thread.
    Long,
}

impl Patience {
    fn sync_duration_max(self) -> Duration {
        match self {
            Patience::None => Duration::ZERO,
            Patience::Short => Duration::from_millis(1),
            Patience::Long => Duration::from_millis(20),
        }
    }
}

/// Bytes of entries that are written past the log's thread, at most.
const QUICK_BYTES_MAX: usize = 16 * 1024;

/// The way to the log: by message to its thread, or at once on the caller's.
pub(crate) struct LogDoor {
    sender: Sender<LogMessage>,
    writer: Arc<Mutex<Writer>>,
    /// Messages sent and not yet dealt with.
    waiting: Arc<AtomicUsize>,
}

/// What the log's thread runs.
pub(crate) struct LogThread {
    writer: Arc<Mutex<Writer>>,
    waiting: Arc<AtomicUsize>,
}

/// A door for the front, the sender for everybody else, and what the thread runs.
pub(crate) fn open(
    log: LogWriter,
    sender: Sender<LogMessage>,
    (upkeep, reads): (Sender<UpkeepJob>, Sender<ReadJob>),
    shared: Arc<Shared>,
) -> (LogDoor, LogThread) {
    let writer = Writer { log, upkeep, reads, shared, last_sync: Duration::ZERO, ended: false };
    let writer = Arc::new(Mutex::new(writer));
    let waiting = Arc::new(AtomicUsize::new(0));
    let thread = LogThread { writer: writer.clone(), waiting: waiting.clone() };
    (LogDoor { sender, writer, waiting }, thread)
}

/// A group that is the next one to be written, by whoever holds this.
pub(crate) struct Claim<'a> {
    writer: MutexGuard<'a, Writer>,
    works: Vec<LogWork>,
}

impl LogDoor {
    /// Puts work into the claim if it may be done by its holder; else the log's thread does it, and whatever else the
    /// front asks of the log. To be called in the order in which raft asks, that is with the front in hand.
    pub(crate) fn claim<'a>(
        &'a self,
        input: LogInput,
        patience: Patience,
        claim: &mut Option<Claim<'a>>,
    ) {
        let LogInput::Work(work) = input else {
            let _ = self.sender.send(LogMessage::Do(input));
            return;
        };
        let small = match &work {
            LogWork::Persist(persist) => {
                let bytes: usize = persist.entries.iter().map(|entry| entry.data.len()).sum();
                bytes <= QUICK_BYTES_MAX
            }
            LogWork::Mark(_) => false,
        };
        let next = small && self.waiting.load(Ordering::Acquire) == 0;
        if next && claim.is_none() {
            let longest = patience.sync_duration_max();
            let may = |writer: &MutexGuard<'_, Writer>| {
                let quick = !waits_for_the_disk(&work) || writer.last_sync < longest;
                quick && !writer.ended
            };
            *claim = self.writer.try_lock().ok().filter(may).map(Claim::new);
        }
        match claim {
            Some(claim) if next => claim.works.push(work),
            _ => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                let _ = self.sender.send(LogMessage::Do(LogInput::Work(work)));
            }
        }
    }
}

/// Entries to be read from the log's files; nothing if they are gone.
#[derive(Debug)]
pub(crate) struct ReadJob {
    ticket: u64,
    reading: Option<LogReading>,
}

/// Reads until nobody can ask any more. What cannot be read is not there, and whoever lags gets a snapshot.
pub(crate) fn run_reads(inbox: &Receiver<ReadJob>, shared: &Arc<Shared>) {
    while let Ok(ReadJob { ticket, reading }) = inbox.recv() {
        let entries = reading.and_then(|reading| reading.run().ok()).unwrap_or_default();
        let _ = shared.front.send(FrontMessage::Do(FrontInput::LogRead { ticket, entries }));
    }
}

/// A commit index on its own waits in memory for the next group.
fn waits_for_the_disk(work: &LogWork) -> bool {
    match work {
        LogWork::Persist(persist) => persist.must_sync || !persist.entries.is_empty(),
        LogWork::Mark(_) => true,
    }
}

impl Claim<'_> {
    fn new(writer: MutexGuard<'_, Writer>) -> Claim<'_> {
        Claim { writer, works: Vec::new() }
    }

    /// Whether writing it takes longer than remembering it.
    pub(crate) fn waits_for_the_disk(&self) -> bool {
        self.works.iter().any(waits_for_the_disk)
    }

    /// Writes and syncs it, and says up to which group the log is durable now. Nothing after an error, which
    /// ends the process.
    pub(crate) fn write(mut self) -> Option<u64> {
        let messages = self.works.drain(..).map(|work| LogMessage::Do(LogInput::Work(work)));
        self.writer.round_or_report(messages)
    }
}

impl LogThread {
    /// Runs until told to stop.
    pub(crate) fn run(self, inbox: &Receiver<LogMessage>) {
        while let Ok(first) = inbox.recv() {
            let mut counted = 0;
            let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(GROUPS_PER_SYNC_MAX);
            let is_work =
                |message: &LogMessage| matches!(message, LogMessage::Do(LogInput::Work(_)));
            let messages = std::iter::once(first)
                .chain(more)
                .inspect(|message| counted += usize::from(is_work(message)));
            let Ok(mut writer) = self.writer.lock() else { return };
            if let Some(number) = writer.round_or_report(messages) {
                let _ =
                    writer.shared.front.send(FrontMessage::Do(FrontInput::Persisted { number }));
            }
            // Only now may others write past this thread: what was sent to it before is in the log.
            self.waiting.fetch_sub(counted, Ordering::AcqRel);
            if writer.ended {
                return;
            }
        }
    }
}

struct Writer {
    log: LogWriter,
    upkeep: Sender<UpkeepJob>,
    reads: Sender<ReadJob>,
    shared: Arc<Shared>,
    /// What the last sync took, a little forgetful: one slow sync is soon forgiven.
    last_sync: Duration,
    /// It was told to stop, or could not go on.
    ended: bool,
}

impl Writer {
    /// A round; up to which group the log is durable now. An error ends the process.
    fn round_or_report(&mut self, messages: impl Iterator<Item = LogMessage>) -> Option<u64> {
        self.round(messages).unwrap_or_else(|error| {
            self.ended = true;
            let error = chain(&error);
            self.shared.report.report(Event::Fatal { what: "writing the raft log", error });
            None
        })
    }

    /// Writes what gathered, syncs it once, and only then says up to which group the log is durable.
    fn round(
        &mut self,
        messages: impl Iterator<Item = LogMessage>,
    ) -> Result<Option<u64>, WriteError> {
        let began = Instant::now();
        for message in messages {
            match message {
                LogMessage::Do(input) => {
                    let effect = self.log.step(input)?;
                    effect.into_iter().for_each(|effect| self.effect(effect));
                }
                LogMessage::Stop => {
                    self.ended = true;
                    break;
                }
            }
        }
        let disk = &self.shared.metrics.disk;
        disk.wal_write.observe_duration(began.elapsed());
        disk.wal_write_bytes.set(i64::try_from(self.log.bytes_written()).unwrap_or(i64::MAX));
        let began = Instant::now();
        if self.ended {
            self.log.sync_all()?;
        } else if self.log.sync()? {
            let took = began.elapsed();
            disk.wal_fsync.observe_duration(took);
            self.last_sync = (self.last_sync * 3 + took) / 4;
        }
        let done = self.log.finish()?;
        if let Some(index) = done.marked {
            self.shared.report.report(Event::Marked { index });
        }
        if let Some(preparation) = done.preparation {
            let _ = self.upkeep.send(UpkeepJob::PrepareLog(preparation));
        }
        Ok(done.persisted)
    }

    fn effect(&self, effect: LogEffect) {
        match effect {
            LogEffect::Read { ticket, reading } => {
                let _ = self.reads.send(ReadJob { ticket, reading });
            }
            LogEffect::NotPrepared(error) => {
                let what = "preparing the next segment of the raft log";
                self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
            }
        }
    }
}

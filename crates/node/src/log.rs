//! The log writer's thread: one write and one sync for everything that gathered during the last sync.
//!
//! Guarantee (acknowledge after the sync): the front hears of a group only when [`LogWriter`] says so. A
//! failed write or sync ends the process and is never tried again: what the disk holds after one is anybody's
//! guess.
//!
//! A group that is alone and small is not worth waking a thread for: the front writes it itself, through
//! [`LogDoor::write_now`], when nothing waits and the last sync was quick. That takes two of the six thread
//! switches out of a lone put. On a slow disk, or under load, this thread does it, and the front goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use member::{LogWork, LogWriter};
use wal::{Prepared, WriteError};

use crate::Event;
use crate::front::FrontMessage;
use crate::report::chain;
use crate::shared::Shared;
use crate::upkeep::UpkeepJob;

/// What reaches the log writer.
#[derive(Debug)]
pub(crate) enum LogMessage {
    Work(LogWork),
    Prepared(Prepared),
    Stop,
}

/// Groups that share one sync.
const GROUPS_PER_SYNC_MAX: usize = 1024;

/// A sync that takes longer is waited for on the log's own thread.
const SYNC_QUICK_MAX: Duration = Duration::from_millis(1);

/// Bytes of entries that the front writes itself, at most.
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
    upkeep: Sender<UpkeepJob>,
    shared: Arc<Shared>,
) -> (LogDoor, LogThread) {
    let writer = Writer { log, upkeep, shared, last_sync: Duration::ZERO };
    let writer = Arc::new(Mutex::new(writer));
    let waiting = Arc::new(AtomicUsize::new(0));
    let thread = LogThread { writer: writer.clone(), waiting: waiting.clone() };
    (LogDoor { sender, writer, waiting }, thread)
}

impl LogDoor {
    /// Has work done, in the order it is handed in. A thread that has ended is not missed.
    pub(crate) fn send(&self, work: LogWork) {
        let Some(work) = self.write_now(work) else { return };
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _ = self.sender.send(LogMessage::Work(work));
    }

    /// Does it here if nothing is ahead of it and it will not take long; else gives it back.
    fn write_now(&self, work: LogWork) -> Option<LogWork> {
        let quick = match &work {
            LogWork::Persist(persist) => {
                let bytes: usize = persist.entries.iter().map(|entry| entry.data.len()).sum();
                bytes <= QUICK_BYTES_MAX
            }
            LogWork::Mark { .. } => false,
        };
        if !quick || 0 < self.waiting.load(Ordering::Acquire) {
            return Some(work);
        }
        let Ok(mut writer) = self.writer.try_lock() else { return Some(work) };
        if SYNC_QUICK_MAX < writer.last_sync {
            return Some(work);
        }
        writer.round_or_report(std::iter::once(LogMessage::Work(work)));
        None
    }
}

impl LogThread {
    /// Runs until told to stop.
    pub(crate) fn run(self, inbox: &Receiver<LogMessage>) {
        while let Ok(first) = inbox.recv() {
            let mut counted = 0;
            let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(GROUPS_PER_SYNC_MAX);
            let messages = std::iter::once(first)
                .chain(more)
                .inspect(|message| counted += usize::from(matches!(message, LogMessage::Work(_))));
            let Ok(mut writer) = self.writer.lock() else { return };
            let go_on = writer.round_or_report(messages);
            // Only now may the front write past this thread: what it sent before is in the log.
            self.waiting.fetch_sub(counted, Ordering::AcqRel);
            if !go_on {
                return;
            }
        }
    }
}

struct Writer {
    log: LogWriter,
    upkeep: Sender<UpkeepJob>,
    shared: Arc<Shared>,
    /// What the last sync took, a little forgetful: one slow sync is soon forgiven.
    last_sync: Duration,
}

impl Writer {
    /// A round; whether to go on. An error ends the process.
    fn round_or_report(&mut self, messages: impl Iterator<Item = LogMessage>) -> bool {
        self.round(messages).unwrap_or_else(|error| {
            let error = chain(&error);
            self.shared.report.report(Event::Fatal { what: "writing the raft log", error });
            false
        })
    }

    /// Writes what gathered; says whether to go on.
    fn round(&mut self, messages: impl Iterator<Item = LogMessage>) -> Result<bool, WriteError> {
        let mut go_on = true;
        let began = Instant::now();
        for message in messages {
            match message {
                LogMessage::Work(work) => self.log.take(work)?,
                LogMessage::Prepared(prepared) => self.prepared(prepared),
                LogMessage::Stop => {
                    go_on = false;
                    break;
                }
            }
        }
        let disk = &self.shared.metrics.disk;
        disk.wal_write.observe_duration(began.elapsed());
        disk.wal_write_bytes.set(i64::try_from(self.log.bytes_written()).unwrap_or(i64::MAX));
        let began = Instant::now();
        if !go_on {
            self.log.sync_all()?;
        } else if self.log.sync()? {
            let took = began.elapsed();
            disk.wal_fsync.observe_duration(took);
            self.last_sync = (self.last_sync * 3 + took) / 4;
        }
        // A lone member has nobody to send to, so no message waits for the log.
        let done = self.log.finish()?;
        if let Some(number) = done.persisted {
            let _ = self.shared.front.send(FrontMessage::Persisted { number });
        }
        if let Some(index) = done.marked {
            self.shared.report.report(Event::Marked { index });
        }
        if let Some(preparation) = done.preparation {
            let _ = self.upkeep.send(UpkeepJob::PrepareLog(preparation));
        }
        Ok(go_on)
    }

    /// A spare segment that could not be prepared costs a wait at the next cut, nothing else.
    fn prepared(&mut self, prepared: Prepared) {
        if let Err(error) = self.log.prepared(prepared) {
            let what = "preparing the next segment of the raft log";
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
        }
    }
}

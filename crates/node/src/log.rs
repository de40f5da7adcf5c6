//! The log writer's thread: one write and one sync for everything that gathered during the last sync.
//!
//! Guarantee (acknowledge after the sync): the front hears of a group only when [`LogWriter`] says so. A
//! failed write or sync ends the process and is never tried again: what the disk holds after one is anybody's
//! guess.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

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

/// Runs until told to stop.
pub(crate) fn run(
    log: LogWriter,
    inbox: &Receiver<LogMessage>,
    upkeep: &Sender<UpkeepJob>,
    shared: &Arc<Shared>,
) {
    let mut writer = Writer { log, upkeep, shared };
    while let Ok(first) = inbox.recv() {
        let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(GROUPS_PER_SYNC_MAX);
        match writer.round(std::iter::once(first).chain(more)) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let error = chain(&error);
                shared.report.report(Event::Fatal { what: "writing the raft log", error });
                return;
            }
        }
    }
}

struct Writer<'a> {
    log: LogWriter,
    upkeep: &'a Sender<UpkeepJob>,
    shared: &'a Arc<Shared>,
}

impl Writer<'_> {
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
            disk.wal_fsync.observe_duration(began.elapsed());
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

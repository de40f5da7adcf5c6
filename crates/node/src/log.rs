//! The log writer's thread: one write and one sync for everything that gathered during the last sync.
//!
//! Guarantee (acknowledge after the sync): the front hears of a group only when it is in the log, and
//! synced if it asked for that. A failed write or sync ends the process and is never tried again: what
//! the disk holds after one is anybody's guess.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use consensus::Persist;
use types::ConfState;
use wal::{Marker, Prepared, Wal, WriteError};

use crate::Event;
use crate::front::FrontMessage;
use crate::report::chain;
use crate::shared::Shared;
use crate::upkeep::UpkeepJob;

/// What reaches the log writer.
#[derive(Debug)]
pub(crate) enum LogMessage {
    Persist(Persist),
    Mark { index: u64, term: u64, conf_state: ConfState },
    Prepared(Prepared),
    Stop,
}

/// Groups that share one sync.
const GROUPS_PER_SYNC_MAX: usize = 1024;

/// Runs until told to stop.
pub(crate) fn run(
    mut wal: Wal,
    inbox: &Receiver<LogMessage>,
    upkeep: &Sender<UpkeepJob>,
    shared: &Arc<Shared>,
) {
    let mut writer = Writer { wal: &mut wal, upkeep, shared };
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
    wal: &'a mut Wal,
    upkeep: &'a Sender<UpkeepJob>,
    shared: &'a Arc<Shared>,
}

impl Writer<'_> {
    /// Writes what gathered; says whether to go on.
    fn round(&mut self, messages: impl Iterator<Item = LogMessage>) -> Result<bool, WriteError> {
        let mut written = None;
        let mut sync = false;
        let mut mark = None;
        let mut go_on = true;
        let began = Instant::now();
        for message in messages {
            match message {
                LogMessage::Persist(persist) => {
                    self.wal.append(persist.hard_state.as_ref(), &persist.entries)?;
                    sync |= persist.must_sync;
                    written = Some(persist.number);
                }
                LogMessage::Mark { index, term, conf_state } => {
                    let marker = Marker { index, term, conf_state: Some(conf_state) };
                    self.wal.append_marker(&marker)?;
                    mark = Some(index);
                    sync = true;
                }
                LogMessage::Prepared(prepared) => self.prepared(prepared),
                LogMessage::Stop => {
                    go_on = false;
                    sync = true;
                    break;
                }
            }
        }
        self.shared.metrics.disk.wal_write.observe_duration(began.elapsed());
        self.shared
            .metrics
            .disk
            .wal_write_bytes
            .set(i64::try_from(self.wal.bytes_written()).unwrap_or(i64::MAX));
        if sync && !self.shared.config.unsafe_no_fsync {
            let began = Instant::now();
            self.wal.sync()?;
            self.shared.metrics.disk.wal_fsync.observe_duration(began.elapsed());
        }
        if let Some(number) = written {
            let _ = self.shared.front.send(FrontMessage::Persisted { number });
        }
        if let Some(index) = mark {
            self.release(index)?;
        }
        if let Some(preparation) = self.wal.preparation() {
            let _ = self.upkeep.send(UpkeepJob::PrepareLog(preparation));
        }
        Ok(go_on)
    }

    fn release(&mut self, index: u64) -> Result<(), WriteError> {
        let keep = match self.shared.config.wals_max {
            0 => usize::MAX,
            keep => keep,
        };
        self.wal.release_to(index, keep)?;
        self.shared.report.report(Event::Marked { index });
        Ok(())
    }

    /// A spare segment that could not be prepared costs a wait at the next cut, nothing else.
    fn prepared(&mut self, prepared: Prepared) {
        if let Err(error) = self.wal.prepared(prepared) {
            let what = "preparing the next segment of the raft log";
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
        }
    }
}

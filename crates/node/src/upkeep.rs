//! The upkeep thread: long work on the store that nobody waits for.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use apply::HashJob;
use member::{CheckpointJob, HashRead};
use mvcc::HashTriple;
use store::{CheckpointDone, CleanProgress, Cleaning, StoreError};
use wal::Preparation;

use crate::Event;
use crate::engine::EngineMessage;
use crate::log::LogMessage;
use crate::report::chain;
use crate::shared::Shared;

/// Something to be done when there is time.
#[derive(Debug)]
pub(crate) enum UpkeepJob {
    Clean(Box<Cleaning>),
    Hash(Box<HashJob>),
    Checkpoint(Box<CheckpointJob>),
    PrepareLog(Preparation),
}

/// Bytes of the store worked through at a time.
const STEP_BYTES: usize = 1 << 20;

/// Runs until nobody can ask any more.
pub(crate) fn run(inbox: &Receiver<UpkeepJob>, log: &Sender<LogMessage>, shared: &Arc<Shared>) {
    while let Ok(job) = inbox.recv() {
        let message = match job {
            UpkeepJob::Clean(cleaning) => clean(cleaning),
            UpkeepJob::Hash(job) => EngineMessage::Hashed(hash(*job, shared)),
            UpkeepJob::Checkpoint(job) => EngineMessage::Checkpointed(checkpoint(*job)),
            UpkeepJob::PrepareLog(preparation) => {
                let _ = log.send(LogMessage::Prepared(preparation.run()));
                continue;
            }
        };
        let _ = shared.engine.send(message);
    }
}

fn clean(mut cleaning: Box<Cleaning>) -> EngineMessage {
    let failed = loop {
        match cleaning.step(STEP_BYTES) {
            Ok(CleanProgress::More) => {}
            Ok(CleanProgress::Done) => break None,
            Err(error) => break Some(error),
        }
    };
    EngineMessage::Cleaned { cleaning, failed }
}

fn hash(job: HashJob, shared: &Arc<Shared>) -> Option<HashTriple> {
    match hash_rows(job.hasher, &job.log) {
        Ok(triple) => Some(triple),
        Err(error) => {
            let what = "hashing what a compaction left";
            shared.report.report(Event::UpkeepFailed { what, error: chain(&error) });
            None
        }
    }
}

/// Feeds a hasher with all rows it wants.
pub(crate) fn hash_rows(
    hasher: mvcc::Hasher,
    log: &store::LogView,
) -> Result<HashTriple, StoreError> {
    let mut read = HashRead::new(hasher, log);
    loop {
        if let Some(triple) = read.step(STEP_BYTES)? {
            return Ok(triple);
        }
    }
}

fn checkpoint(mut job: CheckpointJob) -> Result<CheckpointDone, StoreError> {
    loop {
        if let Some(done) = job.step()? {
            return Ok(done);
        }
    }
}

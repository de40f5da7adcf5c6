//! The upkeep thread: long work on the store that nobody waits for.
//!
//! It works in small steps and rests after each as long as the step took, so that half of the disk, and of a
//! processor, is always there for those who are waited for. It does so instead of stepping back in the
//! scheduler's order (`nice`): whoever does that may be set aside while it holds the lock inside a channel, and
//! then everybody waits who sends there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use apply::HashJob;
use member::{CheckpointJob, HashRead};
use mvcc::HashTriple;
use store::{CheckpointDone, CleanProgress, Cleaning, Replaced, StoreError};
use vfs::Disk;
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
    /// Of a snapshot that nobody wants.
    RemoveFile(PathBuf),
}

/// Bytes of the store worked through at a time.
const STEP_BYTES: usize = 1 << 20;

/// Bytes of files that are given back to the file system at a time.
const BYTES_GIVEN_BACK: u64 = 4 << 20;

/// The longest rest after a step.
const REST_DURATION_MAX: Duration = Duration::from_millis(20);

/// How often it is seen whether replaced files are still read.
const UNREAD_INTERVAL: Duration = Duration::from_millis(100);

/// Runs until nobody can ask any more.
pub(crate) fn run(
    inbox: &Receiver<UpkeepJob>,
    log: &Sender<LogMessage>,
    disk: &Arc<dyn Disk>,
    shared: &Arc<Shared>,
) {
    // Closing the last copy of a file that has no name gives its blocks back, which takes as long as it takes.
    // So the last copy is here, and not with a reader.
    let mut replaced: Vec<Replaced> = Vec::new();
    while let Some(job) = next(inbox, &mut replaced) {
        let message = match job {
            UpkeepJob::Clean(cleaning) => {
                let files = cleaning.replaced();
                let (message, succeeded) = clean(cleaning);
                if succeeded {
                    replaced.push(files);
                }
                message
            }
            UpkeepJob::Hash(job) => EngineMessage::Hashed(hash(*job, shared)),
            UpkeepJob::Checkpoint(job) => EngineMessage::Checkpointed(checkpoint(*job)),
            UpkeepJob::PrepareLog(preparation) => {
                let _ = log.send(LogMessage::Prepared(preparation.run()));
                continue;
            }
            UpkeepJob::RemoveFile(file) => {
                // The next start would do so too.
                let _ = disk.remove(&file);
                continue;
            }
        };
        let _ = shared.engine.send(message);
    }
}

/// The next job. Before it, lets go of files that nobody reads any more.
fn next(inbox: &Receiver<UpkeepJob>, replaced: &mut Vec<Replaced>) -> Option<UpkeepJob> {
    loop {
        replaced.retain_mut(|files| !files.is_unread() || !gone(files));
        if replaced.is_empty() {
            return inbox.recv().ok();
        }
        match inbox.recv_timeout(UNREAD_INTERVAL) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Lets go of files, piece by piece. True, because they are gone then.
fn gone(files: &mut Replaced) -> bool {
    while !rested(|| files.give_back(BYTES_GIVEN_BACK)) {}
    true
}

/// Takes a step and rests.
fn rested<T>(step: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = step();
    thread::sleep(began.elapsed().min(REST_DURATION_MAX));
    done
}

/// Whether it went well is the second answer.
fn clean(mut cleaning: Box<Cleaning>) -> (EngineMessage, bool) {
    let failed = loop {
        match rested(|| cleaning.step(STEP_BYTES)) {
            Ok(CleanProgress::More) => {}
            Ok(CleanProgress::Done) => break None,
            Err(error) => break Some(error),
        }
    };
    let succeeded = failed.is_none();
    (EngineMessage::Cleaned { cleaning, failed }, succeeded)
}

fn hash(job: HashJob, shared: &Arc<Shared>) -> Option<HashTriple> {
    let mut read = HashRead::from(job);
    let hashed = loop {
        match rested(|| read.step(STEP_BYTES)) {
            Ok(None) => {}
            Ok(Some(triple)) => break Ok(triple),
            Err(error) => break Err(error),
        }
    };
    match hashed {
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
        if let Some(done) = rested(|| job.step())? {
            return Ok(done);
        }
    }
}

//! The upkeep thread: long work on the store that nobody waits for.
//!
//! Jobs take turns by the step, the most urgent first: a segment for the raft log before cleaning, cleaning before an
//! index image, an image before a hash, a hash before a scrub. So a hash of a large store keeps nobody waiting, however
//! long it takes.
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
use member::{ApplyingInput as Do, CheckpointJob, HashRead, LogInput};
use mvcc::HashTriple;
use store::{CleanProgress, Cleaning, Replaced, Scrub, StoreError};
use vfs::Disk;
use wal::Preparation;

use crate::Event;
use crate::engine::EngineMessage;
use crate::log::LogMessage;
use crate::report::chain;
use crate::scrub::ScrubJob;
use crate::shared::Shared;

/// Something to be done when there is time.
#[derive(Debug)]
pub(crate) enum UpkeepJob {
    Clean(Box<Cleaning>),
    Hash(Box<HashJob>),
    Checkpoint(Box<CheckpointJob>),
    Scrub(Box<Scrub>),
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
    let (jobs, replaced, looked) = (Jobs::default(), Vec::new(), Instant::now());
    let mut upkeep = Upkeep { log, disk, shared, jobs, replaced, looked };
    while upkeep.take(inbox) {
        upkeep.step();
    }
}

/// A job under way.
enum Job {
    Clean(Box<Cleaning>),
    Hash(HashRead),
    Checkpoint(Box<CheckpointJob>),
    Scrub(ScrubJob),
    PrepareLog(Preparation),
    RemoveFile(PathBuf),
}

impl Job {
    /// Lower goes first.
    fn urgency(&self) -> u8 {
        match self {
            Job::PrepareLog(_) | Job::RemoveFile(_) => 0,
            Job::Clean(_) => 1,
            Job::Checkpoint(_) => 2,
            Job::Hash(_) => 3,
            Job::Scrub(_) => 4,
        }
    }

    /// How long it is until it may take its next step.
    fn due_in(&self) -> Duration {
        match self {
            Job::Scrub(scrub) => scrub.due.saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        }
    }
}

impl From<UpkeepJob> for Job {
    fn from(job: UpkeepJob) -> Job {
        match job {
            UpkeepJob::Clean(cleaning) => Job::Clean(cleaning),
            UpkeepJob::Hash(job) => Job::Hash(HashRead::from(*job)),
            UpkeepJob::Checkpoint(job) => Job::Checkpoint(job),
            UpkeepJob::Scrub(scrub) => Job::Scrub(ScrubJob::new(scrub)),
            UpkeepJob::PrepareLog(preparation) => Job::PrepareLog(preparation),
            UpkeepJob::RemoveFile(file) => Job::RemoveFile(file),
        }
    }
}

/// Jobs in the order in which they came.
#[derive(Default)]
struct Jobs(Vec<Job>);

impl Jobs {
    fn push(&mut self, job: Job) {
        self.0.push(job);
    }

    /// How long it is until one of them may take a step; `None` if there is none.
    fn due_in(&self) -> Option<Duration> {
        self.0.iter().map(Job::due_in).min()
    }

    /// Takes out the most urgent one that may take a step; of several, the one that came first.
    fn take_next(&mut self) -> Option<Job> {
        let due = self.0.iter().enumerate().filter(|(_, job)| job.due_in().is_zero());
        let next = due.min_by_key(|(place, job)| (job.urgency(), *place));
        let place = next?.0;
        Some(self.0.remove(place))
    }

    /// Puts back what is not through.
    fn put_back(&mut self, job: Job) {
        self.0.insert(0, job);
    }
}

struct Upkeep<'a> {
    log: &'a Sender<LogMessage>,
    disk: &'a Arc<dyn Disk>,
    shared: &'a Arc<Shared>,
    jobs: Jobs,
    /// Files that were replaced. Closing the last copy of a file that has no name gives its blocks back, which takes
    /// as long as it takes. So the last copy is here, and not with a reader.
    replaced: Vec<Replaced>,
    /// When it was last seen whether they are still read.
    looked: Instant,
}

impl Upkeep<'_> {
    /// Takes what has come, and waits if there is nothing to do. False when nobody can ask any more.
    fn take(&mut self, inbox: &Receiver<UpkeepJob>) -> bool {
        loop {
            if UNREAD_INTERVAL <= self.looked.elapsed() {
                self.let_go();
            }
            let due = self.jobs.due_in();
            let look = (!self.replaced.is_empty()).then_some(UNREAD_INTERVAL);
            let asked = match due.into_iter().chain(look).min() {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match asked {
                Ok(job) => self.jobs.push(job.into()),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) if due.is_some_and(|due| due.is_zero()) => {
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Lets go of files that nobody reads any more, piece by piece.
    fn let_go(&mut self) {
        self.replaced.retain_mut(|files| {
            if !files.is_unread() {
                return true;
            }
            while !rested(|| files.give_back(BYTES_GIVEN_BACK)) {}
            false
        });
        self.looked = Instant::now();
    }

    /// One step of the most urgent job.
    fn step(&mut self) {
        let Some(job) = self.jobs.take_next() else { return };
        match job {
            Job::PrepareLog(preparation) => {
                let _ = self.log.send(LogMessage::Do(LogInput::Prepared(preparation.run())));
            }
            Job::RemoveFile(file) => {
                // The next start would do so too.
                let _ = self.disk.remove(&file);
            }
            Job::Clean(cleaning) => self.clean(cleaning),
            Job::Checkpoint(mut job) => match rested(|| job.step()).transpose() {
                None => self.jobs.put_back(Job::Checkpoint(job)),
                Some(done) => self.tell(EngineMessage::Do(Do::Checkpointed(done))),
            },
            Job::Hash(mut read) => match rested(|| read.step(STEP_BYTES)).transpose() {
                None => self.jobs.put_back(Job::Hash(read)),
                Some(hashed) => self.hashed(hashed),
            },
            Job::Scrub(mut scrub) => {
                let failed = match rested(|| scrub.step()) {
                    Ok(false) => return self.jobs.put_back(Job::Scrub(scrub)),
                    Ok(true) => None,
                    Err(error) => Some(error),
                };
                let through = EngineMessage::Scrubbed { scrub: scrub.scrub, failed };
                let _ = self.shared.engine.send(through);
            }
        }
    }

    fn clean(&mut self, mut cleaning: Box<Cleaning>) {
        let succeeded = match rested(|| cleaning.step(STEP_BYTES)) {
            Ok(CleanProgress::More) => return self.jobs.put_back(Job::Clean(cleaning)),
            Ok(CleanProgress::Done) => {
                self.replaced.push(cleaning.replaced());
                true
            }
            Err(error) => {
                let (what, error) = ("cleaning the store", chain(&error));
                self.shared.report.report(Event::UpkeepFailed { what, error });
                false
            }
        };
        self.tell(EngineMessage::Do(Do::Cleaned { cleaning, succeeded }));
    }

    fn hashed(&self, hashed: Result<HashTriple, StoreError>) {
        let triple = hashed.inspect_err(|error| {
            let what = "hashing what a compaction left";
            self.shared.report.report(Event::UpkeepFailed { what, error: chain(error) });
        });
        self.tell(EngineMessage::Do(Do::Hashed(triple.ok())));
    }

    fn tell(&self, message: EngineMessage) {
        let _ = self.shared.engine.send(message);
    }
}

/// Takes a step and rests.
fn rested<T>(step: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = step();
    thread::sleep(began.elapsed().min(REST_DURATION_MAX));
    done
}

/// Feeds a hasher with all rows it wants, as long as the hash is `wanted`; `None` when it was not.
pub(crate) fn hash_rows(
    hasher: mvcc::Hasher,
    log: &store::LogView,
    wanted: &mut dyn FnMut() -> bool,
) -> Result<Option<HashTriple>, StoreError> {
    let mut read = HashRead::new(hasher, log);
    while wanted() {
        if let Some(triple) = read.step(STEP_BYTES)? {
            return Ok(Some(triple));
        }
    }
    Ok(None)
}

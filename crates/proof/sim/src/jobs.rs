//! Long work beside a member's machines, a step at a time.

use std::path::Path;

use member::{ApplyingInput as Do, CheckpointJob, HashRead, LogInput};
use store::{CleanProgress, Cleaning};
use wal::Preparation;

use crate::chance::Chance;
use crate::out::Out;
use crate::running::{Running, ToEngine};

/// Where snapshots of other members arrive.
pub(crate) const SNAP_DIR: &str = "data/member/snap";

/// Long work under way.
pub(crate) enum Job {
    Clean(Box<Cleaning>),
    Checkpoint(Box<CheckpointJob>),
    Hash(Box<HashRead>),
    Prepare(Preparation),
    /// The file of a snapshot that nobody wants.
    RemoveSnapshot(u64),
}

impl Running {
    /// A step of the job at the head; production ends one before it begins the next.
    pub(crate) fn upkeep_turn(&mut self, chance: &mut Chance) {
        let bytes = chance.pick(&[1, 300, 1 << 20]);
        match self.jobs.pop_front() {
            None => {}
            Some(Job::Clean(mut cleaning)) => match cleaning.step(bytes) {
                Ok(CleanProgress::More) => self.jobs.push_front(Job::Clean(cleaning)),
                Ok(CleanProgress::Done) => {
                    self.tell_engine(Do::Cleaned { cleaning, succeeded: true });
                }
                Err(error) => {
                    self.out.push(Out::UpkeepFailed(format!("cleaning: {error}")));
                    self.tell_engine(Do::Cleaned { cleaning, succeeded: false });
                }
            },
            Some(Job::Checkpoint(mut job)) => match job.step() {
                Ok(None) => self.jobs.push_front(Job::Checkpoint(job)),
                Ok(Some(done)) => self.tell_engine(Do::Checkpointed(Ok(done))),
                Err(error) => self.tell_engine(Do::Checkpointed(Err(error))),
            },
            Some(Job::Hash(mut read)) => match read.step(bytes) {
                Ok(None) => self.jobs.push_front(Job::Hash(read)),
                Ok(Some(triple)) => self.tell_engine(Do::Hashed(Some(triple))),
                Err(error) => {
                    self.out.push(Out::UpkeepFailed(format!("hashing: {error}")));
                    self.tell_engine(Do::Hashed(None));
                }
            },
            Some(Job::Prepare(preparation)) => {
                self.to_log.push_back(LogInput::Prepared(preparation.run()));
            }
            Some(Job::RemoveSnapshot(index)) => {
                // The next start would do so too.
                let _ = self.disk.remove(&member::spooled(Path::new(SNAP_DIR), index));
            }
        }
    }

    fn tell_engine(&mut self, input: Do) {
        self.to_engine.push_back(ToEngine::Do(input));
    }
}

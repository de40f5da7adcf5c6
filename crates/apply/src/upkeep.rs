//! What the store does for itself between entries: pruning after a compaction, and the hashes that
//! compactions leave behind. Each call does a little, so an entry never waits long.

use mvcc::HashTriple;
use store::{Batch, CheckpointWriter};

use crate::applier::{Applier, Fault, HashJob};

impl Applier {
    /// The next hash to compute on some other thread. Its result is due in [`Applier::hashed`].
    pub fn take_hash_job(&mut self) -> Option<HashJob> {
        self.hash_jobs.pop_front()
    }

    /// A hash is known (or, `None`, could not be computed). Pruning may go on when all are.
    pub fn hashed(&mut self, triple: Option<HashTriple>) {
        assert!(0 < self.hashing, "a job is handed out once and reported once");
        self.hashing -= 1;
        if let Some(triple) = triple {
            self.hashes.store(triple);
        }
    }

    /// Prunes about `budget` keys and revisions; says whether there is more to do right now.
    pub fn prune(&mut self, budget: usize) -> bool {
        if !self.pruning || 0 < self.hashing {
            return false;
        }
        let progress = self.mvcc.compact_step(budget);
        self.store.mark_dead(&progress.dead);
        if progress.finished {
            self.pruning = false;
            let revision = Applier::meta_revision(self.mvcc.compact_revision());
            let (index, term) = self.applied;
            let state = vec![Applier::set_meta("finishedCompactRev", revision)];
            self.store.append(&Batch { index, term, rows: Vec::new(), state });
        }
        !progress.finished
    }

    /// Whether a compaction still has rows to forget.
    pub fn is_pruning(&self) -> bool {
        self.pruning
    }

    /// Begins an index checkpoint of everything applied so far. The image and the writer may go to
    /// another thread; what comes of them goes to [`store::Store::finish_checkpoint`].
    ///
    /// # Errors
    /// [`Fault`] when the store cannot begin one.
    pub fn begin_checkpoint(&mut self) -> Result<(mvcc::ImageWriter, CheckpointWriter), Fault> {
        let image = self.mvcc.view().image();
        let writer = self.store.begin_checkpoint(image.revision())?;
        Ok((image, writer))
    }
}

//! What the store does for itself between entries: pruning after a compaction, and the hashes that
//! compactions leave behind. Each call does a little, so an entry never waits long.

use mvcc::HashTriple;
use store::{
    Batch, CheckpointDone, CheckpointWriter, Cleaning, Scrub, ScrubDone, SyncHandle, Synced,
    WriteOut,
};

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

    /// Whether hashes are being computed on some other thread.
    pub fn is_hashing(&self) -> bool {
        0 < self.hashing
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

    /// The store's own upkeep.
    pub fn upkeep(&mut self) -> Upkeep<'_> {
        Upkeep { applier: self }
    }
}

/// What may be done to the store besides applying entries. Nothing here can append to it or change what it holds.
pub struct Upkeep<'a> {
    applier: &'a mut Applier,
}

impl Upkeep<'_> {
    /// Begins an index checkpoint of everything applied so far. The image and the writer may go to
    /// another thread; what comes of them goes to [`Upkeep::finish_checkpoint`].
    ///
    /// # Errors
    /// [`Fault`] when the store cannot begin one.
    pub fn begin_checkpoint(&mut self) -> Result<(mvcc::ImageWriter, CheckpointWriter), Fault> {
        let image = self.applier.mvcc.view().image();
        let writer = self.applier.store.begin_checkpoint(image.revision())?;
        Ok((image, writer))
    }

    /// A checkpoint is in place.
    pub fn finish_checkpoint(&mut self, done: CheckpointDone) {
        self.applier.store.finish_checkpoint(done);
    }

    /// Begins to clean what is worth it; nothing most of the time.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot begin.
    pub fn begin_clean(&mut self) -> Result<Option<Cleaning>, Fault> {
        Ok(self.applier.store.begin_clean()?)
    }

    /// Gives up the round of cleaning that is under way, if it still can be.
    pub fn give_up_clean(&mut self) {
        self.applier.store.give_up_clean();
    }

    /// Begins to clean whatever holds garbage.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot begin.
    pub fn begin_clean_all(&mut self) -> Result<Option<Cleaning>, Fault> {
        Ok(self.applier.store.begin_clean_all()?)
    }

    /// A round of cleaning has come to its end.
    pub fn finish_clean(&mut self, cleaning: Cleaning) {
        self.applier.store.finish_clean(cleaning);
    }

    /// A round of cleaning has failed.
    pub fn abandon_clean(&mut self, cleaning: Cleaning) {
        self.applier.store.abandon_clean(cleaning);
    }

    /// Begins to scrub the next piece of the store, if it is time.
    pub fn begin_scrub(&mut self, now_s: u64, rest_s: u64) -> Option<Scrub> {
        self.applier.store.begin_scrub(now_s, rest_s)
    }

    /// A piece has come to its end, well or not.
    pub fn finish_scrub(&mut self, scrub: Scrub, now_s: u64) -> ScrubDone {
        self.applier.store.finish_scrub(scrub, now_s)
    }

    /// Something of the store's log that is worth writing out before its sync.
    pub fn write_out(&mut self) -> Option<WriteOut> {
        self.applier.store.write_out()
    }

    /// Flushes, and returns what makes everything applied so far durable. Its answer goes to
    /// [`Upkeep::synced`].
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be written.
    pub fn sync_handle(&mut self) -> Result<SyncHandle, Fault> {
        Ok(self.applier.store.sync_handle()?)
    }

    /// A sync has run.
    pub fn synced(&mut self, done: Synced) {
        self.applier.store.synced(done);
    }
}

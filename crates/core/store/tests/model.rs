//! Random operations on a store and on a model beside it. Every run prints its seed; `SEED=n` plays one.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use holdfast_store::{CheckpointWriter, CleanProgress, Cleaning, LogView, Store, SyncHandle};
use support::{Chance, Model, check, check_reopened, check_restart, image, open, small};
use types::Revision;
use vfs::{CrashPolicy, MemoryDisk};

struct Run {
    disk: MemoryDisk,
    store: Store,
    model: Model,
    chance: Chance,
    cleaning: Option<Cleaning>,
    checkpoint: Option<CheckpointWriter>,
    /// Views that must go on showing what they showed.
    views: Vec<(LogView, Model)>,
    /// For each image, by its index, what had been marked dead when it was begun.
    pruned: BTreeMap<u64, BTreeSet<Revision>>,
    /// What the image of the last restart covered.
    covered: i64,
    counts: [u32; 3],
}

impl Run {
    fn new(seed: u64) -> Run {
        let disk = MemoryDisk::new();
        let (store, _) = open(&disk, small()).expect("a new store");
        Run {
            disk,
            store,
            model: Model::default(),
            chance: Chance(seed),
            cleaning: None,
            checkpoint: None,
            views: Vec::new(),
            pruned: BTreeMap::new(),
            covered: 0,
            counts: [0; 3],
        }
    }

    fn step(&mut self) {
        match self.chance.below(200) {
            0..4 => {
                let batch = self.model.wide_batch(&mut self.chance, 100);
                self.store.append(&batch);
            }
            4..90 => {
                let batch = self.model.next_batch(&mut self.chance, 25, 120);
                self.store.append(&batch);
            }
            90..112 => self.store.flush().expect("the disk works"),
            112..124 => self.sync(),
            124..136 => self.compact(),
            136..178 => self.clean_aside(),
            178..182 => self.clean_here(),
            182..191 => self.write_image(),
            191..197 => self.look_back(),
            197..199 => self.reopen(false),
            _ => self.reopen(true),
        }
        let sizes = self.store.sizes();
        assert!(sizes.live_bytes <= sizes.file_bytes);
    }

    /// What lives is counted exactly: the records of the rows that are not dead, and the state.
    fn count(&self) {
        let expected = self.model.at(u64::MAX);
        let living = expected.rows.values();
        let living = living.filter(|row| !self.model.dead.contains_key(&row.revision));
        let living: u64 = living.map(|row| 20 + row.encoded.len() as u64).sum();
        let counted = self.store.sizes().live_bytes;
        let state = self.store.state().bytes();
        let beyond = self.store.sizes().file_bytes < living + state;
        assert!(counted == living + state || beyond, "{counted}, not {living} and {state}");
    }

    fn sync(&mut self) {
        self.store.flush().expect("the disk works");
        let done = self.store.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
        self.store.synced(done);
        assert_eq!(self.store.synced_index(), self.model.index());
        self.model.synced = self.model.synced.max(done.index);
    }

    fn compact(&mut self) {
        let revision = 1 + self.chance.below(self.model.main() as u64) as i64;
        let dead = self.model.compact(revision);
        // mvcc goes through the keys in steps.
        for some in dead.chunks(1 + self.chance.below(40) as usize) {
            self.store.mark_dead(some);
        }
    }

    /// Cleaning as a server does it: the store goes on between the steps.
    fn clean_aside(&mut self) {
        let mut cleaning = match self.cleaning.take() {
            Some(cleaning) => cleaning,
            None if self.chance.one_in(4) => {
                match self.store.begin_clean_all().expect("the disk works") {
                    Some(cleaning) => cleaning,
                    None => return,
                }
            }
            None => match self.store.begin_clean().expect("the disk works") {
                Some(cleaning) => cleaning,
                None => return,
            },
        };
        match cleaning.step(300).expect("the disk works") {
            CleanProgress::More => self.cleaning = Some(cleaning),
            CleanProgress::Done => {
                self.store.finish_clean(cleaning);
                self.counts[0] += 1;
            }
        }
    }

    fn clean_here(&mut self) {
        if self.cleaning.is_none() {
            if self.chance.one_in(3) {
                self.store.clean_all().expect("the disk works");
            } else {
                self.store.clean_step(500).expect("the disk works");
            }
        }
    }

    fn write_image(&mut self) {
        if let Some(writer) = self.checkpoint.take() {
            let done = writer.commit().expect("the disk works");
            self.store.finish_checkpoint(done);
            self.counts[1] += 1;
            return;
        }
        let expected = self.model.at(u64::MAX);
        let mut writer = self.store.begin_checkpoint(self.model.main()).expect("the disk works");
        for piece in image(&expected).chunks(100) {
            writer.write(piece).expect("the disk works");
        }
        let dead = self.model.dead.keys().copied().collect();
        self.pruned.insert(self.model.framed(), dead);
        self.checkpoint = Some(writer);
    }

    fn look_back(&mut self) {
        self.views.push((self.store.view(), self.model.clone()));
        if self.views.len() > 3 {
            self.views.remove(0);
        }
        for (view, model) in &self.views {
            let expected = model.at(u64::MAX);
            let Some(last) = view.last_revision() else { continue };
            for (revision, row) in expected.rows.range(..=last) {
                if !model.dead.contains_key(revision) {
                    assert_eq!(view.read(*revision).expect("a view keeps its rows"), *row);
                }
            }
            let behind = Revision { main: last.main + 1, sub: 0 };
            assert!(view.read(behind).is_err(), "a view shows what was flushed when it was taken");
        }
    }

    /// Whatever overlapped: after a restart, an index made from the image and the rows after it knows
    /// enough to get rid of all that is dead.
    fn finish(&mut self) {
        self.reopen(false);
        let covered = self.covered;
        self.store.clean_all().expect("the disk works");
        let expected = self.model.at(u64::MAX);
        let left = self.model.dead.keys().filter(|revision| {
            let stays = expected.rows[revision].tombstone && covered > 0 && revision.main > covered;
            !stays && self.store.read(**revision).is_ok()
        });
        let left: u64 = left.map(|revision| expected.rows[revision].encoded.len() as u64).sum();
        // A segment with little garbage is left alone.
        let sizes = self.store.sizes();
        assert!(left <= sizes.live_bytes / 10 + 400, "{left} dead bytes are left, {sizes:?}");
    }

    /// Ends the process, or cuts the power, and starts again.
    fn reopen(&mut self, crash: bool) {
        self.cleaning = None;
        self.checkpoint = None;
        self.views.clear();
        if crash {
            self.disk = self.disk.crash(CrashPolicy::Torn { seed: self.chance.next() });
        } else {
            self.store.flush().expect("the disk works");
        }
        let (store, restored) = check_reopened(&self.disk, &self.model);
        assert!(crash || restored.applied_index >= self.model.framed());
        self.model.cut_to(restored.applied_index);
        self.model.synced = restored.applied_index;
        check_restart(&store, &restored, &self.model, true).expect("the keys can be read");
        self.store = store;
        self.counts[2] += 1;

        // mvcc prunes for the last compaction again. What was pruned before the image was begun it
        // does not know and cannot name.
        self.covered = restored.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.revision);
        let begun = |index| self.pruned.range(..=index).next_back().expect("an image was begun").1;
        let pruned = restored.checkpoint.map(|checkpoint| begun(checkpoint.index));
        let known = |revision: &Revision| pruned.is_none_or(|dead| !dead.contains(revision));
        let dead: Vec<_> = self.model.dead.keys().copied().filter(known).collect();
        self.store.mark_dead(&dead);
    }
}

fn play(seed: u64, steps: usize) -> [u32; 3] {
    println!("seed {seed}");
    let mut run = Run::new(seed);
    for step in 0..steps {
        run.step();
        if step % 20 == 0 {
            check(&run.store, &run.model, u64::MAX).expect("every row can be read");
            run.count();
        }
    }
    run.finish();
    run.counts
}

#[test]
fn random_operations_agree_with_the_model() {
    if let Ok(seed) = env::var("SEED") {
        play(seed.parse().expect("SEED is a number"), 2000);
        return;
    }
    let runs = env::var("RUNS").map_or(30, |runs| runs.parse().expect("RUNS is a number"));
    let mut counts = [0; 3];
    for seed in 0..runs {
        let more = play(seed, 600);
        counts = std::array::from_fn(|place| counts[place] + more[place]);
    }
    println!("cleanings, checkpoints, restarts: {counts:?}");
    assert!(counts.iter().all(|count| *count > 100), "each kind of step was there often enough");
}

//! Power cuts and failing disks: at every operation of a workload that touches everything, and again at every
//! operation of the recovery. Whatever the disk kept, the store must open and hold a prefix of what was
//! applied that is no shorter than what was confirmed.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod support;

use std::env;

use holdfast_store::{CleanProgress, Cleaning, OpenError, Store, StoreError};
use support::{Chance, Model, check_reopened, image, open, small};
use vfs::{CrashPolicy, FaultKind, Faults, MemoryDisk};

/// What ended a run early: power, or an error after which a process stops.
struct Stopped;

impl From<StoreError> for Stopped {
    fn from(_: StoreError) -> Stopped {
        Stopped
    }
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Stopped {
        match error {
            OpenError::Store(StoreError::Io { .. }) => Stopped,
            error => panic!("opened without a crash: {error}"),
        }
    }
}

/// The workload: seals, cleans on the side, merges, writes state and images, scrubs, restarts.
fn work(disk: &MemoryDisk, model: &mut Model, seed: u64) -> Result<(), Stopped> {
    let mut chance = Chance(seed);
    let mut store = open(disk, small())?.0;
    let mut cleaning = None;
    for step in 0..90_u64 {
        let batch = match step % 15 {
            7 => model.wide_batch(&mut chance, 30),
            _ => model.next_batch(&mut chance, 8, 150),
        };
        store.append(&batch);
        if chance.one_in(2) {
            store.flush()?;
        }
        if chance.one_in(6) {
            sync(&mut store, model)?;
        }
        if chance.one_in(7) {
            let revision = model.main() - chance.below(4).min(model.main() as u64 - 1) as i64;
            let dead = model.compact(revision);
            store.mark_dead(&dead);
        }
        cleaning = clean(&mut store, model, cleaning, step % 40 == 39)?;
        if chance.one_in(15) {
            write_image(&mut store, model)?;
        }
        if step % 4 == 3 {
            scrub(&mut store, step)?;
        }
        if step % 30 == 29 {
            store.flush()?;
            (store, cleaning) = (open(disk, small())?.0, None);
            model.synced = store.synced_index();
        }
    }
    Ok(())
}

/// A piece of a pass. One that fails is tried again later.
fn scrub(store: &mut Store, step: u64) -> Result<(), Stopped> {
    let Some(mut scrub) = store.begin_scrub(step, 1) else { return Ok(()) };
    loop {
        match scrub.step(1000) {
            Ok(false) => {}
            Ok(true) => break,
            Err(StoreError::Io { action: "sync" | "replace", .. }) => return Err(Stopped),
            Err(_) => break,
        }
    }
    let _ = store.finish_scrub(scrub, step);
    Ok(())
}

fn sync(store: &mut Store, model: &mut Model) -> Result<(), Stopped> {
    store.flush()?;
    let done = store.sync_handle()?.sync()?;
    store.synced(done);
    model.synced = model.synced.max(done.index);
    Ok(())
}

/// One step of a round. A round that fails is given up and the store goes on, as a server does.
fn clean(
    store: &mut Store,
    model: &mut Model,
    cleaning: Option<Cleaning>,
    all: bool,
) -> Result<Option<Cleaning>, Stopped> {
    let begun = match cleaning {
        Some(cleaning) => Some(cleaning),
        None if all => store.begin_clean_all()?,
        None => store.begin_clean()?,
    };
    let Some(mut cleaning) = begun else { return Ok(None) };
    match cleaning.step(400) {
        Ok(CleanProgress::More) => return Ok(Some(cleaning)),
        Ok(CleanProgress::Done) => store.finish_clean(cleaning),
        Err(StoreError::Io { action: "sync", .. }) => return Err(Stopped),
        Err(_) => store.abandon_clean(cleaning),
    }
    model.synced = model.synced.max(store.synced_index());
    Ok(None)
}

/// An image that cannot be written is given up too.
fn write_image(store: &mut Store, model: &mut Model) -> Result<(), Stopped> {
    let mut writer = store.begin_checkpoint(model.main())?;
    for piece in image(&model.at(u64::MAX)).chunks(200) {
        if writer.write(piece).is_err() {
            return Ok(());
        }
    }
    match writer.commit() {
        Ok(done) => store.finish_checkpoint(done),
        Err(StoreError::Io { action: "sync" | "replace", .. }) => return Err(Stopped),
        Err(_) => {}
    }
    model.synced = model.synced.max(store.synced_index());
    Ok(())
}

fn policies(seed: u64) -> Vec<CrashPolicy> {
    let mut policies = vec![CrashPolicy::KeepAll, CrashPolicy::LoseUnsynced];
    for more in 0..2 {
        policies.push(CrashPolicy::Torn { seed: seed * 10 + more });
        policies.push(CrashPolicy::Reordered { seed: seed * 10 + more });
    }
    policies
}

fn seeds() -> Vec<u64> {
    match env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (1..=2).collect(),
    }
}

/// How many operations the workload takes on a disk that works.
fn operations(seed: u64) -> u64 {
    let disk = MemoryDisk::new();
    assert!(work(&disk, &mut Model::default(), seed).is_ok(), "the disk works");
    println!("seed {seed}: {} operations", disk.operations());
    disk.operations()
}

#[test]
fn power_cut_at_every_operation_leaves_a_prefix_that_holds_what_was_confirmed() {
    for seed in seeds() {
        for last in 0..=operations(seed) {
            let faults = Faults { stop_after: Some(last), ..Faults::default() };
            let disk = MemoryDisk::with_faults(faults);
            let mut model = Model::default();
            let _ = work(&disk, &mut model, seed);
            for policy in policies(seed * 10_000 + last) {
                println!("seed {seed}, power cut after operation {last}, {policy:?}");
                let disk = disk.crash(policy);
                go_on(&disk, &model);
            }
        }
    }
}

/// After recovery the store takes new batches, cleans, and opens once more.
fn go_on(disk: &MemoryDisk, model: &Model) {
    let (mut store, restored) = check_reopened(disk, model);
    let mut model = model.clone();
    model.cut_to(restored.applied_index);
    let mut chance = Chance(restored.applied_index);
    for _ in 0..5 {
        store.append(&model.next_batch(&mut chance, 8, 150));
    }
    let dead = model.compact(model.main());
    store.mark_dead(&dead);
    store.clean_all().expect("the disk works");
    model.synced = store.synced_index();
    drop(store);
    check_reopened(disk, &model);
}

#[test]
fn power_cut_during_recovery_is_recovered_from() {
    for seed in seeds() {
        let operations = operations(seed);
        for last in (0..=operations).step_by(3) {
            let faults = Faults { stop_after: Some(last), ..Faults::default() };
            let disk = MemoryDisk::with_faults(faults);
            let mut model = Model::default();
            let _ = work(&disk, &mut model, seed);
            let policies = policies(seed * 10_000 + last);
            let policy = policies[last as usize % policies.len()];
            recover_with_cuts(&|| disk.crash(policy), &model, last);
        }
    }
}

/// Cuts power at every operation of a recovery, and lets the next one see what any policy leaves.
fn recover_with_cuts(crashed: &dyn Fn() -> MemoryDisk, model: &Model, seed: u64) {
    for last in 0.. {
        let disk = crashed();
        disk.set_faults(Faults { stop_after: Some(last), ..Faults::default() });
        let opened = open(&disk, small()).map_err(Stopped::from).is_ok();
        for policy in policies(seed * 100 + last) {
            println!("power cut {seed}, then in recovery after {last}, {policy:?}");
            check_reopened(&disk.crash(policy), model);
        }
        if opened {
            return;
        }
    }
}

#[test]
fn a_disk_that_fails_once_costs_nothing_that_was_confirmed() {
    for seed in seeds() {
        for number in 1..=operations(seed) {
            for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
                println!("seed {seed}, {kind:?} at operation {number}");
                let faults = Faults { fail_at: Some((number, kind)), ..Faults::default() };
                let disk = MemoryDisk::with_faults(faults);
                let mut model = Model::default();
                let _ = work(&disk, &mut model, seed);
                // The process ends; perhaps the machine does too.
                check_reopened(&disk.crash(CrashPolicy::KeepAll), &model);
                check_reopened(&disk.crash(CrashPolicy::LoseUnsynced), &model);
                check_reopened(&disk.crash(CrashPolicy::Reordered { seed: number }), &model);
            }
        }
    }
}

#[test]
fn a_full_disk_stops_the_store_and_the_file_is_named() {
    let disk = MemoryDisk::with_faults(Faults { capacity_bytes: Some(9000), ..Faults::default() });
    let mut store = open(&disk, small()).expect("there is room for an empty store").0;
    let (mut model, mut chance) = (Model::default(), Chance(1));
    let error = loop {
        store.append(&model.next_batch(&mut chance, 8, 150));
        if let Err(error) = store.flush() {
            break error;
        }
    };
    assert!(error.is_disk_full());
    assert!(error.to_string().starts_with("cannot write 000000000000000"), "{error}");
    let index = store.applied_index();
    store.append(&model.next_batch(&mut chance, 8, 150));
    assert_eq!(store.applied_index(), index, "nothing more is taken");
    let again = store.flush().expect_err("it stopped").to_string();
    assert!(again.starts_with("the store stopped after it could not write 0000000"), "{again}");
    drop(store);

    disk.set_faults(Faults::default());
    model.synced = 0;
    check_reopened(&disk, &model);
}

//! Every write and every sync of raft log and store, in one life that touches everything, is in turn the last:
//! then the power is cut and every part of what was not synced is in turn lost, alone kept, or the last one
//! kept. And every one of them fails, once with each error a disk has; and the power is cut again at every
//! operation of the recovery.
//!
//! Guarantee: what was committed is there, at its revision, and what else is there is the log's own
//! continuation, in order. No power cut makes a directory that is refused.
//!
//! `cargo xtask crash` does all of it. By itself (in CI) each test takes every so-manieth operation, which it
//! prints: `HOLDFAST_STRIDE=1` takes all, `HOLDFAST_RECOVERY_STRIDE` is that of the cuts during recovery, and
//! `HOLDFAST_SEED=n` lives another life.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

use std::collections::BTreeMap;

use holdfast_proof::workload::{self, Ledger};
use holdfast_proof::{Chance, Lone, Picture};
use vfs::{CrashPolicy, FaultKind, Faults, MemoryDisk};

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    number("HOLDFAST_SEED", 1)
}

/// Which operations a test takes: all, or every so-manieth.
fn chosen(operations: u64, stride: u64) -> impl Iterator<Item = u64> {
    println!("seed {}: {operations} operations, every {stride}. of them", seed());
    (0..=operations).step_by(stride as usize)
}

/// The life on a disk without faults: how many operations it takes, and what must be found at each entry.
struct Reference {
    operations: u64,
    pictures: BTreeMap<u64, Picture>,
}

impl Reference {
    fn new() -> Reference {
        let disk = MemoryDisk::new();
        let ledger = workload::run(&disk, seed(), workload::STEPS, true);
        assert_eq!(ledger.stopped, None);
        assert_eq!(ledger.given_up, [""; 0]);
        let mut pictures: BTreeMap<u64, Picture> = ledger.pictures.into_iter().collect();
        let empty = workload::run(&MemoryDisk::new(), seed(), 0, true);
        assert!(!empty.born);
        let fresh = Lone::boot(&MemoryDisk::new(), 0).expect("the disk works");
        pictures.insert(0, Picture::take(fresh.applier()).expect("the disk works"));
        Reference { operations: disk.operations(), pictures }
    }

    /// What may be found after a recovery of this disk: all of it is durable, and the recovery itself goes on
    /// with entries of its own.
    fn with_recovery(&self, disk: &MemoryDisk, ledger: &Ledger) -> Reference {
        let mut lone = boot(&disk.crash(CrashPolicy::KeepAll), "the first recovery");
        lone.keep_pictures();
        lone.start().expect("the disk works");
        let (found, _) = lone.take_found().expect("it elected itself");
        assert!(ledger.committed <= found);
        let mut pictures: BTreeMap<u64, Picture> =
            [(found, self.pictures[&found].clone())].into_iter().collect();
        pictures.extend(lone.pictures().into_iter().filter(|(index, _)| found < *index));
        Reference { operations: disk.operations(), pictures }
    }
}

/// Every way a disk can look whose power was cut now, within one choice: each border of 512 bytes as the end
/// of what was written; each piece lost alone; each kept alone.
fn all_policies(disk: &MemoryDisk) -> Vec<CrashPolicy> {
    let unsynced = disk.unsynced();
    let firsts = (0..=unsynced).map(|pieces| CrashPolicy::First { pieces });
    let all_but = (0..unsynced).map(|piece| CrashPolicy::AllBut { piece });
    let only = (0..unsynced).map(|piece| CrashPolicy::Only { piece });
    firsts.chain(all_but).chain(only).collect()
}

#[track_caller]
fn boot(disk: &MemoryDisk, story: &str) -> Lone {
    Lone::boot(disk, 2_000_000_000).unwrap_or_else(|error| {
        panic!("refused: {error} ({:?}): {story}", std::error::Error::source(&error))
    })
}

/// Boots and compares what is found with what must be.
#[track_caller]
fn check_boot(disk: &MemoryDisk, ledger: &Ledger, reference: &Reference, story: &str) -> Lone {
    let mut lone = boot(disk, story);
    lone.start().unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
    let (index, picture) = lone.take_found().expect("it elected itself");
    let picture = picture.unwrap_or_else(|error| panic!("{error}: {story}"));
    assert!(ledger.committed <= index, "{index} is behind {}: {story}", ledger.committed);
    let Some(expected) = reference.pictures.get(&index) else {
        panic!("there was never an entry {index}: {story}")
    };
    if picture != *expected {
        panic!("not what entry {index} left: {}: {story}", picture.difference(expected));
    }
    lone
}

/// Goes on after a recovery, cleans everything, and loses power again.
#[track_caller]
fn check_life_after(mut lone: Lone, disk: &MemoryDisk, story: &str) {
    let mut chance = Chance(lone.committed());
    for _ in 0..4 {
        let request = workload::request(&mut chance, &lone);
        lone.propose([request]);
        lone.step(400).unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
    }
    lone.defragment().unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
    for rounds in 0.. {
        assert!(rounds < 2000, "cleaning has no end: {story}");
        lone.step(0).unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
        if !lone.is_defragmenting() {
            break;
        }
    }
    let before = Picture::take(lone.applier()).expect("the disk works");
    let mut again = boot(&disk.crash(CrashPolicy::LoseUnsynced), story);
    again.start().unwrap_or_else(|stopped| panic!("{}: {story}", stopped.0));
    let (_, found) = again.take_found().expect("it elected itself");
    let found = found.unwrap_or_else(|error| panic!("{error}: {story}"));
    if found != before {
        panic!("the second life: {}: {story}", found.difference(&before));
    }
}

/// The life, with the power cut after so many operations.
fn cut_after(last: u64) -> (MemoryDisk, Ledger) {
    let disk = MemoryDisk::with_faults(Faults { stop_after: Some(last), ..Faults::default() });
    let ledger = workload::run(&disk, seed(), workload::STEPS, false);
    (disk, ledger)
}

#[test]
fn whatever_operation_of_either_log_is_the_last_nothing_committed_is_lost() {
    let reference = Reference::new();
    let mut recoveries = 0;
    for last in chosen(reference.operations, number("HOLDFAST_STRIDE", 5)) {
        let (disk, ledger) = cut_after(last);
        for (place, policy) in all_policies(&disk).into_iter().enumerate() {
            let story = format!("power cut after operation {last}, {policy:?}");
            let found = disk.crash(policy);
            let lone = check_boot(&found, &ledger, &reference, &story);
            recoveries += 1;
            if place as u64 % 16 == last % 16 {
                check_life_after(lone, &found, &story);
            }
        }
    }
    println!("{recoveries} recoveries");
}

#[test]
fn a_power_cut_during_recovery_is_recovered_from_by_both_logs() {
    let reference = Reference::new();
    let mut recoveries = 0;
    for last in chosen(reference.operations, number("HOLDFAST_RECOVERY_STRIDE", 97)) {
        let (disk, ledger) = cut_after(last);
        let unsynced = disk.unsynced();
        let halves = [0, unsynced / 2, unsynced].map(|pieces| CrashPolicy::First { pieces });
        let lost = CrashPolicy::AllBut { piece: last as usize % unsynced.max(1) };
        for policy in halves.into_iter().chain([lost]) {
            let first = disk.crash(policy);
            let reference = reference.with_recovery(&first, &ledger);
            for stop in 0.. {
                let second = first.crash(CrashPolicy::KeepAll);
                second.set_faults(Faults { stop_after: Some(stop), ..Faults::default() });
                let booted = Lone::boot(&second, 2_000_000_000);
                let through = booted.is_ok_and(|mut lone| lone.start().is_ok());
                for again in all_policies(&second) {
                    let story = format!(
                        "power cut after operation {last}, {policy:?}, then after {stop} of recovery, {again:?}"
                    );
                    check_boot(&second.crash(again), &ledger, &reference, &story);
                    recoveries += 1;
                }
                if through {
                    break;
                }
            }
        }
    }
    println!("{recoveries} recoveries");
}

#[test]
fn whatever_operation_fails_nothing_committed_is_lost_and_no_failed_sync_is_tried_again() {
    let reference = Reference::new();
    let (mut ended, mut gone_on) = (0, 0);
    for number in chosen(reference.operations, number("HOLDFAST_STRIDE", 13)) {
        for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
            let story = format!("{kind:?} at operation {number}");
            let fail_at = Some((number, kind));
            let disk = MemoryDisk::with_faults(Faults { fail_at, ..Faults::default() });
            let ledger = workload::run(&disk, seed(), workload::STEPS, false);
            if ledger.stopped.is_some() {
                ended += 1
            } else {
                gone_on += 1
            }
            assert_eq!(disk.syncs_after_failure(), 0, "a failed sync was tried again: {story}");
            let unsynced = disk.unsynced();
            let policies = [0, unsynced / 2, unsynced].map(|pieces| CrashPolicy::First { pieces });
            let lost = CrashPolicy::AllBut { piece: number as usize % unsynced.max(1) };
            for policy in policies.into_iter().chain([lost]) {
                let story = format!("{story}, {policy:?}, {ledger:?}");
                let found = disk.crash(policy);
                let lone = check_boot(&found, &ledger, &reference, &story);
                if policy == lost {
                    check_life_after(lone, &found, &story);
                }
            }
        }
    }
    println!("{ended} ended the member, {gone_on} cost only upkeep");
    assert!(0 < gone_on);
}

#[test]
fn a_life_touches_everything_that_writes() {
    let disk = MemoryDisk::new();
    let ledger = workload::run(&disk, seed(), workload::STEPS, true);
    let names = |dir: &str| {
        let names = vfs::Disk::list(&disk, std::path::Path::new(dir));
        names.expect("the disk works")
    };
    let (wal, store) = (names("/data/member/wal"), names("/data/member/store"));
    println!("{wal:?}\n{store:?}\n{} operations", disk.operations());
    let last = &ledger.pictures.last().expect("there are many").1;
    println!("revision {}, compacted {}", last.revision, last.compacted);
    for kind in [".log", ".seg", ".state", ".index", ".marks"] {
        assert!(store.iter().any(|name| name.ends_with(kind)), "{kind}");
    }
    let oldest = wal.first().expect("there is a log");
    assert!(!oldest.starts_with("0000000000000000"), "old segments were released");
    assert!(0 < last.compacted);
    assert!(ledger.pictures.iter().any(|(_, picture)| !picture.attachments.is_empty()));
}

//! Whole data directories that rot: a bit flipped, a sector zeroed, junk written, a file cut, grown, exchanged
//! for another, or missing, in raft log and store alike.
//!
//! Guarantee: what is damaged is refused by name, at the start or when it is read, or it is served right: every
//! key at every revision, leases, members, hash. Never a wrong value, a panic or an endless loop. And cleaning
//! does not launder damage: what was refused before is not another value after.
//!
//! One thing no reader of etcd's log format can tell from an ordinary power cut: the end of the last segment
//! cut off, zeroed, or missing as a file. Then the member may start at an earlier state, if the store does not know
//! better; it is a state there was, exactly. These are counted and printed.
//!
//! `cargo xtask rot` runs 10,000 cases, CI fewer. `HOLDFAST_SEED=n` begins at another case,
//! `HOLDFAST_CASES=1` runs just that one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast_proof::workload::{self, STEPS};
use holdfast_proof::{Chance, Lone, Picture};
use vfs::{CrashPolicy, Disk, Faults, MemoryDisk};

const WAL: &str = "/data/member/wal";
const STORE: &str = "/data/member/store";

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// A directory with history, and what must be found in it.
struct Base {
    name: &'static str,
    disk: MemoryDisk,
    committed: u64,
    /// Of entries that the life without end does not have.
    pictures: BTreeMap<u64, Picture>,
}

/// Directories as processes and machines leave them.
fn bases() -> Vec<Base> {
    let life = |name, stop_after, policy: Option<CrashPolicy>, leaves: bool| {
        let disk = MemoryDisk::with_faults(Faults { stop_after, ..Faults::default() });
        let mut ledger = workload::run(&disk, 1, STEPS, false);
        let mut pictures = BTreeMap::new();
        let mut disk = match policy {
            Some(policy) => disk.crash(policy),
            None => disk,
        };
        if leaves {
            disk.set_faults(Faults::default());
            let mut lone = Lone::boot(&disk, 2_000_000_000).expect("nothing is damaged");
            lone.keep_pictures();
            lone.start().expect("the disk works");
            ledger.committed = lone.committed();
            pictures.extend(lone.pictures());
            lone.leave().expect("the disk works");
        }
        disk = disk.crash(CrashPolicy::KeepAll);
        Base { name, disk, committed: ledger.committed, pictures }
    };
    let (keep, lose) = (Some(CrashPolicy::KeepAll), Some(CrashPolicy::LoseUnsynced));
    vec![
        life("killed", None, None, false),
        life("left in order", None, None, true),
        life("power lost", None, lose, false),
        life("power lost early", Some(700), lose, false),
        life("killed in the middle", Some(1234), keep, false),
    ]
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let all = [WAL, STORE].map(|dir| {
        let names = disk.list(Path::new(dir)).expect("the disk works");
        names.into_iter().map(move |name| Path::new(dir).join(name))
    });
    all.into_iter().flatten().collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What was done.
struct Harm {
    story: String,
    /// Files of which one must be named by a refusal.
    files: Vec<PathBuf>,
    /// Whether it looks as a power cut does: bytes missing or zero.
    like_a_cut: bool,
}

/// Damages one place of one file, or two files at once.
fn harm(disk: &MemoryDisk, chance: &mut Chance) -> Harm {
    let all = files(disk);
    let path = all[chance.below(all.len() as u64) as usize].clone();
    let file = disk.open(&path).expect("it is listed");
    let bytes = file.len().expect("the disk works");
    let place = chance.below(bytes.max(1));
    let shown = name(&path);
    let one = |story: String, like_a_cut| Harm { story, files: vec![path.clone()], like_a_cut };
    let grow = |bytes_more: u64| {
        let junk: Vec<u8> = (0..bytes_more).map(|at| (at * 7 + place) as u8).collect();
        file.write_all_at(&junk, bytes).expect("the disk works");
    };
    let kind = if bytes == 0 { 10 } else { chance.below(11) };
    match kind {
        0..=3 => {
            let bit = chance.below(8);
            disk.flip_bit(&path, place * 8 + bit).expect("it is that long");
            one(format!("bit {bit} of byte {place} of {shown} flipped"), false)
        }
        4 => {
            disk.zero_sector(&path, place).expect("it is that long");
            one(format!("the sector at byte {place} of {shown} zeroed"), true)
        }
        5 => {
            disk.truncate(&path, place).expect("it is that long");
            one(format!("{shown} cut to {place} of {bytes} bytes"), true)
        }
        6 => {
            let junk: Vec<u8> =
                (0..1 + chance.below(40)).map(|_| chance.below(256) as u8).collect();
            file.write_all_at(&junk, place).expect("the disk works");
            one(format!("{} bytes of junk at byte {place} of {shown}", junk.len()), false)
        }
        7 | 8 => {
            let other = all[chance.below(all.len() as u64) as usize].clone();
            let [mine, theirs] =
                [&path, &other].map(|path| vfs::read_all(disk, path).expect("it is listed"));
            let story = if kind == 7 {
                put_in_place(disk, &other, &mine);
                format!("{shown} and {} exchanged", name(&other))
            } else {
                format!("{shown} replaced by {}", name(&other))
            };
            put_in_place(disk, &path, &theirs);
            Harm { story, files: vec![path, other], like_a_cut: false }
        }
        9 => {
            grow(1 + place % 700);
            one(format!("{shown} grown"), false)
        }
        _ => {
            disk.remove(&path).expect("it is listed");
            one(format!("{shown} missing"), true)
        }
    }
}

fn put_in_place(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    disk.truncate(path, 0).expect("it is listed");
    disk.open(path).expect("it is listed").write_all_at(bytes, 0).expect("the disk works");
}

#[derive(Debug, Default)]
struct Outcomes {
    served: u64,
    refused_at_start: u64,
    refused_when_read: u64,
    ended_early: u64,
}

struct Case<'a> {
    base: &'a Base,
    harm: Harm,
    pictures: &'a BTreeMap<u64, Picture>,
}

impl Case<'_> {
    /// A refusal must say which file; where the end or the beginning of the raft log is gone, that log.
    #[track_caller]
    fn check_names(&self, error: &str) {
        let named = |path: &PathBuf| error.contains(&name(path));
        // A log that ends early says nothing about its end; but the store knows that there was more.
        let too_short =
            self.harm.like_a_cut && error.contains("the log in /data/member/wal has lost its end");
        let no_begin =
            self.harm.like_a_cut && error.contains("/data/member/wal has no segment that begins");
        assert!(self.harm.files.iter().any(named) || too_short || no_begin, "{error}");
    }

    fn look(&self, disk: &MemoryDisk, outcomes: &mut Outcomes) {
        let booted = Lone::boot(disk, 3_000_000_000);
        let mut lone = match booted {
            Ok(lone) => lone,
            Err(error) => {
                outcomes.refused_at_start += 1;
                return self.check_names(&told(&error));
            }
        };
        if let Err(stopped) = lone.start() {
            outcomes.refused_when_read += 1;
            return self.check_names(&stopped.0);
        }
        let (index, picture) = lone.take_found().expect("it elected itself");
        if index < self.base.committed {
            let last = files(&self.base.disk).into_iter().rfind(|path| {
                path.starts_with(WAL) && path.extension().is_some_and(|kind| kind == "wal")
            });
            let end = self.harm.files.iter().any(|path| Some(path) == last.as_ref());
            assert!(end && self.harm.like_a_cut, "{index} is behind {}", self.base.committed);
            outcomes.ended_early += 1;
        }
        match picture {
            Ok(picture) => {
                let expected = self.base.pictures.get(&index).or_else(|| self.pictures.get(&index));
                let expected = expected.unwrap_or_else(|| panic!("there was no entry {index}"));
                assert!(picture == *expected, "{}", picture.difference(expected));
                outcomes.served += 1;
            }
            Err(error) => {
                self.check_names(&error);
                outcomes.refused_when_read += 1;
            }
        }
        self.clean(lone, disk);
    }

    /// Cleaning everything afterwards, and another start, make no wrong value of it.
    fn clean(&self, mut lone: Lone, disk: &MemoryDisk) {
        let before = Picture::take(lone.applier());
        let mut ended = lone.defragment().is_err();
        for _ in 0..60 {
            if ended || !lone.is_defragmenting() || !lone.given_up.is_empty() {
                break;
            }
            ended = lone.step(0).is_err();
        }
        if !ended && let (Ok(before), Ok(after)) = (before, Picture::take(lone.applier())) {
            assert!(before == after, "cleaned: {}", before.difference(&after));
            let next = Lone::boot(&disk.crash(CrashPolicy::KeepAll), 3_000_000_000);
            if let Ok(next) = next
                && let Ok(found) = Picture::take(next.applier())
            {
                assert!(found == after, "after another start: {}", found.difference(&after));
            }
        }
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Ends the process when one case takes for ever: nothing else could.
fn watch_over(case: &Arc<AtomicU64>) {
    let case = case.clone();
    std::thread::spawn(move || {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = case.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(120) {
                eprintln!("case {now} has no end: HOLDFAST_SEED={now} HOLDFAST_CASES=1");
                std::process::exit(101);
            }
        }
    });
}

#[test]
fn a_rotten_directory_is_refused_by_name_or_served_right() {
    let first = number("HOLDFAST_SEED", 1);
    let cases = number("HOLDFAST_CASES", 1500);
    println!("{cases} cases from HOLDFAST_SEED={first}");
    let whole = workload::run(&MemoryDisk::new(), 1, STEPS, true);
    let mut pictures: BTreeMap<u64, Picture> = whole.pictures.into_iter().collect();
    let fresh = Lone::boot(&MemoryDisk::new(), 0).expect("the disk works");
    pictures.insert(0, Picture::take(fresh.applier()).expect("the disk works"));
    let bases = bases();
    let under_way = Arc::new(AtomicU64::new(0));
    watch_over(&under_way);
    let (mut outcomes, mut failed) = (Outcomes::default(), Vec::new());
    for case in first..first + cases {
        under_way.store(case, Ordering::Relaxed);
        let mut chance = Chance(case);
        let base = &bases[chance.below(bases.len() as u64) as usize];
        let disk = base.disk.crash(CrashPolicy::KeepAll);
        let harm = harm(&disk, &mut chance);
        let disk = disk.crash(CrashPolicy::KeepAll);
        let story = format!("case {case}: {}, {}", base.name, harm.story);
        let case = Case { base, harm, pictures: &pictures };
        if catch_unwind(AssertUnwindSafe(|| case.look(&disk, &mut outcomes))).is_err() {
            println!("{story}");
            failed.push(story);
        }
    }
    under_way.store(u64::MAX, Ordering::Relaxed);
    println!("{outcomes:?}");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

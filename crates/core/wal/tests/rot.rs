//! Damage of every kind to a log on disk: what is read is right, or it is refused with file and offset.

mod common;

use common::*;
use holdfast_wal::{Damage, OpenError, Options, Recovered, Wal};
use types::{Entry, EntryKind, HardState};
use vfs::{CrashPolicy, Disk, MemoryDisk};

/// A log whose segments hold every kind of record, of many lengths.
fn small_log() -> MemoryDisk {
    let disk = new_disk();
    let mut wal = create(&disk);
    let mut index = 0;
    let mut put = |wal: &mut Wal, term, bytes: usize, kind| {
        index += 1;
        let entry = Entry { kind, ..entry(term, index, vec![b'x'; bytes]) };
        let state = HardState { term, vote: 3, commit: index };
        wal.append(Some(&state), &[entry]).expect("no fault");
    };
    for bytes in [5, 0, 50, 1, 2, 3, 0, 400, 4, 13, 600] {
        put(&mut wal, 1, bytes, EntryKind::Normal);
    }
    put(&mut wal, 2, 30, EntryKind::ConfChange);
    wal.append_marker(&marker(12, 2)).expect("no fault");
    for bytes in [0, 0, 2900, 0, 7, 200, 0] {
        put(&mut wal, 4, bytes, EntryKind::Normal);
    }
    wal.sync().expect("no fault");
    assert!(files(&disk).len() > 1);
    disk
}

/// Reads and opens a damaged log: both must refuse it, or find what was there.
#[track_caller]
fn check(disk: &MemoryDisk, expected: &Recovered, story: &str) -> bool {
    let read = read(disk, &marker(0, 0));
    let opened = open(disk, &marker(0, 0)).map(|(_, recovered)| recovered);
    assert_eq!(read.is_ok(), opened.is_ok(), "{story}");
    for recovered in [read, opened] {
        match recovered {
            Ok(recovered) => {
                let found = Recovered { repaired: None, ..recovered };
                assert_eq!(found, *expected, "{story}");
            }
            Err(OpenError::Damaged { offset, .. }) => assert!(offset < 8192, "{story}"),
            Err(OpenError::MarkerNotFound { .. } | OpenError::MarkerMismatch { .. }) => {}
            Err(other) => panic!("{other}: {story}"),
        }
    }
    opened_or_refused(disk)
}

fn opened_or_refused(disk: &MemoryDisk) -> bool {
    Wal::valid_markers(disk, &dir()).is_ok()
}

#[test]
fn one_flipped_bit_anywhere_is_refused_or_does_no_harm() {
    let disk = small_log();
    let expected = read(&disk, &marker(0, 0)).expect("undamaged");
    let (mut refused, mut harmless) = (0, 0);
    for name in files(&disk) {
        let path = dir().join(&name);
        let bytes = disk.open_read(&path).expect("it is there").len().expect("alive");
        for bit in 0..bytes * 8 {
            let rotten = disk.crash(CrashPolicy::KeepAll);
            rotten.flip_bit(&path, bit).expect("the bit is there");
            let story = format!("{name}: bit {} of byte {}", bit % 8, bit / 8);
            if check(&rotten, &expected, &story) { harmless += 1 } else { refused += 1 }
        }
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > harmless / 10);
}

#[test]
fn a_truncated_log_is_a_beginning_of_itself_or_refused() {
    let disk = small_log();
    let expected = read(&disk, &marker(0, 0)).expect("undamaged");
    for name in files(&disk) {
        let path = dir().join(&name);
        let last = path == last_file(&disk);
        let bytes = disk.open_read(&path).expect("it is there").len().expect("alive");
        for length in 0..bytes {
            let rotten = disk.crash(CrashPolicy::KeepAll);
            rotten.truncate(&path, length).expect("it is longer");
            let opened = open(&rotten, &marker(0, 0));
            match opened {
                Ok((_, found)) => {
                    assert!(last, "{name} cut to {length}: only the last may be short");
                    let count = found.entries.len();
                    assert_eq!(found.entries, expected.entries[..count], "{name} cut to {length}");
                }
                Err(OpenError::Damaged { file, .. }) => {
                    assert!(file == path || !last, "{name} cut to {length}");
                }
                Err(other) => panic!("{other}: {name} cut to {length}"),
            }
        }
    }
}

#[test]
fn a_sector_that_reads_as_zeros_never_makes_wrong_entries() {
    let disk = small_log();
    let expected = read(&disk, &marker(0, 0)).expect("undamaged");
    for name in files(&disk) {
        let path = dir().join(&name);
        let bytes = disk.open_read(&path).expect("it is there").len().expect("alive");
        for at in (0..bytes).step_by(512) {
            let rotten = disk.crash(CrashPolicy::KeepAll);
            rotten.zero_sector(&path, at).expect("the sector is there");
            match open(&rotten, &marker(0, 0)) {
                // In the last segment lost sectors look like writes that never arrived.
                Ok((_, found)) if path == last_file(&disk) => {
                    assert_eq!(found.entries, expected.entries[..found.entries.len()]);
                }
                Ok((_, found)) => assert_eq!(found.entries, expected.entries),
                Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn a_torn_end_is_cut_and_kept_in_a_copy() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(None, &entries(1, 1..3, 20)).expect("no fault");
    wal.sync().expect("no fault");
    wal.append(None, &entries(1, 3..4, 2000)).expect("no fault");
    drop(wal);
    let path = last_file(&disk);
    disk.zero_sector(&path, 1024).expect("the sector is there");
    let torn = vfs::read_all(&disk, &path).expect("it is there");

    let read_only = read(&disk, &marker(0, 0)).expect("the end is torn, no more");
    assert_eq!(read_only.entries, entries(1, 1..3, 20));
    assert_eq!(vfs::read_all(&disk, &path).expect("it is there"), torn, "reading changes nothing");

    let (mut wal, recovered) = open(&disk, &marker(0, 0)).expect("the end is torn, no more");
    assert_eq!(recovered.entries, entries(1, 1..3, 20));
    let repair = recovered.repaired.expect("something was cut");
    assert_eq!(repair.file, path);
    let copy = vfs::read_all(&disk, &repair.copy).expect("it was made");
    assert_eq!(copy, torn);
    assert_eq!(repair.copy.to_string_lossy(), format!("{}.broken", path.display()));
    wal.append(None, &entries(1, 3..5, 300)).expect("no fault");
    drop(wal);
    let (_, recovered) = open(&disk, &marker(0, 0)).expect("it is whole again");
    assert_eq!(recovered.entries, [entries(1, 1..3, 20), entries(1, 3..5, 300)].concat());
    assert_eq!(recovered.repaired, None);
}

#[test]
fn garbage_never_panics_and_never_allocates_more_than_the_file_has() {
    let disk = small_log();
    let names = files(&disk);
    for seed in 0..2000 {
        let mut chance = Chance(seed);
        let rotten = disk.crash(CrashPolicy::KeepAll);
        let path = dir().join(&names[chance.below(names.len() as u64) as usize]);
        let file = rotten.open(&path).expect("it is there");
        let bytes = file.len().expect("alive");
        for _ in 0..=chance.below(3) {
            let junk: Vec<u8> = match chance.below(3) {
                0 => (chance.below(1 << 40) << chance.below(24)).to_le_bytes().to_vec(),
                1 => vec![255; chance.below(20) as usize],
                _ => (0..chance.below(600)).map(|_| chance.below(256) as u8).collect(),
            };
            file.write_all_at(&junk, chance.below(bytes / 8) * 8).expect("no fault");
        }
        let _ = (read(&rotten, &marker(0, 0)), Wal::valid_markers(&rotten, &dir()));
        let _ = open(&rotten, &marker(0, 0));
    }
}

/// A log whose commit index never runs ahead of its syncs.
const DURABLE: Options = Options { segment_bytes: 1 << 20, commits_are_durable: true, ..SMALL };

fn open_durable(disk: &MemoryDisk) -> Result<(Wal, Recovered), OpenError> {
    Wal::open_with(std::sync::Arc::new(disk.clone()), &dir(), &marker(0, 0), DURABLE)
}

fn create_durable(disk: &MemoryDisk) -> Wal {
    Wal::create_with(std::sync::Arc::new(disk.clone()), &dir(), METADATA, DURABLE)
        .expect("no fault")
}

/// Appends a group, committing as much as may be.
fn put_group(wal: &mut Wal, group: &[Entry], commit: u64) {
    let kept = group.first().map_or(u64::MAX, |first| first.index - 1);
    let state = state(9, commit.min(wal.durable_index()).min(kept));
    wal.append(Some(&state), group).expect("no fault");
}

#[test]
fn rot_in_an_entry_that_was_committed_is_no_torn_write() {
    let disk = new_disk();
    let mut wal = create_durable(&disk);
    let mut ends = vec![wal.bytes_written()];
    for index in 1..=10 {
        // Of zeros there are whole sectors, as after a write that was cut off.
        put_group(&mut wal, &[entry(1, index, vec![0; 2000])], index);
        wal.sync().expect("no fault");
        ends.push(wal.bytes_written());
    }
    drop(wal);
    let path = last_file(&disk);
    let beginning = vfs::read_all(&disk, &path).expect("it is there");
    let beginning = beginning.windows(2000).position(|window| window == [0; 2000]);
    let first = beginning.expect("the first entry") as u64;
    for index in 1..=10 {
        let rotten = disk.crash(CrashPolicy::KeepAll);
        rotten.flip_bit(&path, (first + ends[index - 1] + 700) * 8).expect("it is there");
        let (_, taken_for_torn) = open(&rotten.crash(CrashPolicy::KeepAll), &marker(0, 0))
            .expect("without more knowledge it may be a torn write");
        assert_eq!(taken_for_torn.entries.len(), index - 1);
        match open_durable(&rotten) {
            Err(OpenError::Damaged { file, damage: Damage::Committed { .. }, .. }) => {
                assert_eq!(file, path);
            }
            // Nothing behind it tells.
            Ok((_, found)) => assert_eq!((index, found.entries.len()), (10, 9)),
            Err(other) => panic!("{index}: {other}"),
        }
    }
}

#[test]
fn a_write_that_was_cut_off_is_never_taken_for_rot() {
    let mut torn = 0;
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let disk = new_disk();
        let mut wal = create_durable(&disk);
        let (mut last, mut commit) = (0, 0);
        for round in 0..chance.below(6) + 1 {
            if 0 < round {
                wal.sync().expect("no fault");
            }
            for _ in 0..chance.below(4) {
                // What is not committed may be replaced, and is committed in the same breath.
                let from = last - chance.below(last - commit + 1);
                let to = from + 1 + chance.below(3);
                let bytes = [0, 30, 600, 1500][chance.below(4) as usize];
                let group: Vec<Entry> =
                    (from + 1..=to).map(|index| entry(9, index, vec![7; bytes])).collect();
                (last, commit) = (to, commit + chance.below(to - commit + 1));
                put_group(&mut wal, &group, commit);
            }
        }
        drop(wal);
        for policy in 0..8 {
            let policy = match policy % 2 {
                0 => CrashPolicy::Torn { seed: policy },
                _ => CrashPolicy::Reordered { seed: policy },
            };
            let crashed = disk.crash(policy);
            let (_, found) = open_durable(&crashed)
                .unwrap_or_else(|error| panic!("seed {seed}, {policy:?}: {error}"));
            torn += u32::from(found.repaired.is_some());
        }
    }
    println!("{torn} of 3200 were torn");
    assert!(torn > 100);
}

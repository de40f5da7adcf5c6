//! What a power cut leaves on a [`MemoryDisk`], and how its faults show.

use std::io::ErrorKind;
use std::path::Path;

use holdfast_vfs::{CrashPolicy, Disk, FaultKind, Faults, MemoryDisk, read_all, replace_durably};

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// A disk with a durable file of zeros at `/d/f`.
fn disk_with_file(bytes: u64) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(path("/d")).expect("no fault");
    let file = disk.create(path("/d/f")).expect("no fault");
    file.zero_fill(0, bytes).expect("no fault");
    file.sync_data().expect("no fault");
    disk.sync_dir(path("/d")).expect("no fault");
    disk
}

#[test]
fn what_was_synced_survives_every_crash() {
    let disk = disk_with_file(1024);
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(b"kept", 10).expect("no fault");
    file.sync_data().expect("no fault");
    for seed in 0..50 {
        for policy in
            [CrashPolicy::LoseUnsynced, CrashPolicy::Torn { seed }, CrashPolicy::Reordered { seed }]
        {
            let content = read_all(&disk.crash(policy), path("/d/f")).expect("it is there");
            assert_eq!(&content[10..14], b"kept");
        }
    }
}

#[test]
fn an_unsynced_write_is_lost_kept_torn_at_a_sector_or_kept_sector_by_sector() {
    let disk = disk_with_file(2048);
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(&[7; 1500], 100).expect("no fault");
    let after = |policy| read_all(&disk.crash(policy), path("/d/f")).expect("it is there");
    assert_eq!(after(CrashPolicy::LoseUnsynced), vec![0; 2048]);
    assert_eq!(after(CrashPolicy::KeepAll)[100..1600], [7; 1500]);

    let mut shapes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let torn = after(CrashPolicy::Torn { seed });
        let end = torn.iter().rposition(|byte| *byte == 7).map_or(100, |last| last + 1);
        assert!([100, 512, 1024, 1536, 1600].contains(&end), "torn at {end}");
        assert!(torn[100..end].iter().all(|byte| *byte == 7), "no hole before the tear");
        let sparse = after(CrashPolicy::Reordered { seed });
        shapes.insert([100, 512, 1024, 1536].map(|at| sparse[at] == 7));
    }
    assert_eq!(shapes.len(), 16, "every choice of sectors comes up");
}

#[test]
fn a_sector_never_shows_a_later_write_without_an_earlier_one() {
    let disk = disk_with_file(2048);
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(b"first", 0).expect("no fault");
    file.write_all_at(b"second", 5).expect("no fault");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let policy = CrashPolicy::Reordered { seed };
        let content = read_all(&disk.crash(policy), path("/d/f")).expect("it is there");
        seen.insert(content[..11].to_vec());
    }
    let expected = [*b"\0\0\0\0\0\0\0\0\0\0\0", *b"first\0\0\0\0\0\0", *b"firstsecond"];
    assert_eq!(seen, expected.map(|bytes| bytes.to_vec()).into());
}

/// Everything a disk with one sector written twice, another once, and a new name can look like, where
/// the seeded policies only draw from it.
#[test]
fn every_piece_that_was_not_synced_is_in_turn_the_last_the_lost_and_the_only_one() {
    let disk = disk_with_file(2048);
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(&[1; 1024], 0).expect("no fault");
    disk.create(path("/d/new")).expect("no fault");
    file.write_all_at(&[2; 8], 0).expect("no fault");
    assert_eq!(disk.unsynced(), 4);
    let found = |policy| {
        let crashed = disk.crash(policy);
        let content = read_all(&crashed, path("/d/f")).expect("it is there");
        let new = crashed.exists(path("/d/new")).expect("alive");
        (content[0], content[8], content[600], new)
    };
    let firsts: Vec<_> = (0..=4).map(|pieces| found(CrashPolicy::First { pieces })).collect();
    let grown =
        [(0, 0, 0, false), (1, 1, 0, false), (1, 1, 1, false), (1, 1, 1, true), (2, 1, 1, true)];
    assert_eq!(firsts, grown);
    let lost: Vec<_> = (0..4).map(|piece| found(CrashPolicy::AllBut { piece })).collect();
    assert_eq!(lost, [(0, 0, 1, true), (2, 1, 0, true), (2, 1, 1, false), (1, 1, 1, true)]);
    let only: Vec<_> = (0..4).map(|piece| found(CrashPolicy::Only { piece })).collect();
    assert_eq!(only, [(1, 1, 0, false), (0, 0, 1, false), (0, 0, 0, true), (2, 1, 0, false)]);
}

#[test]
fn a_change_of_names_is_not_lost_without_those_that_need_it() {
    let disk = disk_with_file(8);
    disk.create(path("/d/a")).expect("no fault");
    disk.rename(path("/d/a"), path("/d/b")).expect("no fault");
    let names = |policy| disk.crash(policy).list(path("/d")).expect("it is there");
    assert_eq!(disk.unsynced(), 2);
    assert_eq!(names(CrashPolicy::AllBut { piece: 0 }), ["f"]);
    assert_eq!(names(CrashPolicy::AllBut { piece: 1 }), ["a", "f"]);
    assert_eq!(names(CrashPolicy::Only { piece: 1 }), ["b", "f"]);
    assert_eq!(names(CrashPolicy::First { pieces: 1 }), ["a", "f"]);
}

#[test]
fn a_name_survives_only_if_its_directory_was_synced() {
    let disk = disk_with_file(8);
    disk.create(path("/d/new")).expect("no fault").sync_data().expect("no fault");
    assert!(!disk.crash(CrashPolicy::LoseUnsynced).exists(path("/d/new")).expect("alive"));
    disk.sync_dir(path("/d")).expect("no fault");
    assert!(disk.crash(CrashPolicy::LoseUnsynced).exists(path("/d/new")).expect("alive"));

    disk.remove(path("/d/new")).expect("no fault");
    assert!(disk.crash(CrashPolicy::LoseUnsynced).exists(path("/d/new")).expect("alive"));
    assert!(!disk.crash(CrashPolicy::KeepAll).exists(path("/d/new")).expect("alive"));
}

#[test]
fn a_rename_survives_whole_or_not_at_all() {
    let disk = disk_with_file(8);
    disk.create_dir_all(path("/e")).expect("no fault");
    let file = disk.create(path("/e/tmp")).expect("no fault");
    file.write_all_at(b"new", 0).expect("no fault");
    file.sync_data().expect("no fault");
    disk.rename(path("/e/tmp"), path("/d/f")).expect("no fault");
    for seed in 0..100 {
        for policy in [CrashPolicy::Torn { seed }, CrashPolicy::Reordered { seed }] {
            let crashed = disk.crash(policy);
            let content = read_all(&crashed, path("/d/f")).expect("old or new");
            let renamed = content == b"new";
            assert!(renamed || content == [0; 8]);
            let tmp = crashed.exists(path("/e/tmp")).expect("alive");
            assert!(!(renamed && tmp), "one file under two names");
        }
    }
    disk.sync_dir(path("/e")).expect("no fault");
    let crashed = disk.crash(CrashPolicy::LoseUnsynced);
    assert_eq!(
        read_all(&crashed, path("/d/f")).expect("it is there"),
        [0; 8],
        "the other directory"
    );
    disk.sync_dir(path("/d")).expect("no fault");
    let crashed = disk.crash(CrashPolicy::LoseUnsynced);
    assert_eq!(read_all(&crashed, path("/d/f")).expect("it is there"), b"new");
}

#[test]
fn a_directory_is_renamed_with_all_it_holds() {
    let disk = disk_with_file(8);
    replace_durably(&disk, path("/d"), path("/w")).expect("no fault");
    let crashed = disk.crash(CrashPolicy::LoseUnsynced);
    assert_eq!(crashed.list(path("/w")).expect("it is there"), ["f"]);
    assert!(!crashed.exists(path("/d")).expect("alive"));
}

#[test]
fn the_operation_a_fault_names_fails_and_no_other() {
    for (number, kind) in [(1, FaultKind::Eio), (2, FaultKind::Enospc), (3, FaultKind::ShortWrite)]
    {
        let disk = disk_with_file(100);
        let before = disk.operations();
        disk.set_faults(Faults { fail_at: Some((before + number, kind)), ..Faults::default() });
        let file = disk.open(path("/d/f")).expect("opening is no operation");
        let failed: Vec<bool> = (0..4).map(|_| file.write_all_at(&[9; 10], 0).is_err()).collect();
        let expected: Vec<bool> = (1..=4).map(|n| n == number).collect();
        assert_eq!(failed, expected);
        assert_eq!(disk.operations(), before + 4);
    }
}

#[test]
fn a_short_write_leaves_about_half_of_the_bytes_up_to_a_sector() {
    let disk = disk_with_file(4096);
    let fail_at = Some((disk.operations() + 1, FaultKind::ShortWrite));
    disk.set_faults(Faults { fail_at, ..Faults::default() });
    let file = disk.open(path("/d/f")).expect("it is there");
    assert!(file.write_all_at(&[9; 2000], 100).is_err());
    let content = read_all(&disk, path("/d/f")).expect("it is there");
    assert!(content[100..1024].iter().all(|byte| *byte == 9));
    assert!(content[1024..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_sync_that_failed_has_lost_its_writes_even_if_the_next_one_works() {
    let disk = disk_with_file(100);
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(b"gone", 0).expect("no fault");
    let fail_at = Some((disk.operations() + 1, FaultKind::Eio));
    disk.set_faults(Faults { fail_at, ..Faults::default() });
    assert!(file.sync_data().is_err());
    assert_eq!(disk.syncs_after_failure(), 0);
    file.sync_data().expect("only one sync fails");
    assert_eq!(disk.syncs_after_failure(), 1);
    let crashed = disk.crash(CrashPolicy::LoseUnsynced);
    assert_eq!(read_all(&crashed, path("/d/f")).expect("it is there")[..4], [0; 4]);
}

#[test]
fn after_the_power_is_cut_nothing_works_until_the_next_boot() {
    let disk = disk_with_file(100);
    let stop_after = Some(disk.operations() + 1);
    disk.set_faults(Faults { stop_after, ..Faults::default() });
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(b"last", 0).expect("the last that works");
    assert!(file.sync_data().is_err());
    assert!(file.read_at(&mut [0; 4], 0).is_err());
    assert!(disk.list(path("/d")).is_err());
    let next = disk.crash(CrashPolicy::KeepAll);
    assert_eq!(read_all(&next, path("/d/f")).expect("it is there")[..4], *b"last");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = disk_with_file(100);
    disk.set_faults(Faults { capacity_bytes: Some(150), ..Faults::default() });
    let file = disk.open(path("/d/f")).expect("it is there");
    file.write_all_at(&[1; 100], 50).expect("150 bytes fit");
    let refused = file.write_all_at(&[1; 100], 51).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::StorageFull));
    file.write_all_at(&[2; 100], 0).expect("no growth");
    assert_eq!(disk.space(path("/d")).expect("alive").available_bytes, 0);
    disk.remove(path("/d/f")).expect("no fault");
    assert_eq!(disk.space(path("/d")).expect("alive").available_bytes, 150);
}

#[test]
fn rot_changes_what_was_durable() {
    let disk = disk_with_file(1000);
    disk.open(path("/d/f")).expect("there").write_all_at(&[255; 1000], 0).expect("no fault");
    disk.open(path("/d/f")).expect("there").sync_data().expect("no fault");
    disk.flip_bit(path("/d/f"), 8 * 3 + 1).expect("the bit is there");
    disk.zero_sector(path("/d/f"), 600).expect("the sector is there");
    disk.truncate(path("/d/f"), 900).expect("the file is longer");
    let content = read_all(&disk.crash(CrashPolicy::LoseUnsynced), path("/d/f")).expect("there");
    let mut expected = vec![255; 900];
    expected[3] = 0b1111_1101;
    expected[512..].fill(0);
    assert_eq!(content, expected);
}

#[test]
fn a_locked_file_is_free_again_after_its_holder_or_the_power_went() {
    let disk = disk_with_file(1);
    let held = disk.lock(path("/d/lock")).expect("no fault");
    assert!(held.is_some());
    assert!(disk.lock(path("/d/lock")).expect("no fault").is_none());
    assert!(disk.crash(CrashPolicy::KeepAll).lock(path("/d/lock")).expect("no fault").is_some());
    drop(held);
    assert!(disk.lock(path("/d/lock")).expect("no fault").is_some());
}

#[test]
fn a_removed_file_can_be_read_while_it_is_open() {
    let disk = disk_with_file(4);
    let file = disk.open(path("/d/f")).expect("it is there");
    disk.remove(path("/d/f")).expect("no fault");
    disk.sync_dir(path("/d")).expect("no fault");
    file.read_exact_at(&mut [0; 4], 0).expect("the handle keeps it");
}

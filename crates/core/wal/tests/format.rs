//! The log's bytes, and what is read back from them.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod common;

use std::sync::Arc;

use common::*;
use holdfast_wal::{CreateError, Damage, Marker, OpenError, Options, Wal};
use types::{ConfState, Entry, EntryKind};
use vfs::{CrashPolicy, Disk, Faults, MemoryDisk, read_all};

/// `docs/etcd/wal-and-snap.md` 2.4: the first bytes of a real member.
#[test]
fn a_log_begins_byte_for_byte_as_a_real_members_does() {
    let disk = new_disk();
    let metadata = hex("088beaa2acd4a9befc7d10d68197ab84c8ee9cf001");
    let mut wal = Wal::create(Arc::new(disk.clone()), &dir(), &metadata).expect("no fault");
    let bytes = read_all(&disk, &last_file(&disk)).expect("it is there");
    let expected = hex(concat!(
        "0400000000000084",
        "08041000",
        "00000000",
        "1f00000000000081",
        "080110ded3e19d071a15088beaa2acd4a9befc7d10d68197ab84c8ee9cf001",
        "00",
        "0e00000000000082",
        "0805109ca997e7051a0408001000",
        "0000",
    ));
    assert_eq!(bytes, expected);

    let state = types::HardState { term: 1, vote: 0, commit: 1 };
    wal.append(Some(&state), &[]).expect("no fault");
    let bytes = read_all(&disk, &last_file(&disk)).expect("it is there");
    let record = &bytes[expected.len()..][..24];
    assert_eq!(record[..8], hex("1000000000000000"));
    assert_eq!(record[8..11], hex("080310"));
    assert_eq!(record[16..24], hex("1a06080110001801")[..8]);
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_was_appended_over_many_segments_is_read_back_from_every_marker() {
    let disk = new_disk();
    let mut wal = create(&disk);
    let all = entries(3, 1..200, 300);
    let members = ConfState { voters: vec![1, 2, u64::MAX], learners: vec![9] };
    let mut markers = vec![marker(0, 0)];
    for group in all.chunks(7) {
        let last = group.last().expect("chunks are not empty").index;
        wal.append(Some(&state(3, last)), group).expect("no fault");
        if last % 5 == 0 {
            let marker = Marker { index: last, term: 3, conf_state: Some(members.clone()) };
            wal.append_marker(&marker).expect("no fault");
            markers.push(marker);
        }
        wal.sync().expect("no fault");
    }
    assert!(files(&disk).len() > 10, "{:?}", files(&disk));
    assert_eq!(wal.segments(), files(&disk).len());
    drop(wal);

    assert_eq!(Wal::valid_markers(&disk, &dir()).expect("undamaged"), markers);
    for from in &markers {
        let recovered = read(&disk, from).expect("undamaged");
        assert_eq!(recovered.entries, all[from.index as usize..]);
        assert_eq!(recovered.metadata, METADATA);
        assert_eq!(recovered.hard_state, state(3, 199));
        let (_, opened) = open(&disk, from).expect("undamaged");
        assert_eq!(opened, recovered);
    }
}

#[test]
fn a_log_goes_on_where_it_was_left() {
    let disk = new_disk();
    drop(create(&disk));
    let all = entries(1, 1..100, 150);
    for entry in &all {
        let (mut wal, _) = open(&disk, &marker(0, 0)).expect("undamaged");
        assert_eq!(wal.last_index(), entry.index - 1);
        wal.append(None, std::slice::from_ref(entry)).expect("no fault");
        wal.sync().expect("no fault");
    }
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, all);
    assert!(files(&disk).len() > 3);
}

#[test]
fn entries_of_every_kind_and_size_are_read_back() {
    let disk = new_disk();
    let mut wal = create(&disk);
    let change = |kind, index| Entry { kind, ..entry(1, index, "who") };
    let mut all = vec![
        change(EntryKind::ConfChange, 1),
        change(EntryKind::ConfChangeV2, 2),
        entry(u64::MAX, 3, ""),
    ];
    for (place, bytes) in [1, 7, 8, 9, 127, 128, 4096, 3 << 20].into_iter().enumerate() {
        all.push(entry(u64::MAX, 4 + place as u64, vec![7; bytes]));
    }
    wal.append(None, &all).expect("no fault");
    drop(wal);
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, all);
}

#[test]
fn a_later_entry_with_the_same_index_drops_all_behind_it() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 2)), &entries(1, 1..30, 200)).expect("no fault");
    wal.append(Some(&state(2, 2)), &entries(2, 4..6, 200)).expect("no fault");
    assert_eq!(wal.last_index(), 5);
    drop(wal);
    let expected = [entries(1, 1..4, 200), entries(2, 4..6, 200)].concat();
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, expected);
    assert_eq!(files(&disk)[1], "0000000000000001-000000000000001e.wal");
    let (mut wal, _) = open(&disk, &marker(0, 0)).expect("undamaged");
    wal.append(None, &entries(2, 6..30, 200)).expect("no fault");
    assert_eq!(files(&disk)[2], "0000000000000002-000000000000001e.wal");
}

#[test]
fn an_entry_under_the_marker_drops_what_followed_it_too() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 2)), &entries(1, 1..6, 10)).expect("no fault");
    wal.append(Some(&state(2, 4)), &entries(2, 4..5, 10)).expect("no fault");
    wal.append_marker(&marker(4, 2)).expect("no fault");
    drop(wal);
    // Entry 5 of term 1 was replaced with entry 4, before the snapshot.
    assert_eq!(read(&disk, &marker(4, 2)).expect("undamaged").entries, []);
}

#[test]
fn a_marker_ahead_of_the_log_is_a_snapshot_from_the_leader() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 3)), &entries(1, 1..4, 10)).expect("no fault");
    wal.append_marker(&marker(50, 2)).expect("no fault");
    assert_eq!(wal.last_index(), 50);
    wal.append(Some(&state(2, 50)), &entries(2, 51..53, 10)).expect("no fault");
    drop(wal);
    let recovered = read(&disk, &marker(50, 2)).expect("undamaged");
    assert_eq!(recovered.entries, entries(2, 51..53, 10));
    let from_start = read(&disk, &marker(0, 0)).map_err(|error| error.to_string());
    let refused = from_start.expect_err("entries are missing");
    assert!(refused.ends_with("entry 51 follows entry 3"), "{refused}");
}

#[test]
fn a_marker_that_no_commit_index_reached_takes_nothing_away() {
    // The simulation's seed 147 of five members: a process ended between a snapshot's marker and its commit index.
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 3)), &entries(1, 1..4, 10)).expect("no fault");
    wal.append_marker(&marker(50, 2)).expect("no fault");
    drop(wal);
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, entries(1, 1..4, 10));
}

#[test]
fn an_installed_snapshot_drops_entries_of_a_log_that_went_another_way() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 2)), &entries(1, 1..8, 10)).expect("no fault");
    // Entries 3 to 7 were never committed: a leader of term 3 sent its snapshot at entry 5.
    wal.append(Some(&state(3, 5)), &[]).expect("no fault");
    wal.append_marker(&marker(5, 3)).expect("no fault");
    drop(wal);
    assert_eq!(read(&disk, &marker(5, 3)).expect("undamaged").entries, []);
    let (mut wal, recovered) = open(&disk, &marker(5, 3)).expect("undamaged");
    assert_eq!(recovered.entries, []);
    wal.append(None, &entries(3, 6..8, 10)).expect("no fault");
    assert_eq!(read(&disk, &marker(5, 3)).expect("undamaged").entries, entries(3, 6..8, 10));
    // Nor do they come back for whoever reads from before it: what lies between is not known here.
    assert!(read(&disk, &marker(0, 0)).is_err());
}

#[test]
fn a_marker_at_an_entry_of_the_log_drops_nothing() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 5)), &entries(1, 1..8, 10)).expect("no fault");
    wal.append_marker(&marker(5, 1)).expect("no fault");
    drop(wal);
    assert_eq!(read(&disk, &marker(5, 1)).expect("undamaged").entries, entries(1, 6..8, 10));
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, entries(1, 1..8, 10));
}

/// A member that is told to stop at once marks its log where it began.
#[test]
fn a_log_that_is_marked_again_where_it_began_keeps_what_follows() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 2)), &entries(1, 1..3, 10)).expect("no fault");
    wal.append_marker(&marker(0, 0)).expect("no fault");
    drop(wal);
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, entries(1, 1..3, 10));
}

#[test]
fn a_log_that_begins_with_entries_has_them_or_is_not_there() {
    let first = [entry(1, 1, "a"), entry(1, 2, "b")];
    for operations in 0.. {
        let disk = new_disk();
        let stop_after = Some(disk.operations() + operations);
        disk.set_faults(Faults { stop_after, ..Faults::default() });
        let shared = Arc::new(disk.clone());
        let begun = Wal::create_begun(shared, &dir(), METADATA, SMALL, &state(1, 2), &first);
        let whole = begun.is_ok();
        drop(begun);
        let disk = disk.crash(CrashPolicy::LoseUnsynced);
        if Wal::exists(&disk, &dir()).expect("the disk works again") {
            let (mut wal, recovered) = open(&disk, &marker(0, 0)).expect("undamaged");
            assert_eq!(recovered.entries, first);
            assert_eq!(recovered.hard_state, state(1, 2));
            wal.append(None, &[entry(1, 3, "c")]).expect("no fault");
        } else {
            assert!(!whole, "a log that was begun is there");
        }
        if whole {
            return;
        }
    }
}

#[test]
fn a_marker_counts_only_when_the_commit_has_reached_it() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 2)), &entries(1, 1..4, 10)).expect("no fault");
    wal.append_marker(&marker(2, 1)).expect("no fault");
    wal.append_marker(&marker(3, 1)).expect("no fault");
    let valid = |disk: &MemoryDisk| Wal::valid_markers(disk, &dir()).expect("undamaged");
    assert_eq!(valid(&disk), [marker(0, 0), marker(2, 1)]);
    wal.append(Some(&state(1, 3)), &[]).expect("no fault");
    assert_eq!(valid(&disk), [marker(0, 0), marker(2, 1), marker(3, 1)]);
}

#[test]
fn reading_from_a_snapshot_the_log_does_not_know_is_refused() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(4, 9)), &entries(4, 1..10, 10)).expect("no fault");
    wal.append_marker(&marker(5, 4)).expect("no fault");
    drop(wal);
    let unknown = read(&disk, &marker(6, 4));
    assert!(matches!(unknown, Err(OpenError::MarkerNotFound { index: 6, term: 4, .. })));
    let other_term = read(&disk, &marker(5, 3));
    assert!(matches!(other_term, Err(OpenError::MarkerMismatch { term: 3, found: 4, .. })));
}

#[test]
fn segments_are_released_as_etcd_does_and_never_beyond_a_durable_marker() {
    let disk = new_disk();
    let mut wal = create(&disk);
    for entry in entries(1, 1..101, 500) {
        wal.append(Some(&state(1, entry.index)), &[entry]).expect("no fault");
    }
    let before = files(&disk);
    wal.append_marker(&marker(60, 1)).expect("no fault");
    wal.release_to(60, 1).expect("no fault");
    assert_eq!(files(&disk), before, "the marker is not durable");
    wal.sync().expect("no fault");
    wal.release_to(100, 1).expect("no fault");
    // The segment that holds 60 is the last that begins before it; the one before it stays too.
    let index_of = |name: &str| u64::from_str_radix(&name[17..33], 16).expect("hex digits");
    let first = before.iter().position(|name| index_of(name) >= 60).expect("there are 100") - 1;
    assert_eq!(files(&disk), before[first..]);
    assert_eq!(read(&disk, &marker(60, 1)).expect("undamaged").entries, entries(1, 61..101, 500));
    let refused = read(&disk, &marker(0, 0));
    assert!(matches!(refused, Err(OpenError::NoSegment { index: 0, .. })));

    wal.append_marker(&marker(100, 1)).expect("no fault");
    wal.sync().expect("no fault");
    wal.release_to(100, 5).expect("no fault");
    assert_eq!(files(&disk).len(), 5);
}

#[test]
fn a_recycled_segment_shows_nothing_of_what_it_held() {
    let disk = new_disk();
    let mut wal = create(&disk);
    let mut recycled = 0;
    for index in 1..400 {
        wal.append(Some(&state(1, index)), &entries(1, index..index + 1, 300)).expect("no fault");
        while wal.prepare_next().expect("no fault") {}
        let tail = read_all(&disk, &last_file(&disk)).expect("it is there");
        let end = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        assert!(end <= 4096 + 400);
        wal.append_marker(&marker(index, 1)).expect("no fault");
        wal.sync().expect("no fault");
        wal.release_to(index, 2).expect("no fault");
        recycled += u64::from(disk.exists(&dir().join("spare.tmp")).expect("alive"));
        let recovered = read(&disk, &marker(index, 1)).expect("undamaged");
        assert_eq!(recovered.entries, []);
        assert!(files(&disk).len() <= 3);
    }
    assert!(recycled > 100);
}

#[test]
fn the_spare_is_prepared_on_another_thread_while_the_log_goes_on() {
    let disk = new_disk();
    let mut wal = create(&disk);
    let all = entries(1, 1..60, 500);
    let mut prepared = 0;
    let mut away = None;
    for entry in &all {
        if away.is_none() {
            away = wal.preparation().map(|step| std::thread::spawn(move || step.run()));
        } else if entry.index % 3 == 0
            && let Some(thread) = away.take()
        {
            wal.prepared(thread.join().expect("no panic")).expect("no fault");
            prepared += 1;
        }
        wal.append(None, std::slice::from_ref(entry)).expect("no fault");
    }
    assert!(prepared > 5);
    assert_eq!(read(&disk, &marker(0, 0)).expect("undamaged").entries, all);
}

#[test]
fn a_log_is_made_once_and_opened_by_one() {
    let disk = new_disk();
    assert!(!Wal::exists(&disk, &dir()).expect("alive"));
    let wal = create(&disk);
    assert!(Wal::exists(&disk, &dir()).expect("alive"));
    let again = Wal::create(Arc::new(disk.clone()), &dir(), METADATA);
    assert!(matches!(again, Err(CreateError::Exists { .. })));
    assert!(matches!(open(&disk, &marker(0, 0)), Err(OpenError::Locked { .. })));
    drop(wal);
    assert!(open(&disk, &marker(0, 0)).is_ok());
}

#[test]
fn a_log_can_be_made_in_an_empty_directory_that_exists() {
    let disk = new_disk();
    disk.create_dir_all(&dir()).expect("no fault");
    disk.create(&dir().join("lost+found")).expect("no fault");
    assert!(!Wal::exists(&disk, &dir()).expect("alive"));
    drop(create(&disk));
    assert!(open(&disk, &marker(0, 0)).is_ok());
    assert!(!disk.exists(&dir().with_extension("tmp")).expect("alive"));
}

#[test]
fn two_segments_of_different_members_are_refused() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 1)), &entries(1, 1..20, 300)).expect("no fault");
    drop(wal);
    // The same log again with other metadata: its second segment fits the first by number.
    let other = new_disk();
    let mut wal =
        Wal::create_with(Arc::new(other.clone()), &dir(), b"somebody", SMALL).expect("no fault");
    wal.append(Some(&state(1, 1)), &entries(1, 1..20, 300)).expect("no fault");
    let foreign = read_all(&other, &last_file(&other)).expect("it is there");
    let file = disk.open(&last_file(&disk)).expect("it is there");
    file.set_len(0).expect("no fault");
    file.write_all_at(&foreign, 0).expect("no fault");
    assert!(matches!(
        read(&disk, &marker(0, 0)),
        Err(OpenError::Damaged { damage: Damage::Chain { .. }, .. })
    ));
}

#[test]
fn a_missing_segment_is_named() {
    let disk = new_disk();
    let mut wal = create(&disk);
    wal.append(Some(&state(1, 1)), &[]).expect("no fault");
    for index in 1..40 {
        wal.append(None, &entries(1, index..index + 1, 500)).expect("no fault");
    }
    drop(wal);
    let names = files(&disk);
    disk.remove(&dir().join(&names[1])).expect("no fault");
    let refused = read(&disk, &marker(0, 0)).expect_err("a hole").to_string();
    assert_eq!(refused, format!("{}/{} does not follow {}", dir().display(), names[2], names[0]));
}

#[test]
fn entries_are_read_back_from_the_files_while_the_log_goes_on() {
    let disk = new_disk();
    let mut wal = create(&disk);
    let all = entries(1, 1..400, 300);
    for group in all.chunks(9) {
        wal.append(Some(&state(1, group[0].index)), group).expect("no fault");
    }
    wal.sync().expect("no fault");
    assert!(wal.segments() > 20);
    let read = |wal: &Wal, first, last, bytes_max| {
        wal.reading(first, last, bytes_max).map(|reading| reading.run().expect("undamaged"))
    };
    for first in [1, 2, 57, 398] {
        let found = read(&wal, first, 399, u64::MAX).expect("all is there");
        assert_eq!(found, all[first as usize - 1..]);
    }
    assert_eq!(read(&wal, 50, 60, u64::MAX).expect("all is there"), all[49..60]);
    assert_eq!(read(&wal, 50, 399, 1000).expect("all is there"), all[49..53]);
    assert_eq!(read(&wal, 50, 399, 0).expect("all is there").len(), 0);
    assert_eq!(read(&wal, 400, 401, u64::MAX), None);

    // What was replaced is never read, wherever it begins; nor after another start.
    wal.append(Some(&state(2, 300)), &entries(2, 301..350, 300)).expect("no fault");
    let expected = [&all[..300], &entries(2, 301..350, 300)[..]].concat();
    for first in [1, 299, 300, 301, 349] {
        let found = read(&wal, first, 1000, u64::MAX).expect("all is there");
        assert_eq!(found, expected[first as usize - 1..]);
    }
    drop(wal);
    let (mut wal, _) = open(&disk, &marker(0, 0)).expect("undamaged");
    wal.append(None, &entries(2, 350..360, 300)).expect("no fault");
    let found = read(&wal, 250, 1000, u64::MAX).expect("all is there");
    assert_eq!(found.len(), 110);
    assert_eq!(found[..100], expected[249..]);

    // What was let go is not there, also for whoever had begun to read it.
    let begun = wal.reading(1, 10, u64::MAX).expect("all is there");
    wal.append_marker(&marker(300, 1)).expect("no fault");
    wal.sync().expect("no fault");
    wal.release_to(300, 1).expect("no fault");
    assert_eq!(read(&wal, 1, 10, u64::MAX), None);
    assert!(begun.run().is_err());
    assert_eq!(read(&wal, 300, 310, u64::MAX).expect("all is there").len(), 11);
}

#[test]
fn a_segment_is_a_quarter_of_etcds() {
    assert_eq!(Options::default().segment_bytes, 16_000_000);
}

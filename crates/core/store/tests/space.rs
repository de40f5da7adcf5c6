//! What is dead leaves the disk, and what lives is not written more often than needed.

mod support;

use bytes::Bytes;
use holdfast_store::{
    Batch, Bucket, CleanProgress, Options, ScrubDone, StateChange, Store, StoreError, SyncHandle,
};
use support::{Chance, Model, check_reopened, image, open, small};
use types::{KeyValueRef, Revision, Row, encode_row};
use vfs::{CrashPolicy, Disk, Faults, MemoryDisk};

const MIB: u64 = 1 << 20;

fn row(main: i64, key: &[u8], value_bytes: usize) -> Row {
    let value = vec![main as u8; value_bytes];
    let kv = KeyValueRef {
        key,
        create_revision: 2,
        mod_revision: main,
        version: main - 1,
        value: &value,
        lease: 0,
    };
    encode_row(kv, 0)
}

fn put(store: &mut Store, main: i64, key: &[u8], value_bytes: usize) {
    let index = store.applied_index() + 1;
    let rows = vec![row(main, key, value_bytes)];
    store.append(&Batch { index, term: 1, rows, state: Vec::new() });
    store.flush().expect("the disk works");
}

fn file_bytes(disk: &MemoryDisk) -> u64 {
    let dir = std::path::Path::new(support::DIR);
    let names = disk.list(dir).expect("the directory is there");
    let files = names.iter().map(|name| disk.open_read(&dir.join(name)).expect("it is listed"));
    files.map(|file| file.len().expect("it is open")).sum()
}

#[test]
fn the_log_is_handed_to_the_disk_a_mebibyte_at_a_time_across_its_files() {
    let options = Options { segment_bytes: 3 * MIB, ..Options::default() };
    let mut store = open(&MemoryDisk::new(), options).expect("a new store").0;
    let mut pieces = 0;
    for main in 2..102 {
        put(&mut store, main, b"key", MIB as usize / 10);
        if let Some(piece) = store.write_out() {
            piece.run().expect("the disk works");
            pieces += 1;
            assert!(store.write_out().is_none(), "it has just been");
        }
    }
    // Ten MiB in files of three, whose last piece goes with the sync.
    assert!((7..=10).contains(&pieces), "{pieces}");
    assert_eq!(store.synced_index(), 0, "nothing is told by it");
}

/// The runbook for a full quota of 16 MiB: one key, many large values, compact, defragment.
#[test]
fn after_compaction_and_cleaning_one_overwritten_key_takes_the_space_of_one_value() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, Options::default()).expect("a new store").0;
    for main in 2..18 {
        put(&mut store, main, b"key", MIB as usize);
    }
    assert!(store.sizes().file_bytes > 16 * MIB);
    let dead: Vec<_> = (2..17).map(Revision::first_of).collect();
    store.mark_dead(&dead);
    assert!(store.sizes().live_bytes < MIB + 1000, "{:?}", store.sizes());
    store.clean_all().expect("the disk works");
    assert!(store.sizes().file_bytes < MIB + 20_000, "{:?}", store.sizes());
    assert_eq!(store.sizes().file_bytes, file_bytes(&disk));
    assert_eq!(store.read(Revision::first_of(17)).expect("it lives").value().len(), MIB as usize);
    let missing = store.view().read(Revision::first_of(16)).expect_err("it is gone");
    assert!(matches!(missing, StoreError::Missing { .. }));
}

#[test]
fn cleaning_in_the_background_seals_a_segment_that_is_mostly_dead() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, Options::default()).expect("a new store").0;
    for main in 2..18 {
        put(&mut store, main, b"key", MIB as usize);
    }
    store.mark_dead(&[Revision::first_of(2)]);
    assert!(store.begin_clean().expect("the disk works").is_none(), "one in 16 is not worth it");
    let dead: Vec<_> = (2..17).map(Revision::first_of).collect();
    store.mark_dead(&dead);
    let mut cleaning = store.begin_clean().expect("the disk works").expect("it is worth it");
    while cleaning.step(MIB as usize).expect("the disk works")
        == holdfast_store::CleanProgress::More
    {
        let main = 18 + store.applied_index() as i64 - 16;
        put(&mut store, main, b"other", 100);
    }
    store.finish_clean(cleaning);
    assert!(store.sizes().file_bytes < MIB + 20_000, "{:?}", store.sizes());
    assert!(store.begin_clean().expect("the disk works").is_none());
}

#[test]
fn leases_that_come_and_go_do_not_fill_the_disk() {
    let disk = MemoryDisk::new();
    let options = Options { segment_bytes: MIB, ..Options::default() };
    let mut store = open(&disk, options).expect("a new store").0;
    let lease = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut most = 0;
    for number in 0..40_000u64 {
        let set = StateChange::Set {
            bucket: Bucket::Lease,
            key: lease(number),
            value: vec![7; 30].into(),
        };
        let mut state = vec![set];
        if let Some(old) = number.checked_sub(1000) {
            state.push(StateChange::Delete { bucket: Bucket::Lease, key: lease(old) });
        }
        let index = store.applied_index() + 1;
        store.append(&Batch { index, term: 1, rows: Vec::new(), state });
        if number % 500 == 0 {
            store.flush().expect("the disk works");
            store.clean_step(1 << 20).expect("the disk works");
            most = most.max(store.sizes().file_bytes);
        }
    }
    store.flush().expect("the disk works");
    assert!(most < 3 * MIB, "{most}");
    drop(store);
    let (store, restored) = open(&disk, Options::default()).expect("it was closed in order");
    assert_eq!(restored.applied_index, 40_000);
    assert_eq!(store.state().iter(Bucket::Lease).count(), 1000);
}

#[test]
fn small_neighbours_become_one_segment() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, small()).expect("a new store").0;
    let mut dead = Vec::new();
    for main in 2..400 {
        put(&mut store, main, format!("key-{main}").as_bytes(), 60);
        if main % 10 > 0 {
            dead.push(Revision::first_of(main));
        }
    }
    store.mark_dead(&dead);
    store.clean_all().expect("the disk works");
    let names = disk.list(std::path::Path::new(support::DIR)).expect("the directory is there");
    let segments = names.iter().filter(|name| name.ends_with(".seg")).count();
    assert!(segments <= 3, "{names:?}");
    assert!(store.read(Revision::first_of(390)).is_ok());
    assert_eq!(store.sizes().file_bytes, file_bytes(&disk));
}

/// An image does not know the rows that were dead when it was begun, so nobody marks them again.
#[test]
fn rows_that_were_dead_when_an_image_was_begun_are_cleaned_after_a_restart() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, small()).expect("a new store").0;
    let (mut model, mut chance) = (Model::default(), Chance(5));
    for _ in 0..60 {
        store.append(&model.next_batch(&mut chance, 5, 80));
        store.flush().expect("the disk works");
    }
    let dead = model.compact(model.main());
    store.mark_dead(&dead);
    let mut writer = store.begin_checkpoint(model.main()).expect("the disk works");
    writer.write(&image(&model.at(u64::MAX))).expect("the disk works");
    let done = writer.commit().expect("the disk works");
    store.finish_checkpoint(done);
    drop(store);

    model.synced = model.index();
    let (mut store, _) = check_reopened(&disk, &model);
    store.clean_all().expect("the disk works");
    for revision in dead {
        let missing = store.read(revision).expect_err("it was dead before the restart");
        assert!(matches!(missing, StoreError::Missing { .. }));
    }
    check_reopened(&disk, &model);
}

fn nothing(store: &mut Store) {
    let index = store.applied_index() + 1;
    store.append(&Batch { index, term: 3, ..Batch::default() });
}

fn sync(store: &mut Store) {
    let done = store.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
    store.synced(done);
}

#[test]
fn an_entry_that_changes_nothing_takes_no_byte_and_a_sync_brings_its_index_home() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, Options::default()).expect("a new store").0;
    put(&mut store, 2, b"key", 10);
    let before = store.sizes();
    for _ in 0..10_000 {
        nothing(&mut store);
        store.flush().expect("the disk works");
    }
    assert_eq!(store.sizes(), before);
    sync(&mut store);
    assert_eq!(store.sizes().file_bytes, before.file_bytes + 40, "one frame for all of them");
    assert_eq!(store.sizes().live_bytes, before.live_bytes);
    assert_eq!(store.synced_index(), 10_001);
    sync(&mut store);
    assert_eq!(store.sizes().file_bytes, before.file_bytes + 40, "and none for none");
    drop(store);
    let (store, restored) = open(&disk, Options::default()).expect("it was left in order");
    assert_eq!((restored.applied_index, restored.applied_term), (10_001, 3));
    assert_eq!(store.sizes().live_bytes, before.live_bytes);
}

/// A store that an earlier release filled with frames for entries that changed nothing, 630,000 failed
/// compare-and-puts in 24 MiB, gets its space back.
#[test]
fn frames_without_rows_leave_the_disk_and_a_living_row_before_them_does_not_hold_them() {
    for (segment_bytes, keep_row) in [(3000, true), (3000, false), (1 << 20, true)] {
        let disk = MemoryDisk::new();
        let options = Options { segment_bytes, ..small() };
        let mut store = open(&disk, options).expect("a new store").0;
        let row_bytes = 20 + row(2, b"key", 10).encoded.len() as u64;
        put(&mut store, 2, b"key", 10);
        for _ in 0..500 {
            nothing(&mut store);
            sync(&mut store);
        }
        if !keep_row {
            store.mark_dead(&[Revision::first_of(2)]);
        }
        assert!(store.sizes().file_bytes > 20_000);
        let living = if keep_row { row_bytes } else { 0 };
        assert_eq!(store.sizes().live_bytes, living);
        while store.clean_step(usize::MAX).expect("the disk works") == CleanProgress::More {}
        let other = 8192 + 3000;
        assert!(store.sizes().file_bytes < other, "{:?}", store.sizes());
        assert_eq!(store.view().read(Revision::first_of(2)).is_ok(), keep_row);
        drop(store);
        let (store, restored) = open(&disk, small()).expect("it was left in order");
        assert_eq!(restored.applied_index, 501);
        assert_eq!(store.sizes().live_bytes, living);
    }
}

/// Fills a store with `rows` rows of about 1 KiB, one key each, and marks of ten neighbours so many dead.
fn spread(disk: &MemoryDisk, options: Options, rows: i64, dead_of_ten: i64) -> Store {
    let mut store = open(disk, options).expect("a new store").0;
    for main in 2..2 + rows {
        put(&mut store, main, format!("key-{main}").as_bytes(), 1000);
    }
    let dead = (2..2 + rows).filter(|main| main % 10 < dead_of_ten);
    store.mark_dead(&dead.map(Revision::first_of).collect::<Vec<_>>());
    sync(&mut store);
    store
}

fn clean(store: &mut Store) {
    let mut steps = 0;
    while store.clean_step(usize::MAX).expect("the disk works") == CleanProgress::More {
        steps += 1;
        assert!(steps < 10_000, "cleaning comes to an end");
    }
}

#[test]
fn the_nearer_the_quota_the_less_garbage_is_left_however_evenly_it_is_spread() {
    let options =
        Options { segment_bytes: 64 << 10, clean_garbage_bytes_min: 4 << 10, ..Options::default() };
    let left = |dead_of_ten, quota_percent: Option<u64>| {
        let disk = MemoryDisk::new();
        let store = spread(&disk, options.clone(), 1000, dead_of_ten);
        let file_bytes = store.sizes().file_bytes;
        drop(store);
        let quota_bytes = quota_percent.map(|percent| file_bytes * 100 / percent);
        let mut store = open(&disk, Options { quota_bytes, ..options.clone() }).expect("it is").0;
        let dead = (2..1002).filter(|main| main % 10 < dead_of_ten);
        store.mark_dead(&dead.map(Revision::first_of).collect::<Vec<_>>());
        clean(&mut store);
        let sizes = store.sizes();
        100 * sizes.garbage_bytes() / sizes.file_bytes
    };
    assert!(left(4, Some(100)) < 8, "a full quota leaves next to nothing");
    assert!(left(2, Some(100)) < 8);
    assert!(left(4, Some(95)) < 8);
    assert!(left(3, None) > 25, "without need three of ten are not worth a rewrite");
    assert!(left(3, Some(40)) > 25, "nor far below the quota");
    assert!(left(4, None) < 36, "but nobody keeps two fifths of a store for nothing");
}

#[test]
fn cleaning_on_a_full_disk_leaves_the_last_of_it_to_the_logs_and_makes_room() {
    const SPARE: u64 = 20_000;
    let disk = MemoryDisk::new();
    let options = Options {
        segment_bytes: 64 << 10,
        clean_garbage_bytes_min: 1 << 10,
        clean_spare_bytes: SPARE,
        ..Options::default()
    };
    let mut store = spread(&disk, options, 500, 7);
    let dir = std::path::Path::new(support::DIR);
    let used = store.sizes().file_bytes;
    let free = || disk.space(dir).expect("the directory is there").available_bytes;
    for left in [SPARE / 2, SPARE + 5_000, SPARE + 25_000, SPARE + 100_000] {
        let taken = store.sizes().file_bytes;
        disk.set_faults(Faults { capacity_bytes: Some(taken + left), ..Faults::default() });
        let mut steps = 0;
        loop {
            let progress = store.clean_step(4 << 10).expect("it does not run into the end");
            // The manifest and the marks are small.
            assert!(free() + 4_000 >= SPARE.min(left), "{} of {left} are left", free());
            steps += 1;
            if progress == CleanProgress::Done || steps > 10_000 {
                break;
            }
        }
    }
    assert!(store.sizes().file_bytes < used / 2, "{:?} of {used}", store.sizes());
}

#[test]
fn a_row_that_cannot_be_read_is_lost_alone_and_does_not_stop_the_cleaning_of_others() {
    let disk = MemoryDisk::new();
    let options = Options {
        segment_bytes: 64 << 10,
        clean_garbage_bytes_min: 1 << 10,
        recent_bytes_max: 0,
        ..Options::default()
    };
    let mut store = spread(&disk, options, 1000, 6);
    let before = store.sizes().file_bytes;
    // In the value of a living row in the middle of the third segment.
    let log = std::path::Path::new(support::DIR).join("0000000000000003.log");
    let lost = (130..180).find(|main| {
        let copy = disk.crash(CrashPolicy::KeepAll);
        let bytes = vfs::read_all(&copy, &log).expect("it is there");
        let key = format!("key-{main}");
        let at = bytes.windows(key.len()).position(|window| window == key.as_bytes());
        let Some(at) = at.filter(|_| main % 10 >= 6) else { return false };
        disk.flip_bit(&log, (at as u64 + 100) * 8).expect("the file is that long");
        true
    });
    let lost = lost.expect("it is in that file");
    assert_eq!(store.damages(), []);

    let mut failures = 0;
    loop {
        match store.clean_step(usize::MAX) {
            Ok(CleanProgress::More) => {}
            Ok(CleanProgress::Done) => break,
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                failures += 1;
            }
        }
    }
    assert_eq!(failures, 1, "a damaged segment is not chosen again");
    assert!(store.sizes().file_bytes < before * 6 / 10, "{:?} of {before}", store.sizes());
    let damages = store.damages();
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0].file, "0000000000000003.log");

    let living = (2..1002).filter(|main| main % 10 >= 6);
    for main in living.clone() {
        let read = store.view().read(Revision::first_of(main));
        assert_eq!(read.is_err_and(|error| error.is_damage()), main == lost, "{main}");
    }
    let (mut scan, mut seen, mut passed) = (store.view().scan(Revision::default()), vec![], vec![]);
    loop {
        match scan.next_chunk(10_000) {
            Ok(rows) if rows.is_empty() => break,
            Ok(rows) => seen.extend(rows.iter().map(|row| row.revision.main)),
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                passed.extend(scan.pass());
            }
        }
    }
    assert_eq!(passed, [Revision::first_of(lost)]);
    let seen: Vec<i64> = seen.into_iter().filter(|main| main % 10 >= 6).collect();
    assert!(seen.iter().copied().eq(living.filter(|main| *main != lost)), "all others");
}

/// An end in order while a round is under way: the image must serve the next start.
#[test]
fn a_round_that_is_given_up_leaves_an_image_that_the_next_start_uses() {
    for give_up in [true, false] {
        let disk = MemoryDisk::new();
        let options = Options {
            segment_bytes: 64 << 10,
            clean_garbage_bytes_min: 1 << 10,
            ..Options::default()
        };
        let mut store = spread(&disk, options.clone(), 500, 7);
        let mut round = store.begin_clean().expect("the disk works").expect("it is worth while");
        for _ in 0..3 {
            assert_eq!(round.step(1000).expect("the disk works"), CleanProgress::More);
        }
        if give_up {
            store.give_up_clean();
        }
        let writer = store.begin_checkpoint(501).expect("the disk works");
        let done = writer.commit().expect("the disk works");
        store.finish_checkpoint(done);
        sync(&mut store);
        let mut steps = 0;
        while let Ok(CleanProgress::More) = round.step(usize::MAX) {
            steps += 1;
        }
        assert!(steps < 100);
        drop(store);
        let (mut store, restored) = open(&disk, options).expect("it was left in order");
        assert_eq!(restored.checkpoint.is_some(), give_up);
        if !give_up {
            // Without an image the keys of all rows are read, and pruned for the compaction again.
            let dead = (2..502).filter(|main| main % 10 < 7);
            store.mark_dead(&dead.map(Revision::first_of).collect::<Vec<_>>());
        }
        clean(&mut store);
        assert!(store.sizes().file_bytes < 250_000, "what was dead goes: {:?}", store.sizes());
        for main in (2..502).filter(|main| main % 10 >= 7) {
            assert!(store.read(Revision::first_of(main)).is_ok(), "{main}");
        }
    }
}

#[test]
fn what_comes_back_late_from_another_store_is_passed_over() {
    let disks = [MemoryDisk::new(), MemoryDisk::new()];
    let options =
        Options { segment_bytes: 64 << 10, clean_garbage_bytes_min: 1 << 10, ..Options::default() };
    let mut former = spread(&disks[0], options.clone(), 500, 7);
    let mut store = open(&disks[1], options).expect("a new store").0;
    put(&mut store, 2, b"key", 10);
    let done = former.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
    store.synced(done);
    assert_eq!(store.synced_index(), 0, "nothing of this one was synced");

    let mut scrub = former.begin_scrub(1, 1).expect("none was ever done");
    while !scrub.step(MIB).expect("the disk works") {}
    let before = store.scrubbed();
    assert_eq!(store.finish_scrub(scrub, 1), ScrubDone::default());
    assert_eq!(store.scrubbed(), before, "nothing of this one was read");

    let mut round = former.begin_clean().expect("the disk works").expect("it is worth while");
    while round.step(usize::MAX).expect("the disk works") == CleanProgress::More {}
    store.finish_clean(round);
    let writer = former.begin_checkpoint(501).expect("the disk works");
    let done = writer.commit().expect("the disk works");
    store.finish_checkpoint(done);
    assert_eq!(store.synced_index(), 0);
    assert!(store.read(Revision::first_of(2)).is_ok());
    sync(&mut store);
    assert_eq!(store.synced_index(), 1);
}

/// Descriptors for each byte: a store a thousand times larger does not have a thousand times as many files.
#[test]
fn segments_grow_with_the_store_so_that_their_number_does_not() {
    let disk = MemoryDisk::new();
    let options = Options { segment_bytes: 2000, ..Options::default() };
    let mut store = open(&disk, options).expect("a new store").0;
    let logs = || {
        let names = disk.list(std::path::Path::new(support::DIR)).expect("the directory is there");
        names.iter().filter(|name| name.ends_with(".log")).count()
    };
    let mut main = 2;
    let mut fill = |store: &mut Store, bytes: u64| {
        while store.sizes().file_bytes < bytes {
            put(store, main, b"key", 700);
            main += 1;
        }
    };
    fill(&mut store, 1 << 20);
    let of_one = logs();
    assert!((400..=600).contains(&of_one), "{of_one} files of 2,000 bytes");
    fill(&mut store, 8 << 20);
    assert!(logs() < 4 * of_one, "{} files", logs());
    sync(&mut store);
    drop(store);
    let (store, _) = open(&disk, small()).expect("it was left in order");
    assert_eq!(store.read(Revision::first_of(5)).expect("it is there"), row(5, b"key", 700));
}

/// Bytes that a reader's view holds of files that were replaced: nobody else would count them.
#[test]
fn what_a_view_holds_is_counted_until_it_goes() {
    let disk = MemoryDisk::new();
    let options =
        Options { segment_bytes: 64 << 10, clean_garbage_bytes_min: 1 << 10, ..Options::default() };
    let mut store = spread(&disk, options, 500, 7);
    let before = store.sizes();
    assert_eq!(before.held_bytes, 0);
    let view = store.view();
    clean(&mut store);
    let held = store.sizes();
    assert!(held.held_bytes > before.file_bytes * 8 / 10, "{held:?}");
    assert!(held.file_bytes > before.file_bytes, "{held:?}");
    assert_eq!(held.live_bytes, before.live_bytes);
    drop(view);
    let after = store.sizes();
    assert_eq!(after.held_bytes, 0);
    assert_eq!(after.file_bytes, held.file_bytes - held.held_bytes);
}

//! Files that are not what was written: every bit position, sector, length and file of a store in turn. It is
//! refused with the name of the file, or it is served right: never a wrong value, never a panic.

mod support;

use std::path::{Path, PathBuf};

use holdfast_store::{CleanProgress, OpenError, StoreError, SyncHandle};
use support::{Chance, Model, check, check_restart, image, open, small};
use vfs::{CrashPolicy, Disk, File, MemoryDisk};

fn path(name: &str) -> PathBuf {
    Path::new(support::DIR).join(name)
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    disk.list(Path::new(support::DIR)).expect("the directory is there")
}

fn length(disk: &MemoryDisk, name: &str) -> u64 {
    disk.open_read(&path(name)).and_then(|file| file.len()).expect("it is listed")
}

/// A store with a file of every kind, all of it confirmed as durable.
fn store_with_all_kinds_of_files() -> (MemoryDisk, Model) {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, small()).expect("a new store").0;
    let (mut model, mut chance) = (Model::default(), Chance(3));
    for step in 0..90 {
        store.append(&model.next_batch(&mut chance, 12, 90));
        store.flush().expect("the disk works");
        if step == 60 {
            let dead = model.compact(model.main() - 10);
            store.mark_dead(&dead);
            store.clean_step(usize::MAX).expect("the disk works");
            let mut writer = store.begin_checkpoint(model.main()).expect("the disk works");
            writer.write(&image(&model.at(u64::MAX))).expect("the disk works");
            let done = writer.commit().expect("the disk works");
            store.finish_checkpoint(done);
        }
        if step > 55 && step < 66 {
            store.clean_step(usize::MAX).expect("the disk works");
        }
        if step % 7 == 0 {
            let done = store.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
            store.synced(done);
        }
    }
    // A round that is under way has files that no manifest lists yet: the next start removes them.
    while store.clean_step(usize::MAX).expect("the disk works") == CleanProgress::More {}
    let done = store.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
    store.synced(done);
    model.synced = done.index;
    for kind in ["manifest", "synced", ".log", ".seg", ".marks", ".state", ".index"] {
        assert!(names(&disk).iter().any(|name| name.ends_with(kind)), "{:?}", names(&disk));
    }
    let logs = names(&disk).iter().filter(|name| name.ends_with(".log")).count();
    assert!(logs > 2, "sealed ones too");
    (disk, model)
}

#[derive(Debug, Default)]
struct Outcomes {
    served: u32,
    refused_at_open: u32,
    refused_later: u32,
}

impl Outcomes {
    /// Opens a store after something was done to `name`.
    fn look(&mut self, disk: &MemoryDisk, model: &Model, name: &str) {
        let (store, restored) = match open(disk, small()) {
            Ok(opened) => opened,
            Err(error) => {
                self.refused_at_open += 1;
                return assert_names(&error, name);
            }
        };
        assert_eq!(restored.applied_index, model.index(), "nothing that was confirmed is cut");
        let read = check(&store, model, model.index())
            .and_then(|()| check_restart(&store, &restored, model, true))
            .and_then(|()| check_restart(&store, &restored, model, false));
        match read {
            Ok(()) => self.served += 1,
            Err(StoreError::Damaged(damage)) => {
                assert_eq!(damage.file, name);
                self.refused_later += 1;
            }
            Err(error) => panic!("{error}"),
        }
        // Cleaning does not spread the damage.
        let mut store = store;
        match store.clean_all() {
            Ok(()) | Err(StoreError::Damaged(_)) => {}
            Err(error) => panic!("{error}"),
        }
        match check(&store, model, model.index()) {
            Ok(()) | Err(StoreError::Damaged(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The refusal names the file, or, where two files contradict each other, one of the two.
fn assert_names(error: &OpenError, name: &str) {
    match error {
        OpenError::Store(StoreError::Damaged(damage)) => assert_eq!(damage.file, name, "{error}"),
        OpenError::MissingFile { file } | OpenError::NewerFormat { file, .. } => {
            assert_eq!(file, name, "{error}");
        }
        OpenError::Store(other) => panic!("{other}"),
    }
}

/// Does one thing to a fresh copy of the disk at each of many places of each file.
fn everywhere(step: u64, harm: impl Fn(&MemoryDisk, &str, u64)) -> Outcomes {
    let (disk, model) = store_with_all_kinds_of_files();
    let mut outcomes = Outcomes::default();
    for name in names(&disk) {
        let length = length(&disk, &name);
        for place in (0..length).step_by(step as usize) {
            let copy = disk.crash(CrashPolicy::KeepAll);
            harm(&copy, &name, place);
            outcomes.look(&copy, &model, &name);
        }
    }
    println!("{outcomes:?}");
    outcomes
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_costs_nothing() {
    let outcomes = everywhere(5, |disk, name, byte| {
        let bit = byte * 8 + byte / 5 % 8;
        disk.flip_bit(&path(name), bit).expect("the file is that long");
    });
    assert!(outcomes.served > 100, "footers, images and the second record can be done without");
    assert!(outcomes.refused_at_open > 100);
    assert!(
        outcomes.refused_later > 100,
        "rows of sealed segments are verified when they are read"
    );
}

#[test]
fn a_zeroed_sector_anywhere_is_refused_or_costs_nothing() {
    everywhere(512, |disk, name, byte| {
        disk.zero_sector(&path(name), byte).expect("the file is that long");
    });
}

#[test]
fn a_file_cut_anywhere_is_refused_or_costs_nothing() {
    everywhere(7, |disk, name, bytes| {
        disk.truncate(&path(name), bytes).expect("the file is that long");
    });
}

#[test]
fn a_missing_file_is_refused_by_name_except_the_image() {
    let (disk, model) = store_with_all_kinds_of_files();
    for name in names(&disk) {
        let copy = disk.crash(CrashPolicy::KeepAll);
        copy.remove(&path(&name)).expect("it is there");
        let mut outcomes = Outcomes::default();
        outcomes.look(&copy, &model, &name);
        assert_eq!(outcomes.served == 1, name.ends_with(".index"), "{name}: {outcomes:?}");
    }
}

#[test]
fn a_file_with_bytes_added_is_served_or_refused() {
    let (disk, model) = store_with_all_kinds_of_files();
    for name in names(&disk) {
        for bytes in [1, 64, 4096] {
            let copy = disk.crash(CrashPolicy::KeepAll);
            let file = copy.open(&path(&name)).expect("it is there");
            file.write_all_at(&vec![0x5a; bytes], length(&disk, &name)).expect("there is room");
            Outcomes::default().look(&copy, &model, &name);
        }
    }
}

#[test]
fn a_file_in_the_place_of_another_is_refused() {
    let (disk, _) = store_with_all_kinds_of_files();
    let segments = names(&disk);
    let segments: Vec<_> =
        segments.iter().filter(|name| name.ends_with(".log") || name.ends_with(".seg")).collect();
    for pair in segments.windows(2) {
        let copy = disk.crash(CrashPolicy::KeepAll);
        let bytes = vfs::read_all(&copy, &path(pair[0])).expect("it is there");
        copy.truncate(&path(pair[1]), 0).expect("it is there");
        let file: std::sync::Arc<dyn File> = copy.open(&path(pair[1])).expect("it is there");
        file.write_all_at(&bytes, 0).expect("there is room");
        assert_names(&open(&copy, small()).expect_err("it is another file"), pair[1]);
    }
}

/// What was confirmed must never be taken for a torn tail, even where the record of it is all that tells.
#[test]
fn damage_in_the_last_confirmed_batch_is_refused_after_a_power_cut() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, small()).expect("a new store").0;
    let (mut model, mut chance) = (Model::default(), Chance(1));
    for _ in 0..12 {
        store.append(&model.next_batch(&mut chance, 8, 60));
        store.flush().expect("the disk works");
        let done = store.sync_handle().and_then(SyncHandle::sync).expect("the disk works");
        store.synced(done);
    }
    drop(store);
    let disk = disk.crash(CrashPolicy::LoseUnsynced);
    let log = "0000000000000001.log";
    let length = length(&disk, log);
    for back in 1..200 {
        let copy = disk.crash(CrashPolicy::KeepAll);
        copy.flip_bit(&path(log), (length - back) * 8 + back % 8).expect("it is that long");
        assert_names(&open(&copy, small()).expect_err("it was confirmed"), log);
    }
}

#[test]
fn a_running_store_reads_right_or_refuses_when_a_file_rots_under_it() {
    let (disk, model) = store_with_all_kinds_of_files();
    let segments: Vec<_> = names(&disk)
        .into_iter()
        .filter(|name| name.ends_with(".log") || name.ends_with(".seg"))
        .collect();
    for name in segments {
        for byte in (0..length(&disk, &name)).step_by(31) {
            let copy = disk.crash(CrashPolicy::KeepAll);
            let (mut store, restored) = open(&copy, small()).expect("it is intact");
            copy.flip_bit(&path(&name), byte * 8 + byte % 8).expect("it is that long");
            for _ in 0..2 {
                match check(&store, &model, model.index())
                    .and_then(|()| check_restart(&store, &restored, &model, false))
                    .and_then(|()| store.clean_all())
                {
                    Ok(()) | Err(StoreError::Damaged(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

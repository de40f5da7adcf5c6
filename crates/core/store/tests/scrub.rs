//! Scrubbing: what is whole is found whole, what has rotted is found, and what is in memory as well is mended.

mod support;

use std::path::{Path, PathBuf};

use holdfast_store::{Batch, Bucket, Damage, ScrubDone, StateChange, Store, StoreError};
use types::{KeyValueRef, Revision, encode_row};
use vfs::{CrashPolicy, Disk, MemoryDisk};

use crate::support::{DIR, open, small};

const DAY_S: u64 = 86_400;
const NOW_S: u64 = 1_000_000;

/// A store of many sealed segments, some cleaned, with small state, marks and an image.
fn store() -> (MemoryDisk, Store) {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk, small()).expect("a new store");
    let mut dead = Vec::new();
    for index in 1..=200 {
        let main = index as i64 + 1;
        let key = format!("key {}", index % 20);
        let value = vec![index as u8; 80];
        let kv = KeyValueRef {
            key: key.as_bytes(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: &value,
            lease: 0,
        };
        let state = vec![StateChange::Set {
            bucket: Bucket::Lease,
            key: format!("lease {}", index % 5).into(),
            value: vec![index as u8; 20].into(),
        }];
        store.append(&Batch { index, term: 1, rows: vec![encode_row(kv, 0)], state });
        if 20 < main {
            dead.push(Revision::first_of(main - 20));
        }
    }
    store.flush().expect("memory");
    let synced = store.sync_handle().expect("memory").sync().expect("memory");
    store.synced(synced);
    store.mark_dead(&dead[..100]);
    store.clean_all().expect("memory");
    let mut image = store.begin_checkpoint(201).expect("memory");
    image.write(&[7; 5000]).expect("memory");
    let done = image.commit().expect("memory");
    store.finish_checkpoint(done);
    (disk, store)
}

/// Scrubs a whole pass.
fn pass(store: &mut Store, now_s: u64) -> Result<ScrubDone, StoreError> {
    let mut all = ScrubDone::default();
    for _ in 0..1000 {
        let Some(mut scrub) = store.begin_scrub(now_s, DAY_S) else { return Ok(all) };
        while !scrub.step(500)? {}
        let ScrubDone { bytes, is_last, healed } = store.finish_scrub(scrub, now_s);
        all.bytes += bytes;
        all.is_last |= is_last;
        all.healed.extend(healed);
    }
    panic!("a pass does not end")
}

fn files(disk: &MemoryDisk, suffix: &str) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).expect("it is there");
    let names = names.iter().filter(|name| name.ends_with(suffix));
    names.map(|name| Path::new(DIR).join(name)).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("names are text")
}

#[test]
fn what_is_whole_is_read_once_a_pass_and_found_whole() {
    let (disk, mut store) = store();
    let done = pass(&mut store, NOW_S).expect("memory");
    assert!(done.is_last && done.healed.is_empty());
    let sealed = store.sizes().file_bytes;
    assert!(sealed / 2 < done.bytes && done.bytes < sealed, "{} of {sealed}", done.bytes);
    assert_eq!(store.damages(), []);
    assert_eq!(store.scrubbed().clean_s, NOW_S);
    assert!(store.begin_scrub(NOW_S + DAY_S - 1, DAY_S).is_none(), "it rests");

    // And so it does after a restart.
    drop(store);
    let (mut store, _) = open(&disk, small()).expect("nothing is damaged");
    assert_eq!(store.scrubbed().clean_s, NOW_S);
    assert!(store.begin_scrub(NOW_S + DAY_S - 1, DAY_S).is_none());
    assert!(store.begin_scrub(NOW_S + DAY_S, DAY_S).is_some());
}

#[test]
fn a_pass_goes_on_where_the_last_run_left_it() {
    let (disk, mut store) = store();
    let whole = pass(&mut store, NOW_S).expect("memory").bytes;
    let mut read = 0;
    for piece in 0.. {
        let Some(mut scrub) = store.begin_scrub(NOW_S + DAY_S + piece, DAY_S) else { break };
        while !scrub.step(u64::MAX).expect("memory") {}
        read += store.finish_scrub(scrub, NOW_S + DAY_S + piece).bytes;
        drop(store);
        store = open(&disk, small()).expect("nothing is damaged").0;
    }
    assert_eq!(read, whole);
    assert!(NOW_S < store.scrubbed().clean_s);
}

#[test]
fn a_flipped_bit_in_any_sealed_frame_is_found_and_the_rest_stays_readable() {
    let (disk, store) = store();
    drop(store);
    let segments = [files(&disk, ".seg"), files(&disk, ".log")].concat();
    let mut found = 0;
    for path in &segments {
        let bytes = disk.open_read(path).expect("it is there").len().expect("memory");
        for byte in (0..bytes).step_by(61) {
            let (mut store, _) = open(&disk, small()).expect("nothing is damaged");
            disk.flip_bit(path, byte * 8 + byte % 8).expect("the file is that long");
            pass(&mut store, NOW_S + byte).expect("memory");
            let damages = store.damages();
            let here = damages.iter().filter(|damage| damage.file == name(path)).count();
            assert_eq!(here, damages.len(), "{damages:?}");
            if here > 0 {
                found += 1;
                assert_ne!(store.scrubbed().clean_s, NOW_S + byte);
            }
            disk.flip_bit(path, byte * 8 + byte % 8).expect("the file is that long");
            drop(store);
            disk.remove(&Path::new(DIR).join("scrub")).expect("it is there");
        }
    }
    assert!(20 < found, "{found} were found");
}

/// Damages a file under a running store, scrubs, cleans, and starts again.
#[track_caller]
fn check_healed(suffix: &str) {
    let (disk, mut store) = store();
    let path = files(&disk, suffix).pop().expect("it is there");
    let bytes = disk.open_read(&path).expect("it is there").len().expect("memory");
    disk.flip_bit(&path, (bytes - 8) * 8).expect("the file is that long");
    let rotten = disk.crash(CrashPolicy::KeepAll);
    assert!(open(&rotten, small()).is_err(), "a start would refuse it");

    let done = pass(&mut store, NOW_S).expect("memory");
    let healed: Vec<&Damage> = done.healed.iter().collect();
    assert!(matches!(healed[..], [damage] if damage.file == name(&path)), "{healed:?}");
    let before = store.state().clone();
    store.clean_all().expect("memory");
    drop(store);
    let (mut store, restored) = open(&disk, small()).expect("it was mended");
    assert_eq!(restored.applied_index, 200);
    assert!(store.state().iter(Bucket::Lease).eq(before.iter(Bucket::Lease)));
    let done = pass(&mut store, NOW_S + DAY_S).expect("memory");
    assert!(done.is_last && done.healed.is_empty());
}

#[test]
fn small_files_that_are_in_memory_as_well_are_written_anew() {
    for suffix in [".state", ".marks", "manifest"] {
        check_healed(suffix);
    }
}

//! What is whole of a damaged store comes out, and nothing that never was.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_store::{Batch, Bucket, Salvaged, StateChange, Store, salvage};
use types::{KeyValueRef, Revision, Row, encode_row, encode_tombstone};
use vfs::{Disk, MemoryDisk};

use crate::support::{DIR, open, small};

fn row(key: &str, main: i64) -> Row {
    let kv = KeyValueRef {
        key: key.as_bytes(),
        create_revision: main,
        mod_revision: main,
        version: 1,
        value: &[main as u8; 70],
        lease: 0,
    };
    encode_row(kv, 0)
}

/// Keys that come, change and go, compacted and cleaned, with segments, logs, state and marks.
fn store() -> (MemoryDisk, Store) {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk, small()).expect("a new store");
    let mut dead = Vec::new();
    for index in 1..=160_u64 {
        let main = index as i64 + 1;
        let key = format!("key {}", index % 16);
        let deletes = 32 < index && index % 16 < 4;
        let revision = Revision::first_of(main);
        let row =
            if deletes { encode_tombstone(key.as_bytes(), revision) } else { row(&key, main) };
        let state = vec![StateChange::Set {
            bucket: Bucket::Lease,
            key: format!("lease {}", index % 5).into(),
            value: vec![index as u8; 20].into(),
        }];
        store.append(&Batch { index, term: 3, rows: vec![row], state });
        if 16 < index && index <= 100 {
            dead.push(Revision::first_of(main - 16));
        }
        if deletes && index <= 100 {
            dead.push(revision);
        }
        if index == 130 {
            store.flush().expect("memory");
            store.mark_dead(&dead);
            store.clean_all().expect("memory");
        }
    }
    store.flush().expect("memory");
    let synced = store.sync_handle().expect("memory").sync().expect("memory");
    store.synced(synced);
    (disk, store)
}

fn salvaged(disk: &MemoryDisk) -> (Vec<Row>, Salvaged) {
    let mut rows = Vec::new();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let out = salvage(disk, Path::new(DIR), &mut |row| {
        rows.push(row);
        Ok(())
    });
    (rows, out.expect("the directory is there"))
}

fn newest(rows: &[Row]) -> BTreeMap<Bytes, &Row> {
    rows.iter().map(|row| (row.key_bytes(), row)).collect()
}

#[test]
fn of_a_whole_store_everything_comes_out() {
    let (disk, store) = store();
    let (rows, out) = salvaged(&disk);
    assert_eq!((out.losses_count, out.newest_lost, out.rows), (0, 0, rows.len() as u64));
    assert_eq!((out.applied_index, out.applied_term), (160, 3));
    assert_eq!(
        rows,
        store.view().scan(Revision::default()).next_chunk(usize::MAX).expect("memory")
    );
    assert!(out.state.iter(Bucket::Lease).eq(store.state().iter(Bucket::Lease)));
}

#[test]
fn wherever_one_bit_is_flipped_what_comes_out_was_there_and_what_does_not_is_told() {
    let (disk, store) = store();
    drop(store);
    let (rows, _) = salvaged(&disk);
    let (newest_before, by_revision) = (newest(&rows), {
        let by = rows.iter().map(|row| (row.revision, row));
        by.collect::<BTreeMap<_, _>>()
    });
    let mut with_keys = 0;
    for name in disk.list(Path::new(DIR)).expect("it is there") {
        let path = Path::new(DIR).join(&name);
        let bytes = disk.open_read(&path).expect("it is there").len().expect("memory");
        for byte in (0..bytes).step_by(19) {
            disk.flip_bit(&path, byte * 8 + byte % 8).expect("the file is that long");
            let (found, out) = salvaged(&disk);
            let story = format!("{name}: byte {byte}: {:?}", out.losses);
            let mut replaced = 0;
            for row in &found {
                match by_revision.get(&row.revision) {
                    Some(known) if *known == row => {}
                    known if row.tombstone => {
                        replaced += 1;
                        assert!(known.is_none_or(|known| known.key() == row.key()), "{story}");
                    }
                    // Without the marks, or the manifest, rows are met that were dead already.
                    None => assert!(!name.ends_with(".log") && !name.ends_with(".seg"), "{story}"),
                    Some(known) => panic!("{row:?} for {known:?}: {story}"),
                }
            }
            if out.losses_count == 0 {
                assert!(found == rows && replaced == 0, "{story}");
            }
            let told = |key: &Bytes| out.losses.iter().any(|loss| loss.key.as_ref() == Some(key));
            let untold = out.losses.iter().any(|loss| loss.key.is_none());
            for (key, now) in newest(&found) {
                with_keys += u32::from(told(&key));
                let is_newest = newest_before.get(&key).is_some_and(|before| *before == now);
                assert!(is_newest || untold || (now.tombstone && told(&key)), "{key:?}: {story}");
            }
            disk.flip_bit(&path, byte * 8 + byte % 8).expect("the file is that long");
        }
    }
    assert!(with_keys > 20, "{with_keys}");
}

#[test]
fn a_missing_file_costs_what_was_in_it() {
    let (disk, store) = store();
    drop(store);
    let (rows, _) = salvaged(&disk);
    for name in disk.list(Path::new(DIR)).expect("it is there") {
        let rotten = disk.crash(vfs::CrashPolicy::KeepAll);
        rotten.remove(&Path::new(DIR).join(&name)).expect("it is there");
        let (found, out) = salvaged(&rotten);
        let story = format!("{name}: {:?}", out.losses);
        assert!(found.windows(2).all(|pair| pair[0].revision < pair[1].revision), "{story}");
        let missing = rows.iter().filter(|row| !found.contains(row)).count();
        assert!(missing == 0 || out.losses_count > 0 || name.ends_with(".log"), "{story}");
    }
}

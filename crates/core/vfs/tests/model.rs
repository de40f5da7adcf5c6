//! A vector of bytes, and a map of names, beside both disks, under random operations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_vfs::{CrashPolicy, Disk, File, MemoryDisk, OsDisk};

const STEPS: usize = 400;
const FILE_BYTES_MAX: u64 = 20_000;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a file should hold, now and after a power cut that loses all it may.
#[derive(Default)]
struct Model {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl Model {
    fn overwrite(&mut self, bytes: &[u8], offset: u64) {
        let end = offset as usize + bytes.len();
        if !bytes.is_empty() {
            self.now.resize(self.now.len().max(end), 0);
            self.now[offset as usize..end].copy_from_slice(bytes);
        }
    }
}

fn step(chance: &mut Chance, file: &Arc<dyn File>, model: &mut Model) {
    let offset = chance.below(FILE_BYTES_MAX);
    let count = chance.below(6000);
    match chance.below(10) {
        0..=4 => {
            let bytes: Vec<u8> = (0..count).map(|_| chance.below(256) as u8).collect();
            file.write_all_at(&bytes, offset).expect("no fault");
            model.overwrite(&bytes, offset);
        }
        5 | 6 => {
            file.zero_fill(offset, offset + count).expect("no fault");
            model.overwrite(&vec![0; count as usize], offset);
        }
        7 => {
            file.set_len(offset).expect("no fault");
            model.now.resize(offset as usize, 0);
        }
        _ => {
            file.sync_data().expect("no fault");
            model.synced = model.now.clone();
        }
    }
}

fn check_content(file: &Arc<dyn File>, expected: &[u8]) {
    assert_eq!(file.len().expect("alive"), expected.len() as u64);
    // More than there is: a read past the end is short, not an error.
    let mut content = vec![1; expected.len() + 5000];
    let mut read = 0;
    loop {
        let count = file.read_at(&mut content[read..], read as u64).expect("alive");
        read += count;
        if count == 0 {
            break;
        }
    }
    assert!(content[..read] == *expected, "the bytes differ");
}

fn run(disk: &dyn Disk, dir: &Path, seed: u64, after_step: impl Fn(&Path, &Model)) {
    println!("seed {seed}");
    let mut chance = Chance(seed);
    disk.create_dir_all(dir).expect("no fault");
    let path = dir.join("f");
    let file = disk.create(&path).expect("the directory is empty");
    disk.sync_dir(dir).expect("no fault");
    let mut model = Model::default();
    for _ in 0..STEPS {
        step(&mut chance, &file, &mut model);
        check_content(&file, &model.now);
        after_step(&path, &model);
    }
    check_content(&disk.open_read(&path).expect("it is there"), &model.now);
    assert_eq!(disk.list(dir).expect("it is there"), ["f"]);
}

#[test]
fn the_operating_systems_disk_does_what_a_vector_of_bytes_does() {
    for seed in 0..4 {
        let root = tempfile::tempdir().expect("a temporary directory");
        run(&OsDisk, &root.path().join("d"), seed, |_, _| {});
    }
}

#[test]
fn the_disk_in_memory_does_the_same_and_loses_just_what_was_not_synced() {
    for seed in 0..8 {
        let disk = MemoryDisk::new();
        let crashing = disk.clone();
        run(&disk, &PathBuf::from("/d"), seed, |path, model| {
            let kept = crashing.crash(CrashPolicy::KeepAll);
            check_content(&kept.open(path).expect("its name is durable"), &model.now);
            let lost = crashing.crash(CrashPolicy::LoseUnsynced);
            check_content(&lost.open(path).expect("its name is durable"), &model.synced);
        });
    }
}

/// Which name leads to which content, now and when the directory was last synced.
type NameMap = BTreeMap<String, Vec<u8>>;

fn check_names(disk: &dyn Disk, dir: &Path, expected: &NameMap) {
    let found = disk.list(dir).expect("alive").into_iter();
    let found = found.map(|name| {
        let content = vfs_read(disk, &dir.join(&name));
        (name, content)
    });
    assert_eq!(found.collect::<NameMap>(), *expected);
}

fn vfs_read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    holdfast_vfs::read_all(disk, path).expect("it is listed")
}

fn run_names(disk: &dyn Disk, dir: &Path, seed: u64, after_step: impl Fn(&NameMap, &NameMap)) {
    println!("seed {seed}");
    let mut chance = Chance(seed);
    disk.create_dir_all(dir).expect("no fault");
    let (mut now, mut synced) = (NameMap::new(), NameMap::new());
    for step in 0..STEPS {
        let [name, other] = [(); 2].map(|()| format!("f{}", chance.below(6)));
        let (path, there) = (dir.join(&name), now.contains_key(&name));
        match chance.below(8) {
            0..=2 => {
                let created = disk.create(&path);
                assert_eq!(created.is_err(), there);
                if let Ok(file) = created {
                    let content = step.to_le_bytes().to_vec();
                    file.write_all_at(&content, 0).expect("no fault");
                    file.sync_data().expect("no fault");
                    now.insert(name, content);
                }
            }
            3 | 4 => {
                assert_eq!(disk.rename(&path, &dir.join(&other)).is_ok(), there);
                if let Some(content) = now.remove(&name) {
                    now.insert(other, content);
                }
            }
            5 | 6 => {
                assert_eq!(disk.remove(&path).is_ok(), there);
                now.remove(&name);
            }
            _ => {
                disk.sync_dir(dir).expect("no fault");
                synced = now.clone();
            }
        }
        check_names(disk, dir, &now);
        after_step(&now, &synced);
    }
}

#[test]
fn names_lead_on_both_disks_where_a_map_says() {
    for seed in 0..4 {
        let root = tempfile::tempdir().expect("a temporary directory");
        run_names(&OsDisk, &root.path().join("d"), seed, |_, _| {});
        let (disk, dir) = (MemoryDisk::new(), Path::new("/d"));
        run_names(&disk, dir, seed, |now, synced| {
            check_names(&disk.crash(CrashPolicy::KeepAll), dir, now);
            check_names(&disk.crash(CrashPolicy::LoseUnsynced), dir, synced);
            let pieces = disk.unsynced();
            check_names(&disk.crash(CrashPolicy::First { pieces }), dir, now);
            check_names(&disk.crash(CrashPolicy::First { pieces: 0 }), dir, synced);
        });
    }
}

#[test]
fn both_disks_refuse_the_same_things_with_the_same_kind_of_error() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let memory = MemoryDisk::new();
    let disks: [(&dyn Disk, PathBuf); 2] =
        [(&OsDisk, root.path().join("d")), (&memory, PathBuf::from("/d"))];
    let refusals = disks.map(|(disk, dir)| {
        disk.create_dir_all(&dir).expect("no fault");
        disk.create(&dir.join("f")).expect("no fault").write_all_at(b"12", 0).expect("no fault");
        let read_only = disk.open_read(&dir.join("f")).expect("it is there");
        assert!(read_only.write_all_at(b"x", 0).is_err());
        let short = read_only.read_exact_at(&mut [0; 3], 0);
        [
            short.map_err(|error| error.kind()),
            disk.create(&dir.join("f")).map(|_| ()).map_err(|error| error.kind()),
            disk.create(&dir.join("no/f")).map(|_| ()).map_err(|error| error.kind()),
            disk.open(&dir.join("g")).map(|_| ()).map_err(|error| error.kind()),
            disk.remove(&dir.join("g")).map_err(|error| error.kind()),
            disk.rename(&dir.join("g"), &dir.join("h")).map_err(|error| error.kind()),
            disk.list(&dir.join("no")).map(|_| ()).map_err(|error| error.kind()),
        ]
    });
    assert_eq!(refusals[0], refusals[1]);
    assert!(refusals[0].iter().all(Result::is_err));
}

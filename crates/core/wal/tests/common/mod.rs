//! What the tests of the log share.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_wal::{Marker, OpenError, Options, Recovered, Wal};
use types::{Entry, EntryKind, HardState};
use vfs::{Disk, MemoryDisk};

pub const METADATA: &[u8] = b"\x08\x8b\xea\xa2\xac\xd4\xa9\xbe\xfc\x7d";

/// Small enough that a few entries fill a segment and a few sectors make one.
pub const SMALL: Options = Options {
    segment_bytes: 4096,
    tail_step_bytes: 1024,
    tail_ahead_bytes: 2048,
    spare_step_bytes: 1536,
    commits_are_durable: false,
};

pub fn dir() -> PathBuf {
    PathBuf::from("/data/member/wal")
}

pub fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/data/member")).expect("no fault");
    disk
}

pub fn create(disk: &MemoryDisk) -> Wal {
    Wal::create_with(Arc::new(disk.clone()), &dir(), METADATA, SMALL).expect("no fault")
}

pub fn open(disk: &MemoryDisk, from: &Marker) -> Result<(Wal, Recovered), OpenError> {
    Wal::open_with(Arc::new(disk.clone()), &dir(), from, SMALL)
}

pub fn read(disk: &MemoryDisk, from: &Marker) -> Result<Recovered, OpenError> {
    Wal::read(disk, &dir(), from)
}

pub fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, data: data.into() }
}

/// Entries `from..to` of a term, each of `bytes` bytes that tell it from the others.
pub fn entries(term: u64, indexes: std::ops::Range<u64>, bytes: usize) -> Vec<Entry> {
    indexes.map(|index| entry(term, index, vec![(index * 7 + term) as u8 | 1; bytes])).collect()
}

pub fn state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 0x1234_5678_9abc_def0, commit }
}

pub fn marker(index: u64, term: u64) -> Marker {
    Marker { index, term, conf_state: None }
}

/// The segments on the disk.
pub fn files(disk: &MemoryDisk) -> Vec<String> {
    let names = disk.list(&dir()).expect("the directory is there");
    names.into_iter().filter(|name| name.ends_with(".wal")).collect()
}

pub fn last_file(disk: &MemoryDisk) -> PathBuf {
    dir().join(files(disk).last().expect("a log has a segment"))
}

/// SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

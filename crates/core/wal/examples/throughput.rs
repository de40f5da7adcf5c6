//! What an append and its sync cost, on the disk that holds the directory given (default: the
//! system's temporary one), with entries of 1 KiB in groups of 1 and of 100.
//!
//! `cargo run --release -p holdfast-wal --example throughput [DIRECTORY]`

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example stands outside of the floor: it measures and reads files"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_wal::{Options, Wal};
use types::{Entry, EntryKind, HardState};
use vfs::{Disk, OsDisk};

const ENTRY_BYTES: usize = 1024;

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let small = Options { segment_bytes: 16_000_000, ..Options::default() };
    for (name, options) in [("64 MB segments", Options::default()), ("16 MB segments", small)] {
        for (group, groups) in [(1, 20_000), (100, 2_000)] {
            let root = tempfile::tempdir_in(&base).expect("a directory that can be written to");
            measure(name, root.path(), options, group, groups);
        }
    }
    create_and_open(&base);
}

fn measure(name: &str, root: &Path, options: Options, group: u64, groups: u64) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut wal =
        Wal::create_with(disk, &root.join("wal"), b"member", options).expect("a good disk");
    let data = Bytes::from(vec![b'x'; ENTRY_BYTES]);
    let mut durations = Vec::new();
    let mut spare = None;
    let started = Instant::now();
    for round in 0..groups {
        let first = round * group + 1;
        let entries: Vec<Entry> = (first..first + group)
            .map(|index| Entry { term: 1, index, kind: EntryKind::Normal, data: data.clone() })
            .collect();
        let state = HardState { term: 1, vote: 1, commit: first - 1 };
        let begun = Instant::now();
        wal.append(Some(&state), &entries).expect("a good disk");
        wal.sync().expect("a good disk");
        durations.push(begun.elapsed());
        spare = prepare(&mut wal, spare);
    }
    let whole = started.elapsed();
    durations.sort_unstable();
    let at = |share: f64| durations[((durations.len() - 1) as f64 * share) as usize];
    let busy: Duration = durations.iter().sum();
    println!(
        "{name}, groups of {group}: {:.0} entries/s, {:.0} MB/s; append+sync p50 {:?} p99 {:?} max {:?}; {:.2} of the time; {} segments",
        (group * groups) as f64 / whole.as_secs_f64(),
        wal.bytes_written() as f64 / 1e6 / whole.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        busy.as_secs_f64() / whole.as_secs_f64(),
        wal.segments(),
    );
}

type Spare = Option<std::thread::JoinHandle<holdfast_wal::Prepared>>;

/// The spare is zeroed on a thread of its own.
fn prepare(wal: &mut Wal, running: Spare) -> Spare {
    match running {
        Some(thread) if thread.is_finished() => {
            wal.prepared(thread.join().expect("no panic")).expect("a good disk");
            None
        }
        Some(thread) => Some(thread),
        None => wal.preparation().map(|step| std::thread::spawn(move || step.run())),
    }
}

fn create_and_open(base: &Path) {
    let root = tempfile::tempdir_in(base).expect("a directory that can be written to");
    let dir = root.path().join("wal");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let begun = Instant::now();
    let mut wal = Wal::create(disk.clone(), &dir, b"member").expect("a good disk");
    println!("create: {:?}", begun.elapsed());
    let data = Bytes::from(vec![b'x'; ENTRY_BYTES]);
    for index in 1..=100_000 {
        let entry = Entry { term: 1, index, kind: EntryKind::Normal, data: data.clone() };
        wal.append(Some(&HardState { term: 1, vote: 1, commit: index }), &[entry])
            .expect("a good disk");
    }
    wal.sync().expect("a good disk");
    drop(wal);
    let begun = Instant::now();
    let markers = Wal::valid_markers(&*disk, &dir).expect("undamaged");
    let walked = begun.elapsed();
    let (_, recovered) = Wal::open(disk, &dir, &markers[0]).expect("undamaged");
    let count = recovered.entries.len();
    println!(
        "valid markers: {walked:?}, and open with {count} entries of 1 KiB: {:?}",
        begun.elapsed() - walked
    );
}

//! Measures the store on the disk under the given directory: loading, reading, and what a writer and a reader
//! notice of a cleaning that runs beside them.
//!
//! `cargo run --release -p holdfast-store --example load [directory] [rows]`

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example stands outside of the floor: it measures and reads files"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use holdfast_store::{
    Batch, CleanProgress, Cleaning, LogView, Options, Restored, Store, SyncHandle,
};
use types::{KeyValueRef, Revision, Row, encode_row};
use vfs::OsDisk;

const ROWS_PER_BATCH: i64 = 1000;
const ROW_BYTES: usize = 300;
const KEYS: i64 = 200_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().map_or_else(env::temp_dir, PathBuf::from).join("holdfast-load");
    let rows = arguments.next().map_or(Ok(2_000_000), |rows| rows.parse())?;
    let _ = fs::remove_dir_all(&dir);

    let (mut store, _) = open(&dir)?;
    let payload = load(&mut store, rows)?;
    let files = store.sizes().file_bytes as f64;
    println!("bytes in files per byte of rows   {:.3}", files / payload as f64);
    get(&store.view(), rows)?;
    drop(store);
    let mut store = restart(&dir)?;
    compact(&mut store, rows);
    clean(store, rows)?;
    restart(&dir)?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn open(dir: &Path) -> Result<(Store, Restored), Failure> {
    Ok(Store::open(Arc::new(OsDisk), dir, Options::default())?)
}

/// A row of about [`ROW_BYTES`], of a key that comes up again and again.
fn row(main: i64) -> Row {
    let key = format!("/registry/pods/default/{:010}", main.wrapping_mul(7919) % KEYS);
    let mut value = vec![0; ROW_BYTES - key.len()];
    for (place, byte) in value.iter_mut().enumerate() {
        *byte = (main.wrapping_mul(31) >> (place % 8)) as u8;
    }
    let (create_revision, version) = (2 + main % KEYS, 1 + main / KEYS);
    let key = key.as_bytes();
    let value = &value;
    encode_row(
        KeyValueRef { key, create_revision, mod_revision: main, version, value, lease: 0 },
        0,
    )
}

fn batch(first: i64) -> Batch {
    let rows = (first..first + ROWS_PER_BATCH).map(row).collect();
    Batch { index: first as u64, term: 1, rows, state: Vec::new() }
}

/// Loads all rows; a sync goes on beside it whenever the one before is done.
fn load(store: &mut Store, rows: i64) -> Result<u64, Failure> {
    let (handles, syncer) = mpsc::channel::<SyncHandle>();
    let (done, synced) = mpsc::channel();
    let thread = thread::spawn(move || {
        for handle in syncer {
            let _ = done.send(handle.sync());
        }
    });
    let (mut payload, mut spent, mut worst) = (0, Duration::ZERO, Duration::ZERO);
    let mut busy = Duration::ZERO;
    let mut syncing = false;
    for first in (2..2 + rows).step_by(ROWS_PER_BATCH as usize) {
        let batch = batch(first);
        payload += batch.rows.iter().map(|row| row.encoded.len() as u64).sum::<u64>();
        let (start, cpu) = (Instant::now(), thread_cpu()?);
        store.append(&batch);
        store.flush()?;
        while let Ok(done) = synced.try_recv() {
            store.synced(done?);
            syncing = false;
        }
        if !syncing {
            handles.send(store.sync_handle()?)?;
            syncing = true;
        }
        let took = start.elapsed();
        (spent, worst) = (spent + took, worst.max(took));
        busy += thread_cpu()? - cpu;
    }
    drop(handles);
    while let Ok(done) = synced.recv() {
        store.synced(done?);
    }
    let _ = thread.join();
    let synced = store.sync_handle()?.sync()?;
    store.synced(synced);
    let per_row = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
    println!("rows per second                   {:.0}", rows as f64 / spent.as_secs_f64());
    println!("CPU us per row, writer's thread   {:.3}", per_row(busy));
    println!("worst batch of 1,000 while loading {worst:?}");
    Ok(payload)
}

fn get(view: &LogView, rows: i64) -> Result<(), Failure> {
    let mut times = Vec::new();
    let mut chance = 1u64;
    for _ in 0..200_000 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let revision = Revision::first_of(2 + ((chance >> 33) as i64) % rows);
        let start = Instant::now();
        let row = view.read(revision)?;
        times.push(start.elapsed());
        assert_eq!(row.revision, revision);
    }
    times.sort();
    println!("get p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    let neighbours: Vec<_> = (2..1002).map(Revision::first_of).collect();
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(view.read_many(&neighbours)?.len(), 1000);
    }
    println!("read_many of neighbours, per row  {:?}", start.elapsed() / 100_000);
    let start = Instant::now();
    let mut scan = view.scan(Revision::default());
    let mut count = 0u32;
    loop {
        let rows = scan.next_chunk(1 << 20)?;
        if rows.is_empty() {
            break;
        }
        count += rows.len() as u32;
    }
    println!("scan, per row                     {:?}", start.elapsed() / count);
    Ok(())
}

fn restart(dir: &Path) -> Result<Store, Failure> {
    let start = Instant::now();
    let (store, restored) = open(dir)?;
    assert!(restored.repaired.is_none(), "it was synced");
    let opened = start.elapsed();
    let mut keys = 0u64;
    for meta in store.rows_after(0) {
        keys += meta?.key.len() as u64;
    }
    println!("open {opened:?}, keys of all rows {:?} ({keys} bytes)", start.elapsed() - opened);
    Ok(store)
}

/// Marks all but the newest row of each key dead.
fn compact(store: &mut Store, rows: i64) {
    let mut newest = BTreeMap::new();
    let mut dead = Vec::new();
    for main in 2..2 + rows {
        let key = main.wrapping_mul(7919) % KEYS;
        dead.extend(newest.insert(key, Revision::first_of(main)));
    }
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    for some in dead.chunks(1000) {
        let start = Instant::now();
        store.mark_dead(some);
        worst = worst.max(start.elapsed());
    }
    let each = start.elapsed() / dead.len() as u32;
    println!("mark_dead {} rows, each {each:?}, worst 1,000 {worst:?}", dead.len());
}

/// Cleans on a thread of its own while this thread writes and another one reads.
fn clean(mut store: Store, rows: i64) -> Result<(), Failure> {
    let before = store.sizes();
    let view = Arc::new(Mutex::new(store.view()));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (view, stop) = (view.clone(), stop.clone());
        move || read_until(&view, &stop, 2 + rows - KEYS / 2)
    });
    let (jobs, cleaner) = mpsc::channel::<Cleaning>();
    let (done, cleaned) = mpsc::channel();
    let worker = thread::spawn(move || {
        for mut job in cleaner {
            let outcome = loop {
                match job.step(4 << 20) {
                    Ok(CleanProgress::More) => {}
                    Ok(CleanProgress::Done) => break Ok(job),
                    Err(error) => break Err(error),
                }
            };
            let _ = done.send(outcome);
        }
    });
    let start = Instant::now();
    let (mut worst, mut worst_cpu) = (Duration::ZERO, Duration::ZERO);
    let (mut next, mut rounds, mut busy) = (2 + rows, 0, false);
    let mut appended = 0u64;
    loop {
        let batch = batch(next);
        next += ROWS_PER_BATCH;
        let (start, cpu) = (Instant::now(), thread_cpu()?);
        store.append(&batch);
        store.flush()?;
        if let Ok(outcome) = cleaned.try_recv() {
            store.finish_clean(outcome?);
            (rounds, busy) = (rounds + 1, false);
        }
        if !busy {
            let Some(job) = store.begin_clean()? else { break };
            jobs.send(job)?;
            busy = true;
        }
        worst = worst.max(start.elapsed());
        worst_cpu = worst_cpu.max(thread_cpu()? - cpu);
        appended += batch.rows.iter().map(|row| row.encoded.len() as u64).sum::<u64>();
        *view.lock().expect("nobody panics with it") = store.view();
        thread::sleep(Duration::from_millis(2));
    }
    println!("cleaned in {rounds} rounds, {:?}, {appended} bytes appended", start.elapsed());
    println!("before {before:?}");
    println!("after  {:?}", store.sizes());
    stop.store(true, Ordering::Relaxed);
    drop(jobs);
    let _ = worker.join();
    let worst_read = reader.join().expect("the reader does not panic")?;
    println!("worst stall while cleaning: writer (1,000 rows) {worst:?}, reader {worst_read:?}");
    println!("of the writer's, its own work     {worst_cpu:?}");
    let synced = store.sync_handle()?.sync()?;
    store.synced(synced);
    Ok(())
}

fn read_until(view: &Mutex<LogView>, stop: &AtomicBool, from: i64) -> Result<Duration, Failure> {
    let mut worst = Duration::ZERO;
    let mut main = from;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let view = view.lock().expect("nobody panics with it").clone();
        view.read(Revision::first_of(main))?;
        worst = worst.max(start.elapsed());
        main = from + (main - from + 7) % (KEYS / 2);
        thread::sleep(Duration::from_micros(200));
    }
    Ok(worst)
}

/// What this thread has computed so far.
fn thread_cpu() -> Result<Duration, Failure> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

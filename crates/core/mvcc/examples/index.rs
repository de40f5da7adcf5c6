//! Measures the key index: `cargo run --release -p holdfast-mvcc --example index [keys]`.
//!
//! Values are not stored; the row source gives the same small row for every revision, so what is
//! measured is the index and the encoding of rows. Keys come in random order from a fixed seed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example stands outside of the floor: it measures and reads files"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_mvcc::{ImageReader, Mvcc, Put, RangeQuery, Restore, RowFault, RowMeta, RowSource};
use types::{KeyRange, KeyValueRef, Revision, Row, encode_row};

struct OneRow(Row);

impl RowSource for OneRow {
    fn row(&self, _: Revision) -> Result<Row, RowFault> {
        Ok(self.0.clone())
    }
}

/// xorshift64*: enough chance for a benchmark.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

fn key(n: usize) -> Bytes {
    format!("/registry/pods/namespace-{:03}/application-{:07}", n % 500, n).into()
}

fn put(mvcc: &mut Mvcc, source: &OneRow, key: Bytes) {
    let mut txn = mvcc.begin();
    let put =
        Put { key, value: Bytes::from_static(b"some value of usual brevity"), ..Put::default() };
    txn.put(source, &put).expect("a plain put");
    black_box(txn.finish());
}

/// Time this thread spent on a processor: a busy machine does not blur it as it does the clock.
#[derive(Clone, Copy)]
struct CpuTime(Duration);

impl CpuTime {
    fn now() -> CpuTime {
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let spent = schedstat.split(' ').next().and_then(|word| word.parse().ok());
        CpuTime(Duration::from_nanos(spent.unwrap_or(0)))
    }

    fn elapsed(self) -> Duration {
        CpuTime::now().0 - self.0
    }
}

fn report(what: &str, count: usize, took: Duration) {
    let each = took.as_nanos() as f64 / count as f64;
    println!("{what:<58} {each:>10.0} ns each {:>12.0}/s", 1e9 / each);
}

fn timed(what: &str, count: usize, mut work: impl FnMut(usize)) {
    let start = CpuTime::now();
    (0..count).for_each(&mut work);
    report(what, count, start.elapsed());
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let keys: usize = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number"));
    let mut dice = Dice(20_260_101);
    let mut order: Vec<usize> = (0..keys).collect();
    (1..keys).rev().for_each(|n| order.swap(n, dice.roll(n + 1)));
    let kv = KeyValueRef {
        key: b"k",
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        value: b"v",
        lease: 0,
    };
    let source = OneRow(encode_row(kv, 0));
    let all: Vec<Bytes> = (0..keys).map(key).collect();
    let key_bytes: usize = all.iter().map(Bytes::len).sum();
    println!("{keys} keys of {} bytes on average", key_bytes / keys);

    let before = resident_bytes();
    let mut mvcc = Mvcc::new();
    timed("put, new keys in random order", keys, |n| {
        put(&mut mvcc, &source, all[order[n]].clone())
    });
    memory(&mvcc, keys, key_bytes, before);
    reads(&mvcc, &source, &all, &mut dice);
    images(&mvcc, keys);
    writes(&mut mvcc, &source, &all, &mut dice);
    hot_key(&source);
    rows(&all, &order);
    let mut sorted = all.clone();
    sorted.sort();
    let mut mvcc = Mvcc::new();
    timed("put, new keys in key order", keys, |n| put(&mut mvcc, &source, sorted[n].clone()));
    let per_key = mvcc.now().memory_bytes() / keys;
    println!("{:<58} {per_key:>10} bytes per key", "index memory after that");
}

fn memory(mvcc: &Mvcc, keys: usize, key_bytes: usize, before: usize) {
    let computed = mvcc.now().memory_bytes() / keys;
    let resident = resident_bytes().saturating_sub(before) / keys;
    println!("{:<58} {computed:>10} bytes per key", "index memory, added up");
    println!("{:<58} {resident:>10} bytes per key", "index memory, resident");
    println!("{:<58} {:>10} bytes per key", "of which key", key_bytes / keys);
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn reads(mvcc: &Mvcc, source: &OneRow, all: &[Bytes], dice: &mut Dice) {
    let keys = all.len();
    let now = mvcc.now();
    let rounds = keys.min(1_000_000);
    timed("get", rounds, |_| {
        black_box(now.get(&all[dice.roll(keys)]));
    });
    timed("(of which finding the key to ask for)", rounds, |_| {
        black_box(all[dice.roll(keys)].last());
    });
    timed("get, keys in order", rounds, |n| {
        black_box(now.get(&all[n % keys]));
    });
    let page = |start: &Bytes, revision: i64| {
        let range = KeyRange::From { start: start.clone() };
        let query = RangeQuery { limit: 100, revision, ..RangeQuery::new(range) };
        black_box(now.range(source, &query).expect("a readable revision"));
    };
    timed("range, limit 100, current", 10_000, |_| page(&all[dice.roll(keys)], 0));
    let older = now.current_revision() - 1000;
    timed("range, limit 100, 1000 revisions ago", 10_000, |_| page(&all[dice.roll(keys)], older));
    let half = KeyRange::Between { start: all[keys / 4].clone(), end: "/registry/pods/z".into() };
    timed("count, a large range, current", 10_000, |_| {
        black_box(now.count(&half, 0).expect("a readable revision"));
    });
    timed("count, a large range, 1000 revisions ago", 1000, |_| {
        black_box(now.count(&half, older).expect("a readable revision"));
    });
    timed("view", 1_000_000, |_| {
        black_box(mvcc.view());
    });
}

fn images(mvcc: &Mvcc, keys: usize) {
    let start = CpuTime::now();
    let image: Vec<Bytes> = mvcc.now().image().collect();
    let bytes: usize = image.iter().map(Bytes::len).sum();
    report("image written", keys, start.elapsed());
    println!("{:<58} {:>10} bytes per key", "image size", bytes / keys);
    let start = CpuTime::now();
    let mut reader = ImageReader::new();
    image.iter().for_each(|chunk| reader.feed(chunk).expect("our own image"));
    let restored = reader.finish().expect("our own image").finish(-1);
    let took = start.elapsed();
    report("image loaded", keys, took);
    println!("{:<58} {:>10.1} ms", "image loaded, all", took.as_secs_f64() * 1e3);
    let per_key = restored.now().memory_bytes() / keys;
    println!("{:<58} {per_key:>10} bytes per key", "index memory after that");
}

fn writes(mvcc: &mut Mvcc, source: &OneRow, all: &[Bytes], dice: &mut Dice) {
    let keys = all.len();
    let rounds = keys.min(1_000_000);
    timed("put, changing keys at random", rounds, |_| {
        put(mvcc, source, all[dice.roll(keys)].clone());
    });
    let mut held = mvcc.view();
    timed("put, a new view held every 100 puts", rounds.min(200_000), |n| {
        if n % 100 == 0 {
            held = mvcc.view();
        }
        put(mvcc, source, all[dice.roll(keys)].clone());
    });
    timed("put, a new view held every put", rounds.min(100_000), |_| {
        held = mvcc.view();
        put(mvcc, source, all[dice.roll(keys)].clone());
    });
    drop(held);
    mvcc.compact(mvcc.current_revision()).expect("not compacted before");
    let start = CpuTime::now();
    let (mut dead, mut longest) = (0, Duration::ZERO);
    loop {
        let step = Instant::now();
        let progress = mvcc.compact_step(1000);
        longest = longest.max(step.elapsed());
        dead += progress.dead.len();
        if progress.finished {
            break;
        }
    }
    report("compaction, per revision forgotten", dead, start.elapsed());
    println!("{:<58} {:>10.0} us", "compaction, longest step of 1000", longest.as_secs_f64() * 1e6);
    let per_key = mvcc.now().memory_bytes() / keys;
    println!("{:<58} {per_key:>10} bytes per key", "index memory after that");
}

fn hot_key(source: &OneRow) {
    let mut mvcc = Mvcc::new();
    let mut longest = Duration::ZERO;
    let start = CpuTime::now();
    let rounds = 1_000_000;
    for _ in 0..rounds {
        let held = mvcc.view();
        let one = Instant::now();
        put(&mut mvcc, source, "hot".into());
        longest = longest.max(one.elapsed());
        drop(held);
    }
    report("put, one hot key, a new view held every put", rounds, start.elapsed());
    println!("{:<58} {:>10.0} us", "put, one hot key, longest", longest.as_secs_f64() * 1e6);
    timed("get of the hot key at random revisions", 1_000_000, |n| {
        black_box(mvcc.now().get_at(b"hot", 2 + n as i64)).expect("a readable revision");
    });
    mvcc.compact(mvcc.current_revision()).expect("not compacted before");
    let start = CpuTime::now();
    while !mvcc.compact_step(1000).finished {}
    report("compaction of the hot key, per revision forgotten", rounds, start.elapsed());
}

fn rows(all: &[Bytes], order: &[usize]) {
    let start = CpuTime::now();
    let mut restore = Restore::new();
    for (n, at) in order.iter().enumerate() {
        let main = n as i64 + 2;
        let meta = RowMeta {
            key: &all[*at],
            revision: Revision::first_of(main),
            tombstone: false,
            create_revision: main,
            version: 1,
            lease: 0,
        };
        restore.row(meta).expect("rows in order");
    }
    black_box(restore.finish(-1));
    report("restored from rows, keys in random order", all.len(), start.elapsed());
}

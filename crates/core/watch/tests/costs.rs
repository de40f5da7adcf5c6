//! What the hub costs: `cargo test --release -p holdfast-watch --test costs -- --ignored --nocapture`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test may know the world around what it tests"
)]

mod world;

use std::sync::Arc;
use std::time::Instant;

use holdfast_watch::{Changes, Event, Hub, Input, Limits, Previous};
use types::{KeyValueRef, encode_row};
use world::watch;

fn put(key: &str, revision: i64) -> Event {
    let kv = KeyValueRef {
        key: key.as_bytes(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: &[b'v'; 256],
        lease: 0,
    };
    Event { row: encode_row(kv, 0), previous: Previous::Absent }
}

fn changes(key: &str, revision: i64) -> Input {
    Input::Applied(Arc::new(Changes { revision, events: vec![put(key, revision)] }))
}

/// A hub with one watch on each of these, spread over `streams` streams.
fn hub(streams: u64, watches: impl Iterator<Item = String>) -> Hub {
    let mut hub = Hub::new(Limits::default(), 1, -1);
    for stream in 0..streams {
        hub.step(Input::StreamOpened { stream, progress_interval_ms: 600_000 });
    }
    for (number, keys) in watches.enumerate() {
        let stream = number as u64 % streams;
        hub.step(Input::Create { stream, create: watch(&keys) });
        hub.step(Input::Sent { stream, responses: 1, bytes: 64 });
    }
    hub
}

/// Applies changes and takes each response at once. Returns nanoseconds per change.
fn run(what: &str, hub: &mut Hub, keys: &[String]) {
    let inputs: Vec<Input> =
        (2..).zip(keys).map(|(revision, key)| changes(key, revision)).collect();
    let begin = Instant::now();
    let mut responses = 0;
    let mut spent = std::time::Duration::ZERO;
    for input in inputs {
        let begin = Instant::now();
        let effects = hub.step(input);
        spent += begin.elapsed();
        for effect in &effects {
            if let holdfast_watch::Effect::Send { stream, response } = effect {
                responses += 1;
                let (stream, bytes) = (*stream, response.bytes());
                hub.step(Input::Sent { stream, responses: 1, bytes });
            }
        }
    }
    let per_change = spent.as_nanos() / keys.len() as u128;
    let per_response = spent.as_nanos() / u128::from(responses.max(1u64));
    println!(
        "{what}: {per_change} ns per change, {per_response} ns per response ({responses} responses, \
         {} ms in all)",
        begin.elapsed().as_millis()
    );
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS 0 kB");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0) * 1024
}

#[test]
#[ignore = "a measurement"]
fn costs() {
    let before = resident_bytes();
    let idle = hub(100, (0..10_000).map(|n| format!("/registry/pods/default/pod-{n:05}")));
    println!("10,000 idle watchers of a key each: {} KiB", (resident_bytes() - before) / 1024);
    let before = resident_bytes();
    let shared = hub(100, (0..10_000).map(|n| format!("/registry/pods/{:02}/*", n % 100)));
    println!("10,000 idle watchers of 100 prefixes: {} KiB", (resident_bytes() - before) / 1024);
    assert_eq!(idle.sizes().watches + shared.sizes().watches, 20_000);

    let keys = |count: usize| vec!["/registry/pods/a".to_owned(); count];
    run("no watcher", &mut hub(1, std::iter::empty()), &keys(100_000));
    let same = |count| std::iter::repeat_n("/registry/pods/a".to_owned(), count);
    run("1 watcher of the key", &mut hub(1, same(1)), &keys(100_000));
    run("1,000 watchers of the key, 100 streams", &mut hub(100, same(1000)), &keys(1000));
    let prefixes = (0..10_000).map(|n| format!("/registry/{n:05}/*"));
    let spread: Vec<String> =
        (0..100_000).map(|n| format!("/registry/{:05}/x", n % 10_000)).collect();
    run("10,000 prefixes, one hit", &mut hub(100, prefixes), &spread);
    let nested = (0..1000).map(|_| "/registry/pods/*".to_owned());
    run("1,000 watchers of one prefix, 100 streams", &mut hub(100, nested), &keys(1000));
}

/// Nanoseconds of the fastest of some runs: what a loaded machine adds is not counted.
fn fastest(mut run: impl FnMut() -> u128) -> u128 {
    (0..5).map(|_| run()).min().expect("it ran")
}

/// One stream with so many watches in the future, cancelled one after the other.
fn cancels(count: i64) -> u128 {
    let mut hub = hub(1, std::iter::empty());
    for start in 0..count {
        hub.step(Input::Create { stream: 0, create: starting("/a", 1000 + start) });
    }
    let begin = Instant::now();
    for watch in (0..count).rev() {
        hub.step(Input::Cancel { stream: 0, watch });
    }
    begin.elapsed().as_nanos() / count as u128
}

fn starting(keys: &str, start: i64) -> holdfast_watch::Create {
    holdfast_watch::Create { start, ..watch(keys) }
}

#[test]
fn to_cancel_one_of_many_watches_in_the_future_costs_what_it_costs_among_few() {
    let (few, many) = (fastest(|| cancels(500)), fastest(|| cancels(16_000)));
    println!("{few} ns among 500, {many} ns among 16,000");
    assert!(many < 10 * few + 2000, "{few} ns among 500, {many} ns among 16,000");
}

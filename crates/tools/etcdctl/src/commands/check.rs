//! check perf, check datascale: many clients that write, and whether a cluster keeps up.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client::{Client, http_get, methods, prefix_end};
use proto::etcdserverpb as pb;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::lock::interrupted;
use crate::args::Call;
use crate::exit::{BAD_FEATURE, ERROR, Failure, INVALID_INPUT};
use crate::output::print;
use crate::progress::Progress;
use crate::settings::{Session, Settings};
use go::quote;

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
const PERF_DURATION: Duration = Duration::from_secs(60);
/// What a good cluster does not exceed, in seconds, and the part of the load it must take.
const SLOWEST_MAX: f64 = 0.5;
const DEVIATION_MAX: f64 = 0.1;
const THROUGHPUT_MIN: f64 = 0.9;
/// Clients beyond this share connections: a process may hold some thousand files at most.
const CONNECTIONS_MAX: u64 = 100;
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// How much is written, by how many.
struct Load {
    names: [&'static str; 2],
    perf_rate: u64,
    perf_clients: u64,
    scale_pairs: u64,
    scale_clients: u64,
}

const LOADS: [Load; 4] = [
    Load {
        names: ["s", "small"],
        perf_rate: 150,
        perf_clients: 50,
        scale_pairs: 10_000,
        scale_clients: 50,
    },
    Load {
        names: ["m", "medium"],
        perf_rate: 1_000,
        perf_clients: 200,
        scale_pairs: 100_000,
        scale_clients: 200,
    },
    Load {
        names: ["l", "large"],
        perf_rate: 8_000,
        perf_clients: 500,
        scale_pairs: 1_000_000,
        scale_clients: 500,
    },
    Load {
        names: ["xl", "xLarge"],
        perf_rate: 15_000,
        perf_clients: 1_000,
        scale_pairs: 3_000_000,
        scale_clients: 1_000,
    },
];

fn load(call: &Call) -> Result<&'static Load, Failure> {
    let given = call.values.text("load");
    let unknown = || Failure::new(BAD_FEATURE, format!("unknown load option {given}"));
    LOADS.iter().find(|load| load.names.contains(&given)).ok_or_else(unknown)
}

fn say(text: &str) {
    print(format!("{text}\n").as_bytes());
}

/// Refuses to mix our keys with somebody's.
async fn must_be_empty(session: &Session, prefix: &str, delete: &str) -> Result<(), Failure> {
    let range = pb::RangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix.as_bytes()).into(),
        limit: 1,
        ..Default::default()
    };
    if session.call(methods::RANGE, range).await?.kvs.is_empty() {
        return Ok(());
    }
    let prefix = quote(prefix.as_bytes());
    let text = format!("prefix {prefix} has keys. Delete with {delete} first");
    Err(Failure::new(INVALID_INPUT, text))
}

/// `check perf`.
pub async fn perf(mut call: Call) -> Result<(), Failure> {
    let load = load(&call)?;
    let prefix = call.values.text("prefix").to_owned();
    let settings = Settings::of(&mut call)?;
    let session = settings.connect().await?;
    must_be_empty(&session, &prefix, &format!("'etcdctl del --prefix {prefix}'")).await?;
    let schedule = Schedule {
        writes: load.perf_rate * PERF_DURATION.as_secs(),
        rate: Some(load.perf_rate),
        duration_max: Some(PERF_DURATION),
    };
    let tally = write(&settings, &prefix, load.perf_clients, schedule).await?;
    clean_up(&call, &settings, &session, &prefix).await?;
    let verdict = tally.verdict(load.perf_rate as f64);
    verdict.lines.iter().for_each(|line| say(line));
    if verdict.passed { Ok(()) } else { Err(Failure::silent(ERROR)) }
}

/// `check datascale`.
pub async fn datascale(mut call: Call) -> Result<(), Failure> {
    let load = load(&call)?;
    let prefix = call.values.text("prefix").to_owned();
    let settings = Settings::of(&mut call)?;
    let session = settings.connect().await?;
    must_be_empty(&session, &prefix, &format!("etcdctl del --prefix {prefix}")).await?;
    let before = resident_bytes(&settings, "before").await?;
    let (pairs, clients) = (load.scale_pairs, load.scale_clients);
    say(&format!(
        "Start data scale check for work load [{pairs} key-value pairs, {VALUE_BYTES} bytes per \
         key-value, {clients} concurrent clients]."
    ));
    let schedule = Schedule { writes: pairs, rate: None, duration_max: None };
    let tally = write(&settings, &prefix, clients, schedule).await?;
    let after = resident_bytes(&settings, "after").await?;
    clean_up(&call, &settings, &session, &prefix).await?;
    if tally.errors.is_empty() {
        let mib = (after - before) / f64::from(1 << 20);
        say(&format!("PASS: Approximate system memory used : {mib:.2} MB."));
        return Ok(());
    }
    tally.error_lines().iter().for_each(|line| say(line));
    Err(Failure::silent(ERROR))
}

/// The memory of the first endpoint's process.
async fn resident_bytes(settings: &Settings, when: &str) -> Result<f64, Failure> {
    let endpoint = settings.config.endpoints.first().map_or("", String::as_str);
    let asking = http_get(endpoint, &settings.config.tls, "/metrics");
    let metrics = timeout(METRICS_TIMEOUT, asking).await.unwrap_or(Err("no answer".to_owned()));
    let found = metrics.ok().and_then(|text| {
        let line =
            text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line?.trim().parse().ok()
    });
    found.filter(|bytes| *bytes > 0.0).ok_or_else(|| {
        say(&format!(
            "FAIL: Could not read process_resident_memory_bytes {when} the put operations."
        ));
        Failure::silent(ERROR)
    })
}

/// Deletes our keys; if asked to, also their history and the room they took.
async fn clean_up(
    call: &Call,
    settings: &Settings,
    session: &Session,
    prefix: &str,
) -> Result<(), Failure> {
    let delete = pb::DeleteRangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix.as_bytes()).into(),
        prev_kv: false,
    };
    let deleted = session.call_patiently(ERROR, methods::DELETE_RANGE, delete).await?;
    if call.values.truth("auto-compact") {
        let revision = deleted.header.unwrap_or_default().revision;
        say(&format!("Compacting with revision {revision}"));
        let compact = pb::CompactionRequest { revision, physical: true };
        session.call_patiently(ERROR, methods::COMPACT, compact).await?;
        say(&format!("Compacted with revision {revision}"));
    }
    if call.values.truth("auto-defrag") {
        for endpoint in &settings.config.endpoints {
            let quoted = quote(endpoint.as_bytes());
            say(&format!("Defragmenting {quoted}"));
            let member = settings.at(endpoint).connect().await?;
            let request = pb::DefragmentRequest {};
            member.call_patiently(ERROR, methods::DEFRAGMENT, request).await?;
            say(&format!("Defragmented {quoted}"));
        }
    }
    Ok(())
}

/// When each write is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    writes: u64,
    /// Writes in a second; `None` for as many as go.
    rate: Option<u64>,
    duration_max: Option<Duration>,
}

/// What all clients share while they write.
struct Shared {
    schedule: Schedule,
    began: Instant,
    /// The number of the next write.
    next: AtomicU64,
    done: AtomicU64,
    stopped: AtomicBool,
    prefix: Bytes,
    value: Bytes,
    seed: u64,
}

impl Shared {
    /// Waits for the next write's time and gives its key; `None` when it is over.
    async fn next_key(&self) -> Option<Bytes> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.schedule.writes {
            return None;
        }
        if let Some(rate) = self.schedule.rate {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            sleep_until(self.began + due).await;
        }
        let late = self.schedule.duration_max.is_some_and(|max| self.began.elapsed() >= max);
        if late || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let mut key = vec![0; self.prefix.len() + KEY_BYTES];
        let (prefix, rest) = key.split_at_mut(self.prefix.len());
        prefix.copy_from_slice(&self.prefix);
        rest[..8].copy_from_slice(&scattered(self.seed ^ number).to_le_bytes());
        Some(key.into())
    }
}

/// Spreads numbers over all keys, so that neighbours in time are none in the store (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes as scheduled, with many clients at once. An interrupt ends it early.
async fn write(
    settings: &Settings,
    prefix: &str,
    clients: u64,
    schedule: Schedule,
) -> Result<Tally, Failure> {
    let mut connections = Vec::new();
    for _ in 0..clients.min(CONNECTIONS_MAX) {
        connections.push(settings.connect_to_stay().await?.patient);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let shared = Arc::new(Shared {
        schedule,
        began: Instant::now(),
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        prefix: Bytes::copy_from_slice(prefix.as_bytes()),
        value: vec![0; VALUE_BYTES].into(),
        seed: scattered(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0)),
    });
    let mut writers = JoinSet::new();
    for connection in connections.iter().cycle().take(usize::try_from(clients).unwrap_or(1)) {
        writers.spawn(one_client(connection.clone(), shared.clone()));
    }
    let mut tally = Tally::default();
    let mut progress = Progress::new("writing", Some(schedule.writes), |n| n.to_string());
    let mut redraw = tokio::time::interval(Duration::from_millis(200));
    let ending = interrupted();
    let mut ending: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(ending);
    loop {
        tokio::select! {
            joined = writers.join_next() => match joined {
                None => break,
                Some(part) => {
                    tally.add(part.map_err(|error| Failure::new(ERROR, error.to_string()))?);
                }
            },
            _ = redraw.tick() => progress.set(shared.done.load(Ordering::Relaxed)),
            ended = &mut ending => {
                ended?;
                shared.stopped.store(true, Ordering::Relaxed);
                ending = Box::pin(std::future::pending());
            }
        }
    }
    tally.elapsed = shared.began.elapsed();
    // A cluster that was asked for so much in a minute did not do more than that.
    if let (Some(duration), false) = (schedule.duration_max, shared.stopped.load(Ordering::Relaxed))
    {
        tally.elapsed = tally.elapsed.max(duration);
    }
    Ok(tally)
}

async fn one_client(client: Client, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    while let Some(key) = shared.next_key().await {
        let request = pb::PutRequest { key, value: shared.value.clone(), ..Default::default() };
        let began = Instant::now();
        match client.call(methods::PUT, &request).await {
            Ok(_) => tally.seconds.push(began.elapsed().as_secs_f64()),
            Err(error) => *tally.errors.entry(error.to_string()).or_default() += 1,
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
    tally
}

/// What came of some writes.
#[derive(Debug, Default)]
struct Tally {
    /// How long each took.
    seconds: Vec<f64>,
    errors: BTreeMap<String, u64>,
    elapsed: Duration,
}

/// What is said of them.
struct Verdict {
    lines: Vec<String>,
    passed: bool,
}

impl Tally {
    fn add(&mut self, part: Tally) {
        self.seconds.extend(part.seconds);
        part.errors.into_iter().for_each(|(text, n)| *self.errors.entry(text).or_default() += n);
    }

    fn error_lines(&self) -> Vec<String> {
        let each =
            self.errors.iter().map(|(text, count)| format!("FAIL: ERROR({text}) -> {count}"));
        ["FAIL: too many errors".to_owned()].into_iter().chain(each).collect()
    }

    fn verdict(&self, rate: f64) -> Verdict {
        let mut verdict = Verdict { lines: Vec::new(), passed: self.errors.is_empty() };
        if !verdict.passed {
            verdict.lines = self.error_lines();
        }
        let count = self.seconds.len().max(1) as f64;
        let throughput = self.seconds.len() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON);
        let whole = throughput.ceil();
        verdict.judge(
            throughput / rate > THROUGHPUT_MIN,
            format!("Throughput is {whole} writes/s"),
            format!("Throughput too low: {whole} writes/s"),
        );
        let slowest = self.seconds.iter().copied().fold(0.0, f64::max);
        verdict.judge(
            slowest <= SLOWEST_MAX,
            format!("Slowest request took {slowest:.6}s"),
            format!("Slowest request took too long: {slowest:.6}s"),
        );
        let mean = self.seconds.iter().sum::<f64>() / count;
        let square = self.seconds.iter().map(|took| (took - mean).powi(2)).sum::<f64>() / count;
        let deviation = square.sqrt();
        verdict.judge(
            deviation <= DEVIATION_MAX,
            format!("Stddev is {deviation:.6}s"),
            format!("Stddev too high: {deviation:.6}s"),
        );
        verdict.lines.push(if verdict.passed { "PASS" } else { "FAIL" }.to_owned());
        verdict
    }
}

impl Verdict {
    fn judge(&mut self, good: bool, pass: String, fail: String) {
        let line = if good { format!("PASS: {pass}") } else { format!("FAIL: {fail}") };
        self.lines.push(line);
        self.passed &= good;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_keeps_up_passes() {
        let tally = Tally {
            seconds: vec![0.01; 9000],
            elapsed: Duration::from_secs(60),
            ..Tally::default()
        };
        let lines = [
            "PASS: Throughput is 150 writes/s",
            "PASS: Slowest request took 0.010000s",
            "PASS: Stddev is 0.000000s",
            "PASS",
        ];
        assert_eq!(tally.verdict(150.0).lines, lines);
    }

    #[test]
    fn a_slow_cluster_fails_in_each_respect() {
        let mut seconds = vec![0.01; 100];
        seconds.extend([2.0; 20]);
        let errors = BTreeMap::from([("etcdserver: too many requests".to_owned(), 3)]);
        let tally = Tally { seconds, errors, elapsed: Duration::from_secs(60) };
        let lines = [
            "FAIL: too many errors",
            "FAIL: ERROR(etcdserver: too many requests) -> 3",
            "FAIL: Throughput too low: 2 writes/s",
            "FAIL: Slowest request took too long: 2.000000s",
            "FAIL: Stddev too high: 0.741629s",
            "FAIL",
        ];
        let verdict = tally.verdict(150.0);
        assert_eq!(verdict.lines, lines);
        assert!(!verdict.passed);
    }
}

//! `cargo xtask sim`: plays seeds of the simulation on all cores, for so many seeds or so many minutes.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::test;

/// Seeds that one process plays.
const SEEDS_PER_PROCESS: u64 = 20;
/// Seeds when nothing is said.
const SEEDS: u64 = 500;

/// What to play.
#[derive(Clone, Debug)]
struct Extent {
    /// Members of the cluster.
    members: u64,
    /// Options that are handed on: what is left out, and whether a failure is made shorter.
    handed_on: Vec<String>,
    from: u64,
    seeds: u64,
    /// How long at most, the build not counted.
    time: Option<Duration>,
}

/// Takes the words after `sim`; `None` when they make no sense.
pub fn run(options: &[&str]) -> Option<ExitCode> {
    let mut extent =
        Extent { members: 1, handed_on: Vec::new(), from: fresh(), seeds: SEEDS, time: None };
    if options == ["--planted"] {
        return Some(planted());
    }
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if *option == "--shrink" {
            extent.handed_on.push("--shrink".to_owned());
            continue;
        }
        let value = options.next()?;
        if *option == "--without" || *option == "--operations" {
            extent.handed_on.extend([option.to_string(), value.to_string()]);
            continue;
        }
        let value: u64 = value.parse().ok()?;
        match *option {
            "--members" => extent.members = value,
            "--seed" => (extent.from, extent.seeds) = (value, 1),
            "--from" => extent.from = value,
            "--seeds" => extent.seeds = value,
            "--minutes" => {
                extent.time = Some(Duration::from_secs(60 * value));
                extent.seeds = u64::MAX - extent.from;
            }
            _ => return None,
        }
    }
    Some(if play(&extent).is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plants all bugs, those too that take long to show.
pub fn planted() -> ExitCode {
    let long = [&PLANTED[..], &["--", "--include-ignored"]].concat();
    test::cargo(&long, &[])
}

/// The test that plants bugs. Its feature is asked for here and nowhere else.
pub const PLANTED: [&str; 8] = [
    "test",
    "--package",
    "holdfast-sim",
    "--features",
    "planted",
    "--test",
    "planted",
    "--no-fail-fast",
];

/// Fresh seeds of so many members for so many seconds, as CI plays them. Says what failed, by seed: nobody meets a fresh
/// seed twice by chance.
pub fn for_seconds(members: u64, seconds: u64) -> Vec<String> {
    let time = Some(Duration::from_secs(seconds));
    play(&Extent { members, handed_on: Vec::new(), from: fresh(), seeds: u64::MAX / 2, time })
}

/// Where nobody began before.
fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    now % 1_000_000_000 * 1000
}

/// Plays seeds until one fails, and says what failed.
fn play(extent: &Extent) -> Vec<String> {
    if test::cargo(&["build", "--package", "holdfast-sim"], &[]) != ExitCode::SUCCESS {
        return vec!["the simulation does not compile".to_string()];
    }
    let program = test::target_dir().join("debug/holdfast-sim");
    let Extent { members, from, seeds, time, .. } = *extent;
    let (next, clean, failures) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    let until = time.map(|time| began + time);
    println!("sim: {members} members, seeds from {from}");
    let worker = || {
        while held(&failures).is_empty() && until.is_none_or(|until| Instant::now() < until) {
            let first = next.fetch_add(SEEDS_PER_PROCESS, Ordering::Relaxed);
            if seeds <= first {
                return;
            }
            let count = SEEDS_PER_PROCESS.min(seeds - first);
            match play_some(&program, extent, from + first, count) {
                None => clean.fetch_add(count, Ordering::Relaxed),
                Some(failure) => return held(&failures).push(failure),
            };
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(worker);
        }
    });
    let clean = clean.load(Ordering::Relaxed);
    println!("sim: {clean} seeds clean in {} s", began.elapsed().as_secs());
    let mut failures = std::mem::take(&mut *held(&failures));
    if failures.is_empty() && clean == 0 {
        failures.push("nothing was played, so nothing was shown".to_string());
    }
    failures
}

/// Plays seeds in one process. What it printed is shown, and the line that names the seed returned, when one fails.
fn play_some(program: &Path, extent: &Extent, first: u64, count: u64) -> Option<String> {
    let mut command = Command::new(program);
    command.args(["--members", &extent.members.to_string()]).args(&extent.handed_on);
    command.args(["--from", &first.to_string(), "--seeds", &count.to_string()]);
    command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = match output {
        Ok(output) if output.status.success() => return None,
        Ok(output) => output,
        Err(error) => return Some(format!("the simulation does not start: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let named = text.lines().find(|line| line.starts_with("seed ") && line.contains(" failed: "));
    let died = || {
        let last = first + count - 1;
        format!("one of the seeds {first} to {last} ended the process: {}", output.status)
    };
    Some(named.map_or_else(died, str::to_string))
}

fn held(failures: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

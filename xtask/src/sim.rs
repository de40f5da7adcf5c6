//! `cargo xtask sim`: plays seeds of the simulation on all cores, for so many seeds or so many minutes.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{root, test};

/// Seeds that one process plays.
const SEEDS_PER_PROCESS: u64 = 20;
/// Seeds when nothing is said.
const SEEDS: u64 = 500;

/// What to play.
#[derive(Clone, Copy, Debug)]
struct Extent {
    from: u64,
    seeds: u64,
    /// How long at most, the build not counted.
    time: Option<Duration>,
}

/// Takes the words after `sim`; `None` when they make no sense.
pub fn run(options: &[&str]) -> Option<ExitCode> {
    let mut extent = Extent { from: fresh(), seeds: SEEDS, time: None };
    if options == ["--planted"] {
        return Some(test::cargo(&PLANTED, &[]));
    }
    for pair in options.chunks(2) {
        let [option, value] = pair else { return None };
        let value: u64 = value.parse().ok()?;
        match *option {
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
    Some(play(extent))
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

/// Fresh seeds for so many seconds, as CI plays them.
pub fn for_seconds(seconds: u64) -> bool {
    let time = Some(Duration::from_secs(seconds));
    play(Extent { from: fresh(), seeds: u64::MAX / 2, time }) == ExitCode::SUCCESS
}

/// Where nobody began before.
fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    now % 1_000_000_000 * 1000
}

fn play(extent: Extent) -> ExitCode {
    if test::cargo(&["build", "--package", "holdfast-sim"], &[]) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("debug/holdfast-sim");
    let Extent { from, seeds, time } = extent;
    let (next, clean, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let until = time.map(|time| began + time);
    println!("sim: seeds from {from}");
    let worker = || {
        while !failed.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let first = next.fetch_add(SEEDS_PER_PROCESS, Ordering::Relaxed);
            if seeds <= first {
                return;
            }
            let count = SEEDS_PER_PROCESS.min(seeds - first);
            let mut command = Command::new(&program);
            command.args(["--from", &(from + first).to_string(), "--seeds", &count.to_string()]);
            match command.env("RUST_BACKTRACE", "0").status() {
                Ok(status) if status.success() => clean.fetch_add(count, Ordering::Relaxed),
                _ => return failed.store(true, Ordering::Relaxed),
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
    // Nothing played is nothing shown.
    let failed = failed.load(Ordering::Relaxed) || clean == 0;
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! The machines that try to break durability: crash, rot, fuzz. Each has a bound in time and a short form in CI.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::{root, test};

/// Takes `--name value` pairs and lone flags apart; `None` if there is one that is not known.
fn options<'a>(
    words: &[&'a str],
    names: &[&str],
    flags: &[&str],
) -> Option<Vec<(&'a str, &'a str)>> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if flags.contains(word) {
            found.push((*word, ""));
        } else if names.contains(word) {
            found.push((*word, *words.next()?));
        } else {
            return None;
        }
    }
    Some(found)
}

fn value<'a>(options: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    options.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Every operation of both logs as the last; about six minutes, or with `--full` half an hour.
pub fn crash(words: &[&str]) -> Option<ExitCode> {
    let options = options(words, &["--seed"], &["--full"])?;
    let full = value(&options, "--full").is_some();
    let stride = if full { "1" } else { "11" };
    let mut variables =
        vec![("HOLDFAST_STRIDE", "1".to_string()), ("HOLDFAST_RECOVERY_STRIDE", stride.into())];
    if let Some(seed) = value(&options, "--seed") {
        variables.push(("HOLDFAST_SEED", seed.into()));
    }
    let together = ["test", "--package", "holdfast-proof", "--test", "crash", "--", "--nocapture"];
    let apart =
        ["test", "--package", "holdfast-wal", "--package", "holdfast-store", "--test", "crash"];
    let first = test::cargo(&together, &variables);
    Some(if first == ExitCode::SUCCESS { test::cargo(&apart, &[]) } else { first })
}

/// Damaged directories; about a minute.
pub fn rot(words: &[&str]) -> Option<ExitCode> {
    let options = options(words, &["--seed", "--cases"], &[])?;
    let cases = value(&options, "--cases").unwrap_or("10000");
    let mut variables = vec![("HOLDFAST_CASES", cases.to_string())];
    if let Some(seed) = value(&options, "--seed") {
        variables.push(("HOLDFAST_SEED", seed.into()));
    }
    let together = ["test", "--package", "holdfast-proof", "--test", "rot", "--", "--nocapture"];
    let apart =
        ["test", "--package", "holdfast-wal", "--package", "holdfast-store", "--test", "rot"];
    let first = test::cargo(&together, &variables);
    Some(if first == ExitCode::SUCCESS { test::cargo(&apart, &[]) } else { first })
}

const TARGETS: [&str; 10] =
    ["wal", "store", "bolt", "request", "json", "http2", "frames", "rpc", "peer", "raft"];

/// What libFuzzer needs of the compiler to see which code an input reaches. All of it is stable.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Ten minutes a target, or as many as were asked for; `--blind` without libFuzzer.
pub fn fuzz(words: &[&str]) -> Option<ExitCode> {
    let options = options(words, &["--target", "--minutes", "--seed"], &["--blind"])?;
    let minutes: f64 = value(&options, "--minutes").unwrap_or("10").parse().ok()?;
    let seconds = format!("{}", (minutes * 60.0) as u64);
    let targets: Vec<&str> = match value(&options, "--target") {
        Some(target) => vec![*TARGETS.iter().find(|known| **known == target)?],
        None => TARGETS.to_vec(),
    };
    let seed = value(&options, "--seed").unwrap_or("0");
    let blind = value(&options, "--blind").is_some();
    if !blind && !build() {
        return Some(ExitCode::FAILURE);
    }
    let failed: Vec<&str> = targets
        .into_iter()
        .filter(|target| {
            let done =
                if blind { mutate(target, &seconds, seed) } else { watch(target, &seconds, seed) };
            !done
        })
        .collect();
    for target in &failed {
        println!("fuzz: {target} failed; its input lies in fuzz/artifacts/{target}");
    }
    Some(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target_dir() -> PathBuf {
    test::target_dir().join("fuzz")
}

fn build() -> bool {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--target", TRIPLE]).current_dir(root().join("fuzz"));
    command.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", target_dir());
    command.status().is_ok_and(|status| status.success())
}

/// libFuzzer: new inputs go to the target directory, so that the corpus stays what was chosen.
fn watch(target: &str, seconds: &str, seed: &str) -> bool {
    let found = target_dir().join("found").join(target);
    let artifacts = root().join("fuzz/artifacts").join(target);
    let made = [&found, &artifacts].map(std::fs::create_dir_all);
    if made.iter().any(Result::is_err) {
        return false;
    }
    let mut command = Command::new(target_dir().join(TRIPLE).join("release").join(target));
    command.arg(&found).arg(root().join("fuzz/corpus").join(target));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args([format!("-max_total_time={seconds}"), format!("-seed={seed}")]);
    command.args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"]);
    command.status().is_ok_and(|status| status.success())
}

fn mutate(target: &str, seconds: &str, seed: &str) -> bool {
    let mut arguments = vec!["run", "--quiet", "--package", "holdfast-fuzz", "--", target, seconds];
    if seed != "0" {
        arguments.push(seed);
    }
    test::cargo(&arguments, &[]) == ExitCode::SUCCESS
}

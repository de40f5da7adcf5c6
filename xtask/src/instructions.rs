//! Instructions counted: what a put, a get and a watched put take in the pure core.
//!
//! Seconds depend on the machine and on who else is on it; instructions do not. `holdfast-core` drives the
//! heart of a member on one thread, and callgrind counts. Two runs of different length are subtracted, so
//! that what starting takes does not count. The limits in `xtask/instructions.toml` are a little above what
//! was measured when they were set: a change that loses what was won is seen at once. One that wins lowers
//! them.
//!
//! What this cannot see: waiting, system calls, threads, caches, and everything outside the pure crates.

use std::process::Command;

use crate::{root, test};

const LIMITS: &str = "xtask/instructions.toml";
/// Operations of the shorter and the longer run.
const RUNS: [u64; 2] = [500, 1_500];
/// How far below its limit a count must be before the limit is to be lowered.
const SLACK_PERCENT: u64 = 25;

/// Whether there is a valgrind to count with.
pub fn is_possible() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What is above its limit, or so far below that the limit no longer holds anything.
pub fn check() -> Vec<String> {
    if !is_possible() {
        return vec!["valgrind is missing: apt-get install valgrind".to_owned()];
    }
    let built = test::cargo(
        &["build", "--release", "--package", "holdfast-bench", "--bin", "holdfast-core"],
        &[],
    );
    if built != std::process::ExitCode::SUCCESS {
        return vec!["the driver does not compile".to_owned()];
    }
    let text = std::fs::read_to_string(root().join(LIMITS)).unwrap_or_default();
    let limits = text.lines().filter_map(|line| line.split_once(" = "));
    limits.filter_map(|(what, limit)| judge(what, limit.parse().ok()?)).collect()
}

fn judge(what: &str, limit: u64) -> Option<String> {
    let [Some(short), Some(long)] = RUNS.map(|operations| count(what, operations)) else {
        return Some(format!("{what}: the driver did not run under callgrind"));
    };
    let each = (long - short) / (RUNS[1] - RUNS[0]);
    println!("instructions: {what} takes {each}, {limit} are allowed");
    if limit < each {
        return Some(format!("{what} takes {each} instructions, {limit} are allowed ({LIMITS})"));
    }
    let too_loose = each + limit * SLACK_PERCENT / 100 < limit;
    too_loose.then(|| format!("{what} takes only {each}: lower its {limit} in {LIMITS}"))
}

/// All instructions of a run, from callgrind's last line: `==1== Collected : 4242`.
fn count(what: &str, operations: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(test::target_dir().join("release/holdfast-core"))
        .args([what, &operations.to_string()])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, collected) = said.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok()
}

//! Everything CI runs, in one command, counted in one line.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::{arrows, instructions, package, root, sim, tidy};

/// For so long fresh seeds are played.
const SIM_SECONDS: u64 = 45;

/// And of clusters.
const SIM_CLUSTER_SECONDS: u64 = 30;

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Everything,
    /// Without the tests that start real processes.
    Quick,
}

/// What has been counted so far.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    failures: Vec<String>,
    /// What each failed test printed first, said again at the end: who reads only the end of a log shall find it there.
    said: Vec<Vec<String>>,
}

/// So many lines of what failed tests printed are said again, divided among them.
const LINES_SAID: usize = 16;
/// But never fewer of one test: its name, where it panicked, and the first line of why.
const FEWEST_LINES_SAID: usize = 3;
/// Of a line, so many characters are said again.
const CHARACTERS_SAID: usize = 400;

impl Tally {
    /// Counts a check that either holds or does not.
    fn check(&mut self, name: &str, holds: bool) {
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_string());
        }
    }

    /// Keeps a line if it is what a failed test printed. `saying` is whether the line before was, and the answer whether
    /// this one is.
    fn say(&mut self, line: &str, saying: bool) -> bool {
        if line.starts_with("---- ") {
            self.said.push(vec![line.to_owned()]);
            return true;
        }
        let saying = saying && line != "failures:";
        if let Some(said) = self.said.last_mut()
            && saying
            && said.len() < LINES_SAID
            && !line.trim().is_empty()
        {
            said.push(line.chars().take(CHARACTERS_SAID).collect());
        }
        saying
    }

    /// What failed tests printed first, as many lines of each as there is room for.
    fn said_again(&self) -> impl Iterator<Item = &String> {
        let each = (LINES_SAID / self.said.len().max(1)).max(FEWEST_LINES_SAID);
        self.said.iter().flat_map(move |said| said.iter().take(each))
    }

    /// Takes a closing line of Rust's test runner: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn read(&mut self, line: &str) -> bool {
        let Some(counts) = line.trim().strip_prefix("test result: ") else { return false };
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
        true
    }
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo with its output shown.
pub fn cargo(arguments: &[&str], variables: &[(&str, String)]) -> ExitCode {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .current_dir(root())
        .envs(variables.iter().map(|(name, value)| (name, value)));
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs the checks, then the tests, and ends with the plain line that counts them all.
pub fn run(extent: Extent) -> ExitCode {
    let mut tally = Tally::default();
    step("format", &["fmt", "--all", "--check"], &[], &mut tally);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    step("clippy", &clippy, &[], &mut tally);
    complaints("arrows", &arrows::check(), &mut tally);
    complaints("tidy", &tidy::check(), &mut tally);
    let documented = ["doc", "--workspace", "--no-deps", "--quiet"];
    step("docs", &documented, &[("RUSTDOCFLAGS", "--deny warnings".to_string())], &mut tally);

    let unit = ["test", "--workspace", "--exclude", "holdfast-robust", "--no-fail-fast"];
    tests("unit, scenario, model and crash tests", &unit, &[], &mut tally);
    println!("== simulation: fresh seeds");
    for (members, seconds) in [(1, SIM_SECONDS), (3, SIM_CLUSTER_SECONDS)] {
        let failures = sim::for_seconds(members, seconds);
        let name = format!("simulation: fresh seeds, {members} members: {}", failures.join(", "));
        tally.check(&name, failures.is_empty());
    }
    tests("simulation: planted bugs", &sim::PLANTED, &[], &mut tally);
    if extent == Extent::Everything {
        with_processes(&mut tally);
    }

    for line in tally.said_again() {
        println!("{line}");
    }
    for failure in &tally.failures {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The tests with real processes, against the server built for release (or the one `HOLDFAST_ETCD` names).
fn with_processes(tally: &mut Tally) {
    let target = target_dir();
    let server = match std::env::var("HOLDFAST_ETCD") {
        Ok(named) => named,
        Err(_) => {
            step(
                "release build",
                &["build", "--release", "--package", "etcd", "--package", "etcdutl"],
                &[],
                tally,
            );
            target.join("release/etcd").display().to_string()
        }
    };
    if instructions::is_possible() {
        complaints("instructions", &instructions::check(), tally);
    } else {
        println!("skipped: instructions: valgrind is missing: apt-get install valgrind");
        if std::env::var("CI").is_ok() {
            tally.check("instructions: valgrind is missing", false);
        }
        tally.skipped += 1;
    }
    packages(tally);
    let skips = target.join("skipped-tests.txt");
    // It is there only when an earlier run skipped something.
    let _ = std::fs::remove_file(&skips);
    let variables = [("HOLDFAST_ETCD", server), ("HOLDFAST_SKIPS", skips.display().to_string())];
    let robust = ["test", "--package", "holdfast-robust", "--no-fail-fast"];
    tests("oracle, runbooks, clients, kill -9", &robust, &variables, tally);
    let skipped = std::fs::read_to_string(&skips).unwrap_or_default();
    for line in skipped.lines() {
        println!("skipped: {line}");
    }
    // A test that reported itself as skipped returned without a failure, so the runner counted it as passed
    // (one that needs several parts may report more than once).
    let tests: std::collections::BTreeSet<&str> =
        skipped.lines().filter_map(|line| line.split([':', ' ']).next()).collect();
    let moved = tests.len().min(tally.passed);
    tally.passed -= moved;
    tally.skipped += moved;
}

/// Builds the Debian packages and installs them on a Debian that is thrown away.
fn packages(tally: &mut Tally) {
    println!("== packages");
    let started = Instant::now();
    match package::try_out() {
        Ok(None) => tally.check("packages", true),
        Ok(Some(reason)) => {
            println!("skipped: packages: {reason}");
            if std::env::var("CI").is_ok() {
                tally.check(&format!("packages: {reason}"), false);
            }
            tally.skipped += 1;
        }
        Err(why) => {
            println!("packages: {why}");
            tally.check("packages", false);
        }
    }
    println!("== packages: {} s", started.elapsed().as_secs());
}

fn complaints(name: &str, found: &[String], tally: &mut Tally) {
    println!("== {name}");
    for complaint in found {
        println!("{name}: {complaint}");
    }
    tally.check(name, found.is_empty());
}

/// One cargo command that counts as one check.
fn step(name: &str, arguments: &[&str], variables: &[(&str, String)], tally: &mut Tally) {
    println!("== {name}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let holds = cargo(arguments, variables) == ExitCode::SUCCESS;
    println!("== {name}: {} s", started.elapsed().as_secs());
    tally.check(name, holds);
}

/// One `cargo test`, whose closing lines are counted. When it fails without a failed test, it did not
/// compile, or a test binary died: that counts as one failure.
fn tests(name: &str, arguments: &[&str], variables: &[(&str, String)], tally: &mut Tally) {
    println!("== {name}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root()).stdout(Stdio::piped());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().expect("cargo runs, because it ran this");
    let output = BufReader::new(child.stdout.take().expect("it was piped"));
    let failed_before = tally.failed;
    let mut saying = false;
    for line in output.lines().map_while(Result::ok) {
        println!("{line}");
        saying = tally.say(&line, saying);
        if !tally.read(&line) && line.starts_with("test ") && line.ends_with("FAILED") {
            tally.failures.push(line);
        }
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    if !succeeded && tally.failed == failed_before {
        tally.check(name, false);
    }
    println!("== {name}: {} s", started.elapsed().as_secs());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failed_test_has_its_say_at_the_end() {
        let mut tally = Tally::default();
        let mut saying = false;
        for name in ["one", "two", "three", "four"] {
            for line in [&format!("---- {name} stdout ----"), "", "panicked at", "why"] {
                saying = tally.say(line, saying);
            }
            for number in 0..40 {
                saying = tally.say(&format!("{name} log {number}"), saying);
            }
        }
        for line in ["failures:", "    one"] {
            saying = tally.say(line, saying);
        }
        assert!(!saying);
        let said: Vec<_> = tally.said_again().collect();
        assert_eq!(said.len(), LINES_SAID);
        assert_eq!(said[4..8], ["---- two stdout ----", "panicked at", "why", "two log 0"]);
    }

    #[test]
    fn closing_lines_of_the_test_runner_are_added_up() {
        let mut tally = Tally::default();
        assert!(tally.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s"));
        assert!(tally.read(
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out"
        ));
        assert!(!tally.read("test something ... ok"));
        assert_eq!((tally.passed, tally.failed, tally.skipped), (7, 2, 1));
    }
}

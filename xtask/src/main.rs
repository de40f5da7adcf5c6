//! The project's own commands: `cargo xtask <command>`.
//!
//! `test` runs what CI runs. It installs nothing; a foreign part that is missing is named, its tests
//! are counted as skipped, and with `CI=true` they fail.

mod arrows;
mod instructions;
mod package;
mod proof;
mod sim;
mod source;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask <command>

  test [--quick]   everything CI runs; --quick leaves out the tests with real processes
  arrows           which crate may depend on what, and what may be named where
  tidy             sizes, left-overs, names that do not belong here, dead links
  tidy --tighten   lowers the numbers in xtask/tidy.toml to what is true now
  crash [--full]   every write and sync of wal and store, together and apart, cut, torn, lost,
                   failed; and again during recovery [--seed N] (minutes; --full: half an hour)
  rot              data directories that rot [--cases N] [--seed N] (a minute)
  fuzz             any bytes to whatever reads bytes [--target NAME] [--minutes N] [--seed N]
                   [--blind] (ten minutes a target; --blind without libFuzzer)
  oracle           the same requests to us and to real etcd
                   [--area NAME] [--seed N] [--episodes N]
  cluster          clusters in network namespaces, harmed in every way and judged after each round; needs root
                   [--rounds N] [--seed S] [--minutes M]
  kill             kill -9 under load and judge what is left [--rounds N] [--seed N]
  soak             all attacks at once beside a putter, and what they cost it; writes docs/bench/soak.md
                   [--minutes N] (ten)
  sim              whole members in one thread, from a seed: crashes, ill disks and networks, pauses, slow clients
                   [--members N] [--seed N] [--seeds N] [--from N] [--minutes N] [--shrink] [--operations N]
                   [--without crashes|disks|network|membership|watchers]
  planted          does the simulation find the bugs that are planted? All of them (minutes)
  bench            us and a real etcd, driven in turn on this machine; writes docs/bench/
                   [--secured: certificates, users] [--cluster: three members of each] [--quick] [--workload NAME] [--rounds N] [--minutes N]
  package          what an operator installs, into target/packages/: Debian packages and a tarball of
                   static programs [deb | tarball | image | try]
  instructions     counts what put, get and watch take in the pure core, under valgrind
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => test::run(test::Extent::Everything),
        ["test", "--quick"] => test::run(test::Extent::Quick),
        ["arrows"] => report("arrows", &arrows::check()),
        ["tidy"] => report("tidy", &tidy::check()),
        ["tidy", "--tighten"] => tidy::tighten(),
        ["crash", options @ ..] => proof::crash(options).unwrap_or_else(usage),
        ["rot", options @ ..] => proof::rot(options).unwrap_or_else(usage),
        ["fuzz", options @ ..] => proof::fuzz(options).unwrap_or_else(usage),
        ["oracle", options @ ..] => robust("oracle::", options),
        ["cluster", options @ ..] => cluster(options),
        ["kill", options @ ..] => robust("kill::", options),
        ["soak"] => soak("10"),
        ["soak", "--minutes", minutes] => soak(minutes),
        ["planted"] => sim::planted(),
        ["sim", options @ ..] => sim::run(options).unwrap_or_else(usage),
        ["bench", options @ ..] => bench(options),
        ["package", options @ ..] => package::run(options).unwrap_or_else(usage),
        ["instructions"] => report("instructions", &instructions::check()),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies one folder below the root").to_path_buf()
}

/// Lets a server built for release be attacked for so many minutes, and writes down what was seen.
fn soak(minutes: &str) -> ExitCode {
    let Ok(minutes) = minutes.parse::<u64>() else { return usage() };
    if test::cargo(&["build", "--release", "--package", "etcd"], &[]) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let seen = root().join("target").join("soak.md");
    let variables = [
        ("HOLDFAST_SOAK", (60 * minutes).to_string()),
        ("HOLDFAST_SOAK_REPORT", seen.display().to_string()),
    ];
    let filter = "soak::all_attacks_at_once";
    let arguments =
        ["test", "--package", "holdfast-robust", "--test", "main", "--", filter, "--nocapture"];
    let outcome = test::cargo(&arguments, &variables);
    if outcome == ExitCode::SUCCESS {
        let seen = std::fs::read_to_string(seen).expect("the test has written it");
        let page = format!("{SOAK_HEAD}{seen}");
        std::fs::write(root().join("docs/bench/soak.md"), page).expect("the page can be written");
    }
    outcome
}

const SOAK_HEAD: &str = "\
# All attacks at once

What `cargo xtask soak` saw last: every attack of `crates/proof/robust/tests/soak.rs` again and again beside one client that
puts a key every 50 ms, before that the same client alone. Attackers, putter and server share the machine's cores.

";

/// Builds the server and the benchmark for release, then lets the benchmark run.
fn bench(options: &[&str]) -> ExitCode {
    let built = ["build", "--release", "--package", "etcd", "--package", "holdfast-bench"];
    if test::cargo(&built, &[]) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let run = ["run", "--release", "--package", "holdfast-bench", "--bin", "holdfast-bench", "--"];
    test::cargo(&[&run, options].concat(), &[])
}

/// Builds the server, then harms clusters of it: 200 rounds, unless told otherwise.
fn cluster(options: &[&str]) -> ExitCode {
    if test::cargo(&["build", "--package", "etcd"], &[]) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let bounded = options.iter().any(|option| ["--rounds", "--minutes"].contains(option));
    let rounds: &[&str] = if bounded { &[] } else { &["--rounds", "200"] };
    robust("rounds::", &[options, rounds].concat())
}

fn report(name: &str, complaints: &[String]) -> ExitCode {
    for complaint in complaints {
        println!("{name}: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs part of the tests with real processes; options become the variables those tests read.
fn robust(filter: &str, options: &[&str]) -> ExitCode {
    let mut variables = Vec::new();
    for pair in options.chunks(2) {
        let [option, value] = pair else {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        };
        let variable = match *option {
            "--area" => "HOLDFAST_AREA",
            "--seed" => "HOLDFAST_SEED",
            "--episodes" => "HOLDFAST_EPISODES",
            "--rounds" => "HOLDFAST_ROUNDS",
            "--minutes" => "HOLDFAST_MINUTES",
            _ => {
                eprint!("{USAGE}");
                return ExitCode::from(2);
            }
        };
        variables.push((variable, value.to_string()));
    }
    let arguments =
        ["test", "--package", "holdfast-robust", "--test", "main", "--", filter, "--nocapture"];
    test::cargo(&arguments, &variables)
}

/// All files git knows, relative to the root.
fn tracked_files() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let output = output.expect("git is there, because this is a clone");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split('\0').filter(|path| !path.is_empty()).map(str::to_string).collect()
}

//! The project's own commands: `cargo xtask <command>`.
//!
//! `test` runs what CI runs. It installs nothing; a foreign part that is missing is named, its tests
//! are counted as skipped, and with `CI=true` they fail.

mod arrows;
mod circles;
mod instructions;
mod package;
mod proof;
mod sim;
mod soak;
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
  endure           everything that ever made a store grow, for long, and what it costs a member; writes docs/bench/endure.md
                   and fails when something rises [--minutes N] (thirty; at least ten)
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
        ["soak"] => soak::attacked("10").unwrap_or_else(usage),
        ["soak", "--minutes", minutes] => soak::attacked(minutes).unwrap_or_else(usage),
        ["endure"] => soak::endured("30").unwrap_or_else(usage),
        ["endure", "--minutes", minutes] => soak::endured(minutes).unwrap_or_else(usage),
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

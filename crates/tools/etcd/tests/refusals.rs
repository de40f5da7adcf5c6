//! Ways of starting the server that end in a refusal, told in text files together with what is said.
//!
//! `refusals.txt` was recorded from a real etcd. Where `HOLDFAST_ORACLE_ETCD` names such a program it is
//! run as well and must still agree with the file; so the file cannot drift away from etcd unseen.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const LISTEN: &str = "--listen-peer-urls=http://127.0.0.1:0 --listen-client-urls=http://127.0.0.1:0 \
    --advertise-client-urls=http://localhost:2379";

/// One way of starting, and what it leads to.
struct Case {
    start: Vec<String>,
    expected: String,
}

fn cases(text: &str) -> Vec<Case> {
    let blocks = text.split("\n\n").filter_map(|block| {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let rule = lines.iter().position(|line| *line == "----")?;
        Some(Case {
            start: lines[..rule].iter().map(|line| (*line).to_owned()).collect(),
            expected: lines[rule + 1..].join("\n"),
        })
    });
    blocks.collect()
}

/// What a program said that ends by itself. One that serves instead is killed after a while.
fn ended(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = child.id().to_string();
    let (done, ends) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        if ends.recv_timeout(REFUSED_WITHIN) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // It may have ended just now.
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
    });
    let output = child.wait_with_output().expect("the program runs");
    drop(done);
    killer.join().expect("it ends with the program");
    output
}

/// How long a start may take to be refused on a busy machine.
const REFUSED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Starts the program in an empty directory and tells its exit code and last word.
fn verdict(program: &Path, start: &[String]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program);
    command.current_dir(&folder).env_clear().stdin(Stdio::null());
    let mut file = String::new();
    for line in start {
        if let Some(text) = line.strip_prefix("| ") {
            file.push_str(&text.replace("\\t", "\t"));
            file.push('\n');
        } else if let Some((name, value)) =
            line.split_once('=').filter(|_| line.starts_with("ETCD_"))
        {
            command.env(name, value);
        } else {
            command.args(line.replace("LISTEN", LISTEN).split_whitespace());
        }
    }
    if !file.is_empty() {
        std::fs::write(folder.path().join("etcd.yaml"), file).expect("writes");
    }
    let output = ended(command);
    let said = String::from_utf8_lossy(&output.stderr);
    let last_line =
        said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
    let word = match last_line {
        Some(line) => {
            let about = ["error", "environment-variable"].map(|key| line[key].as_str());
            let message = line["msg"].as_str().unwrap_or_default().to_owned();
            let about = about.into_iter().flatten().next();
            about.map_or(message.clone(), |about| format!("{message}: {about}"))
        }
        None => said.lines().next().unwrap_or_default().to_owned(),
    };
    format!("{} {word}", output.status.code().unwrap_or(-1))
}

#[track_caller]
fn check(program: &Path, text: &str) {
    let cases = cases(text);
    assert!(!cases.is_empty());
    let mut differences = String::new();
    for Case { start, expected } in &cases {
        let found = verdict(program, start);
        // An empty text at the end of a line does not survive editors.
        if found.trim_end() != expected.trim_end() {
            let start = start.join("\n");
            differences.push_str(&format!("{start}\nexpected {expected}\nfound    {found}\n\n"));
        }
    }
    assert!(differences.is_empty(), "{}:\n\n{differences}", program.display());
}

fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_etcd"))
}

#[test]
fn what_etcd_refuses_is_refused_with_its_words_and_exit_code() {
    check(ours(), include_str!("refusals.txt"));
}

#[test]
fn a_real_etcd_still_refuses_as_recorded() {
    match std::env::var_os("HOLDFAST_ORACLE_ETCD") {
        Some(oracle) => check(Path::new(&oracle), include_str!("refusals.txt")),
        None => println!("skipped: HOLDFAST_ORACLE_ETCD names no etcd 3.7"),
    }
}

#[test]
fn what_cannot_be_done_yet_is_refused_by_name() {
    check(ours(), include_str!("not_built.txt"));
}

/// A generator that needs no library: the same seed gives the same starts.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Settings of all kinds that this server has, or reads as if it had.
const SETTINGS: [&str; 36] = [
    "name",
    "data-dir",
    "snapshot-count",
    "election-timeout",
    "initial-election-tick-advance",
    "listen-peer-urls",
    "listen-client-urls",
    "listen-metrics-urls",
    "advertise-client-urls",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "quota-backend-bytes",
    "max-txn-ops",
    "max-request-bytes",
    "max-concurrent-streams",
    "max-wals",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "pre-vote",
    "strict-reconfig-check",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "log-level",
    "log-format",
    "enable-log-rotation",
    "metrics",
    "cors",
    "host-whitelist",
    "bcrypt-cost",
    "tls-min-version",
    "tls-max-version",
    "corrupt-check-time",
    "unsafe-no-fsync",
    "nosuch-setting",
];

/// What people type, and what they should not.
const VALUES: [&str; 44] = [
    "5",
    "-5",
    "0",
    "010",
    "0x1F",
    "1_000",
    "1e3",
    "1.5",
    "08",
    "0b101",
    "5s",
    "100ms",
    "1h30m",
    "-1s",
    "5d",
    "true",
    "false",
    "yes",
    "no",
    "on",
    "True",
    "t",
    "1",
    "null",
    "~",
    "m1",
    "new",
    "existing",
    "periodic",
    "revision",
    "debug",
    "INFO",
    "json",
    "basic",
    "*",
    "http://127.0.0.1:0",
    "http://localhost:1,http://[::1]:2",
    "https://h:1",
    "127.0.0.1:1",
    "http://a:b",
    "http://127.0.0.1",
    "a=http://b:1",
    "TLS1.2",
    "18446744073709551616",
];

fn with_any_case(chance: &mut Chance, name: &str) -> String {
    match chance.below(4) {
        // In any other case etcd takes it for a field of its own, which is no list.
        _ if name == "cors" => name.to_owned(),
        0 => name.to_uppercase(),
        1 => name[..1].to_uppercase() + &name[1..],
        _ => name.to_owned(),
    }
}

/// A start that is refused in the end, if nothing before it is.
fn generated(chance: &mut Chance) -> Vec<String> {
    if chance.below(2) == 0 {
        let mut line = "LISTEN --heartbeat-interval=0".to_owned();
        for _ in 0..=chance.below(2) {
            let (name, value) = (chance.one(&SETTINGS), chance.one(&VALUES));
            // Only one of two equal ones counts, and LISTEN has named these.
            if !name.ends_with("-urls") && name != "nosuch-setting" && !line.contains(name) {
                line += &format!(" --{name}={value}");
            }
        }
        return vec![line];
    }
    let mut start = vec!["| heartbeat-interval: 0".to_owned()];
    for _ in 0..=chance.below(3) {
        let (name, value) = (chance.one(&SETTINGS), chance.one(&VALUES));
        let name = with_any_case(chance, name);
        let value = match chance.below(5) {
            0 => format!("\"{value}\""),
            1 => format!("[{value}]"),
            // Bare, this one is an alias.
            _ if value == "*" => "'*'".to_owned(),
            _ => value.to_owned(),
        };
        start.push(format!("| {name}: {value}"));
    }
    start.push("--config-file etcd.yaml".to_owned());
    start
}

/// `HOLDFAST_SEED` and `HOLDFAST_CASES` play other starts, and more of them.
#[test]
fn starts_that_nobody_thought_of_are_refused_as_by_a_real_etcd() {
    let Some(oracle) = std::env::var_os("HOLDFAST_ORACLE_ETCD") else {
        return println!("skipped: HOLDFAST_ORACLE_ETCD names no etcd 3.7");
    };
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let seed = number("HOLDFAST_SEED", 0x5eed);
    println!("seed {seed}");
    let mut chance = Chance(seed.max(1));
    let mut differences = String::new();
    for _ in 0..number("HOLDFAST_CASES", 40) {
        let start = generated(&mut chance);
        let expected = verdict(Path::new(&oracle), &start).replace("panic: unrecog", "unrecog");
        let found = verdict(ours(), &start);
        if expected.trim_end() != found.trim_end() {
            let start = start.join("\n");
            differences += &format!("{start}\nexpected {expected}\nfound    {found}\n\n");
        }
    }
    assert!(differences.is_empty(), "seed {seed}:\n\n{differences}");
}

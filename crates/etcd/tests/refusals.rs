//! Ways of starting the server that end in a refusal, told in text files together with what is said.
//!
//! `refusals.txt` was recorded from a real etcd. Where `HOLDFAST_ORACLE_ETCD` names such a program it is
//! run as well and must still agree with the file; so the file cannot drift away from etcd unseen.

use std::path::Path;
use std::process::{Command, Stdio};

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
    let output = command.output().expect("the program runs");
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

//! An operator's commands as text: what is typed, and what must be seen.
//!
//! ```text
//! # A story.
//! server --quota-backend-bytes=16777216
//! $ etcdctl put a 1
//!   OK
//! ~$ etcdctl endpoint status
//!   , true,
//! restart
//! ```
//!
//! An indented line must be part of the output of the command above it (`  not: text` must not be).
//! A runbook is played against a server with a given etcdctl; two plays against two servers must have
//! the same output, but for commands marked `~$`, whose output holds times or sizes. Variables that a
//! command sets are there for the next one; `curl $SERVER/health` asks the server over HTTP, and `$CERTS` is where certificates
//! are. `crash` is kill -9 and a start, `restart` is SIGTERM and
//! a start.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Home, Server};

/// How long one command may take.
const COMMAND_DURATION_MAX: Duration = Duration::from_secs(90);

/// One line of a runbook.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Run { command: String, compared: bool, seen: Vec<String>, unseen: Vec<String> },
    Restart,
    Crash,
}

/// A runbook.
#[derive(Clone, Debug)]
pub struct Runbook {
    flags: Vec<String>,
    steps: Vec<Step>,
}

/// The programs a runbook's commands mean.
#[derive(Clone, Debug)]
pub struct Tools {
    /// What `etcdctl` is.
    pub etcdctl: PathBuf,
    /// What `etcdutl` is, if there is one: 3.4 had none.
    pub etcdutl: Option<PathBuf>,
}

/// How the server of a play is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// By everybody, in plain text.
    Open,
    /// With a certificate: each command has `--cacert --cert --key`.
    Tls,
    /// With a certificate, and as root: each command has `--user` too.
    Users,
}

/// What a command answered in one play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The command.
    pub command: String,
    /// Whether the output must be the same in every play.
    pub compared: bool,
    /// Its output, masked, and exit code.
    pub output: String,
}

impl Runbook {
    /// Reads a runbook; panics on lines it does not understand.
    #[track_caller]
    pub fn parse(text: &str) -> Runbook {
        let mut book = Runbook { flags: Vec::new(), steps: Vec::new() };
        for line in text.lines() {
            if let Some(flags) = line.strip_prefix("server ") {
                book.flags = flags.split(' ').map(str::to_string).collect();
            } else if let Some(command) = line.strip_prefix("$ ") {
                book.steps.push(run(command, true));
            } else if let Some(command) = line.strip_prefix("~$ ") {
                book.steps.push(run(command, false));
            } else if let Some(expected) = line.strip_prefix("  ") {
                book.expect(expected);
            } else if line == "restart" {
                book.steps.push(Step::Restart);
            } else if line == "crash" {
                book.steps.push(Step::Crash);
            } else {
                assert!(line.is_empty() || line.starts_with('#'), "not a runbook's line: {line}");
            }
        }
        book
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let Some(Step::Run { seen, unseen, .. }) = self.steps.last_mut() else {
            panic!("an expectation without a command: {expected}");
        };
        match expected.strip_prefix("not: ") {
            Some(text) => unseen.push(text.to_string()),
            None => seen.push(expected.to_string()),
        }
    }

    /// Plays the runbook on a fresh server. Panics when something is not seen that must be.
    #[track_caller]
    pub fn play(&self, server: &Path, tools: &Tools, door: Door) -> Vec<Heard> {
        let mut flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        if door == Door::Users {
            flags.extend(["--bcrypt-cost=4", "--client-cert-auth"]);
        }
        let home = Home::new(server, &flags);
        let mut server = if door == Door::Open { home } else { home.with_tls() }.start();
        prepare(server.home().folder(), tools, door);
        if door == Door::Users {
            let made = shell(
                &server,
                "for line in 'user add root:rootpw' 'user grant-role root root' \
                'auth enable'; do etcdctl --user= $line || exit 1; done",
            );
            assert!(made.contains("Authentication Enabled"), "{made}");
        }
        let mut heard = Vec::new();
        for step in &self.steps {
            match step {
                Step::Crash => server = server.kill_and_restart(),
                Step::Restart => {
                    let (home, status) = server.stop();
                    // Go programs end on SIGTERM with the signal itself, or with 0.
                    assert!(status.code().unwrap_or(0) == 0, "stopped with {status}");
                    server = home.start();
                }
                Step::Run { command, compared, seen, unseen } => {
                    let output = shell(&server, command);
                    check(command, &output, seen, unseen);
                    heard.push(Heard { command: command.clone(), compared: *compared, output });
                }
            }
        }
        heard
    }
}

fn run(command: &str, compared: bool) -> Step {
    Step::Run { command: command.to_string(), compared, seen: Vec::new(), unseen: Vec::new() }
}

#[track_caller]
fn check(command: &str, output: &str, seen: &[String], unseen: &[String]) {
    for text in seen {
        assert!(output.contains(text.as_str()), "$ {command}\n{output}\nwithout: {text}");
    }
    for text in unseen {
        assert!(!output.contains(text.as_str()), "$ {command}\n{output}\nwith: {text}");
    }
}

fn prepare(folder: &Path, tools: &Tools, door: Door) {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::create_dir_all(folder.join("work")).expect("a folder");
    match door {
        Door::Open => symlink(&tools.etcdctl, bin.join("etcdctl")).expect("a link"),
        Door::Tls | Door::Users => {
            let etcdctl = bin.join("etcdctl");
            fs::write(&etcdctl, with_certificate(folder, &tools.etcdctl, door)).expect("a file");
            fs::set_permissions(&etcdctl, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
    }
    if let Some(etcdutl) = &tools.etcdutl {
        symlink(etcdutl, bin.join("etcdutl")).expect("a link");
    }
}

/// An etcdctl that shows a certificate, and is root unless the command says who it is.
fn with_certificate(folder: &Path, etcdctl: &Path, door: Door) -> String {
    let user = match door {
        Door::Users => {
            "case \" $* \" in *' --user'*) ;; *) set -- --user=root:rootpw \"$@\";; esac"
        }
        Door::Open | Door::Tls => "",
    };
    let (folder, etcdctl) = (folder.display(), etcdctl.display());
    let files = format!(
        "--cacert={folder}/ca.pem --cert={folder}/nameless.pem --key={folder}/nameless.key"
    );
    format!("#!/bin/bash\n{user}\nexec {etcdctl} {files} \"$@\"\n")
}

/// What curl is called with for a path of the server.
fn curl_arguments(server: &Server) -> String {
    let (scheme, address) = (server.home().scheme(), server.address());
    let folder = server.home().folder().display();
    let files = match scheme {
        "https" => format!(
            "--cacert {folder}/ca.pem --cert {folder}/nameless.pem --key {folder}/nameless.key "
        ),
        _ => String::new(),
    };
    format!("{files}{scheme}://{address}")
}

/// Runs one command with bash, in a process group of its own that ends with it at the latest when the
/// server's home goes.
fn shell(server: &Server, command: &str) -> String {
    let folder = server.home().folder();
    let path = std::env::var("PATH").unwrap_or_default();
    let script = format!(
        "set -o pipefail; [ -f ../variables ] && . ../variables; set -a\n{command}\ncode=$?\nset +a; export -p > ../variables; exit $code\n"
    );
    let output = folder.join("output");
    let file = fs::File::create(&output).expect("a file");
    let mut child = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(folder.join("work"))
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", endpoint(server))
        .env("SERVER", curl_arguments(server))
        .env("CERTS", folder)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a file can be shared"))
        .stderr(file)
        .process_group(0)
        .spawn()
        .expect("bash is there");
    let deadline = Instant::now() + COMMAND_DURATION_MAX;
    let status = loop {
        match child.try_wait().expect("a child can be asked") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().expect("it can be killed");
                child.wait().expect("it can be waited for");
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = fs::read(&output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut text = mask(&text.unwrap_or_default(), server);
    match status.map(|status| status.code()) {
        Some(Some(0)) => {}
        Some(code) => text += &format!("(exit {code:?})\n"),
        None => text += "(did not end in time)\n",
    }
    text
}

fn endpoint(server: &Server) -> String {
    match server.home().scheme() {
        "https" => format!("https://{}", server.address()),
        // The tools show it as it was given.
        _ => server.address(),
    }
}

/// Addresses, folders, ids of 16 hexadecimal digits, durations and log lines are not the same in two plays.
fn mask(text: &str, server: &Server) -> String {
    let folder = server.home().folder().display().to_string();
    let text = text
        .replace(&endpoint(server), "ADDRESS")
        .replace(&server.address(), "ADDRESS")
        .replace(&folder, "FOLDER");
    // The tools' own log lines hold times and stacks.
    let text: String =
        text.split_inclusive('\n').filter(|line| !line.starts_with("{\"level\":")).collect();
    mask_words(&text)
}

fn mask_words(text: &str) -> String {
    let mut out = String::new();
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != 'µ';
    for word in text.split_inclusive(ends) {
        let tail = word.chars().last().filter(|c| !c.is_ascii_alphanumeric());
        let end = word.len() - tail.map_or(0, char::len_utf8);
        let (body, tail) = word.split_at(end);
        out += &mask_word(body);
        out += tail;
    }
    out
}

fn mask_word(word: &str) -> String {
    let id = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let member = word == "8e9e05c52164694d" || word == "cdf818194e3a8c32";
    let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let unit = &word[number.len()..];
    let duration = matches!(unit, "ms" | "µs" | "s" | "m") && number.contains('.');
    if id && !member {
        "ID".to_string()
    } else if duration {
        "DURATION".to_string()
    } else {
        word.to_string()
    }
}

/// What differs between two plays, for people; empty when nothing does.
pub fn differences(reference: &[Heard], subject: &[Heard]) -> String {
    let mut out = String::new();
    for (one, two) in reference.iter().zip(subject).filter(|(one, _)| one.compared) {
        if one != two {
            out += &format!(
                "$ {}\n--- reference\n{}--- subject\n{}\n",
                one.command, one.output, two.output
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_duration_is_masked() {
        for duration in ["837.312µs", "2.5ms", "1.000201s", "13.2s"] {
            assert_eq!(mask_words(&format!("took = {duration}\n")), "took = DURATION\n");
        }
        let kept = "took = 3, in 4.5 (v3.4.23), 10s\n";
        assert_eq!(mask_words(kept), kept);
    }
}

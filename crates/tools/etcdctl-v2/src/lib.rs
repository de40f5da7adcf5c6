//! `ETCDCTL_API=2 etcdctl`: the command line client of etcd's old API, as etcd 3.4 has it.
//!
//! Reading order: `spec` (commands and flags as data), `parse` and `help` (what was typed, by the rules of the two
//! libraries Go's etcdctl is made of), `connect` (flags and environment become a client), `api` (what is asked of
//! members over HTTP, and who is asked next when one does not answer), `commands` (what each does and prints).
//!
//! Words, streams and exit codes are those of etcdctl 3.4 (`docs/etcd/etcdctl.md` B); `docs/etcdctl-v2.md` says where
//! ours differs.
//!
//! Not here: the server's side of that API, and what etcdctl does for API v3.

mod api;
mod commands;
mod connect;
mod exit;
mod help;
mod parse;
mod prompt;
mod render;
mod spec;
mod url;

use std::ffi::OsString;
use std::process::ExitCode;

use parse::Outcome;

/// Does what was typed behind the program's name, and gives what the process ends with.
pub fn run(typed: Vec<OsString>) -> ExitCode {
    let typed: Vec<String> =
        typed.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match parse::parse(&typed) {
        Outcome::Say { stdout, stderr, code } => {
            exit::print(stdout.as_bytes());
            exit::complain(&stderr);
            ExitCode::from(code)
        }
        Outcome::Run(does, call) => match commands::run(does, &call) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
    }
}

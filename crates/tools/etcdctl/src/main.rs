//! etcdctl: the command line client.
//!
//! Reading order: `spec` (commands and flags as data), `args` (what was typed), `settings` (flags and
//! environment become a client), `commands` (what each does), `output` (how answers look).
//!
//! Words, streams and exit codes are etcd's (`docs/etcd/etcdctl.md`); what we add never gets in the way
//! of a script: progress bars only on a terminal, hints only where nothing else would be said.

mod args;
mod commands;
mod completion;
mod docs;
mod exit;
mod help;
mod journal;
mod output;
mod progress;
mod prompt;
mod settings;
mod spec;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Outcome;

fn main() -> ExitCode {
    // Where even this fails, the signals do what they always did.
    let _ = go::outlive_signals();
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    if std::env::var_os("ETCDCTL_API").is_some_and(|version| version == "2") {
        return etcdctl_v2::run(typed);
    }
    let ended = match args::parse(typed) {
        Outcome::Say { stdout, stderr, code } => {
            output::print(stdout.as_bytes());
            output::complain(&stderr);
            return ExitCode::from(code);
        }
        Outcome::Run(does, call) => commands::run(does, call),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

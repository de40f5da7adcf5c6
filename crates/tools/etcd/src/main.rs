//! The server's program: reads what it was told, opens the log, runs a member or a proxy, ends when asked to.
//!
//! Exit codes are etcd's: 0 after help, 1 for a fault, 2 for a command line nobody can read; asked by a
//! signal to end, it ends in order and then by that very signal.
//!
//! A panic is an impossibility that came true. The process says so and ends at once, whichever thread it
//! was: a stopped member is a nuisance, a wrong one is a disaster.

mod beside;
mod data_dir;
mod discovery;
mod holder;
mod host;
mod memory;
mod notify;
mod refuse;
mod remarks;
mod report;
mod run;
mod signals;
mod tracing;

use std::io::Write;
use std::process::ExitCode;

use options::{Outcome, Start, parse};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    memory::configure();
    // Where even this fails, the signals do what they always did.
    let _ = go::outlive_signals();
    let words: Vec<String> = std::env::args_os().map(lossy).collect();
    if let Some(asked) = proxy::read(words.get(1..).unwrap_or_default()) {
        return beside::run(asked, &words);
    }
    let environment: Vec<(String, String)> =
        std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
    let parsed = parse(&Start {
        args: words.get(1..).unwrap_or_default(),
        environment: &environment,
        read_file: &|path| std::fs::read(path),
        default_host: &host::own_address,
    });
    match parsed.outcome {
        Outcome::Run(config) => run::run(&config, &parsed.notes, &words),
        Outcome::Print(text) => {
            // Nobody to tell if nobody reads it.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Outcome::Stop { text, code } => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(code)
        }
        Outcome::Refused { log, stage, error } => {
            refuse::refuse(log.as_ref(), stage, &error, &parsed.notes, &words)
        }
    }
}

fn lossy(word: std::ffi::OsString) -> String {
    word.to_string_lossy().into_owned()
}

//! `etcdutl`: works on files, with no server running. Looks at snapshots, restores them, prepares data
//! directories for another version.
//!
//! Same commands, flags, output and exit codes as etcd's own (`reference/etcdutl.md`). Commands and
//! flags are a table ([`commands`]); help, completion and parsing follow from it ([`cli`]).
//!
//! Unlike etcd's own, it never changes a file it only reads, and never leaves a half restored directory.

mod bootstrap;
mod cli;
mod commands;
mod defrag;
mod files;
mod go;
mod hashkv;
mod log;
mod migrate;
mod output;
mod restore;
mod rewrite;
mod status;
mod target;
mod v2json;
mod version;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    cli::run(&commands::ROOT, &arguments)
}

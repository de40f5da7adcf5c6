//! `etcdutl`: works on files, with no server running. Looks at snapshots and data directories, restores
//! them, prepares them for another version.
//!
//! Same commands, flags, output and exit codes as etcd's own (`docs/etcd/etcdutl.md`). Commands and
//! flags are a table (`commands`); help, completion, parsing and `docs/etcdutl.md` follow from it (`cli`).
//!
//! Unlike etcd's own, it never changes a file it only reads, and never leaves a half restored directory.
//!
//! A library, because `etcdctl snapshot status`, `snapshot restore` and `defrag --data-dir` are the same
//! work under their former names.

mod backup;
mod bootstrap;
mod cli;
mod commands;
mod defrag;
mod files;
mod handover;
mod hashkv;
mod inspect;
mod log;
mod migrate;
mod output;
mod overlay;
mod page;
mod progress;
mod reading;
mod restore;
mod rewrite;
mod salvage;
mod staging;
mod status;
mod target;
mod v2store;
mod version;

use std::process::ExitCode;

pub use page::page;

/// Does what the words after `etcdutl` say, and returns what the process ends with.
pub fn run(words: &[String]) -> ExitCode {
    cli::run(&commands::ROOT, words)
}

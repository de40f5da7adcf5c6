//! Spellings that etcdctl had up to 3.5 and etcdutl has now: `snapshot status`, `snapshot restore`,
//! `defrag --data-dir`. Backup scripts still use them, so they are handed on.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use bytes::Bytes;

use crate::args::os;
use crate::exit::{ERROR, Failure};
use crate::output::complain;
use go::io_text;

const PROGRAM: &str = "etcdutl";

/// Becomes etcdutl, with the same command line. `what` is the command's new name.
pub fn hand_on(what: &str, typed: &[Bytes]) -> Failure {
    complain(&format!("Deprecated: Use `{PROGRAM} {what}` instead.\n\n"));
    // Beside us first: the two are installed together.
    let beside = env::current_exe().ok().map(|ours| ours.with_file_name(PROGRAM));
    let beside = beside.filter(|path| path.exists()).map(OsString::from);
    let program = beside.unwrap_or_else(|| OsString::from(PROGRAM));
    let error = Command::new(&program).args(typed.iter().map(|arg| os(arg))).exec();
    let program = program.display();
    Failure::new(ERROR, format!("{program} cannot be run: {}", io_text(&error)))
}

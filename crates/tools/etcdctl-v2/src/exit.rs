//! How the program ends: etcdctl's exit codes for API v2, and the two streams.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::api::Fault;

/// Wrong arguments, and whatever has no code of its own.
pub const BAD_ARGS: u8 = 1;
/// No member can be reached.
pub const BAD_CONNECTION: u8 = 2;
/// No such command.
pub const NO_COMMAND: u8 = 3;
/// The server refused.
pub const SERVER_ERROR: u8 = 4;
/// A member of the cluster is ill.
pub const NOT_HEALTHY: u8 = 5;

/// Why the program ends early.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is still to be said on stderr, with the end of its line.
    pub stderr: String,
}

impl Failure {
    /// Says nothing any more.
    pub fn silent(code: u8) -> Failure {
        Failure { code, stderr: String::new() }
    }

    /// One line, without any word before it.
    pub fn line(text: impl std::fmt::Display) -> Failure {
        Failure { code: BAD_ARGS, stderr: format!("{text}\n") }
    }

    /// `Error:  ` and the text; the two spaces are etcdctl's.
    pub fn error(code: u8, text: impl std::fmt::Display) -> Failure {
        Failure { code, stderr: format!("Error:  {text}\n") }
    }

    /// A command about keys failed. What each member said follows once more where several were asked.
    pub fn of(code: u8, fault: &Fault) -> Failure {
        let mut failure = Failure::error(code, fault);
        if let Fault::Cluster(each) = fault {
            for (number, why) in each.iter().enumerate() {
                failure.stderr += &format!("error #{number}: {why}\n");
            }
            failure.stderr.push('\n');
        }
        failure
    }

    /// Says why on stderr.
    pub fn report(self) -> ExitCode {
        complain(&self.stderr);
        ExitCode::from(self.code)
    }
}

/// Writes to stdout at once. A reader that went away ends the program, as it ends any other.
pub fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(i32::from(BAD_ARGS));
    }
}

/// A line on stdout.
pub fn say(text: impl std::fmt::Display) {
    print(format!("{text}\n").as_bytes());
}

/// Writes to stderr at once.
pub fn complain(text: &str) {
    // There is nobody left to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

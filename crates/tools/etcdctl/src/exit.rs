//! How the program ends: etcd's exit codes, and the line on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use client::Error;

/// An error of the server, or of what was typed where nothing below fits.
pub const ERROR: u8 = 1;
/// No connection, or not accepted.
pub const BAD_CONNECTION: u8 = 2;
/// Lines on stdin that cannot be read.
pub const INVALID_INPUT: u8 = 3;
/// Something this command cannot do.
pub const BAD_FEATURE: u8 = 4;
/// Ended from outside.
pub const INTERRUPTED: u8 = 5;
/// Wrong arguments.
pub const BAD_ARGS: u8 = 128;

/// Why the program ends early.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is said; `None` if all was said already.
    pub text: Option<String>,
    /// What may help, for people.
    pub hint: Option<String>,
}

impl Failure {
    /// Says `text` and ends with `code`.
    pub fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: Some(text.into()), hint: None }
    }

    /// Ends with `code`; all was said.
    pub fn silent(code: u8) -> Failure {
        Failure { code, text: None, hint: None }
    }

    /// Wrong arguments.
    pub fn bad_args(text: impl Into<String>) -> Failure {
        Failure::new(BAD_ARGS, text)
    }

    /// Says why on stderr.
    pub fn report(self) -> ExitCode {
        if let Some(text) = self.text {
            complain(&format!("Error: {text}\n"));
        }
        if let Some(hint) = self.hint {
            complain(&format!("hint: {hint}\n"));
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(ERROR, error.to_string())
    }
}

/// Writes to stderr at once.
pub fn complain(text: &str) {
    // There is nobody left to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

//! What is logged when a configuration is not acceptable.

use std::process::ExitCode;

use logging::{Logger, fatal, info, warn};
use options::{ADVERTISE_MISSING, LogOptions, Note, Stage, without_secrets};

/// The code for every fault of configuration that the command line's form does not show.
const CODE_FAULT: u8 = 1;

/// Logs why the server does not start, in the words and places etcd has for it.
pub fn refuse(
    options: Option<&LogOptions>,
    stage: Stage,
    error: &str,
    notes: &[Note],
    words: &[String],
) -> ExitCode {
    let usual = LogOptions::default();
    let log = match Logger::open(options.unwrap_or(&usual)) {
        Ok(log) => log,
        Err(fault) => {
            let log = to_standard_error();
            say_running(&log, words);
            warn!(log, "failed to verify flags", "error" => logging::Fault(&fault));
            return ExitCode::from(CODE_FAULT);
        }
    };
    notes.iter().for_each(|note| log.note(note));
    match stage {
        Stage::Environment => fatal!(
            log,
            "conflicting environment variable is shadowed by corresponding command-line flag \
             (either unset environment variable or disable flag))",
            "environment-variable" => error
        ),
        Stage::Verify => {
            say_running(&log, words);
            warn!(log, "failed to verify flags", "error" => error);
            if error == ADVERTISE_MISSING {
                warn!(log, "advertise client URLs are not set", "error" => error);
            }
        }
        Stage::Begin => {
            say_running(&log, words);
            fatal!(log, "discovery failed", "error" => error);
        }
    }
    ExitCode::from(CODE_FAULT)
}

/// The log of last resort.
pub fn to_standard_error() -> Logger {
    Logger::open(&LogOptions::default()).expect("standard error needs no opening")
}

/// The first line, with the command line as it was given but for its secrets.
pub fn say_running(log: &Logger, words: &[String]) {
    info!(log, "Running: ", "args" => without_secrets(words));
}

//! From what the process was started with to what it shall do.
//!
//! Pure: arguments, variables, the way to read a file and to find the machine's address come from
//! outside, so every way of starting is a test.

use std::io;
use std::path::Path;

use go::io_text;

use crate::addresses::Origin;
use crate::args::{Shape, walk};
use crate::build;
use crate::config::Config;
use crate::environment::hear;
use crate::file::{self, FileFault};
use crate::help;
use crate::log::LogOptions;
use crate::note::Note;
use crate::table;
use crate::values::Values;
use crate::version;

/// What the process was started with.
pub struct Start<'a> {
    /// The command line without the program's name.
    pub args: &'a [String],
    /// The environment.
    pub environment: &'a [(String, String)],
    /// Reads a file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Finds the address other machines know this one by.
    pub default_host: &'a dyn Fn() -> Option<String>,
}

/// What shall be done, with remarks to be logged first.
#[derive(Debug)]
pub struct Parsed {
    /// To be logged, in this order.
    pub notes: Vec<Note>,
    /// What shall be done.
    pub outcome: Outcome,
}

/// What shall be done.
#[derive(Debug)]
pub enum Outcome {
    /// Run a member.
    Run(Box<Config>),
    /// Print this to standard output and end well.
    Print(String),
    /// Print this to standard error and end with this code; there is no log yet.
    Stop {
        /// With its line ends.
        text: String,
        /// The process's exit code.
        code: u8,
    },
    /// Log the fault and end with code 1.
    Refused {
        /// Where to log it: `None` if that is what was at fault.
        log: Option<LogOptions>,
        /// How far things had come.
        stage: Stage,
        /// What is wrong.
        error: String,
    },
}

/// How far things had come when a fault was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A variable contradicts a flag; the error is the variable's name.
    Environment,
    /// A setting is not acceptable.
    Verify,
    /// A setting turned out not to be acceptable when it was to be used.
    Begin,
}

/// Exit code for a command line that cannot be understood.
const CODE_USAGE: u8 = 2;

/// Decides what shall be done.
pub fn parse(start: &Start<'_>) -> Parsed {
    let mut notes = Vec::new();
    let outcome = decide(start, &mut notes).unwrap_or_else(|early| early);
    Parsed { notes, outcome }
}

/// The error is an outcome too, only an early one.
fn decide(start: &Start<'_>, notes: &mut Vec<Note>) -> Result<Outcome, Outcome> {
    let mut values = command_line(start.args)?;
    let mut file = values.text(table::CONFIG_FILE);
    if file.is_empty() {
        let named = start.environment.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE");
        file = named.map(|(_, path)| path.clone()).unwrap_or_default();
    }
    let origin = if file.is_empty() { Origin::CommandLine } else { Origin::File };
    match origin {
        Origin::File => values = from_file(start, &file, notes)?,
        Origin::CommandLine => from_environment(start, &mut values, notes)?,
    }
    notes.extend(values.settle_former_names().map_err(|error| refused(None, error))?);
    let log = build::log_options(&values).map_err(|error| {
        if error.starts_with("unrecognized level") {
            return Outcome::Stop { text: format!("{error}\n"), code: CODE_USAGE };
        }
        refused(None, error)
    })?;
    let built = build::build(&values, origin, log.clone(), start.default_host, notes);
    let config = built.map_err(|error| refused(Some(log.clone()), error))?;
    if origin == Origin::File {
        notes.push(Note::info(FILE_LOADED).with("path", file));
    }
    build::check_start(&values, notes).map_err(|error| Outcome::Refused {
        log: Some(log),
        stage: Stage::Begin,
        error,
    })?;
    Ok(Outcome::Run(Box::new(config)))
}

const FILE_LOADED: &str = "loaded server configuration, other configuration command line flags and \
    environment variables will be ignored if provided";

fn refused(log: Option<LogOptions>, error: String) -> Outcome {
    Outcome::Refused { log, stage: Stage::Verify, error }
}

fn command_line(args: &[String]) -> Result<Values, Outcome> {
    let mut values = Values::default();
    let mut wants_help = false;
    let shape = |name: &str| match name {
        "help" | "h" => Shape::Switch,
        _ => match table::find(name) {
            Some(flag) if flag.kind.is_switch() => Shape::Switch,
            Some(_) => Shape::Valued,
            None => Shape::Unknown,
        },
    };
    let line = walk(args, shape, |typed| {
        let Some(flag) = table::find(typed.name) else {
            // Asking for help ends it, whatever comes after.
            wants_help = true;
            return Err(String::new());
        };
        let value = typed.value.unwrap_or("true");
        let read = flag.kind.read(value);
        let value = read.map_err(|why| flag.kind.refusal(flag.name, value, &why))?;
        values.say(flag, value);
        Ok(())
    });
    if wants_help {
        return Err(Outcome::Print(help::text()));
    }
    let line = line.map_err(|error| Outcome::Stop {
        text: format!("{error}\n{}", help::USAGE),
        code: CODE_USAGE,
    })?;
    if let Some(word) = line.rest.first() {
        return Err(refused(None, format!("\"{word}\" is not a valid flag")));
    }
    if values.truth(table::VERSION) {
        return Err(Outcome::Print(version::text()));
    }
    Ok(values)
}

fn from_environment(
    start: &Start<'_>,
    values: &mut Values,
    notes: &mut Vec<Note>,
) -> Result<(), Outcome> {
    match hear(start.environment, values) {
        Ok(heard) => {
            notes.extend(heard.notes);
            heard.fault.map_or(Ok(()), |error| Err(refused(None, error)))
        }
        Err(shadowed) => {
            notes.extend(shadowed.notes);
            let (stage, error) = (Stage::Environment, shadowed.variable);
            Err(Outcome::Refused { log: None, stage, error })
        }
    }
}

fn from_file(start: &Start<'_>, path: &str, notes: &mut Vec<Note>) -> Result<Values, Outcome> {
    let bytes = (start.read_file)(Path::new(path)).map_err(|fault| {
        // A directory can be opened, only not read.
        let is_folder = fault.kind() == io::ErrorKind::IsADirectory;
        let tried = if is_folder { "read" } else { "open" };
        refused(None, format!("{tried} {path}: {}", io_text(&fault)))
    })?;
    let read = file::read(&bytes).map_err(|fault| match fault {
        FileFault::Refused(error) => refused(None, error),
        FileFault::Urls(error) => Outcome::Stop { text: format!("{error}\n"), code: 1 },
    })?;
    notes.extend(read.notes);
    Ok(read.values)
}

//! A command line as data: commands, their flags, and what follows from them.
//!
//! Behaves as the library behind etcd's tools does (cobra): flags may stand anywhere, a command may be
//! shortened as long as it is the only one, an error comes before and after the usage.
//!
//! From a table of [`Command`]s follow parsing ([`parse`]), help ([`help`]) and completion
//! ([`complete`]).

pub mod complete;
mod help;
mod parse;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// One command, or a group of them.
#[derive(Debug)]
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// The name and what may stand behind it, for the usage line.
    pub usage: &'static str,
    /// One line about it.
    pub short: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// Flags that it and all commands below take.
    pub shared_flags: &'static [Flag],
    /// The commands below, by name.
    pub commands: &'static [Command],
    /// What arguments it takes, checked before anything else.
    pub arguments: Arguments,
    /// What it does; a group does nothing but show its help.
    pub run: Option<Run>,
}

/// A command's work.
pub type Run = fn(&Matches) -> Result<(), Failure>;

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// Its one-letter form.
    pub letter: Option<char>,
    /// What values it takes.
    pub kind: Kind,
    /// The value it has when nobody gives one.
    pub default: &'static str,
    /// One line about it.
    pub help: &'static str,
    /// Whether the command refuses to run without it.
    pub required: bool,
    /// Another flag with whose value the command runs without it.
    pub unless: Option<(&'static str, &'static str)>,
    /// What completion offers.
    pub completes: Completes,
}

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Truth,
    Signed,
    Unsigned,
    Duration,
}

/// What completion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes {
    Nothing,
    Directories,
    Words(&'static [&'static str]),
}

/// What arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Any; the command looks at them itself.
    Any,
    /// Exactly one.
    One,
    /// Exactly one of these.
    OneOf(&'static [&'static str]),
}

/// What was typed, checked.
#[derive(Debug, Default)]
pub struct Matches {
    values: BTreeMap<&'static str, String>,
    /// Everything that is neither a command nor a flag.
    pub arguments: Vec<String>,
}

/// An error, as the user sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process ends with.
    pub code: u8,
    /// What stands behind `Error: `.
    pub message: String,
}

impl Failure {
    /// Exit code of a command line that cannot be right.
    pub const BAD_ARGUMENTS: u8 = 128;
    /// Exit code of an output format that there is not.
    pub const BAD_FORMAT: u8 = 4;

    /// Any other error.
    pub fn new(message: impl ToString) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    pub fn bad_arguments(message: impl ToString) -> Failure {
        Failure { code: Failure::BAD_ARGUMENTS, message: message.to_string() }
    }
}

impl Matches {
    /// A flag's value. Its default has been filled in.
    pub fn text(&self, flag: &str) -> &str {
        &self.values[flag]
    }

    pub fn truth(&self, flag: &str) -> bool {
        go::number::parse_bool(self.text(flag)).expect("checked when it was parsed")
    }

    pub fn signed(&self, flag: &str) -> i64 {
        go::number::parse_int(self.text(flag), 0).expect("checked when it was parsed")
    }

    pub fn unsigned(&self, flag: &str) -> u64 {
        go::number::parse_uint(self.text(flag), 0).expect("checked when it was parsed")
    }

    pub fn duration(&self, flag: &str) -> std::time::Duration {
        let checked = go::GoDuration::parse(self.text(flag)).expect("checked when it was parsed");
        // Negative ones are taken as zero: nothing waits so long.
        checked.at_least_zero()
    }
}

/// The help flag, which every command has.
pub(crate) const HELP: &str = "help";

/// Runs what was typed and says what the process ends with.
pub fn run(root: &'static Command, arguments: &[String]) -> ExitCode {
    if let Some((first, words)) = arguments.split_first()
        && [cobra::DESCRIBED_REQUEST, cobra::PLAIN_REQUEST].contains(&first.as_str())
    {
        let offer = complete::offer(root, words);
        let (stdout, stderr) = cobra::answer(&offer, first == cobra::DESCRIBED_REQUEST);
        print(&stdout);
        eprint!("{stderr}");
        return ExitCode::SUCCESS;
    }
    let (path, result) = parse::parse(root, arguments);
    match result {
        Ok(parse::Parsed::Help) => {
            print(&help::usage(&path));
            ExitCode::SUCCESS
        }
        Ok(parse::Parsed::HelpAbout(topic)) => help_about(root, &topic),
        Ok(parse::Parsed::Run(run, matches)) => match run(&matches) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("Error: {}", failure.message);
                ExitCode::from(failure.code)
            }
        },
        Err(parse::Refused::Unknown(message)) => {
            eprintln!("Error: {message}");
            eprintln!("Run '{} --help' for usage.", root.name);
            eprintln!("Error: {message}");
            ExitCode::FAILURE
        }
        Err(parse::Refused::Usage(message)) => {
            eprintln!("Error: {message}\n{}\nError: {message}", help::usage(&path));
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output. A reader that went away is no error of ours.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn help_about(root: &'static Command, topic: &[String]) -> ExitCode {
    let (path, rest) = parse::find(root, topic);
    if rest.is_empty() {
        print(&help::usage(&path));
    } else {
        eprint!("Unknown help topic [`{}`]\n{}", topic.join("` `"), help::usage(&[root]));
    }
    ExitCode::SUCCESS
}

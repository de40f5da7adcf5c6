//! Flags as pflag reads them, and the help that cobra makes of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use cobra::nearest;
use go::{GoDuration, number, quote};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A truth value.
    Bool,
    /// Any text.
    Text,
    /// Texts, separated by commas.
    Texts,
    /// A length of time.
    Duration,
    /// A number.
    Int,
    /// A number without sign.
    Uint,
    /// A number below 2^32.
    Uint32,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds if nobody says anything, as one would type it.
    pub default: &'static str,
    /// As etcd's help says it.
    pub help: &'static str,
}

/// `etcd NAME start`, with its flags in alphabetical order.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The first word.
    pub name: &'static str,
    /// What stands first in its help.
    pub about: &'static str,
    /// The same of `start`.
    pub start: &'static str,
    /// The flags of `start`.
    pub flags: &'static [Flag],
}

/// A value that fits its flag's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Duration(GoDuration),
    Int(i64),
    Uint(u64),
}

/// What the command line comes to.
#[derive(Debug)]
pub enum Line {
    /// `start` with these flags.
    Start(Values),
    /// Print this to standard output and end well.
    Help(String),
    /// Print this to standard error and end with code 1.
    Refused(String),
}

/// All flags with what they hold.
#[derive(Debug)]
pub struct Values(BTreeMap<&'static str, (Value, bool)>);

impl Program {
    /// Reads what follows after the program's first word.
    pub fn read(&self, args: &[String]) -> Line {
        let refused =
            |error: &str, usage: String| Line::Refused(format!("Error: {error}\n{usage}\n{error}"));
        // A command is the first word that is no flag; only `start` is one.
        let command = args.iter().position(|arg| !arg.starts_with('-'));
        let is_start = command.is_some_and(|at| args[at] == "start");
        let mut values = Values::of(self.flags);
        if !is_start {
            return match values.take(args, &[]) {
                Ok(_) => Line::Help(format!("{}\n\n{}", self.about, self.usage())),
                Err(error) => refused(&error, self.usage()),
            };
        }
        let mut typed = args.to_vec();
        typed.remove(command.unwrap_or_default());
        match values.take(&typed, self.flags) {
            Ok(true) => Line::Help(format!("{}\n\n{}", self.start, self.start_usage())),
            Ok(false) => Line::Start(values),
            Err(error) => refused(&error, self.start_usage()),
        }
    }

    fn usage(&self) -> String {
        let Program { name, start, .. } = self;
        format!(
            "Usage:\n  etcd {name} [command]\n\nAvailable Commands:\n  start       {start}\n\nFlags:\n  \
             -h, --help   help for {name}\n\nUse \"etcd {name} [command] --help\" for more information \
             about a command.\n"
        )
    }

    fn start_usage(&self) -> String {
        let help =
            Flag { name: "help", kind: Kind::Bool, default: "false", help: "help for start" };
        let mut flags: Vec<Flag> = self.flags.iter().copied().chain([help]).collect();
        flags.sort_by_key(|flag| flag.name);
        let left = |flag: &Flag| {
            let dashes = if flag.name == "help" { "  -h, --" } else { "      --" };
            let kind = flag.kind.name();
            let gap = if kind.is_empty() { "" } else { " " };
            format!("{dashes}{}{gap}{kind}", flag.name)
        };
        let width = flags.iter().map(|flag| left(flag).len()).max().unwrap_or_default();
        let mut out = format!("Usage:\n  etcd {} start [flags]\n\nFlags:\n", self.name);
        for flag in flags {
            let (left, default) = (left(&flag), flag.shown_default());
            let line = writeln!(out, "{left:width$}   {}{default}", flag.help);
            line.expect("a String takes whatever is written");
        }
        out
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Text => "string",
            Kind::Texts => "strings",
            Kind::Duration => "duration",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Uint32 => "uint32",
        }
    }

    /// Reads what was typed; the error is the last part of pflag's text.
    fn read(self, typed: &str) -> Result<Value, String> {
        match self {
            Kind::Bool => number::parse_bool(typed).map(Value::Bool),
            Kind::Text => Ok(Value::Text(typed.to_owned())),
            Kind::Texts if typed.is_empty() => Ok(Value::Texts(Vec::new())),
            Kind::Texts => Ok(Value::Texts(typed.split(',').map(str::to_owned).collect())),
            Kind::Duration => GoDuration::parse(typed).map(Value::Duration),
            Kind::Int => number::parse_int(typed, 0).map(Value::Int),
            Kind::Uint => number::parse_uint(typed, 0).map(Value::Uint),
            Kind::Uint32 => match number::parse_uint(typed, 0)? {
                value if value <= u32::MAX.into() => Ok(Value::Uint(value)),
                _ => {
                    Err(format!("strconv.ParseUint: parsing {}: value out of range", quote(typed)))
                }
            },
        }
    }
}

impl Flag {
    /// What pflag shows of a default; nothing of one that is empty.
    fn shown_default(&self) -> String {
        match (self.kind, self.default) {
            (_, "") | (Kind::Bool, "false") | (Kind::Duration, "0s") | (_, "0") => String::new(),
            (Kind::Text, text) => format!(" (default {})", quote(text)),
            (Kind::Texts, text) => format!(" (default [{text}])"),
            (_, text) => format!(" (default {text})"),
        }
    }
}

impl Values {
    fn of(flags: &[Flag]) -> Values {
        let default = |flag: &Flag| flag.kind.read(flag.default).expect("a test reads them all");
        Values(flags.iter().map(|flag| (flag.name, (default(flag), false))).collect())
    }

    /// Takes what was typed; true if that asks for help. The error is pflag's.
    fn take(&mut self, typed: &[String], flags: &[Flag]) -> Result<bool, String> {
        let mut wants_help = false;
        let mut rest = typed.iter();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                break;
            }
            if let Some(body) = arg.strip_prefix("--") {
                let (name, given) = match body.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (body, None),
                };
                if name.is_empty() || name.starts_with('-') {
                    return Err(format!("bad flag syntax: {arg}"));
                }
                if name == "help" {
                    wants_help = true;
                    continue;
                }
                let flag = flags.iter().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| unknown(name, flags))?;
                let value = match given {
                    Some(value) => value,
                    None if flag.kind == Kind::Bool => "true".to_owned(),
                    None => match rest.next() {
                        Some(next) => next.clone(),
                        None => return Err(format!("flag needs an argument: --{name}")),
                    },
                };
                self.say(flag, &value)?;
            } else if let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                match letters.strip_prefix('h') {
                    Some(_) => wants_help = true,
                    None => {
                        let letter = letters.chars().next().unwrap_or_default();
                        return Err(format!("unknown shorthand flag: '{letter}' in -{letters}"));
                    }
                }
            }
        }
        Ok(wants_help)
    }

    fn say(&mut self, flag: &Flag, typed: &str) -> Result<(), String> {
        let value = flag.kind.read(typed).map_err(|why| {
            format!("invalid argument {} for \"--{}\" flag: {why}", quote(typed), flag.name)
        })?;
        // Lists that were said before grow.
        if let (Some((Value::Texts(before), true)), Value::Texts(more)) =
            (self.0.get_mut(flag.name), &value)
        {
            before.extend_from_slice(more);
            return Ok(());
        }
        self.0.insert(flag.name, (value, true));
        Ok(())
    }

    fn value(&self, name: &str) -> &Value {
        match self.0.get(name) {
            Some((value, _)) => value,
            None => unreachable!("there is no flag {name}"),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> String {
        match self.value(name) {
            Value::Text(text) => text.clone(),
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::Texts(texts) => texts.clone(),
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A truth value.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    /// A length of time, which may be below zero.
    pub fn duration(&self, name: &str) -> GoDuration {
        match self.value(name) {
            Value::Duration(duration) => *duration,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A length of time; anything below zero is zero.
    pub fn span(&self, name: &str) -> Duration {
        self.duration(name).at_least_zero()
    }

    /// A number.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(value) => *value,
            other => unreachable!("{name} holds {other:?}"),
        }
    }

    /// A number without sign.
    pub fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(value) => *value,
            other => unreachable!("{name} holds {other:?}"),
        }
    }
}

fn unknown(name: &str, flags: &[Flag]) -> String {
    let near = nearest(name, flags.iter().map(|flag| flag.name));
    let lines: String = near.iter().map(|near| format!("\t--{near}\n")).collect();
    match near.as_slice() {
        [] => format!("unknown flag: --{name}"),
        _ => format!("unknown flag: --{name}\n\nDid you mean this?\n{lines}"),
    }
}

//! From words to a command and its flags.

use std::iter::Peekable;

use super::{Arguments, Command, Flag, HELP, Kind, Matches, Run};

/// The way from the root to the command that was named.
pub type Path = Vec<&'static Command>;

/// What is to be done.
#[derive(Debug)]
pub enum Parsed {
    /// Show the command's help.
    Help,
    /// Show the help of the command these words name.
    HelpAbout(Vec<String>),
    Run(Run, Matches),
}

/// Why nothing is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such command.
    Unknown(String),
    /// Anything else; the usage helps.
    Usage(String),
}

/// Reads a command line. The path is there in any case: whose usage to show.
pub fn parse(root: &'static Command, words: &[String]) -> (Path, Result<Parsed, Refused>) {
    let mut path = vec![root];
    let mut matches = Matches::default();
    let result = read(&mut path, words, &mut matches);
    let result = result.and_then(|wants_help| {
        let command = path[path.len() - 1];
        let Some(run) = command.run.filter(|_| !wants_help) else {
            return match matches.arguments.split_first() {
                Some((first, topic)) if path.len() == 1 && !wants_help && first == HELP => {
                    Ok(Parsed::HelpAbout(topic.to_vec()))
                }
                Some((first, _)) if path.len() == 1 && !wants_help => {
                    Err(Refused::Unknown(unknown_command(root, first)))
                }
                _ => Ok(Parsed::Help),
            };
        };
        check_arguments(&path, &matches.arguments)?;
        check_required(command, &matches)?;
        fill_defaults(&path, &mut matches);
        Ok(Parsed::Run(run, std::mem::take(&mut matches)))
    });
    (path, result)
}

/// The command that words without flags name, and the words left over.
pub fn find<'a>(root: &'static Command, words: &'a [String]) -> (Path, &'a [String]) {
    let mut path = vec![root];
    let mut rest = words;
    while let Some((word, others)) = rest.split_first()
        && let Some(command) = below(path[path.len() - 1], word)
    {
        path.push(command);
        rest = others;
    }
    (path, rest)
}

/// The command below that a word names: by its name, or by the start of its name if no other has it.
pub fn below(command: &'static Command, word: &str) -> Option<&'static Command> {
    let commands = command.commands;
    let exact = commands.iter().find(|command| command.name == word);
    let mut starting = commands.iter().filter(|command| command.name.starts_with(word));
    exact.or_else(|| starting.next().filter(|_| starting.next().is_none() && !word.is_empty()))
}

/// All flags a command takes, those of the groups above included.
pub fn flags_of(path: &[&'static Command]) -> impl Iterator<Item = &'static Flag> {
    let own = path[path.len() - 1].flags.iter();
    let shared: Vec<_> = path.iter().flat_map(|command| command.shared_flags).collect();
    own.chain(shared)
}

/// Walks the words; returns whether help was asked for. Goes on after an error, the first of which
/// counts, so that the usage shown with it is that of the command that was meant.
fn read(path: &mut Path, words: &[String], matches: &mut Matches) -> Result<bool, Refused> {
    let mut words = words.iter().peekable();
    let mut result = Ok(false);
    while let Some(word) = words.next() {
        if word == "--" {
            matches.arguments.extend(words.cloned());
            break;
        }
        let is_flag = word.len() > 1 && word.starts_with('-');
        if is_flag {
            let read = match word.strip_prefix("--") {
                Some(name) => long_flag(path, name, &mut words, matches),
                None => letters(path, word, &mut words, matches),
            };
            result = result.and_then(|before| Ok(before | read?));
            continue;
        }
        let command = path[path.len() - 1];
        match below(command, word).filter(|_| matches.arguments.is_empty()) {
            Some(command) => path.push(command),
            None => matches.arguments.push(word.clone()),
        }
    }
    result
}

fn long_flag<'a>(
    path: &Path,
    word: &str,
    words: &mut Peekable<impl Iterator<Item = &'a String>>,
    matches: &mut Matches,
) -> Result<bool, Refused> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    if name == HELP {
        let value = value.unwrap_or_else(|| "true".to_owned());
        return check_value("-h, --help", Kind::Truth, &value)
            .map(|()| go::number::parse_bool(&value) == Ok(true));
    }
    let unknown = || Refused::Usage(format!("unknown flag: --{name}"));
    let flag = flags_of(path).find(|flag| flag.name == name).ok_or_else(unknown)?;
    let value = match value {
        Some(value) => value,
        None if flag.kind == Kind::Truth => "true".to_owned(),
        None => {
            let missing = || Refused::Usage(format!("flag needs an argument: --{name}"));
            words.next().cloned().ok_or_else(missing)?
        }
    };
    set(flag, value, matches)?;
    Ok(false)
}

/// Reads `-x`, `-xy`, `-xvalue`, `-x=value`.
fn letters<'a>(
    path: &Path,
    word: &str,
    words: &mut Peekable<impl Iterator<Item = &'a String>>,
    matches: &mut Matches,
) -> Result<bool, Refused> {
    let mut rest = &word[1..];
    while let Some(letter) = rest.chars().next() {
        let before = rest;
        rest = &rest[letter.len_utf8()..];
        if letter == 'h' {
            return Ok(true);
        }
        let unknown = || Refused::Usage(format!("unknown shorthand flag: '{letter}' in -{before}"));
        let flag = flags_of(path).find(|flag| flag.letter == Some(letter)).ok_or_else(unknown)?;
        if flag.kind == Kind::Truth && !rest.starts_with('=') {
            set(flag, "true".to_owned(), matches)?;
            continue;
        }
        let missing = || Refused::Usage(format!("flag needs an argument: '{letter}' in -{before}"));
        let value = match rest.strip_prefix('=').or(Some(rest).filter(|rest| !rest.is_empty())) {
            Some(value) => value.to_owned(),
            None => words.next().cloned().ok_or_else(missing)?,
        };
        set(flag, value, matches)?;
        break;
    }
    Ok(false)
}

fn set(flag: &'static Flag, value: String, matches: &mut Matches) -> Result<(), Refused> {
    let shown = match flag.letter {
        Some(letter) => format!("-{letter}, --{}", flag.name),
        None => format!("--{}", flag.name),
    };
    check_value(&shown, flag.kind, &value)?;
    matches.values.insert(flag.name, value);
    Ok(())
}

fn check_value(shown: &str, kind: Kind, value: &str) -> Result<(), Refused> {
    let checked = match kind {
        Kind::Text => Ok(()),
        Kind::Truth => go::number::parse_bool(value).map(drop),
        Kind::Signed => go::number::parse_int(value, 0).map(drop),
        Kind::Unsigned => go::number::parse_uint(value, 0).map(drop),
        Kind::Duration => go::GoDuration::parse(value).map(drop),
    };
    checked.map_err(|why| {
        let value = go::quote(value);
        Refused::Usage(format!("invalid argument {value} for \"{shown}\" flag: {why}"))
    })
}

fn check_arguments(path: &Path, arguments: &[String]) -> Result<(), Refused> {
    let count = arguments.len();
    let one = || match arguments {
        [one] => Ok(one),
        _ => Err(Refused::Usage(format!("accepts 1 arg(s), received {count}"))),
    };
    match path[path.len() - 1].arguments {
        Arguments::Any => Ok(()),
        Arguments::One => one().map(drop),
        Arguments::OneOf(words) => {
            let word = one()?;
            let names: Vec<_> = path.iter().map(|command| command.name).collect();
            if words.contains(&word.as_str()) {
                return Ok(());
            }
            let (word, names) = (go::quote(word), names.join(" "));
            Err(Refused::Usage(format!("invalid argument {word} for \"{names}\"")))
        }
    }
}

fn check_required(command: &Command, matches: &Matches) -> Result<(), Refused> {
    let is_spared = |flag: &&Flag| {
        flag.unless
            .is_some_and(|(other, value)| matches.values.get(other).is_some_and(|it| it == value))
    };
    let missing = command
        .flags
        .iter()
        .filter(|flag| flag.required && !matches.values.contains_key(flag.name))
        .filter(|flag| !is_spared(flag))
        .map(|flag| format!("\"{}\"", flag.name));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refused::Usage(format!("required flag(s) {} not set", missing.join(", "))))
}

fn fill_defaults(path: &Path, matches: &mut Matches) {
    for flag in flags_of(path) {
        matches.values.entry(flag.name).or_insert_with(|| flag.default.to_owned());
    }
}

fn unknown_command(root: &Command, word: &str) -> String {
    let mut message = format!("unknown command {} for \"{}\"", go::quote(word), root.name);
    let near = cobra::nearest(word, root.commands.iter().map(|command| command.name));
    if !near.is_empty() {
        let near: String = near.iter().map(|name| format!("\t{name}\n")).collect();
        message += &format!("\n\nDid you mean this?\n{near}");
    }
    message
}

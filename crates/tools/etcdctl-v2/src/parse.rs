//! From what was typed to a command and its flags, by the rules of Go's `flag` package and of the library that
//! etcdctl puts on top of it: one dash is as good as two, letters are not bundled, and a command's own flags may stand
//! behind its arguments.

use std::collections::BTreeMap;

use go::{GoDuration, number, quote};

use crate::exit::{BAD_ARGS, NO_COMMAND};
use crate::help;
use crate::spec::{COMMANDS, Command, Does, Flag, GLOBAL, HELP, Takes};

/// What is to be done.
#[derive(Debug)]
pub enum Outcome {
    /// Print and end.
    Say {
        /// For stdout.
        stdout: String,
        /// For stderr.
        stderr: String,
        /// The exit code.
        code: u8,
    },
    /// Run a command.
    Run(Does, Call),
}

/// A command with its flags and arguments.
#[derive(Debug, Default)]
pub struct Call {
    /// Flags before the command.
    pub global: Values,
    /// Those of the command.
    pub own: Values,
    /// What is no flag.
    pub args: Vec<String>,
}

/// Which flags were given, under the spelling that was used.
#[derive(Clone, Debug, Default)]
pub struct Values {
    given: BTreeMap<&'static str, Vec<String>>,
    flags: Vec<&'static Flag>,
}

impl Values {
    fn of(flags: &'static [Flag]) -> Values {
        Values { given: BTreeMap::new(), flags: flags.iter().chain([&HELP]).collect() }
    }

    fn all(&self, name: &str) -> &[String] {
        let flag = self.flags.iter().find(|flag| flag.names.contains(&name));
        let mut spelled = flag.into_iter().flat_map(|flag| flag.names);
        spelled.find_map(|name| self.given.get(name)).map_or(&[], |texts| texts)
    }

    /// The text of a flag; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.all(name).last().map_or("", |text| text)
    }

    /// All texts of a flag.
    pub fn texts(&self, name: &str) -> &[String] {
        self.all(name)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        number::truth(self.text(name)).unwrap_or(false)
    }

    /// The number of a flag; 0 when it is not there.
    pub fn number(&self, name: &str) -> i64 {
        number::signed(self.text(name), 0).unwrap_or(0)
    }

    /// The duration of a flag.
    pub fn duration(&self, name: &str, otherwise: GoDuration) -> GoDuration {
        GoDuration::parse(self.text(name)).unwrap_or(otherwise)
    }

    /// Takes flags from the front and gives what follows the last of them.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong, in Go's words.
    fn take<'a>(&mut self, typed: &'a [String]) -> Result<&'a [String], String> {
        let mut rest = typed;
        while let Some((word, after)) = rest.split_first() {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
                break;
            };
            rest = after;
            if name == "-" {
                break;
            }
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() || name.starts_with(['-', '=']) {
                return Err(format!("bad flag syntax: {word}"));
            }
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (name, None),
            };
            rest = self.take_one(name, value, rest)?;
        }
        Ok(rest)
    }

    fn take_one<'a>(
        &mut self,
        name: &str,
        value: Option<&str>,
        rest: &'a [String],
    ) -> Result<&'a [String], String> {
        let found = self.flags.iter().find_map(|flag| {
            let spelled = flag.names.iter().find(|spelled| **spelled == name)?;
            Some((*spelled, flag.takes))
        });
        let (spelled, takes) =
            found.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let (value, rest) = match (value, takes, rest.split_first()) {
            (Some(value), _, _) => (value, rest),
            (None, Takes::Nothing, _) => ("true", rest),
            (None, _, Some((value, rest))) => (value.as_str(), rest),
            (None, _, None) => return Err(format!("flag needs an argument: -{name}")),
        };
        check(name, value, takes)?;
        self.given.entry(spelled).or_default().push(value.to_owned());
        Ok(rest)
    }

    /// The words for a flag that was given in two spellings.
    fn said_twice(&self) -> Option<String> {
        self.flags.iter().find_map(|flag| {
            let mut given = flag.names.iter().filter(|name| self.given.contains_key(**name));
            let (first, second) = (given.next()?, given.next()?);
            Some(format!("Cannot use two forms of the same flag: {second} {first}"))
        })
    }
}

fn check(name: &str, value: &str, takes: Takes) -> Result<(), String> {
    let invalid = |why: &str| format!("invalid value {} for flag -{name}: {why}", quote(value));
    match takes {
        Takes::Nothing if number::truth(value).is_none() => {
            Err(format!("invalid boolean value {} for -{name}: parse error", quote(value)))
        }
        Takes::Number => {
            number::signed(value, 0).map(|_| ()).map_err(|fault| invalid(fault.flag_text()))
        }
        Takes::Duration => GoDuration::parse(value).map(|_| ()).map_err(|_| invalid("parse error")),
        Takes::Nothing | Takes::Text | Takes::Texts => Ok(()),
    }
}

/// Reads the command line.
pub fn parse(typed: &[String]) -> Outcome {
    let mut global = Values::of(GLOBAL);
    let taken = global.take(typed);
    if let Some(twice) = global.said_twice() {
        let stdout = format!("{twice}\n{}", help::root());
        return Outcome::Say { stdout, stderr: format!("{twice}\n"), code: BAD_ARGS };
    }
    let rest = match taken {
        Ok(rest) => rest,
        Err(why) => return wrong(".", &why, &help::root()),
    };
    if global.is_on("help") {
        return say(help::root());
    }
    if global.is_on("version") {
        return say(format!("etcdctl version: {}\nAPI version: 2\n", help::VERSION));
    }
    let Some((word, rest)) = rest.split_first() else { return say(help::root()) };
    if is_help(word) {
        return help_about("etcdctl", COMMANDS, rest, help::root);
    }
    match named(COMMANDS, word) {
        None => no_topic(word),
        Some(command) if command.does.is_some() => run("etcdctl", command, rest, global),
        Some(group) => below(group, rest, global),
    }
}

/// A command of a group.
fn below(group: &'static Command, typed: &[String], global: Values) -> Outcome {
    let mut flags = Values::of(&[]);
    let rest = match flags.take(typed) {
        Ok(rest) => rest,
        Err(why) => return wrong(".", &why, &help::group(group)),
    };
    let Some((word, rest)) = rest.split_first().filter(|_| !flags.is_on("help")) else {
        return say(help::group(group));
    };
    let words = format!("etcdctl {}", group.name);
    if is_help(word) {
        return help_about(&words, group.commands, rest, || help::group_as_program(group));
    }
    match named(group.commands, word) {
        Some(command) => run(&words, command, rest, global),
        None => no_topic(word),
    }
}

fn run(words: &str, command: &'static Command, typed: &[String], global: Values) -> Outcome {
    let mut own = Values::of(command.flags);
    let typed = reordered(&own.flags, typed);
    let taken = own.take(&typed).map(<[String]>::to_vec);
    let taken = taken.and_then(|args| own.said_twice().map_or(Ok(args), Err));
    let args = match taken {
        Ok(args) => args,
        Err(why) => return wrong(":", &why, &help::command(words, command)),
    };
    if own.is_on("help") {
        return say(help::command(words, command));
    }
    Outcome::Run(command.does.expect("groups do not come here"), Call { global, own, args })
}

/// The command's flags first, each with the word behind it; and then `--`, if it is there, before all the rest.
fn reordered(flags: &[&Flag], typed: &[String]) -> Vec<String> {
    let is_flag = |word: &str| {
        let name = word.strip_prefix('-').filter(|name| !matches!(*name, "" | "-"));
        let name = name.map(|name| name.strip_prefix('-').unwrap_or(name));
        let name = name.and_then(|name| name.split('=').next());
        name.is_some_and(|name| flags.iter().any(|flag| flag.names.contains(&name)))
    };
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut may_be_value = false;
    for (at, word) in typed.iter().enumerate() {
        if may_be_value && !is_flag(word) {
            may_be_value = false;
            first.push(word.clone());
        } else if word == "--" {
            rest.insert(0, word.clone());
            rest.extend_from_slice(&typed[at + 1..]);
            break;
        } else if is_flag(word) {
            may_be_value = !word.contains('=');
            first.push(word.clone());
        } else {
            rest.push(word.clone());
        }
    }
    first.extend(rest);
    first
}

fn named(commands: &'static [Command], word: &str) -> Option<&'static Command> {
    commands.iter().find(|command| command.name == word)
}

fn is_help(word: &str) -> bool {
    matches!(word, "help" | "h")
}

/// `help` and `help COMMAND`.
fn help_about(
    words: &str,
    commands: &'static [Command],
    topic: &[String],
    all: impl FnOnce() -> String,
) -> Outcome {
    match topic.first() {
        None => say(all()),
        Some(topic) if is_help(topic) => say(help::of_help()),
        Some(topic) => match named(commands, topic) {
            Some(command) => say(help::command(words, command)),
            None => no_topic(topic),
        },
    }
}

fn say(stdout: String) -> Outcome {
    Outcome::Say { stdout, stderr: String::new(), code: 0 }
}

fn no_topic(topic: &str) -> Outcome {
    let stderr = format!("No help topic for '{topic}'\n");
    Outcome::Say { stdout: String::new(), stderr, code: NO_COMMAND }
}

fn wrong(mark: &str, why: &str, help: &str) -> Outcome {
    Outcome::Say {
        stdout: format!("Incorrect Usage{mark} {why}\n\n{help}"),
        stderr: format!("{why}\n"),
        code: BAD_ARGS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(typed: &str) -> (Does, Call) {
        let typed: Vec<String> = typed.split(' ').map(str::to_owned).collect();
        match parse(&typed) {
            Outcome::Run(does, call) => (does, call),
            Outcome::Say { stdout, stderr, .. } => panic!("{stdout}{stderr}"),
        }
    }

    #[track_caller]
    fn args(typed: &str, expected: &[&str]) {
        assert_eq!(call(typed).1.args, expected);
    }

    #[test]
    fn flags_may_stand_behind_arguments_if_the_command_knows_them() {
        args("set a b --ttl 5", &["a", "b"]);
        assert_eq!(call("set a b --ttl 5").1.own.number("ttl"), 5);
        args("set a -x", &["a", "-x"]);
        args("ls d -r x --sort", &["x", "--sort", "d"]);
    }

    #[test]
    fn two_dashes_come_before_all_arguments() {
        args("set a -- -x", &["a", "-x"]);
        args("exec-watch w -- sh -c x", &["w", "sh", "-c", "x"]);
        args("exec-watch -r w -- sh -c x", &["w", "--", "sh", "-c", "x"]);
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let (does, call) = call("-o=json --no-sync get -q a");
        assert_eq!(does, Does::Get);
        assert_eq!(call.global.text("output"), "json");
        assert!(call.global.is_on("no-sync"));
        assert!(call.own.is_on("quorum"));
    }
}

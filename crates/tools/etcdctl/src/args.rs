//! From what was typed to a command and its flags, with pflag's and cobra's rules and words.
//!
//! Circle: help and completion are commands, and tell of the commands that are read here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::Bytes;
use cobra::nearest;

use crate::spec::{Command, Does, Flag, GLOBAL, Kind, ROOT};
use crate::values::{Values, read};
use crate::{completion, docs, help};

/// Every command has it.
pub const HELP: Flag = Flag {
    name: "help",
    short: Some('h'),
    kind: Kind::Bool,
    default: "false",
    since: "",
    choices: &[],
    help: "",
};

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

/// A command with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    /// From the root to the command.
    pub path: Vec<&'static Command>,
    /// What is no flag.
    pub args: Vec<Bytes>,
    /// Everything after the program's name, as it was typed.
    pub raw: Vec<Bytes>,
    /// The flags.
    pub values: Values,
}

impl Call {
    /// The n-th argument as text.
    pub fn text(&self, index: usize) -> String {
        self.args.get(index).map_or(String::new(), |arg| String::from_utf8_lossy(arg).into_owned())
    }

    /// The flags that come from above the command, which the environment may set.
    pub fn inherited(&self) -> Vec<&'static Flag> {
        let above = &self.path[..self.path.len() - 1];
        let mut flags: Vec<&Flag> = above.iter().flat_map(|above| above.persistent).collect();
        flags.extend(GLOBAL);
        flags.sort_by_key(|flag| flag.name);
        flags
    }
}

/// The flags a command takes, with those from above.
pub fn flags_of(path: &[&'static Command]) -> Vec<&'static Flag> {
    let own = path.last().map_or(&[][..], |command| command.flags);
    let above = path.iter().flat_map(|command| command.persistent);
    own.iter().chain(above).chain(GLOBAL).chain([&HELP]).collect()
}

/// Reads the command line.
pub fn parse(typed: Vec<OsString>) -> Outcome {
    let raw: Vec<Bytes> = typed.into_iter().map(|arg| Bytes::from(arg.into_vec())).collect();
    if let Some(answer) = hidden(&raw) {
        return answer;
    }
    let (path, rest) = match find(&raw) {
        Ok(found) => found,
        Err(stderr) => return Outcome::Say { stdout: String::new(), stderr, code: 1 },
    };
    let command = *path.last().expect("the root at least");
    if let Some(what) = handed_on(&path, &rest) {
        let call = Call { path, args: Vec::new(), raw, values: Values::default() };
        return Outcome::Run(Does::HandOn(what), call);
    }
    let refused = |text: String| {
        let usage = help::usage(&path);
        let stderr = format!("Error: {text}\n{usage}\n");
        Outcome::Say { stdout: String::new(), stderr, code: 1 }
    };
    let mut values = Values::of(flags_of(&path));
    let args = match read_flags(&rest, &flags_of(&path), &mut values) {
        Ok(args) => args,
        Err(text) => return refused(text),
    };
    if values.truth("help") {
        return say(help::full(&path));
    }
    match command.does {
        None => {
            let names = command.commands.iter().map(Command::name);
            let typed = args.first().map(|arg| String::from_utf8_lossy(arg).into_owned());
            let meant = typed.map(|typed| nearest(&typed, names)).unwrap_or_default();
            let stderr = if meant.is_empty() { String::new() } else { did_you_mean(&meant) };
            Outcome::Say { stdout: help::full(&path), stderr, code: 0 }
        }
        Some(Does::Help) => help_about(&args),
        Some(Does::Completion) => match completion_refused(&args) {
            Some(text) => refused(text),
            None => Outcome::Run(Does::Completion, Call { path, args, raw, values }),
        },
        Some(does) => Outcome::Run(does, Call { path, args, raw, values }),
    }
}

/// The name under which etcdutl does what was etcdctl's up to 3.5.
fn handed_on(path: &[&'static Command], rest: &[Bytes]) -> Option<&'static str> {
    let data_dir = |arg: &Bytes| arg.as_ref() == b"--data-dir" || arg.starts_with(b"--data-dir=");
    match (path.get(1)?.name(), first_word(rest, path).map(|at| rest[at].as_ref())) {
        ("snapshot", Some(b"status")) => Some("snapshot status"),
        ("snapshot", Some(b"restore")) => Some("snapshot restore"),
        ("defrag", _) if rest.iter().any(data_dir) => Some("defrag"),
        _ => None,
    }
}

/// What shells and our own build ask for.
fn hidden(raw: &[Bytes]) -> Option<Outcome> {
    let (first, rest) = raw.split_first()?;
    match std::str::from_utf8(first).ok()? {
        request @ (cobra::DESCRIBED_REQUEST | cobra::PLAIN_REQUEST) => {
            let words: Vec<String> =
                rest.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let offer = completion::offer(&words);
            let (stdout, stderr) = cobra::answer(&offer, request == cobra::DESCRIBED_REQUEST);
            Some(Outcome::Say { stdout, stderr, code: 0 })
        }
        docs::MARKDOWN_REQUEST => Some(say(docs::markdown())),
        docs::MAN_REQUEST => Some(say(docs::man_page())),
        _ => None,
    }
}

fn say(stdout: String) -> Outcome {
    Outcome::Say { stdout, stderr: String::new(), code: 0 }
}

/// `help a b` is the help of `a b`.
fn help_about(topic: &[Bytes]) -> Outcome {
    match find(topic) {
        Ok((path, _)) => say(help::full(&path)),
        Err(_) => {
            let topic: Vec<_> = topic.iter().map(|word| String::from_utf8_lossy(word)).collect();
            let usage = help::usage(&[&ROOT]);
            let stderr = format!("Unknown help topic [`{}`]\n{usage}", topic.join("` `"));
            Outcome::Say { stdout: String::new(), stderr, code: 0 }
        }
    }
}

fn completion_refused(args: &[Bytes]) -> Option<String> {
    match args {
        [shell] if cobra::SHELLS.iter().any(|known| known.as_bytes() == *shell) => None,
        [shell] => {
            let shell = go::quote(shell);
            Some(format!("invalid argument {shell} for \"etcdctl completion\""))
        }
        _ => Some(format!("accepts 1 arg(s), received {}", args.len())),
    }
}

fn did_you_mean(words: &[&str]) -> String {
    let lines: String = words.iter().map(|word| format!("\t{word}\n")).collect();
    format!("Did you mean this?\n{lines}")
}

/// The command, and what was typed without its words; or what to say on stderr.
fn find(typed: &[Bytes]) -> Result<(Vec<&'static Command>, Vec<Bytes>), String> {
    let mut path = vec![&ROOT];
    let mut rest = typed.to_vec();
    loop {
        let command = *path.last().expect("the root at least");
        let Some(at) = first_word(&rest, &path) else { return Ok((path, rest)) };
        let word = String::from_utf8_lossy(&rest[at]).into_owned();
        match below(command, &word) {
            Some(found) => {
                path.push(found);
                rest.remove(at);
            }
            None if path.len() == 1 => return Err(unknown(&word)),
            None => return Ok((path, rest)),
        }
    }
}

fn unknown(word: &str) -> String {
    let meant = nearest(word, ROOT.commands.iter().map(Command::name));
    let mut text =
        format!("Error: unknown command {} for \"etcdctl\"\n", go::quote(word.as_bytes()));
    if !meant.is_empty() {
        text.push_str(&format!("\n{}\n", did_you_mean(&meant)));
    }
    text.push_str("Run 'etcdctl --help' for usage.\n");
    text
}

/// The command of that name, or the only one whose name starts like that.
pub fn below(command: &'static Command, word: &str) -> Option<&'static Command> {
    let exact = command.commands.iter().find(|below| below.name() == word);
    let mut starting = command.commands.iter().filter(|below| below.name().starts_with(word));
    exact.or_else(|| match (starting.next(), starting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    })
}

/// Where the first argument is that is neither a flag nor a flag's value.
fn first_word(typed: &[Bytes], path: &[&'static Command]) -> Option<usize> {
    let flags = flags_of(path);
    let mut at = 0;
    while let Some(arg) = typed.get(at) {
        let text = String::from_utf8_lossy(arg);
        if text == "--" {
            return None;
        }
        let is_switch = |named: &dyn Fn(&Flag) -> bool| {
            flags.iter().any(|flag| named(flag) && flag.kind == Kind::Bool)
        };
        if let Some(name) = text.strip_prefix("--") {
            at += usize::from(!name.contains('=') && !is_switch(&|flag| flag.name == name));
        } else if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let letter = letters.chars().next();
            at += usize::from(letters.len() == 1 && !is_switch(&|flag| flag.short == letter));
        } else if !text.is_empty() {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Reads flags into `values` and gives the rest; the error is pflag's.
pub fn read_flags(
    typed: &[Bytes],
    flags: &[&'static Flag],
    values: &mut Values,
) -> Result<Vec<Bytes>, String> {
    let mut args = Vec::new();
    let mut typed = typed.iter();
    while let Some(arg) = typed.next() {
        if arg.as_ref() == b"--" {
            args.extend(typed.cloned());
            break;
        }
        let text = String::from_utf8_lossy(arg);
        if let Some(name) = text.strip_prefix("--") {
            read_long(&text, name, &mut typed, flags, values)?;
        } else if text.len() > 1 && text.starts_with('-') {
            read_letters(&text[1..], &mut typed, flags, values)?;
        } else {
            args.push(arg.clone());
        }
    }
    Ok(args)
}

type Typed<'a> = std::slice::Iter<'a, Bytes>;

fn read_long(
    arg: &str,
    name: &str,
    typed: &mut Typed<'_>,
    flags: &[&'static Flag],
    values: &mut Values,
) -> Result<(), String> {
    let (name, given) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (name, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(format!("bad flag syntax: {arg}"));
    }
    let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
        let names = flags.iter().map(|flag| flag.name);
        let near: Vec<String> =
            nearest(name, names).iter().map(|name| format!("--{name}")).collect();
        let near: Vec<&str> = near.iter().map(String::as_str).collect();
        let meant =
            if near.is_empty() { String::new() } else { format!("\n\n{}", did_you_mean(&near)) };
        return Err(format!("unknown flag: --{name}{meant}"));
    };
    let value = match given {
        Some(value) => value,
        None if flag.kind == Kind::Bool => "true".to_owned(),
        None => match typed.next() {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => return Err(format!("flag needs an argument: --{name}")),
        },
    };
    set(flag, &value, values)
}

fn read_letters(
    letters: &str,
    typed: &mut Typed<'_>,
    flags: &[&'static Flag],
    values: &mut Values,
) -> Result<(), String> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            return Err(format!("unknown shorthand flag: '{letter}' in -{rest}"));
        };
        let after = &rest[letter.len_utf8()..];
        if let Some(value) = after.strip_prefix('=') {
            return set(flag, value, values);
        }
        if flag.kind == Kind::Bool {
            set(flag, "true", values)?;
            rest = after;
            continue;
        }
        if !after.is_empty() {
            return set(flag, after, values);
        }
        return match typed.next() {
            Some(value) => set(flag, &String::from_utf8_lossy(value), values),
            None => Err(format!("flag needs an argument: '{letter}' in -{rest}")),
        };
    }
    Ok(())
}

fn set(flag: &'static Flag, typed: &str, values: &mut Values) -> Result<(), String> {
    let value = read(flag, typed).map_err(|why| {
        let name = match flag.short {
            Some(letter) => format!("-{letter}, --{}", flag.name),
            None => format!("--{}", flag.name),
        };
        let typed = go::quote(typed.as_bytes());
        format!("invalid argument {typed} for \"{name}\" flag: {why}")
    })?;
    values.say(flag, value);
    Ok(())
}

/// For programs we start: our bytes as their argument.
pub fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests;

//! Completion: what may stand in the place of the last word, from the table of commands.

use cobra::{Candidate, Offer, Otherwise, SHELLS};

use crate::args::{HELP, below, flags_of};
use crate::spec::{Command, Flag, GLOBAL, Kind, ROOT};

/// What may stand in the place of the last word.
pub fn offer(words: &[String]) -> Offer {
    let Some((last, before)) = words.split_last() else { return Offer::nothing(Otherwise::Files) };
    let mut path: Vec<&'static Command> = vec![&ROOT];
    let mut arguments = Vec::new();
    let mut given: Vec<&'static str> = Vec::new();
    let mut before = before.iter();
    while let Some(word) = before.next() {
        if word == "--" {
            // Whatever follows is no flag.
            return Offer::nothing(Otherwise::Files);
        }
        let command = path[path.len() - 1];
        if word.len() > 1 && word.starts_with('-') {
            let Some(flag) = named(&path, word) else {
                let typed = before.clone().map(String::as_str);
                let typed: Vec<&str> = [word.as_str()].into_iter().chain(typed).collect();
                let why = format!("unknown flag: {word}");
                let typed = typed.join(" ");
                return Offer::fault(format!(
                    "Error while parsing flags from args [{typed}]: {why}"
                ));
            };
            given.push(flag.name);
            let takes_next = flag.kind != Kind::Bool && !word.contains('=');
            if takes_next && before.next().is_none() {
                return values_of(flag);
            }
        } else if let Some(found) = below(command, word).filter(|_| arguments.is_empty()) {
            path.push(found);
        } else {
            arguments.push(word.clone());
        }
    }
    let command = path[path.len() - 1];
    if command.name() == "help" {
        return commands_below(&arguments, last);
    }
    match last.split_once('=') {
        Some((name, _)) if last.starts_with('-') => {
            return named(&path, name).map_or(Offer::nothing(Otherwise::Files), values_of);
        }
        _ if last.starts_with('-') => return flags(&path, &given, last),
        _ => {}
    }
    if !command.commands.is_empty() {
        if arguments.is_empty() {
            return commands_of(command, last);
        }
        return match path.len() {
            1 => {
                let typed = arguments.join(" ");
                Offer::fault(format!("unable to find a command for arguments: [{typed}]"))
            }
            _ => Offer::nothing(Otherwise::Files),
        };
    }
    if command.name() == "completion" && arguments.is_empty() {
        let shells = SHELLS.iter().map(|shell| Candidate::word(*shell));
        return Offer::of(shells, Otherwise::Nothing).beginning_with(last);
    }
    Offer::nothing(Otherwise::Files)
}

/// What follows `help`.
fn commands_below(words: &[String], last: &str) -> Offer {
    let mut command: &'static Command = &ROOT;
    for word in words {
        match below(command, word) {
            Some(found) => command = found,
            None => return Offer::nothing(Otherwise::Nothing),
        }
    }
    commands_of(command, last)
}

fn commands_of(command: &'static Command, last: &str) -> Offer {
    let mut commands: Vec<&Command> = command.commands.iter().collect();
    commands.sort_by_key(|command| command.name());
    let candidates = commands.into_iter().map(|command| Candidate {
        word: command.name().to_owned(),
        about: command.short.to_owned(),
    });
    Offer::of(candidates, Otherwise::Nothing).beginning_with(last)
}

/// A flag's values; the shell finds those that fit.
fn values_of(flag: &'static Flag) -> Offer {
    let choices = flag.choices.iter().map(|choice| Candidate::word(*choice));
    Offer::of(choices, Otherwise::Files)
}

/// Flags that were not given yet: those of commands above, then its own. Flags of all commands are offered
/// to whoever begins to type one, for etcdctl hides them.
fn flags(path: &[&'static Command], given: &[&'static str], last: &str) -> Offer {
    let command = path[path.len() - 1];
    let above: Vec<&Flag> =
        path[..path.len() - 1].iter().flat_map(|above| above.persistent).collect();
    let mut own: Vec<&Flag> =
        command.flags.iter().chain(command.persistent).chain([&HELP]).collect();
    own.sort_by_key(|flag| flag.name);
    let spelled = |flag: &&'static Flag| {
        let about = match flag.name == HELP.name {
            true => format!("help for {}", command.name()),
            false => flag.help.to_owned(),
        };
        let long = Candidate { word: format!("--{}", flag.name), about: about.clone() };
        let short = flag.short.map(|letter| Candidate { word: format!("-{letter}"), about });
        [Some(long), short]
    };
    let spell = |flags: Vec<&'static Flag>| {
        let left = flags.into_iter().filter(|flag| !given.contains(&flag.name));
        let candidates = left.flat_map(|flag| spelled(&flag)).flatten();
        Offer::of(candidates, Otherwise::Nothing).beginning_with(last)
    };
    let offer =
        spell(if path.len() == 1 { Vec::new() } else { above.into_iter().chain(own).collect() });
    let typing = last.len() > 2 && offer.candidates.is_empty();
    if typing { spell(GLOBAL.iter().collect()) } else { offer }
}

/// The flag that was typed, with or without its value.
fn named(path: &[&'static Command], word: &str) -> Option<&'static Flag> {
    let name = word.split('=').next().unwrap_or(word);
    flags_of(path).into_iter().find(|flag| {
        name.strip_prefix("--") == Some(flag.name)
            || flag.short.is_some_and(|letter| name == format!("-{letter}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, offered: &[&str], otherwise: Otherwise) {
        let words: Vec<String> = typed.split(' ').map(str::to_owned).collect();
        let offer = offer(&words);
        let found: Vec<&str> = offer.candidates.iter().map(|one| one.word.as_str()).collect();
        assert_eq!((found.as_slice(), offer.otherwise), (offered, otherwise), "{typed}");
    }

    #[test]
    fn commands_flags_and_values_are_offered_from_the_table() {
        use Otherwise::{Files, Nothing};
        check("mem", &["member"], Nothing);
        check("-w json member ", &["add", "list", "promote", "remove", "update"], Nothing);
        check("get --pri", &["--print-value-only"], Nothing);
        check("get --prefix --pre", &[], Nothing);
        check("get k --order ", &["ASCEND", "DESCEND"], Files);
        check("get --order=", &["ASCEND", "DESCEND"], Files);
        check("--cacert ", &[], Files);
        check("snapshot save ", &[], Files);
        check("completion z", &["zsh"], Nothing);
        check("completion bash ", &[], Files);
        check("help member l", &["list"], Nothing);
        check("get k ", &[], Files);
        check("get -- --", &[], Files);
        check("get --endp", &["--endpoints"], Nothing);
        check("nosuch ", &[], Files);
        check("member --", &["--help"], Nothing);
    }
}

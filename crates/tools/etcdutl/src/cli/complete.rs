//! Completion: what may stand in the place of the last word, from the table of commands.

use cobra::{Candidate, Offer, Otherwise};

use super::parse::{find, flags_of};
use super::{Arguments, Command, Completes, Flag, HELP, Kind};

/// What may stand in the place of the last word.
pub fn offer(root: &'static Command, words: &[String]) -> Offer {
    let Some((last, before)) = words.split_last() else { return Offer::nothing(Otherwise::Files) };
    // Flags and their values stand between commands; only plain words name one.
    let (mut plain, mut given) = (Vec::new(), Vec::new());
    let mut value_of = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if word.len() > 1 && word.starts_with('-') {
            let (path, _) = find(root, &plain);
            let flag = named(flags_of(&path), word);
            given.extend(flag.map(|flag| flag.name));
            value_of = flag.filter(|flag| flag.kind != Kind::Truth && !word.contains('='));
        } else {
            plain.push(word.clone());
        }
    }
    let topic = plain.first().is_some_and(|first| first == HELP);
    let (path, rest) = find(root, &plain[usize::from(topic)..]);
    let command = path[path.len() - 1];
    match (value_of, last.split_once('=')) {
        (Some(flag), _) => return values_of(flag.completes),
        (None, Some((name, _))) if last.starts_with('-') => {
            let flag = named(flags_of(&path), name);
            return flag.map_or(Offer::nothing(Otherwise::Files), |flag| values_of(flag.completes));
        }
        _ if last.starts_with('-') => return flags(&path, &given, last),
        _ => {}
    }
    match command.arguments {
        _ if !command.commands.is_empty() && rest.is_empty() => {
            commands_of(command, path.len(), last)
        }
        Arguments::OneOf(words) if rest.is_empty() => {
            let words = words.iter().map(|word| Candidate::word(*word));
            Offer::of(words, Otherwise::Nothing).beginning_with(last)
        }
        _ if path.len() == 1 => {
            Offer::fault(format!("unable to find a command for arguments: [{}]", rest.join(" ")))
        }
        _ => Offer::nothing(Otherwise::Files),
    }
}

fn commands_of(command: &'static Command, depth: usize, last: &str) -> Offer {
    let help = Candidate { word: HELP.to_owned(), about: "Help about any command".to_owned() };
    let below = command.commands.iter().map(|command| Candidate {
        word: command.name.to_owned(),
        about: command.short.to_owned(),
    });
    let mut all: Vec<Candidate> = below.chain((depth == 1).then_some(help)).collect();
    all.sort_by(|one, other| one.word.cmp(&other.word));
    Offer::of(all, Otherwise::Nothing).beginning_with(last)
}

/// Flags that were not given yet: those of groups above, then the command's own.
fn flags(path: &[&'static Command], given: &[&str], last: &str) -> Offer {
    let command = path[path.len() - 1];
    let spelled = |name: &str, letter: Option<char>, about: &str| {
        let spell = |word| Candidate { word, about: about.to_owned() };
        [Some(spell(format!("--{name}"))), letter.map(|letter| spell(format!("-{letter}")))]
    };
    let sorted = |mut flags: Vec<(&'static str, Option<char>, String)>| {
        flags.sort();
        flags.into_iter().filter(|(name, ..)| !given.contains(name))
    };
    let about = |flag: &'static Flag| (flag.name, flag.letter, flag.help.to_owned());
    let above = path.iter().flat_map(|command| command.shared_flags).map(about).collect();
    let help = (HELP, Some('h'), format!("help for {}", command.name));
    let own = command.flags.iter().map(about).chain([help]).collect();
    let all = sorted(above).chain(sorted(own));
    let candidates = all.flat_map(|(name, letter, about)| spelled(name, letter, &about)).flatten();
    Offer::of(candidates, Otherwise::Nothing).beginning_with(last)
}

/// The flag that was typed, with or without its value.
fn named(mut flags: impl Iterator<Item = &'static Flag>, word: &str) -> Option<&'static Flag> {
    let name = word.split('=').next().unwrap_or(word);
    flags.find(|flag| {
        name.strip_prefix("--") == Some(flag.name)
            || flag.letter.is_some_and(|letter| name == format!("-{letter}"))
    })
}

fn values_of(completes: Completes) -> Offer {
    match completes {
        Completes::Nothing => Offer::nothing(Otherwise::Files),
        Completes::Directories => Offer::nothing(Otherwise::Directories),
        Completes::Words(words) => {
            Offer::of(words.iter().map(|word| Candidate::word(*word)), Otherwise::Files)
        }
    }
}

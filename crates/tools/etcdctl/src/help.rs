//! Help, as cobra lays it out.

use std::fmt::Write;

use crate::args::HELP;
use crate::spec::{Command, Does, Flag, GLOBAL, Group};

/// The last line of every help.
const OPTIONS_LINE: &str = "Use \"etcdctl options\" for a list of global command-line options (applies to all commands).\n";
/// Names of commands are padded to this at least.
const NAME_WIDTH: usize = 11;

/// What `--help` prints.
pub fn full(path: &[&'static Command]) -> String {
    let command = path.last().expect("the root at least");
    let about = if command.long.is_empty() { command.short } else { command.long };
    format!("{}\n\n{}{OPTIONS_LINE}", about.trim_end(), usage(path))
}

/// What follows an error about a flag.
pub fn usage(path: &[&'static Command]) -> String {
    let command = *path.last().expect("the root at least");
    let mut above: Vec<&str> = path[..path.len() - 1].iter().map(|above| above.name()).collect();
    let mut out = String::from("Usage:\n");
    if let Some(does) = command.does {
        above.push(command.usage);
        let flags = if does == Does::Completion { "" } else { " [flags]" };
        let _ = writeln!(out, "  {}{flags}", above.join(" "));
    }
    let whole = path.iter().map(|command| command.name()).collect::<Vec<_>>().join(" ");
    if !command.commands.is_empty() {
        let _ = writeln!(out, "  {whole} [command]");
    }
    if !command.examples.is_empty() {
        let _ = write!(out, "\nExamples:\n{}\n", command.examples);
    }
    if path.len() == 1 {
        for (group, title) in Group::SHOWN {
            let _ = write!(out, "\n{title}\n");
            list(&mut out, command.commands.iter().filter(|below| below.group == group));
        }
    } else if !command.commands.is_empty() {
        out.push_str("\nAvailable Commands:\n");
        list(&mut out, command.commands.iter());
    }
    if path.len() > 1 {
        let own = own_flags(command);
        let _ = write!(out, "\nFlags:\n{}", flag_lines(&own, command.name()));
    }
    let from_above: Vec<&Flag> =
        path[..path.len() - 1].iter().flat_map(|above| above.persistent).collect();
    if !from_above.is_empty() {
        let _ = write!(out, "\nGlobal Flags:\n{}", flag_lines(&from_above, ""));
    }
    if !command.commands.is_empty() {
        let _ = writeln!(
            out,
            "\nUse \"{whole} [command] --help\" for more information about a command."
        );
    }
    out
}

/// What a line of a transaction gets that has a wrong flag.
pub fn usage_of_line(command: &'static Command) -> String {
    let flags = flag_lines(&own_flags(command), command.name());
    format!("Usage:\n   {} [flags]\n\nFlags:\n{flags}\n", command.usage)
}

/// A command's flags with `--help`, in order.
pub fn own_flags(command: &'static Command) -> Vec<&'static Flag> {
    let mut own: Vec<&Flag> = command.flags.iter().chain(command.persistent).collect();
    own.push(&HELP);
    own.sort_by_key(|flag| flag.name);
    own
}

fn list<'a>(out: &mut String, commands: impl Iterator<Item = &'a Command> + Clone) {
    let longest = commands.clone().map(|command| command.name().len()).max().unwrap_or(0);
    let width = longest.max(NAME_WIDTH);
    for command in commands {
        let _ = writeln!(out, "  {:width$} {}", command.name(), command.short);
    }
}

/// One line per flag, helps aligned.
fn flag_lines(flags: &[&Flag], command: &str) -> String {
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let letter = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let word = flag.kind.word();
            let word = if word.is_empty() { String::new() } else { format!(" {word}") };
            format!("  {letter}--{}{word}", flag.name)
        })
        .collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let help = match flag.name {
            "help" => format!("help for {command}"),
            _ => flag.help.to_owned(),
        };
        let default = flag.shown_default().map_or(String::new(), |shown| format!(" {shown}"));
        let _ = writeln!(out, "{head:width$}   {help}{default}");
    }
    out
}

/// What `options` prints.
pub fn options() -> String {
    let global: Vec<&Flag> = GLOBAL.iter().collect();
    let lines = flag_lines(&global, "");
    format!("The following options can be passed to any command:\n\n{lines}")
}

//! Usage texts, laid out as etcd's tools lay them out.

use std::fmt::Write;

use super::{Command, Flag, Kind};

/// The usage of the last command of a path.
pub fn usage(path: &[&'static Command]) -> String {
    let command = path[path.len() - 1];
    let (own, shared) = flags(path);
    let mut out = String::from("Usage:\n");
    let names: Vec<_> = path.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    if command.run.is_some() {
        let above: Vec<_> = path[..path.len() - 1].iter().map(|command| command.name).collect();
        let _ = writeln!(out, "  {} {}", above.join(" "), command.usage);
    }
    if !command.commands.is_empty() {
        let _ = writeln!(out, "  {names} [command]");
        out += "\nAvailable Commands:\n";
        for (name, short) in listed(command, path.len() == 1) {
            let _ = writeln!(out, "  {name:<11} {short}");
        }
    }
    let _ = write!(out, "\nFlags:\n{}", laid_out(&own));
    if !shared.is_empty() {
        let _ = write!(out, "\nGlobal Flags:\n{}", laid_out(&shared));
    }
    if !command.commands.is_empty() {
        let more = "[command] --help\" for more information about a command.";
        let _ = writeln!(out, "\nUse \"{names} {more}");
    }
    out
}

/// The commands below, by name; the root also has `help`.
fn listed(command: &Command, is_root: bool) -> Vec<(&'static str, &'static str)> {
    let commands = command.commands.iter().map(|command| (command.name, command.short));
    let help = is_root.then_some(("help", "Help about any command"));
    let mut listed: Vec<_> = commands.chain(help).collect();
    listed.sort_unstable();
    listed
}

/// A flag's line: what is typed, and what it is for.
type Line = (String, String);

/// A command's own flags, and those of the groups above it.
fn flags(path: &[&'static Command]) -> (Vec<Line>, Vec<Line>) {
    let (command, above) = path.split_last().expect("a path has at least the root");
    let line = |flag: &&Flag| (typed(flag), about(flag));
    let mut own: Vec<&Flag> = command.flags.iter().chain(command.shared_flags).collect();
    let mut shared: Vec<&Flag> = above.iter().flat_map(|command| command.shared_flags).collect();
    own.sort_unstable_by_key(|flag| flag.name);
    shared.sort_unstable_by_key(|flag| flag.name);
    let help = own.partition_point(|flag| flag.name < super::HELP);
    let mut own: Vec<_> = own.iter().map(line).collect();
    own.insert(help, ("  -h, --help".to_owned(), format!("help for {}", command.name)));
    (own, shared.iter().map(line).collect())
}

fn typed(flag: &Flag) -> String {
    let letter = flag.letter.map_or("      ".to_owned(), |letter| format!("  -{letter}, "));
    let value = match flag.kind {
        Kind::Text => " string",
        Kind::Truth => "",
        Kind::Signed => " int",
        Kind::Unsigned => " uint",
        Kind::Duration => " duration",
    };
    format!("{letter}--{}{value}", flag.name)
}

fn about(flag: &Flag) -> String {
    let default = match (flag.kind, flag.default) {
        (_, "" | "0" | "false") => String::new(),
        (Kind::Text, default) => format!(" (default \"{default}\")"),
        (_, default) => format!(" (default {default})"),
    };
    format!("{}{default}", flag.help)
}

fn laid_out(lines: &[Line]) -> String {
    let width = lines.iter().map(|(typed, _)| typed.len()).max().unwrap_or(0);
    lines.iter().map(|(typed, about)| format!("{typed:<width$}   {about}\n")).collect()
}

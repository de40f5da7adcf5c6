//! The help, made from the table of commands.

use crate::spec::{COMMANDS, Command, Flag, GLOBAL, HELP, Takes};

/// The release whose behaviour this is.
pub const VERSION: &str = "3.4.23";

const HELP_COMMAND: (&str, &str) = ("help, h", "Shows a list of commands or help for one command");

/// The program's own.
pub fn root() -> String {
    let mut names: Vec<(String, &str)> = listed(COMMANDS);
    names.push((HELP_COMMAND.0.to_owned(), HELP_COMMAND.1));
    format!(
        "NAME:\n   etcdctl - A simple command line client for etcd.\n\n\
         USAGE:\n   etcdctl [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {VERSION}\n\n\
         COMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        columns(names),
        flags(GLOBAL)
    )
}

/// That of a group: what `etcdctl member` prints.
pub fn group(group: &Command) -> String {
    format!(
        "NAME:\n   etcdctl {} - {}\n\n\
         USAGE:\n   etcdctl {} command [command options] [arguments...]\n\n\
         COMMANDS:\n{}\nOPTIONS:\n{}   \n",
        group.name,
        group.about,
        group.name,
        columns(listed(group.commands)),
        flags(&[HELP])
    )
}

/// That of a group in the form of the program's own: what `etcdctl member help` prints.
pub fn group_as_program(group: &Command) -> String {
    format!(
        "NAME:\n   etcdctl {} - {}\n\n\
         USAGE:\n   etcdctl {} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {VERSION}\n\n\
         COMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        group.name,
        group.about,
        group.name,
        columns(listed(group.commands)),
        flags(&[HELP])
    )
}

/// That of a command; `words` are those that lead to it, without its own.
pub fn command(words: &str, command: &Command) -> String {
    let words = format!("{words} {}", command.name);
    let options = if command.flags.is_empty() { "" } else { " [command options]" };
    let arguments = if command.arguments.is_empty() { "[arguments...]" } else { command.arguments };
    let mut out = format!(
        "NAME:\n   {words} - {}\n\nUSAGE:\n   {words}{options} {arguments}\n",
        command.about
    );
    if !command.description.is_empty() {
        out += &format!("\nDESCRIPTION:\n   {}\n", command.description);
    }
    if !command.flags.is_empty() {
        out += &format!("\nOPTIONS:\n{}   \n", flags(command.flags));
    }
    out
}

/// That of `help` itself, which has no name there.
pub fn of_help() -> String {
    format!("NAME:\n    - {}\n\nUSAGE:\n    [command]\n", HELP_COMMAND.1)
}

fn listed(commands: &'static [Command]) -> Vec<(String, &'static str)> {
    commands.iter().map(|command| (command.name.to_owned(), command.about)).collect()
}

fn flags(flags: &[Flag]) -> String {
    let shown = |flag: &Flag| {
        let spelled = flag.names.iter().map(|name| {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            match flag.takes {
                Takes::Nothing => format!("{dashes}{name}"),
                _ => format!("{dashes}{name} {}", flag.value),
            }
        });
        spelled.collect::<Vec<_>>().join(", ")
    };
    columns(flags.iter().map(|flag| (shown(flag), flag.help)).collect())
}

/// Two columns, the first as wide as its widest.
fn columns(rows: Vec<(String, &str)>) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, about)| format!("   {name:width$}  {about}\n")).collect()
}

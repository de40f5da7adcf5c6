//! The page of the documentation and the man page, made from the table of commands.

use std::fmt::Write;

use crate::help::own_flags;
use crate::spec::{Command, Flag, GLOBAL, ROOT};

/// The hidden first words with which the pages are asked for.
pub const MARKDOWN_REQUEST: &str = "__markdown";
/// See [`MARKDOWN_REQUEST`].
pub const MAN_REQUEST: &str = "__man";

const INTRODUCTION: &str = "\
# etcdctl

<!-- Made from the table of commands by a test; `HOLDFAST_BLESS=1 cargo test -p etcdctl` writes it anew. -->

The command line client. Commands, flags, output and exit codes are those of etcd's newest etcdctl; what
is ours alone is marked *holdfast* in the column *since*. A number there is the etcd release that a
command or flag came with; without one it is as old as the v3 API.

Where the output differs from that of etcd's newest etcdctl, on purpose:

- tables are drawn in ASCII (`+---+`), as all documentation shows them and as etcdctl drew them up to 3.6;
- progress bars are shown on a terminal only, never when piped;
- a mistyped flag gets the nearest right one, and somebody who named no endpoint gets a hint when the
  default one does not answer;
- `endpoint` commands ask the endpoints that `--discovery-srv` found, too; etcdctl asks the default one;
- `snapshot save` checks the snapshot's checksum before the file gets its name;
- `txn` compares leases (`lease(\"k\") = \"22fa…\"`), on which etcdctl panics up to 3.7.

Exit codes: 0 done, 1 error, 2 no connection, 3 input that cannot be read, 4 something this command cannot
do, 5 interrupted, 128 wrong arguments.

";

/// `docs/etcdctl.md`.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("## Global flags\n\nEvery command takes them, anywhere on its line. A variable stands for a flag that is not typed;\nboth at once are refused.\n\n");
    out.push_str("| flag | default | variable | since | meaning |\n|---|---|---|---|---|\n");
    for flag in GLOBAL {
        let (head, default, since) = (head(flag), code(flag.default), flag.since);
        let variable = flag.variable();
        let _ = writeln!(
            out,
            "| `{head}` | {default} | `{variable}` | {since} | {} |",
            cell(flag.help)
        );
    }
    out.push_str("\n## Commands\n");
    each(&mut vec![&ROOT], &mut |path| section(&mut out, path));
    out
}

/// Visits every command that does something, with those above it.
fn each(path: &mut Vec<&'static Command>, visit: &mut impl FnMut(&[&'static Command])) {
    let command = path[path.len() - 1];
    if command.does.is_some() {
        visit(path);
    }
    for below in command.commands {
        path.push(below);
        each(path, visit);
        path.pop();
    }
}

fn usage(path: &[&'static Command]) -> String {
    let (last, above) = path.split_last().expect("the root at least");
    let names: Vec<&str> = above.iter().map(|command| command.name()).collect();
    format!("{} {}", names.join(" "), last.usage)
}

fn section(out: &mut String, path: &[&'static Command]) {
    let command = path[path.len() - 1];
    let since = path.iter().map(|command| command.since).find(|since| !since.is_empty());
    let since = since.map_or(String::new(), |since| format!(" Since {since}."));
    let about = command.short.split(". Use `").next().unwrap_or_default().trim_end_matches('.');
    let _ = write!(out, "\n### {}\n\n{}.{since}\n", usage(path), cell(about));
    let flags = flags(path);
    if flags.is_empty() {
        return;
    }
    out.push_str("\n| flag | default | since | meaning |\n|---|---|---|---|\n");
    for flag in flags {
        let (head, default, since) = (head(flag), code(flag.default), flag.since);
        let _ = writeln!(out, "| `{head}` | {default} | {since} | {} |", cell(flag.help));
    }
}

/// The command's flags and those of the groups above it; without `--help` and the global ones.
fn flags(path: &[&'static Command]) -> Vec<&'static Flag> {
    let (last, above) = path.split_last().expect("the root at least");
    let own = own_flags(last).into_iter().filter(|flag| flag.name != "help");
    own.chain(above.iter().flat_map(|command| command.persistent)).collect()
}

fn head(flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!("-{letter}, "));
    let word = flag.kind.word();
    let word = if word.is_empty() { String::new() } else { format!(" {word}") };
    format!("{short}--{}{word}", flag.name)
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Text in a cell: a pipe would end it, and `<` begin a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}

/// The man page, section 1.
pub fn man_page() -> String {
    let mut out = String::from(
        ".TH ETCDCTL 1\n.SH NAME\netcdctl \\- command line client of etcd's API v3\n.SH SYNOPSIS\n\
         .B etcdctl\n[options] command [arguments]\n.SH COMMANDS\n",
    );
    each(&mut vec![&ROOT], &mut |path| {
        let command = path[path.len() - 1];
        let _ = write!(out, ".TP\n.B {}\n{}\n", troff(&usage(path)), troff(command.short));
        if !flags(path).is_empty() {
            out.push_str(".RS\n");
            flags(path).iter().for_each(|flag| man_flag(&mut out, flag));
            out.push_str(".RE\n");
        }
    });
    out.push_str(".SH OPTIONS\nEvery command takes them.\n");
    GLOBAL.iter().for_each(|flag| man_flag(&mut out, flag));
    out.push_str(
        ".SH ENVIRONMENT\nEach option may be set by a variable: ETCDCTL_ and the option's name in\n\
         capitals, with _ for \\-.\n.SH EXIT STATUS\n0 done, 1 error, 2 no connection, 3 input that \
         cannot be read, 4 not supported,\n5 interrupted, 128 wrong arguments.\n",
    );
    out
}

fn man_flag(out: &mut String, flag: &Flag) {
    let default = flag.shown_default().map_or(String::new(), |shown| format!(" {shown}"));
    let _ =
        write!(out, ".TP\n.B {}\n{}{}\n", troff(&head(flag)), troff(flag.help), troff(&default));
}

fn troff(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('-', "\\-");
    // A line that begins with a dot or a quote would be an order.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_flag_stands_on_both_pages() {
        let (markdown, man) = (markdown(), man_page());
        let mut count = 0;
        each(&mut vec![&ROOT], &mut |path| {
            count += 1;
            assert!(markdown.contains(&format!("### {}\n", usage(path))), "{}", usage(path));
            assert!(man.contains(&troff(&usage(path))), "{}", usage(path));
            for flag in flags(path) {
                assert!(markdown.contains(&head(flag)) && man.contains(&troff(&head(flag))));
            }
        });
        assert!(count > 50, "{count} commands");
    }
}

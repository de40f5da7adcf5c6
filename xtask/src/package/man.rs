//! Man pages, made from what the programs say of themselves.

use std::path::Path;
use std::process::Command;

use super::{Outcome, said, write};

/// One page for each program and, for the tools, one for each command.
pub fn write_all(programs: &Path, folder: &Path) -> Outcome<()> {
    let help = said(Command::new(programs.join("etcd")).arg("--help"))?;
    let about = "the server of a versioned, replicated key-value store";
    write(&folder.join("etcd.1"), &page("etcd", about, &help))?;
    for program in ["etcdctl", "etcdutl"] {
        let mut open = vec![Vec::<String>::new()];
        while let Some(words) = open.pop() {
            let help = said(Command::new(programs.join(program)).arg("help").args(&words))?;
            let name = std::iter::once(program)
                .chain(words.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join("-");
            let about = help.lines().find(|line| !line.trim().is_empty()).unwrap_or(program);
            write(&folder.join(format!("{name}.1")), &page(&name, about, &help))?;
            for command in commands(&help) {
                open.push(words.iter().cloned().chain([command]).collect());
            }
        }
    }
    Ok(())
}

/// The commands that a help text lists: indented lines below a heading that ends in "ommands", or in
/// "ommands:".
fn commands(help: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in help.lines() {
        if !line.starts_with(' ') {
            if !line.is_empty() {
                inside = line.trim_end_matches(':').to_lowercase().ends_with("commands");
            }
        } else if inside && let Some(word) = line.split_whitespace().next() {
            found.push(word.to_owned());
        }
    }
    // They are no commands of the store, and `help help` would list everything again.
    found.retain(|word| !["help", "completion"].contains(&word.as_str()));
    found
}

/// A page whose body is the help text as it is printed.
fn page(name: &str, about: &str, help: &str) -> String {
    let mut text = format!(
        ".TH {} 1 \"\" \"holdfast\" \"etcd\"\n.SH NAME\n{} \\- {}\n.SH DESCRIPTION\n.nf\n",
        escaped(&name.to_uppercase()),
        escaped(name),
        escaped(about.trim().trim_end_matches('.'))
    );
    for line in help.trim_matches('\n').lines() {
        text.push_str(&escaped(line));
        text.push('\n');
    }
    text.push_str(".fi\n.SH SEE ALSO\n.BR etcd (1),\n.BR etcdctl (1),\n.BR etcdutl (1)\n");
    text
}

/// A line as roff prints it unchanged.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_stands_below_their_heading() {
        let help = "A tool.\n\nUsage:\n  tool [command]\n\nMaintenance commands\n  alarm  Alarms\n  \
                    help   Help\n\nAvailable Commands:\n  grant  Grants\n\nFlags:\n  -h, --help\n";
        assert_eq!(commands(help), ["alarm", "grant"]);
    }

    #[test]
    fn a_line_that_looks_like_roff_is_text() {
        assert_eq!(escaped(".nf -x \\"), "\\&.nf \\-x \\e");
    }
}

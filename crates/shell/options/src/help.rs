//! The help text and `docs/flags.md`, both made from the table.

use std::fmt::Write;

use crate::flag::{Does, Flag, Kind};
use crate::gates::GATES;
use crate::table::GROUPS;

/// How the program is called; also printed after an error on the command line.
pub const USAGE: &str = "\
Usage:

  etcd [flags]
    Runs a member.

  etcd --version
    Prints the version.

  etcd -h | --help
    Prints this help.

  etcd --config-file FILE
    Runs a member as the file says; other flags and the environment are not looked at.
    Durations in the file are whole nanoseconds (600000000000 for 10m).
";

/// What `--help` prints.
pub fn text() -> String {
    let mut out = String::from(USAGE);
    for (title, flags) in GROUPS {
        push(&mut out, format_args!("\n{title}:\n"));
        for flag in *flags {
            push(
                &mut out,
                format_args!("  --{} '{}'\n    {}\n", flag.name, flag.default, flag.help),
            );
            if let Some(remark) = remark(flag) {
                push(&mut out, format_args!("    {remark}\n"));
            }
            if flag.kind == Kind::Gates {
                for gate in GATES {
                    let (stage, default) = (gate.stage.name(), gate.default);
                    push(
                        &mut out,
                        format_args!(
                            "    {}=true|false ({stage} - default={default})\n",
                            gate.name
                        ),
                    );
                }
            }
        }
    }
    out
}

/// What we do with the flag, where that is not what its help says.
fn remark(flag: &Flag) -> Option<String> {
    match flag.does {
        Does::Its => None,
        Does::Nothing(why) => Some(format!("No effect: {why}")),
        Does::Refused(why) => Some(format!("Refused: {why}.")),
        Does::RenamedTo(name) => Some(format!("Sets --{name}.")),
        Does::IsGate(name) => Some(format!("Sets the feature gate {name}.")),
    }
}

/// The text of `docs/flags.md`.
pub fn documentation() -> String {
    let mut out = String::from(
        "# Flags of the server\n\n\
         Every flag of etcd 3.4 to 3.7 is known. Each can be given on the command line \
         (`--name=m1`), in the environment (`ETCD_NAME=m1`) or in a YAML file \
         (`--config-file`, `name: m1`). A flag that asks for something this server cannot do is \
         refused by name, never ignored.\n",
    );
    for (title, flags) in GROUPS {
        push(&mut out, format_args!("\n## {title}\n\n"));
        out.push_str("| flag | default | etcd releases | meaning |\n|---|---|---|---|\n");
        for flag in *flags {
            let default = match flag.default {
                "" => "empty".to_owned(),
                text => format!("`{text}`"),
            };
            let remark = remark(flag).map(|text| format!(" {text}")).unwrap_or_default();
            push(
                &mut out,
                format_args!(
                    "| `--{}` | {default} | {} | {}{remark} |\n",
                    flag.name, flag.releases, flag.help
                ),
            );
        }
    }
    out.push_str("\n## Feature gates\n\n| gate | stage | default | meaning |\n|---|---|---|---|\n");
    for gate in GATES {
        let (stage, default) = (gate.stage.name().to_lowercase(), gate.default);
        let remark = gate.idle.map(|why| format!(" No effect: {why}")).unwrap_or_default();
        push(
            &mut out,
            format_args!("| `{}` | {stage} | {default} | {}{remark} |\n", gate.name, gate.help),
        );
    }
    out
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a String takes whatever is written");
}

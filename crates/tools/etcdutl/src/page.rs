//! `docs/etcdutl.md`, made from the table of commands.

use std::fmt::Write;

use crate::cli::{Command, Flag, Kind};
use crate::commands::ROOT;

/// What is said around the tables.
const INTRODUCTION: &str = "\
# etcdutl

Works on files, with no server running. Made from the program's table of commands (`crates/tools/etcdutl/src/commands.rs`) and
its remarks; a test holds this page to them.

Commands, flags, output, error texts and exit codes are those of etcd's own etcdutl 3.7. Exit codes: 0 well, 1 an error,
4 an output format there is not, 128 arguments that cannot be. Results go to standard output, errors and log lines to
standard error. On a terminal `snapshot status` and `snapshot restore` show how far they are, how fast, and how much time
is left; piped they show nothing.

Unlike etcd's own: a file that is only read is never changed, so a snapshot that `hashkv` was asked about can still be
restored; a restore that fails leaves nothing behind, and one that is killed leaves `member.restoring`, which the next one
clears away; a damaged file is an error that names page and byte, where Go panics. A directory of ours is told from a Go
member's by what lies in it.

| also as | the same as |
|---|---|
| `etcdctl snapshot status`, `etcdctl snapshot restore` | `etcdutl snapshot status`, `etcdutl snapshot restore` |
| `etcdctl defrag --data-dir DIR` | `etcdutl defrag --data-dir DIR` |
";

/// What the help does not say, by command.
const REMARKS: &[(&str, &str)] = &[
    (
        "backup",
        "etcdutl 3.5's command, for what clients of API v2 have stored, which no snapshot has. Copies a directory, a Go \
         member's or ours, to one of the same form that belongs to nobody; start `etcd --data-dir=... \
         --force-new-cluster` on it once. What clients of API v3 have stored comes along, unless `--with-v3=false`. The \
         member must be stopped; without `--with-v3` a Go member may run. Entries of the log that speak of members become \
         empty ones. `ETCDCTL_API=2 etcdctl backup` does the same without `--with-v3`; \
         [etcdctl-v2.md](etcdctl-v2.md) has the whole way.",
    ),
    (
        "snapshot restore",
        "Makes a new cluster from a snapshot of any etcd, ours or Go's 3.4 to 3.7: the same data, revision, compaction, \
         leases, users and roles; members and ids follow from `--initial-cluster` and the token as etcd computes them, so \
         every member is restored from the same file with the same two. The default target is the directory our server \
         starts from; with `--target-format=go` it is one that a Go etcd starts from. Everything is built in \
         `member.restoring` and renamed at the end. The digest is compared while the rows are written.\n\n\
         `--bump-revision` and `--mark-compacted` go together: the revision is raised by so much and everything before \
         looks compacted, so that clients with caches (Kubernetes) notice. A bump past 63 bits is refused.\n\n\
         Users and roles come along: where authentication was switched on, the new cluster asks for the same passwords.",
    ),
    (
        "snapshot status",
        "Checks every page, then every row. `HASH` covers all buckets; `TOTAL KEYS` are those that exist.",
    ),
    ("hashkv", "The number the server's HashKV answers for the same revision."),
    (
        "inspect",
        "Ours; etcd has no such command. Shows member and cluster id, term, vote and commit, the log's ends and its last \
         entries (no values, no passwords), applied entry, revision and compaction, keys and rows with the prefixes that \
         take most room, leases, users, roles, alarms, versions and members; then the health of every checksum there is: \
         each record of the log, each page or segment, each row, each `.snap` file, and whether log and store belong \
         together. Exit code 1 if any check fails.\n\n\
         Reads only, also where a crash left something to mend. Keeps a server from starting meanwhile, and refuses a \
         directory whose member runs. A prefix is the first two parts of a key like `/registry/pods/a`, the first of any \
         other. `-w json` gives the same as one object; the other formats are refused.",
    ),
    (
        "defrag",
        "Writes a Go member's database anew, beside the old one, and exchanges them. Our store cleans itself while it \
         runs, so there is nothing to do.",
    ),
    (
        "check v2store",
        "As late releases of etcdutl 3.5: exit code 1 if something is there, which then has to go before holdfast or etcd \
         3.6 starts on the directory. Reads the newest `.snap` file and the log behind it.",
    ),
    (
        "migrate",
        "As etcd's own, for a Go member's directory: sets the storage version. Our server does that itself.\n\n\
         With `--target-format` a stopped member's directory changes hands, in place, whichever etcd it is of: \
         `holdfast` takes a Go member's over, as our server does when it starts there; `go` gives ours the form that a Go \
         etcd of `--target-version` (3.4 to 3.7) starts from, in its place in the cluster, and leaves our store beside \
         it. What has no form there is refused by name. With `--force` the cluster's version is lowered to the target \
         though there are other members, all of which must then be migrated so. [migration.md](migration.md) has it all.",
    ),
];

/// The whole page.
pub fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    out += "\n## Flags of every command\n\n";
    table(ROOT.shared_flags, &mut out);
    command(&ROOT, "", &mut out);
    out
}

fn command(parent: &Command, path: &str, out: &mut String) {
    for below in parent.commands {
        let name = format!("{path}{}", below.name);
        if below.run.is_some() {
            let usage = below.usage.trim_end_matches(" [flags]");
            let _ = write!(out, "\n## {name}\n\n{}: `etcdutl {path}{usage}`\n", below.short);
            if let Some((_, remark)) = REMARKS.iter().find(|(command, _)| *command == name) {
                let _ = write!(out, "\n{remark}\n");
            }
            if !below.flags.is_empty() {
                *out += "\n";
                table(below.flags, out);
            }
        }
        command(below, &format!("{name} "), out);
    }
}

fn table(flags: &[Flag], out: &mut String) {
    *out += "| flag | default | meaning |\n|---|---|---|\n";
    for flag in flags {
        let letter = flag.letter.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
        let kind = match flag.kind {
            Kind::Text => " TEXT",
            Kind::Truth => "",
            Kind::Signed | Kind::Unsigned => " N",
            Kind::Duration => " TIME",
        };
        let default = match flag.default {
            "" => "",
            default => &format!("`{default}`"),
        };
        let name = flag.name;
        let _ = writeln!(out, "| {letter}`--{name}{kind}` | {default} | {} |", flag.help);
    }
}

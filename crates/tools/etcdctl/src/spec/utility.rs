//! Checks, mirrors, completion, and what tells about the program itself.

use super::{Command, Does, Flag, Group, Kind, PLAIN, flag};

const LOADS: &[&str] = &["small", "medium", "large", "xLarge"];

const AUTO_COMPACT: Flag = flag(
    "auto-compact",
    Kind::Bool,
    "false",
    "Compact storage with last revision after test is finished.",
);
const AUTO_DEFRAG: Flag =
    flag("auto-defrag", Kind::Bool, "false", "Defragment storage after test is finished.");

const PERF_FLAGS: &[Flag] = &[
    AUTO_COMPACT,
    AUTO_DEFRAG,
    flag(
        "load",
        Kind::Text,
        "s",
        "The performance check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge). Different workload models use different configurations in terms of number of clients and expected throughput.",
    )
    .choices(LOADS),
    flag(
        "prefix",
        Kind::Text,
        "/etcdctl-check-perf/",
        "The prefix for writing the performance check's keys.",
    ),
];

const DATASCALE_FLAGS: &[Flag] = &[
    AUTO_COMPACT,
    AUTO_DEFRAG,
    flag(
        "load",
        Kind::Text,
        "s",
        "The datascale check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge)",
    )
    .choices(LOADS),
    flag(
        "prefix",
        Kind::Text,
        "/etcdctl-check-datascale/",
        "The prefix for writing the datascale check's keys.",
    ),
];

pub(super) const CHECK: Command = Command {
    usage: "check <subcommand>",
    group: Group::Utility,
    short: "commands for checking properties of the etcd cluster. Use `etcdctl check --help` to see subcommands",
    long: "commands for checking properties of the etcd cluster",
    commands: &[
        Command {
            usage: "datascale [options]",
            does: Some(Does::CheckDatascale),
            short: "Check the memory usage of holding data for different workloads on a given server endpoint.",
            long: "If no endpoint is provided, localhost will be used. If multiple endpoints are provided, first endpoint will be used.",
            flags: DATASCALE_FLAGS,
            ..PLAIN
        },
        Command {
            usage: "perf [options]",
            does: Some(Does::CheckPerf),
            short: "Check the performance of the etcd cluster",
            flags: PERF_FLAGS,
            ..PLAIN
        },
    ],
    ..PLAIN
};

pub(super) const COMPLETION: Command = Command {
    usage: "completion [bash|zsh|fish|powershell]",
    does: Some(Does::Completion),
    group: Group::Utility,
    since: "3.6",
    short: "Generate completion script",
    long: "To load completions:

Bash:

  $ source <(etcdctl completion bash)

  # To load completions for each session, execute once:
  # Linux:
  $ etcdctl completion bash > /etc/bash_completion.d/etcdctl
  # macOS:
  $ etcdctl completion bash > /usr/local/etc/bash_completion.d/etcdctl

Zsh:

  # If shell completion is not already enabled in your environment,
  # you will need to enable it.  You can execute the following once:

  $ echo \"autoload -U compinit; compinit\" >> ~/.zshrc

  # To load completions for each session, execute once:
  $ etcdctl completion zsh > \"${fpath[1]}/_etcdctl\"

  # You will need to start a new shell for this setup to take effect.

fish:

  $ etcdctl completion fish | source

  # To load completions for each session, execute once:
  $ etcdctl completion fish > ~/.config/fish/completions/etcdctl.fish

PowerShell:

  PS> etcdctl completion powershell | Out-String | Invoke-Expression

  # To load completions for every new session, run:
  PS> etcdctl completion powershell > etcdctl.ps1
  # and source this file from your PowerShell profile.
",
    ..PLAIN
};

pub(super) const HELP: Command = Command {
    usage: "help [command]",
    does: Some(Does::Help),
    group: Group::Utility,
    short: "Help about any command",
    long: "Help provides help for any command in the application.
Simply type etcdctl help [path to command] for full details.",
    ..PLAIN
};

const MIRROR_FLAGS: &[Flag] = &[
    flag(
        "dest-cacert",
        Kind::Text,
        "",
        "Verify certificates of TLS enabled secure servers using this CA bundle",
    ),
    flag(
        "dest-cert",
        Kind::Text,
        "",
        "Identify secure client using this TLS certificate file for the destination cluster",
    ),
    flag(
        "dest-insecure-transport",
        Kind::Bool,
        "true",
        "Disable transport security for client connections",
    ),
    flag("dest-key", Kind::Text, "", "Identify secure client using this TLS key file"),
    flag(
        "dest-password",
        Kind::Text,
        "",
        "Destination password for authentication (if this option is used, --user option shouldn't include password)",
    ),
    flag(
        "dest-prefix",
        Kind::Text,
        "",
        "destination prefix to mirror a prefix to a different prefix in the destination cluster",
    ),
    flag(
        "dest-user",
        Kind::Text,
        "",
        "Destination username[:password] for authentication (prompt if password is not supplied)",
    ),
    flag(
        "max-txn-ops",
        Kind::Uint,
        "128",
        "Maximum number of operations permitted in a transaction during syncing updates.",
    ),
    flag(
        "no-dest-prefix",
        Kind::Bool,
        "false",
        "mirror key-values to the root of the destination cluster",
    ),
    flag("prefix", Kind::Text, "", "Key-value prefix to mirror"),
    flag("rev", Kind::Int, "0", "Specify the kv revision to start to mirror"),
];

pub(super) const MAKE_MIRROR: Command = Command {
    usage: "make-mirror [options] <destination>",
    does: Some(Does::MakeMirror),
    group: Group::Utility,
    short: "Makes a mirror at the destination etcd cluster",
    flags: MIRROR_FLAGS,
    ..PLAIN
};

pub(super) const OPTIONS: Command = Command {
    usage: "options",
    does: Some(Does::Options),
    group: Group::Utility,
    since: "3.7",
    short: "Show the global command-line flags",
    ..PLAIN
};

pub(super) const TOP: Command = Command {
    usage: "top",
    does: Some(Does::Top),
    group: Group::Utility,
    since: "holdfast",
    short: "Shows live what the members of the cluster do",
    flags: &[
        flag("interval", Kind::Duration, "2s", "time between two looks").since("holdfast"),
        flag("once", Kind::Bool, "false", "look twice, print once and end").since("holdfast"),
        flag("prefixes", Kind::Bool, "true", "watch all keys to find the hottest prefixes")
            .since("holdfast"),
    ],
    ..PLAIN
};

pub(super) const VERSION: Command = Command {
    usage: "version",
    does: Some(Does::Version),
    group: Group::Utility,
    short: "Prints the version of etcdctl",
    ..PLAIN
};

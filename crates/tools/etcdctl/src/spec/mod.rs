//! The commands and their flags, once, as data. Parsing, help, completion, man page and the page of the
//! documentation all come from here.

mod auth;
mod cluster;
mod concurrency;
mod global;
mod kv;
mod utility;

pub use global::GLOBAL;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A switch.
    Bool,
    /// Any text.
    Text,
    /// Texts, separated by commas.
    Texts,
    /// A signed number.
    Int,
    /// A signed number that etcd keeps in a Go `int`.
    GoInt,
    /// An unsigned number.
    Uint,
    /// A length of time.
    Duration,
}

impl Kind {
    /// As help spells it; a switch takes nothing.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Text => "string",
            Kind::Texts => "strings",
            Kind::Int | Kind::GoInt => "int",
            Kind::Uint => "uint",
            Kind::Duration => "duration",
        }
    }
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// One letter, if it has one.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// What holds if nobody says anything, as one would type it.
    pub default: &'static str,
    /// The etcd release it came with; empty for "always", `holdfast` for ours.
    pub since: &'static str,
    /// What a shell may offer.
    pub choices: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// A flag of most kinds: without letter, choices, and since ever.
const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, kind, default, since: "", choices: &[], help }
}

impl Flag {
    const fn short(self, letter: char) -> Flag {
        Flag { short: Some(letter), ..self }
    }

    const fn since(self, since: &'static str) -> Flag {
        Flag { since, ..self }
    }

    const fn choices(self, choices: &'static [&'static str]) -> Flag {
        Flag { choices, ..self }
    }

    /// What help shows as the default, if it is worth showing.
    pub fn shown_default(&self) -> Option<String> {
        match (self.kind, self.default) {
            (_, "" | "false") => None,
            (Kind::Int | Kind::GoInt | Kind::Uint, "0") => None,
            (Kind::Text, text) => Some(format!("(default \"{text}\")")),
            (Kind::Texts, text) => Some(format!("(default [{text}])")),
            (_, text) => Some(format!("(default {text})")),
        }
    }

    /// The environment variable that stands for it.
    pub fn variable(&self) -> String {
        format!("ETCDCTL_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// The groups in which the root's help shows its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// It stands under another command.
    None,
    /// Keys, values, leases, watches.
    KeyValue,
    /// The cluster itself.
    Cluster,
    /// Locks, elections.
    Concurrency,
    /// Users, roles.
    Authentication,
    /// The rest.
    Utility,
}

impl Group {
    /// All, in the order of the help.
    pub const SHOWN: [(Group, &'static str); 5] = [
        (Group::KeyValue, "Key-value commands"),
        (Group::Cluster, "Cluster maintenance commands"),
        (Group::Concurrency, "Concurrency commands"),
        (Group::Authentication, "Authentication commands"),
        (Group::Utility, "Utility commands"),
    ];
}

/// What a command does; a command without is a group of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as its command is")]
pub enum Does {
    Get,
    Put,
    Del,
    Txn,
    Compaction,
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    AlarmDisarm,
    AlarmList,
    Defrag,
    DowngradeValidate,
    DowngradeEnable,
    DowngradeCancel,
    EndpointHealth,
    EndpointStatus,
    EndpointHashKv,
    MemberAdd,
    MemberList,
    MemberPromote,
    MemberRemove,
    MemberUpdate,
    MoveLeader,
    SnapshotSave,
    Elect,
    Lock,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    RoleAdd,
    RoleDelete,
    RoleGet,
    RoleGrantPermission,
    RoleList,
    RoleRevokePermission,
    UserAdd,
    UserDelete,
    UserGet,
    UserGrantRole,
    UserList,
    UserPasswd,
    UserRevokeRole,
    CheckDatascale,
    CheckPerf,
    Completion,
    Help,
    MakeMirror,
    Options,
    Top,
    Version,
    /// etcdutl does it, under this name.
    HandOn(&'static str),
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// How it is called, its name first.
    pub usage: &'static str,
    /// What it does; `None` for a group.
    pub does: Option<Does>,
    /// Where the root's help shows it.
    pub group: Group,
    /// The etcd release it came with; empty for "always", `holdfast` for ours.
    pub since: &'static str,
    /// One line.
    pub short: &'static str,
    /// More, if there is more to say.
    pub long: &'static str,
    /// Examples, as help shows them.
    pub examples: &'static str,
    /// Its own flags, in the order of help.
    pub flags: &'static [Flag],
    /// Flags for it and the commands under it.
    pub persistent: &'static [Flag],
    /// The commands under it, in the order of help.
    pub commands: &'static [Command],
}

/// What most commands do not have.
const PLAIN: Command = Command {
    usage: "",
    does: None,
    group: Group::None,
    since: "",
    short: "",
    long: "",
    examples: "",
    flags: &[],
    persistent: &[],
    commands: &[],
};

impl Command {
    /// The first word of its usage.
    pub fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }
}

/// The program.
pub static ROOT: Command = Command {
    usage: "etcdctl",
    short: "A simple command line client for etcd3.",
    commands: &[
        kv::COMPACTION,
        kv::DEL,
        kv::GET,
        kv::LEASE,
        kv::PUT,
        kv::TXN,
        kv::WATCH,
        cluster::ALARM,
        cluster::DEFRAG,
        cluster::DOWNGRADE,
        cluster::ENDPOINT,
        cluster::MEMBER,
        cluster::MOVE_LEADER,
        cluster::SNAPSHOT,
        concurrency::ELECT,
        concurrency::LOCK,
        auth::AUTH,
        auth::ROLE,
        auth::USER,
        utility::CHECK,
        utility::COMPLETION,
        utility::HELP,
        utility::MAKE_MIRROR,
        utility::OPTIONS,
        utility::TOP,
        utility::VERSION,
    ],
    ..PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &'static Command, visit: &mut impl FnMut(&'static Command)) {
        visit(command);
        command.commands.iter().for_each(|below| each(below, visit));
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        let mut visit = |command: &'static Command| {
            for flag in command.flags.iter().chain(command.persistent) {
                assert!(crate::values::read(flag, flag.default).is_ok(), "{}", flag.name);
            }
        };
        each(&ROOT, &mut visit);
        for flag in GLOBAL {
            assert!(crate::values::read(flag, flag.default).is_ok(), "{}", flag.name);
        }
    }

    #[test]
    fn flags_and_commands_stand_in_the_order_of_help() {
        let mut visit = |command: &'static Command| {
            assert!(command.flags.is_sorted_by_key(|flag| flag.name), "{}", command.name());
            if command.name() != "etcdctl" {
                assert!(command.commands.is_sorted_by_key(|below| below.name()));
            }
        };
        each(&ROOT, &mut visit);
        assert!(GLOBAL.is_sorted_by_key(|flag| flag.name));
    }
}

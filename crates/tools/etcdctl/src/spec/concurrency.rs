//! Locks and elections.

use super::{Command, Does, Group, Kind, PLAIN, flag};

pub(super) const ELECT: Command = Command {
    usage: "elect <election-name> [proposal]",
    does: Some(Does::Elect),
    group: Group::Concurrency,
    short: "Observes and participates in leader election",
    flags: &[flag("listen", Kind::Bool, "false", "observation mode").short('l')],
    ..PLAIN
};

pub(super) const LOCK: Command = Command {
    usage: "lock <lockname> [exec-command arg1 arg2 ...]",
    does: Some(Does::Lock),
    group: Group::Concurrency,
    short: "Acquires a named lock",
    flags: &[flag("ttl", Kind::GoInt, "10", "timeout for session")],
    ..PLAIN
};

//! Keys, values, transactions, watches and leases.

use super::{Command, Does, Flag, Group, Kind, PLAIN, flag};

pub(super) const COMPACTION: Command = Command {
    usage: "compaction [options] <revision>",
    does: Some(Does::Compaction),
    group: Group::KeyValue,
    short: "Compacts the event history in etcd",
    flags: &[flag(
        "physical",
        Kind::Bool,
        "false",
        "'true' to wait for compaction to physically remove all old revisions",
    )],
    ..PLAIN
};

/// `del`'s; lines of a transaction take them too.
pub static DEL_FLAGS: &[Flag] = &[
    flag(
        "from-key",
        Kind::Bool,
        "false",
        "delete keys that are greater than or equal to the given key using byte compare",
    ),
    flag("prefix", Kind::Bool, "false", "delete keys with matching prefix"),
    flag("prev-kv", Kind::Bool, "false", "return deleted key-value pairs"),
    flag("range", Kind::Bool, "false", "delete range of keys").since("3.6"),
];

pub(super) const DEL: Command = Command {
    usage: "del [options] <key> [range_end]",
    does: Some(Does::Del),
    group: Group::KeyValue,
    short: "Removes the specified key or range of keys [key, range_end)",
    flags: DEL_FLAGS,
    ..PLAIN
};

/// `get`'s; lines of a transaction take them too.
pub static GET_FLAGS: &[Flag] = &[
    flag("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)").choices(&["l", "s"]),
    flag("count-only", Kind::Bool, "false", "Get only the count"),
    flag(
        "from-key",
        Kind::Bool,
        "false",
        "Get keys that are greater than or equal to the given key using byte compare",
    ),
    flag("keys-only", Kind::Bool, "false", "Get only the keys"),
    flag("limit", Kind::Int, "0", "Maximum number of results"),
    flag("max-create-rev", Kind::Int, "0", "Maximum create revision").since("3.6"),
    flag("max-mod-rev", Kind::Int, "0", "Maximum modification revision").since("3.6"),
    flag("min-create-rev", Kind::Int, "0", "Minimum create revision").since("3.6"),
    flag("min-mod-rev", Kind::Int, "0", "Minimum modification revision").since("3.6"),
    flag("order", Kind::Text, "", "Order of results; ASCEND or DESCEND (ASCEND by default)")
        .choices(&["ASCEND", "DESCEND"]),
    flag("prefix", Kind::Bool, "false", "Get keys with matching prefix"),
    flag(
        "print-value-only",
        Kind::Bool,
        "false",
        "Only write values when using the \"simple\" output format",
    ),
    flag("rev", Kind::Int, "0", "Specify the kv revision"),
    flag("sort-by", Kind::Text, "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION")
        .choices(&["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"]),
    flag("stream", Kind::Bool, "false", "Use the RangeStream RPC").since("3.7"),
];

pub(super) const GET: Command = Command {
    usage: "get [options] <key> [range_end]",
    does: Some(Does::Get),
    group: Group::KeyValue,
    short: "Gets the key or a range of keys",
    flags: GET_FLAGS,
    ..PLAIN
};

/// `put`'s; lines of a transaction take them too.
pub static PUT_FLAGS: &[Flag] = &[
    flag("ignore-lease", Kind::Bool, "false", "updates the key using its current lease"),
    flag("ignore-value", Kind::Bool, "false", "updates the key using its current value"),
    flag("lease", Kind::Text, "0", "lease ID (in hexadecimal) to attach to the key"),
    flag("prev-kv", Kind::Bool, "false", "return the previous key-value pair before modification"),
];

pub(super) const PUT: Command = Command {
    usage: "put [options] <key> <value> (<value> can also be given from stdin)",
    does: Some(Does::Put),
    group: Group::KeyValue,
    short: "Puts the given key into the store",
    long: "
Puts the given key into the store.

When <value> begins with '-', <value> is interpreted as a flag.
Insert '--' for workaround:

$ put <key> -- <value>
$ put -- <key> <value>

If <value> isn't given as a command line argument and '--ignore-value' is not specified,
this command tries to read the value from standard input.

If <lease> isn't given as a command line argument and '--ignore-lease' is not specified,
this command tries to read the value from standard input.

For example,
$ cat file | put <key>
will store the content of the file to <key>.
",
    flags: PUT_FLAGS,
    ..PLAIN
};

pub(super) const TXN: Command = Command {
    usage: "txn [options]",
    does: Some(Does::Txn),
    group: Group::KeyValue,
    short: "Txn processes all the requests in one transaction",
    long: "Txn reads multiple etcd requests from standard input and applies them as a single atomic transaction.

A transaction consists of three components:
1) a list of conditions,
2) a list of requests to apply if all the conditions are true,
3) a list of requests to apply if any condition is false.

Example interactive stdin usage:

---
etcdctl txn -i
# compares:
mod(\"key1\") > \"0\"

# success requests (get, put, delete):
put key1 \"overwrote-key1\"

# failure requests (get, put, delete):
put key1 \"created-key1\"
put key2 \"some extra key\"
---

Refer to https://github.com/etcd-io/etcd/blob/main/etcdctl/README.md#txn-options.",
    flags: &[
        flag("interactive", Kind::Bool, "false", "Input transaction in interactive mode").short('i')
    ],
    ..PLAIN
};

/// `watch`'s; lines of an interactive watch take them too.
pub static WATCH_FLAGS: &[Flag] = &[
    flag("interactive", Kind::Bool, "false", "Interactive mode").short('i'),
    flag("prefix", Kind::Bool, "false", "Watch on a prefix if prefix is set"),
    flag(
        "prev-kv",
        Kind::Bool,
        "false",
        "get the previous key-value pair before the event happens",
    ),
    flag(
        "progress-notify",
        Kind::Bool,
        "false",
        "get periodic watch progress notification from server",
    ),
    flag("rev", Kind::Int, "0", "Revision to start watching"),
];

pub(super) const WATCH: Command = Command {
    usage: "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    does: Some(Does::Watch),
    group: Group::KeyValue,
    short: "Watches events stream on keys or prefixes",
    flags: WATCH_FLAGS,
    ..PLAIN
};

pub(super) const LEASE: Command = Command {
    usage: "lease <subcommand>",
    group: Group::KeyValue,
    short: "Lease related commands. Use `etcdctl lease --help` to see subcommands",
    long: "Lease related commands",
    commands: &[
        Command {
            usage: "grant <ttl>",
            does: Some(Does::LeaseGrant),
            short: "Creates leases",
            ..PLAIN
        },
        Command {
            usage: "keep-alive [options] <leaseID>",
            does: Some(Does::LeaseKeepAlive),
            short: "Keeps leases alive (renew)",
            flags: &[flag(
                "once",
                Kind::Bool,
                "false",
                "Resets the keep-alive time to its original value and cobrautl.Exits immediately",
            )],
            ..PLAIN
        },
        Command {
            usage: "list",
            does: Some(Does::LeaseList),
            short: "List all active leases",
            ..PLAIN
        },
        Command {
            usage: "revoke <leaseID>",
            does: Some(Does::LeaseRevoke),
            short: "Revokes leases",
            ..PLAIN
        },
        Command {
            usage: "timetolive <leaseID> [options]",
            does: Some(Does::LeaseTimeToLive),
            short: "Get lease information",
            flags: &[flag("keys", Kind::Bool, "false", "Get keys attached to this lease")],
            ..PLAIN
        },
    ],
    ..PLAIN
};

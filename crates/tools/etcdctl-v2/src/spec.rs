//! The commands and flags, as data.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is there or not.
    Nothing,
    /// A whole number.
    Number,
    /// A text; the last one counts.
    Text,
    /// A text; all of them count.
    Texts,
    /// `2s`, `100ms`.
    Duration,
}

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// All spellings; the first is the one the program itself uses.
    pub names: &'static [&'static str],
    /// What it takes.
    pub takes: Takes,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// What the help says.
    pub help: &'static str,
}

/// A command, or a group of commands.
#[derive(Debug)]
pub struct Command {
    /// Its word.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// What follows its words in the help.
    pub arguments: &'static str,
    /// More about it.
    pub description: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// The commands of a group.
    pub commands: &'static [Command],
    /// What it does; nothing for a group.
    pub does: Option<Does>,
}

/// What commands do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the commands are")]
pub enum Does {
    Backup,
    ClusterHealth,
    Mk,
    Mkdir,
    Rm,
    Rmdir,
    Get,
    Ls,
    Set,
    Setdir,
    Update,
    Updatedir,
    Watch,
    ExecWatch,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    UserAdd,
    UserGet,
    UserList,
    UserRemove,
    UserGrant,
    UserRevoke,
    UserPasswd,
    RoleAdd,
    RoleGet,
    RoleList,
    RoleRemove,
    RoleGrant,
    RoleRevoke,
    AuthEnable,
    AuthDisable,
}

const fn switch(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, takes: Takes::Nothing, value: "", help }
}

const fn text(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, takes: Takes::Text, value: "value", help }
}

const fn number(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, takes: Takes::Number, value: "value", help }
}

const fn command(
    name: &'static str,
    about: &'static str,
    arguments: &'static str,
    flags: &'static [Flag],
    does: Does,
) -> Command {
    Command { name, about, arguments, description: "", flags, commands: &[], does: Some(does) }
}

const fn group(name: &'static str, about: &'static str, commands: &'static [Command]) -> Command {
    Command { name, about, arguments: "", description: "", flags: &[], commands, does: None }
}

/// Those before the command.
pub const GLOBAL: &[Flag] = &[
    switch(&["debug"], "output cURL commands which can be used to reproduce the request"),
    switch(&["no-sync"], "don't synchronize cluster information before sending request"),
    Flag {
        names: &["output", "o"],
        takes: Takes::Text,
        value: "simple",
        help: "output response in the given format (simple, `extended` or `json`) (default: \"simple\")",
    },
    text(
        &["discovery-srv", "D"],
        "domain name to query for SRV records describing cluster endpoints",
    ),
    switch(&["insecure-discovery"], "accept insecure SRV records describing cluster endpoints"),
    text(&["peers", "C"], "DEPRECATED - \"--endpoints\" should be used instead"),
    text(&["endpoint"], "DEPRECATED - \"--endpoints\" should be used instead"),
    text(
        &["endpoints"],
        "a comma-delimited list of machine addresses in the cluster (default: \"http://127.0.0.1:2379,http://127.0.0.1:4001\")",
    ),
    text(&["cert-file"], "identify HTTPS client using this SSL certificate file"),
    text(&["key-file"], "identify HTTPS client using this SSL key file"),
    text(&["ca-file"], "verify certificates of HTTPS-enabled servers using this CA bundle"),
    text(&["username", "u"], "provide username[:password] and prompt if password is not supplied."),
    Flag {
        names: &["timeout"],
        takes: Takes::Duration,
        value: "value",
        help: "connection timeout per request (default: 2s)",
    },
    Flag {
        names: &["total-timeout"],
        takes: Takes::Duration,
        value: "value",
        help: "timeout for the command execution (except watch) (default: 5s)",
    },
    HELP,
    switch(&["version", "v"], "print the version"),
];

/// Every command has it, and does not show it.
pub const HELP: Flag = switch(&["help", "h"], "show help");

const TTL: Flag = number(&["ttl"], "key time-to-live in seconds (default: 0)");
const QUORUM: Flag = switch(&["quorum", "q"], "require quorum for get request");
const SORT: Flag = switch(&["sort"], "returns result in sorted order");

/// All commands, as the help lists them.
pub const COMMANDS: &[Command] = &[
    command(
        "backup",
        "backup an etcd directory",
        " ",
        &[
            text(&["data-dir"], "Path to the etcd data dir"),
            text(&["wal-dir"], "Path to the etcd wal dir"),
            text(&["backup-dir"], "Path to the backup dir"),
            text(&["backup-wal-dir"], "Path to the backup wal dir"),
            switch(&["with-v3"], "Backup v3 backend data"),
        ],
        Does::Backup,
    ),
    command(
        "cluster-health",
        "check the health of the etcd cluster",
        " ",
        &[switch(&["forever", "f"], "forever check the health every 10 second until CTRL+C")],
        Does::ClusterHealth,
    ),
    command(
        "mk",
        "make a new key with a given value",
        "<key> <value>",
        &[switch(&["in-order"], "create in-order key under directory <key>"), TTL],
        Does::Mk,
    ),
    command("mkdir", "make a new directory", "<key>", &[TTL], Does::Mkdir),
    command(
        "rm",
        "remove a key or a directory",
        "<key>",
        &[
            switch(&["dir"], "removes the key if it is an empty directory or a key-value pair"),
            switch(&["recursive", "r"], "removes the key and all child keys(if it is a directory)"),
            text(&["with-value"], "previous value"),
            number(&["with-index"], "previous index (default: 0)"),
        ],
        Does::Rm,
    ),
    command(
        "rmdir",
        "removes the key if it is an empty directory or a key-value pair",
        "<key>",
        &[],
        Does::Rmdir,
    ),
    command("get", "retrieve the value of a key", "<key>", &[SORT, QUORUM], Does::Get),
    command(
        "ls",
        "retrieve a directory",
        "[key]",
        &[
            SORT,
            switch(&["recursive", "r"], "returns all key names recursively for the given path"),
            switch(&["p"], "append slash (/) to directories"),
            QUORUM,
        ],
        Does::Ls,
    ),
    Command {
        description: "Set sets the value of a key.\n\n   \
                      When <value> begins with '-', <value> is interpreted as a flag.\n   \
                      Insert '--' for workaround:\n\n   \
                      $ set -- <key> <value>",
        ..command(
            "set",
            "set the value of a key",
            "<key> <value>",
            &[
                TTL,
                text(&["swap-with-value"], "previous value"),
                number(&["swap-with-index"], "previous index (default: 0)"),
            ],
            Does::Set,
        )
    },
    command(
        "setdir",
        "create a new directory or update an existing directory TTL",
        "<key>",
        &[TTL],
        Does::Setdir,
    ),
    command(
        "update",
        "update an existing key with a given value",
        "<key> <value>",
        &[TTL],
        Does::Update,
    ),
    command("updatedir", "update an existing directory", "<key> <value>", &[TTL], Does::Updatedir),
    command(
        "watch",
        "watch a key for changes",
        "<key>",
        &[
            switch(&["forever", "f"], "forever watch a key until CTRL+C"),
            number(&["after-index"], "watch after the given index (default: 0)"),
            switch(&["recursive", "r"], "returns all values for key and child keys"),
        ],
        Does::Watch,
    ),
    command(
        "exec-watch",
        "watch a key for changes and exec an executable",
        "<key> <command> [args...]",
        &[
            number(&["after-index"], "watch after the given index (default: 0)"),
            switch(&["recursive", "r"], "watch all values for key and child keys"),
        ],
        Does::ExecWatch,
    ),
    group("member", "member add, remove and list subcommands", MEMBER),
    group("user", "user add, grant and revoke subcommands", USER),
    group("role", "role add, grant and revoke subcommands", ROLE),
    group(
        "auth",
        "overall auth controls",
        &[
            command("enable", "enable auth access controls", " ", &[], Does::AuthEnable),
            command("disable", "disable auth access controls", " ", &[], Does::AuthDisable),
        ],
    ),
];

const MEMBER: &[Command] = &[
    command("list", "enumerate existing cluster members", " ", &[], Does::MemberList),
    command(
        "add",
        "add a new member to the etcd cluster",
        "<name> <peerURL>",
        &[],
        Does::MemberAdd,
    ),
    command(
        "remove",
        "remove an existing member from the etcd cluster",
        "<memberID>",
        &[],
        Does::MemberRemove,
    ),
    command(
        "update",
        "update an existing member in the etcd cluster",
        "<memberID> <peerURLs>",
        &[],
        Does::MemberUpdate,
    ),
];

const ROLES: Flag = Flag {
    names: &["roles"],
    takes: Takes::Texts,
    value: "value",
    help: "List of roles to grant or revoke",
};

const USER: &[Command] = &[
    command("add", "add a new user for the etcd cluster", "<user>", &[], Does::UserAdd),
    command("get", "get details for a user", "<user>", &[], Does::UserGet),
    command("list", "list all current users", "<user>", &[], Does::UserList),
    command("remove", "remove a user for the etcd cluster", "<user>", &[], Does::UserRemove),
    command("grant", "grant roles to an etcd user", "<user>", &[ROLES], Does::UserGrant),
    command("revoke", "revoke roles for an etcd user", "<user>", &[ROLES], Does::UserRevoke),
    command("passwd", "change password for a user", "<user>", &[], Does::UserPasswd),
];

const ROLE: &[Command] = &[
    command("add", "add a new role for the etcd cluster", "<role> ", &[], Does::RoleAdd),
    command("get", "get details for a role", "<role>", &[], Does::RoleGet),
    command("list", "list all roles", " ", &[], Does::RoleList),
    command("remove", "remove a role from the etcd cluster", "<role>", &[], Does::RoleRemove),
    command(
        "grant",
        "grant path matches to an etcd role",
        "<role>",
        &[
            text(&["path"], "Path granted for the role to access"),
            switch(&["read"], "Grant read-only access"),
            switch(&["write"], "Grant write-only access"),
            switch(&["readwrite", "rw"], "Grant read-write access"),
        ],
        Does::RoleGrant,
    ),
    command(
        "revoke",
        "revoke path matches for an etcd role",
        "<role>",
        &[
            text(&["path"], "Path revoked for the role to access"),
            switch(&["read"], "Revoke read access"),
            switch(&["write"], "Revoke write access"),
            switch(&["readwrite", "rw"], "Revoke read-write access"),
        ],
        Does::RoleRevoke,
    ),
];

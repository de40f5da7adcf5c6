//! Users, roles, and whether they count.

use super::{Command, Does, Flag, Group, Kind, PLAIN, flag};

pub(super) const AUTH: Command = Command {
    usage: "auth <enable or disable>",
    group: Group::Authentication,
    short: "Enable or disable authentication. Use `etcdctl auth --help` to see subcommands",
    long: "Enable or disable authentication",
    commands: &[
        Command {
            usage: "disable",
            does: Some(Does::AuthDisable),
            short: "Disables authentication",
            ..PLAIN
        },
        Command {
            usage: "enable",
            does: Some(Does::AuthEnable),
            short: "Enables authentication",
            ..PLAIN
        },
        Command {
            usage: "status",
            does: Some(Does::AuthStatus),
            short: "Returns authentication status",
            ..PLAIN
        },
    ],
    ..PLAIN
};

const GRANT_FLAGS: &[Flag] = &[
    flag(
        "from-key",
        Kind::Bool,
        "false",
        "grant a permission of keys that are greater than or equal to the given key using byte compare",
    ),
    flag("prefix", Kind::Bool, "false", "grant a prefix permission"),
];

const REVOKE_FLAGS: &[Flag] = &[
    flag(
        "from-key",
        Kind::Bool,
        "false",
        "revoke a permission of keys that are greater than or equal to the given key using byte compare",
    ),
    flag("prefix", Kind::Bool, "false", "revoke a prefix permission"),
];

pub(super) const ROLE: Command = Command {
    usage: "role <subcommand>",
    group: Group::Authentication,
    short: "Role related commands. Use `etcdctl role --help` to see subcommands",
    long: "Role related commands",
    commands: &[
        Command {
            usage: "add <role name>",
            does: Some(Does::RoleAdd),
            short: "Adds a new role",
            ..PLAIN
        },
        Command {
            usage: "delete <role name>",
            does: Some(Does::RoleDelete),
            short: "Deletes a role",
            ..PLAIN
        },
        Command {
            usage: "get <role name>",
            does: Some(Does::RoleGet),
            short: "Gets detailed information of a role",
            ..PLAIN
        },
        Command {
            usage: "grant-permission [options] <role name> <permission type> <key> [endkey]",
            does: Some(Does::RoleGrantPermission),
            short: "Grants a key to a role",
            flags: GRANT_FLAGS,
            ..PLAIN
        },
        Command { usage: "list", does: Some(Does::RoleList), short: "Lists all roles", ..PLAIN },
        Command {
            usage: "revoke-permission <role name> <key> [endkey]",
            does: Some(Does::RoleRevokePermission),
            short: "Revokes a key from a role",
            flags: REVOKE_FLAGS,
            ..PLAIN
        },
    ],
    ..PLAIN
};

const ADD_FLAGS: &[Flag] = &[
    flag(
        "interactive",
        Kind::Bool,
        "true",
        "Read password from stdin instead of interactive terminal",
    ),
    flag("new-user-password", Kind::Text, "", "Supply password from the command line flag"),
    flag("no-password", Kind::Bool, "false", "Create a user without password (CN based auth only)"),
];

pub(super) const USER: Command = Command {
    usage: "user <subcommand>",
    group: Group::Authentication,
    short: "User related commands. Use `etcdctl user --help` to see subcommands",
    long: "User related commands",
    commands: &[
        Command {
            usage: "add <user name or user:password> [options]",
            does: Some(Does::UserAdd),
            short: "Adds a new user",
            flags: ADD_FLAGS,
            ..PLAIN
        },
        Command {
            usage: "delete <user name>",
            does: Some(Does::UserDelete),
            short: "Deletes a user",
            ..PLAIN
        },
        Command {
            usage: "get <user name> [options]",
            does: Some(Does::UserGet),
            short: "Gets detailed information of a user",
            flags: &[flag(
                "detail",
                Kind::Bool,
                "false",
                "Show permissions of roles granted to the user",
            )],
            ..PLAIN
        },
        Command {
            usage: "grant-role <user name> <role name>",
            does: Some(Does::UserGrantRole),
            short: "Grants a role to a user",
            ..PLAIN
        },
        Command { usage: "list", does: Some(Does::UserList), short: "Lists all users", ..PLAIN },
        Command {
            usage: "passwd <user name> [options]",
            does: Some(Does::UserPasswd),
            short: "Changes password of user",
            flags: &[flag(
                "interactive",
                Kind::Bool,
                "true",
                "If true, read password from stdin instead of interactive terminal",
            )],
            ..PLAIN
        },
        Command {
            usage: "revoke-role <user name> <role name>",
            does: Some(Does::UserRevokeRole),
            short: "Revokes a role from a user",
            ..PLAIN
        },
    ],
    ..PLAIN
};

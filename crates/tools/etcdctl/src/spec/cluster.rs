//! Members, endpoints, alarms, snapshots.

use super::{Command, Does, Flag, Group, Kind, PLAIN, flag};

pub(super) const ALARM: Command = Command {
    usage: "alarm <subcommand>",
    group: Group::Cluster,
    short: "Alarm related commands. Use `etcdctl alarm --help` to see subcommands",
    long: "Alarm related commands",
    commands: &[
        Command {
            usage: "disarm",
            does: Some(Does::AlarmDisarm),
            short: "Disarms all alarms",
            ..PLAIN
        },
        Command { usage: "list", does: Some(Does::AlarmList), short: "Lists all alarms", ..PLAIN },
    ],
    ..PLAIN
};

const CLUSTER: Flag =
    flag("cluster", Kind::Bool, "false", "use all endpoints from the cluster member list");

pub(super) const DEFRAG: Command = Command {
    usage: "defrag",
    does: Some(Does::Defrag),
    group: Group::Cluster,
    short: "Defragments the storage of the etcd members with given endpoints",
    persistent: &[CLUSTER],
    ..PLAIN
};

pub(super) const DOWNGRADE: Command = Command {
    usage: "downgrade <TARGET_VERSION>",
    group: Group::Cluster,
    since: "3.6",
    short: "Downgrade related commands. Use `etcdctl downgrade --help` to see subcommands",
    long: "Downgrade related commands",
    commands: &[
        Command {
            usage: "cancel",
            does: Some(Does::DowngradeCancel),
            short: "Cancel the ongoing downgrade action to cluster",
            ..PLAIN
        },
        Command {
            usage: "enable <TARGET_VERSION>",
            does: Some(Does::DowngradeEnable),
            short: "Start a downgrade action to cluster",
            ..PLAIN
        },
        Command {
            usage: "validate <TARGET_VERSION>",
            does: Some(Does::DowngradeValidate),
            short: "Validate downgrade capability before starting downgrade",
            ..PLAIN
        },
    ],
    ..PLAIN
};

pub(super) const ENDPOINT: Command = Command {
    usage: "endpoint <subcommand>",
    group: Group::Cluster,
    short: "Endpoint related commands. Use `etcdctl endpoint --help` to see subcommands",
    long: "Endpoint related commands",
    persistent: &[CLUSTER],
    commands: &[
        Command {
            usage: "hashkv",
            does: Some(Does::EndpointHashKv),
            short: "Prints the KV history hash for each endpoint in --endpoints",
            persistent: &[flag(
                "rev",
                Kind::Int,
                "0",
                "maximum revision to hash (default: latest revision)",
            )],
            ..PLAIN
        },
        Command {
            usage: "health",
            does: Some(Does::EndpointHealth),
            short: "Checks the healthiness of endpoints specified in `--endpoints` flag",
            ..PLAIN
        },
        Command {
            usage: "status",
            does: Some(Does::EndpointStatus),
            short: "Prints out the status of endpoints specified in `--endpoints` flag",
            long: "When --write-out is set to simple, this command prints out comma-separated status lists for each endpoint.
The items in the lists are endpoint, ID, version, db size, is leader, is learner, raft term, raft index, raft applied index, errors.
",
            ..PLAIN
        },
    ],
    ..PLAIN
};

pub(super) const MEMBER: Command = Command {
    usage: "member <subcommand>",
    group: Group::Cluster,
    short: "Membership related commands. Use `etcdctl member --help` to see subcommands",
    long: "Membership related commands",
    commands: &[
        Command {
            usage: "add <memberName> [options]",
            does: Some(Does::MemberAdd),
            short: "Adds a member into the cluster",
            flags: &[
                flag("learner", Kind::Bool, "false", "indicates if the new member is raft learner"),
                flag("peer-urls", Kind::Text, "", "comma separated peer URLs for the new member."),
            ],
            ..PLAIN
        },
        Command {
            usage: "list",
            does: Some(Does::MemberList),
            short: "Lists all members in the cluster",
            long: "When --write-out is set to simple, this command prints out comma-separated member lists for each endpoint.
The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.
",
            flags: &[flag("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)")
                .since("3.6")
                .choices(&["l", "s"])],
            ..PLAIN
        },
        Command {
            usage: "promote <memberID>",
            does: Some(Does::MemberPromote),
            short: "Promotes a non-voting member in the cluster",
            long: "Promotes a non-voting learner member to a voting one in the cluster.
",
            ..PLAIN
        },
        Command {
            usage: "remove <memberID>",
            does: Some(Does::MemberRemove),
            short: "Removes a member from the cluster",
            ..PLAIN
        },
        Command {
            usage: "update <memberID> [options]",
            does: Some(Does::MemberUpdate),
            short: "Updates a member in the cluster",
            flags: &[flag(
                "peer-urls",
                Kind::Text,
                "",
                "comma separated peer URLs for the updated member.",
            )],
            ..PLAIN
        },
    ],
    ..PLAIN
};

pub(super) const MOVE_LEADER: Command = Command {
    usage: "move-leader <transferee-member-id>",
    does: Some(Does::MoveLeader),
    group: Group::Cluster,
    short: "Transfers leadership to another etcd cluster member.",
    ..PLAIN
};

const SNAPSHOT_EXAMPLES: &str = "  # Save snapshot to a given file
  etcdctl snapshot save /backup/etcd-snapshot.db
  
  # Get snapshot from given address and save it to file
  etcdctl snapshot save --endpoints=127.0.0.1:3000 /backup/etcd-snapshot.db
  
  # Get snapshot from given address with certificates
  etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/etcd.crt --key=/etc/etcd/etcd.key snapshot save /backup/etcd-snapshot.db
  
  # Get snapshot with certain user and password
  etcdctl --user=root --password=password123 snapshot save /backup/etcd-snapshot.db
  
  # Get snapshot from given address with timeout
  etcdctl --endpoints=https://127.0.0.1:2379 --dial-timeout=20s snapshot save /backup/etcd-snapshot.db
  
  # Save snapshot with desirable time format
  etcdctl snapshot save /mnt/backup/etcd/backup_$(date +%Y%m%d_%H%M%S).db";

pub(super) const SNAPSHOT: Command = Command {
    usage: "snapshot <subcommand>",
    group: Group::Cluster,
    short: "Manages etcd node snapshots",
    examples: SNAPSHOT_EXAMPLES,
    commands: &[Command {
        usage: "save <filename>",
        does: Some(Does::SnapshotSave),
        short: "Stores an etcd node backend snapshot to a given file",
        examples: SNAPSHOT_EXAMPLES,
        ..PLAIN
    }],
    ..PLAIN
};

//! The table of commands and flags. Help, completion and parsing all come from here.

use crate::cli::{Arguments, Command, Completes, Failure, Flag, Kind, Matches, print};
use crate::target::TARGET_FORMATS;
use crate::{
    backup, defrag, hashkv, inspect, migrate, output, restore, salvage, status, v2store, version,
};

const TEXT: Flag = Flag {
    name: "",
    letter: None,
    kind: Kind::Text,
    default: "",
    help: "",
    required: false,
    unless: None,
    completes: Completes::Nothing,
};

const DIRECTORY: Flag = Flag { completes: Completes::Directories, ..TEXT };

const COMMAND: Command = Command {
    name: "",
    usage: "",
    short: "",
    flags: &[],
    shared_flags: &[],
    commands: &[],
    arguments: Arguments::Any,
    run: None,
};

/// Everything `etcdutl` can do.
pub static ROOT: Command = Command {
    name: "etcdutl",
    shared_flags: &[
        Flag {
            name: "timeout",
            kind: Kind::Duration,
            default: "10s",
            help: "time to wait to obtain a file lock on db file, 0 to block indefinitely",
            ..TEXT
        },
        Flag {
            name: "write-out",
            letter: Some('w'),
            default: "simple",
            help: "set the output format (fields, json, protobuf, simple, table)",
            completes: Completes::Words(output::FORMATS),
            ..TEXT
        },
    ],
    commands: &[
        BACKUP,
        Command {
            name: "check",
            usage: "check",
            short: "Checks what a data directory holds before it changes hands",
            commands: &[Command {
                name: "v2store",
                usage: "v2store [flags]",
                short: "Checks that clients of the v2 API have stored nothing",
                flags: &[
                    Flag {
                        name: "data-dir",
                        help: "Required. A data directory not in use by etcd.",
                        required: true,
                        ..DIRECTORY
                    },
                    Flag {
                        name: "wal-dir",
                        help: "Path to the WAL directory (below the data directory if none given)",
                        ..DIRECTORY
                    },
                ],
                run: Some(v2store::run),
                ..COMMAND
            }],
            ..COMMAND
        },
        Command {
            name: "completion",
            usage: "completion [bash|zsh|fish|powershell]",
            short: "Generate completion script",
            arguments: Arguments::OneOf(cobra::SHELLS),
            run: Some(completion),
            ..COMMAND
        },
        Command {
            name: "defrag",
            usage: "defrag [flags]",
            short: "Defragments the storage of the etcd",
            flags: &[Flag {
                name: "data-dir",
                help: "Required. Defragments a data directory not in use by etcd.",
                required: true,
                ..DIRECTORY
            }],
            run: Some(defrag::run),
            ..COMMAND
        },
        Command {
            name: "hashkv",
            usage: "hashkv <filename> [flags]",
            short: "Prints the KV history hash of a given file",
            flags: &[Flag {
                name: "rev",
                kind: Kind::Signed,
                default: "0",
                help: "maximum revision to hash (default: latest revision)",
                ..TEXT
            }],
            arguments: Arguments::One,
            run: Some(hashkv::run),
            ..COMMAND
        },
        Command {
            name: "inspect",
            usage: "inspect <data-dir> [flags]",
            short: "Shows what a data directory holds and checks all of it",
            flags: &[Flag {
                name: "wal-dir",
                help: "Path to the WAL directory (below the data directory if none given)",
                ..DIRECTORY
            }],
            arguments: Arguments::One,
            run: Some(inspect::run),
            ..COMMAND
        },
        MIGRATE,
        SALVAGE,
        Command {
            name: "snapshot",
            usage: "snapshot",
            short: "Manages etcd node snapshots",
            commands: &[
                RESTORE,
                Command {
                    name: "status",
                    usage: "status <filename> [flags]",
                    short: "Gets backend snapshot status of a given file",
                    run: Some(status::run),
                    ..COMMAND
                },
            ],
            ..COMMAND
        },
        Command {
            name: "version",
            usage: "version [flags]",
            short: "Prints the version of etcdutl",
            run: Some(version::run),
            ..COMMAND
        },
    ],
    ..COMMAND
};

const BACKUP: Command = Command {
    name: "backup",
    usage: "backup [flags]",
    short: "[legacy] offline backup of etcd directory",
    flags: &[
        Flag { name: "backup-dir", help: "Path to the backup dir", required: true, ..DIRECTORY },
        Flag { name: "backup-wal-dir", help: "Path to the backup wal dir", ..DIRECTORY },
        Flag { name: "data-dir", help: "Path to the etcd data dir", required: true, ..DIRECTORY },
        Flag { name: "wal-dir", help: "Path to the etcd wal dir", ..DIRECTORY },
        Flag {
            name: "with-v3",
            kind: Kind::Truth,
            default: "true",
            help: "Backup v3 backend data",
            ..TEXT
        },
    ],
    run: Some(backup::run),
    ..COMMAND
};

const MIGRATE: Command = Command {
    name: "migrate",
    usage: "migrate [flags]",
    short: "Migrates schema of etcd data dir files to make them compatible with different etcd version",
    flags: &[
        Flag { name: "data-dir", help: "Path to the etcd data dir", required: true, ..DIRECTORY },
        Flag {
            name: "force",
            kind: Kind::Truth,
            default: "false",
            help: "Ignore migration failure and forcefully override storage version. Not recommended.",
            ..TEXT
        },
        Flag {
            name: "target-format",
            help: "Whose data directory to make of it, in place: holdfast, or go for etcd's own of --target-version",
            completes: Completes::Words(TARGET_FORMATS),
            ..TEXT
        },
        Flag {
            name: "target-version",
            help: "Target etcd version to migrate contents of data dir. Minimal value 3.5. Format \"X.Y\" for example 3.6.",
            required: true,
            unless: Some(("target-format", "holdfast")),
            ..TEXT
        },
        Flag {
            name: "wal-dir",
            help: "With --target-format: path to the WAL directory (below the data directory if none given)",
            ..DIRECTORY
        },
    ],
    run: Some(migrate::run),
    ..COMMAND
};

const SALVAGE: Command = Command {
    name: "salvage",
    usage: "salvage <data-dir> --output {file} [flags]",
    short: "Makes a snapshot of what is whole of a damaged data directory, and tells what is lost",
    flags: &[Flag {
        name: "output",
        letter: Some('o'),
        help: "Where the snapshot is written",
        required: true,
        ..TEXT
    }],
    arguments: Arguments::One,
    run: Some(salvage::run),
    ..COMMAND
};

const RESTORE: Command = Command {
    name: "restore",
    usage: "restore <filename> --data-dir {output dir} [options] [flags]",
    short: "Restores an etcd member snapshot to an etcd directory",
    flags: &[
        Flag {
            name: "bump-revision",
            kind: Kind::Unsigned,
            default: "0",
            help: "How much to increase the latest revision after restore",
            ..TEXT
        },
        Flag { name: "data-dir", help: "Path to the output data directory", ..DIRECTORY },
        Flag {
            name: "initial-advertise-peer-urls",
            default: "http://localhost:2380",
            help: "List of this member's peer URLs to advertise to the rest of the cluster",
            ..TEXT
        },
        Flag {
            name: "initial-cluster",
            default: "default=http://localhost:2380",
            help: "Initial cluster configuration for restore bootstrap",
            ..TEXT
        },
        Flag {
            name: "initial-cluster-token",
            default: "etcd-cluster",
            help: "Initial cluster token for the etcd cluster during restore bootstrap",
            ..TEXT
        },
        Flag {
            name: "initial-memory-map-size",
            kind: Kind::Unsigned,
            default: "10737418240",
            help: "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to 0",
            ..TEXT
        },
        Flag {
            name: "mark-compacted",
            kind: Kind::Truth,
            default: "false",
            help: "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision > 0, disallowed otherwise)",
            ..TEXT
        },
        Flag {
            name: "name",
            default: "default",
            help: "Human-readable name for this member",
            ..TEXT
        },
        Flag {
            name: "skip-hash-check",
            kind: Kind::Truth,
            default: "false",
            help: "Ignore snapshot integrity hash value (required if copied from data directory)",
            ..TEXT
        },
        Flag {
            name: "target-format",
            default: "holdfast",
            help: "Whose data directory to write: holdfast for this project's server, go for etcd's own",
            completes: Completes::Words(TARGET_FORMATS),
            ..TEXT
        },
        Flag {
            name: "wal-dir",
            help: "Path to the WAL directory (use --data-dir if none given)",
            ..DIRECTORY
        },
    ],
    run: Some(restore::run),
    ..COMMAND
};

fn completion(matches: &Matches) -> Result<(), Failure> {
    let script = cobra::script(&matches.arguments[0], ROOT.name);
    print(&script.expect("the shell was checked"));
    Ok(())
}

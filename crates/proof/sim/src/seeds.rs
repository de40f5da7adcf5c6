//! Seeds that found something once. Each is played in every run of the tests.

/// Seeds of clusters: members, seed, and what it found.
pub const FOUND_IN_CLUSTERS: &[(usize, u64, &str)] = &[
    (
        3,
        17,
        "a snapshot that was being received was thrown away with the one that had been taken over",
    ),
    (3, 166, "a snapshot that came twice lost its file before it was taken over"),
    (
        3,
        171,
        "a member stopped while a snapshot arrived marked its log behind the snapshot, and did not start again",
    ),
    (
        3,
        273,
        "the commit index of a snapshot was written before its marker, and a torn end committed entries that differ",
    ),
    (3, 373, "a member that lost power between two renames of its store did not start again"),
    (
        5,
        147,
        "a marker that was never agreed on cut off the end of the log, and the member did not start again",
    ),
    (
        3,
        515_165,
        "the file of a snapshot went with a refused message, and the second one was taken without it",
    ),
    (3, 977, "time leapt over heartbeats while leases ran out: the simulation's own mistake"),
    (5, 92, "a log marked for an old store behind a snapshot's marker was opened at the wrong one"),
];

/// The seed and what it found, of a lone member.
pub const FOUND: &[(u64, &str)] = &[
    (6, "a preparation of the log's next segment that failed was tried again at once, for ever"),
    (1754, "a keep-alive was answered before the lease's checkpoint was cleared"),
    (8906, "a keep-alive was answered after the lease had ended while its checkpoint was cleared"),
    (
        796_014_280_037,
        "a log that was marked where it began was read as empty, and its member never led again",
    ),
    (
        796_016_699_728,
        "a row that history could not read hid the previous rows of others that could be read",
    ),
    (21_959, "a checkpoint on its way was applied after a renewal and shortened the lease"),
];

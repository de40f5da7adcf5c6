//! Seeds that found something once. Each is played in every run of the tests.

/// The seed and what it found.
pub const FOUND: &[(u64, &str)] = &[
    (6, "a preparation of the log's next segment that failed was tried again at once, for ever"),
    (1754, "a keep-alive was answered before the lease's checkpoint was cleared"),
    (8906, "a keep-alive was answered after the lease had ended while its checkpoint was cleared"),
    (
        796_014_280_037,
        "a log that was marked where it began was read as empty, and its member never led again",
    ),
    (21_959, "a checkpoint on its way was applied after a renewal and shortened the lease"),
];

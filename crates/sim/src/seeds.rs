//! Seeds that found something once. Each is played in every run of the tests.

/// The seed and what it found.
pub const FOUND: &[(u64, &str)] = &[];

//! What clients did and saw, and the judges of it.
//!
//! Nothing in here knows holdfast: a history is written down by whoever drives the server (the simulation, a
//! test with real processes), and judged by what etcd promises its clients. Each judge returns the first
//! [`Violation`] it finds, in words.
//!
//! | judge | holds | cost |
//! |---|---|---|
//! | [`order::judge`] | every answer is what a store has that does one request after the other, in the order of revisions, and that order fits the clock | linear: whole runs |
//! | [`linear::search`] | there is *some* order that explains all answers, without believing any revision | exponential: short windows |
//! | [`watch::judge`] | a watcher got what it was promised: ordered, unique, reliable, atomic, bookmarkable | linear |
//! | [`lease::judge`] | no lease ended early, and none came back | linear |
//!
//! Time is any number that only grows: a step of the simulation, nanoseconds of a clock.

pub mod keyspace;
pub mod lease;
pub mod linear;
mod makers;
pub mod order;
pub mod record;
pub mod watch;

pub use keyspace::{Change, Keyspace};
pub use record::{
    Action, Answer, Condition, KeyValue, Operation, Outcome, Request, Span, Target, Time,
};

/// A promise that was not kept, in words a person can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// Says what was wrong, unless `holds`.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

//! What the command lines of etcdctl and etcdutl have in common: both are made with cobra in Go, and
//! shells, scripts and habits rely on how it completes and what it says.
//!
//! A program has its commands as a table of its own; it says what may stand in a place ([`Offer`]) and this
//! crate says it to the shell.

mod complete;
mod nearest;

pub use complete::{
    Candidate, DESCRIBED_REQUEST, Offer, Otherwise, PLAIN_REQUEST, SHELLS, answer, script,
};
pub use nearest::nearest;

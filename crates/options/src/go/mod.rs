//! Go's spelling of things people type: flags, numbers, durations, URLs.
//!
//! Scripts and people compare error texts, so what Go's standard library accepts we accept, and what it
//! refuses we refuse in its words. Written from observed behaviour.

pub mod args;
pub mod duration;
pub mod number;
pub mod url;

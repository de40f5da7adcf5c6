//! One raft member: inputs in, outputs out. The only crate that names the raft crate.
//!
//! [`Consensus`] wraps raft-rs so that the rest of holdfast speaks `types::Entry` and Go etcd's own
//! bytes. Three traps of the library are closed here, once:
//!
//! - raft-rs numbers configuration changes differently from Go, so a change travels through it in an
//!   envelope (see [`envelope`]);
//! - raft-rs draws its election jitter from the thread's dice; it is overwritten after every step with
//!   a number that follows from the seed, the term and the role, so a run can be replayed;
//! - messages that would make the library panic are refused before they reach it (see `guard.rs`).
//!
//! Not here: what entries mean (see `apply`), where they are written (see `wal`), who asked (see
//! `member`).

pub mod envelope;
mod guard;
mod log;
mod machine;

pub use guard::RefusedMessage;
pub use machine::{Boot, Config, Consensus, NotProposed, Output, Persist, Read, Role, Standing};
pub use raft::eraftpb::Message;

//! One raft member: inputs in, outputs out.
//!
//! This is etcd's raft, as its library behaves on the wire and in its decisions, written as one pure
//! machine: `raftpb` messages in Go's own numbering come in through [`Consensus::step`], and
//! [`Consensus::output`] says what must be written, sent, applied and read. There is no clock (time is a count
//! of ticks), no dice (the election jitter follows from seed, member, term and attempt) and no logger.
//!
//! Always true:
//! - nothing that vouches for durable state leaves before that state is durable: answers to appends and votes,
//!   and the requests for votes, wait for their group of writes (see [`Persist`]); everything else leaves at once;
//! - a leader counts itself only for what it has persisted;
//! - nothing a peer says ends the process: it is taken, ignored, or refused with words ([`RefusedMessage`]);
//! - configurations change one member at a time. Joint ones are read, and refused by name.
//!
//! In reading order: `io` (what goes in and out), `log`, `progress` (one follower), `configuration`, `guard` (what
//! a peer may say), `elections`, `proposals`, `replication`, `following`, `reads`, `changes`, `durability` (what waits
//! for the disk), `machine`.
//!
//! Not here: what entries mean (see `apply`), where they are written (see `wal`), who asked (see
//! `member`), how messages travel (see `peer`).

mod changes;
mod configuration;
mod durability;
mod elections;
mod following;
mod guard;
mod io;
mod log;
mod machine;
mod progress;
mod proposals;
mod reads;
mod replication;
mod wire;

pub use configuration::ImpossibleChange;
pub use guard::RefusedMessage;
pub use io::{
    Boot, BootError, Config, LogRead, NotProposed, Output, Persist, Progress, Read, Replication,
    Role, Scope, SnapshotPoint, Standing,
};
pub use machine::Consensus;
pub use proto::raftpb::Message;

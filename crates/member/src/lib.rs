//! One cluster member as two machines, with the log between them.
//!
//! [`Front`] faces the log: it takes proposals and reads and says what to write, send and apply.
//! [`Engine`] applies: it answers proposers, feeds watchers, counts leases. A shell gives them threads,
//! disks and clocks; a simulation gives them one thread and a seed. Neither ever waits.
//!
//! Not here: sockets and threads (see `server`), what entries do (see `apply`).

pub mod auto_compaction;
mod engine;
mod front;
mod identity;

pub use engine::{Effect as EngineEffect, Engine, Options as EngineOptions, Stored, Syncing};
pub use front::{
    Effect as FrontEffect, Front, Input as FrontInput, Options as FrontOptions, Proposal,
};
pub use identity::{RequestIds, added_member_id, bootstrap_member_id, cluster_id};

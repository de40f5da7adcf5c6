//! One cluster member as two machines, with the log between them.
//!
//! [`Front`] faces the log: it takes proposals and reads and says what to write, send and apply.
//! [`Engine`] applies: it answers proposers, feeds watchers, counts leases. A shell gives them threads,
//! disks and clocks; a simulation gives them one thread and a seed. Neither ever waits.
//!
//! [`Applying`] is the engine with its housekeeping and the exchange of its store: the one driver of that half. What
//! one half asks of the other, or of the log, is an input of that one already, so a driver only hands it on: `node`
//! between threads, the simulation between inboxes whose order it draws, and [`Machines`] in one thread.
//!
//! Around them stand the other decisions of a member, pure as well: [`recover`] (from two logs to the parts of
//! a member), [`LogWriter`] (append, sync, only then tell), [`House`] (when to clean and to checkpoint), and the
//! long jobs that others drive in steps.
//!
//! Not here: sockets and threads (see `node`), what entries do (see `apply`).

mod applying;
mod applying_input;
pub mod auto_compaction;
mod begin;
mod boot_error;
mod engine;
mod front;
mod house;
mod identity;
mod install;
mod install_error;
mod jobs;
mod log_writer;
mod machines;
mod proposal;
mod recover;
mod repair;

pub use applying::{Applying, Effect as ApplyingEffect};
pub use applying_input::Input as ApplyingInput;
pub use begin::{Begin, InitialMember};
pub use boot_error::BootError;
pub use engine::{
    Effect as EngineEffect, Engine, Options as EngineOptions, Stored, Syncing, checkpoint_request,
};
pub use front::is_sure_to_lead;
pub use front::{
    Effect as FrontEffect, Front, Gathered, Input as FrontInput, Options as FrontOptions,
};
pub use house::{CHECKPOINT_ROWS_MIN, Chore, House};
pub use identity::{RequestIds, Run, added_member_id, bootstrap_member_id, cluster_id};
pub use install::{InstallDone, InstallJob, Installer, spooled};
pub use install_error::InstallError;
pub use jobs::{CheckpointJob, HashRead, HistoryRead};
pub use log_writer::{Effect as LogEffect, Input as LogInput, LogDone, LogWork, LogWriter, Mark};
pub use machines::{Asked, Ended, Machines};
pub use proposal::Proposal;
pub use recover::{Notice, RecoverOptions, Recovered, recover};
pub use repair::{log_identity, replace_store};

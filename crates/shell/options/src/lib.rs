//! What a server can be told: flags, environment variables, a file; and what they come to.
//!
//! Flags are data ([`GROUPS`]); [`parse`] takes what the process was started with and gives a checked
//! [`Config`], or what to print or log instead. Nothing here touches the world: files and addresses are
//! asked for through closures.
//!
//! Texts of errors and remarks are etcd's, since people and scripts look for them
//! (`docs/etcd/server-flags.md`); what etcd can do and this server cannot yet is refused by name.

mod addresses;
mod args;
mod auth;
mod bootstrap;
mod build;
mod check;
mod config;
mod environment;
mod file;
mod flag;
mod gates;
mod help;
mod log;
mod note;
mod parse;
mod security;
mod table;
mod url;
mod values;
pub mod version;
mod yaml;

pub use auth::{INVALID as INVALID_AUTH, Tokens};
pub use bootstrap::Resolve;
pub use check::ADVERTISE_MISSING;
pub use config::{
    Auth, AutoCompaction, Bootstrap, ClusterState, Config, Discovery, DiscoveryService, Http,
    Keepalive, Listen, Raft, Secret, Storage, Timers, Tls, TlsSide, TlsVersion, Tracing,
};
pub use environment::without_secrets;
pub use flag::{Does, Flag, Kind};
pub use gates::{GATES, Gate, Gates, Stage as GateStage};
pub use go::GoDuration;
pub use help::documentation;
pub use log::{Format, Level, LogOptions, Output, Rotation};
pub use note::Note;
pub use parse::{Outcome, Parsed, Stage, Start, parse};
pub use table::GROUPS;
pub use url::{Scheme, Url, join as join_urls};

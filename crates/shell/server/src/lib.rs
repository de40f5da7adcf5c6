//! A member on its ports: the gRPC services, the JSON gateway, health and metrics.
//!
//! `node` runs the member; here its answers become responses. [`start`] opens the listeners and the
//! member and returns when both serve; [`Serving::stop`] takes them down in order.
//!
//! Not here: flags (see `options`), frames (see `rpc`), what a request does (see `apply`).

mod cluster;
mod desk;
mod door;
mod duties;
mod encryption;
mod export;
mod gatekeeper;
mod holding;
mod http;
mod leader;
mod login;
mod observer;
mod proposals;
mod quota;
mod reply;
mod serve;
mod services;
mod wide;

pub use encryption::EncryptionError;
pub use member::bootstrap_member_id as member_id;
pub use serve::{Room, SERVER_VERSION, ServeError, Serving, start};

//! TLS for every socket of a member: what the flags say becomes handshakes.
//!
//! Three things are made here. A [`Server`] accepts encrypted connections and says who the client proved
//! to be; a [`Client`] encrypts connections that this process opens; [`self_signed`] makes the
//! certificates of `--auto-tls`. Certificates, keys, CAs and revocation lists are looked at again at each
//! handshake, so they are rotated by replacing the files; a file that cannot be used leaves what was
//! there in force, and [`Watch`] is told once.
//!
//! Always true: a connection is handed out only after every rule of its [`Rules`] has passed; a private
//! key is held by the configuration it belongs to and is never printed.
//!
//! Not here: which flags there are (see `options`), where connections come from (see `net` and `peer`),
//! what an identity may do (see `auth`).

mod client;
mod crl;
mod files;
mod identity;
mod listener;
mod public_key;
mod rejected;
mod reload;
mod resolve;
mod rules;
mod self_signed;
mod server;
mod suites;
mod text;
mod verify;

pub use client::{Client, ClientFiles};
pub use crl::{RevocationError, Revoked};
pub use files::{FileError, Pair};
pub use identity::identity_of;
pub use listener::Acceptor;
pub use public_key::{PublicKey, first_block, public_key};
pub use rejected::{Rejected, rejected};
pub use reload::Watch;
pub use rules::{Refused, Rules};
pub use self_signed::{SelfSignedError, self_signed};
pub use server::{
    Accepted, HANDSHAKE_DURATION_MAX, Handshake, HandshakeError, Server, ServerFiles,
};
pub use suites::{Suites, SuitesError, Version, Versions};
pub use text::go_text;

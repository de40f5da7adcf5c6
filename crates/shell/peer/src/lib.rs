//! etcd's peer protocol: how members of one cluster talk to each other, over HTTP/1.1
//! (`docs/etcd/peer-protocol.md` 1 to 6).
//!
//! Two halves. The pure one decides: [`wire`] turns messages into the bytes of both kinds of stream and back,
//! [`rules`] says which way a message takes, who may ask what, how soon to dial again. The other waits: a
//! [`Transport`] is one thread that holds all connections to and from all peers.
//!
//! Always true: whoever sends never waits; every queue is bounded in messages and bytes, every wait in time; a peer
//! that is slow, dead or hostile costs the others nothing; only a member that was removed is ever told so.
//!
//! Not here: raft (see `consensus`), what the member knows ([`Raft`] and [`PeerFacts`] ask for it), TLS
//! ([`net::Tls`] accepts with it and [`Connector`] dials).

pub mod rules;
mod shell;
pub mod wire;

pub use rules::Version;
pub use shell::*;

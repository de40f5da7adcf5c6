//! The async client: endpoints with fail-over, safe retries, tokens, watches that resume, leases that
//! are kept alive, locks and elections.
//!
//! It speaks gRPC straight on HTTP/2 (`h2`, which the server uses too): a command line tool that must
//! answer in ten milliseconds has no use for a second stack. What is retried, and when, is what
//! clientv3 does (`docs/etcd/errors.md` 3), so that a program behaves the same on both.
//!
//! Not here: formats, flags, exit codes (see `etcdctl`).

mod address;
mod call;
mod channel;
mod client;
mod concurrency;
mod connection;
mod dial;
mod discover;
mod election;
mod endpoint;
mod error;
mod http_get;
mod lease;
mod method;
mod pass;
mod remark;
mod tls;
mod watch;

pub use address::connect as connect_tcp;
pub use call::{Sending, Streaming, framed};
pub use channel::Channel;
pub use client::{Client, Config, Credentials, Stream};
pub use concurrency::{Mutex, Session};
pub use connection::Connection;
pub use discover::{Discovered, SrvRecord, discover, lookup_srv, srv_records};
pub use election::Election;
pub use endpoint::{Address, Encryption, Endpoint};
pub use error::{Error, Status};
pub use http_get::http_get;
pub use lease::Keeper;
pub use method::{Method, Retry, methods, prefix_end, retry};
pub use pass::Headers;
pub use remark::{Peer, Remark, Remarks};
pub use tls::{TlsError, TlsOptions};
pub use watch::{Notice, WatchOptions, Watcher};

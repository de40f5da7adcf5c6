//! What stands between clients and servers: `etcd gateway` and `etcd grpc-proxy`.
//!
//! [`read`] turns a command line into what is to be done, in the words of etcd's own. A [`Gateway`] listens,
//! picks an endpoint for each connection by the priorities and weights of its SRV record, and carries the
//! bytes both ways. It sees no request. A [`GrpcProxy`] serves etcd's API: it passes calls on, and answers for
//! many clients with one watch, one keep-alive and, for a second, one read.
//!
//! Not here: signals, the log's outputs and systemd (see `etcd`).

mod discovery;
mod flags;
mod gateway;
mod grpc;
mod options;

pub use gateway::{Gateway, GatewayError};
pub use grpc::GrpcProxy;
pub use options::{Advertised, Asked, GatewayOptions, GrpcProxyOptions, ListenTls, read};

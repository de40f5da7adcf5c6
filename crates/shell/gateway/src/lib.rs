//! JSON over HTTP/1.1 for those who cannot speak gRPC.
//!
//! The pure half is the [`Transcoder`]: from a path to a method, from JSON to protobuf and back,
//! guided by the descriptors that `proto` exports. The other half, [`Gateway`], answers HTTP
//! requests by calling the server's own handlers in the same process, streams and websockets
//! included. There is no second connection as in Go's gateway, so peer and deadline are the real
//! ones.
//!
//! The answers are those of etcd 3.7, without the blanks that Go's printer inserts at random.
//!
//! Not here: CORS, the host check, redirects of unclean paths, and whether a client certificate
//! forbids the gateway (see `server`).

mod body;
mod handler;
mod metadata;
mod paths;
mod print;
mod read;
mod scan;
mod schema;
mod status;
mod transcoder;
mod websocket;

pub use handler::Gateway;
pub use paths::PATHS;
pub use status::{http_status, print_error};
pub use transcoder::{Target, Transcoder};

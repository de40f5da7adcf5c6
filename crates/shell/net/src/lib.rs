//! Sockets and threads: who listens, who serves, what a connection speaks, and how it all ends.
//!
//! One single-threaded runtime per core; a connection lives and dies on one of them, so what serves
//! it may be `!Send` and nothing is locked between cores. A [`Server`] owns threads and sockets, a
//! [`Listener`] is one place where it accepts, in the clear or through a [`Tls`]. HTTP/1.1 is read
//! here and answered by an [`HttpHandler`]; what begins with HTTP/2's preface is handed to an
//! [`Http2`], which for clients is gRPC.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use holdfast_net as net;
//! # use net::{HttpBody, Limits, Listener, Protocols, Remote, Server, Socket, whole};
//! # use http::{Request, Response};
//! async fn hello(_: Request<HttpBody>, remote: Arc<Remote>) -> Response<HttpBody> {
//!     Response::new(whole(format!("hello {}", remote.address)))
//! }
//! # fn main() -> std::io::Result<()> {
//! let socket = Socket::tcp("127.0.0.1:0".parse().expect("an address"), Default::default())?;
//! let listener = Listener::new(socket, Protocols::Http);
//! let running = Server::new(Limits::default()).workers(1).http(Arc::new(hello)).serve(vec![listener])?;
//! # running.stop(std::time::Duration::ZERO)
//! # }
//! ```
//!
//! Not here: HTTP/2 and gRPC (see `http2`, `rpc`), certificates (see `tls`), what any path answers.

mod connection;
mod connections;
mod handshake;
mod http1;
mod limits;
mod listen;
mod observer;
mod phase;
mod remote;
mod server;
mod socket;
mod wire;

pub use connection::{Connection, Http2};
pub use connections::{Connections, Descriptors};
pub use http1::{HttpBody, HttpHandler, whole};
pub use limits::Limits;
pub use listen::{Handshake, Listener, Protocols, Stream, Tls};
pub use observer::{NoObserver, Observer};
pub use phase::{Phase, Phases};
pub use remote::{Identity, Remote, RemoteAddress, Transport};
pub use server::{Running, Server};
pub use socket::{Socket, SocketOptions};
pub use wire::Wire;

/// A future that stays on the thread that made it.
pub type LocalFuture<T> = std::pin::Pin<Box<dyn Future<Output = T>>>;

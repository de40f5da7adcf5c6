//! gRPC for the server side, on HTTP/2.
//!
//! A connection lives and dies on one thread of `net`, so a handler and all it holds may be `!Send`
//! and nothing is locked between cores. [`Router`] is a table from path to handler, [`Server`] puts it
//! on `net`'s sockets, and `engine` drives `http2` on one of them. Encrypted, a request that is no gRPC
//! is answered by `net`'s `HttpHandler`, as etcd's port does it.
//!
//! A service registers handlers and never sees a frame:
//!
//! ```
//! # use rpc::{Call, Inbound, Router, Sink};
//! # use holdfast_rpc as rpc;
//! # #[derive(Clone, PartialEq, prost::Message)]
//! # struct Echo {}
//! # impl prost::Name for Echo {
//! #     const NAME: &'static str = "Echo";
//! #     const PACKAGE: &'static str = "test";
//! # }
//! let mut router = Router::new();
//! router.unary_of("/test.Echo/Once", |_call: Call, request: Echo| async move { Ok(request) });
//! router.bidi("/test.Echo/Stream", |_call: Call, mut inbound: Inbound, mut sink: Sink| async move {
//!     while let Some(request) = inbound.next_of::<Echo>().await? {
//!         sink.send(&request).await?;
//!     }
//!     Ok(())
//! });
//! ```
//!
//! Cancellation is a drop: when the client resets a stream, its deadline passes or its connection
//! ends, the handler's future is dropped where it stands.
//!
//! Not here: sockets, threads and HTTP/1.1 (see `net`), what any method does (see `server`), JSON (see
//! `gateway`).

mod admission;
mod answer;
mod aside;
mod budget;
mod call;
mod engine;
mod limits;
mod local;
mod message;
mod observer;
mod outbox;
mod over_http2;
mod pings;
mod reply;
mod requests;
mod router;
mod server;
mod status;
mod stream;
mod wire;

pub use aside::{Turn, Wanted, aside, let_go};
pub use budget::{Budget, Reserved, Unfinished, Unread};
pub use call::{Call, Metadata};
pub use limits::Limits;
pub use local::{Answers, Caller};
pub use observer::{Ended, Follow, NoObserver, Observer, Trace, Traced};
pub use outbox::{Outbox, OutboxFull, OutboxReader, outbox};
pub use proto::{Kind, Rpc};
pub use reply::{
    ANSWER_BYTES_MAX, FRAME_PREFIX_BYTES, Reply, answer_frame, answer_too_large, begin_frame,
    decode, decode_streamed, end_frame, frame,
};
pub use router::{Method, Router};
pub use server::Server;
pub use status::parse_timeout;
pub use stream::{Gone, Inbound, Sink, Source};

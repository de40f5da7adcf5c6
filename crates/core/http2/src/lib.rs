//! HTTP/2 (RFC 9113) as a server of gRPC needs it, without a socket.
//!
//! A [`Connection`] takes bytes that a client sent, tells what they mean as [`Event`]s, takes what is
//! to be answered, and gathers bytes to send. When to read and write, and who waits for what, is the
//! caller's business: there is no clock, socket or task here, so tests and fuzzing reach every state.
//!
//! A general engine parses each header block into a map and queues each frame in a structure of its
//! own. A gRPC client says the same eight headers again and again, and an answer is headers, a message
//! and trailers. So a block that was just seen is recognized by its bytes, and an answer is written
//! where it leaves from. That is most of what a call cost before (`docs/decisions/0011-http2.md`).
//!
//! Everything a client can make grow is bounded: frames, header blocks, streams, what it may send
//! before it is read ([`Config`]), what waits to be sent ([`OUT_BYTES_MAX`]), resets and empty frames.

mod body;
mod connection;
mod fault;
mod frame;
mod guard;
mod head;
mod hpack;
mod receive;
mod request;
mod send;
mod settings;
mod stream;

pub use body::Body;
pub use connection::{Connection, Event, OUT_BYTES_MAX};
pub use fault::{Fault, Reason};
pub use head::{Field, Fields, Head};
pub use settings::Config;

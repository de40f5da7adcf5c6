//! The half that waits: one thread with a runtime of its own, on which everything about peers happens.

mod answers;
mod ask;
mod body;
mod event;
mod link;
mod parts;
mod peers;
mod pipeline;
mod probe;
mod reader;
mod serve;
mod shared;
mod snapshot_in;
mod snapshot_out;
mod sockets;
mod spool;
mod timed;
mod traits;
mod transport;

pub use ask::{AskError, Asker, RemoteMembers};
pub use event::{Event, Level, Report};
pub use net::{LocalFuture, Socket};
pub use snapshot_out::{SnapshotBody, SnapshotChunks};
pub use sockets::{Connector, KEEPALIVE, Listener, Pipe};
pub use spool::{DiskSpool, Spool, Spooling};
pub use traits::{
    HashKv, Inbox, LeaseRefusal, MemberJson, PeerFacts, PromoteRefusal, Raft, Versions,
};
pub use transport::{Config, Identity, Limits, Transport};

/// A body that stays on its thread.
type LocalBody =
    std::pin::Pin<Box<dyn hyper::body::Body<Data = bytes::Bytes, Error = std::io::Error>>>;

/// A body that is known as a whole.
fn whole(bytes: impl Into<bytes::Bytes>) -> LocalBody {
    use http_body_util::BodyExt;
    Box::pin(http_body_util::Full::new(bytes.into()).map_err(|never| match never {}))
}

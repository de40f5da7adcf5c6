//! What goes through a stream: messages as bytes, in both framings, both ways. No socket here.
//!
//! From small to large: `segments` (bytes to be sent, big ones shared), `pieces` (bytes as they arrived),
//! `message` (one `raftpb.Message`), `stream` (the message stream), `msgapp` (the stream for entries).

mod message;
mod msgapp;
mod pieces;
mod segments;
mod stream;

pub use message::{ENTRIES_MAX, Unreadable, cost, decode_message, encode_message};
pub use msgapp::{MsgAppDecoder, MsgAppEncoder};
pub use pieces::Pieces;
pub use segments::{SHARED_BYTES_MIN, Segments};
pub use stream::{MessageDecoder, encode_frame, link_heartbeat};

use proto::raftpb::{Message, MessageType};

/// The longest message a stream or a POST may carry. Longer ones end the stream, as in etcd.
pub const MESSAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Whether this is the heartbeat of a stream, which says only that the link lives: from nobody to nobody.
pub fn is_link_heartbeat(message: &Message) -> bool {
    message.r#type() == MessageType::MsgHeartbeat && message.from() == 0 && message.to() == 0
}

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamDamage {
    /// A frame claims to be longer than any may be.
    #[error("rafthttp: error limit exceeded")]
    TooLong {
        /// What it claims.
        claimed: u64,
    },
    /// A frame of a kind nobody has defined.
    #[error("failed to parse type {kind} in msgappv2 stream")]
    UnknownKind {
        /// The byte it began with.
        kind: u8,
    },
    /// The bytes of a frame are not what they should be.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

#[cfg(test)]
mod tests;

//! The message stream: eight bytes of length, then a message, again and again.

use bytes::{BufMut, Bytes};
use proto::raftpb::Message;

use super::message::{decode_message, encode_message, encoded_len};
use super::{MESSAGE_BYTES_MAX, Pieces, Segments, StreamDamage};

/// Appends one message in its frame.
pub fn encode_frame(message: &Message, out: &mut Segments) {
    out.tail().put_u64(encoded_len(message) as u64);
    encode_message(message, out);
}

/// What says on an idle stream that the link lives: a heartbeat from nobody to nobody.
pub fn link_heartbeat() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 2, 8, 8])
}

/// Reads a message stream.
#[derive(Debug)]
pub struct MessageDecoder {
    arrived: Pieces,
    bytes_max: u64,
}

impl Default for MessageDecoder {
    fn default() -> MessageDecoder {
        MessageDecoder::limited(MESSAGE_BYTES_MAX)
    }
}

impl MessageDecoder {
    /// A decoder that takes no message longer than this.
    pub fn limited(bytes_max: u64) -> MessageDecoder {
        assert!(bytes_max <= MESSAGE_BYTES_MAX);
        MessageDecoder { arrived: Pieces::default(), bytes_max }
    }

    /// More has come.
    pub fn push(&mut self, piece: Bytes) {
        self.arrived.push(piece);
    }

    /// How many bytes wait for the rest of their frame.
    pub fn waiting_bytes(&self) -> usize {
        self.arrived.len()
    }

    /// The next message, with the bytes of its frame; `None` until more has come. Link heartbeats come out too.
    ///
    /// # Errors
    /// [`StreamDamage`]; the stream cannot be read on.
    pub fn next_message(&mut self) -> Result<Option<(Message, usize)>, StreamDamage> {
        let Some(claimed) = self.arrived.number(0) else { return Ok(None) };
        if claimed > self.bytes_max {
            return Err(StreamDamage::TooLong { claimed });
        }
        let len = usize::try_from(claimed).expect("the bound is far below");
        if self.arrived.len() - 8 < len {
            return Ok(None);
        }
        self.arrived.skip(8);
        let message = decode_message(self.arrived.take(len))?;
        Ok(Some((message, 8 + len)))
    }

    /// What follows the messages taken so far, as it came: the database behind a snapshot's message.
    pub fn rest(self) -> impl Iterator<Item = Bytes> {
        self.arrived.rest()
    }
}

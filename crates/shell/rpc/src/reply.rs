//! Messages on their way in and out.
//!
//! An answer is anything that knows its encoded length and can write itself, so that a page of
//! stored rows is spliced from their bytes instead of being encoded again.

use bytes::{BufMut, Bytes, BytesMut};
use proto::lenient;
use types::{Code, Refusal};

/// Bytes before every gRPC message: a flag and a length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The same for those who write frames of their own.
pub const FRAME_PREFIX_BYTES: usize = PREFIX_BYTES;

/// Something that can be an answer.
///
/// Every `prost::Message` is one. A type of one's own splices bytes that exist already; it must
/// write exactly `encoded_len` bytes.
pub trait Reply {
    /// How many bytes [`Reply::encode`] will write.
    fn encoded_len(&self) -> usize;

    /// Appends the message in wire form.
    fn encode(&self, out: &mut BytesMut);

    /// The message with its prefix, if it was written that way from the start: a long answer is, so that
    /// it is never in memory twice.
    fn framed(&self) -> Option<Bytes> {
        None
    }
}

/// Begins a message that is written with its prefix; [`end_frame`] completes it.
pub fn begin_frame(capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + capacity);
    out.put_bytes(0, PREFIX_BYTES);
    out
}

/// Writes the length into the prefix.
pub fn end_frame(mut out: BytesMut) -> Bytes {
    let len = u32::try_from(out.len() - PREFIX_BYTES).expect("an answer is far below 4 GiB");
    out[1..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    out.freeze()
}

impl<M: prost::Message> Reply for M {
    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(self)
    }

    fn encode(&self, out: &mut BytesMut) {
        self.encode_raw(out);
    }
}

impl Reply for Box<dyn Reply> {
    fn encoded_len(&self) -> usize {
        (**self).encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        (**self).encode(out);
    }
}

impl Reply for Box<dyn Reply + Send> {
    fn encoded_len(&self) -> usize {
        (**self).encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        (**self).encode(out);
    }
}

/// The longest answer, in bytes: what etcd's own server sends at most.
pub const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// Said instead of an answer of `len` bytes, in grpc-go's words.
pub fn answer_too_large(len: usize) -> Refusal {
    let text =
        format!("grpc: trying to send message larger than max ({len} vs. {ANSWER_BYTES_MAX})");
    Refusal::Other(Code::ResourceExhausted, text.into())
}

/// The one answer of a call with its prefix.
///
/// # Errors
/// What grpc-go says above [`ANSWER_BYTES_MAX`].
pub fn answer_frame<R: Reply>(reply: &R) -> Result<Bytes, Refusal> {
    if let Some(framed) = reply.framed() {
        return Ok(framed);
    }
    match reply.encoded_len() {
        len if ANSWER_BYTES_MAX < len => Err(answer_too_large(len)),
        _ => Ok(frame(reply)),
    }
}

/// One message with its prefix, as it goes into DATA frames.
pub fn frame<R: Reply + ?Sized>(reply: &R) -> Bytes {
    if let Some(framed) = reply.framed() {
        return framed;
    }
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + reply.encoded_len());
    put_frame(&mut out, reply);
    out.freeze()
}

/// Appends one message with its prefix; returns the message's length.
pub(crate) fn put_frame<R: Reply + ?Sized>(out: &mut BytesMut, reply: &R) -> usize {
    let len = reply.encoded_len();
    out.reserve(PREFIX_BYTES + len);
    let start = out.len();
    out.put_u8(0);
    out.put_u32(u32::try_from(len).expect("an answer is bounded far below 4 GiB"));
    reply.encode(out);
    assert_eq!(out.len() - start, PREFIX_BYTES + len, "a reply must keep its promised length");
    len
}

/// Reads a request. The fields of type `bytes` share `message`'s buffer.
///
/// # Errors
/// The refusal Go's gRPC sends for a message it cannot read (`docs/etcd/observed.md` F).
pub fn decode<M: prost::Message + prost::Name + Default>(message: Bytes) -> Result<M, Refusal> {
    read(message, "error unmarshalling request")
}

/// Reads a request of a stream, which Go's gRPC refuses in other words.
///
/// # Errors
/// As [`decode`].
pub fn decode_streamed<M: prost::Message + prost::Name + Default>(
    message: Bytes,
) -> Result<M, Refusal> {
    read(message, "failed to unmarshal the received message")
}

fn read<M: prost::Message + prost::Name + Default>(
    message: Bytes,
    what: &str,
) -> Result<M, Refusal> {
    let strictly = M::decode(message.clone());
    // Go skips a known field of another wire type as if it were unknown; prost refuses the message.
    let decoded = strictly.or_else(|error| match lenient::mended(&M::full_name(), &message) {
        Some(mended) => M::decode(Bytes::from(mended)),
        None => Err(error),
    });
    decoded.map_err(|error| {
        // prost keeps its reasons private; its words are the only way to tell them apart.
        let said = error.to_string();
        let reason = if said.contains("UTF-8") {
            // Go's decoder gives this one without its name.
            "string field contains invalid UTF-8"
        } else if said.contains("recursion limit") {
            "proto: exceeded maximum recursion depth"
        } else {
            "proto: cannot parse invalid wire-format data"
        };
        let text = format!("grpc: {what}: {reason}");
        Refusal::Other(Code::Internal, text.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that it is longer than it may be.
    struct Huge;

    impl Reply for Huge {
        fn encoded_len(&self) -> usize {
            ANSWER_BYTES_MAX + 1
        }

        fn encode(&self, _: &mut BytesMut) {
            unreachable!("it is refused before")
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused_in_grpcs_words_before_it_is_written() {
        let refusal = answer_frame(&Huge).expect_err("one byte too many");
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        let text = "grpc: trying to send message larger than max (2147483648 vs. 2147483647)";
        assert_eq!(refusal.message(), text);
    }
}

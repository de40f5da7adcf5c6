//! From DATA frames to whole messages, and gzip both ways.
//!
//! A message that arrives in one piece is handed on as it lies in the read buffer; only one that is
//! spread over several frames is copied together. Nothing is allocated on the word of a length
//! field: the buffer grows with what has really arrived.

use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use types::{Code, Refusal};

use crate::reply::PREFIX_BYTES;

/// How the messages of one call are compressed, as its `grpc-encoding` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

/// Puts the messages of one stream together.
#[derive(Debug)]
pub(crate) struct Assembler {
    message_bytes_max: usize,
    encoding: Encoding,
    /// What arrived and was not looked at.
    rest: Bytes,
    /// The beginning of a message that is not complete.
    partial: BytesMut,
}

impl Assembler {
    pub fn new(message_bytes_max: usize, encoding: Encoding) -> Assembler {
        Assembler { message_bytes_max, encoding, rest: Bytes::new(), partial: BytesMut::new() }
    }

    /// Adds what arrived. [`Assembler::next`] must have said `None` before.
    pub fn push(&mut self, chunk: Bytes) {
        assert!(self.rest.is_empty());
        self.rest = chunk;
    }

    /// The next whole message, if one is here.
    pub fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.partial.is_empty() && self.rest.len() >= PREFIX_BYTES {
            let (flag, len) = self.prefix(&self.rest)?;
            if self.rest.len() >= PREFIX_BYTES + len {
                self.rest.advance(PREFIX_BYTES);
                let message = self.rest.split_to(len);
                return self.plain(flag, message).map(Some);
            }
        }
        self.take_up_to(PREFIX_BYTES);
        if self.partial.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let (flag, len) = self.prefix(&self.partial)?;
        self.take_up_to(PREFIX_BYTES + len);
        if self.partial.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX_BYTES);
        self.plain(flag, message).map(Some)
    }

    /// Whether the stream may end here without cutting a message short.
    pub fn is_between_messages(&self) -> bool {
        self.partial.is_empty() && self.rest.is_empty()
    }

    /// Memory held for a message that is not complete, in bytes.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    fn take_up_to(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.partial.len());
        let taken = self.rest.split_to(missing.min(self.rest.len()));
        self.partial.extend_from_slice(&taken);
    }

    fn prefix(&self, bytes: &[u8]) -> Result<(u8, usize), Refusal> {
        let len = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
        if len <= self.message_bytes_max {
            return Ok((bytes[0], len));
        }
        let max = self.message_bytes_max;
        Err(exhausted(format!("grpc: received message larger than max ({len} vs. {max})")))
    }

    fn plain(&self, flag: u8, message: Bytes) -> Result<Bytes, Refusal> {
        match (flag, self.encoding) {
            (0, _) => Ok(message),
            (1, Encoding::Gzip) => decompress(&message, self.message_bytes_max),
            (1, Encoding::Identity) => {
                Err(internal("grpc: compressed flag set with identity or empty encoding"))
            }
            _ => Err(internal(format!("grpc: received unexpected payload format {flag}"))),
        }
    }
}

fn internal(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::Other(Code::Internal, text.into())
}

fn exhausted(text: String) -> Refusal {
    Refusal::Other(Code::ResourceExhausted, text.into())
}

/// Pieces a compressed message may be made of. One is usual; each costs far more than its bytes.
const GZIP_MEMBERS_MAX: usize = 16;

fn decompress(message: &[u8], bytes_max: usize) -> Result<Bytes, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        internal(format!("grpc: failed to decompress the message: {error}"))
    };
    let (mut plain, mut rest) = (Vec::new(), message);
    for member in 0.. {
        if member == GZIP_MEMBERS_MAX {
            return Err(failed(&"gzip: too many members"));
        }
        // One byte more than allowed tells "exactly the maximum" from "more".
        let mut reader = GzDecoder::new(rest).take((bytes_max - plain.len()) as u64 + 1);
        reader.read_to_end(&mut plain).map_err(|error| failed(&error))?;
        if plain.len() > bytes_max {
            let text =
                format!("grpc: received message after decompression larger than max {bytes_max}");
            return Err(exhausted(text));
        }
        rest = reader.into_inner().into_inner();
        if rest.is_empty() {
            break;
        }
    }
    Ok(plain.into())
}

/// Compresses a framed message. An empty one stays as it is, as Go leaves it.
pub(crate) fn compressed(frame: Bytes) -> Bytes {
    let message = &frame[PREFIX_BYTES..];
    if message.is_empty() {
        return frame;
    }
    let mut out = Vec::with_capacity(PREFIX_BYTES + message.len() / 2);
    out.put_slice(&[1, 0, 0, 0, 0]);
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(message).expect("writing into memory cannot fail");
    let mut out = encoder.finish().expect("writing into memory cannot fail");
    let len = u32::try_from(out.len() - PREFIX_BYTES).expect("an answer is far below 4 GiB");
    out[1..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut out = vec![flag];
        out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        out.extend_from_slice(message);
        out
    }

    /// Feeds `wire` in pieces of `piece` bytes and collects the messages.
    fn assemble(wire: &[u8], piece: usize, encoding: Encoding) -> Result<Vec<Bytes>, Refusal> {
        let mut assembler = Assembler::new(100, encoding);
        let mut messages = Vec::new();
        for chunk in wire.chunks(piece) {
            assembler.push(Bytes::copy_from_slice(chunk));
            while let Some(message) = assembler.next()? {
                messages.push(message);
            }
        }
        assert!(assembler.is_between_messages());
        Ok(messages)
    }

    #[test]
    fn messages_are_the_same_however_the_wire_cuts_them() {
        let messages: [&[u8]; 4] = [b"one", b"", &[7; 100], b"four"];
        let wire: Vec<u8> = messages.iter().flat_map(|m| framed(0, m)).collect();
        for piece in 1..=wire.len() {
            let got = assemble(&wire, piece, Encoding::Identity).expect("all are well-formed");
            assert_eq!(got, messages, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let wire = Bytes::from(framed(0, b"as it lies"));
        let mut assembler = Assembler::new(100, Encoding::Identity);
        assembler.push(wire.clone());
        let message = assembler.next().expect("well-formed").expect("complete");
        assert_eq!(message.as_ptr(), wire[PREFIX_BYTES..].as_ptr());
    }

    #[test]
    fn a_long_message_is_refused_by_its_prefix_alone() {
        let refused = assemble(&framed(0, &[0; 101])[..5], 5, Encoding::Identity);
        let text = "grpc: received message larger than max (101 vs. 100)";
        assert_eq!(refused, Err(exhausted(text.into())));
    }

    #[test]
    fn gzip_is_read_and_written() {
        let answer = compressed(framed(0, &[b'x'; 90]).into());
        assert_eq!(answer[0], 1);
        let got = assemble(&answer, 7, Encoding::Gzip).expect("well-formed");
        assert_eq!(got, [vec![b'x'; 90]]);
        let empty = Bytes::from(framed(0, b""));
        assert_eq!(compressed(empty.clone()), empty);
    }

    #[test]
    fn a_small_message_that_unpacks_to_a_large_one_is_refused() {
        let bomb = compressed(framed(0, &[0; 101]).into());
        let text = "grpc: received message after decompression larger than max 100";
        assert_eq!(assemble(&bomb, 99, Encoding::Gzip), Err(exhausted(text.into())));
        let fits = compressed(framed(0, &[0; 100]).into());
        assert_eq!(assemble(&fits, 99, Encoding::Gzip).map(|m| m.len()), Ok(1));
    }

    #[test]
    fn flags_that_promise_something_else_are_refused() {
        let said = |flag, encoding| {
            assemble(&framed(flag, b"zz"), 99, encoding).expect_err("must be refused").to_string()
        };
        let text = "grpc: compressed flag set with identity or empty encoding";
        assert_eq!(said(1, Encoding::Identity), text);
        assert_eq!(said(2, Encoding::Gzip), "grpc: received unexpected payload format 2");
        assert!(said(1, Encoding::Gzip).starts_with("grpc: failed to decompress the message: "));
    }

    #[test]
    fn a_message_is_made_of_few_pieces() {
        let piece = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).expect("into memory");
            encoder.finish().expect("into memory")
        };
        let two = [piece(b"one "), piece(b"two")].concat();
        assert_eq!(decompress(&two, 100), Ok("one two".into()));
        let many = piece(b"").repeat(GZIP_MEMBERS_MAX + 1);
        assert!(decompress(&many, 100).is_err());
    }
}

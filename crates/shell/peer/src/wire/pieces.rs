//! Bytes that have arrived, in the pieces in which they came.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// What has arrived and was not read yet. Holds no more than what came: a length that a peer only claims
/// reserves nothing.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// More has come.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The byte at `offset`, left where it is.
    pub fn byte(&self, mut offset: usize) -> Option<u8> {
        for piece in &self.pieces {
            match piece.get(offset) {
                Some(byte) => return Some(*byte),
                None => offset -= piece.len(),
            }
        }
        None
    }

    /// The big-endian number at `offset`, left where it is.
    pub fn number(&self, offset: usize) -> Option<u64> {
        if self.bytes < offset.checked_add(8)? {
            return None;
        }
        let mut bytes = [0; 8];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(offset + at)?;
        }
        Some(u64::from_be_bytes(bytes))
    }

    /// Takes `count` bytes into one buffer of exactly that size, so that an entry that lives long keeps
    /// alive its own message and not the network's buffers.
    ///
    /// # Panics
    /// When fewer are there: the caller has asked.
    pub fn take(&mut self, count: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(count);
        self.drain(count, |part| out.extend_from_slice(part));
        out.freeze()
    }

    /// Drops `count` bytes.
    ///
    /// # Panics
    /// When fewer are there: the caller has asked.
    pub fn skip(&mut self, count: usize) {
        self.drain(count, |_| {});
    }

    /// All that is left, as it came.
    pub fn rest(self) -> impl Iterator<Item = Bytes> {
        self.pieces.into_iter()
    }

    fn drain(&mut self, mut count: usize, mut each: impl FnMut(&[u8])) {
        assert!(count <= self.bytes, "asked for more than has arrived");
        self.bytes -= count;
        while count > 0 {
            let first = self.pieces.front_mut().expect("the pieces hold all bytes counted");
            let part = first.len().min(count);
            each(&first[..part]);
            first.advance(part);
            count -= part;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

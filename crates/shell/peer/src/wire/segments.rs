//! Bytes on their way out.

use bytes::{Bytes, BytesMut};

/// From this length on a value is shared; a shorter one is cheaper to copy than to write by itself.
pub const SHARED_BYTES_MIN: usize = 1024;

/// Bytes to be written in order. Small parts gather in one buffer; a large one is not copied: the client's
/// value in an entry is the same memory from the frame in which it came to the socket it leaves by.
#[derive(Debug, Default)]
pub struct Segments {
    done: Vec<Bytes>,
    done_bytes: usize,
    tail: BytesMut,
}

impl Segments {
    /// Where small parts are appended.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a value, by sharing it if that is cheaper than copying it.
    pub fn value(&mut self, value: &Bytes) {
        if value.len() < SHARED_BYTES_MIN {
            self.tail.extend_from_slice(value);
            return;
        }
        self.close_tail();
        self.done_bytes += value.len();
        self.done.push(value.clone());
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.done_bytes + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, in order, in as few parts as there are.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.close_tail();
        self.done_bytes = 0;
        std::mem::take(&mut self.done)
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.done_bytes += self.tail.len();
            self.done.push(self.tail.split().freeze());
        }
    }
}

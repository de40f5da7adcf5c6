//! The index as bytes: a checkpoint that a restart loads instead of reading every row.
//!
//! ```text
//! image   = "hfindex" version:u8 frame*
//! frame   = length:u32 crc32c:u32 payload            little endian; the sum covers length and payload
//! payload = 0 current:n compacted+1:n                once, first
//!         | 1 entry*                                 keys ascending, through all frames
//!         | 2 keys:n                                 once, last: how many entries there were
//! entry   = shared:n length:n rest records:n record* lease:n?
//! record  = main:n sub:n version:n age:n?            main: minus the one before; age: main - created
//! ```
//!
//! `n` is a number of seven bits per byte. `shared` counts the bytes a key has in common with the one
//! before in its frame. A tombstone has version 0 and no age; a key that does not live has no lease.

mod read;
mod write;

pub use read::{ImageError, ImageReader};
pub use write::ImageWriter;

/// What an image begins with. The last byte is the format's version.
const MAGIC: &[u8; 8] = b"hfindex\x01";
/// Bytes before a frame's payload.
const FRAME_HEADER_BYTES: usize = 8;
/// Longest payload. Frames are cut far below it; only a key of such length could reach it.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const HEADER: u8 = 0;
const ENTRIES: u8 = 1;
const END: u8 = 2;

/// The sum that guards a frame.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests;

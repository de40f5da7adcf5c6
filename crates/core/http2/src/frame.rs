//! Frames: nine bytes of header, then what it says.

use crate::Reason;

pub(crate) const HEADER_BYTES: usize = 9;
/// The longest payload we take; we never announce another (RFC 9113, 6.5.2).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16_384;

pub(crate) mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub(crate) mod flag {
    /// Of SETTINGS and PING.
    pub const ACK: u8 = 0x1;
    /// Of DATA and HEADERS.
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub len: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    /// Reads a header. The reserved bit is ignored, as it must be.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Header {
        let [high, middle, low, kind, flags, stream @ ..] = *bytes;
        let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        Header { len, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the header of a frame whose payload follows.
pub(crate) fn begin(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [a, b, c, d] = stream.to_be_bytes();
    out.extend_from_slice(&[
        (len >> 16) as u8,
        (len >> 8) as u8,
        len as u8,
        kind,
        flags,
        a,
        b,
        c,
        d,
    ]);
}

pub(crate) fn rst_stream(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    begin(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    begin(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&bytes.to_be_bytes());
}

pub(crate) fn ping(out: &mut Vec<u8>, flags: u8, payload: &[u8]) {
    begin(out, payload.len(), kind::PING, flags, 0);
    out.extend_from_slice(payload);
}

pub(crate) fn goaway(out: &mut Vec<u8>, last_stream: u32, reason: Reason, text: &str) {
    begin(out, 8 + text.len(), kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut out = Vec::new();
        begin(&mut out, 0x01_02_03, kind::DATA, flag::END_STREAM, 0x0405_0607);
        let header = Header::parse(&out.try_into().expect("nine bytes"));
        let expected = Header { len: 0x01_02_03, kind: 0, flags: 1, stream: 0x0405_0607 };
        assert_eq!(header, expected);
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        assert_eq!(Header::parse(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]).stream, 1);
    }
}

//! An HTTP/2 client that writes frames by hand, for what no library would send.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Frame types.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame in wire form.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of tests are small").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The headers of a gRPC call, uncompressed, with more of them if wanted.
pub fn headers(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut out = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        // A literal that is not to be remembered, with a name of its own.
        out.push(0);
        push_text(name, &mut out);
        push_text(value, &mut out);
    }
    out
}

/// A length in HPACK's way, then the text as it is.
fn push_text(text: &str, out: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

/// One connection. Writing to a server that has hung up is no failure here: that is how it defends
/// itself.
#[derive(Debug)]
pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects and says nothing.
    pub fn connect(address: &str) -> io::Result<Raw> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Raw(stream))
    }

    /// Connects and says hello, with these settings.
    pub fn open(address: &str, settings: &[(u16, u32)]) -> io::Result<Raw> {
        let mut raw = Raw::connect(address)?;
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.send(PREFACE);
        raw.send(&frame(SETTINGS, 0, 0, &payload));
        Ok(raw)
    }

    /// Sends bytes; false when the server does not take them any more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Begins a call with a whole message on a stream, which must be odd and rising.
    pub fn call(&mut self, stream: u32, path: &str, message: &[u8]) -> bool {
        let mut out = frame(HEADERS, END_HEADERS, stream, &headers(path, &[]));
        out.extend(frame(DATA, END_STREAM, stream, &crate::grpc::frame(message)));
        self.send(&out)
    }

    /// Whether the server hangs up within the read timeout.
    pub fn is_hung_up(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }
}

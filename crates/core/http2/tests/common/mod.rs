//! A client by hand: it writes any frame, and reads what the connection wants sent.

#![allow(dead_code, reason = "every test file uses another part")]

use holdfast_http2::{Config, Connection, Event};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A POST to `/x` from nobody, as numbers and one literal.
pub const POST: &[u8] = b"\x83\x86\x04\x02/x";

/// A connection whose streams keep a number.
pub type Server = Connection<u32>;

/// A frame of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn config() -> Config {
    Config {
        streams_announced: None,
        streams_max: 100,
        stream_window_bytes: 256 * 1024,
        connection_window_bytes: 1024 * 1024,
        header_list_bytes_max: 64 * 1024,
        early_resets_max: 10,
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// What a client says first.
pub fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A connection that was greeted, and from which the answer to that was taken.
pub fn greeted(config: Config) -> Server {
    let mut server = Server::new(config);
    server.receive(&hello());
    taken(&mut server);
    server
}

/// Everything that waits to be sent.
pub fn taken(server: &mut Server) -> Vec<Frame> {
    let out = server.out().to_vec();
    server.advance(out.len());
    frames(&out)
}

/// Takes frames apart; what is cut short is a bug.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        let payload = bytes[9..9 + len].to_vec();
        frames.push(Frame { kind: bytes[3], flags: bytes[4], stream, payload });
        bytes = &bytes[9 + len..];
    }
    frames
}

pub fn events(server: &mut Server) -> Vec<Event<u32>> {
    std::iter::from_fn(|| server.poll_event()).collect()
}

/// Opens a stream whose request is over.
pub fn ask(server: &mut Server, stream: u32) {
    server.receive(&frame(HEADERS, END_HEADERS | END_STREAM, stream, POST));
    let [Event::Request(id, _)] = &events(server)[..] else { panic!("one request") };
    assert_eq!(*id, stream);
}

/// What GOAWAY said: its code and words.
pub fn farewell(server: &mut Server) -> (u32, String) {
    let last = taken(server).pop().expect("there is a farewell");
    assert_eq!(last.kind, GOAWAY);
    let code = u32::from_be_bytes([4, 5, 6, 7].map(|at| last.payload[at]));
    (code, String::from_utf8_lossy(&last.payload[8..]).into_owned())
}

/// The payloads of a stream's DATA, put together.
pub fn data_of(frames: &[Frame], stream: u32) -> Vec<u8> {
    let of = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    of.flat_map(|frame| frame.payload.clone()).collect()
}

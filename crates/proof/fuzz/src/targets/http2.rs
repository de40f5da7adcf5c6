//! A connection without a socket: whatever a client sends in whatever pieces, what we want sent is frames in a
//! possible order and within their bounds.

use std::collections::BTreeSet;

use ::http2::{Body, Config, Connection, Event, Field, OUT_BYTES_MAX, Reason};
use bytes::Bytes;

/// What may lie above the bound for data: frames without data, one for each frame of the longest input.
const ABOVE_BYTES_MAX: usize = 64 * 1024 + 16_384;

const TYPE: Field = Field::from_static("content-type", "application/grpc");
const OK: Field = Field::from_static("grpc-status", "0");

/// The first byte says how the bytes are cut, and whether the client has greeted.
pub(crate) fn http2(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let mut server = Connection::<()>::new(Config {
        streams_announced: None,
        streams_max: 20,
        stream_window_bytes: 65_535,
        connection_window_bytes: 100_000,
        header_list_bytes_max: 1000,
        early_resets_max: 10,
    });
    let mut reader = Reader::default();
    if mode & 1 == 1 {
        server.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    }
    let piece = usize::from(mode >> 1) * 16 + 1;
    for (turn, chunk) in data.chunks(piece).take(4096).enumerate() {
        server.receive(chunk);
        serve(&mut server);
        server.pump();
        serve(&mut server);
        assert!(server.out().len() < OUT_BYTES_MAX + ABOVE_BYTES_MAX, "what waits is bounded");
        // A client that reads now and then.
        if turn % 3 == 0 {
            reader.read(&mut server);
        }
    }
    server.drain();
    server.abandon();
    reader.read(&mut server);
    assert_eq!(server.streams_open(), 0);
}

/// Answers by the number of the stream: at once, long, never, not at all, or when there is room.
fn serve(server: &mut Connection<()>) {
    while let Some(event) = server.poll_event() {
        match event {
            Event::Request(id, head) => match id % 10 {
                1 => server.respond(id, 200, &[TYPE, OK]),
                3 => answer(server, id, 40_000),
                5 => {}
                7 => server.reset(id, Reason::CANCEL),
                _ => {
                    assert!(!head.path.is_empty());
                    server.start(id, 200, &[TYPE]);
                    server.want(id);
                }
            },
            Event::Body(id) => {
                while let Body::Piece(piece) = server.take_body(id) {
                    server.release(id, piece.len() as u32);
                }
            }
            Event::Room(id) => {
                let room = server.capacity(id);
                server.send(id, Bytes::from(vec![b'r'; room.unwrap_or(0).min(50_000)]));
                server.finish(id, &[OK]);
            }
            Event::Reset(id, ()) => assert_eq!(server.capacity(id), None),
            Event::Ping | Event::Pong => {}
        }
    }
}

fn answer(server: &mut Connection<()>, id: u32, bytes: usize) {
    server.start(id, 200, &[TYPE]);
    server.send(id, Bytes::from(vec![b'a'; bytes]));
    server.finish(id, &[OK]);
}

/// Reads what we send, and knows what may not follow what.
#[derive(Default)]
struct Reader {
    begun: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    reset: BTreeSet<u32>,
}

impl Reader {
    fn read(&mut self, server: &mut Connection<()>) {
        let out = server.out().to_vec();
        server.advance(out.len());
        let mut rest = &out[..];
        while !rest.is_empty() {
            let (header, after) = rest.split_first_chunk::<9>().expect("a whole header");
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            assert!(len <= 16_384, "no frame is longer than the client takes");
            rest = after.get(len..).expect("a whole frame");
            self.frame(kind, flags, u32::from_be_bytes(stream));
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32) {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        match kind {
            DATA => assert!(self.begun.contains(&stream), "headers come first"),
            HEADERS => {
                self.begun.insert(stream);
            }
            RST_STREAM => {
                self.reset.insert(stream);
                return;
            }
            _ => return,
        }
        assert!(!self.ended.contains(&stream), "nothing follows the end");
        assert!(!self.reset.contains(&stream), "nothing follows a reset");
        if flags & 1 == 1 {
            self.ended.insert(stream);
        }
    }
}

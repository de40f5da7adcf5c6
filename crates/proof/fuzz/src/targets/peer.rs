//! What another member's connection says: both kinds of stream, cut anywhere, and a request's head.

use ::peer::rules::{Checks, Head, Known, Version};
use ::peer::wire::{
    MESSAGE_BYTES_MAX, MessageDecoder, MsgAppDecoder, MsgAppEncoder, Segments, encode_frame,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proto::raftpb::Message;

/// Who writes, and who reads.
const FROM: u64 = 1;
const TO: u64 = 2;

/// The first byte says which reader is asked, and how the bytes are cut.
pub(crate) fn peer(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let piece = usize::from(mode >> 2) * 16 + 1;
    match mode & 3 {
        0 => messages(data, piece),
        1 => entries(data, piece),
        _ => head(data),
    }
}

fn messages(data: &[u8], piece: usize) {
    let mut decoder = MessageDecoder::default();
    let mut read = 0;
    for chunk in data.chunks(piece) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_message() {
                Ok(Some((message, bytes))) => {
                    read += bytes;
                    again(&message);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(read + decoder.waiting_bytes() <= data.len(), "no byte is counted twice");
    }
}

/// What was read and is written is read as the same.
fn again(message: &Message) {
    let mut out = Segments::default();
    encode_frame(message, &mut out);
    let len = out.len();
    let mut decoder = MessageDecoder::default();
    out.take().into_iter().for_each(|part| decoder.push(part));
    let (read, bytes) = decoder.next_message().expect("ours").expect("whole");
    assert_eq!((&read, bytes), (message, len));
}

fn entries(data: &[u8], piece: usize) {
    let mut decoder = MsgAppDecoder::new(FROM, TO);
    let (mut encoder, mut reader) = (MsgAppEncoder::default(), MsgAppDecoder::new(FROM, TO));
    for chunk in data.chunks(piece) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_message() {
                Ok(Some((message, bytes))) => {
                    assert!(bytes as u64 <= MESSAGE_BYTES_MAX + 17);
                    let ours = message.from() == FROM && message.to() == TO;
                    let far = message.index().checked_add(message.entries.len() as u64).is_none();
                    if ours && !far {
                        let mut out = Segments::default();
                        encoder.encode(&message, &mut out);
                        out.take().into_iter().for_each(|part| reader.push(part));
                        let (read, _) = reader.next_message().expect("ours").expect("whole");
                        assert_eq!(read.entries, message.entries);
                        let numbers = |m: &Message| (m.term(), m.log_term(), m.index(), m.commit());
                        assert_eq!(numbers(&read), numbers(&message));
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Lines: method, path, then names and values in turn.
fn head(data: &[u8]) {
    struct Odd;
    impl Known for Odd {
        fn removed(&self, id: u64) -> bool {
            id % 5 == 4
        }
        fn peer(&self, id: u64) -> bool {
            id % 2 == 1
        }
    }
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut line = || lines.next().map(|line| String::from_utf8_lossy(line).into_owned());
    let (Some(method), Some(path)) = (line(), line()) else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let mut headers = HeaderMap::new();
    while let (Some(name), Some(value)) = (line(), line()) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            headers.insert(name, value);
        }
    }
    let version = Version { major: 3, minor: 7, patch: 1 };
    let checks = Checks { member: TO, cluster: 0xc1, version };
    let answer = checks.check(Head { method: &method, path: &path, headers: &headers }, &Odd);
    if let Err(refused) = answer.outcome {
        assert!(refused.status.is_client_error());
        assert_ne!(refused.status.as_u16(), 403, "it would stop a Go member for good");
        let stream = path.starts_with("/raft/stream/") && method == Method::GET;
        assert!(refused.status.as_u16() != 410 || stream);
    }
}

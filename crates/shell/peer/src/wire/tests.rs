//! Frames as real members send them, and both framings there and back.

use bytes::Bytes;
use proto::raftpb::{Entry, Message, MessageType};

use super::*;

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn bytes_of(mut out: Segments) -> Vec<u8> {
    out.take().concat()
}

fn read_one(frame: &str) -> Message {
    let frame = unhex(frame);
    let mut decoder = MessageDecoder::default();
    // One byte at a time: a frame may come in any pieces.
    for at in 0..frame.len() - 1 {
        decoder.push(frame.slice(at..=at));
        assert_eq!(decoder.next_message(), Ok(None));
    }
    decoder.push(frame.slice(frame.len() - 1..));
    let (message, len) = decoder.next_message().unwrap().expect("the frame is whole");
    assert_eq!((len, decoder.waiting_bytes()), (frame.len(), 0));
    message
}

fn message(kind: MessageType, to: u64, from: u64) -> Message {
    let mut message = Message { to: Some(to), from: Some(from), ..Message::default() };
    message.set_type(kind);
    message
}

fn entry(term: u64, index: u64, data: &[u8]) -> Entry {
    let data = Some(Bytes::copy_from_slice(data));
    Entry { r#type: Some(0), term: Some(term), index: Some(index), data }
}

fn append(term: u64, index: u64, entries: Vec<Entry>, commit: u64) -> Message {
    Message {
        term: Some(term),
        log_term: Some(term),
        index: Some(index),
        entries,
        commit: Some(commit),
        ..message(MessageType::MsgApp, 2, 1)
    }
}

#[test]
fn link_heartbeats_of_every_version_are_known_as_such() {
    for frame in [
        "000000000000001e 08081000180020002800300040004a0a12080a0228001000180050005800",
        "0000000000000014 0808100018002000280030004000500058006800",
        "0000000000000002 0808",
    ] {
        assert!(is_link_heartbeat(&read_one(frame)));
    }
    assert_eq!(link_heartbeat(), unhex("0000000000000002 0808"));
}

#[test]
fn heartbeats_of_every_version_are_read() {
    for frame in [
        "000000000000002f 080810c99fe8eccae1cceb8f01189ad984d7e49de3ec1920022800300040004a0a12080a0228001000180050005800",
        "0000000000000026 080810c1fde9e3e4e1c2d3ae0118e481d584d1ffa687fe012002280030004000500058006800",
        "000000000000001c 08081080b0889dc2e6d5dabf0118c1ecb7a295dcf997a70120024000",
    ] {
        let read = read_one(frame);
        assert_eq!(read.r#type(), MessageType::MsgHeartbeat);
        assert_eq!((read.term(), read.commit()), (2, 0));
        assert!(read.to() != read.from());
        assert!(!is_link_heartbeat(&read));
    }
}

#[test]
fn what_a_3_7_member_wrote_is_what_we_write() {
    let frame = "000000000000001c 08081080b0889dc2e6d5dabf0118c1ecb7a295dcf997a70120024000";
    let mut out = Segments::default();
    encode_frame(&read_one(frame), &mut out);
    assert_eq!(bytes_of(out), unhex(frame));
}

#[test]
fn a_message_is_encoded_as_the_generated_code_does_it() {
    let full = Message {
        term: Some(3),
        log_term: Some(2),
        index: Some(9),
        entries: vec![entry(3, 10, b"small"), entry(3, 11, &[7; SHARED_BYTES_MIN])],
        commit: Some(8),
        reject: Some(false),
        reject_hint: Some(0),
        context: Some(Bytes::from_static(b"context")),
        vote: Some(0),
        snapshot: Some(proto::raftpb::Snapshot::default()),
        ..message(MessageType::MsgApp, 5, 6)
    };
    let mut out = Segments::default();
    encode_message(&full, &mut out);
    assert_eq!(bytes_of(out), prost::Message::encode_to_vec(&full));
    assert_eq!(decode_message(prost::Message::encode_to_vec(&full).into()), Ok(full));
}

#[test]
fn an_entrys_bytes_are_shared_from_the_message_to_the_segments() {
    let data = Bytes::from(vec![1; 64 * 1024]);
    let mut large = entry(1, 1, b"");
    large.data = Some(data.clone());
    let mut out = Segments::default();
    MsgAppEncoder::default().encode(&append(1, 0, vec![large, entry(1, 2, b"x")], 0), &mut out);
    let parts = out.take();
    assert_eq!(parts.len(), 3, "what is before, the value, what is behind");
    assert_eq!(parts[1].as_ptr(), data.as_ptr());
}

#[test]
fn many_small_messages_are_one_segment() {
    let mut out = Segments::default();
    for index in 0..500 {
        encode_frame(&message(MessageType::MsgAppResp, index, 1), &mut out);
    }
    assert_eq!(out.take().len(), 1);
}

fn kinds_written(messages: &[Message]) -> Vec<u8> {
    let mut encoder = MsgAppEncoder::default();
    let mut decoder = MsgAppDecoder::new(1, 2);
    let mut kinds = Vec::new();
    for message in messages {
        let mut out = Segments::default();
        encoder.encode(message, &mut out);
        let bytes = bytes_of(out);
        kinds.push(bytes[0]);
        for byte in bytes.chunks(1) {
            decoder.push(Bytes::copy_from_slice(byte));
        }
        let (read, len) = decoder.next_message().unwrap().expect("a whole frame");
        assert_eq!((&read, len), (message, bytes.len()));
    }
    kinds
}

#[test]
fn only_what_follows_the_context_is_shortened() {
    let one = |index: u64| vec![entry(4, index, b"value")];
    let mut with_context = append(4, 12, vec![], 9);
    with_context.context = Some(Bytes::from_static(b"kept"));
    let older_term = Message { log_term: Some(3), ..append(4, 12, one(13), 9) };
    let kinds = kinds_written(&[
        append(4, 9, one(10), 9),
        append(4, 10, one(11), 10),
        append(4, 11, one(12), 11),
        append(4, 12, vec![], 12),
        with_context,
        append(4, 12, vec![], 12),
        older_term,
        append(4, 20, vec![], 12),
        append(5, 20, vec![], 12),
        // The first of a new term: the entry before it is of the old one, which is the context's.
        Message { log_term: Some(5), ..append(6, 20, one(21), 12) },
    ]);
    assert_eq!(kinds, [2, 1, 1, 1, 2, 1, 2, 2, 2, 2]);
}

#[test]
fn a_frame_of_entries_is_read_field_by_field() {
    let mut decoder = MsgAppDecoder::new(1, 2);
    // A whole message of term 2 at index 3, then one entry "k" after it, commit 3.
    decoder.push(unhex("02 000000000000000c 0803 1002 1801 2002 2802 3003"));
    decoder
        .push(unhex("01 0000000000000001 0000000000000009 0800 1002 1804 22016b 0000000000000003"));
    decoder.push(unhex("00"));
    assert_eq!(decoder.next_message().unwrap().unwrap().0.index(), 3);
    let (read, len) = decoder.next_message().unwrap().unwrap();
    assert_eq!(read, append(2, 3, vec![entry(2, 4, b"k")], 3));
    assert_eq!(len, 9 + 17 + 8);
    assert!(is_link_heartbeat(&decoder.next_message().unwrap().unwrap().0));
    assert_eq!(decoder.next_message(), Ok(None));
}

#[test]
fn frames_longer_than_any_may_be_end_the_stream_before_anything_is_reserved() {
    let mut messages = MessageDecoder::default();
    messages.push(unhex("0000000020000001"));
    assert_eq!(messages.next_message(), Err(StreamDamage::TooLong { claimed: 0x2000_0001 }));
    for frame in ["02 ffffffffffffffff", "01 0000000000000001 7fffffffffffffff"] {
        let mut entries = MsgAppDecoder::new(1, 2);
        entries.push(unhex(frame));
        assert!(matches!(entries.next_message(), Err(StreamDamage::TooLong { .. })));
    }
    let mut countless = MsgAppDecoder::new(1, 2);
    countless.push(unhex("01 00ffffffffffffff"));
    assert_eq!(countless.next_message(), Err(Unreadable::TooManyEntries.into()));
}

#[test]
fn an_unknown_kind_ends_the_stream() {
    let mut decoder = MsgAppDecoder::new(1, 2);
    decoder.push(unhex("03"));
    let damage = decoder.next_message().unwrap_err();
    assert_eq!(damage.to_string(), "failed to parse type 3 in msgappv2 stream");
}

#[test]
fn messages_that_no_member_sends_are_refused() {
    for (bytes, why) in [
        ("72021000", "a raft message that holds others"),
        ("0818", "not a raft message: a type nobody has defined"),
        ("3a0508", "not a raft message: failed to decode Protobuf message: buffer underflow"),
    ] {
        assert_eq!(decode_message(unhex(bytes)).unwrap_err().to_string(), why);
    }
    let countless = [0x3a, 0].repeat(ENTRIES_MAX + 1);
    assert_eq!(decode_message(countless.into()), Err(Unreadable::TooManyEntries));
}

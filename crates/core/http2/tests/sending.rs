//! What leaves, in which order, and what has to wait.

mod common;

use bytes::Bytes;
use common::*;
use holdfast_http2::{Config, Event, Field, OUT_BYTES_MAX, Reason};

const TYPE: Field = Field::from_static("content-type", "application/grpc");
const OK: Field = Field::from_static("grpc-status", "0");

fn answer(server: &mut Server, stream: u32, bytes: usize) {
    server.start(stream, 200, &[TYPE]);
    server.send(stream, Bytes::from(vec![stream as u8; bytes]));
    server.finish(stream, &[OK]);
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// SETTINGS with another window for all streams.
fn initial_window(bytes: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat())
}

#[test]
fn an_answer_is_headers_data_and_trailers() {
    let mut server = greeted(config());
    ask(&mut server, 1);
    answer(&mut server, 1, 10);
    let sent = taken(&mut server);
    let said: Vec<_> = sent.iter().map(|frame| (frame.kind, frame.flags)).collect();
    let expected = [(HEADERS, END_HEADERS), (DATA, 0), (HEADERS, END_HEADERS | END_STREAM)];
    assert_eq!(said, expected);
    assert_eq!(data_of(&sent, 1), [1; 10]);
    assert_eq!(server.streams_open(), 0);
}

#[test]
fn a_client_that_is_not_done_need_not_go_on() {
    let mut server = greeted(config());
    server.receive(&frame(HEADERS, END_HEADERS, 1, POST));
    server.respond(1, 200, &[OK]);
    let sent = taken(&mut server);
    assert_eq!((sent[0].kind, sent[0].flags), (HEADERS, END_HEADERS | END_STREAM));
    assert_eq!((sent[1].kind, &sent[1].payload[..]), (RST_STREAM, &[0; 4][..]));
}

#[test]
fn what_exceeds_a_streams_window_waits_with_its_trailers_and_holds_nobody_up() {
    let mut server = greeted(config());
    server.receive(&initial_window(100));
    taken(&mut server);
    ask(&mut server, 1);
    ask(&mut server, 3);
    assert_eq!(server.capacity(1), Some(100));
    answer(&mut server, 1, 250);
    assert_eq!(server.capacity(1), Some(0));
    answer(&mut server, 3, 100);
    let sent = taken(&mut server);
    assert_eq!(data_of(&sent, 1).len(), 100);
    assert_eq!(sent.last().map(|frame| (frame.stream, frame.flags)), Some((3, 5)));

    server.receive(&window_update(1, 149));
    server.pump();
    assert_eq!(data_of(&taken(&mut server), 1).len(), 149);
    server.receive(&window_update(1, 1));
    server.pump();
    let sent = taken(&mut server);
    assert_eq!(data_of(&sent, 1).len(), 1);
    assert_eq!(sent.last().map(|frame| (frame.kind, frame.flags)), Some((HEADERS, 5)));
}

#[test]
fn what_waits_leaves_in_the_order_in_which_it_was_sent() {
    let mut server = greeted(config());
    server.receive(&initial_window(10));
    taken(&mut server);
    ask(&mut server, 1);
    server.start(1, 200, &[TYPE]);
    let whole: Vec<u8> = (0..100).collect();
    whole.chunks(25).for_each(|piece| server.send(1, Bytes::copy_from_slice(piece)));
    let mut sent = taken(&mut server);
    for _ in 0..9 {
        server.receive(&window_update(1, 10));
        server.pump();
        sent.extend(taken(&mut server));
    }
    assert_eq!(data_of(&sent, 1), whole);
}

#[test]
fn the_connections_window_is_shared_in_turn() {
    let mut server = greeted(config());
    server.receive(&initial_window(1 << 20));
    taken(&mut server);
    for stream in [1, 3, 5] {
        ask(&mut server, stream);
        answer(&mut server, stream, 200_000);
    }
    let mut sent = taken(&mut server);
    server.pump();
    sent.extend(taken(&mut server));
    let bytes = |sent: &[Frame]| [1, 3, 5].map(|stream| data_of(sent, stream).len());
    assert_eq!(bytes(&sent).iter().sum::<usize>(), 65_535);
    for _ in 0..30 {
        server.receive(&window_update(0, 32_768));
        server.pump();
        sent.extend(taken(&mut server));
        let [first, second, third] = bytes(&sent);
        assert!(first < 200_000 || second < 200_000 || third == 200_000 || 100_000 < third);
    }
    assert_eq!(bytes(&sent), [200_000; 3]);
    assert_eq!(sent.iter().filter(|frame| frame.flags == 5).count(), 3, "all have trailers");
}

#[test]
fn a_smaller_initial_window_may_leave_less_than_nothing() {
    let mut server = greeted(config());
    ask(&mut server, 1);
    server.start(1, 200, &[TYPE]);
    server.send(1, Bytes::from(vec![1; 60_000]));
    taken(&mut server);
    server.receive(&initial_window(10_000));
    server.send(1, Bytes::from_static(b"later"));
    server.receive(&window_update(1, 49_999));
    server.pump();
    assert_eq!(data_of(&taken(&mut server), 1).len(), 0, "65,535 - 60,000 - 55,535 + 49,999");
    server.receive(&window_update(1, 5));
    server.pump();
    assert_eq!(data_of(&taken(&mut server), 1), b"late");
}

#[test]
fn data_for_a_client_that_does_not_read_stays_where_it_is() {
    let mut server = greeted(config());
    let mut wide = initial_window(1 << 30);
    wide.extend(window_update(0, 1 << 30));
    server.receive(&wide);
    for stream in (1..100).step_by(2) {
        ask(&mut server, stream);
        answer(&mut server, stream, 100_000);
    }
    assert!(server.out().len() < OUT_BYTES_MAX + 16_384 + 50 * 100);
    let mut bytes = 0;
    for _ in 0..1000 {
        server.pump();
        assert!(server.out().len() < OUT_BYTES_MAX + 16_384 + 50 * 100);
        let sent = taken(&mut server);
        bytes += sent.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum::<usize>();
    }
    assert_eq!(bytes, 50 * 100_000);
    assert_eq!(server.streams_open(), 0);
}

#[test]
fn whoever_waits_for_room_is_told_and_not_all_at_once() {
    let mut server = greeted(config());
    for stream in (1..41).step_by(2) {
        ask(&mut server, stream);
        server.start(stream, 200, &[TYPE]);
    }
    server.send(1, Bytes::from(vec![1; 65_535]));
    for stream in (3..41).step_by(2) {
        assert_eq!(server.capacity(stream), Some(0));
        server.want(stream);
    }
    assert!(!server.pump(), "there is no window");
    taken(&mut server);
    server.receive(&window_update(0, 1000));
    let mut told = Vec::new();
    for turn in 0.. {
        let more = server.pump();
        let room = events(&mut server);
        assert!((1..=4).contains(&room.len()), "each may send a whole frame");
        told.extend(room);
        if !more {
            break;
        }
        assert!(turn < 20);
    }
    let expected: Vec<_> = (3..41).step_by(2).map(Event::Room).collect();
    assert_eq!(told, expected);
}

#[test]
fn headers_longer_than_a_frame_are_continued() {
    let mut server = greeted(config());
    ask(&mut server, 1);
    let long = Field { name: "grpc-message".into(), value: vec![b'x'; 40_000].into() };
    server.respond(1, 200, &[long]);
    let sent = taken(&mut server);
    let said: Vec<_> = sent.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(said, [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]);
    assert!(sent.iter().all(|frame| frame.payload.len() <= 16_384));
}

#[test]
fn a_client_that_is_drained_is_served_until_it_knows() {
    let mut server = greeted(config());
    ask(&mut server, 1);
    server.drain();
    let sent = taken(&mut server);
    assert_eq!([sent[0].kind, sent[1].kind], [GOAWAY, PING]);
    assert_eq!(sent[0].payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    ask(&mut server, 3);
    server.receive(&frame(PING, ACK, 0, &sent[1].payload));
    assert_eq!(taken(&mut server)[0].payload, [0, 0, 0, 3, 0, 0, 0, 0]);
    server.receive(&frame(HEADERS, END_HEADERS | END_STREAM, 5, POST));
    assert_eq!(events(&mut server), [], "it is beyond the last one");
    assert!(!server.is_drained());
    answer(&mut server, 1, 1);
    answer(&mut server, 3, 1);
    assert!(server.is_drained());
}

#[test]
fn nothing_is_sent_on_a_stream_that_has_ended() {
    let mut server = greeted(Config { early_resets_max: 1, ..config() });
    ask(&mut server, 1);
    server.receive(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    assert_eq!(events(&mut server), [Event::Reset(1, 0)]);
    answer(&mut server, 1, 10);
    server.want(1);
    server.reset(1, Reason::CANCEL);
    assert_eq!((server.capacity(1), server.out()), (None, &[][..]));
}

/// Guarantee (a setting costs the same however many streams are open): H2 `SETTINGS_INITIAL_WINDOW_SIZE`.
#[test]
fn a_window_for_all_streams_opens_and_closes_each_of_them() {
    let mut server = greeted(config());
    server.receive(&initial_window(0));
    for stream in [1, 3] {
        ask(&mut server, stream);
        answer(&mut server, stream, 10);
    }
    taken(&mut server);
    for bytes in 1..=10 {
        server.receive(&initial_window(bytes));
        server.pump();
        let sent = taken(&mut server);
        assert_eq!((data_of(&sent, 1).len(), data_of(&sent, 3).len()), (1, 1), "of {bytes}");
        server.receive(&initial_window(0));
        assert!(!server.pump());
    }
    assert_eq!(server.streams_open(), 0);
    assert!(!server.pump());
}

#[test]
fn a_stream_that_is_blocked_and_reset_leaves_nothing_behind() {
    let mut server = greeted(config());
    server.receive(&initial_window(0));
    ask(&mut server, 1);
    answer(&mut server, 1, 10);
    server.receive(&window_update(1, 5));
    server.receive(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    server.receive(&initial_window(100));
    assert!(!server.pump());
    assert_eq!(server.streams_open(), 0);
}

/// A socket that takes a little less than there is, for ever.
#[test]
fn what_was_sent_is_let_go_of_though_something_always_waits() {
    let mut server = greeted(config());
    server.receive(&[initial_window(1 << 30), window_update(0, 1 << 30)].concat());
    ask(&mut server, 1);
    server.start(1, 200, &[TYPE]);
    server.send(1, Bytes::from(vec![1; 8 << 20]));
    let mut sent = 0;
    while sent < 7 << 20 {
        server.pump();
        let piece = server.out().len() - 1;
        server.advance(piece);
        sent += piece;
        assert!(server.buffered() < 4 * OUT_BYTES_MAX, "{} bytes", server.buffered());
    }
}

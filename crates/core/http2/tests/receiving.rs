//! What a client says, right and wrong.

mod common;

use common::*;
use holdfast_http2::{Body, Config, Event};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn request(stream: u32, body: &[u8]) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, POST);
    [headers, frame(DATA, END_STREAM, stream, body)].concat()
}

/// The stream errors that were answered: number and code.
fn resets(server: &mut Server) -> Vec<(u32, u32)> {
    let sent = taken(server);
    let resets = sent.iter().filter(|frame| frame.kind == RST_STREAM);
    resets.map(|f| (f.stream, u32::from_be_bytes([0, 1, 2, 3].map(|at| f.payload[at])))).collect()
}

#[test]
fn a_request_is_the_same_however_the_wire_cuts_it() {
    let mut wire = hello();
    wire.extend(request(1, b"hello"));
    wire.extend(frame(HEADERS, 0, 3, &POST[..2]));
    wire.extend(frame(CONTINUATION, END_HEADERS, 3, &POST[2..]));
    wire.extend(frame(DATA, END_STREAM | 8, 3, b"\x02padded\0\0"));
    for piece in 1..=wire.len() {
        let mut server = Server::new(config());
        wire.chunks(piece).for_each(|chunk| server.receive(chunk));
        assert!(!server.is_failed(), "in pieces of {piece}");
        let requests: Vec<_> = events(&mut server)
            .into_iter()
            .filter_map(|event| match event {
                Event::Request(id, head) => Some((id, head.path.clone(), head.method.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(requests, [(1, "/x".into(), "POST".into()), (3, "/x".into(), "POST".into())]);
        for (stream, body) in [(1, &b"hello"[..]), (3, b"padded")] {
            assert_eq!(server.take_body(stream), Body::Piece(body.to_vec().into()));
            assert_eq!(server.take_body(stream), Body::End);
        }
    }
}

#[test]
fn a_block_that_comes_again_means_the_same_until_the_table_changes() {
    let mut server = greeted(config());
    let added = b"\x83\x86\x44\x02/a";
    let again = b"\x83\x86\xbe";
    let other = b"\x83\x86\x44\x02/b";
    let mut paths = Vec::new();
    for (number, block) in [&added[..], again, again, other, again, again].iter().enumerate() {
        let stream = 2 * number as u32 + 1;
        server.receive(&frame(HEADERS, END_HEADERS | END_STREAM, stream, block));
        let Some(Event::Request(_, head)) = server.poll_event() else { panic!("a request") };
        paths.push(head.path.clone());
    }
    assert_eq!(paths, ["/a", "/a", "/a", "/b", "/b", "/b"]);
}

#[test]
fn windows_are_given_back_when_half_of_them_is_released() {
    let config =
        Config { stream_window_bytes: 100_000, connection_window_bytes: 150_000, ..config() };
    let mut server = greeted(config);
    server.receive(&frame(HEADERS, END_HEADERS, 1, POST));
    for _ in 0..5 {
        server.receive(&frame(DATA, 0, 1, &[7; 10_000]));
    }
    let Body::Piece(piece) = server.take_body(1) else { panic!("a piece") };
    assert_eq!(piece.len(), 50_000);
    assert_eq!(taken(&mut server), [], "it was taken but not released");
    server.release(1, 50_000);
    let updates = |server: &mut Server| {
        let sent = taken(server);
        let bytes = |f: &Frame| u32::from_be_bytes([0, 1, 2, 3].map(|at| f.payload[at]));
        sent.iter().map(|frame| (frame.kind, frame.stream, bytes(frame))).collect::<Vec<_>>()
    };
    assert_eq!(updates(&mut server), [(WINDOW_UPDATE, 1, 50_000)]);
    // What a stream leaves unread counts as released when it ends.
    for _ in 0..3 {
        server.receive(&frame(DATA, 0, 1, &[7; 10_000]));
    }
    server.reset(1, holdfast_http2::Reason::CANCEL);
    assert_eq!(updates(&mut server)[0], (WINDOW_UPDATE, 0, 80_000));
}

#[test]
fn more_than_a_window_ends_the_stream_or_the_connection() {
    let config = Config { stream_window_bytes: 20_000, ..config() };
    let mut server = greeted(config.clone());
    server.receive(&frame(HEADERS, END_HEADERS, 1, POST));
    server.receive(&frame(DATA, 0, 1, &[7; 16_000]));
    server.receive(&frame(DATA, 0, 1, &[7; 4001]));
    assert_eq!(resets(&mut server), [(1, FLOW_CONTROL_ERROR)]);

    let mut server = greeted(Config { connection_window_bytes: 65_535, ..config });
    for stream in (1..10).step_by(2) {
        server.receive(&frame(HEADERS, END_HEADERS, stream, POST));
        server.receive(&frame(DATA, 0, stream, &[7; 16_000]));
    }
    assert!(server.is_failed());
    assert_eq!(farewell(&mut server).0, FLOW_CONTROL_ERROR);
}

#[test]
fn a_stream_that_was_reset_in_the_same_breath_is_never_begun() {
    let mut server = greeted(config());
    let reset = frame(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    server.receive(&[request(1, b"x"), reset].concat());
    let events = events(&mut server);
    assert!(!events.iter().any(|event| matches!(event, Event::Request(..))), "{events:?}");
}

#[test]
fn early_resets_are_forgiven_by_answers_and_else_counted() {
    let open_and_reset = |stream| {
        let headers = frame(HEADERS, END_HEADERS, stream, POST);
        [headers, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
    };
    let mut server = greeted(config());
    for round in 0..100 {
        server.receive(&open_and_reset(4 * round + 1));
        server.receive(&request(4 * round + 3, b""));
        server.respond(4 * round + 3, 200, &[]);
    }
    assert!(!server.is_failed());
    taken(&mut server);
    for round in 100..111 {
        assert!(!server.is_failed());
        server.receive(&open_and_reset(4 * round + 1));
    }
    assert_eq!(farewell(&mut server), (ENHANCE_YOUR_CALM, "too_many_resets".into()));
}

#[test]
fn idle_frames_are_counted_but_not_pings_and_windows() {
    let mut server = greeted(config());
    ask(&mut server, 1);
    for _ in 0..20_000 {
        server.receive(&frame(PING, 0, 0, &[0; 8]));
        server.receive(&frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()));
        taken(&mut server);
    }
    assert!(!server.is_failed());
    let idle = [frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 1]), frame(99, 0, 0, b"unknown")].concat();
    for _ in 0..5000 {
        server.receive(&idle);
        taken(&mut server);
    }
    server.receive(&idle);
    assert_eq!(farewell(&mut server), (ENHANCE_YOUR_CALM, "too_many_idle_frames".into()));
}

#[test]
fn a_header_block_without_end_is_an_attack() {
    let mut server = greeted(config());
    server.receive(&frame(HEADERS, 0, 1, POST));
    for _ in 0..64 {
        server.receive(&frame(CONTINUATION, 0, 1, b""));
        assert!(!server.is_failed());
    }
    server.receive(&frame(CONTINUATION, 0, 1, b""));
    assert_eq!(farewell(&mut server).0, ENHANCE_YOUR_CALM);
}

#[test]
fn what_is_wrong_with_one_request_concerns_no_other() {
    let headers = |block: &[u8]| frame(HEADERS, END_HEADERS, 1, block);
    let with = |field: &[u8]| headers(&[POST, field].concat());
    let length_five = b"\x0f\x0d\x015";
    let wrong: Vec<(&str, Vec<u8>, u32)> = vec![
        ("a capital", with(b"\x00\x01A\x01b"), PROTOCOL_ERROR),
        ("no path", headers(b"\x83\x86"), PROTOCOL_ERROR),
        (
            "a body longer than it says",
            [with(length_five), frame(DATA, 0, 1, b"123456")].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a body shorter than it says",
            [with(length_five), frame(DATA, END_STREAM, 1, b"1234")].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "trailers that end nothing",
            [headers(POST), frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b")].concat(),
            PROTOCOL_ERROR,
        ),
        ("data after the end", [request(1, b""), frame(DATA, 0, 1, b"x")].concat(), STREAM_CLOSED),
        (
            "a window of nothing",
            [headers(POST), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a window too large",
            [headers(POST), frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffffu32.to_be_bytes())].concat(),
            FLOW_CONTROL_ERROR,
        ),
    ];
    for (what, bytes, code) in wrong {
        let mut server = greeted(config());
        server.receive(&bytes);
        assert_eq!(resets(&mut server), [(1, code)], "{what}");
        assert_eq!((server.is_failed(), server.streams_open()), (false, 0), "{what}");
        server.receive(&request(3, b"x"));
        assert_eq!(server.streams_open(), 1, "{what}");
    }
}

#[test]
fn headers_above_the_bound_are_answered_431() {
    let mut server = greeted(Config { header_list_bytes_max: 200, ..config() });
    let long = [POST, b"\x00\x01a\x7f\x49", &[b'x'; 200]].concat();
    server.receive(&frame(HEADERS, END_HEADERS, 1, &long));
    assert_eq!(events(&mut server), []);
    let sent = taken(&mut server);
    assert_eq!((sent[0].kind, sent[0].flags), (HEADERS, END_HEADERS | END_STREAM));
    assert!(sent[0].payload.ends_with(b"431"));
    assert_eq!(server.streams_open(), 0);
}

#[test]
fn what_is_wrong_with_the_connection_ends_it_with_a_reason() {
    let greeting = |first: Vec<u8>| [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), first].concat();
    let after = |frames: Vec<u8>| [hello(), frames].concat();
    let wrong: Vec<(&str, Vec<u8>, u32)> = vec![
        ("no HTTP/2", b"GET / HTTP/1.1\r\n".to_vec(), PROTOCOL_ERROR),
        ("a ping first", greeting(frame(PING, 0, 0, &[0; 8])), PROTOCOL_ERROR),
        ("a frame too long", after(b"\0\x40\x01\0\0\0\0\0\x01".to_vec()), FRAME_SIZE_ERROR),
        ("DATA on stream 0", after(frame(DATA, 0, 0, b"x")), PROTOCOL_ERROR),
        ("DATA on an idle stream", after(frame(DATA, 0, 1, b"x")), PROTOCOL_ERROR),
        ("HEADERS on stream 0", after(frame(HEADERS, 4, 0, POST)), PROTOCOL_ERROR),
        ("HEADERS on an even stream", after(frame(HEADERS, 4, 2, POST)), PROTOCOL_ERROR),
        ("RST_STREAM on an idle stream", after(frame(RST_STREAM, 0, 1, &[0; 4])), PROTOCOL_ERROR),
        ("a short RST_STREAM", after(frame(RST_STREAM, 0, 1, &[0; 3])), FRAME_SIZE_ERROR),
        ("SETTINGS on a stream", after(frame(SETTINGS, 0, 1, &[])), PROTOCOL_ERROR),
        ("an answer that says something", after(frame(SETTINGS, 1, 0, &[0; 6])), FRAME_SIZE_ERROR),
        ("a short PING", after(frame(PING, 0, 0, &[0; 7])), FRAME_SIZE_ERROR),
        ("a window of nothing", after(frame(WINDOW_UPDATE, 0, 0, &[0; 4])), PROTOCOL_ERROR),
        ("a push", after(frame(5, 4, 1, POST)), PROTOCOL_ERROR),
        ("CONTINUATION alone", after(frame(CONTINUATION, 4, 1, POST)), PROTOCOL_ERROR),
        (
            "something within a block",
            after([frame(HEADERS, 0, 1, POST), frame(PING, 0, 0, &[0; 8])].concat()),
            PROTOCOL_ERROR,
        ),
        ("padding too long", after(frame(HEADERS, 4 | 8, 1, b"\x09\x83")), PROTOCOL_ERROR),
        ("an unknown field", after(frame(HEADERS, 4, 1, b"\xff\x20")), COMPRESSION_ERROR),
    ];
    for (what, bytes, code) in wrong {
        let mut server = Server::new(config());
        server.receive(&bytes);
        assert!(server.is_failed(), "{what}");
        assert_eq!(farewell(&mut server).0, code, "{what}");
        server.receive(&hello());
        assert_eq!(server.out(), b"", "{what}: nothing is heard any more");
    }
}

/// Early refusals: the client ends its request while our reset is on its way.
#[test]
fn trailers_that_cross_our_reset_are_ignored() {
    let mut server = greeted(config());
    let trailers = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x00\x01a\x01b");
    server.receive(&frame(HEADERS, END_HEADERS, 1, POST));
    server.respond(1, 200, &[]);
    server.receive(&trailers(1));
    server.receive(&frame(HEADERS, END_HEADERS, 3, POST));
    server.reset(3, holdfast_http2::Reason::CANCEL);
    server.receive(&trailers(3));
    assert!(!server.is_failed());
    server.receive(&request(5, b"x"));
    assert_eq!(server.streams_open(), 1, "the table of headers is still in step");
    // A stream that the client itself has ended is another matter.
    server.respond(5, 200, &[]);
    server.receive(&trailers(5));
    assert!(server.is_failed());
    assert_eq!(farewell(&mut server).0, STREAM_CLOSED);
}

/// CVE-2025-8671: the client makes us reset what it began.
#[test]
fn resets_that_the_client_makes_us_send_are_counted() {
    let mut server = greeted(config());
    for round in 0..11 {
        assert!(!server.is_failed(), "after {round}");
        let stream = 2 * round + 1;
        server.receive(&frame(HEADERS, END_HEADERS, stream, POST));
        server.receive(&frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    assert_eq!(farewell(&mut server).0, ENHANCE_YOUR_CALM);
}

/// A call that began and is taken back unanswered costs something too, but less.
#[test]
fn calls_that_are_begun_and_taken_back_count_a_fourth_and_answers_make_good() {
    let mut server = greeted(config());
    let reset = |stream| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let begun_and_reset = |server: &mut Server, stream| {
        server.receive(&frame(HEADERS, END_HEADERS, stream, POST));
        events(server);
        server.receive(&reset(stream));
    };
    for round in 0..40 {
        begun_and_reset(&mut server, 2 * round + 1);
        assert!(!server.is_failed(), "after {round}");
    }
    // One that is answered makes good for four; one whose answer has begun costs nothing.
    server.receive(&request(101, b""));
    server.respond(101, 200, &[]);
    server.receive(&frame(HEADERS, END_HEADERS, 103, POST));
    server.start(103, 200, &[]);
    server.receive(&reset(103));
    for round in 0..4 {
        begun_and_reset(&mut server, 2 * round + 105);
        assert!(!server.is_failed(), "after the answer and {round}");
    }
    begun_and_reset(&mut server, 113);
    assert_eq!(farewell(&mut server).0, ENHANCE_YOUR_CALM);
}

/// What has come and is not released is held, a frame that is not whole too.
#[test]
fn what_is_held_is_what_came_and_is_not_released() {
    let mut server = greeted(config());
    server.receive(&frame(HEADERS, END_HEADERS, 1, POST));
    let data = frame(DATA, 0, 1, &[7; 1000]);
    server.receive(&data);
    server.receive(&data[..500]);
    assert_eq!(server.held_bytes(), 1000 + 500);
    assert_eq!(server.unread(), [1]);
    server.receive(&data[500..]);
    assert!(matches!(server.take_body(1), Body::Piece(bytes) if bytes.len() == 2000));
    assert_eq!((server.held_bytes(), server.unread().len()), (2000, 0));
    server.release(1, 2000);
    assert_eq!(server.held_bytes(), 0);
    server.receive(&data);
    server.reset(1, holdfast_http2::Reason::CANCEL);
    assert_eq!(server.held_bytes(), 0, "whom it was for has gone");
}

#[test]
fn headers_above_the_bound_make_good_for_no_reset() {
    let mut server = greeted(Config { header_list_bytes_max: 200, ..config() });
    let long = [POST, b"\x00\x01a\x7f\x49", &[b'x'; 200]].concat();
    for round in 0..11 {
        assert!(!server.is_failed(), "after {round}");
        let stream = 4 * round + 1;
        server.receive(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &long));
        let begun = frame(HEADERS, END_HEADERS, stream + 2, POST);
        let reset = frame(RST_STREAM, 0, stream + 2, &8u32.to_be_bytes());
        server.receive(&[begun, reset].concat());
    }
    assert!(server.is_failed());
}

#[test]
fn nobody_is_found_at_stream_zero() {
    let mut server = greeted(config());
    server.receive(&request(1, b""));
    server.respond(1, 200, &[]);
    assert_eq!(server.tag(0), None);
    assert_eq!(server.capacity(0), None);
}

//! What a client may take of us, and what happens to one that takes more.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::until;
use common::{
    MIB, call, connect, exchange, framed, once, read_answer, request, run, serve, serve_with,
};
use holdfast_rpc::{Limits, NoObserver};
use raw::{DATA, GOAWAY, HEADERS, PING, RST_STREAM, RawClient};

const ENHANCE_YOUR_CALM: u32 = 11;
const END_HEADERS: u8 = 4;

#[test]
fn a_stream_whose_client_reads_nothing_is_held_at_its_window() {
    run(async {
        let served = serve(Limits::default());
        let mut client = connect(served.address).await.ready().await.expect("ready");
        let (response, mut body) =
            client.send_request(request("/test.Echo/Flood"), false).expect("sent");
        body.send_data(framed(b"").into(), true).expect("sent");
        let (_, mut answers) = response.await.expect("headers").into_parts();
        let counts = served.counts.clone();
        until("the window is full", || counts.flooded.load(Ordering::SeqCst) >= 60_000).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let held = served.counts.flooded.load(Ordering::SeqCst);
        assert!(held <= 65_535 + 10_000, "the window and one message, not {held} bytes");

        // As soon as the client reads, the stream goes on.
        for _ in 0..100 {
            let chunk = answers.data().await.expect("more").expect("it holds");
            answers.flow_control().release_capacity(chunk.len()).expect("it was received");
        }
        until("it goes on", || counts.flooded.load(Ordering::SeqCst) > 500_000).await;
    });
}

#[test]
fn a_client_with_a_huge_window_that_reads_nothing_is_held_by_the_socket() {
    run(async {
        let served = serve(Limits::default());
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        let stream = tokio::net::TcpStream::connect(served.address).await.expect("it listens");
        let (mut client, connection) =
            builder.handshake::<_, Bytes>(stream).await.expect("it speaks HTTP/2");
        let mut connection = std::pin::pin!(connection);
        let (_response, mut body) =
            client.send_request(request("/test.Echo/Flood"), false).expect("sent");
        body.send_data(framed(b"").into(), true).expect("sent");
        let counts = served.counts.clone();
        let begins = until("the flood begins", || counts.flooded.load(Ordering::SeqCst) > 0);
        // The connection is never driven again, so the socket fills up.
        tokio::select! {
            () = begins => {}
            _ = connection.as_mut() => panic!("the connection ended"),
        }
        // The kernel's buffers are of many sizes; the client's window is 1 GiB.
        let mut before = usize::MAX;
        while counts.flooded.load(Ordering::SeqCst) != before {
            before = counts.flooded.load(Ordering::SeqCst);
            assert!(before < 64 * MIB, "{before} bytes and no end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn answers_nobody_reads_keep_further_calls_of_that_client_waiting() {
    run(async {
        let limits = Limits { unsent_replies_bytes_max: 4 * MIB, ..Limits::default() };
        let served = serve(limits);
        let greedy = connect(served.address).await;
        let mut answers = Vec::new();
        for _ in 0..50 {
            let mut ready = greedy.clone().ready().await.expect("ready");
            let (response, mut body) =
                ready.send_request(request("/test.Echo/Big"), false).expect("sent");
            body.send_data(framed(b"").into(), true).expect("sent");
            answers.push(response);
        }
        let counts = served.counts.clone();
        until("the gate is full", || counts.big.load(Ordering::SeqCst) >= 4).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = counts.big.load(Ordering::SeqCst);
        assert!(begun <= 6, "{begun} answers of 1 MiB are held");

        // Nobody else is hurt, and whoever begins to read gets all.
        assert_eq!(call(served.address, "/test.Echo/Once", b"x").await.outcome(), ("0", ""));
        let readers: Vec<_> =
            answers.into_iter().map(|r| tokio::task::spawn_local(read_answer(r))).collect();
        for reader in readers {
            let answer = reader.await.expect("no panic").expect("it holds");
            assert_eq!(answer.body.len(), MIB + 5);
        }
    });
}

#[test]
fn unfinished_requests_are_bounded_per_connection() {
    run(async {
        let limits = Limits { partial_messages_bytes_max: MIB, ..Limits::default() };
        let served = serve(limits);
        let client = connect(served.address).await;
        let mut open = Vec::new();
        for _ in 0..8 {
            let mut ready = client.clone().ready().await.expect("ready");
            let (response, mut body) =
                ready.send_request(request("/test.Echo/Once"), false).expect("sent");
            body.send_data(framed(&vec![7; MIB])[..MIB / 4].to_vec().into(), false).expect("sent");
            open.push((response, body));
        }
        let mut refused = 0;
        for (response, body) in open {
            let answer = tokio::time::timeout(Duration::from_millis(300), read_answer(response));
            if let Ok(answer) = answer.await {
                let answer = answer.expect("it holds");
                let text = "grpc: unfinished messages larger than max 1048576";
                assert_eq!(answer.outcome(), ("8", text));
                refused += 1;
            }
            drop(body);
        }
        assert!(4 <= refused, "{refused} of 8 were refused");
    });
}

/// Guarantee (bodies are counted): what comes for a call that takes nothing of it counts against the bound of all.
#[test]
fn bodies_that_nobody_reads_are_bounded_over_all_connections() {
    run(async {
        let limits = Limits { partial_messages_total_bytes_max: MIB, ..Limits::default() };
        let served = serve(limits);
        let mut open = Vec::new();
        // A fourth of the bound is 256 KiB; the handlers answer, and nobody reads that.
        for _ in 0..6 {
            let client = connect(served.address).await;
            let mut ready = client.ready().await.expect("ready");
            let (response, mut body) =
                ready.send_request(request("/test.Echo/Deaf"), false).expect("sent");
            body.reserve_capacity(MIB);
            body.send_data(framed(&vec![7; 250 * 1024]).into(), false).expect("sent");
            open.push((response, body, ready));
        }
        let mut ended = 0;
        for (response, _body, _client) in &mut open {
            let response = tokio::time::timeout(Duration::from_millis(500), response);
            if let Ok(Err(reset)) = response.await {
                assert_eq!(reset.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
                ended += 1;
            }
        }
        assert!((1..=3).contains(&ended), "{ended} of 6 were ended");
        assert_eq!(call(served.address, "/test.Echo/Once", b"x").await.outcome(), ("0", ""));
    });
}

#[test]
fn a_client_that_resets_drops_its_handlers() {
    run(async {
        let served = serve(Limits::default());
        let client = connect(served.address).await;
        let mut open = Vec::new();
        for _ in 0..10 {
            let mut ready = client.clone().ready().await.expect("ready");
            let (response, mut body) =
                ready.send_request(request("/test.Echo/Stuck"), false).expect("sent");
            body.send_data(framed(b"").into(), true).expect("sent");
            open.push((response, body));
        }
        let counts = served.counts.clone();
        until("all began", || counts.stuck.load(Ordering::SeqCst) == 10).await;
        for (response, mut body) in open.drain(..5) {
            body.send_reset(h2::Reason::CANCEL);
            drop(response);
        }
        until("five were dropped", || counts.stuck.load(Ordering::SeqCst) == 5).await;
        drop((open, client));
        until("the connection's end drops the rest", || counts.stuck.load(Ordering::SeqCst) == 0)
            .await;
    });
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_nothing_else() {
    let served = serve(Limits::default());
    let mut client = RawClient::new(served.address);
    let mut burst = Vec::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        burst.extend(raw::frame(HEADERS, END_HEADERS, stream, &raw::headers("/test.Echo/Stuck")));
        burst.extend(raw::frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    let _ = client.0.write_all(&burst);
    let goaway = client.next_of(GOAWAY).expect("a farewell");
    assert_eq!(goaway.payload[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
    let answer = run(call(served.address, "/test.Echo/Once", b"x"));
    assert_eq!(answer.outcome(), ("0", ""));
    assert_eq!(served.counts.stuck.load(Ordering::SeqCst), 0);
}

#[test]
fn the_fourth_early_ping_is_answered_and_then_the_client_is_sent_away() {
    let served = serve(Limits::default());
    let mut client = RawClient::new(served.address);
    // A stream that waits, as an idle watch does.
    client.send(HEADERS, END_HEADERS, 1, &raw::headers("/test.Echo/Stream"));
    for number in 1..=4 {
        client.send(PING, 0, 0, &[number; 8]);
        let pong = client.next_of(PING).expect("answered");
        assert_eq!((pong.flags, pong.payload), (1, vec![number; 8]));
    }
    assert_eq!(client.farewell(), (ENHANCE_YOUR_CALM, "too_many_pings".into()));
}

#[test]
fn patient_pings_are_welcome() {
    let limits = Limits { keepalive_min_time: Duration::from_millis(10), ..Limits::default() };
    let served = serve(limits);
    let mut client = RawClient::new(served.address);
    client.send(HEADERS, END_HEADERS, 1, &raw::headers("/test.Echo/Stream"));
    for number in 1..=20 {
        std::thread::sleep(Duration::from_millis(15));
        client.send(PING, 0, 0, &[number; 8]);
        assert_eq!(client.next_of(PING).expect("answered").payload, [number; 8]);
    }
}

#[test]
fn a_silent_client_is_pinged_and_one_that_does_not_answer_is_dropped() {
    let limits = Limits {
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let served = serve(limits);
    let mut client = RawClient::new(served.address);
    let began = Instant::now();
    let ping = client.next_of(PING).expect("a ping");
    assert_eq!(ping.flags, 0);
    client.send(PING, 1, 0, &ping.payload);
    let ping = client.next_of(PING).expect("another ping");
    assert_eq!(ping.flags, 0);
    assert_eq!(client.next(), None, "the second one was not answered");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn headers_above_the_bound_are_refused_and_below_it_served() {
    run(async {
        let served = serve(Limits::default());
        let client = connect(served.address).await;
        for (bytes, status) in [(30_000, 200), (100_000, 431)] {
            let mut asked = request("/test.Echo/Once");
            let long = "x".repeat(bytes).parse().expect("a header value");
            asked.headers_mut().insert("token", long);
            let answer = exchange(&mut client.clone(), asked, &[&framed(b"x")]).await;
            assert_eq!(answer.expect("it holds").status, status);
        }
    });
}

#[test]
fn streams_above_the_bound_are_refused_for_another_try() {
    run(async {
        let served = serve(Limits { streams_per_connection_max: 3, ..Limits::default() });
        let client = connect(served.address).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut ready = client.clone().ready().await.expect("ready");
            open.push(ready.send_request(request("/test.Echo/Stream"), false).expect("sent"));
        }
        let refused = once(client.clone(), "/test.Echo/Once", b"");
        let error = refused.await.expect_err("it is refused");
        assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
    });
}

#[test]
fn the_client_is_told_how_many_streams_it_may_open() {
    run(async {
        let served = serve(Limits { concurrent_streams_max: 7, ..Limits::default() });
        let client = connect(served.address).await;
        once(client.clone(), "/test.Echo/Once", b"").await.expect("it holds");
        assert_eq!(client.current_max_send_streams(), 7);
    });
}

#[test]
fn malformed_frames_end_their_connection_and_nothing_else() {
    let served = serve(Limits::default());
    let mut header_block_bomb = raw::headers("/test.Echo/Once");
    header_block_bomb.extend([0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("data on stream 0", raw::frame(DATA, 0, 0, b"x")),
        ("data on an idle stream", raw::frame(DATA, 0, 5, b"x")),
        ("headers on an even stream", raw::frame(HEADERS, END_HEADERS, 2, &raw::headers("/"))),
        ("settings of seven bytes", raw::frame(raw::SETTINGS, 0, 0, &[0; 7])),
        ("a ping of seven bytes", raw::frame(PING, 0, 0, &[0; 7])),
        ("a window beyond 2^31", raw::frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a frame of 16 MiB", b"\xff\xff\xff\x00\0\0\0\0\x01".to_vec()),
        ("a header table beyond bounds", raw::frame(HEADERS, END_HEADERS, 1, &header_block_bomb)),
        ("padding longer than the frame", raw::frame(HEADERS, END_HEADERS | 8, 1, &[200, 0, 0])),
    ];
    for (attack, bytes) in attacks {
        let mut client = RawClient::new(served.address);
        let _ = client.0.write_all(&bytes);
        assert!(client.next_of(GOAWAY).is_some(), "{attack}");
        while client.next().is_some() {}
    }
    let answer = run(call(served.address, "/test.Echo/Once", b"x"));
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn two_thousand_connections_are_served_at_once() {
    run(async {
        let served = serve(Limits::default());
        let mut clients = Vec::new();
        for _ in 0..2000 {
            clients.push(connect(served.address).await);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let message = number.to_be_bytes();
            let answer = exchange(client, request("/test.Echo/Once"), &[&framed(&message)]).await;
            assert_eq!(answer.expect("it holds").body, framed(&message));
        }
    });
}

#[test]
fn a_connection_above_the_bound_waits_for_another_to_end() {
    run(async {
        let served = serve_with(Limits::default(), Arc::new(NoObserver), |server| {
            server.connections(net::Connections::new(1))
        });
        let first = connect(served.address).await;
        let second = connect(served.address).await;
        let waits = once(second, "/test.Echo/Once", b"x");
        let mut waits = std::pin::pin!(waits);
        let early = tokio::time::timeout(Duration::from_millis(100), waits.as_mut()).await;
        assert!(early.is_err(), "it must not be served yet");
        drop(first);
        assert_eq!(waits.await.expect("it holds").outcome(), ("0", ""));
    });
}

//! Every corner of the protocol in which a client can be wrong, or right in an unusual way.
//! The expectations are what grpc-go answers (`docs/etcd/observed.md` F, `docs/etcd/errors.md` 3).

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Answered, call, connect, exchange, framed, request, run, serve};
use holdfast_rpc::Limits;
use http::{HeaderValue, Method, Request};

/// Sends one request to a fresh server.
fn ask(request: Request<()>, pieces: &[&[u8]]) -> Answered {
    run(async {
        let served = serve(Limits::default());
        let mut client = connect(served.address).await;
        exchange(&mut client, request, pieces).await.expect("the connection holds")
    })
}

fn with(path: &str, name: &'static str, value: &'static str) -> Request<()> {
    let mut request = request(path);
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    request
}

#[test]
fn an_answer_has_its_message_and_both_trailers() {
    let answer = ask(request("/test.Echo/Once"), &[&framed(b"hello")]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.body, framed(b"hello"));
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn a_refusal_is_sent_as_headers_alone_and_percent_encoded() {
    let answer = ask(request("/test.Echo/Refuse"), &[&framed(b"")]);
    assert_eq!(answer.status, 200);
    assert!(answer.trailers.is_empty());
    assert_eq!(answer.outcome(), ("5", "100%25 %C3%A9"));
}

#[test]
fn another_content_type_is_turned_away_with_415() {
    let answer = ask(with("/test.Echo/Once", "content-type", "text/plain"), &[&framed(b"")]);
    assert_eq!(answer.status, 415);
    assert_eq!(answer.outcome(), ("3", "invalid gRPC request content-type \"text/plain\""));
}

#[test]
fn any_subtype_is_served_and_echoed() {
    let asked = with("/test.Echo/Once", "content-type", "application/grpc+json");
    let answer = ask(asked, &[&framed(b"x")]);
    assert_eq!(answer.headers["content-type"], "application/grpc+json");
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn a_get_is_turned_away_with_405() {
    let mut get = request("/test.Echo/Once");
    *get.method_mut() = Method::GET;
    let answer = ask(get, &[&framed(b"")]);
    assert_eq!(answer.status, 405);
    let text = "Received a HEADERS frame with :method \"GET\" which should be POST";
    assert_eq!(answer.outcome(), ("13", text));
}

#[test]
fn a_malformed_timeout_is_turned_away_with_400() {
    let answer = ask(with("/test.Echo/Once", "grpc-timeout", "10x"), &[&framed(b"")]);
    assert_eq!(answer.status, 400);
    let text = "malformed grpc-timeout: transport: timeout unit is not recognized: \"10x\"";
    assert_eq!(answer.outcome(), ("13", text));
}

#[test]
fn unknown_names_are_named() {
    let answer = ask(request("/test.Echo/Twice"), &[&framed(b"")]);
    assert_eq!(answer.outcome(), ("12", "unknown method Twice for service test.Echo"));
    let answer = ask(request("/test.Other/Once"), &[&framed(b"")]);
    assert_eq!(answer.outcome(), ("12", "unknown service test.Other"));
    let answer = ask(request("/nothing"), &[&framed(b"")]);
    assert_eq!(answer.outcome(), ("12", "malformed method name: \"/nothing\""));
}

#[test]
fn a_unary_call_without_a_message_is_answered_even_if_its_headers_end_the_stream() {
    assert_eq!(ask(request("/test.Echo/Once"), &[]).outcome(), ("2", "EOF"));
    assert_eq!(ask(request("/test.Echo/Once"), &[b""]).outcome(), ("2", "EOF"));
}

#[test]
fn a_message_cut_short_is_an_unexpected_end() {
    let whole = framed(b"hello");
    // Go reads a prefix that is cut short as none at all.
    for (cut, text) in [(1, "EOF"), (4, "EOF"), (5, "unexpected EOF"), (9, "unexpected EOF")] {
        let answer = ask(request("/test.Echo/Once"), &[&whole[..cut]]);
        assert_eq!(answer.outcome(), ("2", text), "after {cut} bytes");
    }
    let answer = ask(request("/test.Echo/Stream"), &[&whole[..7]]);
    assert_eq!(answer.outcome(), ("13", "unexpected EOF"));
}

#[test]
fn of_two_messages_to_a_unary_method_the_first_counts() {
    let answer = ask(request("/test.Echo/Once"), &[&framed(b"one"), &framed(b"two")]);
    assert_eq!(answer.body, framed(b"one"));
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn a_server_stream_needs_a_request() {
    let text = "cardinality violation: received no request message from non-client-streaming RPC";
    assert_eq!(ask(request("/test.Echo/Flood"), &[]).outcome(), ("13", text));
}

#[test]
fn a_message_is_put_together_from_any_pieces() {
    let whole = framed(b"hello");
    let pieces: Vec<&[u8]> = whole.chunks(1).collect();
    let answer = ask(request("/test.Echo/Once"), &pieces);
    assert_eq!(answer.body, whole);
}

#[test]
fn a_message_too_long_is_refused_by_its_length_field() {
    let answer = ask(request("/test.Echo/Once"), &[b"\0\x00\x20\x00\x01", b"x"]);
    let text = "grpc: received message larger than max (2097153 vs. 2097152)";
    assert_eq!(answer.outcome(), ("8", text));
    let longest = vec![7; 2_097_152];
    let answer = ask(request("/test.Echo/Once"), &[&framed(&longest)]);
    assert_eq!(answer.outcome(), ("0", ""));
    assert_eq!(answer.body.len(), 5 + longest.len());
}

#[test]
fn unreadable_messages_are_described_in_the_words_of_go() {
    let said = |message: &[u8]| {
        let answer = ask(request("/test.Echo/Text"), &[&framed(message)]);
        let (code, text) = answer.outcome();
        assert_eq!(code, "13");
        let said = text.strip_prefix("grpc: error unmarshalling request: ");
        said.expect("the same beginning").to_owned()
    };
    assert_eq!(said(b"\x0a\x05abc"), "proto: cannot parse invalid wire-format data");
    assert_eq!(said(b"\x0a\x01\xff"), "string field contains invalid UTF-8");
}

#[test]
fn gzip_is_answered_in_gzip() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&[b'x'; 1000]).expect("into memory");
    let mut asked = framed(&packer.finish().expect("into memory"));
    asked[0] = 1;
    let answer = ask(with("/test.Echo/Once", "grpc-encoding", "gzip"), &[&asked]);
    assert_eq!(answer.outcome(), ("0", ""));
    assert_eq!(answer.headers["grpc-encoding"], "gzip");
    assert_eq!(answer.body[0], 1);
    let mut plain = Vec::new();
    let mut unpacker = flate2::read::GzDecoder::new(&answer.body[5..]);
    unpacker.read_to_end(&mut plain).expect("gzip");
    assert_eq!(plain, [b'x'; 1000]);
}

#[test]
fn a_compression_nobody_knows_is_refused() {
    let answer = ask(with("/test.Echo/Once", "grpc-encoding", "snappy"), &[&framed(b"x")]);
    let text = "grpc: Decompressor is not installed for grpc-encoding \"snappy\"";
    assert_eq!(answer.outcome(), ("12", text));
    let answer = ask(request("/test.Echo/Once"), &[b"\x01\0\0\0\x01x"]);
    let text = "grpc: compressed flag set with identity or empty encoding";
    assert_eq!(answer.outcome(), ("13", text));
}

#[test]
fn a_deadline_ends_the_call_and_drops_its_handler() {
    run(async {
        let served = serve(Limits::default());
        let mut client = connect(served.address).await;
        let began = Instant::now();
        let asked = with("/test.Echo/Stuck", "grpc-timeout", "50m");
        let answer = exchange(&mut client, asked, &[&framed(b"")]).await.expect("it holds");
        assert_eq!(answer.outcome(), ("4", "context deadline exceeded"));
        assert!(began.elapsed() >= Duration::from_millis(50));
        let counts = served.counts.clone();
        common::until("the handler is dropped", || {
            counts.stuck.load(std::sync::atomic::Ordering::SeqCst) == 0
        })
        .await;
    });
}

#[test]
fn a_deadline_also_ends_the_wait_for_a_message_that_never_comes() {
    run(async {
        let served = serve(Limits::default());
        let mut client = connect(served.address).await.ready().await.expect("ready");
        let asked = with("/test.Echo/Once", "grpc-timeout", "50m");
        let (response, _body) = client.send_request(asked, false).expect("sent");
        let answer = common::read_answer(response).await.expect("answered");
        assert_eq!(answer.outcome(), ("4", "context deadline exceeded"));
    });
}

#[test]
fn a_stream_answers_each_message_as_it_comes() {
    run(async {
        let served = serve(Limits::default());
        let mut client = connect(served.address).await.ready().await.expect("ready");
        let (response, mut body) =
            client.send_request(request("/test.Echo/Stream"), false).expect("sent");
        body.send_data(framed(b"one").into(), false).expect("sent");
        let (_, mut answers) = response.await.expect("headers").into_parts();
        let next = answers.data().await.expect("more").expect("it holds");
        assert_eq!(next, framed(b"one"));
        body.send_data(framed(b"two").into(), true).expect("sent");
        let next = answers.data().await.expect("more").expect("it holds");
        assert_eq!(next, framed(b"two"));
        assert!(answers.data().await.is_none());
        let trailers = answers.trailers().await.expect("it holds").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    });
}

#[test]
fn a_sink_may_be_used_by_another_task() {
    let answer = run(async {
        let served = serve(Limits::default());
        call(served.address, "/test.Echo/Elsewhere", b"").await
    });
    assert_eq!(answer.body.len(), 100 * 10_005);
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn a_server_stream_ends_with_its_trailers() {
    let answer = run(async {
        let served = serve(Limits::default());
        call(served.address, "/test.Echo/Flood", &[50]).await
    });
    assert_eq!(answer.body.len(), 50 * 10_005);
    assert_eq!(answer.outcome(), ("0", ""));
}

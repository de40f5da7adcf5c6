//! The gateway over real HTTP: unary calls, streams line by line, websockets, errors.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use holdfast_gateway::Gateway;
use net::{HttpBody, Listener, Protocols, Running, Socket, SocketOptions};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthEnableResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    PutRequest, PutResponse, SnapshotResponse, WatchRequest, WatchResponse,
};
use proto::mvccpb::KeyValue;
use rpc::{Call, Inbound, Limits, NoObserver, Router, Server, Sink};
use types::Refusal;

fn router() -> Router {
    let mut router = Router::new();
    router.unary_of("/etcdserverpb.KV/Put", |call: Call, put: PutRequest| async move {
        if put.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        let token = call.token().unwrap_or("").to_owned().into();
        let kv = KeyValue { key: put.key, value: token, ..Default::default() };
        Ok(PutResponse { prev_kv: Some(kv), ..Default::default() })
    });
    router.unary_of(
        "/etcdserverpb.Auth/AuthEnable",
        |call: Call, _: AuthEnableRequest| async move {
            assert!(call.is_from_gateway());
            Err::<AuthEnableResponse, _>(Refusal::InvalidAuthToken)
        },
    );
    router.unary("/etcdserverpb.Maintenance/Status", |_, _| {
        std::future::pending::<Result<PutResponse, Refusal>>()
    });
    router.bidi(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        |call: Call, mut inbound: Inbound, mut sink: Sink| async move {
            if call.token() == Some("bad") {
                return Err(Refusal::UserEmpty);
            }
            while let Some(asked) = inbound.next_of::<LeaseKeepAliveRequest>().await? {
                let ttl = 10;
                sink.send(&LeaseKeepAliveResponse { header: None, id: asked.id, ttl }).await?;
                if asked.id == 13 {
                    return Err(Refusal::NoLeader);
                }
            }
            Ok(())
        },
    );
    router.bidi(
        "/etcdserverpb.Watch/Watch",
        |_, mut inbound: Inbound, mut sink: Sink| async move {
            let mut watch_id = 0;
            while inbound.next_of::<WatchRequest>().await?.is_some() {
                watch_id += 1;
                let created = true;
                sink.send(&WatchResponse { watch_id, created, ..Default::default() }).await?;
            }
            std::future::pending().await
        },
    );
    router.server_stream("/etcdserverpb.Maintenance/Snapshot", |_, _, mut sink: Sink| async move {
        for remaining_bytes in [2, 1, 0] {
            let blob = "abc".into();
            sink.send(&SnapshotResponse { remaining_bytes, blob, ..Default::default() }).await?;
        }
        Ok(())
    });
    router
}

fn serve() -> (SocketAddr, Running) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let socket = Socket::tcp(any, SocketOptions::default()).expect("a free port");
    let address = socket.address().expect("TCP");
    let server =
        Server::new(Arc::new(router()), Limits::default(), Arc::new(NoObserver)).workers(1);
    let gateway = Gateway::new(server.caller(), 1000);
    let handler = move |request: http::Request<HttpBody>, peer| {
        let gateway = gateway.clone();
        assert!(Gateway::serves(request.uri().path()));
        async move { gateway.handle(request, peer).await }
    };
    let server = server.http(Arc::new(handler));
    let running = server.serve(vec![Listener::new(socket, Protocols::Both)]).expect("threads");
    (address, running)
}

/// Status line, headers in lower case, and body with its chunks joined.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

fn ask(verb: &str, path: &str, headers: &[&str], body: &str) -> Heard {
    let (address, _running) = serve();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let len = body.len();
    write!(
        stream,
        "{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
    )
    .expect("it holds");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("it holds");
    let (head, body) = heard.split_once("\r\n\r\n").expect("a whole head");
    let head = head.to_ascii_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Heard { status: head[9..12].parse().expect("a status"), head, body }
}

fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((len, rest)) = body.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).expect("a length");
        out.push_str(&rest[..len]);
        body = &rest[len + 2..];
    }
    out
}

fn post(path: &str, body: &str) -> Heard {
    ask("POST", path, &[], body)
}

#[test]
fn a_unary_call_is_answered_in_json() {
    let heard = post("/v3/kv/put", r#"{"key":"Zm9v"} trailing data is ignored"#);
    assert_eq!(heard.status, 200);
    assert_eq!(heard.body, r#"{"prev_kv":{"key":"Zm9v"}}"#);
    assert!(heard.head.contains("\r\ncontent-type: application/json\r\n"), "{}", heard.head);
    assert!(heard.head.contains("\r\ngrpc-metadata-content-type: application/grpc\r\n"));
    assert_eq!(post("/v3beta/kv/put", r#"{"key":"Zm9v"}"#).status, 200);
}

#[test]
fn a_refusal_is_a_status_and_a_body() {
    for body in ["{}", "", " \n"] {
        let heard = post("/v3/kv/put", body);
        assert_eq!(heard.status, 400);
        assert_eq!(heard.body, r#"{"code":3,"message":"etcdserver: key is not provided"}"#);
        assert!(heard.head.contains("content-type: application/json"));
    }
    let heard = post("/v3/kv/put", "garbage");
    let text = "invalid character 'g' looking for beginning of value";
    assert_eq!((heard.status, heard.body), (400, format!(r#"{{"code":3,"message":"{text}"}}"#)));
    let heard = post("/v3/kv/put", r#"{"key":"!!"}"#);
    let text = r#"proto: (line 1:8): invalid value for bytes field key: \"!!\""#;
    assert_eq!((heard.status, heard.body), (400, format!(r#"{{"code":3,"message":"{text}"}}"#)));
}

#[test]
fn a_bad_token_says_how_to_authenticate() {
    let heard = post("/v3/auth/enable", "{}");
    assert_eq!(heard.status, 401);
    assert!(heard.head.contains("\r\nwww-authenticate: etcdserver: invalid auth token\r\n"));
}

#[test]
fn unknown_paths_and_wrong_verbs_are_refused_in_json() {
    let heard = post("/v3/kv/put/", "{}");
    assert_eq!((heard.status, &heard.body[..]), (404, r#"{"code":5,"message":"Not Found"}"#));
    let heard = ask("GET", "/v3/kv/put", &[], "");
    let text = r#"{"code":12,"message":"Method Not Allowed"}"#;
    assert_eq!((heard.status, &heard.body[..]), (501, text));
}

#[test]
fn tokens_and_timeouts_come_in_headers() {
    let body = r#"{"key":"Zm9v"}"#;
    let heard = ask("POST", "/v3/kv/put", &["Authorization: Bearer abc"], body);
    assert_eq!(heard.body, r#"{"prev_kv":{"key":"Zm9v","value":"YWJj"}}"#);
    let heard = ask("POST", "/v3/kv/put", &["Token: abc"], body);
    assert_eq!(heard.body, r#"{"prev_kv":{"key":"Zm9v"}}"#);
    let both = ["Authorization: other", "Grpc-Metadata-Token: abc"];
    let heard = ask("POST", "/v3/kv/put", &both, body);
    assert_eq!(heard.body, r#"{"prev_kv":{"key":"Zm9v","value":"YWJj"}}"#);
    let heard = ask("POST", "/v3/maintenance/status", &["Grpc-Timeout: 20m"], "{}");
    let text = r#"{"code":4,"message":"context deadline exceeded"}"#;
    assert_eq!((heard.status, &heard.body[..]), (504, text));
    let heard = ask("POST", "/v3/kv/put", &["Grpc-Timeout: 20x"], body);
    let text = r#"{"code":3,"message":"invalid grpc-timeout: 20x"}"#;
    assert_eq!((heard.status, &heard.body[..]), (400, text));
}

#[test]
fn a_request_too_long_is_refused() {
    let long = "YWFh".repeat(400);
    let heard = post("/v3/kv/put", &format!(r#"{{"key":"{long}"}}"#));
    let text = r#"{"code":8,"message":"grpc: received message larger than max (1203 vs. 1000)"}"#;
    assert_eq!((heard.status, &heard.body[..]), (429, text));
}

#[test]
fn a_stream_is_answered_line_by_line() {
    let heard = post("/v3/maintenance/snapshot", "{}");
    assert_eq!(heard.status, 200);
    assert!(heard.head.contains("transfer-encoding: chunked"), "{}", heard.head);
    let expected = concat!(
        "{\"result\":{\"remaining_bytes\":\"2\",\"blob\":\"YWJj\"}}\n",
        "{\"result\":{\"remaining_bytes\":\"1\",\"blob\":\"YWJj\"}}\n",
        "{\"result\":{\"blob\":\"YWJj\"}}\n"
    );
    assert_eq!(heard.body, expected);
}

#[test]
fn a_stream_reads_one_request_after_another() {
    let heard = post("/v3/lease/keepalive", "{\"ID\":7}\n{\"ID\":\"8\"}");
    let expected = concat!(
        "{\"result\":{\"ID\":\"7\",\"TTL\":\"10\"}}\n",
        "{\"result\":{\"ID\":\"8\",\"TTL\":\"10\"}}\n"
    );
    assert_eq!((heard.status, &heard.body[..]), (200, expected));
}

#[test]
fn a_stream_that_fails_says_so_in_its_last_line() {
    let heard = post("/v3/lease/keepalive", "{\"ID\":13}");
    let expected = concat!(
        "{\"result\":{\"ID\":\"13\",\"TTL\":\"10\"}}\n",
        "{\"error\":{\"code\":14,\"message\":\"etcdserver: no leader\"}}\n"
    );
    assert_eq!((heard.status, &heard.body[..]), (200, expected));
    let heard = ask("POST", "/v3/lease/keepalive", &["Authorization: bad"], "{}");
    let expected = "{\"error\":{\"code\":3,\"message\":\"etcdserver: user name is empty\"}}\n";
    assert_eq!((heard.status, &heard.body[..]), (400, expected));
}

/// Go's gateway ends the requests there and says nothing (`docs/differences.md`).
#[test]
fn garbage_ends_a_stream_with_a_reason() {
    let heard = post("/v3/lease/keepalive", "garbage");
    let text = "invalid character 'g' looking for beginning of value";
    let error = format!("{{\"error\":{{\"code\":3,\"message\":\"{text}\"}}}}\n");
    assert_eq!((heard.status, &heard.body[..]), (400, &error[..]));
    let heard = post("/v3/lease/keepalive", "{\"ID\":7}garbage{\"ID\":8}");
    let expected = format!("{{\"result\":{{\"ID\":\"7\",\"TTL\":\"10\"}}}}\n{error}");
    assert_eq!((heard.status, &heard.body[..]), (200, &expected[..]));
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let (address, _running) = serve();
    // The words are those of the newest Go etcd. (A first byte that is no digit is not told from no byte at all.)
    for (chunks, why) in [
        ("1z\r\n", "invalid byte in chunk length"),
        ("ffffffffffffffffff\r\n{}\r\n", "http chunk length too large"),
        ("\r\n{}\r\n", "empty hex number for chunk length"),
        ("3\r\n{\"a", "unexpected EOF"),
    ] {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let head = "POST /v3/kv/put HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        write!(stream, "{head}{chunks}").expect("it holds");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut heard = String::new();
        let _ = stream.read_to_string(&mut heard);
        assert!(!heard.contains("200 OK") && !heard.contains("prev_kv"), "{heard}");
        if !heard.is_empty() {
            assert!(heard.contains(why), "{chunks:?}: {heard}");
        }
    }
}

#[test]
fn a_close_is_answered_with_a_close() {
    let (address, _running) = serve();
    let (mut stream, _) = websocket(address, "/v3/watch", "");
    stream.write_all(&frame(CLOSE, "")).expect("it holds");
    assert_eq!(next_frame(&mut stream).0, CLOSE);
    let (mut stream, _) = websocket(address, "/v3/watch", "");
    // A reserved kind of frame.
    stream.write_all(&frame(3, "")).expect("it holds");
    let mut close = [0; 4];
    stream.read_exact(&mut close).expect("it is told");
    assert_eq!((close[0] & 15, u16::from_be_bytes([close[2], close[3]])), (CLOSE, 1002));
}

/// A frame of a client, masked with zeros.
fn frame(opcode: u8, text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("short");
    assert!(len < 126);
    let mut out = vec![0x80 | opcode, 0x80 | len, 0, 0, 0, 0];
    out.extend_from_slice(text.as_bytes());
    out
}

/// The next frame of the server: opcode and text.
fn next_frame(stream: &mut TcpStream) -> (u8, String) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert!(head[1] < 126, "short frames only");
    let mut text = vec![0; head[1].into()];
    stream.read_exact(&mut text).expect("a whole frame");
    (head[0] & 15, String::from_utf8_lossy(&text).into_owned())
}

fn websocket(address: SocketAddr, path: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let upgrade = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n{headers}\r\n")
        .expect("it holds");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.extend(byte);
    }
    (stream, String::from_utf8_lossy(&head).to_ascii_lowercase())
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[test]
fn a_watch_over_a_websocket_lives_as_long_as_its_client() {
    let (address, _running) = serve();
    let (mut stream, head) = websocket(address, "/v3/watch", "");
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    for watch_id in 1..4 {
        stream.write_all(&frame(TEXT, r#"{"create_request":{"key":"Zm9v"}}"#)).expect("it holds");
        let line = format!(r#"{{"result":{{"watch_id":"{watch_id}","created":true}}}}"#);
        assert_eq!(next_frame(&mut stream), (TEXT, line));
    }
    stream.write_all(&frame(PING, "hey")).expect("it holds");
    assert_eq!(next_frame(&mut stream), (PONG, "hey".into()));
    stream.write_all(&frame(CLOSE, "")).expect("it holds");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it is closed");
}

#[test]
fn a_call_that_ends_closes_its_websocket() {
    let (address, _running) = serve();
    let (mut stream, head) =
        websocket(address, "/v3/kv/put", "sec-websocket-protocol: Bearer, abc\r\n");
    assert!(head.contains("sec-websocket-protocol: bearer"), "{head}");
    stream.write_all(&frame(TEXT, r#"{"key":"Zm9v"}"#)).expect("it holds");
    let line = r#"{"prev_kv":{"key":"Zm9v","value":"YWJj"}}"#;
    assert_eq!(next_frame(&mut stream), (TEXT, line.into()));
    assert_eq!(next_frame(&mut stream).0, CLOSE);
}

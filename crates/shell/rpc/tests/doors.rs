//! The other ways in: HTTP/1.1 on the same port, unix sockets, upgrades, TLS-like wrappers, and
//! calls from inside the process; and what an observer sees of all calls.

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{call, framed, run, serve, serve_with, until};
use holdfast_rpc::{Call, Caller, Limits, Metadata, Method, NoObserver, Observer, Server, Source};
use http::{Request, Response};
use http_body_util::BodyExt;
use net::{
    Handshake, HttpBody, Identity, Listener, LocalFuture, Protocols, Remote, RemoteAddress,
    Running, Socket, SocketOptions, Stream, Tls, whole,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::{Code, Refusal};

async fn hello(request: Request<HttpBody>, remote: Arc<Remote>) -> Response<HttpBody> {
    assert!(!remote.address.to_string().is_empty());
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(request);
        tokio::task::spawn_local(async move {
            let upgraded = upgrade.await.expect("the client agrees");
            let mut stream = hyper_util::rt::TokioIo::new(upgraded);
            let mut line = [0; 4];
            stream.read_exact(&mut line).await.expect("it holds");
            line.reverse();
            stream.write_all(&line).await.expect("it holds");
        });
        let response = Response::builder().status(101).header("upgrade", "mirror");
        return response.header("connection", "upgrade").body(whole("")).expect("well-formed");
    }
    Response::new(whole(format!("hello {}", request.uri().path())))
}

fn serve_hello() -> common::Served {
    let observer = Arc::new(NoObserver);
    serve_with(Limits::default(), observer, |server| server.http(Arc::new(hello)))
}

fn talk(mut stream: impl Read + Write, say: &str) -> String {
    stream.write_all(say.as_bytes()).expect("it holds");
    let mut heard = String::new();
    let _ = stream.read_to_string(&mut heard);
    heard
}

#[test]
fn both_protocols_are_served_on_one_port() {
    let served = serve_hello();
    let stream = std::net::TcpStream::connect(served.address).expect("it listens");
    let heard = talk(stream, "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(heard.ends_with("hello /health"), "{heard}");
    let answer = run(call(served.address, "/test.Echo/Once", b"x"));
    assert_eq!(answer.outcome(), ("0", ""));
}

#[test]
fn a_request_that_begins_like_the_preface_is_still_http_1() {
    let served = serve_hello();
    let mut stream = std::net::TcpStream::connect(served.address).expect("it listens");
    stream.write_all(b"P").expect("it holds");
    std::thread::sleep(Duration::from_millis(20));
    let heard = talk(stream, "OST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(heard.ends_with("hello /x"), "{heard}");
}

#[test]
fn a_connection_may_be_upgraded() {
    let served = serve_hello();
    let stream = std::net::TcpStream::connect(served.address).expect("it listens");
    let say = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: mirror\r\n\r\nabcd";
    let heard = talk(stream, say);
    assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
    assert!(heard.ends_with("dcba"), "{heard}");
}

#[test]
fn without_a_handler_http_1_is_hung_up_on() {
    let served = serve(Limits::default());
    let stream = std::net::TcpStream::connect(served.address).expect("it listens");
    assert_eq!(talk(stream, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"), "");
}

fn serve_on(socket: Socket, protocols: Protocols) -> Running {
    let router = Arc::new(common::router(&Arc::default()));
    let server = Server::new(router, Limits::default(), Arc::new(NoObserver))
        .workers(1)
        .http(Arc::new(hello));
    server.serve(vec![Listener::new(socket, protocols)]).expect("threads")
}

#[test]
fn a_listener_may_be_for_one_protocol_only() {
    let tcp = || {
        let any = "127.0.0.1:0".parse().expect("an address");
        let socket = Socket::tcp(any, SocketOptions { reuse_port: true }).expect("a free port");
        (socket.address().expect("TCP"), socket)
    };
    let (address, socket) = tcp();
    let _running = serve_on(socket, Protocols::Http);
    let stream = std::net::TcpStream::connect(address).expect("it listens");
    let heard = talk(stream, "GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(heard.ends_with("hello /a"));

    let (address, socket) = tcp();
    let _running = serve_on(socket, Protocols::Grpc);
    assert_eq!(run(call(address, "/test.Echo/Once", b"x")).outcome(), ("0", ""));
    let stream = std::net::TcpStream::connect(address).expect("it listens");
    let heard = talk(stream, "GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(!heard.contains("hello"), "{heard}");
}

#[test]
fn a_unix_socket_is_served_and_cleaned_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("left behind by somebody"));
    let running = serve_on(Socket::unix(&path).expect("bound"), Protocols::Both);
    let stream = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    let heard = talk(stream, "GET /u HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(heard.ends_with("hello /u"), "{heard}");
    running.stop(Duration::from_secs(5)).expect("all threads end well");
    assert!(!path.exists());
}

/// Encrypts nothing, and lets in whoever does not come from where it may not.
struct Seal {
    admits: bool,
}

impl Tls for Seal {
    fn accept(
        &self,
        stream: Box<dyn Stream>,
        _from: &RemoteAddress,
        _protocols: Protocols,
    ) -> LocalFuture<std::io::Result<Handshake>> {
        let identity = Identity { common_name: Some("friend".into()), ..Default::default() };
        let handshake = match self.admits {
            true => Ok(Handshake { stream, identity: Some(identity) }),
            false => Err(std::io::Error::other("bad certificate")),
        };
        Box::pin(std::future::ready(handshake))
    }
}

fn serve_sealed(admits: bool, observer: Arc<dyn Observer>) -> (std::net::SocketAddr, Running) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let socket = Socket::tcp(any, SocketOptions::default()).expect("a free port");
    let address = socket.address().expect("TCP");
    let router = Arc::new(common::router(&Arc::default()));
    let server = Server::new(router, Limits::default(), observer).workers(1);
    let listener = Listener::new(socket, Protocols::Both).tls(Arc::new(Seal { admits }));
    let who = |request: Request<HttpBody>, remote: Arc<Remote>| async move {
        let name = remote.identity().and_then(|identity| identity.common_name.clone());
        let body = request.into_body().collect().await.expect("it comes whole").to_bytes();
        let host = format!("{} says {}", name.unwrap_or_default(), body.len());
        Response::builder()
            .status(202)
            .header("connection", "close")
            .body(whole(host))
            .expect("one")
    };
    (address, server.http(Arc::new(who)).serve(vec![listener]).expect("threads"))
}

/// Guarantee (as etcd's port): behind TLS, HTTP/2 carries health, metrics and JSON beside gRPC.
#[test]
fn encrypted_http_2_carries_what_is_no_grpc_too() {
    let (address, _running) = serve_sealed(true, Arc::new(NoObserver));
    run(async {
        let mut client = common::connect(address).await;
        let get = Request::get("https://host/health?a=b").body(()).expect("well-formed");
        let answer = common::exchange(&mut client, get, &[]).await.expect("it holds");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (202, &b"friend says 0"[..]));
        assert_eq!(answer.headers["content-length"], "13");
        assert!(answer.headers.contains_key("date"));
        assert!(!answer.headers.contains_key("connection"));
        let post = Request::post("https://host/x").body(()).expect("well-formed");
        let answer = common::exchange(&mut client, post, &[b"abc", b"de"]).await.expect("it holds");
        assert_eq!(&answer.body[..], b"friend says 5");
        let head = Request::head("https://host/x").body(()).expect("well-formed");
        let answer = common::exchange(&mut client, head, &[]).await.expect("it holds");
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
        let answer = common::once(client, "/test.Echo/Once", b"x").await.expect("it holds");
        assert_eq!(answer.outcome(), ("0", ""));
    });
}

#[test]
fn in_the_clear_http_2_is_for_grpc_alone() {
    let served = serve_hello();
    run(async {
        let mut client = common::connect(served.address).await;
        let get = Request::get("http://host/health").body(()).expect("well-formed");
        let answer = common::exchange(&mut client, get, &[]).await.expect("it holds");
        assert_eq!(answer.status, 415);
    });
}

#[test]
fn an_observer_is_told_whose_handshake_failed_and_why() {
    let log = Arc::new(Log::default());
    let (address, _running) = serve_sealed(false, log.clone());
    let stream = std::net::TcpStream::connect(address).expect("it listens");
    assert_eq!(talk(stream, ""), "");
    run(until("it is told", || log.lines() == ["rejected: bad certificate"]));
}

/// What happened, in order.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Observer for Log {
    fn started(&self, method: &Method) {
        self.add(format!("{} started", method.name));
    }

    fn received(&self, method: &Method, bytes: usize) {
        self.add(format!("{} received {bytes}", method.name));
    }

    fn sent(&self, method: &Method, bytes: usize) {
        self.add(format!("{} sent {bytes}", method.name));
    }

    fn handled(&self, method: &Method, code: Code, _took: Duration) {
        self.add(format!("{} handled {}", method.name, code.name()));
    }
}

impl net::Observer for Log {
    fn connected(&self, _remote: &Remote) {
        self.add("connected".into());
    }

    fn rejected(&self, _from: &RemoteAddress, why: &std::io::Error) {
        self.add(format!("rejected: {why}"));
    }

    fn disconnected(&self, _remote: &Remote) {
        self.add("disconnected".into());
    }
}

#[test]
fn an_observer_sees_every_call() {
    let log = Arc::new(Log::default());
    let served = serve_with(Limits::default(), log.clone(), |server| server);
    run(call(served.address, "/test.Echo/Once", b"abc"));
    run(until("it is gone", || log.lines().last().is_some_and(|l| l == "disconnected")));
    let once = ["Once started", "Once received 3", "Once sent 3", "Once handled OK"];
    assert_eq!(log.lines(), [&["connected"][..], &once, &["disconnected"]].concat());

    log.0.lock().expect("no panic").clear();
    run(call(served.address, "/test.Echo/Refuse", b""));
    run(call(served.address, "/test.Echo/Flood", &[2]));
    let lines = log.lines();
    assert!(lines.contains(&"Refuse handled NotFound".to_owned()), "{lines:?}");
    assert!(lines.contains(&"Flood received 1".to_owned()), "{lines:?}");
    assert_eq!(lines.iter().filter(|l| *l == "Flood sent 10000").count(), 2, "{lines:?}");
}

#[test]
fn a_canceled_call_is_observed_as_canceled() {
    let log = Arc::new(Log::default());
    let served = serve_with(Limits::default(), log.clone(), |server| server);
    run(async {
        let client = common::connect(served.address).await;
        let call = common::once(client, "/test.Echo/Stuck", b"");
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
        let canceled = "Stuck handled Canceled".to_owned();
        until("it is canceled", || log.lines().contains(&canceled)).await;
    });
}

/// A caller whose server never listens.
fn caller() -> (Server, Caller) {
    let router = Arc::new(common::router(&Arc::default()));
    let server = Server::new(router, Limits::default(), Arc::new(NoObserver));
    let caller = server.caller();
    (server, caller)
}

fn local(caller: &Caller, path: &str) -> Call {
    let method = *caller.method(path).expect("registered");
    let remote = Arc::new(Remote::plain(RemoteAddress::Unix));
    Call::local(method, Metadata::default(), remote, None)
}

/// Requests that are there from the beginning.
struct Given(Vec<Bytes>);

impl Source for Given {
    fn poll_next(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Option<Bytes>, Refusal>> {
        std::task::Poll::Ready(Ok((!self.0.is_empty()).then(|| self.0.remove(0))))
    }
}

#[test]
fn calls_from_inside_reach_the_same_handlers() {
    run(async {
        let (_server, caller) = caller();
        let answer = caller.unary(local(&caller, "/test.Echo/Once"), "x".into()).await;
        assert_eq!(answer, Ok("x".into()));
        let refused = caller.unary(local(&caller, "/test.Echo/Refuse"), "x".into()).await;
        assert_eq!(refused.map_err(|refusal| refusal.code()), Err(Code::NotFound));

        let given = Given(vec!["one".into(), "two".into()]);
        let mut answers = caller.stream(local(&caller, "/test.Echo/Stream"), Box::new(given));
        for expected in [Some("one"), Some("two"), None, None] {
            assert_eq!(answers.next().await, Ok(expected.map(Bytes::from)));
        }
    });
}

#[test]
fn a_stream_from_inside_waits_for_its_reader() {
    run(async {
        let (_server, caller) = caller();
        let given = Given(vec![Bytes::from_static(&[3])]);
        let mut answers = caller.stream(local(&caller, "/test.Echo/Flood"), Box::new(given));
        for _ in 0..3 {
            let answer = answers.next().await.expect("it holds").expect("more");
            assert_eq!(answer.len(), 10_000);
        }
        assert_eq!(answers.next().await, Ok(None));
    });
}

#[test]
fn a_call_from_inside_keeps_its_deadline() {
    run(async {
        let (_server, caller) = caller();
        let mut call = local(&caller, "/test.Echo/Stuck");
        call = Call::local(
            *call.method(),
            Metadata::default(),
            call.remote().clone(),
            Some(std::time::Instant::now() + Duration::from_millis(20)),
        );
        let refused = caller.unary(call, framed(b"").into()).await;
        assert_eq!(refused.map_err(|refusal| refusal.code()), Err(Code::DeadlineExceeded));
    });
}

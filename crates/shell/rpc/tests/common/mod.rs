//! A served echo and a client that can misbehave.

#![allow(dead_code, reason = "every test file uses another part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use holdfast_rpc::{
    Call, Gone, Inbound, Limits, NoObserver, Observer, Reply, Router, Server, Sink,
};
use http::{HeaderMap, Request, StatusCode};
use net::{Listener, Protocols, Running, Socket, SocketOptions};
use tokio::net::TcpStream;
use types::{Code, Refusal};

/// Bytes that are their own encoding.
pub struct Raw(pub Bytes);

impl Reply for Raw {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.0);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

impl prost::Name for Text {
    const NAME: &'static str = "Text";
    const PACKAGE: &'static str = "test";
}

/// What the handlers count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handlers of `Stuck` that began and were not dropped.
    pub stuck: AtomicUsize,
    /// Handlers of `Big` that began.
    pub big: AtomicUsize,
    /// Bytes that `Flood` could send.
    pub flooded: AtomicUsize,
}

pub const MIB: usize = 1024 * 1024;

struct Stuck(Arc<Counts>);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.stuck.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn router(counts: &Arc<Counts>) -> Router {
    let mut router = Router::new();
    router.unary("/test.Echo/Once", |_call: Call, message| async move { Ok(Raw(message)) });
    router.unary_of("/test.Echo/Text", |_call: Call, text: Text| async move { Ok(text) });
    router.unary("/test.Echo/Refuse", |_call: Call, _message| async {
        Err::<Raw, _>(Refusal::Other(Code::NotFound, "100% \u{e9}".into()))
    });
    let stuck = counts.clone();
    router.unary("/test.Echo/Stuck", move |_call: Call, _message| {
        stuck.stuck.fetch_add(1, Ordering::SeqCst);
        let stuck = Stuck(stuck.clone());
        async move {
            let _stuck = stuck;
            std::future::pending::<Result<Raw, Refusal>>().await
        }
    });
    router.unary("/test.Echo/Slow", |_call: Call, message| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(Raw(message))
    });
    let big = counts.clone();
    router.unary("/test.Echo/Big", move |_call: Call, _message| {
        big.big.fetch_add(1, Ordering::SeqCst);
        async { Ok(Raw(vec![7; MIB].into())) }
    });
    let flooded = counts.clone();
    router.server_stream("/test.Echo/Flood", move |_call: Call, message: Bytes, mut sink: Sink| {
        let flooded = flooded.clone();
        async move {
            let answer = Raw(vec![7; 10_000].into());
            let times = message.first().copied().map_or(usize::MAX, usize::from);
            for _ in 0..times {
                sink.send(&answer).await?;
                flooded.flooded.fetch_add(10_000, Ordering::SeqCst);
            }
            Ok(())
        }
    });
    // Takes nothing of what it is sent.
    router.bidi("/test.Echo/Deaf", |_call: Call, inbound: Inbound, _sink: Sink| async move {
        let _inbound = inbound;
        std::future::pending::<Result<(), Refusal>>().await
    });
    router.bidi(
        "/test.Echo/Stream",
        |_call: Call, mut inbound: Inbound, mut sink: Sink| async move {
            while let Some(message) = inbound.next().await? {
                sink.send(&Raw(message)).await?;
            }
            Ok(())
        },
    );
    // Its sink is used by another task than the one that serves the call.
    router.bidi("/test.Echo/Elsewhere", |_call: Call, mut inbound, mut sink: Sink| async move {
        let sender = tokio::task::spawn_local(async move {
            for _ in 0..100 {
                sink.send(&Raw(vec![7; 10_000].into())).await?;
            }
            Ok::<_, Gone>(())
        });
        while inbound.next().await?.is_some() {}
        sender.await.expect("it does not panic").map_err(Refusal::from)
    });
    router
}

/// A server of [`router`] on a port of its own.
pub struct Served {
    pub address: SocketAddr,
    pub counts: Arc<Counts>,
    pub running: Option<Running>,
}

pub fn serve(limits: Limits) -> Served {
    serve_with(limits, Arc::new(NoObserver), |server| server)
}

pub fn serve_with(
    limits: Limits,
    observer: Arc<dyn Observer>,
    build: impl FnOnce(Server) -> Server,
) -> Served {
    let counts = Arc::new(Counts::default());
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let socket = Socket::tcp(loopback, SocketOptions::default()).expect("a free port");
    let address = socket.address().expect("TCP has addresses");
    let server = build(Server::new(Arc::new(router(&counts)), limits, observer).workers(2));
    let listener = Listener::new(socket, Protocols::Both);
    let running = Some(server.serve(vec![listener]).expect("threads"));
    Served { address, counts, running }
}

/// Runs a test on a runtime of its own, and no longer than any test should.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default()).expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await })
        .expect("no test takes this long")
}

/// Waits until something holds, however busy the machine is.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain until {what}");
}

/// A whole answer.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answered {
    /// `grpc-status` and `grpc-message`, which must both be there, in the trailers or alone.
    #[track_caller]
    pub fn outcome(&self) -> (&str, &str) {
        let from = if self.trailers.is_empty() { &self.headers } else { &self.trailers };
        let text = |name| from.get(name).expect("always sent").to_str().expect("text");
        (text("grpc-status"), text("grpc-message"))
    }
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out
}

pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    connect_with(address, &mut h2::client::Builder::new()).await
}

pub async fn connect_with(
    address: SocketAddr,
    builder: &mut h2::client::Builder,
) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (client, connection) = builder.handshake(stream).await.expect("it speaks HTTP/2");
    tokio::task::spawn_local(connection);
    client
}

pub fn request(path: &str) -> Request<()> {
    let uri = format!("http://test{path}");
    let request = Request::post(uri).header("content-type", "application/grpc");
    request.header("te", "trailers").body(()).expect("well-formed")
}

/// Sends a request with its body in these pieces and reads the whole answer.
pub async fn exchange(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
    pieces: &[&[u8]],
) -> Result<Answered, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut body) = client.send_request(request, pieces.is_empty())?;
    for (number, piece) in pieces.iter().enumerate() {
        let last = number + 1 == pieces.len();
        // The server may have answered and ended the stream already.
        let _ = body.send_data(Bytes::copy_from_slice(piece), last);
    }
    read_answer(response).await
}

pub async fn read_answer(response: h2::client::ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        whole.put(chunk);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Answered { status: head.status, headers: head.headers, body: whole.freeze(), trailers })
}

/// Calls a method with one message.
pub async fn once(
    mut client: SendRequest<Bytes>,
    path: &str,
    message: &[u8],
) -> Result<Answered, h2::Error> {
    exchange(&mut client, request(path), &[&framed(message)]).await
}

/// Calls a method with one message, on a connection of its own.
pub async fn call(address: SocketAddr, path: &str, message: &[u8]) -> Answered {
    once(connect(address).await, path, message).await.expect("the connection holds")
}

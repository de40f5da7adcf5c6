//! A server on a socket: HTTP/2 frames with gRPC in them, and JSON over HTTP/1.1. Whatever a client sends, no
//! thread of the server panics, and the next client is served.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::rpc::{Call, Inbound, Limits, NoObserver, Router, Server, Sink};
use gateway::{Gateway, PATHS};
use net::{HttpBody, Listener, Protocols, Running, Socket, SocketOptions};
use proto::etcdserverpb as pb;

struct Served {
    address: SocketAddr,
    panics: Arc<AtomicU64>,
    _running: Running,
}

/// One server for all inputs.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let panics = Arc::new(AtomicU64::new(0));
        let (count, before) = (panics.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("rpc")) {
                count.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let socket = Socket::tcp(loopback, SocketOptions::default()).expect("a free port");
        let address = socket.address().expect("TCP has addresses");
        let limits = Limits::for_member(&types::Limits::default());
        let server = Server::new(Arc::new(router()), limits, Arc::new(NoObserver)).workers(1);
        let gateway = Gateway::new(server.caller(), 1 << 20);
        let handler = move |request: http::Request<HttpBody>, peer| {
            let gateway = gateway.clone();
            async move { gateway.handle(request, peer).await }
        };
        let server = server.http(Arc::new(handler));
        let listener = Listener::new(socket, Protocols::Both);
        let running = server.serve(vec![listener]).expect("threads");
        Served { address, panics, _running: running }
    })
}

fn router() -> Router {
    let mut router = Router::new();
    router.unary_of("/etcdserverpb.KV/Range", |_: Call, asked: pb::RangeRequest| async move {
        let _ = (apply::check::range(&asked), apply::wire::range_query(&asked));
        Ok(pb::RangeResponse { count: asked.limit, ..Default::default() })
    });
    router.unary_of("/etcdserverpb.KV/Put", |_: Call, asked: pb::PutRequest| async move {
        apply::check::put(&asked)?;
        Ok(pb::PutResponse::default())
    });
    router.unary_of("/etcdserverpb.KV/Txn", |_: Call, asked: pb::TxnRequest| async move {
        apply::check::txn(&asked, 128)?;
        Ok(pb::TxnResponse { succeeded: true, ..Default::default() })
    });
    router.bidi(
        "/etcdserverpb.Watch/Watch",
        |_: Call, mut inbound: Inbound, mut sink: Sink| async move {
            while inbound.next_of::<pb::WatchRequest>().await?.is_some() {
                sink.send(&pb::WatchResponse { created: true, ..Default::default() }).await?;
            }
            Ok(())
        },
    );
    router
}

/// Sends bytes, says that no more will come, and reads until the server has had enough.
fn converse(bytes: &[u8]) -> Vec<u8> {
    let served = served();
    let mut stream = TcpStream::connect(served.address).expect("the server takes connections");
    // A refused write is an answer too.
    let _ = stream.set_nodelay(true);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
    let mut answer = Vec::new();
    let _ = (&mut stream).take(1 << 20).read_to_end(&mut answer);
    assert_eq!(served.panics.load(Ordering::SeqCst), 0, "a thread of the server panicked");
    answer
}

/// Frames of HTTP/2. The first byte says whether the preface is put in front.
pub(crate) fn rpc(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let mut bytes = Vec::new();
    if mode & 1 == 1 {
        bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    }
    bytes.extend_from_slice(data);
    converse(&bytes);
}

/// A path of the gateway, chosen by the first byte, and JSON for it.
pub(crate) fn json(data: &[u8]) {
    let Some((place, body)) = data.split_first() else { return };
    let (path, _) = PATHS[usize::from(*place) % PATHS.len()];
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = converse(&[head.as_bytes(), body].concat());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "an answer to HTTP");
}

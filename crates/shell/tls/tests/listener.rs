//! A listener of `net` behind our handshakes, over real sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_tls::{Acceptor, Client, ClientFiles, Server, ServerFiles, Watch, self_signed};
use http::{Request, Response};
use net::{HttpBody, Limits, Listener, Observer, Protocols, Remote, RemoteAddress, Socket, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Nobody;

impl Watch for Nobody {
    fn reloaded(&self, _: &[PathBuf]) {}
    fn kept(&self, _: &[PathBuf], _: &str) {}
}

#[derive(Default)]
struct Refusals(Mutex<Vec<String>>);

impl Observer for Refusals {
    fn rejected(&self, _: &RemoteAddress, why: &std::io::Error) {
        self.0.lock().expect("no panic").push(why.to_string());
    }
}

/// Says which thread serves whom.
async fn who(_: Request<HttpBody>, remote: Arc<Remote>) -> Response<HttpBody> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    Response::new(whole(format!("{name} {}", remote.is_encrypted())))
}

struct Served {
    running: Option<net::Running>,
    address: SocketAddr,
    client: Client,
    refusals: Arc<Refusals>,
    _folder: tempfile::TempDir,
}

fn serve() -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = ["127.0.0.1".to_owned()];
    let (pair, _) = self_signed(folder.path(), &hosts, 1).expect("made");
    let trusted_ca = folder.path().join("ca.pem");
    fs::copy(&pair.cert, &trusted_ca).expect("copied");
    let files = ServerFiles { pair, protocols: vec!["http/1.1"], ..ServerFiles::default() };
    let server = Server::new(files, Arc::new(Nobody)).expect("a server");
    let files = ClientFiles { trusted_ca, ..ClientFiles::default() };
    let client = Client::new(files, Arc::new(Nobody)).expect("a client");
    let socket = Socket::tcp((Ipv4Addr::LOCALHOST, 0).into(), Default::default()).expect("bound");
    let address = socket.address().expect("TCP");
    let listener = Listener::new(socket, Protocols::Http).tls(Arc::new(Acceptor::new(server)));
    let refusals = Arc::new(Refusals::default());
    let running = net::Server::new(Limits::default())
        .workers(1)
        .http(Arc::new(who))
        .observer(refusals.clone())
        .serve(vec![listener])
        .expect("threads");
    Served { running: Some(running), address, client, refusals, _folder: folder }
}

impl Served {
    async fn get(&self) -> String {
        let tcp = TcpStream::connect(self.address).await.expect("connected");
        let mut stream = self.client.connect(tcp, "127.0.0.1").await.expect("encrypted");
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let stopped = self.running.take().map(|running| running.stop(Duration::from_secs(5)));
        assert!(matches!(stopped, Some(Ok(()))), "{stopped:?}");
    }
}

#[tokio::test]
async fn a_connection_is_served_by_a_worker_after_another_thread_shook_hands() {
    let served = serve();
    for _ in 0..3 {
        assert_eq!(served.get().await, "net-0 true");
    }
}

#[tokio::test]
async fn clients_that_say_nothing_stop_nobody_and_who_speaks_plainly_is_told_of() {
    let served = serve();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(served.address).await.expect("connected"));
    }
    assert_eq!(served.get().await, "net-0 true");

    let mut plain = TcpStream::connect(served.address).await.expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    // The observer is told after the connection was closed.
    for _ in 0..500 {
        if !served.refusals.0.lock().expect("no panic").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refusals = served.refusals.0.lock().expect("no panic").clone();
    assert_eq!(refusals, ["tls: first record does not look like a TLS handshake"]);
}

//! `etcd grpc-proxy`: ours before our server, and the newest etcd's before its own. The same requests must bring
//! the same answers; what is shared must be shared, and nobody may see by it what the server would not show.

mod alike;
mod shared;
mod users;
mod watches;

use std::path::{Path, PathBuf};

use holdfast_robust::beside::{Beside, wait_until};
use holdfast_robust::foreign::{Part, need, subject};
use holdfast_robust::grpc::{Answer, Call, Connection, Item, PATIENCE, Stream};
use holdfast_robust::http;
use holdfast_robust::process::{Home, Server, free_ports};
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;

/// Our program and the newest etcd; `None` when a part is missing.
fn both(name: &str) -> Option<[PathBuf; 2]> {
    Some([subject(name)?, need(name, Part::EtcdNew)?])
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A proxy that serves.
struct Proxy {
    process: Beside,
    address: String,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// Before the servers at these endpoints.
    #[track_caller]
    fn start(program: &Path, endpoints: &str, flags: &str) -> Proxy {
        let folder = tempfile::Builder::new().prefix("proxy-").tempdir().expect("a folder");
        let address = format!("127.0.0.1:{}", free_ports().expect("a free port").0);
        let line = format!(
            "grpc-proxy start --listen-addr={address} --endpoints={endpoints} \
             --advertise-client-url={address} {flags}"
        );
        let process = Beside::start(program, folder.path(), "proxy", &words(&line));
        process.wait_for("\"msg\":\"started gRPC proxy\"", 1);
        Proxy { process, address, folder }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address).expect("it listens")
    }
}

/// A server and a proxy before it.
fn pair(program: &Path, flags: &str) -> (Server, Proxy) {
    let server = Home::new(program, &[]).start();
    let proxy = Proxy::start(program, &server.address(), flags);
    (server, proxy)
}

fn put(connection: &Connection, key: &str, value: &str) -> i64 {
    let put = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    let answer = connection.unary("/etcdserverpb.KV/Put", &put);
    let answer: pb::PutResponse = answer.ok();
    answer.header.expect("a header").revision
}

fn range(key: &str, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), serializable, ..Default::default() }
}

fn get(connection: &Connection, request: &pb::RangeRequest) -> Option<String> {
    let answer = connection.unary("/etcdserverpb.KV/Range", request);
    let answer: pb::RangeResponse = answer.ok();
    answer.kvs.first().map(|row| String::from_utf8_lossy(&row.value).into_owned())
}

/// A unary call in the name of a token.
fn call(connection: &Connection, path: &str, message: &impl Message, token: &str) -> Answer {
    let call = Call::unary(path, &message.encode_to_vec());
    connection.call(&if token.is_empty() { call } else { call.with_header("token", token) })
}

fn create(key: &str, end: &str, from: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        start_revision: from,
        ..Default::default()
    }
}

fn asked(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// A stream with one watch, which was made.
#[track_caller]
fn watching(connection: &Connection, request: pb::WatchCreateRequest) -> Stream {
    let mut stream = connection.stream("/etcdserverpb.Watch/Watch");
    stream.send(&asked(request));
    let made: pb::WatchResponse = stream.expect();
    assert!(made.created && !made.canceled, "{made:?}");
    stream
}

/// What the next events say: key and value of each, until there are so many.
#[track_caller]
fn events(stream: &mut Stream, count: usize) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let Item::Message(message) = stream.next(PATIENCE) else {
            panic!("{} of {count} events came", seen.len());
        };
        let said = pb::WatchResponse::decode(message).expect("well formed");
        assert!(!said.canceled, "{said:?}");
        for event in said.events {
            let row = event.kv.expect("a row");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            seen.push((text(&row.key), text(&row.value)));
        }
    }
    seen
}

/// One figure of a page of metrics.
fn figure(address: &str, path: &str, name: &str) -> Option<f64> {
    let page = http::get(address, path).ok()?.text();
    let line = page.lines().find(|line| line.split(' ').next() == Some(name))?.to_owned();
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a figure is so.
#[track_caller]
fn wait_for_figure(address: &str, path: &str, name: &str, wanted: f64) {
    wait_until(&format!("{name} is {wanted}"), || figure(address, path, name) == Some(wanted));
}

const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";

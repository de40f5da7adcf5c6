//! Rates: put, get, txn, each one request again and again, by `h2load`.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

use crate::client::{Client, frame, run};
use crate::h2load::{self, Load, Outcome};
use crate::results::{Results, percentile};
use crate::subject::Server;

const KEY: &[u8] = b"/registry/pods/default/bench-0001";

/// Where a request goes, and the request.
pub struct Request {
    /// The method.
    pub path: &'static str,
    /// The message with its five bytes in front.
    pub framed: Bytes,
    /// Whether each of them moves the revision by one.
    pub writes: bool,
}

/// A put of 256 bytes.
pub fn put() -> Request {
    let put = pb::PutRequest {
        key: Bytes::from_static(KEY),
        value: Bytes::from(vec![b'v'; 256]),
        ..Default::default()
    };
    Request { path: "/etcdserverpb.KV/Put", framed: frame(&put), writes: true }
}

/// A get of the key that was put.
pub fn get(serializable: bool) -> Request {
    let get = pb::RangeRequest { key: Bytes::from_static(KEY), serializable, ..Default::default() };
    Request { path: "/etcdserverpb.KV/Range", framed: frame(&get), writes: false }
}

/// If the key is there, put it: what a lock or a controller does.
pub fn txn() -> Request {
    let compare = pb::Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Version.into(),
        key: Bytes::from_static(KEY),
        target_union: Some(TargetUnion::Version(0)),
        ..Default::default()
    };
    let put = pb::PutRequest {
        key: Bytes::from_static(KEY),
        value: Bytes::from(vec![b'v'; 256]),
        ..Default::default()
    };
    let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    let txn = pb::TxnRequest { compare: vec![compare], success: vec![put], ..Default::default() };
    Request { path: "/etcdserverpb.KV/Txn", framed: frame(&txn), writes: true }
}

/// The store's revision.
pub fn revision(server: &Server) -> i64 {
    let read = get(false);
    let answer = run(async {
        let client = Client::enter(server.access()).await.expect("the server lets us in");
        client.call(read.path, read.framed).await.expect("a read is answered")
    });
    let answer = pb::RangeResponse::decode(answer).expect("a server sends well-formed messages");
    answer.header.map_or(0, |header| header.revision)
}

/// Loads the server and makes sure that every write it answered was done: HTTP says nothing of that.
pub fn load(server: &Server, request: &Request, load: Load, waits: bool) -> Outcome {
    load_one_of(&[server], request, load, waits)
}

/// As [`load`], the first of several that make one cluster.
pub fn load_one_of(servers: &[&Server], request: &Request, load: Load, waits: bool) -> Outcome {
    let server = servers.first().expect("somebody is loaded");
    let before = revision(server);
    let outcome = h2load::run(servers, request.path, &request.framed, load, waits);
    let done = revision(server) - before;
    let wanted = if request.writes { load.requests as i64 } else { 0 };
    assert_eq!(done, wanted, "{}: some requests were refused", request.path);
    outcome
}

/// How many in flight, on how many connections.
pub fn shape(in_flight: usize) -> (usize, usize) {
    match in_flight {
        1000 => (100, 10),
        other => (other, 1),
    }
}

/// Rate and CPU of one request, with so many in flight.
pub fn measure(
    server: &Server,
    results: &mut Results,
    measure: &str,
    request: &Request,
    in_flight: usize,
    requests: usize,
) {
    let (connections, streams) = shape(in_flight);
    let outcome = load(server, request, Load { connections, streams, requests }, false);
    let subject = server.name();
    results.add(&format!("{measure} rate"), subject, outcome.rate);
    results.add(&format!("{measure} cpu"), subject, outcome.server_micros);
    results.add(&format!("{measure} generator"), subject, outcome.generator_micros);
}

/// The rows of rates. `scale` is 1 for a full run.
pub fn all(server: &Server, results: &mut Results, scale: f64) {
    let so_many = |requests: f64| (requests * scale) as usize;
    warm_up(server);
    measure(server, results, "put 1000", &put(), 1000, so_many(100_000.0));
    measure(server, results, "put 100", &put(), 100, so_many(60_000.0));
    measure(server, results, "put 1", &put(), 1, so_many(5_000.0));
    measure(server, results, "get 1000", &get(false), 1000, so_many(120_000.0));
    measure(server, results, "serializable 1000", &get(true), 1000, so_many(120_000.0));
    measure(server, results, "txn 1000", &txn(), 1000, so_many(80_000.0));
}

/// The first connections and the first growth of buffers are nobody's steady state.
pub fn warm_up(server: &Server) {
    load(server, &put(), Load { connections: 100, streams: 10, requests: 10_000 }, false);
    load(server, &get(false), Load { connections: 100, streams: 10, requests: 10_000 }, false);
}

/// Puts while every sync takes longer.
pub fn with_slow_syncs(server: &Server, results: &mut Results, millis: u64, scale: f64) {
    let cost = 1.0 + millis as f64;
    let so_many = |requests: f64| ((requests * scale) as usize).max(100);
    load(server, &put(), Load { connections: 100, streams: 10, requests: 5_000 }, false);
    let name = |in_flight: usize| format!("put {in_flight}, sync +{millis} ms");
    measure(server, results, &name(1000), &put(), 1000, so_many(60_000.0));
    measure(server, results, &name(100), &put(), 100, so_many(60_000.0 / cost));
    let (alone, before) = (so_many(1_200.0 / cost), server.syncs());
    measure(server, results, &name(1), &put(), 1, alone);
    // Whoever puts one at a time is a group of one each time: its acknowledgement came after a sync of its
    // own, or the count says otherwise. A call is counted when it begins.
    let each = (server.syncs() - before) as f64 / alone as f64;
    assert!(1.0 <= each, "{}: {each} syncs for each put that was acknowledged", server.name());
    results.add(&format!("{} syncs a put", name(1)), server.name(), each);
}

/// In flight on the way along the curve.
pub const CURVE: [usize; 7] = [1, 3, 10, 30, 100, 300, 1000];
/// Percentiles of waits that are kept.
pub const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Throughput against clients, and how long they wait.
pub fn curve(server: &Server, results: &mut Results, scale: f64) {
    warm_up(server);
    for (name, request) in [("put", put()), ("get", get(false))] {
        for in_flight in CURVE {
            let requests = (scale * (1_000.0 + 300.0 * in_flight.min(150) as f64)) as usize;
            let (connections, streams) = shape(in_flight);
            let outcome = load(server, &request, Load { connections, streams, requests }, true);
            let measure = format!("curve {name} {in_flight}");
            let subject = server.name();
            results.add(&format!("{measure} rate"), subject, outcome.rate);
            for (label, share) in PERCENTILES {
                let wait = percentile(&outcome.waits, share);
                results.add(&format!("{measure} {label}"), subject, wait);
            }
        }
    }
}

//! Traces: calls make the spans that real etcd makes of them, and none where nobody asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use holdfast_robust::collector::{Collected, Collector, KeyValue, Span, Value};
use holdfast_robust::foreign::{self, Part};
use holdfast_robust::grpc::{Call, Connection, Item};
use holdfast_robust::http;
use holdfast_robust::process::Home;
use prost::Message;
use proto::etcdserverpb as pb;

/// A call with its place in a trace of its own.
fn traced(number: usize, method: &str, message: &impl Message) -> Call {
    Call::unary(&format!("/etcdserverpb.{method}"), &message.encode_to_vec())
        .with_header("traceparent", &traceparent(number, "01"))
}

fn traceparent(number: usize, flags: &str) -> String {
    format!("00-{number:032x}-00f067aa0ba902b7-{flags}")
}

/// A word for each trace, in the order of their numbers, which begin at 1.
fn calls() -> Vec<Call> {
    let key = |key: &str| key.to_owned().into();
    let put = |name: &str| pb::PutRequest { key: key(name), value: key("v"), ..Default::default() };
    let range = pb::RangeRequest {
        key: key("a"),
        range_end: key("c"),
        limit: 3,
        keys_only: true,
        ..Default::default()
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let puts = op(pb::request_op::Request::RequestPut(put("t")));
    let reads = op(pb::request_op::Request::RequestRange(range.clone()));
    let compare = pb::Compare { key: key("a"), ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![puts, reads.clone()],
        failure: vec![],
    };
    let reading = pb::TxnRequest { success: vec![reads], ..Default::default() };
    let unknown_lease = pb::PutRequest { lease: 99, ..put("a") };
    let future = pb::RangeRequest { revision: 1_000_000, ..range.clone() };
    let delete = pb::DeleteRangeRequest { key: key("a"), ..Default::default() };
    let compact = pb::CompactionRequest { revision: 2, physical: true };
    let grant = |id| pb::LeaseGrantRequest { id, ttl: 1000 };
    let mut number = 0;
    let mut next = |method: &str, message: Vec<u8>| {
        number += 1;
        Call::unary(&format!("/etcdserverpb.{method}"), &message)
            .with_header("traceparent", &traceparent(number, "01"))
    };
    vec![
        next("KV/Put", put("a").encode_to_vec()),
        next("KV/Range", range.encode_to_vec()),
        next("KV/RangeStream", range.encode_to_vec()),
        next("KV/Range", future.encode_to_vec()),
        next("KV/Put", put("").encode_to_vec()),
        next("KV/Put", unknown_lease.encode_to_vec()),
        next("KV/Txn", txn.encode_to_vec()),
        next("KV/Txn", reading.encode_to_vec()),
        next("KV/DeleteRange", delete.encode_to_vec()),
        next("KV/Compact", compact.encode_to_vec()),
        next("Lease/LeaseGrant", grant(0).encode_to_vec()),
        next("Lease/LeaseGrant", grant(7).encode_to_vec()),
        next("Lease/LeaseGrant", grant(7).encode_to_vec()),
        next("Lease/LeaseRevoke", pb::LeaseRevokeRequest { id: 8 }.encode_to_vec()),
        next("Lease/LeaseTimeToLive", pb::LeaseTimeToLiveRequest::default().encode_to_vec()),
        next("Cluster/MemberList", pb::MemberListRequest::default().encode_to_vec()),
        next("Maintenance/Status", pb::StatusRequest::default().encode_to_vec()),
        next("Auth/UserList", pb::AuthUserListRequest {}.encode_to_vec()),
        next("KV/Put", b"\x07nonsense".to_vec()),
        next("KV/Put", put("é").encode_to_vec()).with_header("tracestate", "a=1,b=2"),
    ]
}

/// Streams, each in a trace after those of the calls.
fn streams(connection: &Connection, first: usize) {
    let begin = |method: &str, number: usize| {
        let nothing = pb::StatusRequest::default();
        let call = Call { body: Default::default(), ..traced(number, method, &nothing) };
        connection.begin(&call).expect("a stream")
    };
    let mut keep_alive = begin("Lease/LeaseKeepAlive", first);
    for _ in 0..2 {
        keep_alive.send(&pb::LeaseKeepAliveRequest { id: 7 });
        let kept: pb::LeaseKeepAliveResponse = keep_alive.expect();
        assert_eq!(kept.id, 7);
    }
    keep_alive.close_send();
    assert!(matches!(keep_alive.next(Duration::from_secs(20)), Item::End(_)));

    let mut watch = begin("Watch/Watch", first + 1);
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: vec![0].into(),
        prev_kv: true,
        ..Default::default()
    };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    watch.send(&pb::WatchRequest { request_union: Some(union) });
    let created: pb::WatchResponse = watch.expect();
    let cancel = pb::WatchCancelRequest { watch_id: created.watch_id };
    let union = pb::watch_request::RequestUnion::CancelRequest(cancel);
    watch.send(&pb::WatchRequest { request_union: Some(union) });
    let canceled: pb::WatchResponse = watch.expect();
    assert!(created.created && canceled.canceled);
    // Only a client that goes ends it: the reset is sent with the next call.
    drop(watch);
}

fn flags(collector: &Collector) -> Vec<String> {
    vec![
        "--enable-distributed-tracing".to_owned(),
        format!("--distributed-tracing-address={}", collector.address),
        "--distributed-tracing-service-name=store".to_owned(),
        "--distributed-tracing-instance-id=m1".to_owned(),
    ]
}

/// The spans that a server makes of all calls, as text, by trace.
#[track_caller]
fn play(binary: &Path) -> BTreeMap<String, Vec<String>> {
    let collector = Collector::start();
    let flags = flags(&collector);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Home::new(binary, &flags).start();
    let connection = Connection::open(&server.home().address()).expect("it serves");
    let calls = calls();
    calls.iter().for_each(|call| drop(connection.call(call)));
    streams(&connection, calls.len() + 1);
    // Nobody asks for these, or not in a way that counts.
    let put = pb::PutRequest { key: "quiet".into(), ..Default::default() };
    for parent in [traceparent(500, "00"), "nonsense".to_owned(), String::new()] {
        let call = Call::unary("/etcdserverpb.KV/Put", &put.encode_to_vec());
        assert!(connection.call(&call.with_header("traceparent", &parent)).is_ok());
    }
    drop(connection);
    server.stop();
    let spans = collector.spans();
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for it in &spans {
        shown.entry(hex(&it.span.trace_id)).or_default().push(show(it, &spans));
    }
    shown.values_mut().for_each(|of_trace| of_trace.sort());
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything of a span but its ids and times.
fn show(it: &Collected, all: &[Collected]) -> String {
    let span = &it.span;
    assert!(span.start_unix_nanos <= span.end_unix_nanos && span.span_id.len() == 8);
    let parent = all.iter().find(|other| other.span.span_id == span.parent_span_id);
    let parent = parent.map_or_else(|| hex(&span.parent_span_id), |it| it.span.name.clone());
    let mut attributes: Vec<String> = span.attributes.iter().map(|it| one(span, it)).collect();
    attributes.sort();
    let mut of: Vec<String> = it.resource.attributes.iter().map(|it| one(span, it)).collect();
    of.sort();
    let (scope, status) = (&it.scope, span.status.clone().unwrap_or_default());
    // Go's protobuf writes one of two kinds of blanks, by the build.
    let message = status.message.replace('\u{a0}', " ");
    format!(
        "{} kind {} below {parent}, by {scope} of {of:?}, {attributes:?}, status {} {:?}, flags {:x}, state {:?}",
        span.name, span.kind, status.code, message, span.flags, span.trace_state
    )
}

/// Masked where two servers must differ: ports, and an id that the server chooses.
fn one(span: &Span, attribute: &KeyValue) -> String {
    let value = attribute.value.as_ref().and_then(|any| any.value.clone());
    match (attribute.key.as_str(), value) {
        ("server.port", Some(Value::Number(1..))) => "server.port=PORT".to_owned(),
        ("id", Some(Value::Number(id))) if span.name == "lease_grant" && 1000 < id => {
            "id=CHOSEN".to_owned()
        }
        (key, value) => format!("{key}={value:?}"),
    }
}

#[test]
fn calls_make_the_spans_that_real_etcd_makes_of_them() {
    let name = "traces";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = foreign::need(name, Part::EtcdNew) else { return };
    let (ours, theirs) = (play(&ours), play(&theirs));
    let spans: usize = theirs.values().map(Vec::len).sum();
    println!("{} traces, {spans} spans", theirs.len());
    assert_eq!(theirs.len(), calls().len() + 2, "of each call that is sampled");
    for (trace, expected) in &theirs {
        assert_eq!(ours.get(trace), Some(expected), "trace {trace}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn calls_that_nobody_follows_yet_are_sampled_by_the_rate_and_counted() {
    let name = "traces-rate";
    let Some(ours) = foreign::subject(name) else { return };
    let collector = Collector::start();
    let address = format!("--experimental-distributed-tracing-address={}", collector.address);
    let flags = ["--experimental-enable-distributed-tracing", &address];
    let rate = "--experimental-distributed-tracing-sampling-rate=1000000";
    let server = Home::new(&ours, &[&flags[..], &[rate]].concat()).start();
    let put = pb::PutRequest { key: "a".into(), value: "secret".into(), ..Default::default() };
    let connection = Connection::open(&server.home().address()).expect("it serves");
    for _ in 0..300 {
        assert!(connection.unary("/etcdserverpb.KV/Put", &put).is_ok());
    }
    // A whole batch goes at once, without the end of the member; the tests of a start are calls too.
    let spans = collector.wait_for(512, Duration::from_secs(60));
    assert!(512 <= spans.len(), "{}", spans.len());
    let puts: Vec<_> = spans.iter().filter(|it| it.span.name == "etcdserverpb.KV/Put").collect();
    assert!(puts.iter().all(|it| it.span.parent_span_id.is_empty()));
    assert!(!format!("{spans:?}").contains("secret"), "a value was told");
    // It counts what was taken once it is told so.
    crate::takeover::until("it is counted", || 512 <= exported(&server.home().address()));
    server.stop();
}

/// What a member says it has exported.
fn exported(address: &str) -> usize {
    let page = http::get(address, "/metrics").expect("it serves").text();
    let line = page.lines().find(|line| line.starts_with("holdfast_server_spans_exported_total "));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("it is a number")
}

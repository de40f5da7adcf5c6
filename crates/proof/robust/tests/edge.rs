//! Small requests that cost much: words that are quoted back, calls that wait, settings, requests in one
//! breath, connections that say nothing, snapshots nobody reads, messages that grow, lists of leases.
//!
//! The ceilings are those of `attack.rs`, and stand in THREAT_MODEL.md.

use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign;
use holdfast_robust::grpc::{Answer, Call, Item, Stream};
use holdfast_robust::process::{Home, Server};
use holdfast_robust::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, SETTINGS, frame, headers,
};
use prost::Message;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use proto::health::health_check_response::ServingStatus;
use proto::health::{HealthCheckRequest, HealthCheckResponse};

use crate::attack::{
    MEMORY_MIB_MAX, PUT, RANGE, TXN, WATCH, open_with_wide_windows, put, server_with_much, survive,
    survive_on,
};

const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

/// Requests of a byte or two whose refusal would quote 4 KiB, three bytes for one, and are not read.
#[test]
fn answers_that_repeat_the_question_are_bounded() {
    survive("attack-quotes", MEMORY_MIB_MAX, quotes);
}

pub(crate) fn quotes(server: &Server) -> Vec<Raw> {
    let usual = headers("/", &[]).len();
    let mut entry = headers("/", &[("content-type", &"\u{7f}".repeat(3900))]).split_off(usual);
    // Remembered in HPACK's table, then referred to by a byte.
    entry[0] = 0x40;
    let mut open = Vec::new();
    for _ in 0..10 {
        let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
        let first = [&[0x83, 0x86, 0x84, 0x41, 1, b'h'][..], &entry].concat();
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first));
        // `:authority` was remembered before it.
        let again = [0x83, 0x86, 0x84, 0xbf, 0xbe];
        let calls: Vec<u8> = (1..4600)
            .flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &again))
            .collect();
        raw.send(&calls);
        open.push(raw);
    }
    sleep(Duration::from_secs(2));
    open
}

/// Calls that wait because their client reads nothing, begun and taken back one by one.
#[test]
fn a_call_that_waits_is_gone_when_it_is_taken_back() {
    let Some((server, everything)) = server_with_much("attack-waiting") else { return };
    survive_on(server, "attack-waiting", MEMORY_MIB_MAX, waiting(&everything.encode_to_vec()));
}

pub(crate) fn waiting(message: &[u8]) -> impl Fn(&Server) -> Vec<Raw> {
    move |server| {
        let mut raw = Raw::open(&server.address(), &[]).expect("it listens");
        for stream in 0..4 {
            raw.call(2 * stream + 1, RANGE, message);
        }
        sleep(Duration::from_millis(500));
        let reset = 8u32.to_be_bytes();
        for stream in 4..50_000 {
            let begun = frame(HEADERS, END_HEADERS, 2 * stream + 1, &headers(RANGE, &[]));
            if !raw.send(&begun) || !raw.send(&frame(RST_STREAM, 0, 2 * stream + 1, &reset)) {
                break;
            }
        }
        vec![raw]
    }
}

/// Another window for all streams, again and again, while many are open.
#[test]
fn settings_cost_the_same_however_many_streams_are_open() {
    survive("attack-settings", MEMORY_MIB_MAX, settings);
}

pub(crate) fn settings(server: &Server) -> Vec<Raw> {
    // Two connections: one of them meets the bystander on its thread.
    let mut open: Vec<Raw> =
        (0..2).filter_map(|_| Raw::open(&server.address(), &[]).ok()).collect();
    for raw in &mut open {
        for stream in 0..10_000 {
            raw.send(&frame(HEADERS, END_HEADERS, 2 * stream + 1, &headers(WATCH, &[])));
        }
    }
    sleep(Duration::from_millis(500));
    let settings: Vec<u8> = (0..9000u32)
        .flat_map(|n| {
            let window = (65_535 - n % 2).to_be_bytes();
            frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat())
        })
        .collect();
    for raw in &mut open {
        raw.send(&settings);
    }
    sleep(Duration::from_secs(2));
    open
}

/// 800 KiB of small requests, each of which reads and sorts a thousand rows.
#[test]
fn many_requests_in_one_breath_leave_the_others_their_turn() {
    let Some(subject) = foreign::subject("attack-pipelined") else { return };
    let server = Home::new(&subject, &[]).start();
    let writer = server.connect();
    for n in 0..1000 {
        writer.unary(PUT, &put(&format!("row/{n:04}"), vec![b'v'; 64])).ok::<PutResponse>();
    }
    survive_on(server, "attack-pipelined", MEMORY_MIB_MAX, pipelined);
}

pub(crate) fn pipelined(server: &Server) -> Vec<Raw> {
    let sorted = RangeRequest {
        key: "row/".into(),
        range_end: "row0".into(),
        limit: 1,
        sort_order: 2,
        sort_target: 4,
        ..RangeRequest::default()
    };
    let message = holdfast_robust::grpc::frame(&sorted.encode_to_vec());
    let mut open = Vec::new();
    for _ in 0..4 {
        let Some(mut raw) = open_with_wide_windows(server) else { continue };
        let mut calls = Vec::new();
        for stream in 0..1500 {
            let stream = 2 * stream + 1;
            calls.extend(frame(HEADERS, END_HEADERS, stream, &headers(RANGE, &[])));
            calls.extend(frame(DATA, END_STREAM, stream, &message));
        }
        raw.send(&calls);
        open.push(raw);
    }
    sleep(Duration::from_secs(4));
    open
}

/// Two bytes each on the wire, a hundred in memory: messages of three quarters of a million operations.
#[test]
fn what_grows_when_it_is_decoded_is_refused_before() {
    survive("attack-decoded", MEMORY_MIB_MAX, |server| {
        let began = Instant::now();
        let answers = grown(server);
        println!("{} such messages: {:?}", answers.len(), began.elapsed());
        for answer in answers {
            let said = (answer.status, answer.message.as_deref());
            let text = "etcdserver: too many operations in txn request";
            assert_eq!(said, (Some(3), Some(text)));
        }
    });
}

pub(crate) fn grown(server: &Server) -> Vec<Answer> {
    let message = [0x12, 0].repeat(700_000);
    std::thread::scope(|scope| {
        let call = || {
            let connection = server.connect();
            (0..4).map(|_| connection.call(&Call::unary(TXN, &message))).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it is answered")).collect()
    })
}

/// A lease with many keys, listed again and again: the thread that applies does not make the lists.
#[test]
fn lists_of_a_leases_keys_keep_no_put_waiting() {
    let Some(subject) = foreign::subject("attack-leases") else { return };
    let server = Home::new(&subject, &[]).start();
    attach(&server, 20_000);
    survive_on(server, "attack-leases", MEMORY_MIB_MAX, |server| {
        let request = LeaseTimeToLiveRequest { id: LEASE, keys: true };
        let answer: LeaseTimeToLiveResponse = server.connect().unary(TIME_TO_LIVE, &request).ok();
        let keys: Vec<_> = (0..20_000).map(|n| format!("leased/{n:06}").into_bytes()).collect();
        assert!(answer.keys == keys, "{} keys", answer.keys.len());
        listed(server)
    });
}

/// The lease of [`attach`].
const LEASE: i64 = 77;

/// Hangs so many keys on a lease.
pub(crate) fn attach(server: &Server, keys: usize) {
    let connection = server.connect();
    let grant = LeaseGrantRequest { ttl: 3600, id: LEASE };
    connection.unary("/etcdserverpb.Lease/LeaseGrant", &grant).ok::<LeaseGrantResponse>();
    let keys: Vec<String> = (0..keys).map(|n| format!("leased/{n:06}")).collect();
    for some in keys.chunks(128) {
        let puts = some.iter().map(|key| {
            let put = PutRequest { lease: LEASE, ..put(key, Vec::new()) };
            RequestOp { request: Some(Request::RequestPut(put)) }
        });
        let txn = TxnRequest { success: puts.collect(), ..Default::default() };
        connection.unary(TXN, &txn).ok::<TxnResponse>();
    }
}

/// Asks for that lease's keys and reads none of them.
pub(crate) fn listed(server: &Server) -> Vec<Raw> {
    let request = LeaseTimeToLiveRequest { id: LEASE, keys: true }.encode_to_vec();
    let mut open = Vec::new();
    for _ in 0..4 {
        let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
        for stream in 0..50 {
            raw.call(2 * stream + 1, TIME_TO_LIVE, &request);
        }
        open.push(raw);
    }
    sleep(Duration::from_secs(2));
    open
}

/// As Go's health server: a watcher learns that the member goes before its stream ends.
#[test]
fn who_watches_the_health_of_a_member_is_told_that_it_goes() {
    let Some(subject) = foreign::subject("health-watch") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    let mut stream = connection.stream("/grpc.health.v1.Health/Watch");
    stream.send(&HealthCheckRequest::default());
    stream.close_send();
    let status = |stream: &mut Stream| stream.expect::<HealthCheckResponse>().status();
    assert_eq!(status(&mut stream), ServingStatus::Serving);
    server.stop();
    assert_eq!(status(&mut stream), ServingStatus::NotServing);
    let Item::End(end) = stream.next(Duration::from_secs(5)) else { panic!("it goes on") };
    assert_eq!(end.status, Some(14), "{end:?}");
}

/// Connections that never say a word, more than the process may have files: files are not short of them.
#[test]
fn silent_connections_take_no_descriptor_from_the_log() {
    let Some(subject) = foreign::subject("attack-silent") else { return };
    let server = Home::new(&subject, &[]).files_max(256, 600).start();
    survive_on(server, "attack-silent", MEMORY_MIB_MAX, |server| {
        let open = silent(server);
        // What needs a file meanwhile gets it.
        sleep(Duration::from_secs(2));
        open
    });
}

pub(crate) fn silent(server: &Server) -> Vec<Raw> {
    let address = server.address();
    (0..900).filter_map(|_| Raw::connect(&address).ok()).collect()
}

/// Snapshots asked for and not read hold no thread, and lists go on.
#[test]
fn snapshots_that_nobody_reads_stop_no_list() {
    let Some((server, everything)) = server_with_much("attack-snapshots") else { return };
    survive_on(server, "attack-snapshots", MEMORY_MIB_MAX, |server| {
        let open = snapshots(server);
        let began = Instant::now();
        for _ in 0..8 {
            let answer: RangeResponse = server.connect().unary(RANGE, &everything).ok();
            assert_eq!(answer.kvs.len(), 8);
        }
        println!("8 lists beside them: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        open
    });
}

pub(crate) fn snapshots(server: &Server) -> Vec<Raw> {
    let snapshot = frame(DATA, END_STREAM, 0, &holdfast_robust::grpc::frame(&[]));
    let mut open = Vec::new();
    for _ in 0..4 {
        let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
        for stream in 0..50 {
            let id = (2 * stream + 1u32).to_be_bytes();
            let mut message = snapshot.clone();
            message[5..9].copy_from_slice(&id);
            raw.send(&frame(HEADERS, END_HEADERS, 2 * stream + 1, &headers(SNAPSHOT, &[])));
            raw.send(&message);
        }
        open.push(raw);
    }
    sleep(Duration::from_secs(2));
    open
}

//! Under attack: whatever a client sends, or does not read, the others are served and memory stays
//! under a ceiling.
//!
//! Each attack runs against a fresh server beside a bystander who puts a key every 50 ms and notes how
//! long it waits. The ceilings stand here and in THREAT_MODEL.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use holdfast_robust::foreign;
use holdfast_robust::grpc::{Call, Connection, Item, Stream};
use holdfast_robust::process::{Home, Server};
use holdfast_robust::random::{self, Random};
use holdfast_robust::raw::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
    frame, headers,
};
use prost::Message;
use proto::etcdserverpb::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest, WatchResponse, request_op::Request,
    watch_request::RequestUnion,
};

/// The most memory a server may ever have taken while it is attacked, in MiB.
pub(crate) const MEMORY_MIB_MAX: u64 = 256;
/// The same where answers of a whole store are asked for and not read: the bound on such answers, made and
/// being made (512 MiB over all connections), a third of it that the allocator loses on buffers of 8 MiB,
/// of which three go into 32, and what a member takes besides. One answer may go beyond the bound; here it
/// has 8 MiB.
const MEMORY_UNREAD_MIB_MAX: u64 = 512 * 4 / 3 + 96;
/// What a bystander may have to wait for its put, at the worst.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3);
/// And every other one: the burst that begins an attack costs the others more than its going on, the more
/// so on a machine that is busy with other tests.
pub(crate) const WAIT_USUAL_MAX: Duration = Duration::from_millis(300);

pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(crate) const TXN: &str = "/etcdserverpb.KV/Txn";
pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";

pub(crate) fn put(key: &str, value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.into(), ..PutRequest::default() }
}

/// Puts a key every 50 ms and notes how long each took.
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    pub(crate) fn start(server: &Server) -> Bystander {
        let stop = Arc::new(AtomicBool::new(false));
        let (connection, stopped) = (server.connect(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut waits = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                connection.unary(PUT, &put("bystander", vec![b'x'; 64])).ok::<PutResponse>();
                waits.push(began.elapsed());
                sleep(Duration::from_millis(50));
            }
            waits
        });
        Bystander { stop, thread }
    }

    pub(crate) fn finish(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bystander is always answered")
    }
}

/// The most memory the process ever took, in MiB.
pub(crate) fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a peak in kB") / 1024
}

/// Runs an attack, and says what it cost the others. What the attack returns is held until then.
#[track_caller]
pub(crate) fn survive<T>(name: &str, memory_mib_max: u64, attack: impl FnOnce(&Server) -> T) {
    let Some(subject) = foreign::subject(name) else { return };
    let server = Home::new(&subject, &[]).start();
    survive_on(server, name, memory_mib_max, attack);
}

#[track_caller]
pub(crate) fn survive_on<T>(
    mut server: Server,
    name: &str,
    memory_mib_max: u64,
    attack: impl FnOnce(&Server) -> T,
) {
    let bystander = Bystander::start(&server);
    sleep(Duration::from_millis(200));
    let held = attack(&server);
    sleep(Duration::from_millis(500));
    let mut waits = bystander.finish();
    let peak = peak_mib(&server);
    assert!(server.is_alive(), "{name}: the server is gone:\n{}", server.log());
    waits.sort();
    let (usual, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "{name}: peak {peak} MiB; {} puts beside it, median {usual:?}, worst {worst:?}",
        waits.len()
    );
    drop(held);
    let log = server.log();
    assert!(!log.contains("impossibility") && !log.contains("panic"), "{name}: {log}");
    assert!(peak <= memory_mib_max, "{name}: {peak} MiB");
    assert!(worst <= WAIT_MAX, "{name}: a put took {worst:?}");
    assert!(usual <= WAIT_USUAL_MAX, "{name}: every other put took {usual:?}");
    // And whoever comes now is served as if nothing had been.
    server.connect().unary(PUT, &put("after", vec![])).ok::<PutResponse>();
}

#[test]
fn malformed_frames_and_messages_harm_nobody() {
    let seed = random::seed("attack-malformed", 1);
    survive("attack-malformed", MEMORY_MIB_MAX, |server| {
        let mut random = Random::new(seed);
        let deadline = Instant::now() + Duration::from_secs(4);
        let mut connections = 0;
        while Instant::now() < deadline {
            let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
            connections += 1;
            for step in 0..20 {
                let stream = 2 * step + 1;
                let sent = match random.below(6) {
                    0 => {
                        let length = random.below(200) as usize;
                        let garbage = random.bytes(length);
                        raw.send(&garbage)
                    }
                    1 => {
                        let length = random.below(64) as usize;
                        let payload = random.bytes(length);
                        let (kind, flags) = (random.below(12) as u8, random.next_u64() as u8);
                        raw.send(&frame(kind, flags, random.below(9) as u32, &payload))
                    }
                    2 => raw.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
                    3 => raw.send(&frame(DATA, 0, stream, b"no such stream")),
                    4 => {
                        let length = random.below(80) as usize;
                        let message = random.bytes(length);
                        raw.call(stream, RANGE, &message)
                    }
                    _ => {
                        let mut head = frame(HEADERS, END_HEADERS, stream, &headers(PUT, &[]));
                        let at = random.below(head.len() as u64) as usize;
                        head[at] ^= 1 << random.below(8);
                        raw.send(&head)
                    }
                };
                if !sent {
                    break;
                }
            }
        }
        println!("{connections} connections of nonsense");
    });
}

#[test]
fn floods_of_headers_end_their_connection() {
    survive("attack-headers", MEMORY_MIB_MAX, |server| {
        // Headers that never end: 64 MiB of them, if the server lets us.
        let mut endless = Raw::open(&server.address(), &[]).expect("it listens");
        endless.send(&frame(HEADERS, 0, 1, &headers(PUT, &[])));
        let more = headers("/", &[("x-more", &"y".repeat(16_000))]);
        let more = &more[more.len() - 16_010..];
        let taken =
            (0..4096).take_while(|_| endless.send(&frame(CONTINUATION, 0, 1, more))).count();
        assert!(taken < 4096, "64 MiB of headers were taken");
        // One entry of 4 KiB in the table of HPACK, then thousands of references to it, a byte each.
        let mut bomb = Raw::open(&server.address(), &[]).expect("it listens");
        let mut block = headers(PUT, &[]);
        let mut entry = headers("/", &[("x-bomb", &"z".repeat(3900))]);
        let mut entry = entry.split_off(entry.len() - (3900 + 1 + 7 + 2 + 1));
        entry[0] = 0x40;
        block.append(&mut entry);
        block.extend(vec![0xbe; 12_000]);
        for stream in 0..200 {
            bomb.send(&frame(HEADERS, END_HEADERS, 2 * stream + 1, &block));
        }
        // Many small headers in each of many calls.
        let mut wide = Raw::open(&server.address(), &[]).expect("it listens");
        let names: Vec<String> = (0..900).map(|n| format!("x-{n}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let block = headers(PUT, &many);
        for stream in 0..500 {
            if !wide.send(&frame(HEADERS, END_HEADERS, 2 * stream + 1, &block)) {
                break;
            }
        }
        (endless, bomb, wide)
    });
}

#[test]
fn floods_of_pings_settings_and_resets_harm_nobody() {
    survive("attack-floods", MEMORY_MIB_MAX, |server| {
        let mut open = Vec::new();
        let call = frame(HEADERS, END_HEADERS, 0, &headers(PUT, &[]));
        let reset = frame(RST_STREAM, 0, 0, &8u32.to_be_bytes());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            for attack in 0..4u32 {
                let Ok(mut raw) = Raw::open(&server.address(), &[]) else { continue };
                for n in 0..3000u32 {
                    let stream = (2 * n + 1).to_be_bytes();
                    let bytes = match attack {
                        0 => frame(PING, 0, 0, &[7; 8]),
                        1 => frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
                        // Rapid reset: begun and taken back.
                        2 => {
                            let mut both = [call.clone(), reset.clone()].concat();
                            both[5..9].copy_from_slice(&stream);
                            let at = call.len() + 5;
                            both[at..at + 4].copy_from_slice(&stream);
                            both
                        }
                        // Empty data on a stream that never ends.
                        _ if n == 0 => {
                            let mut begun = call.clone();
                            begun[5..9].copy_from_slice(&1u32.to_be_bytes());
                            begun
                        }
                        _ => frame(DATA, 0, 1, &[]),
                    };
                    if !raw.send(&bytes) {
                        break;
                    }
                }
                if open.len() < 200 {
                    open.push(raw);
                }
            }
        }
        open
    });
}

/// Slowloris: everything is begun and nothing ended.
#[test]
fn slow_writers_harm_nobody() {
    survive("attack-slow", MEMORY_MIB_MAX, |server| {
        let address = server.address();
        let mut open = Vec::new();
        let begun = frame(HEADERS, END_HEADERS, 1, &headers(PUT, &[]));
        for n in 0..800 {
            let Ok(mut raw) = Raw::connect(&address) else { continue };
            match n % 4 {
                0 => drop(raw.send(b"PRI * HT")),
                1 => drop(raw.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")),
                _ => {
                    let Ok(opened) = Raw::open(&address, &[]) else { continue };
                    raw = opened;
                    raw.send(&begun);
                    raw.send(&frame(DATA, 0, 1, &[0, 0, 0x10, 0, 0, 1, 2, 3]));
                }
            }
            open.push(raw);
        }
        for _ in 0..10 {
            for (n, raw) in open.iter_mut().enumerate() {
                raw.send(if n % 4 < 2 { b"x" } else { &[0, 0, 1, DATA, 0, 0, 0, 0, 1, 0xff] });
            }
            sleep(Duration::from_millis(200));
        }
        open
    });
}

/// Long messages of which the last byte never comes, from many connections.
#[test]
fn unfinished_messages_are_bounded_over_all_connections() {
    survive("attack-unfinished", MEMORY_UNREAD_MIB_MAX, |server| {
        let mut open = Vec::new();
        // 240 KiB of 2 MiB: a stream's first window.
        let body = [&[0, 0, 0x1f, 0xff, 0xff], &vec![7; 240 << 10][..]].concat();
        let call = Call { body: body.into(), ..Call::unary(PUT, &[]) };
        for _ in 0..60 {
            let connection = server.connect();
            let mut begun: Vec<Stream> = (0..25).map_while(|_| connection.begin(&call)).collect();
            for stream in &mut begun {
                stream.next(Duration::from_millis(2));
            }
            open.push((connection, begun));
        }
        open
    });
}

fn watch_all(stream: &mut Stream) {
    let create = WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..WatchCreateRequest::default()
    };
    stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
}

#[test]
fn ten_thousand_idle_watch_streams_cost_little() {
    survive("attack-watches", MEMORY_MIB_MAX, |server| {
        let connections: Vec<Connection> = (0..10).map(|_| server.connect()).collect();
        let mut streams = Vec::new();
        for connection in &connections {
            for n in 0..1000 {
                let mut stream = connection.stream(WATCH);
                let create = WatchCreateRequest {
                    key: format!("idle/{n}").into_bytes().into(),
                    ..WatchCreateRequest::default()
                };
                let create = RequestUnion::CreateRequest(create);
                stream.send(&WatchRequest { request_union: Some(create) });
                streams.push(stream);
            }
        }
        // The last one of each connection is there, so all before it are.
        for stream in streams.iter_mut().skip(999).step_by(1000) {
            assert!(stream.expect::<WatchResponse>().created);
        }
        server.connect().unary(PUT, &put("idle/7", b"x".to_vec())).ok::<PutResponse>();
        for stream in streams.iter_mut().skip(7).step_by(1000) {
            assert!(stream.expect::<WatchResponse>().created);
            assert_eq!(stream.expect::<WatchResponse>().events.len(), 1, "and they are served");
        }
        // Opening so many at once costs the others more than their being there.
        sleep(Duration::from_secs(4));
        (connections, streams)
    });
}

#[test]
fn two_thousand_connections_are_served() {
    survive("attack-connections", MEMORY_MIB_MAX, |server| {
        let message = put("many", vec![b'x'; 100]).encode_to_vec();
        let mut open = Vec::new();
        for _ in 0..2000 {
            let mut raw = Raw::open(&server.address(), &[]).expect("it listens");
            assert!(raw.call(1, PUT, &message));
            open.push(raw);
        }
        sleep(Duration::from_millis(500));
        let any = RangeRequest { key: "many".into(), ..RangeRequest::default() };
        let answer: RangeResponse = server.connect().unary(RANGE, &any).ok();
        assert_eq!(answer.kvs[0].version, 2000, "each of them put once");
        open
    });
}

/// A server with 8 MiB of keys, and the range that reads them all.
#[track_caller]
pub(crate) fn server_with_much(name: &str) -> Option<(Server, RangeRequest)> {
    let subject = foreign::subject(name)?;
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    for n in 0..8 {
        let big = put(&format!("big/{n}"), vec![b'v'; 1 << 20]);
        connection.unary(PUT, &big).ok::<PutResponse>();
    }
    let everything =
        RangeRequest { key: "big/".into(), range_end: "big0".into(), ..RangeRequest::default() };
    Some((server, everything))
}

/// Tells the server that everything may be sent: what waits then waits for the socket.
pub(crate) fn open_with_wide_windows(server: &Server) -> Option<Raw> {
    let mut raw = Raw::open(&server.address(), &[(4, 0x7fff_ffff)]).ok()?;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes()));
    Some(raw)
}

/// Everything is asked for, again and again, and nothing read.
#[test]
fn a_client_that_never_reads_is_bounded() {
    let Some((server, everything)) = server_with_much("attack-unread") else { return };
    let message = everything.encode_to_vec();
    survive_on(server, "attack-unread", MEMORY_UNREAD_MIB_MAX, |server| {
        let mut open = Vec::new();
        // Half of them with windows that would take everything.
        for n in 0..60 {
            let raw = match n % 2 {
                0 => Raw::open(&server.address(), &[]).ok(),
                _ => open_with_wide_windows(server),
            };
            let Some(mut raw) = raw else { continue };
            for stream in 0..40 {
                if !raw.call(2 * stream + 1, RANGE, &message) {
                    break;
                }
            }
            open.push(raw);
        }
        sleep(Duration::from_secs(4));
        open
    });
}

/// Small answers, each of which fits the client's window, on as many streams as it takes.
#[test]
fn small_answers_that_are_never_read_are_bounded() {
    survive("attack-unread-small", MEMORY_MIB_MAX, |server| {
        let small = put("small", vec![b'v'; 60 << 10]);
        server.connect().unary(PUT, &small).ok::<PutResponse>();
        let small = RangeRequest { key: "small".into(), ..RangeRequest::default() };
        let message = small.encode_to_vec();
        let mut raw = open_with_wide_windows(server).expect("it listens");
        for stream in 0..10_000 {
            assert!(raw.call(2 * stream + 1, RANGE, &message), "it goes on listening");
        }
        sleep(Duration::from_secs(3));
        raw
    });
}

/// Transactions that read everything four times over, and the same through the JSON gateway.
#[test]
fn answers_of_other_kinds_that_are_never_read_are_bounded() {
    let Some((server, everything)) = server_with_much("attack-unread-other") else { return };
    let op = |request| RequestOp { request: Some(request) };
    let reads = vec![op(Request::RequestRange(everything)); 4];
    let read = TxnRequest { success: reads, ..TxnRequest::default() };
    let mut write = read.clone();
    write.success.push(op(Request::RequestPut(put("written", vec![]))));
    let messages = [read.encode_to_vec(), write.encode_to_vec()];
    // The one answer that may go beyond the bound: its rows and its frame.
    let memory_mib_max = MEMORY_UNREAD_MIB_MAX + 2 * 32;
    survive_on(server, "attack-unread-other", memory_mib_max, |server| {
        let mut open = Vec::new();
        for n in 0..20 {
            let Some(mut raw) = open_with_wide_windows(server) else { continue };
            for stream in 0..5 {
                raw.call(2 * stream + 1, TXN, &messages[n % 2]);
            }
            open.push(raw);
        }
        let body = r#"{"key":"YmlnLw==","range_end":"YmlnMA=="}"#;
        let length = body.len();
        let get = format!(
            "POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        for _ in 0..100 {
            let Ok(mut raw) = Raw::connect(&server.address()) else { continue };
            raw.send(get.as_bytes());
            open.push(raw);
        }
        sleep(Duration::from_secs(4));
        open
    });
}

/// Watchers of large values who stop reading are caught up later, and cost what they may until then.
#[test]
fn watchers_that_never_read_are_bounded_and_caught_up() {
    survive("attack-deaf", MEMORY_UNREAD_MIB_MAX, |server| {
        let connections: Vec<Connection> = (0..50).map(|_| server.connect()).collect();
        let mut streams: Vec<Stream> =
            connections.iter().map(|connection| connection.stream(WATCH)).collect();
        for stream in &mut streams {
            watch_all(stream);
            assert!(stream.expect::<WatchResponse>().created);
        }
        let writer = server.connect();
        for n in 0..200 {
            let big = put(&format!("big/{}", n % 10), vec![b'v'; 256 << 10]);
            writer.unary(PUT, &big).ok::<PutResponse>();
        }
        // One begins to read, and misses nothing.
        let mut seen = 0;
        while seen < 200 {
            let Item::Message(message) = streams[0].next(Duration::from_secs(10)) else {
                panic!("the watch ended after {seen} events");
            };
            let events = WatchResponse::decode(message).expect("a watch response").events;
            let keys = events.iter().filter_map(|event| event.kv.as_ref());
            seen += keys.filter(|kv| kv.key.starts_with(b"big/")).count();
        }
        (connections, streams)
    });
}

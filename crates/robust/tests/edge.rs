//! Small requests that cost much: words that are quoted back, calls that wait, settings, requests in one
//! breath, connections that say nothing, snapshots nobody reads; and all of it at once.
//!
//! The ceilings are those of `attack.rs`, and stand in THREAT_MODEL.md.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign;
use holdfast_robust::process::{Home, Server};
use holdfast_robust::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, SETTINGS, frame, headers,
};
use prost::Message;
use proto::etcdserverpb::{PutResponse, RangeRequest, RangeResponse};

use crate::attack::{
    Bystander, MEMORY_MIB_MAX, PUT, RANGE, WATCH, open_with_wide_windows, peak_mib, put,
    server_with_much, survive, survive_on,
};

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

/// Requests of a byte or two whose refusal would quote 4 KiB, three bytes for one, and are not read.
#[test]
fn answers_that_repeat_the_question_are_bounded() {
    survive("attack-quotes", MEMORY_MIB_MAX, quotes);
}

fn quotes(server: &Server) -> Vec<Raw> {
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

fn waiting(message: &[u8]) -> impl Fn(&Server) -> Vec<Raw> {
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

fn settings(server: &Server) -> Vec<Raw> {
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
    survive_on(server, "attack-pipelined", MEMORY_MIB_MAX, |server| {
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
    });
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

fn silent(server: &Server) -> Vec<Raw> {
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

fn snapshots(server: &Server) -> Vec<Raw> {
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

/// What holds connections open as long as its answer lives.
type Attack<'a> = dyn Fn(&Server) -> Vec<Raw> + Sync + 'a;

/// How many files a process has open.
fn files(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.pid());
    std::fs::read_dir(folder).expect("a running process has files").count()
}

/// Everything at once, again and again, beside a putter; afterwards all of it is given back. `HOLDFAST_SOAK`
/// says for how many seconds.
#[test]
fn all_at_once_leaves_nothing_behind() {
    let seconds = std::env::var("HOLDFAST_SOAK").ok().and_then(|text| text.parse().ok());
    let Some((server, everything)) = server_with_much("attack-soak") else { return };
    let before = files(&server);
    let bystander = Bystander::start(&server);
    let stop = AtomicBool::new(false);
    let message = everything.encode_to_vec();
    let attacks: [&Attack; 5] = [&quotes, &waiting(&message), &settings, &snapshots, &silent];
    std::thread::scope(|scope| {
        for attack in attacks {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(attack(server));
                }
            });
        }
        sleep(Duration::from_secs(seconds.unwrap_or(10)));
        stop.store(true, Ordering::Relaxed);
    });
    let mut waits = bystander.finish();
    waits.sort();
    let (usual, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let peak = peak_mib(&server);
    println!(
        "all at once: peak {peak} MiB; {} puts, median {usual:?}, worst {worst:?}",
        waits.len()
    );
    assert!(worst <= Duration::from_secs(3), "a put took {worst:?}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while files(&server) > before + 8 {
        assert!(
            Instant::now() < deadline,
            "{} files are still open, {before} before",
            files(&server)
        );
        sleep(Duration::from_millis(100));
    }
    server.connect().unary(PUT, &put("after", vec![])).ok::<PutResponse>();
}

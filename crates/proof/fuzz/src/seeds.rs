//! What mutation begins with: small files and messages that are right.

use std::path::Path;

use ::bolt::{Layout, Rows, Source, SourceError, write_file};
use bytes::Bytes;
use peer::wire::{MsgAppEncoder, Segments, encode_frame};
use proof::{Chance, workload};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::raftpb;
use vfs::{Disk, MemoryDisk};

use crate::pack;

/// The files a short life left in a directory, behind a mode byte.
fn directory(dir: &str, steps: u64) -> Vec<Vec<u8>> {
    let disk = MemoryDisk::new();
    workload::run(&disk, 1, steps, false);
    let names = disk.list(Path::new(dir)).expect("a disk in memory");
    let read = |name: String| {
        let mut content = vfs::read_all(&disk, &Path::new(dir).join(&name)).expect("it is listed");
        let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 9);
        content.truncate(end);
        (name, content)
    };
    let files: Vec<_> = names.into_iter().filter(|name| name != "spare.tmp").map(read).collect();
    let packed = pack(&files);
    [0, 1].map(|mode| [&[mode], &packed[..]].concat()).into()
}

pub(crate) fn wal() -> Vec<Vec<u8>> {
    [3, 12].into_iter().flat_map(|steps| directory("/data/member/wal", steps)).collect()
}

pub(crate) fn store() -> Vec<Vec<u8>> {
    [3, 45].into_iter().flat_map(|steps| directory("/data/member/store", steps)).collect()
}

/// Two buckets with some rows.
struct Few;

impl Source for Few {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(vec![Bytes::from_static(b"key"), Bytes::from_static(b"meta")])
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let count = if bucket[..] == *b"key" { 30u8 } else { 2 };
        Box::new((1..=count).map(|number| {
            let mut key = [0; 17];
            (key[7], key[8]) = (number, b'_');
            let value = pb::PutRequest { key: vec![number].into(), ..Default::default() };
            Ok((key.to_vec().into(), value.encode_to_vec().into()))
        }))
    }
}

/// Conversations by chance.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let long = |seed| {
        let mut chance = Chance(seed);
        (0..400).map(|_| chance.below(256) as u8).collect()
    };
    (0..12).map(long).collect()
}

pub(crate) fn bolt() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::new();
    let path = Path::new("/f");
    let file = disk.create(path).expect("a disk in memory");
    write_file(&*file, &Few, Layout::default()).expect("a disk in memory");
    let image = vfs::read_all(&disk, path).expect("it is there");
    vec![[&[0], &image[..]].concat(), [&[1], &image[..]].concat()]
}

/// Requests of all kinds, as the entries of a log.
fn requests() -> Vec<pb::InternalRaftRequest> {
    let disk = MemoryDisk::new();
    let mut lone = proof::Lone::boot(&disk, 0).expect("a disk in memory");
    lone.start().expect("a disk in memory");
    let mut chance = proof::Chance(3);
    (0..40).map(|_| workload::request(&mut chance, &lone)).collect()
}

fn rows(messages: impl Iterator<Item = Vec<u8>>, kind: u8) -> Vec<u8> {
    let mut out = vec![kind];
    for message in messages {
        out.extend_from_slice(&(message.len() as u16).to_le_bytes());
        out.extend_from_slice(&message);
    }
    out
}

pub(crate) fn request() -> Vec<Vec<u8>> {
    let requests = requests();
    let puts = requests.iter().filter_map(|request| request.put.as_ref());
    let mut seeds: Vec<Vec<u8>> =
        puts.take(3).map(|put| [&[0], &put.encode_to_vec()[..]].concat()).collect();
    let txns = requests.iter().filter_map(|request| request.txn.as_ref());
    seeds.extend(txns.clone().take(3).map(|txn| [&[0], &txn.encode_to_vec()[..]].concat()));
    seeds.push(rows(txns.map(|txn| txn.encode_to_vec()), 3));
    seeds.push(rows(requests.iter().map(|request| request.encode_to_vec()), 1));
    let context: &[u8] =
        br#"{"id":9,"peerURLs":["http://127.0.0.1:1"],"name":"b","isLearner":true,"isPromote":false}"#;
    let changes = [(0, 7), (3, 9), (0, 9), (2, 9), (1, 9)].map(|(kind, member)| {
        let change = proto::raftpb::ConfChange {
            id: Some(1),
            r#type: Some(kind),
            node_id: Some(member),
            context: Some(Bytes::from_static(context)),
        };
        change.encode_to_vec()
    });
    seeds.push(rows(changes.into_iter(), 2));
    seeds
}

pub(crate) fn json() -> Vec<Vec<u8>> {
    let bodies: [(u8, &str); 6] = [
        (0, r#"{"key":"YQ==","range_end":"AA==","limit":"10","sort_order":"DESCEND"}"#),
        (1, r#"{"key":"YQ==","value":"Yg==","lease":0,"prev_kv":true}"#),
        (
            3,
            r#"{"compare":[{"key":"YQ==","target":"VERSION","version":"1e0"}],"success":[{"requestPut":{"key":"YQ==","value":"Yg=="}}],"failure":[{"request_range":{"key":"YQ=="}}]}"#,
        ),
        (
            5,
            r#"{"create_request":{"key":"YQ==","filters":["NOPUT"],"start_revision":-1}}{"cancel_request":{"watch_id":"1"}}"#,
        ),
        (6, r#"{"TTL":"10","ID":"9223372036854775807"}"#),
        (2, "{\"key\":null,\"\\u00e9\":[1,2,{\"a\":[[]]}]}"),
    ];
    bodies.iter().map(|(path, body)| [&[*path], body.as_bytes()].concat()).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A header list without compression: literal, never indexed.
fn headers(path: &str) -> Vec<u8> {
    let list = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "100m"),
    ];
    let mut out = Vec::new();
    for (name, value) in list {
        out.extend_from_slice(&[0x10, name.len() as u8]);
        out.extend_from_slice(name.as_bytes());
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
    }
    out
}

pub(crate) fn rpc() -> Vec<Vec<u8>> {
    let put = pb::PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
    let put = put.encode_to_vec();
    let message = [&[0, 0, 0, 0, put.len() as u8], &put[..]].concat();
    let call = |path| [frame(1, 4, 1, &headers(path)), frame(0, 1, 1, &message)].concat();
    let watch = [frame(1, 4, 1, &headers("/etcdserverpb.Watch/Watch")), frame(0, 0, 1, &message)];
    let odd = [
        frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]),
        frame(6, 0, 0, b"12345678"),
        frame(8, 0, 0, &[0, 0, 1, 0]),
        frame(3, 0, 1, &[0, 0, 0, 8]),
        frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let calls = [
        call("/etcdserverpb.KV/Put"),
        call("/etcdserverpb.KV/Range"),
        call("/nobody/Knows"),
        watch.concat(),
        [watch.concat(), odd.concat()].concat(),
    ];
    let framed = calls.iter().map(|call| [&[1], &call[..]].concat());
    let plain = b"\0GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    framed.chain([plain]).collect()
}

/// A request as most clients say it the second time: numbers of the tables.
const POST: &[u8] = b"\x83\x86\x04\x02/x";

pub(crate) fn http2() -> Vec<Vec<u8>> {
    let ask = |stream| frame(1, 5, stream, POST);
    let small_windows = frame(4, 0, 0, &[0, 4, 0, 0, 0, 100]);
    let wider = |stream| frame(8, 0, stream, &[0, 0, 128, 0]);
    let many: Vec<u8> = (0..20).flat_map(|n| ask(2 * n + 1)).collect();
    let body = [frame(1, 4, 9, POST), frame(0, 9, 9, b"\x02body\0\0")].concat();
    let packed = b"\x83\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let talks = [
        many.clone(),
        [small_windows, many, wider(0), wider(3), wider(13)].concat(),
        [body, frame(3, 0, 9, &[0, 0, 0, 8])].concat(),
        [frame(1, 0, 1, &POST[..3]), frame(9, 4, 1, &POST[3..])].concat(),
        [frame(1, 5, 1, packed), frame(1, 5, 3, b"\x83\x86\x84\xbe")].concat(),
        frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]),
    ];
    let whole = talks.iter().map(|talk| [&[0xff], &talk[..]].concat());
    let cut = talks.iter().map(|talk| [&[1], &talk[..]].concat());
    whole.chain(cut).chain(rpc()).collect()
}

/// A message of one member to another: type, term, index, entries.
fn raft_message(kind: i32, term: u64, index: u64, values: &[&'static [u8]]) -> raftpb::Message {
    let entries = (index + 1..).zip(values).map(|(index, value)| raftpb::Entry {
        r#type: Some(0),
        term: Some(term),
        index: Some(index),
        data: Some(Bytes::from_static(value)),
    });
    raftpb::Message {
        r#type: Some(kind),
        to: Some(2),
        from: Some(1),
        term: Some(term),
        log_term: Some(term),
        index: Some(index),
        entries: entries.collect(),
        commit: Some(index),
        ..Default::default()
    }
}

pub(crate) fn peer() -> Vec<Vec<u8>> {
    let talk = [
        raft_message(3, 2, 4, &[b"one"]),
        raft_message(3, 2, 5, &[b"two", b"three"]),
        raft_message(3, 2, 7, &[]),
        raft_message(4, 2, 7, &[]),
        raft_message(8, 3, 0, &[]),
        raft_message(2, 0, 0, &[b"proposed"]),
    ];
    let (mut messages, mut entries) = (Segments::default(), Segments::default());
    let mut encoder = MsgAppEncoder::default();
    for message in &talk {
        encode_frame(message, &mut messages);
        encoder.encode(message, &mut entries);
    }
    let (messages, entries) = (messages.take().concat(), entries.take().concat());
    let foreign = b"\0\0\0\0\0\0\0\x1e\x08\x08\x10\0\x18\0\x20\0\x28\0\x30\0\x40\0J\n\x12\x08\n\x02(\0\x10\0\x18\0P\0X\0";
    let head = b"GET\n/raft/stream/message/b\nx-server-from\nb\nx-server-version\n3.7.1\n\
        x-min-cluster-version\n3.0.0\nx-etcd-cluster-id\nc1\nx-raft-to\n2\nx-peerurls\nhttp://a:1\n";
    let promote = b"POST\n/members/promote/12345\n";
    let with = |mode: u8, bytes: &[u8]| [&[mode], bytes].concat();
    vec![
        with(0, &messages),
        with(0xfc, &messages),
        with(0, foreign),
        with(1, &entries),
        with(0xfd, &entries),
        with(2, head),
        with(2, promote),
    ]
}

/// Lives of three members: one is elected, entries are written and applied, logs let go, members crash; in one of them
/// the fourth keeps talking, in one it leads.
pub(crate) fn raft() -> Vec<Vec<u8>> {
    let settle = |rounds: usize| {
        let round = [6, 0, 0, 9, 0, 0, 9, 1, 0, 9, 2, 0, 10, 0, 0, 10, 1, 0, 10, 2, 0, 13, 0, 1];
        round.repeat(rounds)
    };
    let life = |talks: bool| {
        // The first member is told to run until it does.
        let mut life = [8, 0, 15, 8, 0, 3].to_vec();
        life.extend(settle(30));
        for turn in 0..25u8 {
            life.extend([11, turn % 3, turn, 8, 0, 0]);
            life.extend(settle(12));
            if talks {
                // Kind, from, term, index, commit, log term, flags, entry.
                life.extend([0, turn % 3, turn, 15, 8, 8, 8, 8, turn << 2, turn]);
            }
            life.extend([12, 0, turn, 12, 1, turn / 2]);
            if turn % 7 == 6 {
                life.extend([14, 2, 0]);
            }
        }
        life
    };
    let append =
        [0, 0, 3, 15, 9, 8, 8, 8, 4, 0, 9, 0, 0, 0, 0, 8, 15, 8, 9, 9, 8, 0, 9, 0, 0, 10, 0, 0];
    vec![life(false), life(true), append.repeat(10)]
}

//! What no client would send: bytes that are no messages, messages that are no requests.

use prost::Message;
use proto::etcdserverpb::{CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest};

use super::{Step, World, kv};
use crate::grpc::{Call, frame};

/// Calls that change nothing when their fields are random, or change only keys.
const PATHS: [&str; 7] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Maintenance/Status",
];

pub(super) fn step(world: &mut World) -> Step {
    let call = match world.random.below(16) {
        0..4 => random_bytes(world),
        4..7 => damaged(world),
        7 => oversized(world),
        8 => unknown_method(world),
        9 | 10 => odd_headers(world),
        11 | 12 => odd_frames(world),
        13 => odd_types(world),
        _ => return kv::step(world),
    };
    Step::Call { call, messages_max: usize::MAX }
}

fn random_bytes(world: &mut World) -> Call {
    let path = world.random.pick(&PATHS);
    let count = world.random.below(24) as usize;
    let bytes = world.random.bytes(count);
    Call::unary(path, &bytes)
}

fn sound(world: &mut World) -> (&'static str, Vec<u8>) {
    match world.random.below(4) {
        0 => ("/etcdserverpb.KV/Range", kv::range(world).encode_to_vec()),
        1 => ("/etcdserverpb.KV/Put", kv::put(world, true).encode_to_vec()),
        2 => {
            let request = CompactionRequest { revision: world.at_revision(), physical: true };
            ("/etcdserverpb.KV/Compact", request.encode_to_vec())
        }
        _ => {
            let request = LeaseGrantRequest { ttl: 600, id: world.random.between(1, 5) };
            ("/etcdserverpb.Lease/LeaseGrant", request.encode_to_vec())
        }
    }
}

/// A sound message that lost its end, or has one byte changed, or one too many.
fn damaged(world: &mut World) -> Call {
    let (path, mut message) = sound(world);
    if message.is_empty() {
        message.push(0x0a);
    }
    let at = world.random.below(message.len() as u64) as usize;
    match world.random.below(3) {
        0 => message.truncate(at),
        1 => message.insert(at, world.random.next_u64() as u8),
        _ if path.ends_with("LeaseGrant") => message.push(0xff),
        _ => message[at] ^= 1 << world.random.below(8),
    }
    Call::unary(path, &message)
}

/// Around the limits: 1,572,864 bytes for a request, 524,288 more for what is read at all.
fn oversized(world: &mut World) -> Call {
    let sizes = [1_572_000, 1_572_864, 1_600_000, 2_097_152 - 16, 2_097_152, 2_200_000];
    let size = world.random.pick(&sizes);
    match world.random.below(3) {
        0 => {
            let key = vec![b'k'; size].into();
            let request = RangeRequest { key, ..RangeRequest::default() };
            Call::unary("/etcdserverpb.KV/Range", &request.encode_to_vec())
        }
        _ => {
            let value = vec![b'v'; size].into();
            let request =
                PutRequest { key: b"big".to_vec().into(), value, ..PutRequest::default() };
            Call::unary("/etcdserverpb.KV/Put", &request.encode_to_vec())
        }
    }
}

fn unknown_method(world: &mut World) -> Call {
    let paths = [
        "/etcdserverpb.KV/Nothing",
        "/etcdserverpb.Nothing/Range",
        "/nothing.KV/Range",
        "/etcdserverpb.KV",
        "/etcdserverpb.KV/",
        "/etcdserverpb.KV/Range/x",
        "/etcdserverpb.kv/range",
        "/",
        "/x",
        "//",
    ];
    Call::unary(world.random.pick(&paths), &[])
}

fn odd_headers(world: &mut World) -> Call {
    let (path, message) = sound(world);
    let call = Call::unary(path, &message);
    let headers = [
        ("content-type", "application/json"),
        ("content-type", "application/grpc+proto"),
        ("content-type", "application/grpc+json"),
        ("content-type", "application/grpc;x"),
        ("content-type", "application/grpcx"),
        ("content-type", "text/plain"),
        ("content-type", ""),
        ("grpc-timeout", "x"),
        ("grpc-timeout", "10"),
        ("grpc-timeout", "123456789S"),
        ("grpc-timeout", "10S"),
        ("grpc-timeout", "1H"),
        ("grpc-encoding", "nonsense"),
        ("hasleader", "true"),
        ("client-api-version", "3.7"),
        ("token", "not.a.token"),
        ("authorization", "Bearer x"),
        ("te", ""),
        ("user-agent", "robust"),
    ];
    let (name, value) = world.random.pick(&headers);
    match world.random.below(12) {
        0 => Call { method: "GET".to_string(), ..call },
        1 => Call { method: "PUT".to_string(), ..call },
        _ => call.with_header(name, value),
    }
}

/// Bodies that are not one frame.
fn odd_frames(world: &mut World) -> Call {
    let (path, message) = sound(world);
    let framed = frame(&message);
    let body = match world.random.below(8) {
        // Nothing but the frame's first bytes.
        0 => framed.slice(..world.random.below(5) as usize + 1),
        // A frame that is cut short.
        1 => framed.slice(..framed.len() - 1),
        // Two messages where one is due.
        2 => [framed.clone(), framed].concat().into(),
        // Compressed, says the flag, without a name for how.
        3 => [&[1u8], &framed[1..]].concat().into(),
        4 => [&[7u8], &framed[1..]].concat().into(),
        // A length far beyond what is read.
        5 => [&[0u8, 0x7f, 0xff, 0xff, 0xff], &framed[5..]].concat().into(),
        6 => [&framed[..], b"tail"].concat().into(),
        _ => framed,
    };
    Call { body, ..Call::unary(path, &[]) }
}

/// Messages whose fields have the wrong wire type, are unknown, are nested too deep, or are no text.
fn odd_types(world: &mut World) -> Call {
    let nested = |depth: usize| {
        // TxnRequest{success: [RequestOp{request_txn: TxnRequest{...}}]}, from the inside out.
        let mut message: Vec<u8> = Vec::new();
        for _ in 0..depth {
            for tag in [0x22u8, 0x12] {
                let mut outer = vec![tag];
                prost::encoding::encode_varint(message.len() as u64, &mut outer);
                outer.append(&mut message);
                message = outer;
            }
        }
        message
    };
    let choices: [(&str, Vec<u8>); 11] = [
        // Put{key: as varint}, Put{value: as fixed64}, Range{limit: as bytes}.
        ("/etcdserverpb.KV/Put", vec![0x08, 0x01]),
        ("/etcdserverpb.KV/Put", [&[0x0a, 0x01, b'a', 0x11][..], &[1; 8]].concat()),
        ("/etcdserverpb.KV/Range", vec![0x0a, 0x01, b'a', 0x1a, 0x01, 0x01]),
        // Txn{success: [{request_put: {key: "a", value: as group}}]}, and Txn{compare: [{target: as
        // string}]}.
        ("/etcdserverpb.KV/Txn", vec![0x12, 7, 0x12, 5, 0x0a, 1, b'a', 0x13, 0x14]),
        ("/etcdserverpb.KV/Txn", vec![0x0a, 6, 0x12, 1, b'x', 0x1a, 1, b'a']),
        // An unknown field, and a group.
        ("/etcdserverpb.KV/Range", vec![0x0a, 0x01, b'a', 0xf8, 0x07, 0x01]),
        ("/etcdserverpb.KV/Range", vec![0x0a, 0x01, b'a', 0xfb, 0x07, 0xfc, 0x07]),
        // Field number zero, and a varint of eleven bytes.
        ("/etcdserverpb.KV/Range", vec![0x02, 0x01, b'a']),
        ("/etcdserverpb.KV/Range", [&[0x18][..], &[0xff; 11]].concat()),
        // Text that is not UTF-8.
        ("/etcdserverpb.Auth/Authenticate", vec![0x0a, 0x01, 0xff]),
        ("/etcdserverpb.KV/Txn", nested(if world.random.one_in(2) { 20 } else { 6000 })),
    ];
    let (path, message) = &choices[world.random.below(choices.len() as u64) as usize];
    Call::unary(path, message)
}

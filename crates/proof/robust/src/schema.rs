//! Any message as a flat list of fields, so that two answers can be compared field by field.
//!
//! The messages are read from the same `.proto` files as the server's, but by their descriptors: a
//! field that nobody thought of is still shown, also one the schema does not know. What may differ
//! between two servers that behave alike (times, sizes, raft terms, ids made from the clock) is
//! masked here, in one place.

use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use crate::foreign::repository;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let theirs = repository().join("crates/core/proto/proto");
    let ours = repository().join("crates/proof/robust/proto");
    let mut files: Vec<String> = [&theirs, &ours]
        .into_iter()
        .flat_map(|dir| std::fs::read_dir(dir).expect("the protos are in the repository"))
        .map(|entry| entry.expect("a folder entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let descriptors = protox::compile(&files, [&theirs, &ours]).expect("the protos compile");
    DescriptorPool::from_file_descriptor_set(descriptors).expect("the protos are consistent")
});

/// The descriptor of a message by its full name.
#[track_caller]
pub fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap_or_else(|| panic!("no message {name}"))
}

/// The request and answer of a gRPC path, when the path is one of etcd's.
pub fn method(path: &str) -> Option<(MessageDescriptor, MessageDescriptor)> {
    if let Some(health) = path.strip_prefix("/grpc.health.v1.Health/") {
        let of = |suffix| POOL.get_message_by_name(&format!("grpc.health.v1.Health{suffix}"));
        return if health == "List" {
            Some((of("ListRequest")?, of("ListResponse")?))
        } else {
            Some((of("CheckRequest")?, of("CheckResponse")?))
        };
    }
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    let found = service.methods().find(|method| method.name() == name)?;
    Some((found.input(), found.output()))
}

/// One field of an answer: where it is, and what it holds.
pub type Field = (String, String);

/// The fields of an encoded message, masked. What does not decode is shown as bytes.
pub fn fields(descriptor: &MessageDescriptor, encoded: &Bytes) -> Vec<Field> {
    match DynamicMessage::decode(descriptor.clone(), encoded.clone()) {
        Ok(mut message) => {
            mask(&mut message);
            let mut out = Vec::new();
            flatten("", &message, &mut out);
            out
        }
        Err(_) => vec![("undecodable".to_string(), escape(encoded))],
    }
}

/// A message in one line, for people: `key: "a" limit: 3`.
pub fn describe(descriptor: &MessageDescriptor, encoded: &[u8]) -> String {
    match DynamicMessage::decode(descriptor.clone(), encoded) {
        Ok(message) => format!("{} {{{}}}", descriptor.name(), shorten(&message.to_string(), 1500)),
        Err(_) => format!("{} of bytes {}", descriptor.name(), shorten(&escape(encoded), 400)),
    }
}

/// At most `chars_max` characters of a text.
pub fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_string(),
    }
}

/// Bytes as text, with everything unprintable escaped.
pub fn escape(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn flatten(prefix: &str, message: &DynamicMessage, out: &mut Vec<Field>) {
    for (field, value) in message.fields() {
        flatten_value(&format!("{prefix}{}", field.name()), value, out);
    }
    for unknown in message.unknown_fields() {
        out.push((format!("{prefix}unknown {}", unknown.number()), "present".to_string()));
    }
}

fn flatten_value(path: &str, value: &Value, out: &mut Vec<Field>) {
    match value {
        Value::Message(inner) => {
            out.push((path.to_string(), "present".to_string()));
            flatten(&format!("{path}."), inner, out);
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten_value(&format!("{path}[{index}]"), item, out);
            }
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|one, two| one.0.cmp(two.0));
            for (key, value) in entries {
                flatten_value(&format!("{path}[{key:?}]"), value, out);
            }
        }
        Value::Bytes(bytes) => out.push((path.to_string(), shorten(&escape(bytes), 300))),
        Value::String(text) => out.push((path.to_string(), format!("{:?}", squeeze(text)))),
        other => out.push((path.to_string(), other.to_string())),
    }
}

/// Go's protobuf text varies its blanks by build on purpose.
pub fn squeeze(text: &str) -> String {
    text.replace('\u{a0}', " ")
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Numbers from here on were made by a server, from its clock; the tests' own are smaller.
pub const MADE_BY_SERVER: i64 = 1 << 40;

/// Fields whose value depends on time or layout: present or not is compared, the value is not. (Real
/// etcd's storage version follows its cluster version only some seconds after the start.)
const MASKED: [(&str, &[&str]); 6] = [
    ("etcdserverpb.ResponseHeader", &["raft_term"]),
    (
        "etcdserverpb.StatusResponse",
        &[
            "version",
            "dbSize",
            "dbSizeInUse",
            "raftIndex",
            "raftTerm",
            "raftAppliedIndex",
            "storageVersion",
        ],
    ),
    ("etcdserverpb.HashResponse", &["hash"]),
    ("etcdserverpb.AuthenticateResponse", &["token"]),
    ("etcdserverpb.LeaseTimeToLiveResponse", &["TTL"]),
    ("etcdserverpb.SnapshotResponse", &["remaining_bytes", "blob"]),
];

/// Fields that hold a lease id, which the server may have chosen.
const LEASES: [(&str, &str); 7] = [
    ("etcdserverpb.LeaseGrantResponse", "ID"),
    ("etcdserverpb.LeaseKeepAliveResponse", "ID"),
    ("etcdserverpb.LeaseTimeToLiveResponse", "ID"),
    ("etcdserverpb.LeaseStatus", "ID"),
    ("mvccpb.KeyValue", "lease"),
    ("v3electionpb.LeaderKey", "lease"),
    ("etcdserverpb.LeaseRevokeRequest", "ID"),
];

/// Lists in no defined order.
const UNORDERED: [(&str, &str); 4] = [
    ("etcdserverpb.StatusResponse", "errors"),
    ("etcdserverpb.LeaseTimeToLiveResponse", "keys"),
    ("etcdserverpb.LeaseLeasesResponse", "leases"),
    ("etcdserverpb.AlarmResponse", "alarms"),
];

/// Replaces what may differ between servers that behave alike.
pub fn mask(message: &mut DynamicMessage) {
    let name = message.descriptor().full_name().to_string();
    let lives = name != "etcdserverpb.LeaseTimeToLiveResponse"
        || message.get_field_by_name("grantedTTL").and_then(|ttl| ttl.as_i64()).unwrap_or(0) > 0;
    for (field, value) in message.fields_mut() {
        let is_in = |table: &[(&str, &[&str])]| {
            table.iter().any(|(of, names)| *of == name && names.contains(&field.name()))
        };
        if lives && is_in(&MASKED) {
            mask_value(value);
        }
        if LEASES.contains(&(&name, field.name())) {
            mask_made(value);
        }
        mask_inside(value);
        if UNORDERED.contains(&(&name, field.name()))
            && let Value::List(items) = value
        {
            items.sort_by_cached_key(|item| item.to_string());
        }
    }
}

/// The value itself is of no interest, only that there is one.
fn mask_value(value: &mut Value) {
    match value {
        Value::U64(number) => *number = 1,
        Value::U32(number) => *number = 1,
        Value::I64(number) => *number = number.signum(),
        Value::String(text) => *text = "masked".to_string(),
        Value::Bytes(bytes) => *bytes = Bytes::from_static(b"masked"),
        other => panic!("no mask for {other:?}"),
    }
}

fn mask_made(value: &mut Value) {
    if let Value::I64(number) = value
        && *number >= MADE_BY_SERVER
    {
        *number = MADE_BY_SERVER;
    }
}

fn mask_inside(value: &mut Value) {
    match value {
        Value::Message(inner) => mask(inner),
        Value::List(items) => items.iter_mut().for_each(mask_inside),
        Value::Map(entries) => entries.values_mut().for_each(mask_inside),
        Value::Bytes(bytes) => *bytes = mask_key(bytes),
        _ => {}
    }
}

/// Locks and elections name their keys after the lease: `name/694d9e05c5216469`.
fn mask_key(key: &Bytes) -> Bytes {
    let start = key.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let tail = &key[start..];
    let made = tail.len() >= 12 && start > 0 && tail.iter().all(u8::is_ascii_hexdigit);
    if made { [&key[..start], b"LEASE"].concat().into() } else { key.clone() }
}

//! HTTP/1.1 on the client port: health, version, and the JSON gateway, sane and insane.

use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};

use super::{Step, World, kv};
use crate::schema;

/// Requests whose answer is known not to change between two runs.
const FIXED: [(&str, &str, &str, &str); 64] = [
    ("GET", "/health", "", ""),
    ("GET", "/health?serializable=true", "", ""),
    ("GET", "/health?exclude=NOSPACE", "", ""),
    ("GET", "/health?serializable=x", "", ""),
    ("HEAD", "/health", "", ""),
    ("POST", "/health", "", ""),
    ("GET", "/livez", "", ""),
    ("GET", "/livez?verbose", "", ""),
    ("GET", "/livez?verbose=false", "", ""),
    ("GET", "/livez/serializable_read", "", ""),
    ("GET", "/livez/nothing", "", ""),
    ("GET", "/livez?exclude=nothing", "", ""),
    ("GET", "/livez?exclude=serializable_read&verbose", "", ""),
    ("HEAD", "/livez", "", ""),
    ("GET", "/readyz", "", ""),
    ("GET", "/readyz?verbose", "", ""),
    ("GET", "/readyz/data_corruption", "", ""),
    ("GET", "/readyz/linearizable_read?verbose", "", ""),
    ("DELETE", "/readyz", "", ""),
    ("GET", "/version", "", ""),
    ("HEAD", "/version", "", ""),
    ("PUT", "/version", "", ""),
    ("GET", "/", "", ""),
    ("GET", "/nothing", "", ""),
    ("GET", "/v2/keys/a", "", ""),
    ("GET", "//version", "", ""),
    ("OPTIONS", "/health", "", ""),
    ("OPTIONS", "/v3/kv/put", "", ""),
    ("GET", "/health", "Origin: http://example.com\r\n", ""),
    ("GET", "/v3", "", ""),
    ("GET", "/v3/kv/put", "", ""),
    ("POST", "/v3/kv/put/", "", "{}"),
    ("POST", "/v3//kv/put", "", "{}"),
    ("POST", "/v3/kv/nothing", "", "{}"),
    ("POST", "/v3alpha/kv/range", "", "{}"),
    ("POST", "/v3beta/kv/range", "", "{\"key\":\"YQ==\"}"),
    ("POST", "/v3/kv/range", "", ""),
    ("POST", "/v3/kv/range", "Grpc-Timeout: 10S\r\n", "{\"key\":\"YQ==\"}"),
    ("POST", "/v3/kv/range", "Authorization: nonsense\r\n", "{\"key\":\"YQ==\"}"),
    ("POST", "/v3/lease/keepalive", "", "{\"ID\":\"1\"}"),
    ("POST", "/v3/kv/lease/leases", "", "{}"),
    ("POST", "/v3/cluster/member/list", "", "{\"linearizable\":true}"),
    ("POST", "/v3/maintenance/status", "", "{}"),
    ("POST", "/v3/maintenance/alarm", "", "{\"action\":\"GET\"}"),
    ("POST", "/v3/lease/grant", "", "{\"TTL\":\"600\",\"ID\":\"3\"}"),
    ("POST", "/v3/lease/timetolive", "", "{\"ID\":\"3\",\"keys\":true}"),
    ("POST", "/v3/kv/lease/timetolive", "", "{\"ID\":\"99\"}"),
    ("POST", "/v3/lease/revoke", "", "{\"ID\":3}"),
    ("POST", "/v3/kv/compaction", "", "{\"revision\":\"1\",\"physical\":true}"),
    ("POST", "/v3/kv/compaction", "", "{\"revision\":\"1000000\"}"),
    ("POST", "/v3/maintenance/hash", "", "{}"),
    ("POST", "/v3/maintenance/hashkv", "", "{\"revision\":\"1000000\"}"),
    ("POST", "/v3/maintenance/defragment", "", "{}"),
    ("POST", "/v3/maintenance/transfer-leadership", "", "{\"targetID\":\"1\"}"),
    ("POST", "/v3/maintenance/downgrade", "", "{\"action\":\"VALIDATE\",\"version\":\"x\"}"),
    ("POST", "/v3/cluster/member/remove", "", "{\"ID\":\"1\"}"),
    ("POST", "/v3/cluster/member/promote", "", "{\"ID\":\"1\"}"),
    ("POST", "/v3/auth/status", "", "{}"),
    ("POST", "/v3/auth/authenticate", "", "{\"name\":\"a\",\"password\":\"b\"}"),
    ("POST", "/v3/lock/lock", "", "{\"name\":\"bA==\",\"lease\":\"3\"}"),
    ("POST", "/v3/lock/unlock", "", "{\"key\":\"bA==\"}"),
    ("POST", "/v3/election/leader", "", "{\"name\":\"YQ==\"}"),
    ("POST", "/v3/election/proclaim", "", "{}"),
    (
        "POST",
        "/v3/election/resign",
        "",
        "{\"leader\":{\"name\":\"YQ==\",\"key\":\"YQ==\",\"rev\":\"1\",\"lease\":\"3\"}}",
    ),
];

/// Bodies that are no requests, or nearly.
const BODIES: [&str; 26] = [
    "{",
    "[]",
    "null",
    "1",
    "\"x\"",
    "garbage",
    "{\"key\":1}",
    "{\"key\":\"!!\"}",
    "{\"key\":\"YQ\"}",
    "{\"key\":\"YQ==\",\"key\":\"YQ==\"}",
    "{\"key\":null}",
    "{\"key\":\"YQ==\",\"nothing\":1}",
    "{\"key\":\"YQ==\",\"limit\":\"1\"}",
    "{\"key\":\"YQ==\",\"limit\":1.0}",
    "{\"key\":\"YQ==\",\"limit\":\"1e2\"}",
    "{\"key\":\"YQ==\",\"limit\":1.5}",
    "{\"key\":\"YQ==\",\"limit\":\"x\"}",
    "{\"key\":\"YQ==\",\"limit\":99999999999999999999}",
    "{\"key\":\"YQ==\",\"serializable\":\"true\"}",
    "{\"key\":\"YQ==\",\"serializable\":true} trailing",
    "{\"key\":\"YQ==\",\"sort_order\":\"DESCEND\"}",
    "{\"key\":\"YQ==\",\"sortOrder\":2,\"sortTarget\":\"MOD\"}",
    "{\"key\":\"YQ==\",\"sort_order\":\"descend\"}",
    "{\"key\":\"YQ==\",\"sort_order\":7}",
    "{\"key\":\"YQ==\",\"range_end\":\"AA==\",\"keys_only\":true}",
    "{\"key\":\"_-8=\"}",
];

fn http(method: &str, path: &str, headers: &str, body: &str) -> Step {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:2379\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    Step::Http { request }
}

pub(super) fn step(world: &mut World) -> Step {
    match world.random.below(10) {
        0..4 => {
            let (method, path, headers, body) = world.random.pick(&FIXED);
            http(method, path, headers, body)
        }
        4 | 5 => {
            let path = world.random.pick(&["/v3/kv/range", "/v3/kv/put", "/v3/kv/deleterange"]);
            http("POST", path, "", world.random.pick(&BODIES))
        }
        _ => generated(world),
    }
}

/// A generated message, written as JSON with the names of the proto or in lower camel case.
fn generated(world: &mut World) -> Step {
    let (path, name, encoded) = match world.random.below(5) {
        0 => ("/v3/kv/range", "RangeRequest", encode(&kv::range(world))),
        1 => ("/v3/kv/deleterange", "DeleteRangeRequest", encode(&kv::delete(world))),
        2 => ("/v3/kv/txn", "TxnRequest", encode(&kv::txn(world, 2))),
        _ => ("/v3/kv/put", "PutRequest", encode(&kv::put(world, true))),
    };
    let descriptor = schema::message(&format!("etcdserverpb.{name}"));
    http("POST", path, "", &json(&descriptor, &encoded, world.random.one_in(2)))
}

fn encode(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

fn json(descriptor: &MessageDescriptor, encoded: &[u8], proto_names: bool) -> String {
    let message = DynamicMessage::decode(descriptor.clone(), encoded).expect("it was just encoded");
    let options = SerializeOptions::new().use_proto_field_name(proto_names);
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    message.serialize_with_options(&mut serializer, &options).expect("memory can be written to");
    String::from_utf8(out).expect("JSON is text")
}

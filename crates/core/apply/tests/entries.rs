//! What entries of all releases mean here: each kind of request, the v2 forms, and what nobody can apply.

mod support;

use bytes::Bytes;
use holdfast_apply::{Asked, Fault, Request};
use prost::Message as _;
use proto::{etcdserverpb as pb, v2pb};
use store::Bucket;
use types::{EntryKind, Refusal, Version};

use crate::support::{Log, none};

/// A field of bytes.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn v2(method: &str, path: &str, value: &str) -> Bytes {
    // Go of that time writes every field, set or not.
    let request = v2pb::Request {
        id: Some(9),
        method: Some(method.into()),
        path: Some(path.into()),
        val: Some(value.into()),
        dir: Some(false),
        ..Default::default()
    };
    request.encode_to_vec().into()
}

#[test]
fn every_field_of_a_message_is_a_request_and_nothing_else_is() {
    let known: Vec<u32> = (3..10_000)
        .filter(|number| *number != 100)
        .filter(|number| {
            let asked = Asked::decode(&field(*number, &[]).into());
            asked.is_ok_and(|asked| asked.request.name() != "unknown")
        })
        .collect();
    let v3 = (3..=11).collect::<Vec<u32>>();
    let auth = [1000, 1011, 1012, 1013, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1107];
    let roles = [1200, 1201, 1202, 1203, 1204];
    let cluster = [1300, 1301, 1302, 9900];
    assert_eq!(known, [&v3[..], &auth, &roles, &cluster].concat());
}

#[test]
fn the_name_of_a_message_is_that_of_its_request() {
    let put = pb::InternalRaftRequest { put: Some(Default::default()), ..none() };
    assert_eq!(Request::name_in_message(&put), "Put");
    let both = pb::InternalRaftRequest {
        auth_user_add: Some(Default::default()),
        alarm: Some(Default::default()),
        ..none()
    };
    assert_eq!(Request::name_in_message(&both), "Alarm", "the first of etcd's order counts");
    let asked = Asked::decode(&both.encode_to_vec().into()).expect("it is a request");
    assert_eq!(asked.request.name(), "Alarm");
    assert_eq!(Request::name_in_message(&none()), "unknown");
}

#[test]
fn entries_of_real_members_are_read() {
    let id = [0x0b, 0x08, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x01];
    let header = |mut entry: Vec<u8>| {
        entry.extend([0xa2, 0x06]);
        entry.extend(id);
        Bytes::from(entry)
    };
    // A put by 3.4.
    let put = header(vec![0x22, 8, 0x0a, 2, b'k', b'0', 0x12, 2, b'v', b'0']);
    let asked = Asked::decode(&put).expect("it is a request");
    assert!(matches!(&asked.request, Request::Put(put) if put.key == "k0" && put.value == "v0"));
    assert_ne!(asked.id, 0);
    // A version by 3.7.
    let version = header([&[0xa2, 0x51, 7, 0x0a, 5][..], b"3.7.0"].concat());
    let asked = Asked::decode(&version).expect("it is a request");
    assert!(matches!(&asked.request, Request::ClusterVersionSet(set) if set.ver == "3.7.0"));
}

#[test]
fn members_of_3_4_publish_themselves_and_their_version() {
    let mut log = Log::new();
    log.change(support::add(7, "http://a:1"));
    let attributes = r#"{"name":"a","clientURLs":["http://a:2"]}"#;
    let published = log.bytes(v2("PUT", "/0/members/7/attributes", attributes)).expect("known");
    assert_eq!((published.request, published.operation), (9, "ClusterMemberAttrSet"));
    log.bytes(v2("PUT", "/0/version", "3.4.0")).expect("known");
    log.bytes(v2("SYNC", "", "")).expect("known");
    let member = log.applier.membership().get(7).expect("it was added").clone();
    assert_eq!((member.name.as_str(), &member.client_urls[..]), ("a", &["http://a:2".into()][..]));
    assert_eq!(log.applier.membership().version(), Some(Version::new(3, 4)));
    assert_eq!(log.row(Bucket::Cluster, "clusterVersion").as_deref(), Some("3.4.0"));
    assert_eq!(log.applier.revision(), 1);
}

#[track_caller]
fn ends(kind: EntryKind, data: impl Into<Bytes>, said: &str) {
    let mut log = Log::new();
    log.put("a", "1").expect("nothing speaks against it");
    let before = log.applier.applied();
    let fault = log.entry(kind, data.into()).expect_err("nobody knows it");
    assert!(matches!(fault, Fault::Unknown { index: 2, term: 1, .. }), "{fault:?}");
    assert_eq!(fault.to_string(), format!("entry 2 of term 1 holds {said}"));
    // Nothing of it is applied, not even its index.
    assert_eq!(log.applier.applied(), before);
    log.put("a", "2").expect("the place is still free");
}

#[test]
fn an_entry_nobody_here_can_apply_ends_the_member_by_name() {
    let normal = EntryKind::Normal;
    let future = [field(100, &[8, 1]), field(1400, b"x")].concat();
    ends(normal, future, "a request of a kind unknown here, with fields 100, 1400");
    let twelve = "12 bytes that are no request";
    ends(normal, &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], twelve);
    let store = r#"a request of the v2 store, PUT "/1/a", which this release does not have"#;
    ends(normal, v2("PUT", "/1/a", "x"), store);
    let delete = r#"a request of the v2 store, DELETE "/0/members/7/attributes", which this release does not have"#;
    ends(normal, v2("DELETE", "/0/members/7/attributes", ""), delete);
    ends(EntryKind::ConfChange, &[0x10, 9][..], "a configuration change of kind 9");
    let second = "a configuration change of the second kind, which no etcd proposes";
    ends(EntryKind::ConfChangeV2, &[][..], second);
}

#[test]
fn a_text_that_is_not_utf_8_is_refused_on_every_member_alike() {
    let user = field(1100, &field(1, b"\xff"));
    let mut log = Log::new();
    let applied = log.bytes(user).expect("a member up to 3.6 lets it into the log");
    let text = "etcdserver: a text of this request is not UTF-8";
    assert_eq!(applied.result, Err(Refusal::invalid(text)));
}

#[test]
fn a_known_field_of_another_wire_type_is_passed_over_as_go_does() {
    // A put whose lease is a text.
    let put = [field(1, b"a"), field(2, b"1"), field(3, b"x")].concat();
    let mut log = Log::new();
    let applied = log.bytes(field(4, &put)).expect("Go lets it into the log");
    assert_eq!(applied.operation, "Put");
    assert!(applied.result.is_ok());
    assert_eq!(log.applier.revision(), 2);
}

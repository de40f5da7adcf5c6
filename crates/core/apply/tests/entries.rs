//! What entries of all releases mean here: each kind of request, the v2 forms, and what nobody can apply.

mod support;

use bytes::Bytes;
use holdfast_apply::{Answer, Asked, Fact, Fault, Request};
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
    // A Go leader looks at its v2 store: there is nothing to end here.
    let looked = log.bytes(v2("SYNC", "", "")).expect("known");
    assert_eq!((looked.operation, &looked.facts[..]), ("SYNC", &[][..]));
    assert!(log.applier.v2().is_untouched());
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
    let store = r#"a request of a Go member's v2 store, PUT "/1/a""#;
    ends(normal, v2("PUT", "/1/a", "x"), store);
    let delete = r#"a request of a Go member's v2 store, DELETE "/0/members/7/attributes""#;
    ends(normal, v2("DELETE", "/0/members/7/attributes", ""), delete);
    ends(EntryKind::ConfChange, &[0x10, 9][..], "a configuration change of kind 9");
    let second = "a configuration change of the second kind, which no etcd proposes";
    ends(EntryKind::ConfChangeV2, &[][..], second);
}

#[test]
fn a_request_of_the_api_v2_changes_its_tree_in_the_batch_of_its_entry_and_a_restart_finds_it() {
    let mut log = Log::new();
    let request = |method: &str, path: &str, value: &str| v2pb::Request {
        time: Some(1_800_000_000_000_000_000),
        ..v2pb::Request::decode(v2(method, path, value)).expect("it was just made")
    };
    let applied = log.bytes(request("PUT", "/1/a", "x").encode_to_vec()).expect("known");
    assert_eq!((applied.request, applied.operation), (9, "PUT"));
    let Ok(Answer::V2(answer)) = applied.result else { panic!("{:?}", applied.result) };
    let event = answer.expect("nothing speaks against it").expect("it is a client's");
    assert_eq!((event.index, event.node.value.as_deref()), (1, Some("x")));
    assert!(matches!(&applied.facts[..], [Fact::V2(_)]));
    assert_eq!(log.applier.revision(), 1, "the keyspace is another one");
    // A refusal is an entry that was applied, like any other.
    let applied = log.bytes(request("PUT", "/1/a/b", "x").encode_to_vec()).expect("known");
    let Ok(Answer::V2(answer)) = applied.result else { panic!("{:?}", applied.result) };
    assert_eq!(answer.expect_err("a is a file").code, v2::Code::NotDir);
    let state = log.applier.stored().state();
    let rows: Vec<_> = state.iter(Bucket::V2).map(|(key, _)| &key[..]).collect();
    assert_eq!(rows, [&b"i"[..], b"n/1/a"]);
    let mut again = log.restarted();
    let read = again.applier.v2_get("/1/a", false, 1).expect("it was kept");
    assert_eq!((read.index, read.node.value.as_deref(), read.node.modified), (1, Some("x"), 1));
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

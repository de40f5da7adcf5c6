//! JSON into protobuf and back, rule by rule (`docs/etcd/http.md` 3.2, `docs/etcd/observed.md` F).

use holdfast_gateway::Transcoder;
use prost::Message;
use proto::etcdserverpb::{
    AlarmMember, AlarmResponse, Compare, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, WatchRequest, compare,
    request_op, response_op, watch_request,
};
use proto::mvccpb::KeyValue;

fn read(path: &str, json: &str) -> Result<Vec<u8>, String> {
    read_bytes(path, json.as_bytes())
}

fn read_bytes(path: &str, json: &[u8]) -> Result<Vec<u8>, String> {
    let transcoder = Transcoder::default();
    let target = transcoder.target(path).expect("a path of the gateway");
    transcoder.request(target, json).map_err(|refusal| refusal.message().to_owned())
}

#[track_caller]
fn reads<M: Message + Default + PartialEq + std::fmt::Debug>(path: &str, json: &str, expected: M) {
    let wire = read(path, json).expect("it is well-formed");
    assert_eq!(M::decode(&wire[..]).as_ref(), Ok(&expected), "{json}");
}

#[track_caller]
fn refuses(path: &str, json: &str, expected: &str) {
    assert_eq!(read(path, json), Err(expected.to_owned()), "{json}");
}

#[track_caller]
fn prints(path: &str, message: &impl Message, expected: &str) {
    let transcoder = Transcoder::default();
    let target = transcoder.target(path).expect("a path of the gateway");
    let mut out = String::new();
    transcoder.answer(target, &message.encode_to_vec(), &mut out).expect("well-formed");
    assert_eq!(out, expected);
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn limit(limit: i64) -> RangeRequest {
    RangeRequest { limit, ..Default::default() }
}

const PUT: &str = "/v3/kv/put";
const RANGE: &str = "/v3/kv/range";
const TXN: &str = "/v3/kv/txn";

#[test]
fn bytes_are_base64_in_every_dialect() {
    for json in [
        r#"{"key":"Pz8-","value":"YmFy"}"#,
        r#"{"key":"Pz8+","value":"YmFy"}"#,
        r#"{"key":"Pz8+","value":"YmFy\n"}"#,
        r#"{"key":"\u0050z8+","value":"YmFy"}"#,
    ] {
        reads(PUT, json, put("??>", "bar"));
    }
    reads(PUT, r#"{"key":"eg==","value":"eg"}"#, put("z", "z"));
    let text = "proto: (line 1:8): invalid value for bytes field key: \"!!\"";
    refuses(PUT, r#"{"key":"!!"}"#, text);
    let text = "proto: (line 1:8): invalid value for bytes field key: 7";
    refuses(PUT, r#"{"key":7}"#, text);
    let text = "proto: (line 1:8): invalid value for bytes field key: \"Zg=\"";
    refuses(PUT, r#"{"key":"Zg="}"#, text);
}

#[test]
fn names_are_read_in_both_spellings_and_unknown_ones_are_ignored() {
    let expected = RangeRequest { range_end: "z".into(), ..Default::default() };
    for json in [
        r#"{"range_end":"eg=="}"#,
        r#"{"rangeEnd":"eg=="}"#,
        r#"{"x":{"a":[1,{"b":"}"},null]},"range_end":"eg==","y":[[]],"z":-1.5e3,"w":true}"#,
    ] {
        reads(RANGE, json, expected.clone());
    }
    reads(RANGE, "{}", RangeRequest::default());
}

#[test]
fn integers_are_numbers_or_strings_and_may_be_written_with_exponents() {
    for json in [
        r#"{"limit":100}"#,
        r#"{"limit":"100"}"#,
        r#"{"limit":1e2}"#,
        r#"{"limit":"1e2"}"#,
        r#"{"limit":100.0}"#,
        r#"{"limit":1000e-1}"#,
        r#"{"limit":0.1E+3}"#,
    ] {
        reads(RANGE, json, limit(100));
    }
    reads(RANGE, r#"{"limit":-9223372036854775808}"#, limit(i64::MIN));
    reads(RANGE, r#"{"limit":-0}"#, limit(0));
    for wrong in ["1.5", "\"\"", "\" 1\"", "\"01\"", "9223372036854775808", "1e30", "true", "{"] {
        let json = format!("{{\"limit\":{wrong}{}", if wrong == "{" { "}}" } else { "}" });
        let text = format!("proto: (line 1:10): invalid value for int64 field limit: {wrong}");
        refuses(RANGE, &json, &text);
    }
}

#[test]
fn enums_are_names_or_numbers_and_unknown_names_count_as_zero() {
    let order = |sort_order| RangeRequest { sort_order, ..Default::default() };
    for (json, expected) in [
        (r#"{"sort_order":"DESCEND"}"#, 2),
        (r#"{"sortOrder":2}"#, 2),
        (r#"{"sort_order":77}"#, 77),
        (r#"{"sort_order":"1"}"#, 0),
        (r#"{"sort_order":"descend"}"#, 0),
    ] {
        reads(RANGE, json, order(expected));
    }
    let text = "proto: (line 1:15): invalid value for enum field sortOrder: true";
    refuses(RANGE, r#"{"sort_order":true}"#, text);
}

#[test]
fn null_means_unset() {
    reads(RANGE, r#"{"limit":null,"key":null,"sort_order":null}"#, limit(0));
    reads(TXN, r#"{"compare":null}"#, TxnRequest::default());
    let text = "proto: syntax error (line 1:13): unexpected token null";
    refuses(TXN, r#"{"compare":[null]}"#, text);
}

#[test]
fn the_same_field_twice_is_an_error_in_whichever_spelling() {
    let text = "proto: (line 1:15): duplicate field \"key\"";
    refuses(PUT, r#"{"key":"Zm9v","key":"Zm9v"}"#, text);
    let text = "proto: (line 2:2): duplicate field \"prevKv\"";
    refuses(PUT, "{\"prev_kv\":true,\n \"prevKv\":true}", text);
}

#[test]
fn two_members_of_a_oneof_are_an_error() {
    let json = r#"{"success":[{"request_put":{},"requestRange":{}}]}"#;
    let text = "proto: (line 1:31): error parsing \"requestRange\", oneof etcdserverpb.RequestOp.request is already set";
    refuses(TXN, json, text);
}

#[test]
fn what_is_no_object_or_array_is_an_unexpected_token() {
    refuses(PUT, "[]", "proto: syntax error (line 1:1): unexpected token [");
    refuses(PUT, "\"x\"", "proto: syntax error (line 1:1): unexpected token \"x\"");
    let text = "proto: syntax error (line 1:12): unexpected token {";
    refuses(TXN, r#"{"compare":{}}"#, text);
    let text = "proto: syntax error (line 1:13): unexpected token 1";
    refuses(TXN, r#"{"compare":[1]}"#, text);
}

#[test]
fn strings_must_be_unicode() {
    let add = "/v3/auth/user/add";
    let wire = read(add, r#"{"name":"\ud83d\ude00\u00e9\/"}"#).expect("well-formed");
    let user = proto::etcdserverpb::AuthUserAddRequest::decode(&wire[..]).expect("well-formed");
    assert_eq!(user.name, "\u{1f600}\u{e9}/");
}

/// As the newest Go etcd answers.
#[test]
fn what_is_wrong_with_a_string_is_said_as_go_says_it() {
    let add = "/v3/auth/user/add";
    let broken = "proto: syntax error (line 1:9): invalid UTF-8 in string";
    for name in [&b"\xff"[..], b"ab\xff", b"\xc3", b"\xc3\xa9\xff", b"\xe2\x82"] {
        let json = [b"{\"name\":\"", name, b"\"}"].concat();
        assert_eq!(read_bytes(add, &json), Err(broken.to_owned()), "{name:x?}");
    }
    for name in [r"\ud83d", r"a\ud83dx", r"\udc00", r"\ud83d\n"] {
        refuses(add, &format!("{{\"name\":\"{name}\"}}"), "proto: unexpected EOF");
    }
    for (name, seen) in [
        (r"\ud83d\u0041", r"\\u0041"),
        (r"\ud83d\ud83d", r"\\ud83d"),
        (r"\ud83dabcdefghijk", "abcdef"),
    ] {
        let text =
            format!("proto: syntax error (line 1:9): invalid escape code \"{seen}\" in string");
        refuses(add, &format!("{{\"name\":\"{name}\"}}"), &text);
    }
    let text = "proto: syntax error (line 1:9): invalid escape code \"\\\",\\\"pas\" in string";
    refuses(add, r#"{"name":"\ud83d","password":"x"}"#, text);
}

#[test]
fn a_oneof_keeps_its_zero() {
    let json = r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"0"}],
        "failure":[{"requestPut":{"key":"Zm9v","value":"YmFy"}},{"request_range":{"key":"Zm9v"}}]}"#;
    let range = RangeRequest { key: "foo".into(), ..Default::default() };
    let expected = TxnRequest {
        compare: vec![Compare {
            key: "foo".into(),
            target: compare::CompareTarget::Version.into(),
            target_union: Some(compare::TargetUnion::Version(0)),
            ..Default::default()
        }],
        failure: vec![
            RequestOp { request: Some(request_op::Request::RequestPut(put("foo", "bar"))) },
            RequestOp { request: Some(request_op::Request::RequestRange(range)) },
        ],
        ..Default::default()
    };
    reads(TXN, json, expected);
}

#[test]
fn lists_of_enums_skip_unknown_names() {
    let json = r#"{"create_request":{"key":"YQ==","filters":["NOPUT","LATER",1]}}"#;
    let wire = read("/v3/watch", json).expect("well-formed");
    let request = WatchRequest::decode(&wire[..]).expect("well-formed");
    let Some(watch_request::RequestUnion::CreateRequest(create)) = request.request_union else {
        panic!("{request:?}")
    };
    assert_eq!(create.filters, [0, 1]);
}

#[test]
fn transactions_nest_only_as_deep_as_others_can_read() {
    let nested = |depth: usize| {
        let open = r#"{"success":[{"request_txn":"#.repeat(depth);
        format!("{open}{{}}{}", "}]}".repeat(depth))
    };
    let wire = read(TXN, &nested(40)).expect("well-formed");
    assert!(TxnRequest::decode(&wire[..]).is_ok());
    refuses(TXN, &nested(60), "proto: exceeded max recursion depth");
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: 14112485774640641333,
        member_id: 6117524589152928303,
        revision,
        raft_term: 2,
    })
}

#[test]
fn answers_use_declared_names_strings_for_long_integers_and_omit_zeros() {
    let prev_kv = KeyValue {
        key: "foo".into(),
        create_revision: 2,
        mod_revision: 22,
        version: 10,
        value: "z".into(),
        lease: 0,
    };
    let put = PutResponse { header: header(46), prev_kv: Some(prev_kv) };
    let expected = concat!(
        r#"{"header":{"cluster_id":"14112485774640641333","member_id":"6117524589152928303","#,
        r#""revision":"46","raft_term":"2"},"prev_kv":{"key":"Zm9v","create_revision":"2","#,
        r#""mod_revision":"22","version":"10","value":"eg=="}}"#
    );
    prints(PUT, &put, expected);
    prints(PUT, &PutResponse::default(), "{}");
    prints(RANGE, &RangeResponse { more: true, ..Default::default() }, r#"{"more":true}"#);
}

#[test]
fn answers_print_enums_by_name_and_empty_messages_that_are_there() {
    let alarm = |alarm| AlarmMember { member_id: 1, alarm };
    let alarms = AlarmResponse { header: None, alarms: vec![alarm(1), alarm(9), alarm(0)] };
    let expected = concat!(
        r#"{"alarms":[{"memberID":"1","alarm":"NOSPACE"},{"memberID":"1","alarm":9},"#,
        r#"{"memberID":"1"}]}"#
    );
    prints("/v3/maintenance/alarm", &alarms, expected);
    let response = response_op::Response::ResponsePut(PutResponse::default());
    let txn = TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded: true,
        responses: vec![ResponseOp { response: Some(response) }],
    };
    prints(TXN, &txn, r#"{"header":{},"succeeded":true,"responses":[{"response_put":{}}]}"#);
}

#[test]
fn spliced_rows_print_like_encoded_ones() {
    let row = KeyValue { key: "k".into(), value: "v".into(), ..Default::default() };
    let mut wire = RangeResponse { header: header(3), ..Default::default() }.encode_to_vec();
    for _ in 0..2 {
        wire.push(0x12);
        wire.push(row.encoded_len() as u8);
        wire.extend(row.encode_to_vec());
    }
    let whole =
        RangeResponse { header: header(3), kvs: vec![row.clone(), row], ..Default::default() };
    assert_eq!(RangeResponse::decode(&wire[..]), Ok(whole));
    let transcoder = Transcoder::default();
    let target = transcoder.target(RANGE).expect("a path");
    let mut out = String::new();
    transcoder.answer(target, &wire, &mut out).expect("well-formed");
    let rows = r#""kvs":[{"key":"aw==","value":"dg=="},{"key":"aw==","value":"dg=="}]}"#;
    assert!(out.ends_with(rows), "{out}");
}

#[test]
fn a_damaged_answer_is_an_error_and_no_panic() {
    let transcoder = Transcoder::default();
    let target = transcoder.target(RANGE).expect("a path");
    let whole = RangeResponse { header: header(3), count: 7, ..Default::default() }.encode_to_vec();
    for cut in 1..whole.len() {
        let _ = transcoder.answer(target, &whole[..cut], &mut String::new());
        let mut flipped = whole.clone();
        flipped[cut] ^= 0x85;
        let _ = transcoder.answer(target, &flipped, &mut String::new());
    }
    assert!(transcoder.answer(target, &[0x0a, 0x7f], &mut String::new()).is_err());
}

#[test]
fn the_old_prefix_leads_to_the_same_methods() {
    let transcoder = Transcoder::default();
    let method = |path| transcoder.target(path).map(|target| target.method);
    assert_eq!(method("/v3beta/kv/put"), Some(proto::Rpc::KvPut));
    assert_eq!(method("/v3/kv/lease/revoke"), Some(proto::Rpc::LeaseRevoke));
    assert_eq!(method("/v3alpha/kv/put"), None);
    assert_eq!(method("/v3/kv/put/"), None);
}

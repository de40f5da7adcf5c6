//! Long lists: whole, in order and the same whichever way they are asked for.

use std::time::Duration;

use holdfast_robust::grpc::{Call, Connection};
use holdfast_robust::process::Home;
use prost::Message;
use proto::etcdserverpb::{
    PutRequest, RangeRequest, RangeResponse, RangeStreamResponse, RequestOp, TxnRequest,
    request_op::Request,
};
use proto::mvccpb::KeyValue;

use crate::corners::holdfast;

const KEYS: usize = 20_000;
const KEYS_PER_TXN: usize = 100;
const RANGE: &str = "/etcdserverpb.KV/Range";
const STREAM: &str = "/etcdserverpb.KV/RangeStream";

fn key(number: usize) -> String {
    // Written in another order than that of the list: rows lie apart from each other.
    format!("/list/{:05}", number * 7919 % KEYS)
}

fn fill(connection: &Connection) {
    for first in (0..KEYS).step_by(KEYS_PER_TXN) {
        let put = |number: usize| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: key(number).into(),
                value: format!("{number:0300}").into(),
                ..Default::default()
            })),
        };
        let success = (first..first + KEYS_PER_TXN).map(put).collect();
        let txn = TxnRequest { success, ..Default::default() };
        assert!(connection.unary("/etcdserverpb.KV/Txn", &txn).is_ok());
    }
}

fn everything() -> RangeRequest {
    RangeRequest { key: "/list/".into(), range_end: "/list0".into(), ..Default::default() }
}

/// The rows of a stream, and how many messages it took.
#[track_caller]
fn streamed(connection: &Connection, request: &RangeRequest) -> (RangeResponse, usize) {
    let answer = connection.call(&Call::unary(STREAM, &request.encode_to_vec()));
    assert!(answer.is_ok(), "{:?} {:?}", answer.message, answer.broken);
    let mut whole = RangeResponse::default();
    for message in &answer.messages {
        let page = RangeStreamResponse::decode(message.clone()).expect("it is well formed");
        let page = page.range_response.expect("each has a part of the list");
        whole.kvs.extend(page.kvs);
        (whole.header, whole.count, whole.more) = (page.header, page.count, page.more);
    }
    (whole, answer.messages.len())
}

#[test]
fn a_long_list_is_the_same_at_once_in_pages_and_as_a_stream() {
    let Some(subject) = holdfast("long lists") else { return };
    let server = Home::new(&subject, &[]).start();
    let connection = server.connect();
    fill(&connection);
    let whole: RangeResponse = connection.unary(RANGE, &everything()).ok();
    assert_eq!((whole.kvs.len(), whole.count, whole.more), (KEYS, KEYS as i64, false));
    assert!(whole.kvs.is_sorted_by(|one, next| one.key < next.key));
    for limit in [0, 1, 1000, 1001, 12_345] {
        let request = RangeRequest { limit, ..everything() };
        let cut: RangeResponse = connection.unary(RANGE, &request).ok();
        let rows = if limit == 0 { KEYS } else { limit as usize };
        let expected: &[KeyValue] = &whole.kvs[..rows];
        assert_eq!((&cut.kvs[..], cut.count, cut.more), (expected, KEYS as i64, rows < KEYS));
        let (stream, _) = streamed(&connection, &request);
        assert_eq!((stream.kvs, stream.count, stream.more), (cut.kvs, cut.count, cut.more));
    }
    let (_, messages) = streamed(&connection, &everything());
    assert!(messages > 5, "it comes in pages");

    // Somebody who goes away in the middle harms nobody.
    let call = Call::unary(STREAM, &everything().encode_to_vec());
    for _ in 0..20 {
        let begun = server.connect().call_for(&call, Duration::from_secs(10), 3);
        assert_eq!(begun.messages.len(), 3);
    }
    let again: RangeResponse = connection.unary(RANGE, &everything()).ok();
    assert!(again.kvs == whole.kvs);
}

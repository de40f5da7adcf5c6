use super::*;
use proto::mvccpb;
use types::{KeyValueRef, encode_row};

fn row(key: &str, value: &str) -> Row {
    let kv = KeyValueRef {
        key: key.as_bytes(),
        create_revision: 2,
        mod_revision: 300,
        version: 4,
        value: value.as_bytes(),
        lease: 7,
    };
    encode_row(kv, 0)
}

fn encoded(reply: &dyn Reply) -> bytes::Bytes {
    let mut out = BytesMut::new();
    reply.encode(&mut out);
    assert_eq!(out.len(), reply.encoded_len());
    out.freeze()
}

fn header() -> pb::ResponseHeader {
    pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 300, raft_term: 3 }
}

#[test]
fn spliced_answers_read_back_as_the_messages_they_stand_for() {
    let range = RangeAnswer {
        revision: 300,
        rows: vec![row("a", "1"), row("b", "")],
        more: true,
        count: 200,
    };
    let put = PutAnswer { revision: 300, previous: Some(row("c", "3")) };
    let delete = DeleteAnswer { revision: 300, deleted: 1, previous: vec![row("d", "4")] };
    let nested = TxnAnswer { revision: 300, succeeded: false, responses: vec![] };
    let answer = TxnAnswer {
        revision: 300,
        succeeded: true,
        responses: vec![
            OpAnswer::Range(range),
            OpAnswer::Put(put),
            OpAnswer::DeleteRange(delete),
            OpAnswer::Txn(nested),
        ],
    };
    let bytes = encoded(&TxnReply { header: header(), answer });
    let read = pb::TxnResponse::decode(bytes.clone()).expect("it is a TxnResponse");
    assert_eq!(read.encode_to_vec(), bytes);
    assert_eq!(read.responses.len(), 4);
    let Some(pb::response_op::Response::ResponseRange(range)) = &read.responses[0].response else {
        panic!("the first operation is a range");
    };
    assert!(range.more);
    assert_eq!(range.count, 200);
    let kv = mvccpb::KeyValue {
        key: "a".into(),
        create_revision: 2,
        mod_revision: 300,
        version: 4,
        value: "1".into(),
        lease: 7,
    };
    assert_eq!(range.kvs[0], kv);
    let Some(pb::response_op::Response::ResponseTxn(nested)) = &read.responses[3].response else {
        panic!("the fourth operation is a transaction");
    };
    assert_eq!(nested.header, Some(pb::ResponseHeader::default()));
}

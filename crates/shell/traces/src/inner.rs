//! The spans below a call's own: what is asked for, under the names and with the attributes that etcd gives it.
//!
//! They are read from the messages as they come and go, so no handler knows of them. A unary call has one at most,
//! which lasts as long as the work; a stream has one for each watch, until that ends, and one for each keep-alive, until
//! its answer.

use std::collections::VecDeque;

use prost::Message;
use proto::Rpc;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::watch_request::RequestUnion;
use types::Refusal;

use crate::otlp::{KeyValue, number, text, truth};

/// Spans that one stream may have open.
const OPEN_MAX: usize = 1024;

/// A span that has begun.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    pub name: &'static str,
    pub attributes: Vec<KeyValue>,
    /// Nanoseconds since 1970.
    pub began: u64,
    /// The watch, once it has its id.
    watch: Option<i64>,
}

/// What is open below one call.
pub(crate) struct Inner {
    rpc: Option<Rpc>,
    open: VecDeque<Child>,
    /// Those that did not fit.
    lost: u64,
}

impl Inner {
    pub fn new(rpc: Option<Rpc>) -> Inner {
        Inner { rpc, open: VecDeque::new(), lost: 0 }
    }

    /// A request came; what ends by it.
    pub fn received(&mut self, message: &[u8], now: u64) -> Option<Child> {
        let rpc = self.rpc?;
        if rpc == Rpc::Watch {
            match pb::WatchRequest::decode(message).ok()?.request_union? {
                RequestUnion::CreateRequest(create) => self.begin("watch", watch(&create), now),
                RequestUnion::CancelRequest(cancel) => return self.take_watch(cancel.watch_id),
                RequestUnion::ProgressRequest(_) => {}
            }
            return None;
        }
        if let Some((name, attributes)) = asked(rpc, message) {
            self.begin(name, attributes, now);
        }
        None
    }

    fn begin(&mut self, name: &'static str, attributes: Vec<KeyValue>, began: u64) {
        if self.open.len() < OPEN_MAX {
            self.open.push_back(Child { name, attributes, began, watch: None });
        } else {
            self.lost += 1;
        }
    }

    /// An answer goes; what ends by it.
    pub fn sent(&mut self, message: &[u8]) -> Option<Child> {
        match self.rpc? {
            Rpc::Watch => {
                let told = WatchHead::decode(message).ok()?;
                match (told.created, told.canceled) {
                    (true, true) => {
                        // etcd never ends the span of a watch that it refuses.
                        self.open.retain(|child| child.watch.is_some());
                        None
                    }
                    (true, false) => {
                        let begun = self.open.iter_mut().find(|child| child.watch.is_none())?;
                        begun.watch = Some(told.watch_id);
                        None
                    }
                    (false, true) => self.take_watch(told.watch_id),
                    (false, false) => None,
                }
            }
            Rpc::LeaseKeepAlive => self.open.pop_front(),
            Rpc::LeaseGrant => {
                // The server may have chosen the id.
                let id = pb::LeaseGrantResponse::decode(message).ok()?.id;
                let first = self.open.front_mut().and_then(|child| child.attributes.first_mut())?;
                *first = number("id", id);
                None
            }
            _ => None,
        }
    }

    fn take_watch(&mut self, id: i64) -> Option<Child> {
        let place = self.open.iter().position(|child| child.watch == Some(id))?;
        self.open.remove(place)
    }

    /// The call ended; what ends with it, and how many spans did not fit.
    pub fn ended(&mut self, outcome: Result<(), &Refusal>) -> (VecDeque<Child>, u64) {
        if outcome.is_err_and(is_refused_before) {
            self.open.clear();
        }
        (std::mem::take(&mut self.open), std::mem::take(&mut self.lost))
    }
}

/// What etcd's service finds before it hands a request to the server below, which makes the span.
fn is_refused_before(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::DuplicateKey
            | Refusal::EmptyKey
            | Refusal::InvalidSortOption
            | Refusal::LeaseProvided
            | Refusal::NoLeader
            | Refusal::NoSpace
            | Refusal::NotSupportedForLearner
            | Refusal::TooManyOps
            | Refusal::ValueProvided
    )
}

/// The head of an answer on a stream of watches: its events are skipped.
#[derive(Clone, PartialEq, Message)]
struct WatchHead {
    #[prost(int64, tag = "2")]
    watch_id: i64,
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(bool, tag = "4")]
    canceled: bool,
}

fn watch(create: &pb::WatchCreateRequest) -> Vec<KeyValue> {
    // As etcd rewrites them first.
    let key: &[u8] = if create.key.is_empty() { b"\0" } else { &create.key };
    let range_end: &[u8] = if create.range_end[..] == [0] { b"" } else { &create.range_end };
    vec![
        text("key", key),
        text("range_end", range_end),
        number("start_rev", create.start_revision),
        truth("progress_notify", create.progress_notify),
        truth("prev_kv", create.prev_kv),
        truth("fragment", create.fragment),
    ]
}

/// Name and attributes of what a message asks for, where etcd makes a span of it.
fn asked(rpc: Rpc, message: &[u8]) -> Option<(&'static str, Vec<KeyValue>)> {
    Some(match rpc {
        Rpc::KvRange => {
            let asked = pb::RangeRequest::decode(message).ok()?;
            let mut attributes = range(&asked);
            attributes.push(truth("keys_only", asked.keys_only));
            ("range", attributes)
        }
        Rpc::KvRangeStream => ("range_streaming", range(&pb::RangeRequest::decode(message).ok()?)),
        Rpc::KvPut => ("put", vec![text("key", &pb::PutRequest::decode(message).ok()?.key)]),
        Rpc::KvDeleteRange => {
            let asked = pb::DeleteRangeRequest::decode(message).ok()?;
            let keys = [text("range_begin", &asked.key), text("range_end", &asked.range_end)];
            ("delete_range", keys.into())
        }
        Rpc::KvTxn => ("txn", txn(&pb::TxnRequest::decode(message).ok()?)),
        Rpc::KvCompact => {
            let asked = pb::CompactionRequest::decode(message).ok()?;
            let how = [truth("is_physical", asked.physical), number("rev", asked.revision)];
            ("compact", how.into())
        }
        Rpc::LeaseGrant => {
            let asked = pb::LeaseGrantRequest::decode(message).ok()?;
            ("lease_grant", vec![number("id", asked.id), number("ttl", asked.ttl)])
        }
        Rpc::LeaseRevoke => {
            let asked = pb::LeaseRevokeRequest::decode(message).ok()?;
            ("lease_revoke", vec![number("id", asked.id)])
        }
        Rpc::LeaseKeepAlive => {
            let asked = pb::LeaseKeepAliveRequest::decode(message).ok()?;
            ("lease_renew", vec![number("id", asked.id)])
        }
        _ => return None,
    })
}

fn range(asked: &pb::RangeRequest) -> Vec<KeyValue> {
    vec![
        text("range_begin", &asked.key),
        text("range_end", &asked.range_end),
        number("rev", asked.revision),
        number("limit", asked.limit),
        truth("count_only", asked.count_only),
    ]
}

/// What etcd tells of a transaction: a little of its first operations.
fn txn(asked: &pb::TxnRequest) -> Vec<KeyValue> {
    let length = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let ops = || asked.success.iter().filter_map(|op| op.request.as_ref());
    let key = |op: &Op| match op {
        Op::RequestPut(put) => put.key.clone(),
        Op::RequestRange(range) => range.key.clone(),
        Op::RequestDeleteRange(delete) => delete.key.clone(),
        Op::RequestTxn(_) => Default::default(),
    };
    let kind = |op: &Op| match op {
        Op::RequestPut(_) => "put",
        Op::RequestRange(_) => "range",
        Op::RequestDeleteRange(_) => "delete_range",
        Op::RequestTxn(_) => "txn",
    };
    let lease = |op: &Op| match op {
        Op::RequestPut(put) => Some(put.lease),
        _ => None,
    };
    let compared = asked.compare.iter().map(|compare| &compare.key).find(|key| !key.is_empty());
    vec![
        text("compare_first_key", compared.cloned().unwrap_or_default()),
        text("success_first_key", ops().map(key).find(|key| !key.is_empty()).unwrap_or_default()),
        text("success_first_type", ops().map(kind).next().unwrap_or_default()),
        number("success_first_lease", ops().find_map(lease).unwrap_or(-1)),
        number("compare_len", length(asked.compare.len())),
        number("success_len", length(asked.success.len())),
        number("failure_len", length(asked.failure.len())),
        truth("read_only", is_read_only(asked)),
    ]
}

fn is_read_only(asked: &pb::TxnRequest) -> bool {
    let reads = |op: &pb::RequestOp| matches!(op.request, Some(Op::RequestRange(_)));
    asked.success.iter().chain(&asked.failure).all(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(union: RequestUnion) -> Vec<u8> {
        pb::WatchRequest { request_union: Some(union) }.encode_to_vec()
    }

    fn create(key: &'static str) -> Vec<u8> {
        let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
        encoded(RequestUnion::CreateRequest(create))
    }

    fn told(watch_id: i64, created: bool, canceled: bool) -> Vec<u8> {
        pb::WatchResponse { watch_id, created, canceled, ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn a_watch_lasts_until_it_is_canceled_and_the_rest_until_the_stream_ends() {
        let mut inner = Inner::new(Some(Rpc::Watch));
        for (key, id) in [("a", 0), ("b", 1), ("c", 2)] {
            assert_eq!(inner.received(&create(key), 7), None);
            assert_eq!(inner.sent(&told(id, true, false)), None);
        }
        assert_eq!(inner.sent(&told(1, false, false)), None, "events");
        let by_client = RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 1 });
        let ended = inner.received(&encoded(by_client), 9).expect("it was open");
        assert_eq!(ended.attributes[0], text("key", "b"));
        let ended = inner.sent(&told(0, false, true)).expect("the server ended it");
        assert_eq!((ended.attributes[0].clone(), ended.began), (text("key", "a"), 7));
        let (left, lost) = inner.ended(Ok(()));
        assert_eq!((left.len(), lost), (1, 0));
    }

    #[test]
    fn a_watch_that_is_refused_has_no_span() {
        let mut inner = Inner::new(Some(Rpc::Watch));
        inner.received(&create("a"), 7);
        inner.sent(&told(-1, true, true));
        assert_eq!(inner.ended(Ok(())), (VecDeque::new(), 0));
    }

    #[test]
    fn a_stream_holds_so_many_spans_and_counts_the_rest() {
        let mut inner = Inner::new(Some(Rpc::Watch));
        for _ in 0..OPEN_MAX + 2 {
            inner.received(&create("a"), 7);
        }
        let (left, lost) = inner.ended(Ok(()));
        assert_eq!((left.len(), lost), (OPEN_MAX, 2));
    }

    #[test]
    fn what_the_door_refuses_has_no_span_of_its_own() {
        let put = pb::PutRequest { value: "v".into(), ..Default::default() }.encode_to_vec();
        let mut inner = Inner::new(Some(Rpc::KvPut));
        inner.received(&put, 7);
        assert_eq!(inner.ended(Err(&Refusal::EmptyKey)), (VecDeque::new(), 0));
        inner.received(&put, 7);
        assert_eq!(inner.ended(Err(&Refusal::LeaseNotFound)).0.len(), 1);
    }

    #[test]
    fn no_value_and_no_password_is_told() {
        for rpc in Rpc::ALL {
            // Read as whatever it is, a message of text in its second field tells nothing of that.
            let secret = b"\x12\x06secret";
            let told = format!("{:?}", asked(rpc, secret));
            let is_key = told.contains("range_end") || told.contains("compare_first_key");
            assert!(is_key || !told.contains("secret"), "{rpc}: {told}");
        }
    }
}

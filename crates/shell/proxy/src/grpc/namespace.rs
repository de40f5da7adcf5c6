//! `--namespace`: clients see the keys below a prefix as if there were no others.
//!
//! Keys get the prefix on their way in and lose it on their way out; where they stand in messages is known
//! here and nowhere else. A lock's or an election's name is a key too. (etcd's proxy leaves those out.)

use bytes::{Bytes, BytesMut};
use client::prefix_end;
use pb::request_op::Request;
use pb::response_op::Response;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::{Rpc, mvccpb, v3electionpb as election, v3lockpb as lock};
use rpc::frame;
use types::Refusal;

use super::upstream::Passed;

/// The prefix; empty for none.
#[derive(Clone, Debug, Default)]
pub struct Namespace(Bytes);

impl Namespace {
    /// Of this prefix.
    pub fn new(prefix: &str) -> Namespace {
        Namespace(Bytes::copy_from_slice(prefix.as_bytes()))
    }

    /// Whether keys stay as they are.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// A key with the prefix. One that is empty stays so: the server refuses it.
    pub fn enter_key(&self, key: &mut Bytes) {
        if !key.is_empty() {
            *key = self.joined(key);
        }
    }

    fn joined(&self, key: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.0.len() + key.len());
        whole.extend_from_slice(&self.0);
        whole.extend_from_slice(key);
        whole.freeze()
    }

    /// A range within the prefix. One to the end of the keyspace ends where the prefix does.
    pub fn enter_range(&self, key: &mut Bytes, end: &mut Bytes) {
        if self.is_everything() || key.is_empty() {
            return;
        }
        *end = match &end[..] {
            [] => Bytes::new(),
            [0] => prefix_end(&self.0).into(),
            _ => self.joined(end),
        };
        *key = self.joined(key);
    }

    /// The range of a watch, of which an empty key is the first one there can be.
    pub fn enter_watch(&self, key: &mut Bytes, end: &mut Bytes) {
        if !self.is_everything() && key.is_empty() {
            *key = Bytes::from_static(&[0]);
        }
        self.enter_range(key, end);
    }

    /// A key without the prefix.
    pub fn leave_key(&self, key: &mut Bytes) {
        if key.starts_with(&self.0) {
            *key = key.slice(self.0.len()..);
        }
    }

    /// A row without the prefix.
    pub fn leave_row(&self, row: &mut Option<mvccpb::KeyValue>) {
        row.iter_mut().for_each(|row| self.leave_key(&mut row.key));
    }

    fn leave_rows(&self, rows: &mut [mvccpb::KeyValue]) {
        rows.iter_mut().for_each(|row| self.leave_key(&mut row.key));
    }

    /// A request as the server is to see it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn enter(&self, rpc: Rpc, message: Bytes) -> Result<Bytes, Refusal> {
        if self.is_everything() {
            return Ok(message);
        }
        match rpc {
            Rpc::KvRange | Rpc::KvRangeStream => change(message, |range: &mut pb::RangeRequest| {
                self.enter_range(&mut range.key, &mut range.range_end);
            }),
            Rpc::KvPut => change(message, |put: &mut pb::PutRequest| self.enter_key(&mut put.key)),
            Rpc::KvDeleteRange => change(message, |delete: &mut pb::DeleteRangeRequest| {
                self.enter_range(&mut delete.key, &mut delete.range_end);
            }),
            Rpc::KvTxn => change(message, |txn| self.enter_txn(txn)),
            Rpc::Lock => change(message, |lock: &mut lock::LockRequest| {
                self.enter_name(&mut lock.name);
            }),
            Rpc::LockUnlock => change(message, |lock: &mut lock::UnlockRequest| {
                self.enter_key(&mut lock.key);
            }),
            Rpc::ElectionCampaign => change(message, |asked: &mut election::CampaignRequest| {
                self.enter_name(&mut asked.name);
            }),
            Rpc::ElectionLeader | Rpc::ElectionObserve => {
                change(message, |asked: &mut election::LeaderRequest| {
                    self.enter_name(&mut asked.name);
                })
            }
            Rpc::ElectionProclaim => change(message, |asked: &mut election::ProclaimRequest| {
                self.enter_leader(&mut asked.leader);
            }),
            Rpc::ElectionResign => change(message, |asked: &mut election::ResignRequest| {
                self.enter_leader(&mut asked.leader);
            }),
            _ => Ok(message),
        }
    }

    /// A name may be empty, and then is the prefix itself.
    fn enter_name(&self, name: &mut Bytes) {
        *name = self.joined(name);
    }

    fn enter_leader(&self, leader: &mut Option<election::LeaderKey>) {
        if let Some(leader) = leader {
            self.enter_name(&mut leader.name);
            self.enter_key(&mut leader.key);
        }
    }

    fn enter_txn(&self, txn: &mut pb::TxnRequest) {
        for compare in &mut txn.compare {
            self.enter_range(&mut compare.key, &mut compare.range_end);
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(Request::RequestRange(range)) => {
                    self.enter_range(&mut range.key, &mut range.range_end);
                }
                Some(Request::RequestPut(put)) => self.enter_key(&mut put.key),
                Some(Request::RequestDeleteRange(delete)) => {
                    self.enter_range(&mut delete.key, &mut delete.range_end);
                }
                Some(Request::RequestTxn(txn)) => self.enter_txn(txn),
                None => {}
            }
        }
    }

    /// An answer as the client is to see it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn leave(&self, rpc: Rpc, passed: Passed) -> Result<Passed, Refusal> {
        if self.is_everything() {
            return Ok(passed);
        }
        match rpc {
            Rpc::KvRange => reframe(passed, |answer: &mut pb::RangeResponse| {
                self.leave_rows(&mut answer.kvs);
            }),
            Rpc::KvRangeStream => reframe(passed, |answer: &mut pb::RangeStreamResponse| {
                if let Some(range) = &mut answer.range_response {
                    self.leave_rows(&mut range.kvs);
                }
            }),
            Rpc::KvPut => reframe(passed, |answer: &mut pb::PutResponse| {
                self.leave_row(&mut answer.prev_kv);
            }),
            Rpc::KvDeleteRange => reframe(passed, |answer: &mut pb::DeleteRangeResponse| {
                self.leave_rows(&mut answer.prev_kvs);
            }),
            Rpc::KvTxn => reframe(passed, |answer| self.leave_txn(answer)),
            Rpc::LeaseTimeToLive => reframe(passed, |answer: &mut pb::LeaseTimeToLiveResponse| {
                // Others' keys on the same lease are none of this client's business.
                answer.keys.retain(|key| key.starts_with(&self.0));
                answer.keys.iter_mut().for_each(|key| self.leave_key(key));
            }),
            Rpc::Lock => reframe(passed, |answer: &mut lock::LockResponse| {
                self.leave_key(&mut answer.key);
            }),
            Rpc::ElectionCampaign => reframe(passed, |answer: &mut election::CampaignResponse| {
                if let Some(leader) = &mut answer.leader {
                    self.leave_key(&mut leader.name);
                    self.leave_key(&mut leader.key);
                }
            }),
            Rpc::ElectionLeader | Rpc::ElectionObserve => {
                reframe(passed, |answer: &mut election::LeaderResponse| {
                    self.leave_row(&mut answer.kv);
                })
            }
            _ => Ok(passed),
        }
    }

    fn leave_txn(&self, answer: &mut pb::TxnResponse) {
        for op in &mut answer.responses {
            match &mut op.response {
                Some(Response::ResponseRange(range)) => self.leave_rows(&mut range.kvs),
                Some(Response::ResponsePut(put)) => self.leave_row(&mut put.prev_kv),
                Some(Response::ResponseDeleteRange(delete)) => {
                    self.leave_rows(&mut delete.prev_kvs);
                }
                Some(Response::ResponseTxn(txn)) => self.leave_txn(txn),
                None => {}
            }
        }
    }
}

fn change<M>(message: Bytes, how: impl FnOnce(&mut M)) -> Result<Bytes, Refusal>
where
    M: Message + prost::Name + Default,
{
    let mut read: M = rpc::decode(message)?;
    how(&mut read);
    Ok(read.encode_to_vec().into())
}

fn reframe<M>(passed: Passed, how: impl FnOnce(&mut M)) -> Result<Passed, Refusal>
where
    M: Message + prost::Name + Default,
{
    let mut read: M = rpc::decode(passed.message())?;
    how(&mut read);
    Ok(passed.with(frame(&read)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: (&'static [u8], &'static [u8]), expected: (&[u8], &[u8])) {
        let (mut key, mut end) = (Bytes::from_static(range.0), Bytes::from_static(range.1));
        Namespace::new("p/").enter_watch(&mut key, &mut end);
        assert_eq!((&key[..], &end[..]), expected);
    }

    #[test]
    fn a_range_never_leaves_the_prefix() {
        check((b"a", b""), (b"p/a", b""));
        check((b"a", b"c"), (b"p/a", b"p/c"));
        check((b"a", b"\0"), (b"p/a", b"p0"));
        check((b"\0", b"\0"), (b"p/\0", b"p0"));
        check((b"", b"\0"), (b"p/\0", b"p0"));
    }

    #[test]
    fn a_transaction_is_changed_to_its_depths() {
        let put = |key: &'static str| pb::PutRequest { key: key.into(), ..Default::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let inner = pb::TxnRequest {
            success: vec![op(Request::RequestPut(put("b")))],
            ..Default::default()
        };
        let outer = pb::TxnRequest {
            compare: vec![pb::Compare { key: "a".into(), ..Default::default() }],
            failure: vec![op(Request::RequestTxn(inner))],
            ..Default::default()
        };
        let entered = Namespace::new("p/").enter(Rpc::KvTxn, outer.encode_to_vec().into());
        let entered = pb::TxnRequest::decode(entered.expect("it can be read")).expect("a txn");
        assert_eq!(entered.compare[0].key, "p/a");
        let Some(Request::RequestTxn(inner)) = &entered.failure[0].request else { panic!() };
        assert_eq!(inner.success[0].request, Some(Request::RequestPut(put("p/b"))));
    }
}

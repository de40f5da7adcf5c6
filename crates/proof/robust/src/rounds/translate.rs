//! Requests and answers of a history as gRPC carries them, both ways.

use history::{Action, Answer as Told, Condition, KeyValue, Outcome, Request, Span, Target};
use prost::Message;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Operation;
use proto::etcdserverpb::response_op::Response as Answered;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest, DeleteRangeResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse,
};

use crate::grpc::{Answer, Call};

/// The call that asks for it.
pub fn call(request: &Request) -> Call {
    match request {
        Request::One(Action::Put { .. }) => unary("KV/Put", &put(request.actions(true))),
        Request::One(Action::Delete { .. }) => {
            unary("KV/DeleteRange", &delete(request.actions(true)))
        }
        Request::One(action) => unary("KV/Range", &range(action)),
        Request::Serializable(action) => {
            unary("KV/Range", &RangeRequest { serializable: true, ..range(action) })
        }
        Request::Txn { conditions, then, otherwise } => {
            let branch = |actions: &[Action]| actions.iter().map(operation).collect();
            let txn = TxnRequest {
                compare: conditions.iter().map(compare).collect(),
                success: branch(then),
                failure: branch(otherwise),
            };
            unary("KV/Txn", &txn)
        }
        Request::Compact { revision } => {
            unary("KV/Compact", &CompactionRequest { revision: *revision, physical: false })
        }
    }
}

fn unary(method: &str, message: &impl Message) -> Call {
    Call::unary(&format!("/etcdserverpb.{method}"), &message.encode_to_vec())
}

fn put(actions: &[Action]) -> PutRequest {
    match actions {
        [Action::Put { key, value, lease, previous }] => PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease: *lease,
            prev_kv: *previous,
            ..PutRequest::default()
        },
        other => unreachable!("{other:?} is not a put"),
    }
}

fn delete(actions: &[Action]) -> DeleteRangeRequest {
    match actions {
        [Action::Delete { span, previous }] => DeleteRangeRequest {
            key: span.first.clone(),
            range_end: span.end.clone().unwrap_or_default(),
            prev_kv: *previous,
        },
        other => unreachable!("{other:?} is not a delete"),
    }
}

fn range(action: &Action) -> RangeRequest {
    match action {
        Action::Range { span, revision, limit } => RangeRequest {
            key: span.first.clone(),
            range_end: span.end.clone().unwrap_or_default(),
            revision: *revision,
            limit: *limit as i64,
            ..RangeRequest::default()
        },
        other => unreachable!("{other:?} is not a range"),
    }
}

fn operation(action: &Action) -> RequestOp {
    let one = std::slice::from_ref(action);
    let request = match action {
        Action::Put { .. } => Operation::RequestPut(put(one)),
        Action::Delete { .. } => Operation::RequestDeleteRange(delete(one)),
        Action::Range { .. } => Operation::RequestRange(range(action)),
    };
    RequestOp { request: Some(request) }
}

fn compare(condition: &Condition) -> Compare {
    let (target, union) = match &condition.target {
        Target::Mod(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: condition.key.clone(),
        target_union: Some(union),
        ..Compare::default()
    }
}

/// What a client knows after an answer. `None` when it was told nothing that counts: a read that failed.
pub fn outcome(request: &Request, answer: &Answer) -> Option<Outcome> {
    if answer.is_ok() && answer.messages.len() == 1 {
        return done(request, &answer.messages[0]);
    }
    let text = answer.message.clone().unwrap_or_default();
    // Invalid, not found, exhausted, out of range: nothing was done. All else may have been done or not.
    let sure = answer.broken.is_none() && matches!(answer.status, Some(3 | 5 | 8 | 11));
    let reads = matches!(request, Request::Serializable(_) | Request::One(Action::Range { .. }));
    match (sure, reads) {
        (true, _) => Some(Outcome::Refused(text)),
        (false, true) => None,
        (false, false) => Some(Outcome::Unknown),
    }
}

fn done(request: &Request, message: &[u8]) -> Option<Outcome> {
    let (header, held, answers) = match request {
        Request::One(Action::Put { .. }) => {
            let told = PutResponse::decode(message).ok()?;
            (told.header, true, vec![Told::Put(told.prev_kv.map(|kv| key_value(&kv)))])
        }
        Request::One(Action::Delete { .. }) => {
            let told = DeleteRangeResponse::decode(message).ok()?;
            (told.header, true, vec![deleted(&told)])
        }
        Request::One(Action::Range { .. }) | Request::Serializable(_) => {
            let told = RangeResponse::decode(message).ok()?;
            (told.header, true, vec![found(&told)])
        }
        Request::Txn { .. } => {
            let told = TxnResponse::decode(message).ok()?;
            let answers = told.responses.iter().filter_map(|one| one.response.as_ref());
            (told.header, told.succeeded, answers.filter_map(answered).collect())
        }
        Request::Compact { .. } => (CompactionResponse::decode(message).ok()?.header, true, vec![]),
    };
    let revision = header.as_ref().map_or(0, |header: &ResponseHeader| header.revision);
    Some(Outcome::Done { revision, held, answers })
}

fn answered(one: &Answered) -> Option<Told> {
    match one {
        Answered::ResponsePut(told) => Some(Told::Put(told.prev_kv.as_ref().map(key_value))),
        Answered::ResponseDeleteRange(told) => Some(deleted(told)),
        Answered::ResponseRange(told) => Some(found(told)),
        Answered::ResponseTxn(_) => None,
    }
}

fn deleted(told: &DeleteRangeResponse) -> Told {
    Told::Delete(told.deleted, told.prev_kvs.iter().map(key_value).collect())
}

fn found(told: &RangeResponse) -> Told {
    Told::Range(told.kvs.iter().map(key_value).collect(), told.count, told.more)
}

/// A key as the history has it.
pub fn key_value(kv: &proto::mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.clone(),
        value: kv.value.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// All keys of a round, and nothing else.
pub fn everything() -> Span {
    Span { first: "k/".into(), end: Some("k0".into()) }
}

//! Between the words of `history` and those of the server.

use apply::{Answer as Given, OpAnswer};
use history::{Action, Answer, Change, Condition, KeyValue, Outcome, Request, Span, Target};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use types::{Refusal, Row};

pub(crate) fn key_value(row: &Row) -> KeyValue {
    KeyValue {
        key: row.key_bytes(),
        value: row.value_bytes(),
        create_revision: row.create_revision,
        mod_revision: row.revision.main,
        version: row.version,
        lease: row.lease,
    }
}

pub(crate) fn change(row: &Row) -> Change {
    Change { key: row.key_bytes(), after: (!row.tombstone).then(|| key_value(row)) }
}

pub(crate) fn range(action: &Action) -> pb::RangeRequest {
    let Action::Range { span, revision, limit } = action else {
        unreachable!("the caller has a range")
    };
    let (key, range_end) = wire(span);
    let limit = *limit as i64;
    pb::RangeRequest { key, range_end, revision: *revision, limit, ..Default::default() }
}

fn wire(span: &Span) -> (bytes::Bytes, bytes::Bytes) {
    (span.first.clone(), span.end.clone().unwrap_or_default())
}

fn op(action: &Action) -> Op {
    match action {
        Action::Put { key, value, lease, previous } => Op::RequestPut(pb::PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease: *lease,
            prev_kv: *previous,
            ..Default::default()
        }),
        Action::Delete { span, previous } => {
            let (key, range_end) = wire(span);
            Op::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: *previous })
        }
        Action::Range { .. } => Op::RequestRange(range(action)),
    }
}

fn compare(condition: &Condition) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match &condition.target {
        Target::Mod(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: condition.key.clone(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// A request as it is proposed; `None` for a linearizable range, which is not.
pub(crate) fn proposal(request: &Request) -> Option<pb::InternalRaftRequest> {
    let mut out = pb::InternalRaftRequest::default();
    match request {
        Request::Serializable(_) | Request::One(Action::Range { .. }) => return None,
        Request::One(action) => match op(action) {
            Op::RequestPut(put) => out.put = Some(put),
            Op::RequestDeleteRange(delete) => out.delete_range = Some(delete),
            Op::RequestRange(_) | Op::RequestTxn(_) => return None,
        },
        Request::Txn { conditions, then, otherwise } => {
            let ops = |actions: &[Action]| {
                actions.iter().map(|a| pb::RequestOp { request: Some(op(a)) }).collect()
            };
            out.txn = Some(pb::TxnRequest {
                compare: conditions.iter().map(compare).collect(),
                success: ops(then),
                failure: ops(otherwise),
            });
        }
        Request::Compact { revision } => {
            let revision = *revision;
            out.compaction = Some(pb::CompactionRequest { revision, physical: false });
        }
    }
    Some(out)
}

pub(crate) fn range_answer(given: &apply::RangeAnswer) -> Answer {
    Answer::Range(given.rows.iter().map(key_value).collect(), given.count, given.more)
}

fn answer(given: &OpAnswer) -> Answer {
    match given {
        OpAnswer::Range(range) => range_answer(range),
        OpAnswer::Put(put) => Answer::Put(put.previous.as_ref().map(key_value)),
        OpAnswer::DeleteRange(delete) => {
            Answer::Delete(delete.deleted, delete.previous.iter().map(key_value).collect())
        }
        OpAnswer::Txn(_) => unreachable!("nobody here nests transactions"),
    }
}

/// What a client makes of what it is told.
pub(crate) fn outcome(result: Result<Given, Refusal>) -> Outcome {
    let done = |revision, held, answers| Outcome::Done { revision, held, answers };
    match result {
        Ok(Given::Done { revision }) => done(revision, true, Vec::new()),
        Ok(Given::Put(put)) => done(put.revision, true, vec![answer(&OpAnswer::Put(put))]),
        Ok(Given::DeleteRange(delete)) => {
            done(delete.revision, true, vec![answer(&OpAnswer::DeleteRange(delete))])
        }
        Ok(Given::Txn(txn)) => {
            done(txn.revision, txn.succeeded, txn.responses.iter().map(answer).collect())
        }
        Ok(other) => Outcome::Refused(format!("an answer of another kind: {other:?}")),
        // The quota speaks after the deed: the write may stand.
        Err(Refusal::NoSpace) => Outcome::Unknown,
        Err(refusal) => Outcome::Refused(refusal.message().to_owned()),
    }
}

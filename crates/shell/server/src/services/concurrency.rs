//! What Lock and Election are made of: keys under a prefix, ordered by their creation.
//!
//! Both services behave as a client embedded in the server would (`docs/etcd/api.md` 10 and 11), down to
//! every refusal arriving as code Unknown with the plain text.

use apply::TxnAnswer;
use bytes::Bytes;
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use types::{LeaseHex, LeaseId, Refusal, Row};
use watch::Body;

use crate::services::inner::Inner;

/// Seconds a lease lives that a caller without one is given.
const SESSION_TTL: i64 = 60;

/// Any refusal, as these services show it: code Unknown and the plain text.
pub(crate) fn plain(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Other(types::Code::Canceled | types::Code::DeadlineExceeded, _) => refusal,
        other => Refusal::unknown(other.message().to_owned()),
    }
}

/// The caller's lease, or a new one that nobody keeps alive.
pub(crate) async fn session(inner: &Inner, lease: LeaseId) -> Result<LeaseId, Refusal> {
    if lease != 0 {
        return Ok(lease);
    }
    inner.grant(SESSION_TTL).await
}

/// The key a caller stands in line with: the name and its lease in hexadecimal.
pub(crate) fn own_key(name: &Bytes, lease: LeaseId) -> Bytes {
    let mut key = prefix(name);
    key.extend_from_slice(format!("{:x}", LeaseHex(lease)).as_bytes());
    key.into()
}

/// What all keys of a line begin with.
pub(crate) fn prefix(name: &Bytes) -> Vec<u8> {
    let mut prefix = name.to_vec();
    prefix.push(b'/');
    prefix
}

/// The first key that does not begin with `prefix`, which ends in a slash.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    *end.last_mut().expect("a prefix ends in a slash") += 1;
    end.into()
}

/// A place in line.
pub(crate) struct Place {
    /// Whether the key stood there before.
    pub(crate) existed: bool,
    /// The revision that created the key.
    pub(crate) created: i64,
    /// The value found, if the key stood there before.
    pub(crate) value: Bytes,
    /// The first in line, if it is not this key.
    pub(crate) first: Option<Row>,
    /// The revision of the transaction.
    pub(crate) revision: i64,
}

/// Gets in line: makes the key unless it stands there, and looks who is first.
pub(crate) async fn line_up(
    inner: &Inner,
    name: &Bytes,
    key: &Bytes,
    value: &Bytes,
    lease: LeaseId,
) -> Result<Place, Refusal> {
    let put =
        pb::PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
    let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let owner = Request::RequestRange(first_in_line(name));
    let request = pb::TxnRequest {
        compare: vec![created_at(key, 0)],
        success: ops([Request::RequestPut(put), owner.clone()]),
        failure: ops([Request::RequestRange(get), owner]),
    };
    let answer = inner.txn(request).await?;
    let rows = |index: usize| match answer.responses.get(index) {
        Some(apply::OpAnswer::Range(range)) => range.rows.clone(),
        _ => Vec::new(),
    };
    let existing = if answer.succeeded { None } else { rows(0).into_iter().next() };
    let first = rows(1).into_iter().next();
    Ok(Place {
        existed: !answer.succeeded,
        created: existing.as_ref().map_or(answer.revision, |row| row.create_revision),
        value: existing.map_or_else(Bytes::new, |row| row.value_bytes()),
        first: first.filter(|row| row.key() != &key[..]),
        revision: answer.revision,
    })
}

/// The oldest key of a line.
pub(crate) fn first_in_line(name: &Bytes) -> pb::RangeRequest {
    let prefix = prefix(name);
    pb::RangeRequest {
        range_end: prefix_end(&prefix),
        key: prefix.into(),
        limit: 1,
        sort_order: pb::range_request::SortOrder::Ascend as i32,
        sort_target: pb::range_request::SortTarget::Create as i32,
        ..Default::default()
    }
}

/// Waits until nobody stands before the key created at `created`. Answers with the revision it saw last.
pub(crate) async fn wait_in_line(
    inner: &Inner,
    name: &Bytes,
    created: i64,
) -> Result<i64, Refusal> {
    loop {
        let prefix = prefix(name);
        let request = pb::RangeRequest {
            range_end: prefix_end(&prefix),
            key: prefix.into(),
            limit: 1,
            sort_order: pb::range_request::SortOrder::Descend as i32,
            sort_target: pb::range_request::SortTarget::Create as i32,
            max_create_revision: created - 1,
            ..Default::default()
        };
        let found = inner.range(request).await?;
        let Some(before) = found.rows.first() else { return Ok(found.revision) };
        gone(inner, before.key_bytes(), found.revision + 1).await?;
    }
}

/// Waits until a key is deleted at or after `start`.
async fn gone(inner: &Inner, key: Bytes, start: i64) -> Result<(), Refusal> {
    let filters = vec![pb::watch_create_request::FilterType::Noput as i32];
    let request =
        pb::WatchCreateRequest { key, start_revision: start, filters, ..Default::default() };
    let mut stream = inner.watch(request).await?;
    while let Some(responses) = stream.next().await {
        for response in responses {
            let bytes = response.bytes();
            match response.body {
                Body::Events { .. } => return Ok(()),
                Body::Compacted { .. } | Body::Refused { .. } => return Err(Refusal::Compacted),
                Body::Created | Body::Canceled | Body::Progress => stream.sent(1, bytes),
            }
        }
    }
    Err(Refusal::Stopped)
}

/// A watch of all keys of a line, from a revision on.
pub(crate) fn watch_of_line(name: &Bytes, start_revision: i64) -> pb::WatchCreateRequest {
    let prefix = prefix(name);
    pb::WatchCreateRequest {
        range_end: prefix_end(&prefix),
        key: prefix.into(),
        start_revision,
        ..Default::default()
    }
}

/// The condition that a key was created at a revision; 0 for not at all.
pub(crate) fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Create as i32,
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(revision)),
    }
}

/// Operations in the wire's wrapping.
pub(crate) fn ops(requests: impl IntoIterator<Item = Request>) -> Vec<pb::RequestOp> {
    requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
}

/// One key as it is now, linearizably.
pub(crate) async fn get(inner: &Inner, key: &Bytes) -> Result<(i64, Option<Row>), Refusal> {
    let request = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let found = inner.range(request).await?;
    Ok((found.revision, found.rows.into_iter().next()))
}

/// Runs one guarded operation: `request` if the key was created at `revision`.
pub(crate) async fn guarded(
    inner: &Inner,
    key: &Bytes,
    revision: i64,
    request: Request,
) -> Result<TxnAnswer, Refusal> {
    let compare = vec![created_at(key, revision)];
    let request = pb::TxnRequest { compare, success: ops([request]), failure: Vec::new() };
    inner.txn(request).await
}

/// Deletes the key of a caller that gave up waiting, however it gave up, with that caller's right.
pub(crate) struct Abandon {
    pub(crate) inner: Inner,
    pub(crate) key: Option<Bytes>,
}

impl Abandon {
    /// The wait is over and the key stays.
    pub(crate) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let inner = self.inner.clone();
            tokio::task::spawn_local(async move {
                // Its lease ends it if this does not.
                let _ = inner.delete(key).await;
            });
        }
    }
}

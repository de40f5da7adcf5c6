//! Sessions and locks, made of leases and transactions as clientv3's are, so both may wait for each other.
//!
//! A lock's holder is the oldest key under its prefix. Whoever waits, waits for the one before him to go.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::{KeyValue, event::EventType};
use tokio::sync::watch;
use types::LeaseHex;

use crate::client::Client;
use crate::error::Error;
use crate::method::{methods, prefix_end};
use crate::watch::WatchOptions;

const EXPIRED: Error = Error::Session("mutex: session is expired");

/// A lease that is kept alive in the background for as long as this lives.
#[derive(Debug)]
pub struct Session {
    pub(crate) client: Client,
    /// The lease.
    pub lease: i64,
    over: watch::Receiver<bool>,
    keeping: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Grants a lease of so many seconds and keeps it alive.
    pub async fn new(client: &Client, ttl: i64) -> Result<Session, Error> {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let lease = client.call(methods::LEASE_GRANT, &request).await?.id;
        let mut keeper = client.keep_alive(lease);
        let (ending, over) = watch::channel(false);
        let keeping = tokio::spawn(async move {
            while let Ok(Some(_)) = keeper.renewed().await {}
            ending.send_replace(true);
        });
        Ok(Session { client: client.clone(), lease, over, keeping })
    }

    /// Waits until the lease is lost.
    pub async fn ended(&self) {
        // An error means nobody keeps the lease any more, which is the same.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// The comparison "this key has this create revision"; zero means it does not exist.
pub(crate) fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

pub(crate) fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub(crate) fn get(key: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key: key.clone(), ..Default::default() }
}

/// The oldest key under a prefix.
pub(crate) fn oldest(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix).into(),
        limit: 1,
        sort_order: pb::range_request::SortOrder::Ascend.into(),
        sort_target: pb::range_request::SortTarget::Create.into(),
        ..Default::default()
    }
}

/// The first row the n-th operation of a transaction found.
pub(crate) fn found(answer: &pb::TxnResponse, operation: usize) -> Option<&KeyValue> {
    match answer.responses.get(operation)?.response.as_ref()? {
        Response::ResponseRange(range) => range.kvs.first(),
        _ => None,
    }
}

/// Waits until no key under the prefix is left that was created at `revision` or before.
pub(crate) async fn wait_for_older(
    client: &Client,
    prefix: &Bytes,
    revision: i64,
) -> Result<(), Error> {
    loop {
        let youngest = pb::RangeRequest {
            max_create_revision: revision,
            sort_order: pb::range_request::SortOrder::Descend.into(),
            ..oldest(prefix)
        };
        let answer = client.call(methods::RANGE, &youngest).await?;
        let Some(before) = answer.kvs.first() else { return Ok(()) };
        let start_revision = answer.header.unwrap_or_default().revision;
        wait_for_delete(client, before.key.clone(), start_revision).await?;
    }
}

async fn wait_for_delete(client: &Client, key: Bytes, start_revision: i64) -> Result<(), Error> {
    let mut watcher = client.watcher();
    watcher.watch(WatchOptions { key, start_revision, ..WatchOptions::default() });
    while let Some((_, notice)) = watcher.next().await {
        if let Some(error) = notice.error() {
            return Err(error);
        }
        if notice.events.iter().any(|event| event.r#type() == EventType::Delete) {
            return Ok(());
        }
    }
    Err(Error::Session("lost watcher waiting for delete"))
}

/// A lock that this session holds.
#[derive(Debug)]
pub struct Mutex {
    /// The key that stands for it.
    pub key: Bytes,
    /// The revision at which it was got.
    pub revision: i64,
}

impl Mutex {
    /// Waits until the lock `name` is ours.
    pub async fn lock(session: &Session, name: &str) -> Result<Mutex, Error> {
        let prefix = Bytes::from(format!("{name}/"));
        let key = Bytes::from(format!("{name}/{:x}", LeaseHex(session.lease)));
        let (client, lease) = (&session.client, session.lease);
        let put = pb::PutRequest { key: key.clone(), lease, ..Default::default() };
        let owner = || op(Request::RequestRange(oldest(&prefix)));
        let txn = pb::TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![op(Request::RequestPut(put)), owner()],
            failure: vec![op(Request::RequestRange(get(&key))), owner()],
        };
        let answer = client.call(methods::TXN, &txn).await?;
        let revision = answer.header.unwrap_or_default().revision;
        let ours = match (answer.succeeded, found(&answer, 0)) {
            (true, _) => revision,
            (false, mine) => mine.map_or(revision, |mine| mine.create_revision),
        };
        if found(&answer, 1).is_none_or(|owner| owner.create_revision == ours) {
            return Ok(Mutex { key, revision });
        }
        let waited = tokio::select! {
            waited = wait_for_older(client, &prefix, ours - 1) => waited,
            () = session.ended() => Err(EXPIRED),
        };
        if let Err(error) = waited {
            unlock(client, &key).await?;
            return Err(error);
        }
        // The lease may have ended while we waited, and the key with it.
        let still = client.call(methods::RANGE, &get(&key)).await?;
        let held = still.kvs.first().ok_or(EXPIRED)?.mod_revision > 0;
        assert!(held, "a row has a revision");
        Ok(Mutex { key, revision: still.header.unwrap_or_default().revision })
    }

    /// Lets go.
    pub async fn unlock(self, session: &Session) -> Result<(), Error> {
        unlock(&session.client, &self.key).await
    }
}

pub(crate) async fn unlock(client: &Client, key: &Bytes) -> Result<(), Error> {
    let request = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    client.call(methods::DELETE_RANGE, &request).await.map(|_| ())
}

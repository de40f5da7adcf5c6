//! Elections: the oldest key under a prefix is the leader's, its value is what the leader proclaims.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use proto::mvccpb::event::EventType;
use types::LeaseHex;

use crate::client::Client;
use crate::concurrency::{Session, created_at, found, get, oldest, op, unlock, wait_for_older};
use crate::error::Error;
use crate::method::{methods, prefix_end};
use crate::watch::{WatchOptions, Watcher};

const NOT_LEADER: Error = Error::Session("election: not leader");

/// An election that this session has won.
#[derive(Debug)]
pub struct Election {
    /// The leader's key.
    pub key: Bytes,
    revision: i64,
}

impl Election {
    /// Waits until we lead, proclaiming `value`.
    pub async fn campaign(session: &Session, name: &str, value: &Bytes) -> Result<Election, Error> {
        let client = &session.client;
        let prefix = Bytes::from(format!("{name}/"));
        let key = Bytes::from(format!("{name}/{:x}", LeaseHex(session.lease)));
        let put = pb::PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease: session.lease,
            ..Default::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![op(Request::RequestPut(put.clone()))],
            failure: vec![op(Request::RequestRange(get(&key)))],
        };
        let answer = client.call(methods::TXN, &txn).await?;
        let mut election = Election { key, revision: answer.header.unwrap_or_default().revision };
        if let Some(mine) = found(&answer, 0).filter(|_| !answer.succeeded) {
            election.revision = mine.create_revision;
            if mine.value != *value {
                election.proclaim(client, put).await?;
            }
        }
        let waited = wait_for_older(client, &prefix, election.revision - 1).await;
        if let Err(error) = waited {
            unlock(client, &election.key).await?;
            return Err(error);
        }
        Ok(election)
    }

    async fn proclaim(&self, client: &Client, put: pb::PutRequest) -> Result<(), Error> {
        let txn = pb::TxnRequest {
            compare: vec![created_at(&self.key, self.revision)],
            success: vec![op(Request::RequestPut(put))],
            failure: Vec::new(),
        };
        let answer = client.call(methods::TXN, &txn).await?;
        if answer.succeeded { Ok(()) } else { Err(NOT_LEADER) }
    }

    /// Steps down.
    pub async fn resign(self, session: &Session) -> Result<(), Error> {
        let delete = pb::DeleteRangeRequest { key: self.key.clone(), ..Default::default() };
        let txn = pb::TxnRequest {
            compare: vec![created_at(&self.key, self.revision)],
            success: vec![op(Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        session.client.call(methods::TXN, &txn).await.map(|_| ())
    }

    /// Calls `tell` with each leader and each thing a leader proclaims, until the cluster is lost.
    pub async fn observe(
        client: &Client,
        name: &str,
        mut tell: impl FnMut(pb::RangeResponse),
    ) -> Result<(), Error> {
        let prefix = Bytes::from(format!("{name}/"));
        loop {
            let answer = client.call(methods::RANGE, &oldest(&prefix)).await?;
            let header = answer.header.unwrap_or_default();
            let (key, from) = match answer.kvs.first() {
                Some(leader) => {
                    let next = (leader.key.clone(), leader.mod_revision + 1);
                    tell(pb::RangeResponse {
                        header: Some(header),
                        kvs: vec![leader.clone()],
                        ..Default::default()
                    });
                    next
                }
                None => {
                    let first = first_put(client, &prefix, header.revision).await?;
                    let next = first.kvs.first().map(|kv| (kv.key.clone(), kv.mod_revision + 1));
                    tell(first);
                    next.expect("a put has a key")
                }
            };
            follow(client, key, from, &mut tell).await?;
        }
    }
}

fn start(client: &Client, key: Bytes, range_end: Bytes, start_revision: i64) -> Watcher {
    let mut watcher = client.watcher();
    watcher.watch(WatchOptions { key, range_end, start_revision, ..WatchOptions::default() });
    watcher
}

/// Waits for somebody to stand for election.
async fn first_put(
    client: &Client,
    prefix: &Bytes,
    revision: i64,
) -> Result<pb::RangeResponse, Error> {
    let mut watcher = start(client, prefix.clone(), prefix_end(prefix).into(), revision);
    while let Some((_, notice)) = watcher.next().await {
        if let Some(error) = notice.error() {
            return Err(error);
        }
        let put = notice.events.into_iter().find(|event| event.r#type() == EventType::Put);
        if let Some(kv) = put.and_then(|event| event.kv) {
            let header = Some(notice.header);
            return Ok(pb::RangeResponse { header, kvs: vec![kv], ..Default::default() });
        }
    }
    Err(Error::Session("elect: observer lost"))
}

/// Tells what the leader proclaims, until his key is gone.
async fn follow(
    client: &Client,
    key: Bytes,
    from: i64,
    tell: &mut impl FnMut(pb::RangeResponse),
) -> Result<(), Error> {
    let mut watcher = start(client, key, Bytes::new(), from);
    while let Some((_, notice)) = watcher.next().await {
        if let Some(error) = notice.error() {
            return Err(error);
        }
        for event in notice.events {
            if event.r#type() == EventType::Delete {
                return Ok(());
            }
            let kvs = event.kv.into_iter().collect();
            tell(pb::RangeResponse { header: Some(notice.header), kvs, ..Default::default() });
        }
    }
    Err(Error::Session("elect: observer lost"))
}

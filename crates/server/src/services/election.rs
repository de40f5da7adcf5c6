//! The Election service (`reference/api.md` 11).

use bytes::Bytes;
use node::Node;
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use proto::v3electionpb as ep;
use rpc::{Call, Router, Rpc, Sink};
use types::{Refusal, Row};
use watch::Body;

use crate::door;
use crate::services::concurrency::{
    Abandon, first_in_line, guarded, line, line_up, own_key, plain, session, wait_in_line, watch_of,
};
use crate::services::range::read_range;

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::ElectionCampaign.path(), move |call, request| {
        let node = at.clone();
        async move { campaign(&node, &call, request).await.map_err(plain) }
    });
    let at = node.clone();
    router.unary_of(Rpc::ElectionProclaim.path(), move |call, request| {
        let node = at.clone();
        async move { proclaim(&node, &call, request).await.map_err(plain) }
    });
    let at = node.clone();
    router.unary_of(Rpc::ElectionLeader.path(), move |call, request| {
        let node = at.clone();
        async move { leader(&node, &call, request).await.map_err(plain) }
    });
    let at = node.clone();
    router.server_stream(Rpc::ElectionObserve.path(), move |call, message, sink| {
        let node = at.clone();
        async move { observe(&node, &call, message, sink).await.map_err(plain) }
    });
    let at = node.clone();
    router.unary_of(Rpc::ElectionResign.path(), move |call, request| {
        let node = at.clone();
        async move { resign(&node, &call, request).await.map_err(plain) }
    });
}

/// The header is that of the first transaction, even after waiting (`reference/observed.md` E).
async fn campaign(
    node: &Node,
    call: &Call,
    request: ep::CampaignRequest,
) -> Result<ep::CampaignResponse, Refusal> {
    door::enter(node, call)?;
    let lease = session(node, request.lease).await?;
    let key = own_key(&request.name, lease);
    let place = line_up(node, &request.name, &key, &request.value, lease).await?;
    let abandon = Abandon { node: node.clone(), key: Some(key.clone()) };
    if place.existed && place.value != request.value {
        put_own(node, &key, place.created, &request.value, lease).await?;
    }
    wait_in_line(node, &request.name, place.created).await?;
    abandon.keep();
    let leader = ep::LeaderKey { name: request.name, key, rev: place.created, lease };
    Ok(ep::CampaignResponse { header: Some(node.header(place.revision)), leader: Some(leader) })
}

async fn put_own(
    node: &Node,
    key: &Bytes,
    created: i64,
    value: &Bytes,
    lease: i64,
) -> Result<i64, Refusal> {
    let put =
        pb::PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
    let answer = guarded(node, key, created, Request::RequestPut(put)).await?;
    if answer.succeeded {
        Ok(answer.revision)
    } else {
        Err(Refusal::unknown("election: not leader"))
    }
}

fn given(leader: Option<ep::LeaderKey>) -> Result<ep::LeaderKey, Refusal> {
    leader.ok_or_else(|| Refusal::unknown("\"leader\" field must be provided"))
}

/// Puts with the lease in the request, not the key's own (`reference/observed.md` E).
async fn proclaim(
    node: &Node,
    call: &Call,
    request: ep::ProclaimRequest,
) -> Result<ep::ProclaimResponse, Refusal> {
    door::enter(node, call)?;
    let leader = given(request.leader)?;
    let lease = session(node, leader.lease).await?;
    let revision = put_own(node, &leader.key, leader.rev, &request.value, lease).await?;
    Ok(ep::ProclaimResponse { header: Some(node.header(revision)) })
}

async fn leader(
    node: &Node,
    call: &Call,
    request: ep::LeaderRequest,
) -> Result<ep::LeaderResponse, Refusal> {
    door::enter(node, call)?;
    let (revision, first) = first(node, &request.name).await?;
    let first = first.ok_or_else(|| Refusal::unknown("election: no leader"))?;
    Ok(ep::LeaderResponse { header: Some(node.header(revision)), kv: Some(to_wire(&first)) })
}

async fn first(node: &Node, name: &Bytes) -> Result<(i64, Option<Row>), Refusal> {
    let found = read_range(node, first_in_line(name), None).await?;
    Ok((found.revision, found.rows.into_iter().next()))
}

fn to_wire(row: &Row) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: row.key_bytes(),
        create_revision: row.create_revision,
        mod_revision: row.revision.main,
        version: row.version,
        value: row.value_bytes(),
        lease: row.lease,
    }
}

/// The leader now, then every change of leader or value, until the caller goes.
async fn observe(node: &Node, call: &Call, message: Bytes, mut sink: Sink) -> Result<(), Refusal> {
    door::enter(node, call)?;
    let request: ep::LeaderRequest = rpc::decode_streamed(message)?;
    let (revision, mut shown) = first(node, &request.name).await?;
    if let Some(row) = &shown {
        let header = Some(node.header(revision));
        sink.send(&ep::LeaderResponse { header, kv: Some(to_wire(row)) }).await?;
    }
    let mut stream = node.watch(0);
    stream.create(watch_of(line(&request.name), revision + 1));
    while let Some(responses) = stream.next().await {
        for response in responses {
            stream.sent(1, response.bytes());
            let Body::Events { events, .. } = &response.body else { continue };
            for event in events.events() {
                let row = &event.row;
                let concerns = shown.as_ref().is_none_or(|shown| shown.key() == row.key());
                if !concerns {
                    continue;
                }
                // The leader went: whoever is next in line leads.
                let (revision, next) = if row.tombstone {
                    first(node, &request.name).await?
                } else {
                    (row.revision.main, Some(row.clone()))
                };
                let news = next.as_ref().is_some_and(|next| {
                    shown.as_ref().is_none_or(|shown| shown.revision < next.revision)
                        || shown.as_ref().is_some_and(|shown| shown.key() != next.key())
                });
                if news && let Some(row) = &next {
                    let header = Some(node.header(revision));
                    sink.send(&ep::LeaderResponse { header, kv: Some(to_wire(row)) }).await?;
                }
                shown = next;
            }
        }
    }
    Err(Refusal::Stopped)
}

/// Done even if the caller did not lead.
async fn resign(
    node: &Node,
    call: &Call,
    request: ep::ResignRequest,
) -> Result<ep::ResignResponse, Refusal> {
    door::enter(node, call)?;
    let leader = given(request.leader)?;
    let delete = pb::DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
    let request = Request::RequestDeleteRange(delete);
    let answer = guarded(node, &leader.key, leader.rev, request).await?;
    Ok(ep::ResignResponse { header: Some(node.header(answer.revision)) })
}

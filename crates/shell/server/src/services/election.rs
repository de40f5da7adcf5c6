//! The Election service (`docs/etcd/api.md` 11).

use auth::Permitted;
use bytes::Bytes;
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use proto::v3electionpb as ep;
use rpc::{Call, Rpc, Sink};
use types::{Refusal, Row};
use watch::Body;

use crate::desk::Desk;
use crate::door::AtLearners;
use crate::services::concurrency::{
    Abandon, first_in_line, guarded, line_up, own_key, plain, session, wait_in_line, watch_of_line,
};
use crate::services::inner::Inner;
use crate::services::{Methods, Outer};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.one::<Outer, _, _, _>(Rpc::ElectionCampaign, plain, campaign);
    methods.one::<Outer, _, _, _>(Rpc::ElectionProclaim, plain, proclaim);
    methods.one::<Outer, _, _, _>(Rpc::ElectionLeader, plain, leader);
    methods.many::<Outer, _, _>(Rpc::ElectionObserve, AtLearners::Refused, quietly, observe);
    methods.one::<Outer, _, _, _>(Rpc::ElectionResign, plain, resign);
}

/// Whoever may not look is told nothing, as in etcd: the stream just ends (`docs/etcd/observed.md` E).
fn quietly(refusal: Refusal) -> Result<(), Refusal> {
    match refusal {
        Refusal::PermissionDenied
        | Refusal::UserEmpty
        | Refusal::UserNotFound
        | Refusal::AuthOldRevision
        | Refusal::InvalidAuthToken => Ok(()),
        other => Err(plain(other)),
    }
}

/// The header is that of the first transaction, even after waiting (`docs/etcd/observed.md` E).
async fn campaign(
    desk: Desk,
    call: Call,
    permitted: Permitted<ep::CampaignRequest>,
) -> Result<ep::CampaignResponse, Refusal> {
    let (inner, request) = (&Inner::new(desk, call), permitted.into_message());
    let lease = session(inner, request.lease).await?;
    let key = own_key(&request.name, lease);
    let place = line_up(inner, &request.name, &key, &request.value, lease).await?;
    let abandon = Abandon { inner: inner.clone(), key: Some(key.clone()) };
    if place.existed && place.value != request.value {
        put_own(inner, &key, place.created, &request.value, lease).await?;
    }
    wait_in_line(inner, &request.name, place.created).await?;
    abandon.keep();
    let leader = ep::LeaderKey { name: request.name, key, rev: place.created, lease };
    Ok(ep::CampaignResponse {
        header: Some(inner.desk.header(place.revision)),
        leader: Some(leader),
    })
}

async fn put_own(
    inner: &Inner,
    key: &Bytes,
    created: i64,
    value: &Bytes,
    lease: i64,
) -> Result<i64, Refusal> {
    let put =
        pb::PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
    let answer = guarded(inner, key, created, Request::RequestPut(put)).await?;
    if answer.succeeded {
        Ok(answer.revision)
    } else {
        Err(Refusal::unknown("election: not leader"))
    }
}

fn given(leader: Option<ep::LeaderKey>) -> Result<ep::LeaderKey, Refusal> {
    leader.ok_or_else(|| Refusal::unknown("\"leader\" field must be provided"))
}

/// Puts with the lease in the request, not the key's own (`docs/etcd/observed.md` E).
async fn proclaim(
    desk: Desk,
    call: Call,
    permitted: Permitted<ep::ProclaimRequest>,
) -> Result<ep::ProclaimResponse, Refusal> {
    let (inner, request) = (&Inner::new(desk, call), permitted.into_message());
    let leader = given(request.leader)?;
    let lease = session(inner, leader.lease).await?;
    let revision = put_own(inner, &leader.key, leader.rev, &request.value, lease).await?;
    Ok(ep::ProclaimResponse { header: Some(inner.desk.header(revision)) })
}

async fn leader(
    desk: Desk,
    call: Call,
    permitted: Permitted<ep::LeaderRequest>,
) -> Result<ep::LeaderResponse, Refusal> {
    let (inner, request) = (&Inner::new(desk, call), permitted.into_message());
    let (revision, first) = first(inner, &request.name).await?;
    let first = first.ok_or_else(|| Refusal::unknown("election: no leader"))?;
    Ok(ep::LeaderResponse { header: Some(inner.desk.header(revision)), kv: Some(to_wire(&first)) })
}

async fn first(inner: &Inner, name: &Bytes) -> Result<(i64, Option<Row>), Refusal> {
    let found = inner.range(first_in_line(name)).await?;
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
async fn observe(
    desk: Desk,
    call: Call,
    permitted: Permitted<ep::LeaderRequest>,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let (inner, request) = (&Inner::new(desk, call), permitted.into_message());
    let (revision, mut shown) = first(inner, &request.name).await?;
    if let Some(row) = &shown {
        let header = Some(inner.desk.header(revision));
        sink.send(&ep::LeaderResponse { header, kv: Some(to_wire(row)) }).await?;
    }
    let mut stream = inner.watch(watch_of_line(&request.name, revision + 1)).await?;
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
                    first(inner, &request.name).await?
                } else {
                    (row.revision.main, Some(row.clone()))
                };
                let news = next.as_ref().is_some_and(|next| {
                    shown.as_ref().is_none_or(|shown| shown.revision < next.revision)
                        || shown.as_ref().is_some_and(|shown| shown.key() != next.key())
                });
                if news && let Some(row) = &next {
                    let header = Some(inner.desk.header(revision));
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
    desk: Desk,
    call: Call,
    permitted: Permitted<ep::ResignRequest>,
) -> Result<ep::ResignResponse, Refusal> {
    let (inner, request) = (&Inner::new(desk, call), permitted.into_message());
    let leader = given(request.leader)?;
    let delete = pb::DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
    let request = Request::RequestDeleteRange(delete);
    let answer = guarded(inner, &leader.key, leader.rev, request).await?;
    Ok(ep::ResignResponse { header: Some(inner.desk.header(answer.revision)) })
}

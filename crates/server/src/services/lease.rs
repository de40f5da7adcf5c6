//! The Lease service.

use apply::Answer;
use auth::Permitted;
use futures_util::FutureExt as _;
use lease::KeepAlive;
use proto::etcdserverpb as pb;
use rpc::{Call, Inbound, Rpc, Sink};
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{LeaseId, Refusal};

use crate::desk::Desk;
use crate::services::Methods;
use crate::services::kv::{revision_of, unexpected};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::LeaseGrant, grant);
    methods.unary(Rpc::LeaseRevoke, revoke);
    methods.bidi(Rpc::LeaseKeepAlive, keep_alive);
    methods.unary_about_leases(Rpc::LeaseTimeToLive, time_to_live);
    methods.unary_about_leases(Rpc::LeaseLeases, leases);
}

async fn grant(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::LeaseGrantRequest>,
) -> Result<pb::LeaseGrantResponse, Refusal> {
    let (revision, id, ttl) = grant_lease(&desk, permitted).await?;
    let header = Some(desk.header(revision));
    Ok(pb::LeaseGrantResponse { header, id, ttl, error: String::new() })
}

/// Grants a lease, choosing its id if it has none; answers with revision, id and time to live.
pub(crate) async fn grant_lease(
    desk: &Desk,
    permitted: Permitted<pb::LeaseGrantRequest>,
) -> Result<(i64, LeaseId, i64), Refusal> {
    let (mut request, by) = permitted.split();
    if request.id == 0 {
        request.id = desk.next_lease_id();
    }
    match desk.propose(desk.readmit(by, request)?).await? {
        Answer::LeaseGrant { revision, id, ttl } => {
            desk.metrics().lease.ttl.observe(ttl as f64);
            Ok((revision, id, ttl))
        }
        other => Err(unexpected(&other)),
    }
}

async fn revoke(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::LeaseRevokeRequest>,
) -> Result<pb::LeaseRevokeResponse, Refusal> {
    let answer = desk.propose(permitted).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(desk.header(revision_of(&answer))) })
}

/// One answer per request, in order. The header is made before the renewal; a lease that is not there
/// is answered with a time to live of 0, and the stream goes on.
async fn keep_alive(
    desk: Desk,
    call: Call,
    mut inbound: Inbound,
    mut sink: Sink,
) -> Result<(), Refusal> {
    while let Some(request) = inbound.next_of::<pb::LeaseKeepAliveRequest>().await? {
        let mut answers = Vec::new();
        let mut next = Some(Ok(Some(request)));
        let ended = loop {
            match next {
                Some(Ok(Some(request))) => match renew(&desk, &call, request).await {
                    Ok(answer) => answers.push(answer),
                    Err(refusal) => break Some(Err(refusal)),
                },
                Some(Ok(None)) => break Some(Ok(())),
                Some(Err(refusal)) => break Some(Err(refusal)),
                None => break None,
            }
            // What has arrived with it is answered with it.
            next = match answers.len() < KEEP_ALIVES_TOGETHER {
                true => inbound.next_of().now_or_never(),
                false => None,
            };
        };
        sink.send_all(&answers).await?;
        if let Some(ended) = ended {
            return ended;
        }
    }
    Ok(())
}

/// Keep-alives of one stream that are answered together, at most.
const KEEP_ALIVES_TOGETHER: usize = 128;

async fn renew(
    desk: &Desk,
    call: &Call,
    request: pb::LeaseKeepAliveRequest,
) -> Result<pb::LeaseKeepAliveResponse, Refusal> {
    let header = Some(desk.header(desk.revision()));
    let permitted = desk.admit_with_keys(Rpc::LeaseKeepAlive, call, request).await?;
    let ttl = match desk.keep_alive(&permitted).await? {
        KeepAlive::Renewed { ttl_seconds, .. } => {
            desk.metrics().lease.renewed.inc();
            ttl_seconds
        }
        KeepAlive::Expired | KeepAlive::NotFound => 0,
        KeepAlive::NotPrimary => return Err(Refusal::unknown("not a primary lessor")),
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: permitted.message().id, ttl })
}

/// Lists that the engine makes, which applies nothing meanwhile: one waits there at most, so that every list
/// is followed by whatever else waits for the engine, and one whose caller has gone is never made.
static LISTINGS: Semaphore = Semaphore::const_new(1);

async fn listing() -> Result<SemaphorePermit<'static>, Refusal> {
    LISTINGS.acquire().await.map_err(|_| Refusal::Stopped)
}

async fn time_to_live(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::LeaseTimeToLiveRequest>,
) -> Result<pb::LeaseTimeToLiveResponse, Refusal> {
    let list = if permitted.message().keys { Some(listing().await?) } else { None };
    let left = desk.time_to_live(&permitted).await?;
    drop(list);
    let header = Some(desk.header(desk.revision()));
    let id = permitted.message().id;
    let mut response = pb::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() };
    if let Some(left) = left {
        response.ttl = left.time.remaining_seconds;
        response.granted_ttl = left.time.granted_seconds;
        response.keys = left.keys;
    }
    Ok(response)
}

async fn leases(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::LeaseLeasesRequest>,
) -> Result<pb::LeaseLeasesResponse, Refusal> {
    let list = listing().await?;
    let leases = desk.leases(&permitted).await?;
    drop(list);
    let leases = leases.into_iter().map(|id| pb::LeaseStatus { id }).collect();
    Ok(pb::LeaseLeasesResponse { header: Some(desk.header(desk.revision())), leases })
}

//! The Lease service.

use apply::Answer;
use auth::Permitted;
use futures_util::FutureExt as _;
use lease::KeepAlive;
use peer::LeaseRefusal;
use proto::etcdserverpb as pb;
use rpc::{Call, Inbound, Rpc, Sink, Turn, aside};
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{LeaseId, Refusal};

use crate::desk::Desk;
use crate::leader;
use crate::services::kv::{revision_of, unexpected};
use crate::services::{Methods, WithKeys};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.unary(Rpc::LeaseGrant, grant);
    methods.unary(Rpc::LeaseRevoke, revoke);
    methods.bidi(Rpc::LeaseKeepAlive, keep_alive);
    let as_it_is = |refusal| refusal;
    methods.one::<WithKeys, _, _, _>(Rpc::LeaseTimeToLive, as_it_is, time_to_live);
    methods.one::<WithKeys, _, _, _>(Rpc::LeaseLeases, as_it_is, leases);
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
    let ttl = match renew_here(desk, &permitted).await? {
        Some(ttl) => ttl,
        None => renew_there(desk, permitted.message().id).await?,
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: permitted.message().id, ttl })
}

/// A lease's new time to live, 0 for one that is not there; `None` if this member does not lead.
async fn renew_here(
    desk: &Desk,
    permitted: &Permitted<pb::LeaseKeepAliveRequest>,
) -> Result<Option<i64>, Refusal> {
    let mut is_caught_up = false;
    loop {
        if !desk.node().is_leader() {
            return Ok(None);
        }
        match desk.keep_alive(permitted).await {
            Ok(KeepAlive::Renewed { ttl_seconds, .. }) => {
                desk.metrics().lease.renewed.inc();
                return Ok(Some(ttl_seconds));
            }
            // Its grant may be committed and not applied yet.
            Ok(KeepAlive::NotFound) if !is_caught_up => leader::caught_up(desk.node()).await?,
            Ok(KeepAlive::Expired | KeepAlive::NotFound) => return Ok(Some(0)),
            Ok(KeepAlive::NotPrimary) | Err(Refusal::LeaderChanged) => return Ok(None),
            Err(refusal) => return Err(refusal),
        }
        is_caught_up = true;
    }
}

/// The same of the leader, whoever that is.
async fn renew_there(desk: &Desk, lease: LeaseId) -> Result<i64, Refusal> {
    let asker = &desk.network().asker;
    leader::ask(desk, async |url| match asker.keep_alive(url, lease).await {
        Ok(Ok(ttl)) => Some(Ok(ttl)),
        Ok(Err(LeaseRefusal::NotFound)) => Some(Ok(0)),
        Ok(Err(_)) | Err(_) => None,
    })
    .await
}

/// Lists that are made, page by page, between what the engine applies: one at a time, because each is in memory.
static LISTINGS: Semaphore = Semaphore::const_new(1);

async fn listing() -> Result<SemaphorePermit<'static>, Refusal> {
    LISTINGS.acquire().await.map_err(|_| Refusal::Stopped)
}

async fn time_to_live(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::LeaseTimeToLiveRequest>,
) -> Result<pb::LeaseTimeToLiveResponse, Refusal> {
    let id = permitted.message().id;
    let left = match left_here(&desk, &permitted).await? {
        Some(left) => left,
        None => left_there(&desk, permitted.message()).await?,
    };
    let gone = || pb::LeaseTimeToLiveResponse { id, ttl: -1, ..Default::default() };
    let header = Some(desk.header(desk.revision()));
    Ok(pb::LeaseTimeToLiveResponse { header, ..left.unwrap_or_else(gone) })
}

/// What is left of a lease, if anything is; nothing at all is known if this member does not lead.
async fn left_here(
    desk: &Desk,
    permitted: &Permitted<pb::LeaseTimeToLiveRequest>,
) -> Result<Option<Option<pb::LeaseTimeToLiveResponse>>, Refusal> {
    if !desk.node().is_leader() {
        return Ok(None);
    }
    leader::caught_up(desk.node()).await?;
    let list = if permitted.message().keys { Some(listing().await?) } else { None };
    let left = desk.time_to_live(permitted).await?;
    drop(list);
    // What somebody says of a lease's time who does not lead any more means nothing.
    if !desk.node().is_leader() {
        return Ok(None);
    }
    Ok(Some(left.map(|left| pb::LeaseTimeToLiveResponse {
        header: None,
        id: permitted.message().id,
        ttl: left.time.remaining_seconds,
        granted_ttl: left.time.granted_seconds,
        keys: left.keys,
    })))
}

/// The same of the leader, whoever that is.
async fn left_there(
    desk: &Desk,
    request: &pb::LeaseTimeToLiveRequest,
) -> Result<Option<pb::LeaseTimeToLiveResponse>, Refusal> {
    let asker = &desk.network().asker;
    leader::ask(desk, async |url| match asker.time_to_live(url, *request).await {
        Ok(Ok(left)) => Some(Ok(Some(left))),
        Ok(Err(LeaseRefusal::NotFound)) => Some(Ok(None)),
        Ok(Err(_)) | Err(_) => None,
    })
    .await
}

/// The lease that ends first before the others.
fn in_order(mut leases: Vec<(u64, LeaseId)>) -> Vec<pb::LeaseStatus> {
    leases.sort_unstable();
    leases.into_iter().map(|(_, id)| pb::LeaseStatus { id }).collect()
}

/// Leases that are put in order on their connection's thread, at most.
const SORTED_HERE_MAX: usize = 1000;

async fn leases(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::LeaseLeasesRequest>,
) -> Result<pb::LeaseLeasesResponse, Refusal> {
    leader::caught_up(desk.node()).await?;
    let list = listing().await?;
    let leases = desk.leases(&permitted).await?;
    let leases = match leases.len() <= SORTED_HERE_MAX {
        true => in_order(leases),
        false => aside(Turn::take(Some(&call)).await?, move |_| in_order(leases)).await?,
    };
    drop(list);
    Ok(pb::LeaseLeasesResponse { header: Some(desk.header(desk.revision())), leases })
}

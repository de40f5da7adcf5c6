//! The Lease service.

use apply::{Answer, check};
use futures_util::FutureExt as _;
use lease::KeepAlive;
use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Inbound, Router, Rpc, Sink};
use types::{LeaseId, Refusal};

use crate::services::kv::{revision_of, unexpected};
use crate::{door, quota};

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::LeaseGrant.path(), move |call, request| grant(at.clone(), call, request));
    let at = node.clone();
    router
        .unary_of(Rpc::LeaseRevoke.path(), move |call, request| revoke(at.clone(), call, request));
    let at = node.clone();
    router.bidi(Rpc::LeaseKeepAlive.path(), move |call, inbound, sink| {
        keep_alive(at.clone(), call, inbound, sink)
    });
    let at = node.clone();
    router.unary_of(Rpc::LeaseTimeToLive.path(), move |call, request| {
        time_to_live(at.clone(), call, request)
    });
    let at = node.clone();
    router
        .unary_of(Rpc::LeaseLeases.path(), move |call, request| leases(at.clone(), call, request));
}

async fn grant(
    node: Node,
    call: Call,
    request: pb::LeaseGrantRequest,
) -> Result<pb::LeaseGrantResponse, Refusal> {
    door::enter(&node, &call)?;
    quota::check(&node, check::LEASE_COST).await?;
    let (revision, id, ttl) = grant_lease(&node, request.id, request.ttl).await?;
    let header = Some(node.header(revision));
    Ok(pb::LeaseGrantResponse { header, id, ttl, error: String::new() })
}

/// Grants a lease, choosing its id if it has none; answers with revision, id and time to live.
pub(crate) async fn grant_lease(
    node: &Node,
    id: LeaseId,
    ttl: i64,
) -> Result<(i64, LeaseId, i64), Refusal> {
    let id = if id == 0 { node.next_lease_id() } else { id };
    let request = pb::LeaseGrantRequest { ttl, id };
    let request = pb::InternalRaftRequest { lease_grant: Some(request), ..Default::default() };
    match node.propose(request).await? {
        Answer::LeaseGrant { revision, id, ttl } => {
            node.metrics().lease.ttl.observe(ttl as f64);
            Ok((revision, id, ttl))
        }
        other => Err(unexpected(&other)),
    }
}

async fn revoke(
    node: Node,
    call: Call,
    request: pb::LeaseRevokeRequest,
) -> Result<pb::LeaseRevokeResponse, Refusal> {
    door::enter(&node, &call)?;
    let request = pb::InternalRaftRequest { lease_revoke: Some(request), ..Default::default() };
    let answer = node.propose(request).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(node.header(revision_of(&answer))) })
}

/// One answer per request, in order. The header is made before the renewal; a lease that is not there
/// is answered with a time to live of 0, and the stream goes on.
async fn keep_alive(
    node: Node,
    call: Call,
    mut inbound: Inbound,
    mut sink: Sink,
) -> Result<(), Refusal> {
    door::enter(&node, &call)?;
    while let Some(request) = inbound.next_of::<pb::LeaseKeepAliveRequest>().await? {
        let mut answers = Vec::new();
        let mut next = Some(Ok(Some(request)));
        let ended = loop {
            match next {
                Some(Ok(Some(request))) => match renew(&node, request).await {
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
    node: &Node,
    request: pb::LeaseKeepAliveRequest,
) -> Result<pb::LeaseKeepAliveResponse, Refusal> {
    let header = Some(node.header(node.revision()));
    let ttl = match node.keep_alive(request.id).await? {
        KeepAlive::Renewed { ttl_seconds, .. } => {
            node.metrics().lease.renewed.inc();
            ttl_seconds
        }
        KeepAlive::Expired | KeepAlive::NotFound => 0,
        KeepAlive::NotPrimary => return Err(Refusal::unknown("not a primary lessor")),
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: request.id, ttl })
}

async fn time_to_live(
    node: Node,
    call: Call,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Refusal> {
    door::enter(&node, &call)?;
    let left = node.time_to_live(request.id, request.keys).await?;
    let header = Some(node.header(node.revision()));
    let mut response =
        pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
    if let Some(left) = left {
        response.ttl = left.time.remaining_seconds;
        response.granted_ttl = left.time.granted_seconds;
        response.keys = left.keys;
    }
    Ok(response)
}

async fn leases(
    node: Node,
    call: Call,
    _request: pb::LeaseLeasesRequest,
) -> Result<pb::LeaseLeasesResponse, Refusal> {
    door::enter(&node, &call)?;
    let leases = node.leases().await?.into_iter().map(|id| pb::LeaseStatus { id }).collect();
    Ok(pb::LeaseLeasesResponse { header: Some(node.header(node.revision())), leases })
}

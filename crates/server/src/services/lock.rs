//! The Lock service (`reference/api.md` 10).

use node::Node;
use proto::v3lockpb as lp;
use rpc::{Call, Router, Rpc};
use types::Refusal;

use crate::door;
use crate::services::concurrency::{
    Abandon, delete, get, line_up, own_key, plain, session, wait_in_line,
};

pub(crate) fn register(router: &mut Router, node: &Node) {
    let at = node.clone();
    router.unary_of(Rpc::Lock.path(), move |call, request| {
        let node = at.clone();
        async move { lock(&node, &call, request).await.map_err(plain) }
    });
    let at = node.clone();
    router.unary_of(Rpc::LockUnlock.path(), move |call, request| {
        let node = at.clone();
        async move { unlock(&node, &call, request).await.map_err(plain) }
    });
}

async fn lock(
    node: &Node,
    call: &Call,
    request: lp::LockRequest,
) -> Result<lp::LockResponse, Refusal> {
    door::enter(node, call)?;
    let lease = session(node, request.lease).await?;
    let key = own_key(&request.name, lease);
    let place = line_up(node, &request.name, &key, &bytes::Bytes::new(), lease).await?;
    let mut revision = place.revision;
    if place.first.is_some() {
        let abandon = Abandon { node: node.clone(), key: Some(key.clone()) };
        wait_in_line(node, &request.name, place.created).await?;
        // The lease may have ended while it waited, and the key with it.
        let (now, own) = get(node, &key).await?;
        if own.is_none() {
            return Err(Refusal::unknown("mutex: session is expired"));
        }
        abandon.keep();
        revision = now;
    }
    Ok(lp::LockResponse { header: Some(node.header(revision)), key })
}

async fn unlock(
    node: &Node,
    call: &Call,
    request: lp::UnlockRequest,
) -> Result<lp::UnlockResponse, Refusal> {
    door::enter(node, call)?;
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let revision = delete(node, &request.key).await?;
    Ok(lp::UnlockResponse { header: Some(node.header(revision)) })
}

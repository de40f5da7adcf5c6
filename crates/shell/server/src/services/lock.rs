//! The Lock service (`docs/etcd/api.md` 10).

use auth::Permitted;
use proto::v3lockpb as lp;
use rpc::{Call, Rpc};
use types::Refusal;

use crate::desk::Desk;
use crate::services::concurrency::{Abandon, get, line_up, own_key, plain, session, wait_in_line};
use crate::services::inner::Inner;
use crate::services::{Methods, Outer};

pub(crate) fn register(methods: &mut Methods<'_>) {
    methods.one::<Outer, _, _, _>(Rpc::Lock, plain, lock);
    methods.one::<Outer, _, _, _>(Rpc::LockUnlock, plain, unlock);
}

async fn lock(
    desk: Desk,
    call: Call,
    permitted: Permitted<lp::LockRequest>,
) -> Result<lp::LockResponse, Refusal> {
    let (inner, request) = (Inner::new(desk, call), permitted.into_message());
    let lease = session(&inner, request.lease).await?;
    let key = own_key(&request.name, lease);
    let place = line_up(&inner, &request.name, &key, &bytes::Bytes::new(), lease).await?;
    let mut revision = place.revision;
    if place.first.is_some() {
        let abandon = Abandon { inner: inner.clone(), key: Some(key.clone()) };
        wait_in_line(&inner, &request.name, place.created).await?;
        // The lease may have ended while it waited, and the key with it.
        let (now, own) = get(&inner, &key).await?;
        if own.is_none() {
            return Err(Refusal::unknown("mutex: session is expired"));
        }
        abandon.keep();
        revision = now;
    }
    Ok(lp::LockResponse { header: Some(inner.desk.header(revision)), key })
}

async fn unlock(
    desk: Desk,
    call: Call,
    permitted: Permitted<lp::UnlockRequest>,
) -> Result<lp::UnlockResponse, Refusal> {
    let (inner, request) = (Inner::new(desk, call), permitted.into_message());
    let revision = inner.delete(request.key).await?;
    Ok(lp::UnlockResponse { header: Some(inner.desk.header(revision)) })
}

//! Streams that are passed on as they are, as fast as the slower of both ends reads.

use bytes::Bytes;
use client::{Status, framed};
use rpc::{Call, Inbound, Rpc, Sink};
use types::Refusal;

use super::namespace::Namespace;
use super::upstream::{Opened, Passed, Upstream, admit};

fn of_status(status: Status) -> Refusal {
    Refusal::Other(status.code, status.message.into())
}

/// One message in, many out.
///
/// # Errors
/// How the server ended it.
pub async fn one_way(
    upstream: &Upstream,
    namespace: &Namespace,
    call: Call,
    rpc: Rpc,
    message: Bytes,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let message = namespace.enter(rpc, message)?;
    let Opened { sending, streaming, .. } = &mut upstream.open(&call, rpc).await?;
    sending.send_paced(framed(&message).map_err(of_status)?).await.map_err(of_status)?;
    sending.end().map_err(of_status)?;
    let unread = call.unread();
    let mut reserved = None;
    loop {
        match streaming.framed(admit(&unread, &mut reserved)).await.map_err(of_status)? {
            Some(frame) => sink.send(&namespace.leave(rpc, Passed::of(frame))?).await?,
            None => return Ok(()),
        }
    }
}

/// Messages both ways. `enter` and `leave` change them on their ways.
///
/// # Errors
/// How the server ended it.
pub async fn both_ways(
    upstream: &Upstream,
    call: Call,
    rpc: Rpc,
    mut inbound: Inbound,
    mut sink: Sink,
    change: Change<'_>,
) -> Result<(), Refusal> {
    let Opened { sending, streaming, .. } = &mut upstream.open(&call, rpc).await?;
    let unread = call.unread();
    let mut reserved = None;
    let there = async {
        while let Some(message) = inbound.next().await? {
            let message = (change.enter)(message)?;
            sending.send_paced(framed(&message).map_err(of_status)?).await.map_err(of_status)?;
        }
        sending.end().map_err(of_status)?;
        // Only the server ends a call.
        std::future::pending().await
    };
    let back = async {
        loop {
            match streaming.framed(admit(&unread, &mut reserved)).await.map_err(of_status)? {
                Some(frame) => sink.send(&(change.leave)(Passed::of(frame))?).await?,
                None => return Ok(()),
            }
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}

/// What becomes of messages on their ways.
pub struct Change<'a> {
    /// To the server.
    pub enter: &'a dyn Fn(Bytes) -> Result<Bytes, Refusal>,
    /// From the server.
    pub leave: &'a dyn Fn(Passed) -> Result<Passed, Refusal>,
}

//! Messages by POST, one at a time: while no stream is there, and to members that are not peers yet.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use proto::raftpb::Message;

use super::link::{NoAnswer, Pool, begin};
use super::peers::Peer;
use super::reader::refusal;
use super::shared::Core;
use super::{LocalBody, whole};
use crate::rules::Failure;
use crate::wire::{Segments, encode_message};

/// How many POSTs to one peer are under way at most.
pub const WORKERS: usize = 4;

/// Posts what waits, until it is stopped.
pub(super) async fn post_messages(core: Arc<Core>, peer: Arc<Peer>, pool: Rc<Pool>) {
    loop {
        let Some(message) = peer.next_posted() else {
            peer.posted.notified().await;
            continue;
        };
        match post(&core, &peer, &pool, &message).await {
            Ok(bytes) => {
                peer.counters.sent_bytes.add(bytes as u64);
                core.worked(&peer);
            }
            Err(failed) => {
                peer.counters.sent_failures.inc();
                core.lost(&peer);
                let (action, way) = ("write", "pipeline");
                core.failed(&peer, &Failure { action, way, reason: failed.reason });
            }
        }
    }
}

async fn post(
    core: &Arc<Core>,
    peer: &Peer,
    pool: &Pool,
    message: &Message,
) -> Result<usize, NoAnswer> {
    let mut out = Segments::default();
    encode_message(message, &mut out);
    let bytes = out.len();
    // One buffer: these are few, and a request may have to be made twice.
    let body = Bytes::from(out.take().concat());
    let make = |url: &_| {
        let request = begin(core, Method::POST, url, "/raft");
        let request = request.header(http::header::CONTENT_TYPE, "application/protobuf");
        let body: LocalBody = whole(body.clone());
        request.body(body).expect("numbers, and URLs that were checked, make a request")
    };
    let (status, text) = pool.ask(make).await?;
    match status {
        StatusCode::NO_CONTENT => Ok(bytes),
        StatusCode::FORBIDDEN => {
            core.raft.removed_here();
            Err(NoAnswer::because("the member has been permanently removed from the cluster"))
        }
        _ => Err(NoAnswer::because(refusal(core, peer, status, &text))),
    }
}

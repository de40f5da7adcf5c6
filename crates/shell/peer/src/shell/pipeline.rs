//! Messages by POST, one at a time: while no stream is there, and to members that are not peers yet.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use proto::raftpb::Message;

use super::LocalBody;
use super::link::{NoAnswer, Pool, begin};
use super::peers::Peer;
use super::reader::refusal;
use super::shared::Core;
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
    let parts = out.take();
    let make = |url: &_| {
        let request = begin(core, Method::POST, url, "/raft");
        let request = request.header(http::header::CONTENT_TYPE, "application/protobuf");
        let body: LocalBody = Box::pin(Parts { left: bytes, parts: parts.clone().into() });
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

/// A message in the parts it was encoded to; the values of its entries are not copied here either.
struct Parts {
    left: usize,
    parts: VecDeque<Bytes>,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let part = self.parts.pop_front();
        self.left -= part.as_ref().map_or(0, Bytes::len);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

//! The sending end of a stream: an answer's body that never ends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use proto::raftpb::Message;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::event::Event;
use super::peers::{Peer, Taken};
use super::shared::Core;
use crate::rules::StreamKind;
use crate::wire::{MsgAppEncoder, Segments, encode_frame, link_heartbeat};

/// How often a stream says that it lives, whatever else flows: a third of what its reader waits.
pub const HEARTBEAT: Duration = Duration::from_millis(5000 / 3);

/// What a peer reads when it asked for a stream.
pub(super) struct StreamBody {
    core: Arc<Core>,
    peer: Arc<Peer>,
    kind: StreamKind,
    number: u64,
    encoder: MsgAppEncoder,
    ready: VecDeque<Bytes>,
    beat: Interval,
}

impl StreamBody {
    /// Takes the place of the stream of this kind that was there.
    pub fn attach(core: &Arc<Core>, peer: &Arc<Peer>, kind: StreamKind) -> StreamBody {
        let number = peer.attach(kind);
        peer.hear();
        core.report.event(said(
            "established TCP streaming connection with remote peer",
            kind,
            core,
            peer,
        ));
        core.worked(peer);
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        StreamBody {
            core: core.clone(),
            peer: peer.clone(),
            kind,
            number,
            encoder: MsgAppEncoder::default(),
            ready: VecDeque::new(),
            beat,
        }
    }

    fn encode(&mut self, messages: &[Message]) {
        let mut out = Segments::default();
        for message in messages {
            match self.kind {
                StreamKind::MsgApp => self.encoder.encode(message, &mut out),
                StreamKind::Message => encode_frame(message, &mut out),
            }
        }
        self.ready.extend(out.take());
    }

    fn heartbeat(&self) -> Bytes {
        match self.kind {
            StreamKind::MsgApp => MsgAppEncoder::link_heartbeat(),
            StreamKind::Message => link_heartbeat(),
        }
    }
}

fn said(text: &'static str, kind: StreamKind, core: &Core, peer: &Peer) -> Event {
    Event::info(text, &peer.label)
        .with("stream-writer-type", kind.name())
        .with("local-member-id", &core.own_label)
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                self.peer.counters.sent_bytes.add(part.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            if self.beat.poll_tick(cx).is_ready() {
                let heartbeat = self.heartbeat();
                self.ready.push_back(heartbeat);
                continue;
            }
            match self.peer.take(self.kind, self.number, cx.waker()) {
                Taken::Messages(messages) => self.encode(&messages),
                Taken::Nothing => return Poll::Pending,
                Taken::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let (current, lost) = self.peer.detach(self.kind, self.number);
        if lost {
            self.core.lost(&self.peer);
        }
        let text = match current {
            true => "lost TCP streaming connection with remote peer",
            false => "closed TCP streaming connection with remote peer",
        };
        let mut event = said(text, self.kind, &self.core, &self.peer);
        event.level = super::event::Level::Warn;
        self.core.report.event(event);
    }
}

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
use super::peers::{Peer, TURN_BYTES_MAX, Taken};
use super::shared::Core;
use crate::rules::StreamKind;
use crate::wire::{MsgAppEncoder, Segments, encode_frame, link_heartbeat};

/// How often a stream says that it lives, whatever else flows: a third of what its reader waits.
pub const HEARTBEAT: Duration = Duration::from_millis(5000 / 3);

/// What a stream writes, a turn at a time. All streams share one thread: one that is fed for as long as its socket
/// takes more would keep a member that is level from its next entry while a member that lags is sent all it missed.
struct Outbox {
    peer: Arc<Peer>,
    kind: StreamKind,
    number: u64,
    encoder: MsgAppEncoder,
    ready: VecDeque<Bytes>,
    beat: Interval,
    /// Bytes handed out since others had the thread.
    turn_bytes: usize,
}

impl Outbox {
    /// Takes the place of the stream of this kind that was there.
    fn attach(peer: &Arc<Peer>, kind: StreamKind) -> Outbox {
        let number = peer.attach(kind);
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Outbox {
            peer: peer.clone(),
            kind,
            number,
            encoder: MsgAppEncoder::default(),
            ready: VecDeque::new(),
            beat,
            turn_bytes: 0,
        }
    }

    /// The next bytes; the end once another stream took its place. After a whole turn it lets others go on first,
    /// and has its task woken at once.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                self.turn_bytes += part.len();
                return Poll::Ready(Some(part));
            }
            if TURN_BYTES_MAX <= self.turn_bytes {
                self.turn_bytes = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.beat.poll_tick(cx).is_ready() {
                let heartbeat = self.heartbeat();
                self.ready.push_back(heartbeat);
                continue;
            }
            match self.peer.take(self.kind, self.number, cx.waker()) {
                Taken::Messages(messages) => self.encode(&messages),
                Taken::Nothing => {
                    self.turn_bytes = 0;
                    return Poll::Pending;
                }
                Taken::Over => return Poll::Ready(None),
            }
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

/// What a peer reads when it asked for a stream.
pub(super) struct StreamBody {
    core: Arc<Core>,
    outbox: Outbox,
}

impl StreamBody {
    /// Takes the place of the stream of this kind that was there.
    pub fn attach(core: &Arc<Core>, peer: &Arc<Peer>, kind: StreamKind) -> StreamBody {
        let outbox = Outbox::attach(peer, kind);
        peer.hear();
        core.report.event(said(
            "established TCP streaming connection with remote peer",
            kind,
            core,
            peer,
        ));
        core.worked(peer);
        StreamBody { core: core.clone(), outbox }
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
        let part = std::task::ready!(self.outbox.poll_part(cx));
        Poll::Ready(part.map(|part| {
            self.outbox.peer.counters.sent_bytes.add(part.len() as u64);
            Ok(Frame::data(part))
        }))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let Outbox { peer, kind, number, .. } = &self.outbox;
        let (current, lost) = peer.detach(*kind, *number);
        if lost {
            self.core.lost(peer);
        }
        let text = match current {
            true => "lost TCP streaming connection with remote peer",
            false => "closed TCP streaming connection with remote peer",
        };
        let mut event = said(text, *kind, &self.core, peer);
        event.level = super::event::Level::Warn;
        self.core.report.event(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use proto::raftpb::{Entry, MessageType};

    use super::super::peers::Sent;
    use super::*;
    use crate::shell::Limits;

    /// How often a task was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn append(bytes: usize) -> Message {
        let data = Some(Bytes::from(vec![7; bytes]));
        let kind = Some(MessageType::MsgApp as i32);
        Message {
            r#type: kind,
            to: Some(2),
            entries: vec![Entry { data, ..Entry::default() }],
            ..Default::default()
        }
    }

    /// What comes before others have the thread.
    fn turn(outbox: &mut Outbox, cx: &mut Context<'_>) -> usize {
        let mut bytes = 0;
        while let Poll::Ready(part) = outbox.poll_part(cx) {
            bytes += part.expect("nobody took its place").len();
        }
        bytes
    }

    #[tokio::test]
    async fn a_stream_with_much_to_send_lets_the_others_go_on_after_each_turn() {
        const LARGE: usize = 1 << 20;
        let metrics = metrics::Metrics::new(false);
        let network = &metrics.network;
        let peer = Arc::new(Peer::new(2, &[], false, &Limits::default(), network));
        let mut outbox = Outbox::attach(&peer, StreamKind::MsgApp);
        (0..8).for_each(|_| assert!(matches!(peer.send(append(LARGE)), Sent::Fine)));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        for turns in 1..=8 {
            let bytes = turn(&mut outbox, &mut cx);
            assert!((LARGE..LARGE + 1024).contains(&bytes), "one message: {bytes}");
            assert_eq!(
                woken.0.load(Ordering::Acquire),
                turns,
                "it goes on when the others have had their turn"
            );
        }
        assert_eq!(turn(&mut outbox, &mut cx), 0);
        // One small message after the other is one turn.
        for turns in 9..20 {
            peer.send(append(100));
            assert_eq!(woken.0.load(Ordering::Acquire), turns);
            assert!(0 < turn(&mut outbox, &mut cx));
        }
    }
}

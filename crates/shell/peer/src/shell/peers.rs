//! One peer, as every thread sees it: where it is, whether it is heard of, and what waits to be sent to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use metrics::{Counter, NetworkMetrics};
use proto::raftpb::Message;
use tokio::sync::Notify;

use super::transport::Limits;
use crate::rules::{Activity, Attached, Channel, Queue, StreamKind, Urls, channel_for};

/// A peer, or a remote: somebody whom only a request told us about, reached by POSTs alone.
pub(super) struct Peer {
    pub id: u64,
    /// The id as logs and metrics write it.
    pub label: String,
    pub remote: bool,
    pub counters: Counters,
    /// Rings when something waits to be posted.
    pub posted: Notify,
    urls: Mutex<Urls>,
    activity: Mutex<Activity>,
    lanes: Mutex<Lanes>,
    /// How often it came to us: it is there, so a dial need not wait for long.
    heard: AtomicU64,
    /// Messages from it that found no room here, since one did.
    inbox_dropped: AtomicU64,
    /// What it refused us with, and was said.
    refused: Mutex<Option<String>>,
}

/// The figures of one peer.
pub(super) struct Counters {
    pub sent_bytes: Arc<Counter>,
    pub sent_failures: Arc<Counter>,
    pub received_bytes: Arc<Counter>,
    pub received_failures: Arc<Counter>,
}

struct Lanes {
    msgapp: Lane,
    message: Lane,
    pipeline: Lane,
    streams_opened: u64,
    closed: bool,
    /// Whether somebody will report already that messages were lost.
    loss_reported: bool,
}

/// One way, and what waits for it.
struct Lane {
    queue: Queue,
    /// Which stream writes what waits; none for the pipeline.
    stream: Option<u64>,
    waker: Option<Waker>,
    dropped: u64,
}

/// What became of a message that was to be sent.
pub(super) enum Sent {
    /// It waits, or it is of no kind that leaves a member.
    Fine,
    /// It waits, and after this many were dropped there is room again.
    RoomAgain(Channel, u64),
    /// No room.
    Dropped {
        channel: Channel,
        kind: &'static str,
        /// Whether others were dropped before it.
        again: bool,
    },
}

/// What a stream finds to write.
pub(super) enum Taken {
    /// Messages, oldest first.
    Messages(Vec<Message>),
    /// Nothing; the task is woken when there is something.
    Nothing,
    /// The stream was replaced, or the peer removed.
    Over,
}

/// The most messages and bytes written at once, before the socket is asked whether it takes more.
const TURN_MESSAGES_MAX: usize = 2048;
pub(super) const TURN_BYTES_MAX: usize = 256 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is ever half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub fn new(
        id: u64,
        urls: &[String],
        remote: bool,
        limits: &Limits,
        network: &NetworkMetrics,
    ) -> Peer {
        let label = format!("{id:x}");
        let lane =
            |limits| Lane { queue: Queue::new(limits), stream: None, waker: None, dropped: 0 };
        Peer {
            id,
            remote,
            counters: Counters {
                sent_bytes: network.peer_sent_bytes.with(&[&label]),
                sent_failures: network.peer_sent_failures.with(&[&label]),
                received_bytes: network.peer_received_bytes.with(&[&label]),
                received_failures: network.peer_received_failures.with(&[&label]),
            },
            label,
            posted: Notify::new(),
            urls: Mutex::new(Urls::new(urls)),
            activity: Mutex::new(Activity::default()),
            heard: AtomicU64::new(0),
            inbox_dropped: AtomicU64::new(0),
            refused: Mutex::new(None),
            lanes: Mutex::new(Lanes {
                msgapp: lane(limits.stream_queue),
                message: lane(limits.stream_queue),
                pipeline: lane(limits.pipeline_queue),
                streams_opened: 0,
                closed: false,
                loss_reported: false,
            }),
        }
    }

    pub fn urls(&self) -> MutexGuard<'_, Urls> {
        lock(&self.urls)
    }

    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        lock(&self.activity)
    }

    /// Puts a message where the best way that is open will find it.
    pub fn send(&self, message: Message) -> Sent {
        let kind = message.r#type().as_str_name();
        let mut lanes = lock(&self.lanes);
        let attached = Attached {
            msgapp: lanes.msgapp.stream.is_some(),
            message: lanes.message.stream.is_some(),
        };
        let Some(channel) = channel_for(&message, attached) else { return Sent::Fine };
        if lanes.closed {
            return Sent::Fine;
        }
        let lane = lanes.lane(channel);
        if lane.queue.push(message).is_err() {
            let again = lane.dropped > 0;
            lane.dropped += 1;
            return Sent::Dropped { channel, kind, again };
        }
        if let Some(waker) = lane.waker.take() {
            waker.wake();
        }
        if channel == Channel::Pipeline {
            self.posted.notify_one();
        }
        match std::mem::take(&mut lane.dropped) {
            0 => Sent::Fine,
            dropped => Sent::RoomAgain(channel, dropped),
        }
    }

    /// A stream begins; one of its kind that was there ends. What waited for it goes to the new one.
    pub fn attach(&self, kind: StreamKind) -> u64 {
        let mut lanes = lock(&self.lanes);
        lanes.streams_opened += 1;
        let number = lanes.streams_opened;
        let lane = lanes.lane(channel_of(kind));
        lane.stream = Some(number);
        if let Some(replaced) = lane.waker.take() {
            replaced.wake();
        }
        number
    }

    /// What the stream of this number shall write.
    pub fn take(&self, kind: StreamKind, number: u64, waker: &Waker) -> Taken {
        let mut lanes = lock(&self.lanes);
        let closed = lanes.closed;
        let lane = lanes.lane(channel_of(kind));
        if closed || lane.stream != Some(number) {
            return Taken::Over;
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < TURN_MESSAGES_MAX && bytes < TURN_BYTES_MAX {
            let Some(message) = lane.queue.pop() else { break };
            bytes += crate::wire::cost(&message);
            messages.push(message);
        }
        if messages.is_empty() {
            lane.waker = Some(waker.clone());
            return Taken::Nothing;
        }
        Taken::Messages(messages)
    }

    /// The stream of this number has ended. Says whether it was the current one, and whether messages were lost.
    pub fn detach(&self, kind: StreamKind, number: u64) -> (bool, bool) {
        let mut lanes = lock(&self.lanes);
        let closed = lanes.closed;
        let lane = lanes.lane(channel_of(kind));
        if closed || lane.stream != Some(number) {
            return (false, false);
        }
        lane.stream = None;
        lane.waker = None;
        (true, lane.queue.clear())
    }

    /// The oldest message to be posted.
    pub fn next_posted(&self) -> Option<Message> {
        let mut lanes = lock(&self.lanes);
        let message = lanes.pipeline.queue.pop();
        if !lanes.pipeline.queue.is_empty() {
            self.posted.notify_one();
        }
        message
    }

    /// Nothing is sent any more.
    pub fn close(&self) {
        let mut lanes = lock(&self.lanes);
        lanes.closed = true;
        let Lanes { msgapp, message, pipeline, .. } = &mut *lanes;
        for lane in [msgapp, message, pipeline] {
            lane.queue.clear();
            if let Some(waker) = lane.waker.take() {
                waker.wake();
            }
        }
    }

    /// It came to us.
    pub fn hear(&self) {
        self.heard.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it came to us.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// A message from it was taken, or dropped. When that changes: 0 at the first that is dropped, and then how many
    /// were before one was taken again.
    pub fn inbox(&self, taken: bool) -> Option<u64> {
        match taken {
            true => Some(self.inbox_dropped.swap(0, Ordering::AcqRel)).filter(|count| *count > 0),
            false => Some(self.inbox_dropped.fetch_add(1, Ordering::AcqRel)).filter(|n| *n == 0),
        }
    }

    /// Whether this refusal is new, and so worth a line.
    pub fn says_refused(&self, text: &str) -> bool {
        let mut refused = lock(&self.refused);
        let new = refused.as_deref() != Some(text);
        *refused = Some(text.to_string());
        new
    }

    /// It does not refuse us any more.
    pub fn refusal_over(&self) {
        *lock(&self.refused) = None;
    }

    /// Whether the caller is the one to report that messages were lost.
    pub fn report_loss(&self) -> bool {
        !std::mem::replace(&mut lock(&self.lanes).loss_reported, true)
    }

    /// It was reported.
    pub fn loss_reported(&self) {
        lock(&self.lanes).loss_reported = false;
    }
}

impl Lanes {
    fn lane(&mut self, channel: Channel) -> &mut Lane {
        match channel {
            Channel::MsgApp => &mut self.msgapp,
            Channel::Message => &mut self.message,
            Channel::Pipeline => &mut self.pipeline,
        }
    }
}

fn channel_of(kind: StreamKind) -> Channel {
    match kind {
        StreamKind::MsgApp => Channel::MsgApp,
        StreamKind::Message => Channel::Message,
    }
}

/// As etcd's log names a way.
pub(super) fn name_of(channel: Channel) -> &'static str {
    match channel {
        Channel::MsgApp => StreamKind::MsgApp.name(),
        Channel::Message => StreamKind::Message.name(),
        Channel::Pipeline => "pipeline",
    }
}

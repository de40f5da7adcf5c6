//! The API v2 as requests see it: propose, read, watch.
//!
//! Reads and watches are asked of the engine's thread, which owns the tree. Few use this API, and none of it is on the
//! way of a put.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use apply::{Answer, V2Answer};
use consensus::Scope;
use member::Proposal;
use tokio::sync::{mpsc, oneshot};
use types::Refusal;

use crate::engine::{EngineMessage, EngineThread};
use crate::handle::Node;
use crate::lane::Lane;

/// Events that wait for one watcher to take them; who has more is given up, as by etcd.
const WATCH_EVENTS_MAX: usize = 100;
/// What they may take together, in bytes, if there are several.
const WATCH_BYTES_MAX: usize = 8 << 20;

static WATCHES: AtomicU64 = AtomicU64::new(1);

/// What the engine's thread is asked about the tree.
#[derive(Debug)]
pub(crate) enum V2Message {
    Get {
        path: String,
        recursive: bool,
        answer: oneshot::Sender<Result<v2::Event, v2::Error>>,
    },
    Watch {
        id: v2::WatchId,
        request: v2::WatchRequest,
        queue: V2Queue,
        answer: oneshot::Sender<Result<v2::WatchAnswer, v2::Error>>,
    },
    Unwatch {
        id: v2::WatchId,
    },
    Stats {
        answer: oneshot::Sender<(v2::Stats, usize)>,
    },
}

/// The engine's end of one watcher's queue.
#[derive(Debug)]
pub(crate) struct V2Queue {
    sender: mpsc::Sender<Arc<v2::Event>>,
    bytes: Arc<AtomicUsize>,
}

impl V2Queue {
    /// Whether there was room for the event.
    fn push(&self, event: Arc<v2::Event>) -> bool {
        let bytes = event.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = before == 0 || before + bytes <= WATCH_BYTES_MAX;
        fits && self.sender.try_send(event).is_ok()
    }
}

/// Somebody who watches. Dropped, he does so no more.
pub struct V2Watch {
    /// The tree's index when he began.
    pub index: u64,
    /// What had happened before, that counts.
    past: std::vec::IntoIter<Arc<v2::Event>>,
    coming: Option<mpsc::Receiver<Arc<v2::Event>>>,
    bytes: Arc<AtomicUsize>,
    node: Node,
    id: v2::WatchId,
}

impl V2Watch {
    /// The next event; `None` when nothing will come any more: the watcher was too slow, the tree is another one, or
    /// the member stops.
    pub async fn next(&mut self) -> Option<Arc<v2::Event>> {
        if let Some(event) = self.past.next() {
            return Some(event);
        }
        let event = self.coming.as_mut()?.recv().await?;
        self.bytes.fetch_sub(event.bytes(), Ordering::AcqRel);
        Some(event)
    }
}

impl Drop for V2Watch {
    fn drop(&mut self) {
        if self.coming.is_some() {
            let unwatch = EngineMessage::V2(V2Message::Unwatch { id: self.id });
            let _ = self.node.shared.engine.send(unwatch);
        }
    }
}

impl Node {
    /// Proposes a request of the API v2 and waits until it is applied. Its time is set here.
    ///
    /// # Errors
    /// As [`Node::propose`].
    pub async fn v2_propose(&self, request: v2::Request) -> Result<V2Answer, Refusal> {
        let lane = Lane::here(&self.shared);
        let request = v2::Request { time: unix_nanos(), ..request };
        let proposal = Proposal::of_v2(request, lane.next_id(), Scope::Anyone);
        if self.shared.config.limits.request_bytes_max < proposal.data.len() {
            return Err(Refusal::RequestTooLarge);
        }
        match self.decide(&lane, proposal).await? {
            Answer::V2(answer) => Ok(*answer),
            other => unreachable!("the answer to a request of the API v2 is {other:?}"),
        }
    }

    /// Reads a node as it is on this member.
    ///
    /// # Errors
    /// `Stopped`; inside, that there is none.
    pub async fn v2_get(
        &self,
        path: String,
        recursive: bool,
    ) -> Result<Result<v2::Event, v2::Error>, Refusal> {
        self.ask_v2(|answer| V2Message::Get { path, recursive, answer }).await
    }

    /// Watches a node.
    ///
    /// # Errors
    /// `Stopped`; inside, why it cannot be watched.
    pub async fn v2_watch(
        &self,
        request: v2::WatchRequest,
    ) -> Result<Result<V2Watch, v2::Error>, Refusal> {
        let id = WATCHES.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(WATCH_EVENTS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let queue = V2Queue { sender, bytes: bytes.clone() };
        let mut watch = V2Watch {
            index: 0,
            past: Vec::new().into_iter(),
            // Who gives up while he waits for the answer watches no more either.
            coming: Some(receiver),
            bytes,
            node: self.clone(),
            id,
        };
        let told = self.ask_v2(|answer| V2Message::Watch { id, request, queue, answer }).await?;
        Ok(told.map(|told| {
            watch.index = told.index;
            watch.past = told.events.into_iter();
            if !told.waits {
                watch.coming = None;
            }
            watch
        }))
    }

    /// What the tree has done on this member, and how many watch it.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn v2_stats(&self) -> Result<(v2::Stats, usize), Refusal> {
        self.ask_v2(|answer| V2Message::Stats { answer }).await
    }

    async fn ask_v2<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> V2Message,
    ) -> Result<T, Refusal> {
        self.ask(|answer| EngineMessage::V2(question(answer))).await
    }
}

impl EngineThread {
    pub(crate) fn handle_v2(&mut self, message: V2Message) {
        let engine = self.applying.engine_mut();
        match message {
            V2Message::Get { answer, .. } if answer.is_closed() => {}
            V2Message::Get { path, recursive, answer } => {
                let _ = answer.send(engine.v2_get(&path, recursive, unix_nanos()));
            }
            V2Message::Watch { id, request, queue, answer } => {
                let told = engine.v2_watch(id, &request);
                if told.as_ref().is_ok_and(|told| told.waits) {
                    self.v2_queues.insert(id, queue);
                }
                let _ = answer.send(told);
            }
            V2Message::Unwatch { id } => {
                engine.v2_unwatch(id);
                self.v2_queues.remove(&id);
            }
            V2Message::Stats { answer } => {
                let _ = answer.send(engine.v2_stats());
            }
        }
    }

    pub(crate) fn tell_v2(&mut self, told: v2::Told) {
        let v2::Told { id, event, is_last } = told;
        let there = self.v2_queues.get(&id).is_some_and(|queue| queue.push(event));
        if is_last || !there {
            self.v2_queues.remove(&id);
            self.applying.engine_mut().v2_unwatch(id);
        }
    }

    /// Proposes to remove what has ended, if something has by this member's clock.
    pub(crate) fn end_v2(&mut self, first: v2::UnixNanos, scope: Scope) {
        let time = unix_nanos();
        if time < first {
            return;
        }
        let request = v2::Request {
            method: v2::Method::Sync,
            path: String::new(),
            time,
            ..v2::Request::default()
        };
        let id = self.ids.next_id();
        self.propose_now(Proposal::of_v2(request, id, scope));
    }
}

/// Nanoseconds since 1970; never 0, which in an entry means that nobody looked.
pub fn unix_nanos() -> v2::UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).max(1)
}

//! Finished spans on their way from the threads of calls to the one that exports.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Metrics;
use prost::Message as _;
use tokio::sync::Notify;

use crate::otlp::Span;

/// Spans that may wait, and the bytes they may take.
const SPANS_MAX: usize = 2048;
const BYTES_MAX: usize = 4 << 20;
/// Spans of one request, and the bytes from which on it takes no more: collectors take 4 MiB.
const BATCH_SPANS_MAX: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// What made a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The call itself.
    Call,
    /// What it asks for.
    Inner,
}

/// A queue that never makes anybody wait: what does not fit is dropped and counted.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// A whole batch waits.
    full: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<(Scope, Span)>,
    bytes: usize,
}

impl Queue {
    pub fn new(metrics: Arc<Metrics>) -> Queue {
        Queue { waiting: Mutex::default(), full: Notify::new(), metrics }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it, and if somebody did, spans are all that is lost.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a span, or drops it.
    pub fn push(&self, scope: Scope, span: Span) {
        let bytes = span.encoded_len();
        let mut waiting = self.waiting();
        if SPANS_MAX <= waiting.spans.len() || BYTES_MAX < waiting.bytes + bytes {
            drop(waiting);
            self.dropped(1);
            return;
        }
        waiting.bytes += bytes;
        waiting.spans.push_back((scope, span));
        if waiting.spans.len() == BATCH_SPANS_MAX {
            self.full.notify_one();
        }
    }

    /// The next batch; empty when nothing waits.
    pub fn take(&self) -> Vec<(Scope, Span)> {
        let mut waiting = self.waiting();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_SPANS_MAX && bytes < BATCH_BYTES {
            let Some((scope, span)) = waiting.spans.pop_front() else { break };
            bytes += span.encoded_len();
            batch.push((scope, span));
        }
        waiting.bytes -= bytes;
        batch
    }

    /// Waits until a whole batch is there.
    pub async fn full(&self) {
        self.full.notified().await;
    }

    /// Counts spans that nobody will see.
    pub fn dropped(&self, count: u64) {
        self.metrics.server.spans_dropped.add(count);
    }

    /// Counts spans that the collector has.
    pub fn exported(&self, count: u64) {
        self.metrics.server.spans_exported.add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::text;

    fn queue() -> (Queue, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(false));
        (Queue::new(metrics.clone()), metrics)
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, metrics) = queue();
        for _ in 0..SPANS_MAX + 3 {
            queue.push(Scope::Call, Span::default());
        }
        assert_eq!(metrics.server.spans_dropped.get(), 3);
        assert_eq!(queue.take().len(), BATCH_SPANS_MAX);
        queue.push(Scope::Call, Span::default());
        assert_eq!(metrics.server.spans_dropped.get(), 3);
    }

    #[test]
    fn large_spans_fill_the_queue_by_their_bytes_and_room_comes_back() {
        let (queue, metrics) = queue();
        let attributes = (0..100).map(|_| text("k", vec![b'x'; 4000])).collect();
        let large = Span { attributes, ..Span::default() };
        let fit = BYTES_MAX / large.encoded_len();
        for _ in 0..fit + 2 {
            queue.push(Scope::Inner, large.clone());
        }
        assert_eq!(metrics.server.spans_dropped.get(), 2);
        let batch: usize = queue.take().iter().map(|(_, span)| span.encoded_len()).sum();
        assert!((BATCH_BYTES..BATCH_BYTES + large.encoded_len()).contains(&batch), "{batch}");
        queue.push(Scope::Inner, large);
        assert_eq!(metrics.server.spans_dropped.get(), 2);
    }
}

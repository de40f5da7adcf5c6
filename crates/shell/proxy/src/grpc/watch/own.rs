//! A watch of one client alone: how each begins, reads the past, and catches up after it was too slow.
//!
//! The server itself says whether the watch may be, so nobody sees by sharing what it may not see alone. When
//! it has caught up with those who watch the same it joins them, and this one ends.

use std::sync::Arc;
use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use types::Refusal;

use super::batch::Batch;
use super::hub::Hub;
use super::join::{Alone, join};
use super::queue::{Item, NotTaken, Queue};
use super::source::{Source, Subject, is_passing};

/// How often the server is asked how far it is: it says so only when nothing is missing.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The wait before a stream is opened again.
const REOPEN_DELAY: Duration = Duration::from_millis(100);

/// A watch on its own.
#[derive(Debug)]
pub struct Own {
    /// Where it finds others.
    pub hub: Arc<Hub>,
    /// What it watches.
    pub subject: Subject,
    /// Its number in this process.
    pub watch: u64,
    /// The first revision wanted; 0 for now, before the watch is made.
    pub next: i64,
    /// The client has not heard yet that it was made.
    pub is_new: bool,
    /// Where the client is told.
    pub queue: Queue,
}

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why it goes no further with this stream.
enum Stop {
    /// It shares, or the client has gone.
    Over,
    /// The client reads no more for now.
    Slow,
    /// The stream broke.
    Broken(Refusal),
}

impl Own {
    /// Begins.
    pub fn start(self) -> Running {
        let core = self.hub.core().clone();
        Running(core.spawn(self.run()).abort_handle())
    }

    async fn run(mut self) {
        let _counted = Counted::new(self.hub.clone());
        loop {
            // The turns are never closed.
            let Ok(turn) = self.hub.own_turns().acquire_owned().await else { return };
            let stopped = self.read().await;
            // Whoever waits, for its client or for the server, takes nobody's turn.
            drop(turn);
            match stopped {
                Stop::Over => return,
                Stop::Slow if self.queue.room().await.is_ok() => {}
                Stop::Slow => return,
                Stop::Broken(refusal) if is_passing(&refusal, &self.subject) => {
                    sleep(REOPEN_DELAY).await;
                }
                Stop::Broken(refusal) => {
                    let _ = self.queue.note(Item::Ended { refusal });
                    return;
                }
            }
        }
    }

    /// Reads one stream from its beginning to its end.
    async fn read(&mut self) -> Stop {
        let client = self.hub.client();
        let mut source = match Source::open(&client, &self.subject, self.next).await {
            Ok(source) => source,
            Err(refusal) => return Stop::Broken(refusal),
        };
        // Up to here the past goes, as far as the server knew when it began.
        let mut goal = i64::MAX;
        let mut ask = interval_at(tokio::time::Instant::now() + REOPEN_DELAY, PROGRESS_INTERVAL);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let said = tokio::select! {
                said = source.next() => said,
                _ = ask.tick() => match source.ask_for_progress().await {
                    Ok(()) => continue,
                    Err(refusal) => Err(refusal),
                },
            };
            let response = match said {
                Ok(response) => response,
                Err(refusal) => return Stop::Broken(refusal),
            };
            match self.take(response) {
                Ok(Some(now)) => goal = now,
                Ok(None) => {}
                Err(stop) => return stop,
            }
            if goal <= self.next {
                let place = (self.watch, self.next);
                match join(&self.hub, &self.subject, place, &self.queue, source).await {
                    Ok(()) => return Stop::Over,
                    Err(Alone { source: own, goal: Some(ahead) }) => {
                        (source, goal) = (own, ahead);
                    }
                    Err(Alone { goal: None, .. }) => {
                        let _ = self.queue.note(refused(self.watch));
                        return Stop::Over;
                    }
                }
            }
        }
    }

    /// Tells the client; says which revision is now, when the watch was made.
    fn take(&mut self, response: pb::WatchResponse) -> Result<Option<i64>, Stop> {
        let watch = self.watch;
        if response.canceled {
            let _ = self.queue.note(Item::Canceled { watch, response });
            return Err(Stop::Over);
        }
        let header = response.header.unwrap_or_default();
        if response.created {
            if std::mem::take(&mut self.is_new) {
                let _ = self.queue.note(Item::Created { watch, header });
            }
            if self.next == 0 {
                self.next = header.revision + 1;
            }
            return Ok(Some(header.revision + 1));
        }
        if response.events.is_empty() {
            self.next = self.next.max(header.revision + 1);
            return Ok(None);
        }
        let batch = Arc::new(Batch::new(header, response.events, self.hub.namespace()));
        let (from, last) = (self.next, batch.last());
        if from <= last {
            let item = Item::Events { watch, batch: batch.clone(), from };
            match self.queue.try_push(batch.bytes(), item) {
                Ok(()) => self.next = last + 1,
                // It is read once more when there is room.
                Err(NotTaken::Full) => return Err(Stop::Slow),
                Err(NotTaken::Closed) => return Err(Stop::Over),
            }
        }
        Ok(None)
    }
}

/// That there are too many watches.
pub fn refused(watch: u64) -> Item {
    let cancel_reason = Refusal::RequestTooManyRequests.message().to_owned();
    let response = pb::WatchResponse { canceled: true, cancel_reason, ..Default::default() };
    Item::Canceled { watch, response }
}

/// Counts among those that do not share, until dropped.
struct Counted(Arc<Hub>);

impl Counted {
    fn new(hub: Arc<Hub>) -> Counted {
        hub.metrics().watches_own.inc();
        Counted(hub)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics().watches_own.dec();
    }
}

//! What waits to be sent on one client's watch stream, bounded in bytes; and what is asked of shared watches.
//!
//! Everything that is told to a client goes through this one queue, from whichever thread: so what was pushed
//! first is sent first. A shared watch never waits here: it learns that the queue is full, and the client goes
//! on by a watch of its own, which does wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proto::etcdserverpb as pb;
use tokio::sync::{Notify, mpsc, oneshot};
use types::Refusal;

use super::batch::Batch;

/// Bytes that may wait for one client.
pub const BYTES_MAX: usize = 1 << 20;

/// What a note counts for.
const NOTE_BYTES: usize = 256;

/// Something to be told to a client, or to be done for it. `watch` is the watch's number in this process.
#[derive(Debug)]
pub enum Item {
    /// The server has made the watch.
    Created { watch: u64, header: pb::ResponseHeader },
    /// The watch has ended, or was never made: the server's words.
    Canceled { watch: u64, response: pb::WatchResponse },
    /// What happened from a revision on.
    Events { watch: u64, batch: Arc<Batch>, from: i64 },
    /// All events up to the header's revision were told. `asked` by the client or said by the server.
    Progress { watch: u64, header: pb::ResponseHeader, asked: bool },
    /// The watch shares one at the server from now on.
    Joined { watch: u64, group: Group },
    /// The client reads too slowly to share: it needs a watch of its own from here.
    Overrun { watch: u64, next: i64 },
    /// The whole stream ends.
    Ended { refusal: Refusal },
}

/// How a group is spoken to.
pub type Group = mpsc::UnboundedSender<Command>;

/// Somebody who wants to be told of everything from `next` on.
#[derive(Debug)]
pub struct Member {
    /// Its watch's number in this process.
    pub watch: u64,
    /// The revision of the first event it was not told of.
    pub next: i64,
    /// Where it is told.
    pub queue: Queue,
}

/// What a group is asked.
#[derive(Debug)]
pub enum Command {
    /// To take a member in. Refused with the oldest revision it still has.
    Join { member: Member, reply: oneshot::Sender<Result<(), i64>> },
    /// To forget a member.
    Leave { watch: u64 },
    /// To tell a member how far it is.
    Progress { watch: u64 },
}

/// Why something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// So much waits already.
    Full,
    /// The client has gone.
    Closed,
}

/// The end that is pushed to. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    count: Arc<Count>,
    items: mpsc::UnboundedSender<(usize, Item)>,
}

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicUsize,
    less: Notify,
}

/// The end that is read.
#[derive(Debug)]
pub struct Reader {
    count: Arc<Count>,
    items: mpsc::UnboundedReceiver<(usize, Item)>,
    /// What the last item counts for: it waits for the client's window.
    in_hand: usize,
}

/// An empty queue.
pub fn queue() -> (Queue, Reader) {
    let count = Arc::new(Count::default());
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { count: count.clone(), items: sender }, Reader { count, items: receiver, in_hand: 0 })
}

impl Queue {
    /// Pushes, if it fits. An empty queue takes one item of any size.
    pub fn try_push(&self, bytes: usize, item: Item) -> Result<(), NotTaken> {
        let fits = |before: usize| {
            (before == 0 || before.saturating_add(bytes) <= BYTES_MAX).then(|| before + bytes)
        };
        let counted = self.count.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        if counted.is_err() {
            return Err(if self.items.is_closed() { NotTaken::Closed } else { NotTaken::Full });
        }
        self.items.send((bytes, item)).map_err(|_| NotTaken::Closed)
    }

    /// Pushes what must not be lost, whether there is room or not: each watch has but a few of these at a time.
    pub fn note(&self, item: Item) -> Result<(), NotTaken> {
        self.count.bytes.fetch_add(NOTE_BYTES, Ordering::AcqRel);
        self.items.send((NOTE_BYTES, item)).map_err(|_| NotTaken::Closed)
    }

    /// Waits until the client has read half of what may wait for it.
    ///
    /// # Errors
    /// It has gone.
    pub async fn room(&self) -> Result<(), NotTaken> {
        loop {
            let less = self.count.less.notified();
            let mut less = std::pin::pin!(less);
            // From here on no change is missed.
            less.as_mut().enable();
            if self.items.is_closed() {
                return Err(NotTaken::Closed);
            }
            if self.count.bytes.load(Ordering::Acquire) <= BYTES_MAX / 2 {
                return Ok(());
            }
            tokio::select! {
                () = less => {}
                () = self.items.closed() => return Err(NotTaken::Closed),
            }
        }
    }
}

impl Reader {
    /// The next item; the one before counts no more. Never `None`: the reader's own side holds a [`Queue`].
    pub async fn next(&mut self) -> Option<Item> {
        let in_hand = std::mem::take(&mut self.in_hand);
        if in_hand > 0 {
            self.count.bytes.fetch_sub(in_hand, Ordering::AcqRel);
            self.count.less.notify_waiters();
        }
        let (bytes, item) = self.items.recv().await?;
        self.in_hand = bytes;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrun(next: i64) -> Item {
        Item::Overrun { watch: 1, next }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_notes_always_fit() {
        let (queue, mut reader) = queue();
        assert_eq!(queue.try_push(2 * BYTES_MAX, overrun(1)), Ok(()), "it was empty");
        assert_eq!(queue.try_push(1, overrun(2)), Err(NotTaken::Full));
        assert_eq!(queue.note(overrun(3)), Ok(()));
        assert!(matches!(reader.next().await, Some(Item::Overrun { next: 1, .. })));
        assert_eq!(queue.try_push(1, overrun(4)), Err(NotTaken::Full), "it is being sent");
        assert!(matches!(reader.next().await, Some(Item::Overrun { next: 3, .. })));
        assert_eq!(queue.try_push(1, overrun(5)), Ok(()));
        drop(reader);
        assert_eq!(queue.note(overrun(6)), Err(NotTaken::Closed));
    }
}

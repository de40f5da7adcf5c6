//! A queue from any thread to one stream's handler, bounded in bytes.
//!
//! The watch hub must never wait for a slow client, only learn that it is slow. It pushes into the
//! [`Outbox`] and is told when the outbox is full; the stream's handler takes one item at a time
//! and sends it, and an item counts until the one after it is asked for, so it counts while it
//! waits for the client's window.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

/// The sending end; may be cloned and used on any thread.
#[derive(Debug)]
pub struct Outbox<T> {
    bytes_max: usize,
    buffered: Arc<AtomicUsize>,
    queue: mpsc::UnboundedSender<(usize, T)>,
}

/// The receiving end, held by the stream's handler. Dropping it closes the outbox.
#[derive(Debug)]
pub struct OutboxReader<T> {
    in_hand: usize,
    buffered: Arc<AtomicUsize>,
    queue: mpsc::UnboundedReceiver<(usize, T)>,
}

/// Why an item was not taken; it is handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum OutboxFull<T> {
    /// So much waits already that the item would pass the bound.
    Full(T),
    /// The stream has ended.
    Closed(T),
}

/// Makes an outbox that holds at most `bytes_max` bytes. An empty outbox takes one item of any
/// size, else an item above the bound could never be sent.
pub fn outbox<T>(bytes_max: usize) -> (Outbox<T>, OutboxReader<T>) {
    let buffered = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::unbounded_channel();
    let outbox = Outbox { bytes_max, buffered: buffered.clone(), queue: sender };
    (outbox, OutboxReader { in_hand: 0, buffered, queue: receiver })
}

impl<T> Outbox<T> {
    /// Appends an item that stands for so many bytes. Never waits.
    ///
    /// # Errors
    /// Hands the item back when the outbox is full or closed.
    pub fn try_send(&self, bytes: usize, item: T) -> Result<(), OutboxFull<T>> {
        let fits = |buffered: usize| {
            let sum = buffered.saturating_add(bytes);
            (buffered == 0 || sum <= self.bytes_max).then_some(sum)
        };
        if self.buffered.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            return Err(if self.is_closed() {
                OutboxFull::Closed(item)
            } else {
                OutboxFull::Full(item)
            });
        }
        self.queue.send((bytes, item)).map_err(|mpsc::error::SendError((bytes, item))| {
            self.buffered.fetch_sub(bytes, Ordering::AcqRel);
            OutboxFull::Closed(item)
        })
    }

    /// Bytes that were pushed and not yet sent.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered.load(Ordering::Acquire)
    }

    /// Whether an item of this size would be taken now.
    pub fn has_room(&self, bytes: usize) -> bool {
        let buffered = self.buffered_bytes();
        buffered == 0 || buffered.saturating_add(bytes) <= self.bytes_max
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Outbox<T> {
        Outbox {
            bytes_max: self.bytes_max,
            buffered: self.buffered.clone(),
            queue: self.queue.clone(),
        }
    }
}

impl<T> OutboxReader<T> {
    /// The next item, and the previous one counts as sent. `None` when every sender is gone.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`OutboxReader::recv`] for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.buffered.fetch_sub(std::mem::take(&mut self.in_hand), Ordering::AcqRel);
        self.queue.poll_recv(cx).map(|item| {
            item.map(|(bytes, item)| {
                self.in_hand = bytes;
                item
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn take<T>(reader: &mut OutboxReader<T>) -> Poll<Option<T>> {
        reader.poll_recv(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_item_counts_until_the_next_one_is_asked_for() {
        let (outbox, mut reader) = outbox(10);
        assert_eq!(outbox.try_send(6, 'a'), Ok(()));
        assert_eq!(outbox.try_send(6, 'b'), Err(OutboxFull::Full('b')));
        assert_eq!(take(&mut reader), Poll::Ready(Some('a')));
        assert_eq!(outbox.buffered_bytes(), 6);
        assert_eq!(take(&mut reader), Poll::Pending);
        assert_eq!(outbox.buffered_bytes(), 0);
        assert_eq!(outbox.try_send(6, 'b'), Ok(()));
    }

    #[test]
    fn an_empty_outbox_takes_one_item_of_any_size() {
        let (outbox, _reader) = outbox(10);
        assert_eq!(outbox.try_send(100, 'a'), Ok(()));
        assert_eq!(outbox.try_send(1, 'b'), Err(OutboxFull::Full('b')));
    }

    #[test]
    fn a_closed_outbox_says_so_and_counts_nothing() {
        let (outbox, reader) = outbox(10);
        drop(reader);
        assert_eq!(outbox.try_send(6, 'a'), Err(OutboxFull::Closed('a')));
        assert_eq!(outbox.buffered_bytes(), 0);
        assert!(outbox.is_closed());
    }
}

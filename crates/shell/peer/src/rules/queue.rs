//! What waits for one way to a peer.

use std::collections::VecDeque;

use proto::raftpb::Message;

use crate::wire::cost;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// In messages.
    pub messages_max: usize,
    /// In bytes; a single message is taken whatever its size.
    pub bytes_max: usize,
}

/// Messages in the order in which they will leave.
#[derive(Debug)]
pub struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    limits: QueueLimits,
}

impl Queue {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Queue {
        Queue { messages: VecDeque::new(), bytes: 0, limits }
    }

    /// Appends a message.
    ///
    /// # Errors
    /// The message itself, when the queue is full.
    pub fn push(&mut self, message: Message) -> Result<(), Box<Message>> {
        let cost = cost(&message);
        let room = self.messages.len() < self.limits.messages_max
            && (self.messages.is_empty() || self.bytes + cost <= self.limits.bytes_max);
        if !room {
            return Err(Box::new(message));
        }
        self.bytes += cost;
        self.messages.push_back(message);
        Ok(())
    }

    /// The oldest message.
    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Drops all that waits, and says whether there was anything.
    pub fn clear(&mut self) -> bool {
        let any = !self.messages.is_empty();
        self.messages = VecDeque::new();
        self.bytes = 0;
        any
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::raftpb::Entry;

    use super::*;

    fn with_bytes(count: usize) -> Message {
        let data = Some(Bytes::from(vec![0; count]));
        Message { entries: vec![Entry { data, ..Entry::default() }], ..Message::default() }
    }

    #[test]
    fn a_queue_is_full_by_messages_and_by_bytes() {
        let mut queue = Queue::new(QueueLimits { messages_max: 3, bytes_max: 4096 });
        for _ in 0..3 {
            assert!(queue.push(Message::default()).is_ok());
        }
        assert!(queue.push(Message::default()).is_err());
        assert!(queue.pop().is_some());
        assert!(queue.push(with_bytes(4000)).is_err());
        assert!(queue.push(with_bytes(3000)).is_ok());
        assert!(queue.clear());
        assert!(!queue.clear());
    }

    #[test]
    fn a_single_message_is_taken_whatever_its_size() {
        let mut queue = Queue::new(QueueLimits { messages_max: 3, bytes_max: 4096 });
        assert!(queue.push(with_bytes(1 << 20)).is_ok());
        assert!(queue.push(Message::default()).is_err());
        assert!(queue.pop().is_some());
        assert!(queue.push(Message::default()).is_ok());
        assert_eq!(queue.len(), 1);
    }
}

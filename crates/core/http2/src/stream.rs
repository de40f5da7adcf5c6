//! Streams that are open, and finding them by their numbers.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::head::Field;

/// Places that a connection at rest keeps.
const SLOTS_KEPT: usize = 4;

/// One stream. It ends, and is forgotten, when the answer is sent or somebody resets it.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub id: u32,
    /// The call of [`crate::Connection::receive`] that opened it.
    pub opened_in: u64,
    /// What the caller keeps for it.
    pub tag: T,

    /// Bytes that the client may still send; less than nothing is impossible.
    pub receive_window: u32,
    /// Bytes released that the client has not been told of.
    pub released: u32,
    /// What came and was not taken.
    pub inbox: BytesMut,
    /// What the client said it sends, less what came.
    pub missing: Option<u64>,
    pub receive_ended: bool,

    /// Whether its answer has begun.
    pub started: bool,
    /// What the client let us send beyond its window for all new streams, less what was sent. Kept apart
    /// from that window, so that SETTINGS which change it cost the same however many streams are open.
    pub send_credit: i64,
    /// What is sent as the windows open, and then the trailers.
    pub pending: VecDeque<Bytes>,
    pub trailers: Option<Box<[Field]>>,
    /// The caller wants to know when it may send.
    pub wanted: bool,
    /// Where it waits for its turn to send.
    pub line: Line,
}

/// Where a stream waits for its turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nowhere.
    None,
    /// Among those who wait for the connection's window and for room.
    Queued,
    /// Among those whose own window is closed.
    Blocked,
}

impl<T> Stream<T> {
    /// Whether something shall be sent when the windows open.
    pub fn is_waiting(&self) -> bool {
        self.wanted || !self.pending.is_empty()
    }
}

/// The open streams of a connection.
#[derive(Debug)]
pub(crate) struct Streams<T> {
    places: BTreeMap<u32, u32>,
    slots: Vec<Option<Stream<T>>>,
    free: Vec<u32>,
    /// Most questions are about the stream asked for last.
    last: Option<(u32, u32)>,
}

impl<T> Streams<T> {
    pub fn new() -> Streams<T> {
        Streams { places: BTreeMap::new(), slots: Vec::new(), free: Vec::new(), last: None }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn insert(&mut self, stream: Stream<T>) {
        let id = stream.id;
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[place as usize] = Some(stream);
        self.places.insert(id, place);
        self.last = Some((id, place));
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream<T>> {
        let place = match self.last {
            Some((last, place)) if last == id => place,
            _ => *self.places.get(&id)?,
        };
        self.last = Some((id, place));
        self.slots[place as usize].as_mut()
    }

    pub fn contains(&self, id: u32) -> bool {
        self.places.contains_key(&id)
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream<T>> {
        let place = self.places.remove(&id)?;
        self.last = None;
        self.free.push(place);
        if self.places.is_empty() && SLOTS_KEPT < self.slots.len() {
            // A connection that once had many streams need not keep room for them.
            self.free = Vec::new();
            return std::mem::take(&mut self.slots).swap_remove(place as usize);
        }
        self.slots[place as usize].take()
    }

    /// All streams, in order of their numbers.
    pub fn ids(&self) -> Vec<u32> {
        self.places.keys().copied().collect()
    }
}

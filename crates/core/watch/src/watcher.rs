//! One watcher, and the table that numbers them.

use crate::WatchId;
use crate::interface::{Create, Filters};
use types::Row;

/// A watch that was created and not yet cancelled.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Told apart from whoever had this slot before.
    pub serial: u64,
    /// Its stream's slot.
    pub stream: u32,
    /// Its id on the stream.
    pub id: WatchId,
    /// The group of watchers with the same range.
    pub group: u32,
    /// The first revision it has not been sent. A synced watcher has been sent everything up to the
    /// hub's revision, whatever stands here, unless it is still in the future.
    pub next: i64,
    /// The start it asked for, 0 for from now on.
    pub start: i64,
    /// What it wants.
    pub wish: Wish,
    /// Whether nothing was sent to it since the last periodic progress notification.
    pub quiet: bool,
    /// Where it stands.
    pub state: State,
}

/// What a watcher wants of each change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub previous: bool,
    pub filters: Filters,
    pub fragment: bool,
    pub progress_notify: bool,
}

/// Where a watcher stands. Each state but `Idle` and `Compacted` has its entry in one structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In none of the structures: while it is moved.
    Idle,
    /// Gets live events. `place` is its place in the group's list.
    Synced {
        /// Index into the group's list of synced watchers.
        place: u32,
    },
    /// Behind, and its stream has room: waits for a history read.
    Waiting {
        /// Its place in the order of those that wait.
        turn: u64,
    },
    /// Behind, and its stream is full.
    Parked,
    /// Cancelled by compaction. Its id stays taken until the client cancels it too.
    Compacted,
}

impl Wish {
    pub fn of(create: &Create) -> Wish {
        Wish {
            previous: create.previous,
            filters: create.filters,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
        }
    }

    /// Whether it wants this kind of change.
    pub fn wants(&self, row: &Row) -> bool {
        if row.tombstone { !self.filters.no_delete } else { !self.filters.no_put }
    }

    /// Watchers of one group with the same variant get the same events.
    pub fn variant(&self) -> usize {
        usize::from(self.previous)
            | usize::from(self.filters.no_put) << 1
            | usize::from(self.filters.no_delete) << 2
    }

    /// How many variants there are.
    pub const VARIANTS: usize = 8;
}

/// A table whose slots are reused.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(value);
            return slot;
        }
        self.slots.push(Some(value));
        u32::try_from(self.slots.len() - 1).expect("watches are bounded below 2^32")
    }

    pub fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        self.slots[slot as usize].take().expect("the slot is taken")
    }

    pub fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<T> std::ops::Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        self.slots[slot as usize].as_ref().expect("the slot is taken")
    }
}

impl<T> std::ops::IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.slots[slot as usize].as_mut().expect("the slot is taken")
    }
}

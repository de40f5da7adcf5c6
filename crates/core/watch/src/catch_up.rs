//! Catching up: watchers that are behind get what they lack, from memory or from the store.
//!
//! One history read is under way at a time. It starts where the watcher whose turn it is lacks
//! revisions, and serves all that wait at or after that place, up to a bound. Taking turns keeps a
//! watcher that is far behind from holding up those that are nearly there, and the other way round.

use std::collections::BTreeMap;
use std::sync::Arc;

use planted::planted;
use types::Revision;

use crate::event::{Event, EventList, Previous};
use crate::history::{History, HistoryRequest, Interest, Wanted};
use crate::hub::Hub;
use crate::interface::Effect;
use crate::live::lacks_previous;
use crate::watcher::{State, Wish};

/// The history read under way.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Whom it serves: slot and serial.
    riders: Vec<(u32, u64)>,
}

/// Lists sent during one step, by group, variant and first event: whoever is in the same group and
/// starts at the same event is sent the same.
pub(crate) type Lists = BTreeMap<(u32, usize, Revision), Arc<EventList>>;

/// How far a replay got.
enum Replayed {
    /// The watcher has been sent everything there was.
    All,
    /// Its stream is full.
    NoRoom,
    /// A previous row it wants was not loaded.
    Unloaded,
}

impl Hub {
    /// Asks for the next read, if somebody waits and none is under way.
    pub(crate) fn read_more(&mut self, out: &mut Vec<Effect>) {
        let Some(&(_, first)) = self.turns.first().filter(|_| self.reading.is_none()) else {
            return;
        };
        let from = self.watchers[first].next;
        // To the end of the order: the next read starts where somebody else waits.
        self.lift(first);
        self.queue(first);
        let others = self.waiting.range((from, 0)..).map(|(_, slot)| *slot);
        let others = others.filter(|slot| *slot != first);
        let mut interest = Interest::default();
        let mut riders = Vec::new();
        for slot in std::iter::once(first).chain(others).take(self.limits.watchers_per_read_max) {
            let watcher = &self.watchers[slot];
            let wanted = Wanted { from: watcher.next, previous: watcher.wish.previous };
            interest.add(&self.groups[watcher.group].range, wanted);
            riders.push((slot, watcher.serial));
        }
        self.reading = Some(Reading { riders });
        out.push(Effect::ReadHistory(HistoryRequest {
            from,
            to: self.revision,
            interest: Arc::new(interest),
            bytes_max: self.limits.history_bytes_max,
            scan_bytes_max: self.limits.scan_bytes_max,
        }));
    }

    pub(crate) fn history_read(&mut self, history: &History, out: &mut Vec<Effect>) {
        let reading = self.reading.take().expect("an answer follows a request");
        // First: what was compacted while the rows were read may be missing among them, and whoever
        // needs it must be cancelled rather than served with a gap.
        self.compacted_at(history.compacted, out);
        self.lost_before(history.lost_before, out);
        let riders = self.still_waiting(&reading);
        let by_group = self.by_group(&riders, history);
        let mut lists = Lists::new();
        for slot in riders {
            if history.through < self.watchers[slot].next {
                continue;
            }
            let group = self.watchers[slot].group;
            let places = by_group.get(&group).map_or(&[][..], |places| places);
            let events = places.iter().map(|place| &history.events[*place]);
            self.lift(slot);
            match self.replay(slot, events, history.through, &mut lists, out) {
                Replayed::All => self.catch_up(slot, &mut lists, out),
                Replayed::NoRoom => self.park(slot),
                // Only if a driver left it out: it is asked for again.
                Replayed::Unloaded => self.queue(slot),
            }
        }
    }

    /// The riders that were not cancelled or parked meanwhile.
    fn still_waiting(&self, reading: &Reading) -> Vec<u32> {
        let waits = |slot: u32, serial: u64| {
            self.watchers.get(slot).is_some_and(|watcher| {
                watcher.serial == serial && matches!(watcher.state, State::Waiting { .. })
            })
        };
        let riders = reading.riders.iter();
        riders.filter(|(slot, serial)| waits(*slot, *serial)).map(|(slot, _)| *slot).collect()
    }

    /// Which of the events read concern which of the riders' groups.
    fn by_group(&self, riders: &[u32], history: &History) -> BTreeMap<u32, Vec<usize>> {
        let mut places: BTreeMap<u32, Vec<usize>> =
            riders.iter().map(|slot| (self.watchers[*slot].group, Vec::new())).collect();
        for (place, event) in history.events.iter().enumerate() {
            self.groups.stab(event.row.key(), |group, _| {
                if let Some(places) = places.get_mut(&group) {
                    places.push(place);
                }
            });
        }
        places
    }

    /// Brings a lifted watcher up to the current revision from memory if that reaches back far
    /// enough, and otherwise lets it wait for the next read.
    pub(crate) fn catch_up(&mut self, slot: u32, lists: &mut Lists, out: &mut Vec<Effect>) {
        let next = self.watchers[slot].next;
        if self.revision < next {
            self.settle(slot);
            return;
        }
        let recent = std::mem::take(&mut self.recent);
        match recent.since(next) {
            None => self.queue(slot),
            Some(events) => {
                let range = self.groups[self.watchers[slot].group].range.clone();
                let events = events.filter(|event| range.contains(event.row.key()));
                match self.replay(slot, events, self.revision, lists, out) {
                    Replayed::All => self.settle(slot),
                    Replayed::NoRoom => self.park(slot),
                    Replayed::Unloaded => self.queue(slot),
                }
            }
        }
        self.recent = recent;
    }

    /// A stream has room again.
    pub(crate) fn unpark(&mut self, stream: u32, out: &mut Vec<Effect>) {
        let mut lists = Lists::new();
        let begin = self.streams[stream].unpark_from;
        for turns in [begin..u32::MAX, 0..begin] {
            let mut from = turns.start;
            while let Some(slot) =
                self.streams[stream].parked.range(from..turns.end).next().copied()
            {
                // Looked for one by one: there may be very many, and room for few.
                if !self.has_room(stream) {
                    self.streams[stream].unpark_from = slot;
                    return;
                }
                self.lift(slot);
                self.catch_up(slot, &mut lists, out);
                from = slot + 1;
            }
        }
        self.streams[stream].unpark_from = 0;
    }

    /// Sends a lifted watcher what it lacks of `events`, its group's events in order, which are
    /// complete up to `through`. Responses end with a whole revision.
    fn replay<'a>(
        &mut self,
        slot: u32,
        events: impl Iterator<Item = &'a Event>,
        through: i64,
        lists: &mut Lists,
        out: &mut Vec<Effect>,
    ) -> Replayed {
        let (group, wish) = (self.watchers[slot].group, self.watchers[slot].wish);
        let mut batch = Vec::new();
        let mut bytes = 0;
        for event in events {
            let revision = event.row.revision;
            if revision.main < self.watchers[slot].next || !wish.wants(&event.row) {
                continue;
            }
            let is_full = self.limits.response_bytes_max <= bytes;
            if is_full && last_of(&batch) < revision.main {
                if !self.flush(slot, &mut batch, lists, out) {
                    return Replayed::NoRoom;
                }
                bytes = 0;
            }
            if batch.is_empty()
                && let Some(list) = lists.get(&(group, wish.variant(), revision))
            {
                let list = Arc::clone(list);
                if !self.send_list(slot, &list, out) {
                    return Replayed::NoRoom;
                }
                continue;
            }
            let Some(event) = self.with_previous(event, wish) else {
                // The read that brings the missing row brings these too: etcd sends them together.
                let first = batch.first().map_or(revision, |event| event.row.revision);
                self.watchers[slot].next = first.main;
                return Replayed::Unloaded;
            };
            bytes += event.bytes();
            batch.push(event);
        }
        if !self.flush(slot, &mut batch, lists, out) {
            return Replayed::NoRoom;
        }
        let through = if planted!("watcher told twice") { through - 1 } else { through };
        let skipped = i64::from(planted!("revision skipped after catching up"));
        let watcher = &mut self.watchers[slot];
        watcher.next = if planted!("watcher told twice") {
            through + 1
        } else {
            watcher.next.max(through + 1) + skipped
        };
        Replayed::All
    }

    /// Sends a batch and notes it for those who want the same; false if there is no room.
    fn flush(
        &mut self,
        slot: u32,
        batch: &mut Vec<Event>,
        lists: &mut Lists,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(first) = batch.first().map(|event| event.row.revision) else {
            return true;
        };
        let (group, wish) = (self.watchers[slot].group, self.watchers[slot].wish);
        let list = Arc::new(EventList::new(std::mem::take(batch), wish.previous));
        let is_sent = self.send_list(slot, &list, out);
        lists.insert((group, wish.variant(), first), list);
        is_sent
    }

    /// Sends a list to a lifted watcher, if its stream has room, and sets how far it is now.
    fn send_list(&mut self, slot: u32, list: &Arc<EventList>, out: &mut Vec<Effect>) -> bool {
        let events = list.events();
        let first = events.first().expect("lists are not empty").row.revision.main;
        let has_room = self.has_room(self.watchers[slot].stream);
        self.watchers[slot].next = if has_room { last_of(events) + 1 } else { first };
        if has_room {
            self.send_events(slot, self.revision, list, out);
        }
        has_room
    }

    /// The event as a watcher is to see it; `None` if it wants a previous row that was not loaded.
    fn with_previous(&self, event: &Event, wish: Wish) -> Option<Event> {
        if !wish.previous {
            return Some(Event { row: event.row.clone(), previous: Previous::Unloaded });
        }
        if event.row.revision.main <= self.compacted {
            // The revision before is compacted, and etcd shows nothing of it then, even where we
            // happen to have it in memory still.
            return Some(Event { row: event.row.clone(), previous: Previous::Absent });
        }
        (!lacks_previous(event)).then(|| event.clone())
    }
}

/// The revision a batch ends with.
fn last_of(batch: &[Event]) -> i64 {
    batch.last().map_or(0, |event| event.row.revision.main)
}

//! Live events: a revision was applied, who is told?
//!
//! The work is per change and per group of watchers with the same range, then a few instructions per
//! watcher: a thousand watchers of one key share one list of events, encoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::Row;

use crate::event::{Changes, Event, EventList, Previous};
use crate::hub::Hub;
use crate::interface::Effect;
use crate::response::{Body, Response};
use crate::watcher::{State, Wish};

/// What watchers of one variant in one group get of a revision.
#[derive(Clone, Debug)]
enum Share {
    /// Not worked out yet.
    Unknown,
    /// Their filters leave nothing.
    Nothing,
    /// A previous row was not loaded: history has to be read.
    Unloaded,
    /// These events.
    Events(Arc<EventList>),
}

/// Lists made for this revision, by the places of their events: watchers of different ranges often
/// get the same events.
type Lists = BTreeMap<(Vec<u32>, bool), Arc<EventList>>;

impl Hub {
    pub(crate) fn applied(&mut self, changes: Arc<Changes>, out: &mut Vec<Effect>) {
        assert_eq!(changes.revision, self.revision + 1, "each revision is handed in, in order");
        self.revision = changes.revision;
        let mut lists = Lists::new();
        for (group, places) in self.interested(&changes) {
            self.tell_group(group, &changes, &places, &mut lists, out);
        }
        self.recent.push(changes, &self.limits);
    }

    /// A revision of which nobody is told here: those who watch it wait for history.
    pub(crate) fn passed(&mut self, revision: i64, rows: &[Row]) {
        assert_eq!(revision, self.revision + 1, "each revision is handed in, in order");
        self.revision = revision;
        // What is kept reaches up to the current revision, or it is of no use.
        self.recent.clear();
        let mut interested = BTreeSet::new();
        for row in rows {
            self.groups.stab(row.key(), |slot, group| {
                if !group.synced.is_empty() {
                    interested.insert(slot);
                }
            });
        }
        for group in interested {
            for slot in self.groups[group].synced.clone() {
                if self.watchers[slot].next <= revision {
                    self.fall_behind(slot, revision);
                    self.queue(slot);
                }
            }
        }
    }

    /// The groups with synced watchers of these changes, and which changes are theirs.
    fn interested(&self, changes: &Changes) -> BTreeMap<u32, Vec<u32>> {
        let mut interested: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (place, event) in (0..).zip(&changes.events) {
            self.groups.stab(event.row.key(), |slot, group| {
                if !group.synced.is_empty() {
                    interested.entry(slot).or_default().push(place);
                }
            });
        }
        interested
    }

    fn tell_group(
        &mut self,
        group: u32,
        changes: &Changes,
        places: &[u32],
        lists: &mut Lists,
        out: &mut Vec<Effect>,
    ) {
        let mut shares = [const { Share::Unknown }; Wish::VARIANTS];
        let mut place = 0;
        while let Some(&slot) = self.groups[group].synced.get(place) {
            let watcher = &self.watchers[slot];
            let share = &mut shares[watcher.wish.variant()];
            if let Share::Unknown = share {
                *share = share_of(watcher.wish, changes, places, lists);
            }
            let goes_on = if changes.revision < watcher.next {
                true
            } else {
                self.tell(slot, changes.revision, share, out)
            };
            // One that stops being synced leaves its place to the last in the list.
            place += usize::from(goes_on);
        }
    }

    /// Tells one synced watcher of a revision; false if it is not synced any more.
    fn tell(&mut self, slot: u32, revision: i64, share: &Share, out: &mut Vec<Effect>) -> bool {
        let stream = self.watchers[slot].stream;
        match share {
            Share::Nothing | Share::Unknown => true,
            Share::Events(list) if self.has_room(stream) => {
                self.watchers[slot].next = revision + 1;
                self.send_events(slot, revision, list, out);
                true
            }
            Share::Events(_) => {
                self.fall_behind(slot, revision);
                self.park(slot);
                false
            }
            Share::Unloaded => {
                self.fall_behind(slot, revision);
                self.queue(slot);
                false
            }
        }
    }

    /// Takes a synced watcher out of the live flow just before a revision.
    fn fall_behind(&mut self, slot: u32, revision: i64) {
        assert!(matches!(self.watchers[slot].state, State::Synced { .. }));
        self.lift(slot);
        self.watchers[slot].next = revision;
    }

    /// Sends events to a watcher, in fragments if it asked for that and they are large.
    pub(crate) fn send_events(
        &mut self,
        slot: u32,
        revision: i64,
        list: &Arc<EventList>,
        out: &mut Vec<Effect>,
    ) {
        let watcher = &mut self.watchers[slot];
        watcher.quiet = false;
        let (stream, id) = (watcher.stream, watcher.id);
        self.events_sent += list.events().len() as u64;
        let bytes_max = self.limits.fragment_bytes.saturating_sub(Response::OVERHEAD_BYTES);
        if !watcher.wish.fragment || list.encoded_len() < bytes_max {
            let body = Body::Events { events: Arc::clone(list), fragment: false };
            self.send(stream, id, revision, body, out);
            return;
        }
        let mut pieces = list.split(bytes_max).into_iter().peekable();
        while let Some(events) = pieces.next() {
            let fragment = pieces.peek().is_some();
            self.send(stream, id, revision, Body::Events { events, fragment }, out);
        }
    }
}

fn share_of(wish: Wish, changes: &Changes, places: &[u32], lists: &mut Lists) -> Share {
    let event = |place: &u32| &changes.events[*place as usize];
    let wanted: Vec<u32> =
        places.iter().filter(|place| wish.wants(&event(place).row)).copied().collect();
    if wanted.is_empty() {
        return Share::Nothing;
    }
    if wish.previous && wanted.iter().any(|place| lacks_previous(event(place))) {
        return Share::Unloaded;
    }
    let list = lists.entry((wanted, wish.previous)).or_insert_with_key(|(wanted, previous)| {
        let events = wanted.iter().map(|place| event(place).clone()).collect();
        Arc::new(EventList::new(events, *previous))
    });
    Share::Events(Arc::clone(list))
}

/// Whether the previous row is not known yet.
pub(crate) fn lacks_previous(event: &Event) -> bool {
    event.previous == Previous::Unloaded && !Event::creates(&event.row)
}

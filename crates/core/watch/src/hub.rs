//! The hub: its state, what clients ask of it, and where each watcher stands.
//!
//! Live events are in `live`, catching up in `catch_up`.
//!
//! Circle: `live` and `catch_up` are blocks of the hub's methods.

use std::collections::{BTreeMap, BTreeSet};

use types::{KeyRange, Refusal, Row};

use crate::catch_up::Reading;
use crate::event::Event;
use crate::groups::Groups;
use crate::interface::{Create, Effect, Input};
use crate::limits::Limits;
use crate::recent::Recent;
use crate::response::{Body, Response};
use crate::streams::Stream;
use crate::watcher::{State, Table, Watcher, Wish};
use crate::{StreamId, WatchId};

/// Which watcher gets which events next.
#[derive(Debug)]
pub struct Hub {
    pub(crate) limits: Limits,
    /// The current revision.
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// The revision behind the last row that history could not read; 0 if none.
    lost_before: i64,
    now_ms: u64,
    pub(crate) streams: Table<Stream>,
    stream_slots: BTreeMap<StreamId, u32>,
    /// When which stream's periodic progress is due.
    progress_due: BTreeSet<(u64, u32)>,
    pub(crate) watchers: Table<Watcher>,
    pub(crate) groups: Groups,
    pub(crate) recent: Recent,
    /// Waiting watchers by the first revision they lack.
    pub(crate) waiting: BTreeSet<(i64, u32)>,
    /// Waiting watchers by whose turn it is to say where the next read starts.
    pub(crate) turns: BTreeSet<(u64, u32)>,
    /// Parked watchers by the first revision they lack.
    parked: BTreeSet<(i64, u32)>,
    /// The history read under way.
    pub(crate) reading: Option<Reading>,
    /// Feeds serials and turns.
    counter: u64,
    pub(crate) pending_bytes: usize,
    pub(crate) events_sent: u64,
}

/// What the metrics show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Open streams.
    pub streams: usize,
    /// Watches on them.
    pub watches: usize,
    /// Those that lag behind.
    pub unsynced: usize,
    /// Events sent so far.
    pub events_sent: u64,
    /// Bytes sent to streams and not taken yet.
    pub pending_bytes: usize,
}

impl Hub {
    /// A hub over a store at `revision`, compacted at `compacted` (−1 if never).
    pub fn new(limits: Limits, revision: i64, compacted: i64) -> Hub {
        Hub {
            limits,
            revision,
            compacted,
            lost_before: 0,
            now_ms: 0,
            streams: Table::default(),
            stream_slots: BTreeMap::new(),
            progress_due: BTreeSet::new(),
            watchers: Table::default(),
            groups: Groups::default(),
            recent: Recent::default(),
            waiting: BTreeSet::new(),
            turns: BTreeSet::new(),
            parked: BTreeSet::new(),
            reading: None,
            counter: 0,
            pending_bytes: 0,
            events_sent: 0,
        }
    }

    /// Takes one input and returns what must be done about it, in order. What is said of a stream
    /// that is closed already is ignored: the message was under way.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let out = &mut effects;
        match input {
            Input::StreamOpened { stream, progress_interval_ms } => {
                self.open(stream, progress_interval_ms);
            }
            Input::StreamClosed { stream } => self.close(stream),
            Input::Create { stream, create } => self.on_stream(stream, |hub, slot| {
                hub.create(slot, &create, out);
            }),
            Input::Cancel { stream, watch } => self.on_stream(stream, |hub, slot| {
                hub.cancel(slot, watch, out);
            }),
            Input::ProgressRequested { stream } => self.on_stream(stream, |hub, slot| {
                hub.progress_requested(slot, out);
            }),
            Input::Sent { stream, responses, bytes } => self.on_stream(stream, |hub, slot| {
                hub.sent(slot, responses, bytes, out);
            }),
            Input::Applied(changes) => self.applied(changes, out),
            Input::Passed { revision, rows } => self.passed(revision, &rows),
            Input::Restored { revision, compacted } => self.restored(revision, compacted, out),
            Input::Compacted { revision } => self.compacted_at(revision, out),
            Input::HistoryRead(history) => self.history_read(&history, out),
            Input::Ticked { now_ms } => self.ticked(now_ms, out),
        }
        self.read_more(out);
        effects
    }

    /// Whether some watcher wants to be told what this row's key was before. Then the driver loads
    /// it into [`crate::Event::previous`] before [`Input::Applied`]; otherwise it need not. Skipping
    /// that is never wrong, only slow: such watchers are then served from history.
    pub fn wants_previous(&self, row: &Row) -> bool {
        !Event::creates(row) && self.groups.want_previous(row.key())
    }

    /// The revision up to which changes have been handed in.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Figures for the metrics.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            streams: self.streams.len(),
            watches: self.watchers.len(),
            unsynced: self.waiting.len() + self.parked.len(),
            events_sent: self.events_sent,
            pending_bytes: self.pending_bytes,
        }
    }
}

/// Streams and watches come and go.
impl Hub {
    fn on_stream(&mut self, stream: StreamId, then: impl FnOnce(&mut Hub, u32)) {
        if let Some(slot) = self.stream_slots.get(&stream) {
            then(self, *slot);
        }
    }

    fn open(&mut self, stream: StreamId, progress_interval_ms: u64) {
        let opened = Stream::new(stream, progress_interval_ms.max(1), self.now_ms);
        let due_ms = opened.progress_due_ms;
        let slot = self.streams.insert(opened);
        self.progress_due.insert((due_ms, slot));
        let before = self.stream_slots.insert(stream, slot);
        assert_eq!(before, None, "a stream's number is not in use when it opens");
    }

    fn close(&mut self, stream: StreamId) {
        let Some(slot) = self.stream_slots.remove(&stream) else {
            return;
        };
        let watches = std::mem::take(&mut self.streams[slot].watches);
        for watcher in watches.into_values() {
            self.forget(watcher);
        }
        let closed = self.streams.remove(slot);
        self.progress_due.remove(&(closed.progress_due_ms, slot));
        self.pending_bytes -= closed.pending_bytes;
    }

    /// The checks stand in etcd's order (`docs/etcd/observed.md` C): start, permission, range, id.
    fn create(&mut self, stream: u32, create: &Create, out: &mut Vec<Effect>) {
        let refuse = |reason| Body::Refused { reason };
        let chosen = if create.start < 0 {
            Err(Refusal::Compacted.message().to_owned())
        } else if let Err(refusal) = &create.permission {
            Err(refusal.status_text())
        } else if is_empty(&create.range) {
            Err("mvcc: watcher range is empty".to_owned())
        } else if self.limits.watches_max <= self.watchers.len() {
            Err(Refusal::RequestTooManyRequests.message().to_owned())
        } else {
            let chosen = self.streams[stream].choose_id(create.watch);
            chosen.ok_or_else(|| "mvcc: duplicate watch ID provided on the WatchStream".to_owned())
        };
        match chosen {
            Err(reason) => self.send(stream, -1, self.revision, refuse(reason.into()), out),
            Ok(id) => {
                self.send(stream, id, self.revision, Body::Created, out);
                let slot = self.remember(stream, id, create);
                self.begin(slot, out);
            }
        }
    }

    fn remember(&mut self, stream: u32, id: WatchId, create: &Create) -> u32 {
        let from_now_on = create.start == 0 || self.revision < create.start;
        let next = if from_now_on { create.start.max(self.revision + 1) } else { create.start };
        self.counter += 1;
        let slot = self.watchers.insert(Watcher {
            serial: self.counter,
            stream,
            id,
            group: self.groups.join(&create.range, create.previous),
            next,
            start: create.start,
            wish: Wish::of(create),
            quiet: true,
            state: State::Idle,
        });
        let stream = &mut self.streams[stream];
        stream.watches.insert(id, slot);
        stream.behind += 1;
        stream.starts_at(create.start);
        slot
    }

    /// Starts a watcher off: live, from history, or not at all.
    fn begin(&mut self, slot: u32, out: &mut Vec<Effect>) {
        let next = self.watchers[slot].next;
        if self.revision < next {
            self.settle(slot);
        } else if next < self.oldest_start() {
            self.cancel_compacted(slot, out);
        } else {
            self.catch_up(slot, &mut BTreeMap::new(), out);
        }
    }

    fn cancel(&mut self, stream: u32, watch: WatchId, out: &mut Vec<Effect>) {
        if let Some(slot) = self.streams[stream].watches.remove(&watch) {
            self.forget(slot);
            self.send(stream, watch, self.revision, Body::Canceled, out);
        }
    }

    /// Removes a watcher that its stream has let go of.
    fn forget(&mut self, slot: u32) {
        self.lift(slot);
        let watcher = self.watchers.remove(slot);
        if watcher.state != State::Compacted {
            self.groups.leave(watcher.group, watcher.wish.previous);
        }
        let stream = &mut self.streams[watcher.stream];
        stream.behind -= 1;
        stream.no_longer_starts_at(watcher.start);
    }

    /// Ends a watcher whose history is gone. It stays registered until the client cancels it too: its
    /// id is taken and its stream does not answer progress requests (`docs/etcd/observed.md` C).
    pub(crate) fn cancel_compacted(&mut self, slot: u32, out: &mut Vec<Effect>) {
        self.lift(slot);
        let watcher = &mut self.watchers[slot];
        watcher.state = State::Compacted;
        self.groups.leave(watcher.group, watcher.wish.previous);
        let (stream, id) = (watcher.stream, watcher.id);
        self.send(stream, id, 0, Body::Compacted { compact_revision: self.oldest_start() }, out);
    }
}

/// Where a watcher stands: `lift` takes it out of the structure it stands in, the others put it into
/// one. Only a lifted watcher's `next` may change, because the structures are ordered by it.
impl Hub {
    pub(crate) fn lift(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot];
        match watcher.state {
            State::Idle | State::Compacted => return,
            State::Synced { place } => {
                let synced = &mut self.groups[watcher.group].synced;
                let removed = synced.swap_remove(place as usize);
                assert_eq!(removed, slot, "a synced watcher knows its place");
                let moved = synced.get(place as usize).copied();
                self.streams[watcher.stream].behind += 1;
                watcher.state = State::Idle;
                if let Some(moved) = moved {
                    self.watchers[moved].state = State::Synced { place };
                }
                return;
            }
            State::Waiting { turn } => {
                self.waiting.remove(&(watcher.next, slot));
                self.turns.remove(&(turn, slot));
            }
            State::Parked => {
                self.parked.remove(&(watcher.next, slot));
                self.streams[watcher.stream].parked.remove(&slot);
            }
        }
        watcher.state = State::Idle;
    }

    /// From now on it gets live events.
    pub(crate) fn settle(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot];
        assert_eq!(watcher.state, State::Idle);
        let synced = &mut self.groups[watcher.group].synced;
        let place = u32::try_from(synced.len()).expect("watches are bounded below 2^32");
        synced.push(slot);
        watcher.state = State::Synced { place };
        self.streams[watcher.stream].behind -= 1;
    }

    /// It needs history.
    pub(crate) fn queue(&mut self, slot: u32) {
        self.counter += 1;
        let turn = self.counter;
        let watcher = &mut self.watchers[slot];
        assert_eq!(watcher.state, State::Idle);
        watcher.state = State::Waiting { turn };
        self.waiting.insert((watcher.next, slot));
        self.turns.insert((turn, slot));
    }

    /// It needs room on its stream.
    pub(crate) fn park(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot];
        assert_eq!(watcher.state, State::Idle);
        watcher.state = State::Parked;
        self.parked.insert((watcher.next, slot));
        self.streams[watcher.stream].parked.insert(slot);
    }
}

/// History shrinks, the store is replaced.
impl Hub {
    pub(crate) fn compacted_at(&mut self, revision: i64, out: &mut Vec<Effect>) {
        self.compacted = self.compacted.max(revision);
        self.cancel_unservable(out);
    }

    /// What is before this revision cannot be read. Unlike a compaction this hides no previous rows: those that
    /// can be read are shown.
    pub(crate) fn lost_before(&mut self, revision: i64, out: &mut Vec<Effect>) {
        self.lost_before = self.lost_before.max(revision);
        self.cancel_unservable(out);
    }

    /// The earliest revision at which a watcher can start. Starting at the compact revision itself is served.
    fn oldest_start(&self) -> i64 {
        self.compacted.max(self.lost_before)
    }

    fn cancel_unservable(&mut self, out: &mut Vec<Effect>) {
        let gone = ..(self.oldest_start(), 0);
        let waiting = self.waiting.range(gone).chain(self.parked.range(gone));
        let cut: Vec<u32> = waiting.map(|(_, slot)| *slot).collect();
        for slot in cut {
            self.cancel_compacted(slot, out);
        }
    }

    fn restored(&mut self, revision: i64, compacted: i64, out: &mut Vec<Effect>) {
        assert!(self.revision <= revision, "a snapshot does not lead back");
        let unseen = self.revision + 1;
        self.recent.clear();
        if self.revision < revision {
            self.revision = revision;
            for slot in self.synced_before(revision + 1) {
                self.lift(slot);
                let watcher = &mut self.watchers[slot];
                watcher.next = watcher.next.max(unseen);
                self.queue(slot);
            }
        }
        self.compacted_at(compacted, out);
    }

    /// Synced watchers that want events before `revision`.
    fn synced_before(&self, revision: i64) -> Vec<u32> {
        let watches = self.stream_slots.values().flat_map(|s| self.streams[*s].watches.values());
        watches
            .copied()
            .filter(|slot| {
                let watcher = &self.watchers[*slot];
                matches!(watcher.state, State::Synced { .. }) && watcher.next < revision
            })
            .collect()
    }
}

/// Progress, and what goes out.
impl Hub {
    /// Guarantee (watch, bookmarkable): the answer does not overtake events. It goes to the end of
    /// the same queue, and only when nothing is left to be read from history.
    fn progress_requested(&mut self, stream: u32, out: &mut Vec<Effect>) {
        let asked = &self.streams[stream];
        if !asked.watches.is_empty() && asked.is_settled(self.revision) {
            self.send(stream, -1, self.revision, Body::Progress, out);
        }
    }

    fn ticked(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some(&(due_ms, slot)) = self.progress_due.first() {
            if self.now_ms < due_ms {
                return;
            }
            self.progress_due.remove(&(due_ms, slot));
            let stream = &mut self.streams[slot];
            stream.progress_due_ms = self.now_ms.saturating_add(stream.progress_interval_ms);
            self.progress_due.insert((stream.progress_due_ms, slot));
            self.notify(slot, out);
        }
    }

    /// Tells each idle watch that asked for it how far it has got. One that had an event since the
    /// last time has been told by it.
    fn notify(&mut self, stream: u32, out: &mut Vec<Effect>) {
        let watches: Vec<u32> = self.streams[stream].watches.values().copied().collect();
        for slot in watches {
            let watcher = &mut self.watchers[slot];
            let was_quiet = std::mem::replace(&mut watcher.quiet, true);
            let is_synced = matches!(watcher.state, State::Synced { .. });
            let is_due = watcher.wish.progress_notify && was_quiet && is_synced;
            if is_due && watcher.start <= self.revision && self.has_room(stream) {
                let id = self.watchers[slot].id;
                self.send(stream, id, self.revision, Body::Progress, out);
            }
        }
    }

    pub(crate) fn has_room(&self, stream: u32) -> bool {
        self.streams[stream].has_room(&self.limits, self.pending_bytes)
    }

    pub(crate) fn send(
        &mut self,
        stream: u32,
        watch: WatchId,
        revision: i64,
        body: Body,
        out: &mut Vec<Effect>,
    ) {
        let response = Response { watch, revision, body };
        let bytes = response.bytes();
        let stream = &mut self.streams[stream];
        stream.pending_bytes += bytes;
        stream.pending_responses += 1;
        self.pending_bytes += bytes;
        out.push(Effect::Send { stream: stream.id, response });
    }

    fn sent(&mut self, slot: u32, responses: usize, bytes: usize, out: &mut Vec<Effect>) {
        let stream = &mut self.streams[slot];
        assert!(responses <= stream.pending_responses, "only what was sent can be taken");
        assert!(bytes <= stream.pending_bytes, "only what was sent can be taken");
        stream.pending_responses -= responses;
        stream.pending_bytes -= bytes;
        self.pending_bytes -= bytes;
        if !stream.parked.is_empty() && stream.has_drained(&self.limits, self.pending_bytes) {
            self.unpark(slot, out);
        }
    }
}

fn is_empty(range: &KeyRange) -> bool {
    match range {
        KeyRange::One(_) | KeyRange::From { .. } => false,
        KeyRange::Between { start, end } => end <= start,
    }
}

//! A store in a list, clients with queues, and the driver between them and the hub.
//!
//! Each client checks what it receives against the list: the guarantees of `lib.rs`, one by one.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_watch::{
    Body, Changes, Create, Effect, Event, Filters, HistoryRequest, Hub, Input, Limits, Previous,
    Response, StreamId, WatchId,
};
use types::{KeyRange, KeyValueRef, Revision, Row, encode_row, encode_tombstone};

/// One write: a key, and a value or `None` for a delete.
pub type Write = (&'static str, Option<&'static str>);

pub struct World {
    pub hub: Hub,
    /// Every change ever, from revision 2 on; what is compacted is only hidden.
    pub history: Vec<Arc<Changes>>,
    state: BTreeMap<Bytes, Row>,
    pub compacted: i64,
    /// The revision behind a row that could not be read.
    lost_before: i64,
    pub streams: BTreeMap<StreamId, Client>,
    pub request: Option<HistoryRequest>,
    /// Whether the driver loads previous rows for live events when the hub wants them.
    pub loads_previous: bool,
    pub reads: usize,
    limits: Limits,
}

/// What a client knows of its stream.
#[derive(Default)]
pub struct Client {
    pub queue: VecDeque<Response>,
    /// What it has taken from the queue, as text, for scenarios.
    pub seen: Vec<String>,
    pub watches: BTreeMap<WatchId, Watched>,
    /// Creates that were not answered yet, in order.
    creates: VecDeque<Create>,
}

/// A watch and what came for it.
pub struct Watched {
    pub create: Create,
    /// The first revision it is to see.
    pub first: i64,
    /// Events of complete responses, as places in history.
    pub received: Vec<Revision>,
    /// Events of fragments whose last one is still to come.
    partial: Vec<Revision>,
    pub compacted: Option<i64>,
}

pub fn range(text: &str) -> KeyRange {
    if let Some(start) = text.strip_suffix("..") {
        return KeyRange::From { start: Bytes::copy_from_slice(start.as_bytes()) };
    }
    let Some(prefix) = text.strip_suffix('*') else {
        return KeyRange::One(Bytes::copy_from_slice(text.as_bytes()));
    };
    let start = Bytes::copy_from_slice(prefix.as_bytes());
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    KeyRange::Between { start, end: end.into() }
}

/// A plain watch from now on.
pub fn watch(keys: &str) -> Create {
    Create {
        watch: 0,
        range: range(keys),
        start: 0,
        progress_notify: false,
        previous: false,
        filters: Filters::default(),
        fragment: false,
        permission: Ok(()),
    }
}

impl World {
    pub fn new(limits: Limits) -> World {
        World {
            hub: Hub::new(limits.clone(), 1, -1),
            limits,
            history: Vec::new(),
            state: BTreeMap::new(),
            compacted: -1,
            lost_before: 0,
            streams: BTreeMap::new(),
            request: None,
            loads_previous: true,
            reads: 0,
        }
    }

    pub fn revision(&self) -> i64 {
        1 + self.history.len() as i64
    }

    pub fn step(&mut self, input: Input) {
        for effect in self.hub.step(input) {
            match effect {
                Effect::Send { stream, response } => {
                    let client = self.streams.get_mut(&stream).expect("sent to an open stream");
                    check_room(client, &response, &self.limits);
                    client.queue.push_back(response);
                }
                Effect::ReadHistory(request) => {
                    assert!(self.request.is_none(), "one read at a time");
                    self.reads += 1;
                    self.request = Some(request);
                }
            }
        }
    }

    pub fn open(&mut self, stream: StreamId) {
        self.streams.insert(stream, Client::default());
        self.step(Input::StreamOpened { stream, progress_interval_ms: 1000 });
    }

    pub fn close(&mut self, stream: StreamId) {
        self.step(Input::StreamClosed { stream });
        self.streams.remove(&stream);
    }

    pub fn create(&mut self, stream: StreamId, create: Create) {
        let client = self.streams.get_mut(&stream).expect("the stream is open");
        client.creates.push_back(create.clone());
        self.step(Input::Create { stream, create });
    }

    /// Applies one revision and hands it to the hub.
    pub fn write(&mut self, writes: &[Write]) {
        let changes = self.write_unseen(writes);
        self.step(Input::Applied(changes));
    }

    /// Applies one revision that the driver finds too large to hand over.
    pub fn write_much(&mut self, writes: &[Write]) {
        let changes = self.write_unseen(writes);
        let rows = changes.events.iter().map(|event| event.row.clone()).collect();
        self.step(Input::Passed { revision: changes.revision, rows });
    }

    /// Applies one revision without a word to the hub.
    pub fn write_unseen(&mut self, writes: &[Write]) -> Arc<Changes> {
        let main = self.revision() + 1;
        let before = self.state.clone();
        let mut events = Vec::new();
        for (key, value) in writes {
            let sub = events.len() as i64;
            let row = self.apply(key, *value, Revision { main, sub });
            let wanted = self.loads_previous && self.hub.wants_previous(&row);
            let previous = match before.get(row.key()).filter(|_| !Event::creates(&row)) {
                _ if !wanted => Previous::Unloaded,
                Some(before) => Previous::Row(before.clone()),
                None => Previous::Absent,
            };
            events.push(Event { row, previous });
        }
        let changes = Arc::new(Changes { revision: main, events });
        self.history.push(Arc::clone(&changes));
        changes
    }

    fn apply(&mut self, key: &'static str, value: Option<&'static str>, revision: Revision) -> Row {
        let name = Bytes::from_static(key.as_bytes());
        let Some(value) = value else {
            self.state.remove(&name);
            return encode_tombstone(key.as_bytes(), revision);
        };
        let before = self.state.get(&name).map(|row| (row.create_revision, row.version));
        let (create_revision, version) = before.unwrap_or((revision.main, 0));
        let kv = KeyValueRef {
            key: key.as_bytes(),
            create_revision,
            mod_revision: revision.main,
            version: version + 1,
            value: value.as_bytes(),
            lease: 0,
        };
        let row = encode_row(kv, revision.sub);
        self.state.insert(name, row.clone());
        row
    }

    fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.history.iter().flat_map(|changes| &changes.events)
    }

    /// A key as of a revision, by looking through everything.
    fn at(&self, key: &[u8], revision: i64) -> Option<Row> {
        let mut older = self.events().rev().filter(|e| e.row.revision.main <= revision);
        let last = older.find(|event| event.row.key() == key)?;
        (!last.row.tombstone).then(|| last.row.clone())
    }

    /// Whether compaction has taken a row away.
    fn is_pruned(&self, row: &Row) -> bool {
        if self.compacted <= row.revision.main {
            return false;
        }
        row.tombstone || self.at(row.key(), self.compacted).as_ref() != Some(row)
    }

    /// Answers the history read that is under way.
    pub fn answer(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let (from, mut goes_on) = (request.from, true);
        let mut reader = request.reader();
        for event in self.events().filter(|event| from <= event.row.revision.main) {
            if !goes_on {
                break;
            }
            if !self.is_pruned(&event.row) {
                let before = event.row.revision.main - 1;
                let load = |row: &Row| -> Result<_, std::convert::Infallible> {
                    let known = self.compacted <= before;
                    Ok(if known { self.at(row.key(), before) } else { None })
                };
                goes_on = reader.offer(event.row.clone(), load).expect("infallible");
            }
        }
        let history =
            if goes_on { reader.ended(self.compacted) } else { reader.stopped(self.compacted) };
        self.step(Input::HistoryRead(history));
    }

    /// The history read that is under way meets a row that cannot be read.
    pub fn lose(&mut self, revision: i64) {
        self.lost_before = revision + 1;
        let reader = self.request.take().expect("a read is under way").reader();
        self.step(Input::HistoryRead(reader.lost(revision, self.compacted)));
    }

    /// The transport takes up to `count` responses of a stream; the client looks at them.
    pub fn drain(&mut self, stream: StreamId, count: usize) {
        let client = self.streams.get_mut(&stream).expect("the stream is open");
        let taken: Vec<Response> = client.queue.drain(..count.min(client.queue.len())).collect();
        let bytes = taken.iter().map(Response::bytes).sum();
        let responses = taken.len();
        for response in taken {
            self.receive(stream, response);
        }
        self.step(Input::Sent { stream, responses, bytes });
    }

    /// Lets everything run until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            self.answer();
            let busy = self.streams.iter().find(|(_, client)| !client.queue.is_empty());
            match busy.map(|(stream, _)| *stream) {
                Some(stream) => self.drain(stream, usize::MAX),
                None if self.request.is_none() => return,
                None => {}
            }
        }
        panic!("it does not come to rest");
    }
}

/// What clients check.
impl World {
    fn receive(&mut self, stream: StreamId, response: Response) {
        assert!(response.revision <= self.revision());
        let text = describe(&response);
        let mut client = self.streams.remove(&stream).expect("the stream is open");
        client.seen.push(text);
        match &response.body {
            Body::Created => {
                let create = client.creates.pop_front().expect("a create was asked for");
                let from_now_on = create.start == 0 || response.revision < create.start;
                let first = if from_now_on {
                    create.start.max(response.revision + 1)
                } else {
                    create.start
                };
                let fresh = Watched::new(create, first);
                assert!(client.watches.insert(response.watch, fresh).is_none(), "ids are unique");
            }
            Body::Refused { .. } => {
                assert_eq!(response.watch, -1);
                client.creates.pop_front().expect("a create was asked for");
            }
            Body::Canceled => {
                client.watches.remove(&response.watch).expect("only known watches are cancelled");
            }
            Body::Compacted { compact_revision } => {
                let watched = client.watches.get_mut(&response.watch).expect("a known watch");
                assert!(watched.compacted.is_none(), "compaction cancels once");
                assert!(*compact_revision <= self.compacted.max(self.lost_before));
                watched.compacted = Some(*compact_revision);
            }
            Body::Events { events, fragment } => {
                let watched = client.watches.get_mut(&response.watch).expect("a known watch");
                assert!(watched.compacted.is_none(), "nothing follows a cancel");
                self.receive_events(watched, &response, events.events(), *fragment);
            }
            Body::Progress => self.check_progress(&client, &response),
        }
        self.streams.insert(stream, client);
    }

    fn receive_events(
        &self,
        watched: &mut Watched,
        response: &Response,
        events: &[Event],
        fragment: bool,
    ) {
        assert!(!events.is_empty());
        for event in events {
            assert!(event.row.revision.main <= response.revision);
            self.check_previous(watched, event);
            watched.partial.push(event.row.revision);
        }
        if fragment {
            assert!(watched.create.fragment, "only who asked gets fragments");
            return;
        }
        watched.received.append(&mut watched.partial);
        let expected = self.expected(watched);
        let count = watched.received.len();
        // Guarantees (watch, ordered, unique, reliable): what came is how the list begins.
        assert_eq!(watched.received, expected[..count.min(expected.len())]);
        // Guarantee (watch, atomic): all events of one revision travel in one response.
        let last = watched.received[count - 1].main;
        assert!(expected.get(count).is_none_or(|next| last < next.main), "half a revision");
    }

    /// The events a watch is to see, from the list.
    pub fn expected(&self, watched: &Watched) -> Vec<Revision> {
        let create = &watched.create;
        let wants = |row: &Row| {
            let dropped =
                if row.tombstone { create.filters.no_delete } else { create.filters.no_put };
            watched.first <= row.revision.main && create.range.contains(row.key()) && !dropped
        };
        self.events().filter(|e| wants(&e.row)).map(|event| event.row.revision).collect()
    }

    fn check_previous(&self, watched: &Watched, event: &Event) {
        if !watched.create.previous {
            return;
        }
        let main = event.row.revision.main;
        let before = self.at(event.row.key(), main - 1).filter(|_| !Event::creates(&event.row));
        match (&event.previous, before) {
            (Previous::Row(told), Some(before)) => assert_eq!(*told, before),
            (Previous::Absent, None) => {}
            (Previous::Unloaded, _) => assert!(Event::creates(&event.row), "never loaded"),
            (Previous::Row(_), None) => panic!("there was no such row"),
            // The revision before may have been compacted by then.
            (Previous::Absent, Some(_)) => assert!(main <= self.compacted, "previous is missing"),
        }
    }

    /// Guarantee (watch, bookmarkable): all events up to the revision were sent before.
    fn check_progress(&self, client: &Client, response: &Response) {
        // With a watch of id -1 it cannot be told whether the whole stream or that watch is meant.
        let all = response.watch == -1 && !client.watches.contains_key(&-1);
        let told = client.watches.iter().filter(|(id, _)| all || **id == response.watch);
        for (_, watched) in told {
            assert!(watched.compacted.is_none());
            let expected = self.expected(watched);
            let due = expected.iter().filter(|r| r.main <= response.revision).count();
            assert!(due <= watched.received.len(), "progress overtook events");
        }
    }

    /// After [`World::settle`]: everybody has everything, or was cancelled by compaction rightly.
    pub fn check_complete(&self) {
        for watched in self.streams.values().flat_map(|client| client.watches.values()) {
            let expected = self.expected(watched);
            match watched.compacted {
                None => assert_eq!(watched.received, expected),
                Some(compacted) => {
                    let seen = watched.received.last().map_or(watched.first, |last| last.main + 1);
                    assert!(seen < compacted, "cancelled though nothing was missing");
                }
            }
        }
        assert_eq!(self.hub.sizes().unsynced, 0);
        assert_eq!(self.hub.sizes().pending_bytes, 0);
    }
}

impl Watched {
    fn new(create: Create, first: i64) -> Watched {
        Watched { create, first, received: Vec::new(), partial: Vec::new(), compacted: None }
    }
}

/// Events are put into a queue only while it is below its bounds; the fragments of one response
/// follow each other.
fn check_room(client: &Client, response: &Response, limits: &Limits) {
    let is_rest = matches!(
        client.queue.back().map(|response| &response.body),
        Some(Body::Events { fragment: true, .. })
    );
    if matches!(response.body, Body::Events { .. }) && !is_rest && !client.queue.is_empty() {
        let bytes: usize = client.queue.iter().map(Response::bytes).sum();
        assert!(bytes < limits.stream_bytes_max);
        assert!(client.queue.len() < limits.stream_responses_max);
    }
}

/// A response in one line.
fn describe(response: &Response) -> String {
    let head = format!("{} @{}", response.watch, response.revision);
    match &response.body {
        Body::Created => format!("{head} created"),
        Body::Refused { reason } => format!("{head} refused: {reason}"),
        Body::Canceled => format!("{head} canceled"),
        Body::Compacted { compact_revision } => format!("{head} compacted {compact_revision}"),
        Body::Progress => format!("{head} progress"),
        Body::Events { events, fragment } => {
            let list: Vec<String> = events.events().iter().map(describe_event).collect();
            let more = if *fragment { " ..." } else { "" };
            format!("{head} {}{more}", list.join(" "))
        }
    }
}

fn describe_event(event: &Event) -> String {
    let row = &event.row;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = if row.tombstone { "-" } else { "+" };
    let previous = match &event.previous {
        Previous::Row(row) => format!("(was {})", text(row.value())),
        Previous::Absent | Previous::Unloaded => String::new(),
    };
    format!("{kind}{}={}{previous}", text(row.key()), text(row.value()))
}

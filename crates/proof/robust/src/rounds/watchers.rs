//! Watchers that go from member to member, each time where they were; and the scribe, who is one of them and writes
//! all changes down.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use history::Change;
use history::watch::{Event, Response, Watch};
use prost::Message;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use proto::mvccpb::event::EventType;

use super::leases::LEASED;
use super::session::{Session, Shared};
use super::translate::{everything, key_value};
use crate::grpc::{Call, Item, Stream};
use crate::random::Random;

/// How long a watcher listens before it looks whether the round has ended.
const LISTEN_DURATION: Duration = Duration::from_millis(100);
/// A watcher that hears nothing for so long asks elsewhere: its member may have been cut off or stopped.
const SILENCE_DURATION_MAX: Duration = Duration::from_millis(1500);

/// All changes, as the scribe heard of them.
#[derive(Debug, Default)]
pub struct Book {
    /// By revision.
    pub changes: BTreeMap<i64, Vec<Change>>,
    /// Leases whose key was seen to go, and the millisecond.
    pub ended: Vec<(u64, i64)>,
}

/// How one watcher watches.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The first revision; 0 for from now on.
    pub start: i64,
    /// Whether previous values are asked for.
    pub previous: bool,
    /// Whether deletions are not wanted.
    pub no_delete: bool,
    /// Whether it wants to be told when its member has no leader.
    pub requires_leader: bool,
}

/// One watcher at work.
pub struct Watcher<'a> {
    /// What it shares with all.
    pub shared: &'a Shared,
    /// How it watches.
    pub wish: Wish,
    /// Where the scribe writes; others have none.
    pub book: Option<&'a Mutex<Book>>,
    /// The newest revision it has heard of.
    pub heard: &'a AtomicI64,
}

impl Watcher<'_> {
    /// Watches until the round ends; all watches it had, the last one still standing.
    pub fn run(&self, mut random: Random) -> Vec<Watch> {
        let mut watches = Vec::new();
        let mut session = Session::new(self.shared, &mut random);
        let mut start = self.wish.start;
        while self.goes_on() {
            let watch = self.watch(&mut session, start, &mut random);
            start = match watch.responses.last() {
                Some(Response::Compacted { revision }) => *revision,
                _ => watch.resume_at(),
            };
            if !watch.responses.is_empty() {
                watches.push(watch);
            }
            session.move_on();
            sleep(Duration::from_millis(20));
        }
        watches
    }

    fn goes_on(&self) -> bool {
        if self.book.is_some() { self.shared.scribe_goes_on() } else { self.shared.goes_on() }
    }

    fn open(&self, session: &mut Session<'_>, start: i64) -> Option<Stream> {
        let span = everything();
        let filters = if self.wish.no_delete { vec![FilterType::Nodelete as i32] } else { vec![] };
        let create = WatchCreateRequest {
            key: span.first,
            range_end: span.end.unwrap_or_default(),
            start_revision: start,
            prev_kv: self.wish.previous,
            filters,
            ..WatchCreateRequest::default()
        };
        let message = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut call = Call::unary("/etcdserverpb.Watch/Watch", &message.encode_to_vec());
        if self.wish.requires_leader {
            call = call.with_header("hasleader", "true");
        }
        session.connection()?.begin(&call)
    }

    /// One watch, until its stream ends, its member falls silent, or it is tired of it.
    fn watch(&self, session: &mut Session<'_>, start: i64, random: &mut Random) -> Watch {
        let mut watch = Watch {
            span: everything(),
            start,
            previous: self.wish.previous,
            no_delete: self.wish.no_delete,
            responses: Vec::new(),
            settled_at: None,
        };
        let Some(mut stream) = self.open(session, start) else { return watch };
        let mut last = Instant::now();
        while self.goes_on() {
            match stream.next(LISTEN_DURATION) {
                Item::Message(message) => {
                    last = Instant::now();
                    let Ok(response) = WatchResponse::decode(message) else { return watch };
                    if !self.take(&response, &mut watch) {
                        return watch;
                    }
                    // The scribe goes on where it is, so that there always is one who has heard everything.
                    if self.book.is_none() && random.one_in(300) {
                        return watch;
                    }
                    if self.shared.progress && random.one_in(40) {
                        let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                        stream.send(&WatchRequest { request_union: Some(progress) });
                    }
                }
                Item::Nothing if SILENCE_DURATION_MAX < last.elapsed() => return watch,
                Item::Nothing => {}
                Item::End(_) => return watch,
            }
        }
        watch
    }

    /// Takes in a response; false when it was the last one.
    fn take(&self, response: &WatchResponse, watch: &mut Watch) -> bool {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.created {
            watch.responses.push(Response::Created { revision });
        }
        if response.canceled {
            if 0 < response.compact_revision {
                let revision = response.compact_revision;
                watch.responses.push(Response::Compacted { revision });
            }
            return false;
        }
        if !response.events.is_empty() {
            let events: Vec<Event> = response.events.iter().map(event).collect();
            let (last, fragment) = (events.last().map_or(0, |last| last.revision), false);
            if let Some(book) = self.book {
                self.write_down(&events, &mut book.lock().expect("no holder panics"));
                self.shared.known.fetch_max(last, Ordering::AcqRel);
            }
            let compacted = self.shared.compacted.load(Ordering::Acquire);
            watch.responses.push(Response::Events { events, fragment, compacted });
            self.heard.fetch_max(last, Ordering::AcqRel);
        } else if !response.created {
            watch.responses.push(Response::Progress { revision });
        }
        true
    }

    fn write_down(&self, events: &[Event], book: &mut Book) {
        let at = self.shared.now() / 1000;
        for event in events {
            let change = Change { key: event.key.clone(), after: event.after.clone() };
            book.changes.entry(event.revision).or_default().push(change);
            let lease = event.key.strip_prefix(LEASED.as_bytes()).filter(|_| event.after.is_none());
            let lease = lease.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
            book.ended.extend(lease.map(|lease| (at, lease)));
        }
    }
}

fn event(event: &proto::mvccpb::Event) -> Event {
    let kv = event.kv.clone().unwrap_or_default();
    let after = (event.r#type() == EventType::Put).then(|| key_value(&kv));
    let previous = event.prev_kv.as_ref().map(key_value);
    Event { revision: kv.mod_revision, key: kv.key, after, previous }
}

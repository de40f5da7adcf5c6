//! The last events, and who waits for the next ones. Each member has its own: neither is replicated, and a member that
//! begins anew, or goes on with another's snapshot, begins a new history.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::event::{Action, Event};
use crate::path::{below, is_hidden_from, normal, prefixes};
use crate::tree::Passed;

/// Events that are kept for whoever asks for past ones.
pub const HISTORY_EVENTS_MAX: usize = 1000;
/// What they may take together, in bytes. Where values are large the history is shorter.
pub const HISTORY_BYTES_MAX: usize = 64 << 20;
/// Watchers that wait at a time.
pub const WATCHERS_MAX: usize = 10_000;

/// By which a watcher is known.
pub type WatchId = u64;

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// The node, with the namespace in front.
    pub path: String,
    /// Whether everything below counts too.
    pub recursive: bool,
    /// Whether it goes on after the first event.
    pub stream: bool,
    /// The first event that counts; 0 for the next one.
    pub since: u64,
}

/// What a watcher is told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchAnswer {
    /// The tree's index.
    pub index: u64,
    /// What has happened already.
    pub events: Vec<Arc<Event>>,
    /// Whether more may come: it waits under the id it was given.
    pub waits: bool,
}

/// An event for a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who.
    pub id: WatchId,
    /// What.
    pub event: Arc<Event>,
    /// Whether it was the last one.
    pub is_last: bool,
}

struct Watcher {
    recursive: bool,
    stream: bool,
    since: u64,
}

/// Events and watchers of one member.
pub struct Hub {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The index of the last event, in the history or before it.
    last: u64,
    /// By path, then in the order in which they came.
    watchers: BTreeMap<Arc<str>, BTreeMap<WatchId, Watcher>>,
    paths: HashMap<WatchId, Arc<str>>,
}

impl Hub {
    /// The hub of a tree with this index.
    pub fn new(index: u64) -> Hub {
        Hub {
            events: VecDeque::new(),
            bytes: 0,
            last: index,
            watchers: BTreeMap::new(),
            paths: HashMap::new(),
        }
    }

    /// How many watchers wait.
    pub fn watchers(&self) -> usize {
        self.paths.len()
    }

    /// Answers from history, or remembers who waits. `index` is the tree's.
    ///
    /// # Errors
    /// History does not reach back so far; too many wait.
    pub fn watch(
        &mut self,
        id: WatchId,
        request: &WatchRequest,
        index: u64,
    ) -> Result<WatchAnswer, Error> {
        let path = normal(&request.path);
        let since = if request.since == 0 { index + 1 } else { request.since };
        let found = self.scan(&path, request, since);
        let events = found.map_err(|error| Error { index, ..error })?;
        let waits = request.stream || events.is_empty();
        if waits {
            if WATCHERS_MAX <= self.paths.len() {
                let cause = format!("more than {WATCHERS_MAX} watchers");
                return Err(Error::new(Code::RaftInternal, cause, index));
            }
            let watcher = Watcher {
                recursive: request.recursive,
                stream: request.stream,
                since: since.max(index + u64::from(!events.is_empty())),
            };
            let path: Arc<str> = path.into();
            self.watchers.entry(path.clone()).or_default().insert(id, watcher);
            self.paths.insert(id, path);
        }
        Ok(WatchAnswer { index, events, waits })
    }

    /// Somebody waits no more.
    pub fn unwatch(&mut self, id: WatchId) {
        let Some(path) = self.paths.remove(&id) else { return };
        if let Some(there) = self.watchers.get_mut(&path) {
            there.remove(&id);
            if there.is_empty() {
                self.watchers.remove(&path);
            }
        }
    }

    /// Something happened: who is told what, in order.
    pub fn pass(&mut self, passed: &Passed) -> Vec<Told> {
        let mut told = Vec::new();
        let event = &passed.event;
        if !event.refresh && !self.paths.is_empty() {
            for path in &passed.removed {
                self.tell(path, event, true, &mut told);
            }
            for path in prefixes(&event.node.key) {
                self.tell(path, event, false, &mut told);
            }
        }
        self.keep(event.clone());
        told
    }

    fn keep(&mut self, event: Arc<Event>) {
        self.last = event.index;
        self.bytes += event.bytes();
        self.events.push_back(event);
        while HISTORY_EVENTS_MAX < self.events.len() || HISTORY_BYTES_MAX < self.bytes {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    fn tell(&mut self, path: &str, event: &Arc<Event>, removed: bool, told: &mut Vec<Told>) {
        let Some(there) = self.watchers.get(path) else { return };
        let is_its_own = *event.node.key == *path;
        if !is_its_own && is_hidden_from(path, &event.node.key) {
            return;
        }
        let counts = |watcher: &Watcher| {
            (watcher.recursive || is_its_own || removed) && watcher.since <= event.index
        };
        let hit = there.iter().filter(|(_, watcher)| counts(watcher));
        let begin = told.len();
        told.extend(hit.map(|(id, watcher)| Told {
            id: *id,
            event: event.clone(),
            is_last: !watcher.stream,
        }));
        for one in &told[begin..] {
            if one.is_last {
                self.unwatch(one.id);
            }
        }
    }

    /// The events of history that somebody waits for: all for a stream, else the first.
    fn scan(
        &self,
        path: &str,
        request: &WatchRequest,
        since: u64,
    ) -> Result<Vec<Arc<Event>>, Error> {
        let first = self.events.front().map_or(self.last + 1, |event| event.index);
        if since < first {
            let cause = format!("the requested history has been cleared [{first}/{since}]");
            return Err(Error::new(Code::EventIndexCleared, cause, 0));
        }
        let inside = below(path);
        let counts = |event: &Event| {
            let key = &*event.node.key;
            let is_gone = matches!(event.action, Action::Delete | Action::Expire);
            let took = is_gone
                && event.previous.as_ref().is_some_and(|it| it.dir && path.starts_with(&*it.key));
            key == path || (request.recursive && key.starts_with(&inside)) || took
        };
        // Every event has an index of its own, one above the one before.
        let skipped = usize::try_from(since - first).unwrap_or(usize::MAX);
        let later = self.events.iter().skip(skipped);
        let found = later.filter(|event| !event.refresh && counts(event)).cloned();
        Ok(found.take(if request.stream { HISTORY_EVENTS_MAX } else { 1 }).collect())
    }
}

//! Everything that was seen during a run, compared at once where that can be done at once, and judged at the end.

use std::collections::{BTreeMap, BTreeSet};

use apply::ReadView;
use bytes::Bytes;
use history::lease::LeaseEvent;
use history::watch::Watch;
use history::{
    Action, Answer, Change, Keyspace, Operation, Outcome, Request, Span, Target, Violation,
};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::raftpb::ConfChange;
use types::{Entry, EntryKind, Revision};

use crate::convert::{change, key_value};

/// Windows with more overlapping requests, or more unknown ones, are not searched.
const SEARCHED_MAX: usize = 40;
const UNKNOWN_MAX: usize = 8;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Every change that was ever published.
    pub(crate) keys: Keyspace,
    /// Every entry that was ever committed.
    entries: BTreeMap<u64, Entry>,
    /// Where each request was decided, and at which step.
    decided: BTreeMap<u64, (u64, u64)>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) watches: Vec<Watch>,
    pub(crate) leases: Vec<LeaseEvent>,
    /// Leases that some entry granted.
    granted: BTreeSet<i64>,
    /// Leases that some entry ended.
    ended: BTreeSet<i64>,
    /// The newest compaction that was acknowledged.
    pub(crate) compacted: i64,
}

fn violation<T>(text: String) -> Result<T, Violation> {
    Err(Violation(text))
}

impl Record {
    /// The last entry that was ever committed.
    pub(crate) fn committed(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// Entries were committed: each index has one entry for ever, whatever crashes.
    pub(crate) fn entries(
        &mut self,
        entries: &[Entry],
        now_ms: u64,
        step: u64,
    ) -> Result<(), Violation> {
        for entry in entries {
            if let Some(known) = self.entries.get(&entry.index) {
                if known != entry {
                    return violation(format!(
                        "entry {} was {known:?}, now it is {entry:?}",
                        entry.index
                    ));
                }
                continue;
            }
            self.entries.insert(entry.index, entry.clone());
            self.decides(entry, step)?;
            if entry.kind == EntryKind::Normal
                && let Ok(request) = pb::InternalRaftRequest::decode(entry.data.clone())
            {
                self.granted.extend(request.lease_grant.map(|grant| grant.id));
                // A lease that is not there yet cannot end, and may be granted afterwards.
                let ended = request.lease_revoke.map(|revoke| revoke.id);
                if let Some(lease) = ended.filter(|id| self.granted.contains(id)) {
                    self.ended.insert(lease);
                    self.leases.push(LeaseEvent::Ended { lease, at: now_ms });
                }
            }
        }
        Ok(())
    }

    /// One request, one effect: no id is decided twice.
    fn decides(&mut self, entry: &Entry, step: u64) -> Result<(), Violation> {
        let id = match entry.kind {
            EntryKind::Normal => pb::InternalRaftRequest::decode(entry.data.clone())
                .ok()
                .and_then(|request| request.header)
                .map_or(0, |header| header.id),
            _ => ConfChange::decode(entry.data.clone()).map_or(0, |change| change.id()),
        };
        let index = entry.index;
        match self.decided.insert(id, (index, step)).filter(|_| id != 0) {
            Some((other, _)) => {
                violation(format!("request {id:x} is decided twice, at {other} and at {index}"))
            }
            None => Ok(()),
        }
    }

    /// The step at which a request was first known to be decided.
    pub(crate) fn decided_at(&self, id: u64) -> Option<u64> {
        self.decided.get(&id).map(|(_, step)| *step)
    }

    /// The last entry that was ever committed.
    pub(crate) fn last_committed(&self) -> Option<&Entry> {
        self.entries.last_key_value().map(|(_, entry)| entry)
    }

    /// Requests that nobody was told about: what was not decided by now never will be.
    pub(crate) fn explain_abandoned(&mut self, abandoned: BTreeMap<u64, Operation>) {
        for (id, operation) in abandoned {
            if let Some(step) = self.decided_at(id) {
                let returned = step.max(operation.invoked);
                self.operations.push(Operation { returned, ..operation });
            }
        }
    }

    /// Readers see this view: what is new in it after `from` is noted, what is known must be the same.
    pub(crate) fn published(&mut self, view: &ReadView, from: i64) -> Result<(), Violation> {
        let current = view.index.current_revision();
        let compacted = view.index.compact_revision();
        let mut scan = view.log.scan(Revision::first_of(from + 1));
        let mut found: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
        loop {
            let rows = scan.next_chunk(1 << 20);
            let rows =
                rows.map_err(|error| Violation(format!("history cannot be read: {error}")))?;
            if rows.is_empty() {
                break;
            }
            for row in rows.iter().filter(|row| row.revision.main <= current) {
                found.entry(row.revision.main).or_default().push(change(row));
            }
        }
        for (revision, changes) in found {
            self.revision(revision, changes, compacted)?;
        }
        let gap = (compacted.max(from).max(1) + 1..=current)
            .find(|revision| !self.keys.changes().contains_key(revision));
        match gap {
            Some(revision) => violation(format!("revision {revision} of {current} has no rows")),
            None => Ok(()),
        }
    }

    fn revision(&mut self, at: i64, found: Vec<Change>, compacted: i64) -> Result<(), Violation> {
        match self.keys.changes().get(&at) {
            // What is compacted may be there or not.
            Some(known) if at <= compacted => {
                match found.iter().find(|change| !known.contains(change)) {
                    Some(other) => violation(format!("revision {at} was {known:?}, now {other:?}")),
                    None => Ok(()),
                }
            }
            Some(known) if *known == found => Ok(()),
            Some(known) => violation(format!("revision {at} was {known:?}, now {found:?}")),
            None if at == self.keys.revision() + 1 => {
                self.keys.push(at, found);
                Ok(())
            }
            None => violation(format!("revision {at} comes after {}", self.keys.revision())),
        }
    }

    /// Everything that was ever published can be read at this revision, and nothing else.
    pub(crate) fn state_at(&self, view: &ReadView, at: i64) -> Result<(), Violation> {
        let request = pb::RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            revision: at,
            ..Default::default()
        };
        let found = apply::read_range(&view.index, &view.rows(), &request);
        let found = found.map_err(|error| Violation(format!("reading at {at}: {error}")))?;
        let found: Vec<_> = found.rows.iter().map(key_value).collect();
        let span = Span { first: Bytes::new(), end: Some(Bytes::from_static(b"\xff")) };
        let expected = self.keys.range(&span, at);
        if found == expected {
            return Ok(());
        }
        violation(format!("the state at revision {at} is {found:?}\n  and should be {expected:?}"))
    }

    /// A member has applied everything it had applied before it stopped.
    pub(crate) fn caught_up(&self, view: &ReadView) -> Result<(), Violation> {
        let (found, expected) = (view.index.current_revision(), self.keys.revision());
        if found < expected {
            return violation(format!("the revision went back from {expected} to {found}"));
        }
        let compacted = view.index.compact_revision();
        if 0 < self.compacted && compacted < self.compacted {
            let was = self.compacted;
            return violation(format!("the compaction of {was} is forgotten: {compacted}"));
        }
        Ok(())
    }

    /// All judges, over the whole run.
    pub(crate) fn judge(&self) -> Result<(), Violation> {
        let revoked = self.revoked();
        history::order::judge(&self.operations, &self.keys, &revoked)?;
        for watch in &self.watches {
            history::watch::judge(watch, &self.keys)?;
        }
        history::lease::judge(&self.leases)?;
        self.search()
    }

    /// Revisions that look as the end of a lease does.
    fn revoked(&self) -> BTreeSet<i64> {
        let ends = |revision: i64, change: &Change| {
            let before = self.keys.get(&change.key, revision - 1);
            change.after.is_none() && before.is_some_and(|kv| self.ended.contains(&kv.lease))
        };
        let all = self.keys.changes().iter();
        all.filter(|(revision, made)| made.iter().all(|change| ends(**revision, change)))
            .map(|(revision, _)| *revision)
            .collect()
    }

    /// Searches an order for requests about keys that know no leases.
    fn search(&self) -> Result<(), Violation> {
        let plain = self.operations.iter().filter(|operation| is_plain(operation)).cloned();
        let mut states = BTreeSet::from([BTreeMap::new()]);
        for window in history::linear::windows(plain.collect()) {
            let unknown = window.iter().filter(|o| o.outcome == Outcome::Unknown).count();
            if SEARCHED_MAX < window.len() || UNKNOWN_MAX < unknown {
                return Ok(());
            }
            match history::linear::search(&PlainKeys, &window, &states)? {
                Some(ends) => states = ends,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Whether a request speaks of the present of plain keys only.
fn is_plain(operation: &Operation) -> bool {
    let plain = |key: &Bytes| key.starts_with(b"k");
    let action = |action: &Action| match action {
        Action::Put { key, .. } => plain(key),
        Action::Delete { span, .. } => plain(&span.first),
        Action::Range { span, revision, .. } => {
            let within = span.end.as_ref().is_none_or(plain);
            *revision == 0 && plain(&span.first) && within
        }
    };
    match (&operation.request, &operation.outcome) {
        (_, Outcome::Refused(_)) | (Request::Serializable(_) | Request::Compact { .. }, _) => false,
        (Request::One(one), _) => action(one),
        (Request::Txn { conditions, then, otherwise }, _) => {
            let all = then.iter().chain(otherwise);
            conditions.iter().all(|c| plain(&c.key))
                && all.clone().all(action)
                && (0 < all.count() || !conditions.is_empty())
        }
    }
}

/// Keys with a value and a version.
struct PlainKeys;

type PlainState = BTreeMap<Bytes, (Bytes, i64)>;

impl history::linear::Model for PlainKeys {
    type State = PlainState;

    fn step(&self, state: &PlainState, operation: &Operation) -> Option<PlainState> {
        let told = match &operation.outcome {
            Outcome::Done { held, answers, .. } => Some((*held, answers)),
            Outcome::Unknown => None,
            Outcome::Refused(_) => return None,
        };
        let held = match &operation.request {
            Request::Txn { conditions, .. } => conditions.iter().all(|condition| {
                let found = state.get(&condition.key);
                match &condition.target {
                    Target::Version(wanted) => found.map_or(0, |found| found.1) == *wanted,
                    Target::Value(wanted) => found.is_some_and(|found| found.0 == *wanted),
                    Target::Mod(_) => true,
                }
            }),
            _ => true,
        };
        if told.is_some_and(|(told, _)| told != held) {
            return None;
        }
        let mut next = state.clone();
        for (place, action) in operation.request.actions(held).iter().enumerate() {
            let answer = told.map(|(_, answers)| &answers[place]);
            act(&mut next, action, answer)?;
        }
        Some(next)
    }
}

/// Does an action; `None` if the answer is not what this state gives.
fn act(state: &mut PlainState, action: &Action, answer: Option<&Answer>) -> Option<()> {
    let of_span = |state: &PlainState, span: &Span| -> Vec<(Bytes, Bytes)> {
        let found = state.iter().filter(|(key, _)| span.contains(key));
        found.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    };
    match (action, answer) {
        (Action::Put { key, value, .. }, _) => {
            let version = state.get(key).map_or(0, |found| found.1) + 1;
            state.insert(key.clone(), (value.clone(), version));
        }
        (Action::Delete { span, .. }, answer) => {
            let found = of_span(state, span);
            if let Some(Answer::Delete(count, _)) = answer
                && *count != found.len() as i64
            {
                return None;
            }
            state.retain(|key, _| !span.contains(key));
        }
        (Action::Range { span, .. }, Some(Answer::Range(rows, count, _))) => {
            let found = of_span(state, span);
            let told = rows.iter().map(|kv| (kv.key.clone(), kv.value.clone()));
            let same = found.iter().cloned().zip(told).all(|(found, told)| found == told);
            if !same || *count != found.len() as i64 {
                return None;
            }
        }
        (Action::Range { .. }, _) => {}
    }
    Some(())
}

//! What a watcher was promised and what it got.
//!
//! *Ordered*: by revision. *Unique*: no event twice. *Reliable*: none missing up to the last. *Atomic*: all events
//! of a revision in one response, or in its fragments. *Bookmarkable*: a progress notification comes after
//! all events up to its revision. *Resumable* is all of this for a watch that starts where another ended.

use bytes::Bytes;

use crate::keyspace::{Change, Keyspace};
use crate::record::{KeyValue, Span};
use crate::{Violation, ensure};

/// One event as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change.
    pub revision: i64,
    /// The key.
    pub key: Bytes,
    /// What it became; `None` when it was deleted.
    pub after: Option<KeyValue>,
    /// What it was before, if it was told.
    pub previous: Option<KeyValue>,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The watch stands.
    Created {
        /// The revision at that moment.
        revision: i64,
    },
    /// Events.
    Events {
        /// In order.
        events: Vec<Event>,
        /// Whether the rest of this response comes in the next.
        fragment: bool,
        /// The revision compacted to when the response was taken.
        compacted: i64,
    },
    /// All events up to this revision have been sent.
    Progress {
        /// The revision.
        revision: i64,
    },
    /// What it still needed is gone.
    Compacted {
        /// Where it could start again.
        revision: i64,
    },
}

/// One watch from its creation to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The keys.
    pub span: Span,
    /// The first revision wanted; 0 for from now on.
    pub start: i64,
    /// Whether previous values were asked for.
    pub previous: bool,
    /// Whether deletions were not wanted.
    pub no_delete: bool,
    /// What came, in order.
    pub responses: Vec<Response>,
    /// When all has settled and the watch still stands: the revision up to which nothing may be missing.
    pub settled_at: Option<i64>,
}

impl Watch {
    /// The revision a watch that goes on from here would start at.
    pub fn resume_at(&self) -> i64 {
        let mut next = self.start;
        let mut in_fragments = false;
        for response in &self.responses {
            match response {
                Response::Created { revision } if next == 0 => next = revision + 1,
                Response::Events { events, fragment, .. } => {
                    in_fragments = *fragment;
                    if let Some(last) = events.last().filter(|_| !fragment) {
                        next = last.revision + 1;
                    }
                }
                Response::Progress { revision } if !in_fragments => next = next.max(revision + 1),
                _ => {}
            }
        }
        next
    }

    fn wants(&self, change: &Change) -> bool {
        self.span.contains(&change.key) && !(self.no_delete && change.after.is_none())
    }
}

/// Judges one watch against all changes there were.
///
/// # Errors
/// The first [`Violation`].
pub fn judge(watch: &Watch, keys: &Keyspace) -> Result<(), Violation> {
    let mut judge =
        Judge { watch, keys, from: 0, wanted: Vec::new(), done: 0, in_fragments: false };
    for (number, response) in watch.responses.iter().enumerate() {
        judge.response(number, response).map_err(|violation| judge.explain(number, violation))?;
    }
    judge.settled().map_err(|violation| judge.explain(watch.responses.len(), violation))
}

struct Judge<'a> {
    watch: &'a Watch,
    keys: &'a Keyspace,
    from: i64,
    /// What is due, in order.
    wanted: Vec<(i64, &'a Change)>,
    /// How much of it came.
    done: usize,
    in_fragments: bool,
}

impl<'a> Judge<'a> {
    /// Everything this watch wants, in order.
    fn due(&self) -> Vec<(i64, &'a Change)> {
        let (watch, keys) = (self.watch, self.keys);
        let changes = keys.changes().range(self.from.max(0)..);
        let each =
            changes.flat_map(|(revision, made)| made.iter().map(|change| (*revision, change)));
        each.filter(|(_, change)| watch.wants(change)).collect()
    }

    fn explain(&self, number: usize, violation: Violation) -> Violation {
        let Watch { span, start, .. } = self.watch;
        Violation(format!("watch of {span:?} from {start}, response {number}: {violation}"))
    }

    fn response(&mut self, number: usize, response: &Response) -> Result<(), Violation> {
        let created = matches!(response, Response::Created { .. });
        ensure(created == (number == 0), || "it is not created once, first".to_owned())?;
        match response {
            Response::Created { revision } => {
                self.from = if self.watch.start == 0 { revision + 1 } else { self.watch.start };
                self.wanted = self.due();
                Ok(())
            }
            Response::Events { events, fragment, compacted } => {
                for event in events {
                    self.event(event, *compacted)?;
                }
                self.in_fragments = *fragment;
                self.whole(*fragment)
            }
            Response::Progress { revision } => {
                ensure(!self.in_fragments, || "progress came between fragments".to_owned())?;
                self.nothing_missing(*revision, "bookmarkable")
            }
            Response::Compacted { revision } => {
                let next = self.wanted.get(self.done).map(|(next, _)| *next);
                ensure(next.is_none_or(|next| next < *revision) || self.from < *revision, || {
                    format!("it was told that {revision} is compacted, but needed only {next:?}")
                })
            }
        }
    }

    fn event(&mut self, event: &Event, compacted: i64) -> Result<(), Violation> {
        let due = self.wanted.get(self.done);
        let fits = due.is_some_and(|(revision, change)| {
            *revision == event.revision && change.key == event.key && change.after == event.after
        });
        ensure(fits, || {
            let already = self.wanted[..self.done].iter().rev().take(3).collect::<Vec<_>>();
            format!(
                "{event:?} came, but due was {due:?} (unique, ordered, reliable); before: {already:?}"
            )
        })?;
        self.done += 1;
        if !self.watch.previous {
            return Ok(());
        }
        let before = event.revision - 1;
        let expected = self.keys.get(&event.key, before);
        let may_be_gone = before < compacted && event.previous.is_none();
        ensure(event.previous.as_ref() == expected || may_be_gone, || {
            format!("{event:?} should have had {expected:?} as its previous value")
        })
    }

    /// All or nothing of the last revision.
    fn whole(&self, fragment: bool) -> Result<(), Violation> {
        let Some((last, _)) = self.done.checked_sub(1).map(|last| &self.wanted[last]) else {
            return Ok(());
        };
        let next = self.wanted.get(self.done).map(|(revision, _)| revision);
        ensure(fragment || next != Some(last), || {
            format!("a part of revision {last} came without the rest (atomic)")
        })
    }

    fn nothing_missing(&self, through: i64, promise: &str) -> Result<(), Violation> {
        match self.wanted.get(self.done) {
            Some((revision, change)) if *revision <= through => Err(Violation(format!(
                "nothing up to {through} should be missing ({promise}), but revision {revision} is: {change:?}"
            ))),
            _ => Ok(()),
        }
    }

    fn settled(&self) -> Result<(), Violation> {
        self.watch.settled_at.map_or(Ok(()), |through| self.nothing_missing(through, "reliable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Action, Request};

    /// Four revisions: a, b, then both at once, then a again.
    fn keyspace() -> Keyspace {
        let put = |key: &'static str| Action::Put {
            key: key.into(),
            value: key.into(),
            lease: 0,
            previous: false,
        };
        let mut keys = Keyspace::default();
        for then in [vec![put("a")], vec![put("b")], vec![put("a"), put("b")], vec![put("a")]] {
            let revision = keys.revision();
            let request = Request::Txn { conditions: vec![], then, otherwise: vec![] };
            let made = keys.effect(&request, revision).changes;
            keys.push(revision + 1, made);
        }
        keys
    }

    fn events(keys: &Keyspace, wanted: &[(i64, usize)]) -> Response {
        let event = |(revision, place): &(i64, usize)| {
            let change = &keys.changes()[revision][*place];
            let previous = keys.get(&change.key, revision - 1).cloned();
            let (key, after) = (change.key.clone(), change.after.clone());
            Event { revision: *revision, key, after, previous }
        };
        let events = wanted.iter().map(event).collect();
        Response::Events { events, fragment: false, compacted: -1 }
    }

    #[track_caller]
    fn check(responses: &[Response], complaint: Option<&str>) {
        let keys = keyspace();
        let mut all = vec![Response::Created { revision: 1 }];
        all.extend_from_slice(responses);
        let span = Span { first: "a".into(), end: Some("c".into()) };
        let (start, previous, no_delete) = (2, true, false);
        let watch = Watch { span, start, previous, no_delete, responses: all, settled_at: None };
        match (judge(&watch, &keys), complaint) {
            (Ok(()), None) => {}
            (Err(violation), Some(words)) => assert!(violation.0.contains(words), "{violation}"),
            (judged, _) => panic!("{judged:?}"),
        }
    }

    #[test]
    fn every_promise_is_held_or_complained_about() {
        let keys = keyspace();
        let e = |wanted: &[(i64, usize)]| events(&keys, wanted);
        check(&[e(&[(2, 0)]), e(&[(3, 0), (4, 0), (4, 1)]), e(&[(5, 0)])], None);
        check(&[e(&[(2, 0)]), e(&[(2, 0)])], Some("unique"));
        check(&[e(&[(2, 0)]), e(&[(4, 0), (4, 1)])], Some("due was"));
        check(&[e(&[(2, 0), (3, 0), (4, 0)]), e(&[(4, 1)])], Some("atomic"));
        check(&[e(&[(2, 0)]), Response::Progress { revision: 3 }], Some("bookmarkable"));
        check(&[e(&[(2, 0)]), Response::Progress { revision: 2 }], None);
    }

    #[test]
    fn a_wrong_previous_value_is_complained_about_and_a_compacted_one_may_be_missing() {
        let keys = keyspace();
        let mut wrong = events(&keys, &[(2, 0), (3, 0), (4, 0), (4, 1)]);
        let Response::Events { events, compacted, .. } = &mut wrong else { unreachable!() };
        events[2].previous = None;
        *compacted = 4;
        check(&[wrong.clone()], None);
        let Response::Events { compacted, .. } = &mut wrong else { unreachable!() };
        *compacted = 3;
        check(&[wrong], Some("previous value"));
    }
}

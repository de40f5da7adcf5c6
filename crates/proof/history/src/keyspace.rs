//! A keyspace so simple that it is right: every version of every key, in sorted lists.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::record::{Action, Answer, Condition, KeyValue, Request, Span, Target};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// What it became; `None` when it was deleted.
    pub after: Option<KeyValue>,
}

/// All changes, and with them the state at every revision.
#[derive(Clone, Debug, Default)]
pub struct Keyspace {
    changes: BTreeMap<i64, Vec<Change>>,
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
}

/// What a request does on some state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Whether its conditions held.
    pub held: bool,
    /// One for each action.
    pub answers: Vec<Answer>,
    /// What it changes, in order.
    pub changes: Vec<Change>,
}

impl Keyspace {
    /// The newest revision; 1 when there never was a change.
    pub fn revision(&self) -> i64 {
        self.changes.last_key_value().map_or(1, |(revision, _)| *revision)
    }

    /// All changes by revision.
    pub fn changes(&self) -> &BTreeMap<i64, Vec<Change>> {
        &self.changes
    }

    /// Adds the changes of the next revision.
    pub fn push(&mut self, revision: i64, changes: Vec<Change>) {
        for change in &changes {
            let versions = self.keys.entry(change.key.clone()).or_default();
            match versions.last_mut() {
                Some((at, after)) if *at == revision => *after = change.after.clone(),
                _ => versions.push((revision, change.after.clone())),
            }
        }
        self.changes.insert(revision, changes);
    }

    /// A key as it was at a revision.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        at(self.keys.get(key)?, revision)
    }

    /// The keys of a span as they were at a revision, sorted.
    pub fn range(&self, span: &Span, revision: i64) -> Vec<KeyValue> {
        let from = self.keys.range(span.first.clone()..);
        let within = from.take_while(|(key, _)| span.contains(key));
        within.filter_map(|(_, versions)| at(versions, revision).cloned()).collect()
    }

    /// What a request does to the state at `revision`, being the change after it.
    pub fn effect(&self, request: &Request, revision: i64) -> Effect {
        let held = match request {
            Request::Txn { conditions, .. } => {
                conditions.iter().all(|condition| self.holds(condition, revision))
            }
            _ => true,
        };
        let mut doing = Doing { state: self, revision, over: BTreeMap::new(), changes: Vec::new() };
        let answers = request.actions(held).iter().map(|action| doing.act(action)).collect();
        Effect { held, answers, changes: doing.changes }
    }

    fn holds(&self, condition: &Condition, revision: i64) -> bool {
        let found = self.get(&condition.key, revision);
        match &condition.target {
            Target::Mod(wanted) => found.map_or(0, |found| found.mod_revision) == *wanted,
            Target::Version(wanted) => found.map_or(0, |found| found.version) == *wanted,
            // A key that is not there never has a value.
            Target::Value(wanted) => found.is_some_and(|found| found.value == *wanted),
        }
    }
}

fn at(versions: &[(i64, Option<KeyValue>)], revision: i64) -> Option<&KeyValue> {
    let after = versions.partition_point(|(at, _)| *at <= revision);
    versions[..after].last()?.1.as_ref()
}

/// A request under way: later actions see what earlier ones did.
struct Doing<'a> {
    state: &'a Keyspace,
    revision: i64,
    over: BTreeMap<Bytes, Option<KeyValue>>,
    changes: Vec<Change>,
}

impl Doing<'_> {
    fn get(&self, key: &Bytes) -> Option<KeyValue> {
        match self.over.get(key) {
            Some(over) => over.clone(),
            None => self.state.get(key, self.revision).cloned(),
        }
    }

    fn range(&self, span: &Span) -> Vec<KeyValue> {
        let before = self.state.range(span, self.revision);
        let mut found: BTreeMap<Bytes, KeyValue> =
            before.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        for (key, over) in self.over.iter().filter(|(key, _)| span.contains(key)) {
            match over {
                Some(kv) => found.insert(key.clone(), kv.clone()),
                None => found.remove(key),
            };
        }
        found.into_values().collect()
    }

    fn change(&mut self, key: Bytes, after: Option<KeyValue>) {
        self.over.insert(key.clone(), after.clone());
        self.changes.push(Change { key, after });
    }

    fn act(&mut self, action: &Action) -> Answer {
        match action {
            Action::Put { key, value, lease, previous } => {
                let before = self.get(key);
                let next = self.revision + 1;
                let after = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.as_ref().map_or(next, |kv| kv.create_revision),
                    mod_revision: next,
                    version: before.as_ref().map_or(0, |kv| kv.version) + 1,
                    lease: *lease,
                };
                self.change(key.clone(), Some(after));
                Answer::Put(before.filter(|_| *previous))
            }
            Action::Delete { span, previous } => {
                let found = self.range(span);
                for kv in &found {
                    self.change(kv.key.clone(), None);
                }
                let count = found.len() as i64;
                Answer::Delete(count, if *previous { found } else { Vec::new() })
            }
            Action::Range { span, revision, limit } => {
                let found = match revision {
                    0 => self.range(span),
                    at => self.state.range(span, *at),
                };
                let count = found.len();
                let shown = if *limit == 0 { count } else { count.min(*limit) };
                Answer::Range(found[..shown].to_vec(), count as i64, shown < count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Action {
        let (key, value) = (Bytes::from_static(key.as_bytes()), value.as_bytes());
        Action::Put { key, value: Bytes::from_static(value), lease: 0, previous: true }
    }

    #[test]
    fn every_revision_stays_as_it_was() {
        let mut keys = Keyspace::default();
        for value in ["1", "2", "3"] {
            let revision = keys.revision();
            let effect = keys.effect(&Request::One(put("a", value)), revision);
            keys.push(revision + 1, effect.changes);
        }
        let value = |at| keys.get(b"a", at).map(|kv| (kv.value.clone(), kv.version));
        assert_eq!(value(1), None);
        assert_eq!(value(2), Some(("1".into(), 1)));
        assert_eq!(value(4), Some(("3".into(), 3)));
    }

    #[test]
    fn later_actions_of_a_transaction_see_earlier_ones() {
        let keys = Keyspace::default();
        let span = Span { first: "a".into(), end: Some("z".into()) };
        let then = vec![
            put("a", "1"),
            Action::Range { span: span.clone(), revision: 0, limit: 0 },
            Action::Delete { span, previous: false },
        ];
        let request = Request::Txn { conditions: vec![], then, otherwise: vec![] };
        let effect = keys.effect(&request, 1);
        assert!(matches!(&effect.answers[1], Answer::Range(found, 1, false) if found.len() == 1));
        assert_eq!(effect.answers[2], Answer::Delete(1, vec![]));
        assert_eq!(effect.changes.len(), 2);
    }
}

//! Who made each revision.
//!
//! A request that was answered names its revision. One whose outcome is unknown may have made any that looks like
//! it, so several of them can stand for several revisions: whether each revision finds one of its own is a matching
//! of a graph with two sides, and taking the first that fits, one revision after the other, can miss the one that
//! leaves something for the rest.

use std::collections::{BTreeMap, BTreeSet};

use crate::keyspace::{Change, Keyspace};
use crate::record::{Action, Operation, Outcome, Request};
use crate::{Violation, ensure};

/// Gives every revision that has no maker yet one of the requests of unknown outcome; `too_old` says of each request up
/// to which revision others had been answered when it was asked, so that it made none of those.
///
/// # Errors
/// A revision was left out, or nobody can have made it.
pub(crate) fn find(
    operations: &[Operation],
    keys: &Keyspace,
    revoked: &BTreeSet<i64>,
    too_old: &[i64],
    makers: &mut BTreeMap<i64, usize>,
) -> Result<(), Violation> {
    let mut matching =
        Matching { operations, keys, too_old, unknown: Vec::new(), made: Vec::new() };
    let unknown = |number: &usize| operations[*number].outcome == Outcome::Unknown;
    matching.unknown.extend((0..operations.len()).filter(unknown));
    matching.made.resize(matching.unknown.len(), None);
    for (expected, (revision, made)) in (2..).zip(keys.changes()) {
        ensure(*revision == expected, || {
            format!("revision {revision} was published, but {expected} never was")
        })?;
        let by_lease =
            revoked.contains(revision) && made.iter().all(|change| change.after.is_none());
        if makers.contains_key(revision) || by_lease {
            continue;
        }
        let mut tried = vec![false; matching.unknown.len()];
        ensure(matching.place(*revision, &mut tried), || {
            format!("nobody asked for revision {revision}: {made:?}")
        })?;
    }
    for (place, revision) in matching.made.iter().enumerate() {
        makers.extend(revision.map(|revision| (revision, matching.unknown[place])));
    }
    Ok(())
}

struct Matching<'a> {
    operations: &'a [Operation],
    keys: &'a Keyspace,
    too_old: &'a [i64],
    /// Requests of unknown outcome.
    unknown: Vec<usize>,
    /// Which revision each of them stands for at the moment.
    made: Vec<Option<i64>>,
}

impl Matching<'_> {
    /// Finds the revision a request, moving those that were placed before to others where that helps.
    fn place(&mut self, revision: i64, tried: &mut [bool]) -> bool {
        let fitting: Vec<usize> = (0..self.unknown.len())
            .filter(|place| !tried[*place] && self.may_have_made(*place, revision))
            .collect();
        if let Some(free) = fitting.iter().find(|place| self.made[**place].is_none()) {
            self.made[*free] = Some(revision);
            return true;
        }
        for place in fitting {
            if std::mem::replace(&mut tried[place], true) {
                continue;
            }
            if self.made[place].is_none_or(|other| self.place(other, tried)) {
                self.made[place] = Some(revision);
                return true;
            }
        }
        false
    }

    fn may_have_made(&self, place: usize, revision: i64) -> bool {
        let number = self.unknown[place];
        let made = self.keys.changes().get(&revision).map_or(&[][..], Vec::as_slice);
        let request = &self.operations[number].request;
        self.too_old[number] < revision
            && fits(request, made)
            && self.keys.effect(request, revision - 1).changes == *made
    }
}

/// A quick look before the long one: a put has its own value.
fn fits(request: &Request, made: &[Change]) -> bool {
    match request {
        Request::One(Action::Put { key, value, .. }) => {
            let after = made.first().and_then(|change| change.after.as_ref());
            after.is_some_and(|after| after.key == *key && after.value == *value)
        }
        Request::Serializable(_) | Request::Compact { .. } => false,
        Request::One(_) | Request::Txn { .. } => true,
    }
}

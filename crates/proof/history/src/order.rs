//! The revision as witness of the order.
//!
//! etcd tells every client the revision its answer stands on. So the order of a whole run need not be searched
//! for, only checked, in one pass each:
//!
//! - each answer is what the keyspace at its revision gives (of a write: the revision before), field by field;
//! - each revision was made by one request, acknowledged or of unknown outcome, or by a lease that ended;
//! - what was answered before something was asked has a lower revision (a read: not a higher one). With this the
//!   revision never goes back, acknowledged writes stay, and every run that passes is linearizable.

use std::collections::{BTreeMap, BTreeSet};

use crate::keyspace::Keyspace;
use crate::makers;
use crate::record::{Action, Operation, Outcome, Request, Time};
use crate::{Violation, ensure};

/// Judges a run.
///
/// `keys` holds all changes as they were published; `revoked` says which revisions were made by ending a
/// lease, and of which keys it may have been.
///
/// # Errors
/// The first [`Violation`].
pub fn judge(
    operations: &[Operation],
    keys: &Keyspace,
    revoked: &BTreeSet<i64>,
) -> Result<(), Violation> {
    let mut makers: BTreeMap<i64, usize> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        answered_as_the_keyspace_does(operation, keys)?;
        if operation.wrote() {
            let revision =
                operation.revision().expect("only what was told is known to have written");
            let other = makers.insert(revision, number);
            ensure(other.is_none(), || {
                let other = other.map(|other| &operations[other]);
                format!("two requests made revision {revision}: {operation:?} and {other:?}")
            })?;
        }
    }
    let answered = answered_before(operations);
    let too_old: Vec<i64> = answered.iter().map(|(revision, _)| *revision).collect();
    makers::find(operations, keys, revoked, &too_old, &mut makers)?;
    order_fits_the_clock(operations, &answered, &makers)?;
    compactions(operations)
}

fn answered_as_the_keyspace_does(operation: &Operation, keys: &Keyspace) -> Result<(), Violation> {
    let Outcome::Done { revision, held, answers } = &operation.outcome else { return Ok(()) };
    if matches!(operation.request, Request::Compact { .. }) {
        return Ok(());
    }
    ensure(*revision <= keys.revision(), || {
        format!("nobody published revision {revision}, which was told to {operation:?}")
    })?;
    let wrote = operation.wrote();
    let stands_on = if wrote { revision - 1 } else { *revision };
    let expected = keys.effect(&operation.request, stands_on);
    ensure(expected.held == *held && expected.answers == *answers, || {
        format!("{operation:?}\n  on revision {stands_on} should have been {expected:?}")
    })?;
    let made = keys.changes().get(revision).map_or(&[][..], Vec::as_slice);
    ensure(!wrote || made == expected.changes, || {
        format!("{operation:?}\n  should have made {:?}\n  but there is {made:?}", expected.changes)
    })?;
    ensure(wrote || expected.changes.is_empty(), || {
        format!("{operation:?}\n  should have changed {:?}", expected.changes)
    })
}

/// The newest revision that had been answered when each request was asked, and to which request: what is made
/// later is newer, and what is read later not older.
fn answered_before(operations: &[Operation]) -> Vec<(i64, Option<usize>)> {
    let mut by_return: Vec<usize> = (0..operations.len()).collect();
    by_return.sort_by_key(|number| operations[*number].returned);
    let mut by_call = by_return.clone();
    by_call.sort_by_key(|number| operations[*number].invoked);
    let mut answered = vec![(0, None); operations.len()];
    let mut newest: (i64, Option<usize>) = (0, None);
    let mut returned = by_return.into_iter().peekable();
    for number in by_call {
        while let Some(before) =
            returned.next_if(|before| operations[*before].returned < operations[number].invoked)
        {
            // An old state that was asked for, or allowed, tells nothing about the present.
            if let Some(revision) = operations[before].revision().filter(|r| newest.0 < *r) {
                newest = (revision, Some(before));
            }
        }
        answered[number] = newest;
    }
    answered
}

fn order_fits_the_clock(
    operations: &[Operation],
    answered: &[(i64, Option<usize>)],
    makers: &BTreeMap<i64, usize>,
) -> Result<(), Violation> {
    let made: BTreeMap<usize, i64> = makers.iter().map(|(revision, by)| (*by, *revision)).collect();
    for (number, operation) in operations.iter().enumerate() {
        let (writes, revision) = match (made.get(&number), operation.revision()) {
            (Some(made), _) => (true, *made),
            (None, Some(told)) => (false, told),
            (None, None) => continue,
        };
        let (newest, told) = answered[number];
        let may_be_stale = matches!(operation.request, Request::Serializable(_));
        let fits = if writes { newest < revision } else { may_be_stale || newest <= revision };
        ensure(fits, || {
            let before = told.map(|before| &operations[before]);
            format!("revision {revision} of {operation:?}\n  is too old: before it came {before:?}")
        })?;
    }
    Ok(())
}

/// What was compacted is refused from then on, and nothing else is.
fn compactions(operations: &[Operation]) -> Result<(), Violation> {
    let compactions: Vec<(Time, Time, bool, i64)> = operations
        .iter()
        .filter_map(|operation| match (&operation.request, &operation.outcome) {
            (Request::Compact { revision }, Outcome::Done { .. }) => {
                Some((operation.invoked, operation.returned, true, *revision))
            }
            (Request::Compact { revision }, Outcome::Unknown) => {
                Some((operation.invoked, operation.returned, false, *revision))
            }
            _ => None,
        })
        .collect();
    for operation in operations {
        let (Request::One(action) | Request::Serializable(action)) = &operation.request else {
            continue;
        };
        let Action::Range { revision, .. } = action else { continue };
        if *revision == 0 {
            continue;
        }
        match &operation.outcome {
            Outcome::Done { .. } => {
                let gone = compactions.iter().find(|(_, returned, sure, at)| {
                    *sure && revision < at && *returned < operation.invoked
                });
                let stale = matches!(operation.request, Request::Serializable(_));
                ensure(stale || gone.is_none(), || {
                    format!("{operation:?}\n  was answered although it had been compacted")
                })?;
            }
            Outcome::Refused(text) if text.contains("compacted") => {
                let gone = compactions
                    .iter()
                    .any(|(invoked, _, _, at)| revision < at && *invoked < operation.returned);
                ensure(gone, || format!("{operation:?}\n  was refused, but nobody compacted it"))?;
            }
            Outcome::Refused(_) | Outcome::Unknown => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Answer, Span};

    fn put(invoked: Time, value: &'static str, revision: i64) -> Operation {
        let (key, value) = ("k".into(), value.into());
        let action = Action::Put { key, value, lease: 0, previous: false };
        let answers = vec![Answer::Put(None)];
        let outcome = Outcome::Done { revision, held: true, answers };
        let request = Request::One(action);
        Operation { client: 0, invoked, returned: invoked + 2, request, outcome }
    }

    fn read(invoked: Time, keys: &Keyspace, revision: i64) -> Operation {
        let span = Span::one(&"k".into());
        let request = Request::One(Action::Range { span, revision: 0, limit: 0 });
        let answers = keys.effect(&request, revision).answers;
        let outcome = Outcome::Done { revision, held: true, answers };
        Operation { client: 1, invoked, returned: invoked + 2, request, outcome }
    }

    fn keyspace(operations: &[Operation]) -> Keyspace {
        let mut keys = Keyspace::default();
        for operation in operations {
            let revision = keys.revision();
            let changes = keys.effect(&operation.request, revision).changes;
            keys.push(revision + 1, changes);
        }
        keys
    }

    #[track_caller]
    fn check(operations: &[Operation], keys: &Keyspace, complaint: Option<&str>) {
        let judged = judge(operations, keys, &BTreeSet::new());
        match complaint {
            None => assert_eq!(judged, Ok(())),
            Some(words) => {
                let said = judged.expect_err("something is wrong").0;
                assert!(said.contains(words), "{said}");
            }
        }
    }

    #[test]
    fn a_run_in_order_passes_and_a_stale_read_does_not() {
        let mut run = vec![put(0, "1", 2), put(10, "2", 3)];
        let keys = keyspace(&run);
        run.push(read(20, &keys, 3));
        check(&run, &keys, None);
        run.push(read(30, &keys, 2));
        check(&run, &keys, Some("too old"));
    }

    #[test]
    fn a_read_beside_a_write_may_see_either_state() {
        let mut run = vec![put(0, "1", 2), put(10, "2", 3)];
        let keys = keyspace(&run);
        run.push(read(11, &keys, 2));
        check(&run, &keys, None);
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_missed() {
        let run = vec![put(0, "1", 2), put(10, "2", 3)];
        check(&run, &keyspace(&run[..1]), Some("nobody published revision 3"));
    }

    #[test]
    fn a_wrong_value_is_seen() {
        let run = vec![put(0, "1", 2)];
        check(&[put(0, "other", 2)], &keyspace(&run), Some("should have made"));
    }

    #[test]
    fn a_revision_that_nobody_asked_for_is_seen_and_an_unknown_outcome_may_have_made_one() {
        let mut run = vec![put(0, "1", 2), put(10, "2", 3)];
        let keys = keyspace(&run);
        check(&run[..1], &keys, Some("nobody asked for revision 3"));
        run[1].outcome = Outcome::Unknown;
        check(&run, &keys, None);
    }

    /// A deletion of `k`, or of all keys up to another, of which nobody knows whether it was made.
    fn lost_delete(invoked: Time, end: Option<&'static str>) -> Operation {
        let span = Span { first: "k".into(), end: end.map(Into::into) };
        let request = Request::One(Action::Delete { span, previous: false });
        Operation { client: 2, invoked, returned: 90, request, outcome: Outcome::Unknown }
    }

    #[test]
    fn of_two_requests_that_may_have_made_a_revision_the_other_is_left_for_the_next() {
        let mut run = vec![put(0, "1", 2), lost_delete(3, None), put(10, "2", 4), put(20, "3", 5)];
        let mut keys = keyspace(&run);
        let both = lost_delete(4, Some("z"));
        keys.push(6, keys.effect(&both.request, 5).changes);
        // Either may have deleted the key the first time. The second time it was deleted after the one that
        // is written down last had been asked.
        run.push(both);
        check(&run, &keys, None);
        run.swap(1, 4);
        check(&run, &keys, None);
        // Had one of them been asked after the last put was answered, it is the other that made the first.
        run[1].invoked = 30;
        check(&run, &keys, None);
        run[4].invoked = 30;
        check(&run, &keys, Some("nobody asked for revision 3"));
    }

    #[test]
    fn a_request_moves_to_another_revision_where_that_leaves_its_own_for_one_that_fits_nothing_else()
     {
        let mut of_another_key = put(20, "3", 5);
        let Request::One(Action::Put { key, .. }) = &mut of_another_key.request else {
            panic!("a put")
        };
        *key = "l".into();
        let mut run = vec![put(0, "1", 2), lost_delete(3, None), put(10, "2", 4), of_another_key];
        run.push(lost_delete(4, Some("z")));
        let keys = keyspace(&run);
        // Both fit the first deletion; only that of all keys fits the second, and it is met first now.
        run.swap(1, 4);
        check(&run, &keys, None);
        run.remove(4);
        check(&run, &keys, Some("nobody asked for revision 6"));
    }

    #[test]
    fn one_revision_is_made_once() {
        let run = vec![put(0, "1", 2), put(0, "1", 2)];
        check(&run, &keyspace(&run[..1]), Some("two requests made revision 2"));
    }
}

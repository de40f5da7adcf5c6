//! Is there any order that explains all answers? A search, after Wing and Gong, with Lowe's memory of what was
//! tried.
//!
//! Knows nothing of revisions, so it also finds what a lying revision would hide. The price grows
//! exponentially with how many requests overlap; so a run is cut into windows at moments when nobody waits, and
//! the states that one window may end in are those the next may begin with.

use std::collections::BTreeSet;

use crate::record::{Operation, Outcome};
use crate::{Violation, ensure};

/// The longest window that is searched.
pub const WINDOW_MAX: usize = 64;

/// A sequential object: what an operation does to its state.
pub trait Model {
    /// A state. Equal states are explored once.
    type State: Clone + Ord;

    /// The state after an operation, if its answer is what this state gives; with an unknown outcome, the
    /// state it would lead to.
    fn step(&self, state: &Self::State, operation: &Operation) -> Option<Self::State>;
}

/// Looks taken at most: beyond that a window is left alone.
const LOOKS_MAX: usize = 30_000;

/// Searches one window: all states it may end in, having begun in one of `from`; `None` when that is too
/// much to search.
///
/// # Errors
/// When no order explains the answers.
pub fn search<M: Model>(
    model: &M,
    operations: &[Operation],
    from: &BTreeSet<M::State>,
) -> Result<Option<BTreeSet<M::State>>, Violation> {
    assert!(operations.len() <= WINDOW_MAX, "the caller cuts windows");
    let unknown = |operation: &Operation| operation.outcome == Outcome::Unknown;
    let sure = operations.iter().enumerate().filter(|(_, operation)| !unknown(operation));
    let sure: u64 = sure.map(|(number, _)| 1 << number).sum();
    let mut tried = BTreeSet::new();
    let mut ends = BTreeSet::new();
    let mut open: Vec<(u64, M::State)> = from.iter().map(|state| (0, state.clone())).collect();
    while let Some((done, state)) = open.pop() {
        if !tried.insert((done, state.clone())) {
            continue;
        }
        if LOOKS_MAX < tried.len() {
            return Ok(None);
        }
        if done & sure == sure {
            ends.insert(state.clone());
        }
        // Whatever comes next was asked for before any of the rest was answered.
        let rest = operations.iter().enumerate().filter(|(number, _)| done & (1 << number) == 0);
        let sure_rest = rest.clone().filter(|(_, operation)| !unknown(operation));
        let first_return = sure_rest.map(|(_, operation)| operation.returned).min();
        for (number, operation) in rest {
            if first_return.is_none_or(|first| operation.invoked <= first)
                && let Some(next) = model.step(&state, operation)
            {
                open.push((done | (1 << number), next));
            }
        }
    }
    ensure(!ends.is_empty(), || {
        let shown: Vec<String> = operations.iter().map(|o| format!("  {o:?}")).collect();
        format!("no order explains these answers:\n{}", shown.join("\n"))
    })?;
    Ok(Some(ends))
}

/// Cuts a run at moments when nobody waits, into windows of [`WINDOW_MAX`] at most. Where more overlap, the
/// window is given as it is, and is for the caller to leave out.
pub fn windows(mut operations: Vec<Operation>) -> Vec<Vec<Operation>> {
    operations.sort_by_key(|operation| operation.invoked);
    let mut windows: Vec<Vec<Operation>> = Vec::new();
    let mut until = 0;
    for operation in operations {
        let overlaps = operation.invoked <= until;
        until = until.max(operation.returned);
        match windows.last_mut() {
            Some(window) if overlaps => window.push(operation),
            _ => windows.push(vec![operation]),
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Action, Answer, KeyValue, Request, Span};

    /// One key.
    struct Register;

    impl Model for Register {
        type State = Option<bytes::Bytes>;

        fn step(&self, state: &Self::State, operation: &Operation) -> Option<Self::State> {
            match &operation.request {
                Request::One(Action::Put { value, .. }) => Some(Some(value.clone())),
                _ => {
                    let Outcome::Done { answers, .. } = &operation.outcome else {
                        return Some(state.clone());
                    };
                    let Answer::Range(found, ..) = &answers[0] else { return None };
                    let found = found.first().map(|kv| kv.value.clone());
                    (found == *state).then(|| state.clone())
                }
            }
        }
    }

    fn put(invoked: u64, returned: u64, value: &'static str) -> Operation {
        let (key, value) = ("k".into(), value.into());
        let request = Request::One(Action::Put { key, value, lease: 0, previous: false });
        let outcome = Outcome::Done { revision: 0, held: true, answers: vec![Answer::Put(None)] };
        Operation { client: 0, invoked, returned, request, outcome }
    }

    fn get(invoked: u64, returned: u64, value: &'static str) -> Operation {
        let key = bytes::Bytes::from("k");
        let span = Span::one(&key);
        let (create_revision, mod_revision, version, lease) = (0, 0, 0, 0);
        let value = value.into();
        let kv = KeyValue { key, value, create_revision, mod_revision, version, lease };
        let answers = vec![Answer::Range(vec![kv], 1, false)];
        let outcome = Outcome::Done { revision: 0, held: true, answers };
        let request = Request::One(Action::Range { span, revision: 0, limit: 0 });
        Operation { client: 1, invoked, returned, request, outcome }
    }

    fn check(operations: Vec<Operation>) -> bool {
        let mut states = BTreeSet::from([None]);
        for window in windows(operations) {
            match search(&Register, &window, &states) {
                Ok(Some(ends)) => states = ends,
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    #[test]
    fn overlapping_requests_may_be_in_either_order() {
        assert!(check(vec![put(0, 9, "1"), put(0, 9, "2"), get(10, 11, "1")]));
        assert!(check(vec![put(0, 9, "1"), put(0, 9, "2"), get(10, 11, "2")]));
        assert!(check(vec![put(0, 2, "0"), put(3, 9, "1"), get(4, 5, "0"), get(6, 7, "1")]));
    }

    #[test]
    fn a_value_that_was_overwritten_before_is_not_explained() {
        assert!(!check(vec![put(0, 1, "1"), put(2, 3, "2"), get(4, 5, "1")]));
        assert!(!check(vec![put(0, 2, "0"), put(3, 9, "1"), get(4, 5, "1"), get(6, 7, "0")]));
    }

    #[test]
    fn an_unknown_outcome_may_have_happened_until_its_end_or_not() {
        let unknown = |invoked, returned| {
            let outcome = Outcome::Unknown;
            Operation { outcome, ..put(invoked, returned, "2") }
        };
        assert!(check(vec![put(0, 1, "1"), unknown(2, 3), get(4, 5, "1")]));
        assert!(check(vec![put(0, 1, "1"), unknown(2, 3), get(4, 5, "2"), get(6, 7, "2")]));
        assert!(!check(vec![put(0, 1, "1"), unknown(2, 3), get(4, 5, "2"), get(6, 7, "1")]));
    }
}

//! The first deadlines of a new primary, found a few leases at a time.
//!
//! A million leases are a second of work, and whoever leads has better things to do for a whole second than to
//! look at leases that nobody will end for minutes. So they are looked at in steps: first sorted by when they
//! would end, then given their deadlines, spread out where too many would end together. A lease that is kept
//! alive or granted meanwhile has its deadline at once, and is passed over here.

use std::collections::{BTreeSet, VecDeque};

use types::LeaseId;

use crate::leases::Leases;
use crate::words::{Lease, milliseconds};

/// A promotion under way.
#[derive(Debug)]
pub(crate) struct Promotion {
    /// From when on the leases run again.
    base_ms: u64,
    /// The last lease looked at, in the order of ids.
    seen: Option<LeaseId>,
    /// When leases end, before they are spread.
    order: BTreeSet<(u64, LeaseId)>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Sorting,
    /// Deadlines are handed out, in this way.
    Placing(Spread),
}

/// What a step found.
pub(crate) struct Step {
    /// Leases and when they end.
    pub ends: Vec<(LeaseId, u64)>,
    /// Whether there is more to do.
    pub more: bool,
}

impl Promotion {
    pub fn new(base_ms: u64) -> Promotion {
        Promotion { base_ms, seen: None, order: BTreeSet::new(), stage: Stage::Sorting }
    }

    /// When a lease ends that was not looked at yet.
    pub fn end_of(base_ms: u64, lease: &Lease) -> u64 {
        base_ms.saturating_add(milliseconds(lease.left_seconds()))
    }

    /// Looks at `budget` leases.
    pub fn step(&mut self, leases: &Leases, per_second: usize, budget: usize) -> Step {
        match &mut self.stage {
            Stage::Sorting => {
                self.sort(leases, per_second, budget);
                Step { ends: Vec::new(), more: true }
            }
            Stage::Placing(spread) => {
                let next = std::iter::from_fn(|| self.order.pop_first()).take(budget);
                let ends = next.map(|(ends_at_ms, id)| (id, spread.place(ends_at_ms))).collect();
                Step { ends, more: !self.order.is_empty() }
            }
        }
    }

    fn sort(&mut self, leases: &Leases, per_second: usize, budget: usize) {
        let before = self.order.len();
        for lease in leases.after(self.seen).take(budget) {
            self.order.insert((Promotion::end_of(self.base_ms, &lease), lease.id));
            self.seen = Some(lease.id);
        }
        if self.order.len() < before + budget {
            // Three quarters of the rate at which revokes are proposed, which leaves room for those of leases
            // granted since. Fewer leases than the rate need no spreading.
            let spread = per_second <= self.order.len();
            self.stage = Stage::Placing(Spread::new(spread.then_some((per_second * 3 / 4).max(1))));
        }
    }
}

/// Moves deadlines back where more than so many would fall into one second.
#[derive(Debug)]
struct Spread {
    per_second: Option<usize>,
    /// The last `per_second` deadlines.
    last: VecDeque<u64>,
}

impl Spread {
    fn new(per_second: Option<usize>) -> Spread {
        Spread { per_second, last: VecDeque::new() }
    }

    /// Where a deadline comes to lie. They are given, and lie, in ascending order, and none becomes earlier.
    fn place(&mut self, ends_at_ms: u64) -> u64 {
        let Some(per_second) = self.per_second else { return ends_at_ms };
        let placed = match self.last.front() {
            Some(first) if per_second <= self.last.len() => {
                ends_at_ms.max(first.saturating_add(1000))
            }
            _ => ends_at_ms,
        };
        if per_second <= self.last.len() {
            self.last.pop_front();
        }
        self.last.push_back(placed);
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(ends: &[u64]) -> Vec<u64> {
        let mut spread = Spread::new(Some(750));
        ends.iter().map(|end| spread.place(*end)).collect()
    }

    #[test]
    fn deadlines_that_fall_together_are_spread_and_none_becomes_earlier() {
        let before: Vec<u64> = (0..5000).map(|i| 60_000 + i / 100).collect();
        let after = spread(&before);
        assert!(after.is_sorted());
        assert!(before.iter().zip(&after).all(|(b, a)| b <= a));
        for window in after.windows(751) {
            assert!(window[0] + 1000 <= window[750]);
        }
        assert_eq!(after[..750], before[..750]);
    }

    #[test]
    fn deadlines_far_enough_apart_stay_where_they_are() {
        let ends: Vec<u64> = (0..5000).map(|i| i * 2).collect();
        assert_eq!(spread(&ends), ends);
    }
}

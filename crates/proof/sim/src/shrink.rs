//! Shorter plans: what a seed's run may be cut down to, and the search for the shortest that still fails.
//!
//! All follows from a seed's dice, so a cut changes everything behind it; but most failures come back under fewer
//! kinds of mishaps and with fewer requests, and such a run is far easier to read.

use crate::plan::Plan;
use crate::{Play, Report, run};

/// What may go wrong at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// Processes end, machines lose power.
    pub crashes: bool,
    /// Disks fail, are full, or lose power in the middle of an operation.
    pub disks: bool,
    /// Links are cut, slow or bad for a while.
    pub network: bool,
    /// Members come and go.
    pub membership: bool,
}

/// How a run is cut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Requests at most.
    pub operations: Option<usize>,
    /// What may go wrong.
    pub may: May,
    /// No watching clients.
    pub unwatched: bool,
}

impl Default for Cuts {
    fn default() -> Cuts {
        let may = May { crashes: true, disks: true, network: true, membership: true };
        Cuts { operations: None, may, unwatched: false }
    }
}

/// The kinds that can be left out, by the names of the command line.
pub const KINDS: [&str; 5] = ["crashes", "disks", "network", "membership", "watchers"];

impl Cuts {
    pub(crate) fn shorten(&self, plan: &mut Plan) {
        plan.operations = self.operations.unwrap_or(plan.operations).min(plan.operations);
        if self.unwatched {
            plan.watchers = 0;
        }
    }

    /// Without this kind; nothing if there is none of the name.
    pub fn without(mut self, kind: &str) -> Option<Cuts> {
        match kind {
            "crashes" => self.may.crashes = false,
            "disks" => self.may.disks = false,
            "network" => self.may.network = false,
            "membership" => self.may.membership = false,
            "watchers" => self.unwatched = true,
            _ => return None,
        }
        Some(self)
    }

    /// As options of the command line.
    pub(crate) fn options(&self) -> String {
        let May { crashes, disks, network, membership } = self.may;
        let left_out = [!crashes, !disks, !network, !membership, self.unwatched];
        let kinds = KINDS.iter().zip(left_out).filter(|(_, out)| *out);
        let mut text: String = kinds.map(|(kind, _)| format!(" --without {kind}")).collect();
        if let Some(operations) = self.operations {
            text.push_str(&format!(" --operations {operations}"));
        }
        text
    }
}

/// Searches the shortest run of this seed that still fails, whatever it then fails with. Nothing if it does not fail.
pub fn shrink(play: Play) -> Option<Report> {
    let mut shortest = run(play, false);
    shortest.failure.as_ref()?;
    for kind in KINDS {
        let cuts = shortest.play.cuts.without(kind).expect("it is one of them");
        keep_if_it_fails(&mut shortest, cuts);
    }
    // Fewer and fewer requests: halves first, then less.
    let mut step = shortest.requests / 2;
    while 0 < step {
        let operations = shortest.play.cuts.operations.unwrap_or(shortest.requests);
        let fewer = Some(operations.saturating_sub(step).max(1));
        let cuts = Cuts { operations: fewer, ..shortest.play.cuts };
        if operations <= step || !keep_if_it_fails(&mut shortest, cuts) {
            step /= 2;
        }
    }
    Some(shortest)
}

fn keep_if_it_fails(shortest: &mut Report, cuts: Cuts) -> bool {
    let next = run(Play { cuts, ..shortest.play }, false);
    let fails = next.failure.is_some();
    if fails {
        *shortest = next;
    }
    fails
}
